"""What the fake writes: in the form that each program reads, and true to what it read."""

from dataclasses import replace

import numpy as np
import pytest

from palate.curate.taste import TASTE, taste_request
from palate.evaluate.facets._match import SAME
from palate.evaluate.facets.clusters import NAMES
from palate.fakes.prompts import read_choice
from palate.fakes.reader import TITLES, Reader, Settings
from palate.fakes.senses import place
from palate.fakes.tastes import step
from palate.fakes.words import AXIS_NAMES, mean_taste, phrase, read_statements, statement
from palate.feedback.world_answers import axis_vector, world_answers
from palate.judge import JUDGE, QUICK, Comparison, Judge, as_example, as_text
from palate.models.llm.program import Section
from palate.models.llm.wire import Request
from palate.persona.evidence import EVIDENCE
from palate.persona.memory import INSIGHTS
from palate.persona.pi import CONDENSE, INFER, infer_request
from palate.persona.protected import find
from palate.persona.theta import STARTING

PROGRAMS = (JUDGE, QUICK, EVIDENCE, TASTE, SAME, NAMES, INSIGHTS, INFER, CONDENSE, STARTING.program())


def taste_in(text):
    return np.nan_to_num(mean_taste(read_statements(text)))


def reasoned(choice, sign=1):
    """A past choice with reasoning that names what the chosen answer has; or, with -1, what it lacks."""
    d = sign * step(read_choice(as_example(choice)))
    named = np.argsort(-np.abs(d))[:3]
    words = ", ".join(phrase(axis, 1 if d[axis] > 0 else -1) for axis in named if d[axis])
    return as_example(choice, f"This user would value {words}.")


# ---- form -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_of_the_house_is_known(program):
    assert program.title in TITLES


@pytest.fixture(scope="module")
def requests(people):
    """Of every program some requests, as the methods make them."""
    found = {program.name: [] for program in PROGRAMS}
    persona = Section("persona", "Prefers short answers.\nPrefers a warm and kind tone.")
    for person in people[:15]:
        text = Section("persona", person.persona())
        for choice in person.context:
            chosen, other = choice.chosen_response, choice.responses[1 - choice.chosen]
            pair = (Section("conversation", as_text(choice.conversation)), Section("first", chosen))
            pair = (*pair, Section("second", other))
            said = Section("statements", "1. Prefers short answers.\n2. Likes cats.\n3. Prefers lists.")
            found["judge"].append(Request(JUDGE, (text, *pair)))
            found["judge-quick"].append(Request(QUICK, (text, *pair)))
            found["evidence"].append(Request(EVIDENCE, (said, *pair)))
            found["taste"].append(taste_request(choice.conversation, (chosen, other)))
            found["memory"].append(Request(INSIGHTS, (Section("choice", as_example(choice)),)))
            found["pi"].append(infer_request(choice.conversation, chosen, other))
        found["match"].append(Request(SAME, (text, Section("wish", "Just be brief with me, please."))))
        found["name"].append(Request(NAMES, (text, persona)))
        found["pi-condense"].append(Request(CONDENSE, (text, persona)))
        found["persona"].append(
            Request(STARTING.program(), STARTING.sections([reasoned(choice) for choice in person.context]))
        )
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@pytest.mark.parametrize("knobs", ["", "error=0.5&bias=1&order=0.2"])
def test_every_program_reads_every_answer(fake, requests, program, knobs):
    asker = fake(knobs)
    assert len(requests[program.name]) >= 15
    for request in requests[program.name]:
        answer = asker.send(request)
        assert answer.finish == "stop"
        assert answer.tokens_out < request.longest
        assert program.read(answer.text) is not None


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("sections", [(), (("first", ""), ("second", ""), ("persona", ""), ("choice", "x"))])
def test_a_prompt_without_its_material_is_answered_all_the_same(fake, title, sections):
    assert fake().ask(title, *sections).text


# ---- describing a choice --------------------------------------------------------------------------------


def test_insights_tell_how_the_chosen_answer_differs(fake, people):
    for choice in people[0].context:
        told = fake().ask(INSIGHTS.title, ("choice", as_example(choice)))
        d = step(read_choice(as_example(choice)))
        said = read_statements(told.text)
        assert 1 <= len({s.axis for s in said}) <= 3
        assert all(s.sign * d[s.axis] > 0 for s in said)
        assert abs(d[said[0].axis]) == np.abs(d).max()


@pytest.mark.parametrize("error", [0.1, 0.3])
def test_the_error_rate_is_the_share_of_wrong_statements(fake, people, error):
    asker, wrong, n = fake(f"error={error}"), 0, 0
    for choice in (c for person in people for c in person.context):
        d = step(read_choice(as_example(choice)))
        for s in set(read_statements(asker.ask(INSIGHTS.title, ("choice", as_example(choice))).text)):
            wrong, n = wrong + (s.sign * d[s.axis] < 0), n + 1
    assert n > 1000
    assert abs(wrong / n - error) < 3.3 * np.sqrt(error * (1 - error) / n)


def test_who_would_prefer_an_answer_is_inferred_from_the_answers_and_names_nothing_protected(fake, people):
    asker, guesses = fake(), set()
    for choice in (c for person in people for c in person.context):
        chosen, other = choice.chosen_response, choice.responses[1 - choice.chosen]
        for preferred, rest in ((chosen, other), (other, chosen)):
            said = INFER.read(asker.send(infer_request(choice.conversation, preferred, rest)).text)
            assert not find(said, politics=True), said
            assert taste_in(said) @ (place(preferred) - place(rest)) > 0
            guesses.add(said.split(" and prefers ")[0])
    assert len(guesses) > 10


# ---- personas -------------------------------------------------------------------------------------------


def written(asker, reasoning, instruction=STARTING.instruction, demos=(), **settings):
    theta = replace(STARTING, instruction=instruction, demos=tuple(demos))
    return asker.send(Request(theta.program(), theta.sections(reasoning), **settings)).text


def agreement(asker, people, reasoning, **how):
    """How well personas predict targets, beyond what is predicted without one."""
    texts = [written(asker, reasoning(person), **how) for person in people]
    found = [
        asker.right(target, text, swapped=number % 2 == 1)
        for person, text in zip(people, texts, strict=True)
        for number, target in enumerate(person.targets)
    ]
    return float(np.mean(found))


def test_a_persona_of_more_right_reasoning_is_a_better_one_and_wrong_reasoning_poisons_it(fake, people):
    asker = fake()
    by_number = [
        agreement(asker, people, lambda person, n=n: [reasoned(c) for c in person.context[:n]])
        for n in (2, 10)
    ]
    poisoned = agreement(asker, people, lambda person: [reasoned(c, -1) for c in person.context])
    assert by_number[1] > by_number[0] + 0.02
    assert poisoned < by_number[1] - 0.05


def test_what_repeats_stands_first_and_what_is_contradicted_falls(fake):
    reasoning = [f"This user would value {words}." for words in ("short answers", "short answers and lists")]
    reasoning += [
        "This user would value short answers and a warm tone.",
        "This user would value blunt answers.",
    ]
    said = written(fake(), reasoning, "Look at length, structure and warmth.").splitlines()
    assert taste_in(said[0])[0] == -1
    assert not taste_in("\n".join(said))[AXIS_NAMES.index("warmth")]


def test_the_instruction_says_where_to_look(fake):
    reasoning = [f"This user would value {', '.join(phrase(axis, 1) for axis in range(8))}."]
    found = {}
    for instruction in ("Look at examples and technical wording. At most eight.", "Describe. At most eight."):
        notices = np.zeros(8)
        for seed in range(20):
            text = written(fake(f"seed={seed}"), reasoning, instruction)
            notices += taste_in(text) != 0
        found[instruction[:4]] = notices
    technical, examples = AXIS_NAMES.index("technical"), AXIS_NAMES.index("examples")
    assert (found["Look"][[technical, examples]] == 20).all()
    assert (found["Desc"] < 18).all()
    assert found["Look"].sum() - 40 < found["Desc"].sum() < 20 * 8 / 2


def test_the_instruction_says_how_many_how_sure_and_how_strongly(fake, people):
    asker = fake()
    reasoning = [reasoned(choice) for choice in people[0].context]
    lines = {
        words: written(asker, reasoning, f"Look at length, tone, lists and examples. {words}").splitlines()
        for words in ("", "Write at most two statements.", "Write one to seven.", "Say how strongly.")
    }
    assert [len(lines[words]) for words in lines][:2] == [4, 2]
    assert len(lines["Write one to seven."]) > 4
    strengths = {s.strength for line in lines["Say how strongly."] for s in read_statements(line)}
    assert strengths - {1.0}
    assert {s.strength for line in lines[""] for s in read_statements(line)} == {1.0}
    sure = [
        len(written(asker, [reasoned(c) for c in p.context], f"Look at length. {words}").splitlines())
        for words in ("", "Keep what several choices agree on.")
        for p in people
    ]
    assert sum(sure[len(people) :]) < sum(sure[: len(people)])


def test_a_reader_blind_to_the_instruction_writes_the_same_whatever_it_says(fake, people):
    asker = fake("blind=instruction")
    reasoning = [reasoned(choice) for choice in people[0].context]
    texts = {written(asker, reasoning, words) for words in ("Look at length.", "Look at tone. At most two.")}
    assert len(texts) == 1


def test_demonstrations_show_where_to_look(fake):
    axis = AXIS_NAMES.index("hedging")
    reasoning = [f"This user would value {phrase(axis, 1)}." for _ in range(6)]
    reasoning += [f"This user would value {phrase(axis, -1)}." for _ in range(2)]
    demos = [("He took the firm one.", "Prefers firm statements.")]
    with_demos, without = (
        sum(
            abs(
                taste_in(written(fake(f"seed={seed}"), reasoning, "Keep what several agree on.", shown))[axis]
            )
            for seed in range(60)
        )
        for shown in (demos, ())
    )
    assert with_demos > without


def test_condensing_keeps_what_most_sentences_say(fake):
    sentences = ["The user is busy and prefers short answers and lists and steps."] * 3
    sentences += ["The user is curious and prefers long answers and a warm tone."]
    said = CONDENSE.read(fake().ask(CONDENSE.title, *(("persona", s) for s in sentences)).text)
    assert taste_in(said[0])[1] == 1 or taste_in(said[0])[0] == -1
    assert taste_in("\n".join(said))[0] == -1


# ---- choosing, naming, answering ------------------------------------------------------------------------


def test_each_statement_favours_the_answer_that_has_what_it_speaks_of(fake, people):
    asker = fake()
    statements = [statement(axis, sign) for axis in range(8) for sign in (-1, 1)] + ["Likes cats."]
    listed = Section("statements", "\n".join(f"{n}. {s}" for n, s in enumerate(statements, 1)))
    for choice in people[0].context:
        pair = (Section("first", choice.responses[0]), Section("second", choice.responses[1]))
        said = EVIDENCE.read(asker.send(Request(EVIDENCE, (listed, *pair), max_tokens=300)).text)
        d = place(choice.responses[0]) - place(choice.responses[1])
        expected = {
            n + 1: 0 if abs(d[n // 2]) < 0.25 else int(np.sign(d[n // 2])) * (1 if n % 2 else -1)
            for n in range(16)
        }
        assert said == {**expected, 17: 0}


def test_a_matter_of_taste_is_where_answers_stand_apart(fake, people):
    asker = fake()
    choice = people[0].context[0]

    def is_taste(first, second):
        return TASTE.read(asker.send(taste_request(choice.conversation, (first, second))).text).yes

    pairs = [c.responses for person in people[:20] for c in person.targets]
    assert np.mean([is_taste(*pair) for pair in pairs]) > 0.95
    assert not is_taste(choice.responses[0], choice.responses[0])
    assert not is_taste("391.", "401.")


@pytest.mark.parametrize(
    ("persona", "wish", "same"),
    [
        ("Prefers short answers.", "I want brief replies, nothing long.", True),
        ("Prefers short answers.", "I want long and detailed replies.", False),
        ("Prefers short answers.", "I like a warm tone.", False),
        ("Asks about football matches and stadiums.", "I follow football and visit stadiums.", True),
        ("Asks about football matches.", "I grow roses.", False),
    ],
)
def test_persona_and_wish_match_where_they_want_the_same(fake, persona, wish, same):
    answer = fake().send(Request(SAME, (Section("persona", persona), Section("wish", wish))))
    assert SAME.read(answer.text) is same


def test_a_group_is_named_after_what_it_shares(fake):
    def name(*texts):
        return NAMES.read(fake().send(Request(NAMES, tuple(Section("persona", t) for t in texts))).text)

    assert name("Prefers short answers.", "Prefers brief replies.") == "Short answers"
    assert name("Prefers short answers and a warm tone.", "Prefers brief replies.") == "Short and warm"
    assert name("Likes cats.") == "Mixed answers"


def test_it_answers_with_the_worlds_answer_that_suits_the_persona_best(fake, people):
    asker = fake()
    asked = people[0].context[0].conversation
    said = {
        text: asker.ask("Answer for a user", ("persona", text), ("conversation", as_text(asked))).text
        for text in ("Prefers short answers.", "Prefers long answers.")
    }
    known = world_answers().corpus
    assert all(text in {known.response(i) for i in range(len(known))} for text in said.values())
    assert place(said["Prefers short answers."])[0] < place(said["Prefers long answers."])[0]


@pytest.mark.parametrize("axis", ["structure", "formality", "warmth", "hedging", "technical", "length"])
def test_it_answers_what_it_does_not_know_in_the_personas_style(fake, axis):
    number = AXIS_NAMES.index(axis)
    places = [
        place(
            fake()
            .ask(
                "Answer for a user",
                ("persona", statement(number, sign)),
                ("conversation", "What is rhubarb?"),
            )
            .text
        )
        for sign in (-1, 1)
    ]
    assert (places[1] - places[0]) @ axis_vector({axis: 1}) > 0


def test_above_temperature_0_answers_vary(fake, people):
    asked = ("conversation", as_text(people[0].context[0].conversation))
    said = {fake().ask("Answer for a user", asked, temperature=1.0, sample=n).text for n in range(30)}
    assert len(said) > 5


def test_a_choice_is_explained_by_what_was_chosen(fake, people):
    for choice in people[0].context:
        chosen, other = choice.chosen_response, choice.responses[1 - choice.chosen]
        said = fake().ask("Explain a choice", ("chosen", chosen), ("rejected", other)).text
        assert said.startswith("Reason: ")
        assert taste_in(said) @ (place(chosen) - place(other)) > 0


# ---- DSPy's own prompts ---------------------------------------------------------------------------------


def test_an_optimiser_is_offered_instructions_that_differ_in_what_they_ask_for():
    dspy = pytest.importorskip("dspy")
    from dspy.propose.grounded_proposer import generate_instruction_class

    from palate.models.llm.program import Message

    form = generate_instruction_class().signature
    adapter = dspy.ChatAdapter()
    asked = dict.fromkeys(form.input_fields, "Something.") | {"basic_instruction": STARTING.instruction}
    messages = [Message(m["role"], m["content"]) for m in adapter.format(form, [], asked)]
    proposed = {
        adapter.parse(form, Reader().answer(messages, Settings(temperature=1.0, seed=seed)).text)[
            "proposed_instruction"
        ]
        for seed in range(20)
    }
    assert len(proposed) > 15
    assert all(text.startswith("You describe one user's taste in answers") for text in proposed)
    assert any("at most two" in text for text in proposed)


def test_other_fields_that_dspy_asks_for_are_filled():
    dspy = pytest.importorskip("dspy")
    from palate.models.llm.program import Message

    form = dspy.Signature("question -> summary, observations")
    adapter = dspy.ChatAdapter()
    messages = [Message(m["role"], m["content"]) for m in adapter.format(form, [], {"question": "Why?"})]
    said = adapter.parse(form, Reader().answer(messages, Settings()).text)
    assert "fake" in said["summary"]
    assert said["observations"] == "COMPLETE"


def test_the_judge_reads_what_the_fake_reasons(fake, people):
    choice = people[0].context[0]
    request = Judge().request(Comparison(choice.conversation, choice.responses))
    verdict = JUDGE.read(fake().send(request).text)
    assert taste_in(verdict.reason).any()
