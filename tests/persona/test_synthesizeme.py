"""SynthesizeMe whole: its three steps, their calls, users with little, and a world where it must learn."""

from dataclasses import replace

import numpy as np
import pytest

from palate.catalogue import build, load
from palate.core import ConfigError, Feedback, History, Queries, as_conversation
from palate.feedback.world import World
from palate.judge import Verdict
from palate.models.llm.session import language_models
from palate.models.llm.wire import Fault, Reply
from palate.persona.default import Default
from palate.persona.protected import left_out
from palate.persona.synthesizeme import SynthesizeMe
from palate.persona.theta import STARTING, Theta, save_theta

LM = "fake:world?error=0.2&bias=0.3"


@pytest.fixture(autouse=True)
def asked_in_a_folder(tmp_path):
    with language_models(folder=tmp_path / "calls", concurrency=8) as session:
        yield session


@pytest.fixture(scope="module")
def people():
    return World(users=240, pairs=10, targets=6, episodes=4, seed=1).sample().population


def make(**fields):
    return SynthesizeMe(**{"lm": LM, "calibrate": 0, "evidence": False, **fields})


@pytest.fixture(scope="module")
def histories(people):
    return list(people.with_role("test").with_split("context"))


def user(rows, options=2):
    texts = [f"Answer {k}." for k in range(options)]
    return History(
        "ann",
        tuple(
            Feedback(
                "ann",
                as_conversation(f"Question {n}?"),
                tuple(texts),
                n % options,
                id=f"c{n}",
                time=float(n),
                reason="Mine.",
            )
            for n in range(rows)
        ),
    )


@pytest.fixture
def fitted(people):
    def fit(**fields):
        return make(**fields).fit(people)

    return fit


# ---- a stand-in that answers by rule ----------------------------------------------------------------


def title(request):
    return request.program.title


def tags(request, tag):
    return [s.text for s in request.sections if s.tag == tag]


def right(request, history):
    """Answer a comparison as the user would."""
    first, second = tags(request, "first")[0], tags(request, "second")[0]
    asked = (tags(request, "conversation")[0], {first, second})
    row = next(f for f in history.feedback if (f.conversation[0].content, {*f.responses} & asked[1]) == asked)
    return Reply("", Verdict(first == row.chosen_response, "It is the better one."))


def persona(request):
    return Reply("", ("Prefers what is better.", "Dislikes the rest."))


def drive(method, history, answer=None, write=persona):
    """Run the steps on one user; return what was written, and the rounds of requests."""
    asking, rounds, answers = method._write(history), [], None
    try:
        while True:
            requests = asking.send(answers)
            rounds.append(list(requests))
            answers = [
                write(r) if title(r) == "Write a persona" else (answer or right)(r, history) for r in requests
            ]
    except StopIteration as stop:
        return stop.value, rounds


def calls(rounds):
    return [request for requests in rounds for request in requests]


# ---- the steps --------------------------------------------------------------------------------------


def test_the_three_steps_of_a_user_with_ten_choices(fitted):
    history = user(10)
    written, rounds = drive(fitted(), history)
    kinds = [(len(r), title(r[0]), len(tags(r[0], "persona")), len(tags(r[0], "example"))) for r in rounds]
    assert kinds == [
        (7, "Compare two answers", 0, 0),
        (3, "Compare two answers", 0, 7),
        (1, "Write a persona", 0, 0),
        (7, "Compare two answers", 1, 0),
        (3, "Compare two answers", 1, 7),
    ]
    assert [tags(r, "conversation") for r in rounds[0]] == [[f"Question {n}?"] for n in range(7)]
    assert len(tags(rounds[2][0], "reasoning")) == 7
    assert "Why: It is the better one." in tags(rounds[2][0], "reasoning")[0]
    assert tags(rounds[3][0], "persona") == ["Prefers what is better.\nDislikes the rest."]
    assert written.text == "Prefers what is better.\nDislikes the rest."
    assert [e.id for e in written.examples] == [f"c{n}" for n in range(7)]
    assert {e.reason for e in written.examples} == {"It is the better one."}
    assert written.held == ("c7", "c8", "c9")


def test_the_variants_take_the_steps_they_are_named_for(fitted):
    history = user(10)
    personas, rounds = drive(fitted(variant="personas"), history)
    assert [len(r) for r in rounds] == [7, 3, 1]
    assert (personas.text, personas.examples) == ("Prefers what is better.\nDislikes the rest.", ())
    demos, rounds = drive(fitted(variant="demos"), history)
    assert [len(r) for r in rounds] == [7, 3]
    assert demos.text is None
    assert len(demos.examples) == 7


def test_every_call_is_greedy_in_so_many_words(fitted):
    _, rounds = drive(fitted(), user(10))
    assert {(r.temperature, r.seed) for r in calls(rounds)} == {(0.0, None)}
    _, rounds = drive(fitted(temperature=0.7, seed=5), user(10))
    drawn = {(r.temperature, r.seed) for r in [*rounds[0], *rounds[2], *rounds[3]]}
    judged = {(r.temperature, r.seed) for r in [*rounds[1], *rounds[4]]}
    assert (drawn, judged) == ({(0.7, 5)}, {(0.0, None)})


def test_the_writer_reasons_and_the_judge_who_will_be_shown_the_result_is_asked_what_helps(fitted):
    _, rounds = drive(fitted(judge_lm="fake:world?seed=9"), user(10))
    assert [{r.lm for r in requests} for requests in rounds] == [
        {""},
        {"fake:world?seed=9"},
        {""},
        {""},
        {"fake:world?seed=9"},
    ]


def test_a_judge_that_does_not_reason_still_gets_reasoning_to_read(fitted):
    written, rounds = drive(fitted(reason=False), user(10))
    assert [requests[0].program.name for requests in rounds] == [
        "judge",
        "judge-quick",
        "persona",
        "judge",
        "judge-quick",
    ]
    assert {e.reason for e in written.examples} == {"It is the better one."}


def test_what_was_chosen_is_shown_again_when_answers_are_scored(fitted):
    method, history = fitted(), user(10)
    kept = replace(method.adapt(history), examples=drive(method, history)[0].examples)
    shown = method._shown(kept, as_conversation("New?"))
    assert len(shown.examples) == 7
    assert [shown.reasons[e.id] for e in shown.examples] == ["It is the better one."] * 7


# ---- calls ------------------------------------------------------------------------------------------


def test_calls_are_few_and_never_made_twice(fitted, histories):
    """T=7, V=3, C=10: at most 87 distinct calls; what the race saves is measured in benchmarks/."""
    for race in (True, False):
        counts = []
        for number, history in enumerate(histories[:30]):
            rng = np.random.default_rng(number)

            def answer(request, history, rng=rng):
                reply = right(request, history)
                return reply if rng.random() < 0.7 else replace(reply, value=Verdict(not reply.value.first))

            _, rounds = drive(fitted(race=race), history, answer)
            made = calls(rounds)
            assert len(made) == len(set(made)) <= 87
            counts.append(len(made))
        assert np.mean(counts) <= (60 if race else 87)


@pytest.mark.parametrize("seed", range(6))
def test_the_race_writes_what_asking_everything_writes(fitted, histories, seed):
    method, plain = fitted(seed=seed), fitted(seed=seed, race=False)
    some = histories[10 * seed : 10 * seed + 10]
    for one, other in zip(method.adapt_batch(some), plain.adapt_batch(some), strict=True):
        assert (one.text, one.examples) == (other.text, other.examples)


# ---- little to go by --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", range(1, 13))
def test_every_number_of_choices_gives_a_persona_and_demonstrations(fitted, rows):
    written, rounds = drive(fitted(), user(rows))
    training = rows if rows < 3 else int(0.7 * rows + 1e-9)
    assert len(rounds[0]) == training
    assert len(written.held) == rows - training
    assert written.text
    assert [e.id for e in written.examples] == [f"c{n}" for n in range(training)]


@pytest.mark.parametrize("rows", [1, 2])
def test_with_one_or_two_choices_nothing_is_searched_and_that_is_told(fitted, rows, asked_in_a_folder):
    written, rounds = drive(fitted(), user(rows))
    assert any("nothing to validate on" in note for note in asked_in_a_folder.ledger.notes)
    assert [len(requests) for requests in rounds] == [rows, 1, rows]
    assert written.held == ()


def test_a_user_without_a_decided_choice_is_the_average_user(fitted):
    method = fitted()
    ties = History("ann", tuple(replace(f, chosen=None) for f in user(4).feedback))
    same = History("ann", tuple(replace(f, responses=("Same.", "Same.")) for f in user(4).feedback))
    for history in (ties, same, History("ann"), History("ann", profile={"age": "18-24"})):
        kept = method.adapt(history)
        assert (kept.text, kept.examples, kept.claims) == (None, (), ())


def test_where_no_reasoning_proved_right_choices_stand_without_it(fitted):
    def wrong(request, history):
        reply = right(request, history)
        return replace(reply, value=Verdict(not reply.value.first, "It is the worse one."))

    written, rounds = drive(fitted(), user(10), wrong)
    assert [len(requests) for requests in rounds[:4]] == [7, 1, 7, 3]
    assert len(calls(rounds[3:])) <= 2 * 3  # labelled pairs, and nothing
    assert len(tags(rounds[1][0], "reasoning")) == 7
    assert "Why:" not in "".join(tags(rounds[1][0], "reasoning"))
    assert written.text
    assert [(e.id, e.reason) for e in written.examples] == [(f"c{n}", None) for n in range(3, 7)]


def test_a_persona_that_could_not_be_written_leaves_the_demonstrations(fitted):
    written, rounds = drive(fitted(), user(10), write=lambda r: Fault("malformed", "no statement"))
    assert written.text is None
    assert len(written.examples) == 7
    assert set(rounds[3]) == set(rounds[0])  # no call is made twice: the client shares them


def test_statements_that_name_protected_attributes_are_left_out_and_that_is_told(fitted):
    def write(request):
        return Reply("", ("Prefers short answers.", "Prefers what suits the user, who is a Muslim woman."))

    written, rounds = drive(fitted(), user(10), write=write)
    assert written.text == "Prefers short answers."
    assert tags(rounds[3][0], "persona") == ["Prefers short answers."]
    assert left_out(written.claims) == {"religion": 1, "sex": 1}
    assert "Muslim" in drive(fitted(screen=False), user(10), write=write)[0].text


def test_failed_calls_are_no_choices_and_no_ties(fitted):
    def failing(request, history):
        return Fault("timeout", "no answer in time")

    written, _ = drive(fitted(), user(10), failing)
    assert {e.reason for e in written.examples} == {None}


def test_a_choice_among_several_counts_as_pairs_on_one_side(fitted, asked_in_a_folder):
    drive(fitted(), user(10))
    assert asked_in_a_folder.ledger.notes == ()
    written, rounds = drive(fitted(), user(10, options=3))
    assert "counts as n - 1 pairs" in asked_in_a_folder.ledger.notes[0]
    assert len(rounds[0]) == 14
    assert {len(e.responses) for e in written.examples} == {2}
    assert written.held == ("c7", "c8", "c9")
    assert not set(written.held) & {e.id for e in written.examples}


# ---- the prompt, fields, saving ---------------------------------------------------------------------


def test_a_prompt_by_name_reaches_the_writer(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_HOME", str(tmp_path))
    save_theta(Theta("large", "Look at length alone.", (("It is short.", "Prefers short answers."),)))
    for theta, said in (("large", "Look at length alone."), ("starting", STARTING.instruction)):
        _, rounds = drive(fitted(theta=theta), user(10))
        request = rounds[2][0]
        assert request.program.instruction == said
        assert bool(tags(request, "example")) == (theta == "large")


def test_a_saved_model_keeps_its_prompt(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_HOME", str(tmp_path))
    path = save_theta(Theta("large", "Look at length alone.", (("It is short.", "Prefers short answers."),)))
    before = fitted(theta="large")
    before.save(tmp_path / "model")
    path.unlink()
    after = load(tmp_path / "model")
    assert after.fingerprint == before.fingerprint
    assert drive(after, user(10))[1][2] == drive(before, user(10))[1][2]
    assert before.fingerprint != fitted().fingerprint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variant", "all"),
        ("candidates", 0),
        ("labelled", -1),
        ("bootstrapped", -1),
        ("share", 1.0),
        ("stop", 0.0),
        ("temperature", None),
    ],
)
def test_impossible_fields_name_what_was_expected(field, value):
    with pytest.raises(ConfigError, match=f"synthesizeme has {field}=.*expected"):
        build("synthesizeme", {field: value})


# ---- the world --------------------------------------------------------------------------------------


def accuracy(method, people):
    """float64 [users]: the share of each user's targets that is predicted; torn verdicts are a half."""
    pairs = people.with_split("target").pairs
    personas = method.adapt_batch(people.with_split("context"))
    scores = method.score_batch(Queries.of_pairs(personas, people.corpus, pairs))
    gap = (scores[0::2] - scores[1::2]).round(9)
    return np.bincount(pairs.user, (gap > 0) + 0.5 * (gap == 0)) / np.bincount(pairs.user)


@pytest.fixture(scope="module")
def two_tastes():
    return replace(World.two_tastes(users=200, seed=1), pairs=10, targets=6, episodes=4).sample().population


@pytest.mark.parametrize("variant", ["both", "personas", "demos"])
def test_it_learns_what_a_user_likes(two_tastes, variant):
    """With ten past choices, a judge that errs in a fifth of its answers and leans to the first."""
    readers = two_tastes.with_role("test")
    ours = accuracy(make(variant=variant).fit(two_tastes), readers)
    control = accuracy(Default(lm=LM, calibrate=0).fit(two_tastes), readers)
    gain = ours - control
    assert gain.mean() - 2 * gain.std() / np.sqrt(len(gain)) > 0.05
    assert abs(control.mean() - 0.5) < 0.05


@pytest.mark.parametrize("variant", ["both", "personas", "demos"])
def test_blind_to_what_is_told_of_a_user_it_is_no_better_than_the_judge_alone(two_tastes, variant):
    lm = LM + "&blind=persona,example"
    readers = two_tastes.with_role("test")
    ours = accuracy(make(lm=lm, variant=variant).fit(two_tastes), readers)
    control = accuracy(Default(lm=lm, calibrate=0).fit(two_tastes), readers)
    gain = ours - control
    assert abs(gain.mean()) <= 2 * gain.std() / np.sqrt(len(gain)) + 1e-9
