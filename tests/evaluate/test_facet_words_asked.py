"""Facets of text personas that ask a model: what is asked, how often, and what answers come to."""

import json
from dataclasses import replace

import numpy as np
import pytest
from facet_sections import coin, looks_whole, one_sentence, outcome
from word_sections import Silent, Writer, drive, infer_by, part, people, probed, section, task_of, with_people

from palate.core import EndpointDown, Method, MethodError
from palate.evaluate import facets
from palate.evaluate.facets import _asked, alone, calls, clusters, match, reasons, salience, transfer
from palate.evaluate.facets._match import SAME
from palate.evaluate.facets._words import unpack
from palate.evaluate.protocol import seen_users
from palate.models.llm.wire import Fault, Reply
from palate.persona.pi import infer_request

N = 40


@pytest.fixture(scope="module")
def task():
    """Everybody is offered ``yes`` and ``no``; a third says no."""
    return task_of(people(users=N, context=3, target=4, choose=lambda u, i: int(u % 3 == 0)))


def plain(values):
    return json.loads(json.dumps(values, allow_nan=False, default=lambda v: v.item()))


def told(facet, task, made, **outcomes):
    base = outcome(task, coin(task), personal=False)
    found = facet.measure([section(task, {"pooled": base, "writer": made, **outcomes})])
    return [plain(value) for value in found]


def writer(**fields):
    return Writer(says=lambda name: f"Prefers what {name} likes.", **fields)


# ---- what all share ---------------------------------------------------------------------------------------


def test_pairs_are_dealt_one_a_user_a_turn_and_smaller_numbers_are_parts_of_larger(task):
    few, many = _asked.dealt(task, N), _asked.dealt(task, 3 * N)
    assert sorted(task.targets.user[few].tolist()) == list(range(N))
    assert many[:N].tolist() == few.tolist()
    assert np.bincount(task.targets.user[many]).tolist() == [3] * N
    assert len(_asked.dealt(task, 10**6)) == len(task.targets)


def test_ties_are_not_dealt():
    tied = task_of(people(users=N, context=3, target=4, choose=lambda u, i: -1 if i == 4 else 0))
    dealt = _asked.dealt(tied, 10**6)
    assert (tied.targets.target[dealt] == 1.0).all()
    assert len(dealt) == 3 * N


def test_a_target_row_is_the_users_own_choice(task):
    rows = _asked.held(task)
    pair = int(np.flatnonzero(task.targets.user == 3)[1])
    row = _asked.target_row(task, pair, rows)
    assert (row.user, row.id, row.responses, row.chosen) == ("user-0003", "3-4", ("no", "yes"), 0)
    assert row.conversation[0].content == "question 3 4"


def test_target_rows_of_seen_users_are_found_too():
    task = seen_users("toy", people(users=20, context=4, target=4), 60)
    rows = _asked.held(task)
    for pair in _asked.dealt(task, 30).tolist():
        row = _asked.target_row(task, pair, rows)
        number, i = row.id.split("-")
        assert row.user == f"user-{int(number):04d}"
        assert row.conversation[0].content == f"question {number} {i}"
        assert row.responses == ("yes", "no")


def test_models_are_those_of_the_method(task):
    fitted = writer(lm="rule:w", judge_lm="rule:j").fit(task.fit_on)
    assert _asked.models_of(fitted) == ("rule:w", "rule:j")
    assert _asked.models_of(writer(lm="rule:w").fit(task.fit_on)) == ("rule:w", "rule:w")
    assert _asked.models_of(Silent(says=str).fit(task.fit_on)) is None


def test_a_model_that_cannot_be_asked_stops_the_cell_and_other_faults_do_not(task, monkeypatch):
    fitted = writer().fit(task.fit_on)
    personas = fitted.adapt_batch(task.context)

    def down(*args):
        raise EndpointDown("nobody answers")

    monkeypatch.setattr(alone, "run_all", down)
    with pytest.raises(EndpointDown):
        facets.probe_all(fitted, personas, task)
    monkeypatch.setattr(facets, "registered", lambda: [alone])
    monkeypatch.setattr(alone, "run_all", lambda *args: 1 / 0)
    extra, faults = facets.probe_all(fitted, personas, task)
    assert extra == {}
    assert faults["alone"].startswith("ZeroDivisionError")


def test_inference_is_that_of_the_method_pi(task):
    """The same words, so that answers are shared with the method; what it may not say is told apart."""
    row = _asked.target_row(task, int(_asked.dealt(task, 1)[0]), _asked.held(task))
    asking = _asked.inferred(row, True)
    (request,) = asking.send(None)
    assert request == infer_request(row.conversation, row.responses[1], row.responses[0])

    def end(text):
        answer = Fault("server", "down") if text is None else Reply(text, request.program.read(text))
        asking = _asked.inferred(row, True)
        asking.send(None)
        with pytest.raises(StopIteration) as done:
            asking.send([answer])
        return done.value.value

    assert end(None) is None
    assert end("The user is busy and prefers brevity.") == ("The user is busy and prefers brevity.", False)
    assert end("The user is Muslim and prefers brevity.") == ("The user prefers brevity.", True)
    alike = _asked.inferred(replace(row, responses=("yes", "yes")), False)
    assert alike.send(None) == []
    with pytest.raises(StopIteration) as done:
        alike.send([])
    assert done.value.value is None


# ---- alone ------------------------------------------------------------------------------------------------


def reads_persona(request):
    """A judge that picks the answer that the persona names; without one in it, the first."""
    persona, first = part(request, "persona"), part(request, "first")
    return f"Reason: so.\nAnswer: {'First' if first in persona.split() else 'Second'}"


def names_answer(choice, rejected):
    return f"The user wants {choice.responses[int(rejected)]} and is calm."


def test_a_reading_judge_is_right_on_both_sides(task, monkeypatch):
    asked = drive(monkeypatch, reads_persona)
    infer_by(monkeypatch, names_answer)
    made = probed(alone, task, writer())
    assert len(asked) == 4 * alone.PAIRS
    assert {r.lm for r in asked} == {"rule:a"}
    assert {s.tag for r in asked for s in r.sections} == {"persona", "conversation", "first", "second"}
    (value,) = told(alone, task, made)
    (found,) = value["models"]
    assert found["chosen"]["value"] == found["rejected"]["value"] == found["both"]["value"] == 1.0
    assert found["difference"]["value"] == found["torn"] == 0.0
    assert (found["pairs"], found["personas"], found["protected"]) == (100, 200, 0)
    assert found["both"]["users"] == N
    sentence = alone.tell(value)
    assert one_sentence(sentence)
    assert "rule:a, which writes and judges, is right on 100.0 %" in sentence
    assert looks_whole(alone.draw(value))


def test_a_judge_with_its_own_taste_stands_at_a_half(task, monkeypatch):
    """It likes ``yes`` whatever it reads: right for chosen where that was, wrong for rejected there."""
    drive(monkeypatch, lambda r: f"Answer: {'First' if part(r, 'first') == 'yes' else 'Second'}")
    infer_by(monkeypatch, names_answer)
    (value,) = told(alone, task, probed(alone, task, writer()))
    (found,) = value["models"]
    assert found["both"] == {"value": 0.5, "low": 0.5, "high": 0.5, "users": N}
    likes = np.mean([u % 3 != 0 for u in range(N)])
    assert found["chosen"]["value"] == pytest.approx(likes, abs=1e-6)
    assert found["difference"]["value"] == pytest.approx(2 * likes - 1, abs=1e-6)
    assert "are not shown to tell the answer" in alone.tell(value)


def test_a_judge_that_looks_at_the_place_is_torn(task, monkeypatch):
    drive(monkeypatch, lambda r: "Answer: First")
    infer_by(monkeypatch, names_answer)
    (value,) = told(alone, task, probed(alone, task, writer()))
    (found,) = value["models"]
    assert found["torn"] == 1.0
    assert found["chosen"]["value"] == 0.5


def test_pairs_without_an_answer_are_left_out_and_counted(task, monkeypatch):
    drive(monkeypatch, lambda r: None if "user-0001" in part(r, "persona") else reads_persona(r))
    infer_by(
        monkeypatch,
        lambda c, r: None if c.user == "user-0002" else f"tall {c.user} {names_answer(c, r)}",
    )
    (value,) = told(alone, task, probed(alone, task, writer()))
    (found,) = value["models"]
    gone = {"user-0001": 0, "user-0002": 0}
    rows = _asked.held(task)
    for pair in _asked.dealt(task, alone.PAIRS):
        name = _asked.target_row(task, int(pair), rows).user
        gone[name] = gone.get(name, 0) + 1
    assert found["left_out"] == gone["user-0001"] + gone["user-0002"]
    assert found["both"]["users"] == N - 2
    assert found["both"]["value"] == 1.0
    assert found["personas"] == 200 - 2 * gone["user-0002"]
    assert found["protected"] == found["personas"]
    assert f"{found['protected']:,} of {found['personas']:,} personas name" in alone.tell(value)


def test_a_persona_of_which_nothing_may_be_said_is_counted_and_not_judged(task, monkeypatch):
    drive(monkeypatch, reads_persona)
    infer_by(monkeypatch, lambda c, r: "gone" if c.user == "user-0007" and not r else names_answer(c, r))
    (value,) = told(alone, task, probed(alone, task, writer()))
    (found,) = value["models"]
    assert found["protected"] == found["left_out"] > 0
    assert found["personas"] == 200
    assert found["both"]["users"] == N - 1


def test_methods_of_equal_models_are_one_and_others_stand_beside(task, monkeypatch):
    drive(monkeypatch, lambda r: reads_persona(r) if r.lm == "rule:a" else "Answer: First")
    infer_by(monkeypatch, names_answer)
    one, two = probed(alone, task, writer()), probed(alone, task, writer(judge_lm="rule:b"))
    (value,) = told(alone, task, one, again=one, other=two)
    assert [m["methods"] for m in value["models"]] == [["writer", "again"], ["other"]]
    assert "the best of 2 pairs of models" in alone.tell(value)
    assert looks_whole(alone.draw(value))


def test_without_a_single_answer_that_is_told(task, monkeypatch):
    drive(monkeypatch, lambda r: None)
    infer_by(monkeypatch, names_answer)
    (value,) = told(alone, task, probed(alone, task, writer()))
    assert one_sentence(alone.tell(value))
    assert "cannot be told: of 100 pairs none could be read" in alone.tell(value)
    assert alone.draw(value) == ""


@pytest.mark.parametrize("facet", [alone, salience, reasons])
def test_methods_without_a_model_or_a_person_ask_nothing(task, monkeypatch, facet):
    asked = drive(monkeypatch, reads_persona)
    known = with_people(task, reasons={"0-3": "because"})
    for method in (Silent(says=str), type("Plain", (Writer,), {"personal": False})(says=str)):
        fitted = method.fit(task.fit_on)
        assert facet.probe(fitted, fitted.adapt_batch(task.context), known) == {}
    assert asked == []
    assert told(facet, task, outcome(task, coin(task))) == []


# ---- salience ---------------------------------------------------------------------------------------------


def test_a_bias_of_the_data_shows_in_the_words(task, monkeypatch):
    drive(monkeypatch, lambda r: None)
    infer_by(
        monkeypatch,
        lambda c, rejected: (
            f"The user is {'concise' if rejected else 'meticulous'} and prefers calm {c.user}."
        ),
    )
    made = probed(salience, task, writer())
    assert len(unpack({k[9:]: v for k, v in made.extra.items()}, "chosen")) == min(4 * N, salience.PAIRS)
    (value,) = told(salience, task, made, again=made)
    assert [w["word"] for w in value["words"]] == ["meticulous", "concise"] or {
        w["word"] for w in value["words"]
    } == {"concise", "meticulous"}
    sentence = salience.tell(value)
    assert one_sentence(sentence)
    assert "“meticulous” (160 against 0" in sentence
    assert "that rule:a inferred from 160 pairs of 40 users" in sentence
    picture = salience.draw(value)
    assert looks_whole(picture)
    assert picture.index("meticulous") < picture.index("concise</")


# ---- match and reasons by a judge -------------------------------------------------------------------------


def same_name(request):
    persona, wish = part(request, "persona"), part(request, "wish")
    name = next(w for w in wish.split() if w.startswith("user-"))
    return f"They {'agree' if name in persona else 'differ'}.\nAnswer: {'Yes' if name in persona else 'No'}"


@pytest.fixture(scope="module")
def wishes(task):
    return with_people(task, profiles={str(n): {"stated": f"I am {n} ."} for n in task.context.users})


def test_a_judge_who_knows_people_matches_true_pairs_alone(wishes, monkeypatch):
    asked = drive(monkeypatch, same_name)
    made = probed(match, wishes, writer(judge_lm="rule:j"))
    assert len(asked) == 2 * N
    assert {r.program.title for r in asked} == {"Do these describe the same person"}
    (value,) = told(match, wishes, made)
    (found,) = value["methods"]
    assert (found["matched"]["value"], found["random"]["value"], found["gain"]["value"]) == (1.0, 0.0, 1.0)
    assert found["judge"] == "rule:j"
    assert found["unread"] == 0
    sentence = match.tell(value)
    assert one_sentence(sentence)
    assert "rule:j as judge sees more matches in true pairs (100.0 %" in sentence
    assert looks_whole(match.draw(value))


def test_a_judge_who_likes_to_say_yes_shows_nothing(wishes, monkeypatch):
    drive(monkeypatch, lambda r: "Yes")
    (value,) = told(match, wishes, probed(match, wishes, writer()))
    assert value["methods"][0]["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0, "users": N}
    assert "is not shown to see more matches" in match.tell(value)


def test_unread_matches_are_counted_and_not_a_no(wishes, monkeypatch):
    drive(monkeypatch, lambda r: "Perhaps." if "user-0005" in part(r, "wish") else same_name(r))
    (value,) = told(match, wishes, probed(match, wishes, writer()))
    (found,) = value["methods"]
    assert found["unread"] >= 1
    assert found["matched"]["users"] == N - found["unread"]
    assert found["matched"]["value"] == 1.0
    assert f"{found['unread']} unread" in match.tell(value)


def test_the_question_reads_answers_in_every_usual_form():
    assert SAME.read("Both want brevity, so no doubt.\nAnswer: Yes") is True
    assert SAME.read("**Answer: No.**") is False
    with pytest.raises(ValueError, match="the last line must be"):
        SAME.read("Answer: Yes or No")
    with pytest.raises(ValueError, match="the last line must be"):
        SAME.read("")


@pytest.fixture(scope="module")
def reasoned():
    """Four people a conversation; each gives a reason for every held-out choice, none for those seen."""
    made = task_of(
        people(
            users=N, context=3, target=4, talk=lambda u, i: f"talk {u // 4} {i > 2}", choose=lambda u, i: 0
        )
    )
    given = {f"{u}-{i}": f"[chosen] suits user-{u:04d} at {i} ." for u in range(N) for i in range(3, 7)}
    return with_people(made, reasons=given)


def test_reasons_are_matched_within_the_conversation_and_never_shown_to_who_infers(reasoned, monkeypatch):
    asked = drive(monkeypatch, same_name)
    seen = []

    def text_of(choice, rejected):
        seen.append(choice)
        return f"The user is {choice.user} and prefers it."

    infer_by(monkeypatch, text_of)
    made = probed(reasons, reasoned, writer())
    assert len(seen) == reasons.ROWS
    assert {choice.reason for choice in seen} == {None}
    assert len(asked) == 2 * reasons.ROWS
    for one, other in zip(asked[0::2], asked[1::2], strict=True):
        names = [next(w for w in part(r, "wish").split() if w.startswith("user-")) for r in (one, other)]
        assert names[0] != names[1]
        assert int(names[0][5:]) // 4 == int(names[1][5:]) // 4
    (value,) = told(reasons, reasoned, made)
    (found,) = value["models"]
    assert found["similarity"]["low"] > 0.9
    assert found["alike"]["low"] > 0.9
    assert (found["matched"]["value"], found["random"]["value"]) == (1.0, 0.0)
    sentence = reasons.tell(value)
    assert one_sentence(sentence)
    assert "inferred from 100 choices are nearer to the reason the person gave" in sentence
    assert looks_whole(reasons.draw(value))


def test_reasons_that_only_name_the_subject_are_found_among_all_and_not_in_one_conversation(
    reasoned, monkeypatch
):
    talks = {f"{u}-{i}": f"topic{'abcdefghij'[u // 4]} matters here" for u in range(N) for i in range(3, 7)}
    subject = with_people(reasoned, reasons=talks)
    drive(monkeypatch, lambda r: "Answer: No")
    infer_by(monkeypatch, lambda c, r: f"The user is for topic{'abcdefghij'[int(c.user[5:]) // 4]}.")
    (value,) = told(reasons, subject, probed(reasons, subject, writer()))
    (found,) = value["models"]
    assert found["similarity"]["low"] > 0.8
    assert found["alike"]["value"] == pytest.approx(0.5)
    assert one_sentence(reasons.tell(value))


def test_without_enough_reasons_nothing_is_asked(task, monkeypatch):
    asked = drive(monkeypatch, same_name)
    infer_by(monkeypatch, names_answer)
    few = with_people(task, reasons={f"0-{i}": "because" for i in range(7)})
    made = probed(reasons, few, writer())
    assert made.extra == {}
    assert asked == []


# ---- clusters named by a model ----------------------------------------------------------------------------


def test_a_model_names_the_groups_it_is_shown(task, monkeypatch):
    kinds = ("Prefers short brief replies.", "Prefers warm kind tones.")
    asked = drive(monkeypatch, lambda r: f"Name: {part(r, 'persona').split()[1].capitalize()} replies")
    method = Writer(says=lambda name: kinds[int(name[5:]) % 2])
    made = probed(clusters, task, method, "lexical")
    assert len(asked) == 2
    assert {r.program.title for r in asked} == {"Name a group of personas"}
    (value,) = told(clusters, task, made)
    assert {g["name"] for g in value["groups"]} == {"Short replies", "Warm replies"}
    sentence = clusters.tell(value)
    assert one_sentence(sentence)
    assert "2 groups (named by rule:a)" in sentence
    assert looks_whole(clusters.draw(value))


def test_a_group_without_a_name_goes_by_its_words(task, monkeypatch):
    kinds = ("Prefers short brief replies.", "Prefers warm kind tones.")
    drive(monkeypatch, lambda r: "x " * 50)
    made = probed(clusters, task, Writer(says=lambda name: kinds[int(name[5:]) % 2]), "lexical")
    (value,) = told(clusters, task, made)
    assert {g["name"] for g in value["groups"]} == {""}
    assert "“" in clusters.tell(value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Name: Short answers", "Short answers"),
        ("**Name:** “Warm”", "“Warm”"),
        ("Blunt and plain.", "Blunt and plain"),
    ],
)
def test_names_are_read(text, name):
    assert clusters.NAMES.read(text) == name


# ---- transfer ---------------------------------------------------------------------------------------------


class Pen(Writer):
    """``a`` and ``b`` write what is wanted, ``c`` nothing; ``a`` and ``c`` read it, ``b`` likes yes."""

    name = "pen"

    def _learn(self, population):
        super()._learn(population)
        SEEN.append((self.lm, self.judge_lm))

    def adapt_batch(self, histories):
        self.says = lambda name: "no idea" if self.lm == "c" else "no" if int(name[5:]) % 3 == 0 else "yes"
        return super().adapt_batch(histories)

    def _log_odds(self, vectors, queries):
        texts = [p.text for p in queries.personas]
        who = queries.who[queries.option_query]
        wanted = [texts[w] if self.lm != "b" and texts[w] in ("yes", "no") else "yes" for w in who]
        said = [queries.corpus.response(i) for i in queries.options]
        return np.array([float(w == s) for w, s in zip(wanted, said, strict=True)])


SEEN: list = []


def test_the_matrix_tells_who_writes_from_who_reads(task):
    crossed = replace(task, transfer=("a", "b", "c"))
    made = probed(transfer, crossed, Pen(lm="a", judge_lm="z"))
    assert ("a", "") in SEEN
    assert not [seen for seen in SEEN[1:] if seen[1]]  # each model writes and judges by itself
    (value,) = told(transfer, crossed, made)
    assert value["models"] == ["a", "b", "c"]
    assert (value["users"], value["pairs"]) == (N, transfer.PAIRS)
    likes = np.mean([u % 3 != 0 for u in range(N)])
    assert [f["value"] for f in value["default"]] == pytest.approx([likes] * 3, abs=1e-6)
    gain = [[g["value"] for g in row] for row in value["gain"]]
    more = pytest.approx(1 - likes, abs=1e-6)
    assert gain == [[more, 0, more], [more, 0, more], [0, 0, 0]]
    assert value["away"][0]["value"] == pytest.approx((1 - likes) / 2, abs=1e-6)
    sentence = transfer.tell(value)
    assert one_sentence(sentence)
    assert "shown to help in 3 of 6 pairings and to harm in 0" in sentence
    picture = transfer.draw(value)
    assert "judge a" in picture
    assert picture.count("▲") == 5  # four cells and the legend


def test_a_judge_that_cannot_be_read_has_no_figure_and_the_others_have(task):
    class Mute(Pen):
        def _log_odds(self, vectors, queries):
            if self.lm == "b":
                raise MethodError("no answers")
            return super()._log_odds(vectors, queries)

    crossed = replace(task, transfer=("a", "b", "c"))
    (value,) = told(transfer, crossed, probed(transfer, crossed, Mute(lm="a")))
    assert [value["accuracy"][0][j]["value"] is None for j in range(3)] == [False, True, False]
    assert value["default"][1]["value"] is None
    assert one_sentence(transfer.tell(value))
    assert "–" in transfer.draw(value)


def test_words_that_no_model_wrote_are_not_crossed(task):
    crossed = replace(task, transfer=("a", "b"))
    fitted = writer().fit(task.fit_on)
    assert transfer.probe(fitted, fitted.adapt_batch(task.context), crossed) == {}


def test_without_two_models_or_fields_for_them_nothing_is_asked(task):
    SEEN.clear()
    fitted = Pen().fit(task.fit_on)
    for specs in ((), ("a",)):
        one = replace(task, transfer=specs)
        assert transfer.probe(fitted, fitted.adapt_batch(task.context), one) == {}

    class Other(Method):
        name = "other"

    assert len(SEEN) == 1
    assert told(transfer, task, outcome(task, coin(task))) == []


# ---- calls ------------------------------------------------------------------------------------------------


def costing(task, **counts):
    made = outcome(task, coin(task))
    return replace(made, costs={**made.costs, **{f"lm_{k}": v for k, v in counts.items()}})


def test_costs_are_told_by_method_and_user(task):
    dear = costing(task, calls=400, kept=390, shared=10, tokens_in=9000, tokens_out=1000, money=1.5, faults=2)
    dear = replace(dear, costs={**dear.costs, "lm_torn": 7.0, "lm_compared": 100.0, "lm_facets": 55.0})
    cheap = costing(task, calls=80, tokens_in=800, tokens_out=80, money=0.25)
    base = outcome(task, coin(task), personal=False)
    (value,) = calls.measure([section(task, {"pooled": base, "dear": dear, "cheap": cheap})])
    value = plain(value)
    assert [m["method"] for m in value["methods"]] == ["cheap", "dear"]
    assert [m["asked_a_user"] for m in value["methods"]] == [2.0, 20.0]
    assert value["methods"][1]["paid_a_user"] == 10.0
    sentence = calls.tell(value)
    assert one_sentence(sentence)
    assert "cheap asks least, 2.0 times a user, and dear asks most, 20.0 times a user" in sentence
    assert "480 calls with 10,880 tokens were paid at $1.75, 400 were answered from what was kept" in sentence
    assert "2 calls gave no answer that could be read" in sentence
    assert "7 of 100 comparisons contradicted themselves" in sentence
    assert looks_whole(calls.draw(value))
    picture = calls.draw(value)
    assert "7 (7 %)" in picture
    assert picture.count("<th class") * 2 == picture.count("<td class")
    assert value["methods"][1]["facets"] == 55


def test_unknown_money_is_not_nothing(task):
    free, priced = costing(task, calls=10), costing(task, calls=10, money=0.001)
    (value,) = calls.measure([section(task, {"free": free, "priced": priced})])
    value = plain(value)
    assert {m["method"]: m["money"] for m in value["methods"]} == {"free": None, "priced": 0.001}
    assert "$" not in calls.tell(value)
    assert "none failed" in calls.tell(value)
    assert "$0.0010" in calls.draw(value)
    assert calls.measure([section(task, {"mixed": outcome(task, coin(task))})]) == []
