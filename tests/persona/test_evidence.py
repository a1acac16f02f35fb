"""Statements of a persona and the choices that they rest on, with a stand-in for the model."""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import beta

from palate.core import ConfigError, Feedback, History, Persona, Population, as_conversation
from palate.feedback.world import World
from palate.judge import Judge
from palate.models.llm.client import Task
from palate.models.llm.program import Malformed
from palate.models.llm.session import language_models
from palate.models.llm.wire import Fault, Reply, Request
from palate.persona.base import ReadMethod
from palate.persona.default import Default
from palate.persona.evidence import EVIDENCE, fate, grounded, log_odds_of, read_sides, statements_of
from palate.persona.written import Shown, Written

SHORT, LONG = "Prefers short answers.", "Prefers long answers."
LISTS, IDLE = "Prefers lists.", "Owns a bicycle."


def choice(number, short=True, n=2):
    """A choice between a short answer and longer ones; no two are alike."""
    texts = (f"Yes {number}.", *(f"Well, {number}: {'so it is, ' * (3 + i)}it seems." for i in range(n - 1)))
    order = texts if number % 2 else texts[::-1]
    wanted = texts[0] if short else texts[1]
    return Feedback("ann", as_conversation(f"Q{number}?"), order, order.index(wanted), f"c{number}")


def history(short=8, long=0, n=2):
    rows = [choice(i, i < short, n) for i in range(short + long)]
    return History("ann", tuple(rows))


def section(request, tag):
    return next(s.text for s in request.sections if s.tag == tag)


class Reader:
    """Reads length in statements, personas and answers; everything else is neither."""

    def __init__(self, blind=(), place=0.0, fail=lambda request: None):
        self.blind, self.place, self.fail, self.asked = set(blind), place, fail, []

    def __call__(self, request: Request):
        self.asked.append(request)
        fault = self.fail(request)
        if fault is not None:
            return fault
        first, second = section(request, "first"), section(request, "second")
        if request.program is EVIDENCE:
            lines = [] if "statements" in self.blind else section(request, "statements").splitlines()
            said = "\n".join(f"{n}: {self.side(line, first, second)}" for n, line in enumerate(lines, 1))
            if not lines:
                said = "\n".join(f"{n}: Neither" for n in range(1, 30))
            return Reply(said, request.program.read(said))
        persona = (
            "" if "persona" in self.blind else "".join(s.text for s in request.sections if s.tag == "persona")
        )
        likes = ("short" in persona) - ("long" in persona)
        word = "First" if likes * (len(second) - len(first)) > 0 else "Second"
        if likes == 0:
            word = "First" if first > second else "Second"  # its own taste, whatever the place
        return Reply(word, request.program.read(f"Answer: {word}"))

    def side(self, line, first, second):
        if self.place:
            return "First"
        likes = ("short" in line) - ("long" in line)
        gap = likes * (len(second) - len(first))
        return "First" if gap > 0 else "Second" if gap < 0 else "Neither"


def drive(asking, answer):
    """Drive a conversation with a stand-in."""
    try:
        requests = next(asking)
        while True:
            requests = asking.send([answer(r) for r in requests])
    except StopIteration as done:
        return done.value


def told(statements, past, reader=None, **more):
    return drive(grounded(statements, past, Judge(reason=False), **more), reader or Reader())


# ---- statements ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        (None, []),
        ("", []),
        ("  \n---\n# Persona\n12.", []),
        ("Likes tea. Likes milk! Both?", ["Likes tea.", "Likes milk!", "Both?"]),
        ("1. Likes tea\n2) Likes milk", ["Likes tea", "Likes milk"]),
        ("- **Likes** tea\n* likes tea.\n", ["Likes tea"]),
        ("Here is what this user likes, as far as we can tell:\n- Tea", ["Tea"]),
        ("Tone:\n- warm\n- kind\n\nLikes tea.", ["Tone: warm", "Tone: kind", "Likes tea."]),
        ("Tone:\n- warm\nLength:\n- warm", ["Tone: warm", "Length: warm"]),
        ("Tone: warm.", ["Tone: warm."]),
        ("Likes Dr. Who, e.g. the first. Not Mr. Bean.", ["Likes Dr. Who, e.g. the first.", "Not Mr. Bean."]),
        ("Costs 3.5 euros. Version 2.0 is liked.", ["Costs 3.5 euros.", "Version 2.0 is liked."]),
        ("短い答えを好む。例を好む。", ["短い答えを好む。", "例を好む。"]),
        ('Says "Yes." Then leaves.', ['Says "Yes."', "Then leaves."]),
    ],
)  # fmt: skip
def test_statements_of_a_text(text, statements):
    assert statements_of(text) == statements


def test_statements_lose_no_word_of_plain_prose():
    prose = "The user likes A-lists, and hates fuss (really). They said so twice! Why? Nobody knows."
    assert re.findall(r"\w+", " ".join(statements_of(prose))) == re.findall(r"\w+", prose)


# ---- reading an answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("1: First\n2: Neither\n3: Second", {1: 1, 2: 0, 3: -1}),
        ('{"1": "First", "2": "Second"}', {1: 1, 2: -1}),
        ("Statement 1: **First**\nStatement 12: the second answer", {1: 1, 12: -1}),
        ("1: First\n1: Second\n2: First", {2: 1}),
        ("2: first", {2: 1}),
        ("Second.", {1: -1}),
    ],
)
def test_an_answer_is_read(text, sides):
    assert read_sides(text) == sides


@pytest.mark.parametrize("text", ["", "I cannot help with that.", "First of all, I would say", "1: maybe"])
def test_an_answer_that_gives_no_side_is_malformed(text):
    with pytest.raises(Malformed, match="every line must read"):
        read_sides(text)


# ---- evidence -----------------------------------------------------------------------------------------


def test_a_right_statement_is_kept_and_a_wrong_one_is_dropped():
    found = told([SHORT, LONG], history(short=9, long=1))
    right, wrong = found.claims
    assert (len(right.supports), right.contradicts) == (9, ("c9",))
    assert (wrong.supports, len(wrong.contradicts)) == (("c9",), 9)
    assert right.kept
    assert not wrong.kept
    assert wrong.high < 0 < right.low < right.strength < right.high
    assert found.text == SHORT
    assert fate(right) == ""
    assert fate(wrong) == "more choices speak against it than for it"


def test_a_statement_that_no_choice_supports_is_dropped_and_stays_listed():
    found = told([SHORT, IDLE], history())
    assert found.text == SHORT
    assert [claim.text for claim in found.claims] == [SHORT, IDLE]
    assert fate(found.claims[1]) == "no choice supports it"


def test_where_nothing_is_kept_there_is_no_text():
    found = told([LONG, IDLE], history())
    assert found.text is None
    assert len(found.claims) == 2


@pytest.mark.parametrize("reader", [Reader(blind=["statements"]), Reader(place=1.0)], ids=["blind", "place"])
def test_a_reader_that_does_not_read_supports_nothing(reader):
    found = told([SHORT, LONG], history(), reader)
    assert found.text is None
    assert [(c.supports, c.contradicts) for c in found.claims] == [((), ())] * 2


def test_nothing_that_is_sent_tells_which_answer_was_chosen():
    """A choice and its opposite are asked in the same words."""
    reader, other = Reader(), Reader()
    told([SHORT], history(short=5), reader)
    told([SHORT], history(short=0, long=5), other)
    assert reader.asked == other.asked
    assert len(reader.asked) == 10
    assert len(set(map(repr, reader.asked))) == 10


def test_one_order_costs_half_and_does_not_depend_on_the_choice():
    reader, other = Reader(), Reader()
    found = told([SHORT], history(short=40), reader, orders=1)
    told([SHORT], history(short=0, long=40), other, orders=1)
    assert reader.asked == other.asked
    assert len(reader.asked) == 40
    assert len(found.claims[0].supports) == 40
    firsts = sum(section(r, "first").startswith("Yes") for r in reader.asked)
    assert 8 < firsts < 32  # both orders occur
    with pytest.raises(ConfigError, match="orders=3: expected 2"):
        told([SHORT], history(), orders=3)


def test_equal_statements_are_one_and_keep_their_order():
    reader = Reader()
    found = told([SHORT, LISTS, "prefers SHORT answers"], history(), reader)
    assert [claim.text for claim in found.claims] == [SHORT, LISTS]
    assert section(reader.asked[0], "statements") == f"1. {SHORT}\n2. {LISTS}"


def test_a_choice_among_several_answers_speaks_once():
    found = told([SHORT], history(short=4, n=4))
    assert found.claims[0].supports == ("c0", "c1", "c2", "c3")


def test_a_choice_of_the_middle_speaks_for_neither_side():
    """The middle of three: longer than one and shorter than the other."""
    texts = ("Yes.", "Yes, it is so.", "Yes, it is so, and it was always so.")
    row = Feedback("ann", as_conversation("Q?"), texts, 1, "c0")
    found = told([SHORT, LONG], History("ann", (row,)))
    assert [(c.supports, c.contradicts, c.unread) for c in found.claims] == [((), (), 0)] * 2


def test_ties_and_equal_answers_say_nothing():
    tie = Feedback("ann", as_conversation("Q?"), ("Yes.", "Yes, it is so."), None, "t")
    same = Feedback("ann", as_conversation("Q?"), ("Yes.", "Yes."), 0, "s")
    reader = Reader()
    found = told([SHORT], History("ann", (tie, same)), reader)
    assert reader.asked == []
    assert found.claims[0].kept
    assert fate(found.claims[0]) == "not tested"


def test_many_statements_are_asked_about_in_several_calls():
    reader = Reader()
    many = [f"{SHORT[:-1]} on day {n}." for n in range(45)]
    found = told(many, history(short=3), reader)
    assert len(reader.asked) == 3 * 3 * 2
    assert all(len(claim.supports) == 3 for claim in found.claims)
    assert [claim.text for claim in found.claims] == many


# ---- faults -------------------------------------------------------------------------------------------


def test_a_choice_with_one_order_unread_counts_as_unread():
    def fail(request):
        if section(request, "conversation") == "Q0?" and section(request, "first").startswith("Yes"):
            return Fault("malformed", "?")
        return None

    found = told([SHORT], history(short=4), Reader(fail=fail))
    claim = found.claims[0]
    assert claim.supports == ("c1", "c2", "c3")
    assert claim.unread == 1


def test_a_statement_is_not_dropped_for_faults():
    found = told([SHORT, LONG], history(), Reader(fail=lambda request: Fault("server", "down")))
    assert found.text == f"{SHORT}\n{LONG}"
    assert [c.unread for c in found.claims] == [8, 8]
    assert fate(found.claims[0]) == "not tested: 8 of its answers could not be read"
    assert all(c.low < 0 < c.high and not c.supports for c in found.claims)


def test_a_line_that_is_missing_is_unread_for_its_statement_alone():
    class Lazy(Reader):
        def __call__(self, request):
            reply = super().__call__(request)
            text = reply.text.split("\n")[0]
            return Reply(text, request.program.read(text))

    found = told([SHORT, LONG], history(), Lazy())
    assert [c.unread for c in found.claims] == [0, 8]
    assert found.claims[1].kept


# ---- what is lost without a statement -----------------------------------------------------------------


def test_accuracy_lost_without_a_statement():
    """Two that say the same: either alone is enough, and the calls are those that are stated."""
    past = history(short=12)
    held = [f"c{n}" for n in range(8, 12)]
    reader = Reader()
    found = told([SHORT, "Prefers short words."], past, reader, held=held)
    assert [c.lost for c in found.claims] == [0.0, 0.0]  # either alone is enough
    judged = [r for r in reader.asked if r.program is not EVIDENCE]
    assert len(judged) == 4 * 3 * 2
    assert {section(r, "conversation") for r in judged} == {f"Q{n}?" for n in range(8, 12)}


def test_what_the_judge_needs_is_lost_without_it():
    """The judge's own taste is for short answers; only LONG tells it what this user likes."""

    class Fond(Reader):
        def side(self, line, first, second):
            return super().side(line.replace("lists", "long"), first, second)

    found = told([LONG, LISTS], history(short=0, long=6), Fond(), held=["c1", "c4"])
    assert [(c.lost, c.kept) for c in found.claims] == [(1.0, True), (0.0, True)]


def test_a_burden_is_dropped_unless_the_choices_plainly_say_it():
    """The judge takes any persona that names lists for a lover of long answers."""

    class Misled(Reader):
        def __call__(self, request):
            if request.program is not EVIDENCE and "lists" in str(request.sections):
                word = (
                    "First" if len(section(request, "first")) > len(section(request, "second")) else "Second"
                )
                return Reply(word, request.program.read(f"Answer: {word}"))
            return super().__call__(request)

        def side(self, line, first, second):
            return super().side(line.replace("lists", self.lists), first, second)

        lists = "short"

    held = ("c1", "c2")
    found = told([SHORT, LISTS], history(short=3), Misled(), held=held)
    short, lists = found.claims
    assert lists.lost == -1.0
    assert lists.low <= 0  # three choices are no proof
    assert not lists.kept
    assert found.text == SHORT
    assert fate(lists) == "held-out choices are predicted better without it, by 100 points"
    assert short.lost == 0.0
    plain = told([SHORT, LISTS], history(short=12), Misled(), held=held).claims[1]
    assert plain.lost == -1.0
    assert plain.low > 0
    assert plain.kept


def test_nothing_is_left_out_where_one_statement_stands_or_nothing_is_held():
    for statements, held in (
        ([SHORT], ["c1"]),
        ([SHORT, "Prefers short words."], []),
        ([SHORT, LONG], ["c1"]),
    ):
        reader = Reader()
        found = told(statements, history(), reader, held=held)
        assert all(claim.lost is None for claim in found.claims)
        assert all(request.program is EVIDENCE for request in reader.asked)


def test_the_judge_is_shown_what_the_method_shows_and_never_the_choice_itself():
    past = history(short=4)
    reader = Reader()
    examples = past.feedback[:2]

    def shown(text, conversation):
        return Shown(text, examples, {"c0": "It is brief."})

    told([SHORT, "Prefers short words."], past, reader, held=["c1"], shown=shown)
    judged = [r for r in reader.asked if r.program is not EVIDENCE]
    assert judged
    for request in judged:
        seen = [s.text for s in request.sections if s.tag == "example"]
        assert len(seen) == 1
        assert "Why: It is brief." in seen[0]


def test_held_out_comparisons_that_nobody_judged_are_left_out():
    def fail(request):
        return None if request.program is EVIDENCE else Fault("timeout", "slow")

    found = told([SHORT, "Prefers short words."], history(), Reader(fail=fail), held=["c1"])
    assert [(c.lost, c.kept) for c in found.claims] == [(None, True)] * 2


# ---- strength -----------------------------------------------------------------------------------------


def test_the_interval_is_jeffreys_and_holds_the_strength():
    for s in (0, 1, 2, 5, 20, 300):
        for c in (0, 1, 2, 5, 20, 300):
            strength, low, high = log_odds_of(s, c)
            assert low < strength < high
            assert np.isfinite([low, strength, high]).all()
            ends = beta(s + 0.5, c + 0.5).ppf([0.025, 0.975])
            np.testing.assert_allclose([low, high], np.log(ends / (1 - ends)), rtol=1e-5)
            np.testing.assert_allclose(log_odds_of(c, s), (-strength, -high, -low), rtol=1e-9)


def test_intervals_hold_the_true_share_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for share in (0.5, 0.7, 0.9):
        hits = rng.binomial(20, share, size=400)
        ends = np.array([log_odds_of(h, 20 - h)[1:] for h in range(21)])[hits]
        truth = np.log(share / (1 - share))
        assert 0.92 < np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) < 0.99


def test_claims_survive_json():
    persona = Persona("ann", claims=told([SHORT, LONG], history()).claims)
    assert Persona.from_json(persona.to_json()) == persona


# ---- with the fake reader -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readers():
    """Four users who like short answers and four who like long ones, ten choices each, and their tastes."""
    sample = World.two_tastes(users=60).sample()
    taken = np.flatnonzero(sample.population.role == 2)[:8]
    people = sample.population.take_users(taken).head(10)
    return list(people), sample.taste[taken].tolist()


@pytest.fixture
def ask(tmp_path):
    """Return what asks a fake about the statements of many users at once."""

    def run(lm, statements, histories, **more):
        with language_models(folder=tmp_path / "calls") as session:
            tasks = (
                Task(grounded(statements, h, Judge(reason=False), **more), h.user, "evidence")
                for h in histories
            )
            return list(session.client(lm).run(tasks)), session.ledger.total

    return run


def test_the_fake_reader_keeps_what_is_right_and_drops_what_is_wrong(readers, ask):
    histories, tastes = readers
    found, total = ask("fake:world?error=0.1&bias=0.3", [SHORT, LONG, IDLE], histories)
    assert total["requests"] == 8 * 10 * 2
    assert set(tastes) == {0, 1}
    dropped = 0
    for written, taste in zip(found, tastes, strict=True):
        right, wrong = written.claims[:2] if taste == 0 else written.claims[1::-1]
        assert len(right.supports) >= 6
        assert right.kept
        assert wrong.strength < -1 < 1 < right.strength
        dropped += not wrong.kept
    assert dropped >= 6  # the reader errs once in ten, so a user or two stay within chance
    # what has nothing to do with answers is supported by the reader's errors alone
    assert np.mean([abs(w.claims[2].strength) for w in found]) < 1.5


@pytest.mark.parametrize(
    "lm", ["fake:world?blind=statements", "fake:world?blind=first,second", "fake:world?order=1"]
)
def test_a_blind_fake_supports_nothing(readers, ask, lm):
    histories, _ = readers
    found, total = ask(lm, [SHORT, LONG], histories)
    assert all(claim.supports == claim.contradicts == () for w in found for claim in w.claims)
    if "statements" in lm:
        assert total["faults"]  # it has no line to answer: counted, and nothing is dropped for it
        assert all(claim.kept and claim.unread == 10 for w in found for claim in w.claims)
    else:
        assert all(w.text is None for w in found)


def test_the_fake_judge_loses_accuracy_without_the_right_statement(readers, ask):
    histories, tastes = readers
    mine = [h for h, taste in zip(histories, tastes, strict=True) if taste == 0]
    held = {f.id for h in mine for f in h.feedback[3:]}
    found, total = ask("fake:world", [SHORT, "Prefers a warm and kind tone."], mine, held=held)
    short = [w.claims[0] for w in found]
    assert np.mean([claim.lost for claim in short if claim.lost is not None]) > 0.1
    assert all(claim.kept for claim in short)
    assert total["faults"] == {}


def test_failures_of_the_fake_are_counted_and_drop_nothing(readers, ask):
    histories, _ = readers
    found, total = ask("fake:world?malformed=0.3", [SHORT, LONG], histories)
    unread = sum(claim.unread for w in found for claim in w.claims)
    assert unread > 0
    assert total["faults"].get("malformed", 0) > 0
    for written in found:
        for claim in written.claims:
            assert len(claim.supports) + len(claim.contradicts) + claim.unread <= 10


# ---- in a read method -----------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Fixed(ReadMethod):
    """Says of everybody that they like short answers, long ones, and bicycles."""

    name: ClassVar[str] = "fixed"

    def _write(self, history):
        return Written(f"{SHORT} {LONG}\n- {IDLE}", history.feedback[:1], held=(history.feedback[-1].id,))
        yield []


@dataclass(kw_only=True, eq=False)
class Known(Fixed):
    """The same, as what was known without the choices."""

    name: ClassVar[str] = "known"
    states: ClassVar[bool] = False


def test_a_read_method_traces_its_words_to_the_choices(readers, tmp_path):
    histories, tastes = readers
    with language_models(folder=tmp_path / "calls"):
        people = Population.of(histories)
        fields = {"lm": "fake:world", "calibrate": 0}
        personas = Fixed(**fields).fit(people).adapt_batch(people)
        for persona, taste in zip(personas, tastes, strict=True):
            assert persona.text == (SHORT if taste == 0 else LONG)
            assert [claim.kept for claim in persona.claims] == [taste == 0, taste == 1, False]
            assert len(persona.examples) == 1
        for method in (Fixed(evidence=False, **fields), Known(**fields)):
            plain = method.fit(people).adapt_batch(people)[0]
            assert plain.claims == ()
            assert plain.text == f"{SHORT} {LONG}\n- {IDLE}"
        nobody = Fixed(**fields).fit(people).adapt(History("new"))
        assert (nobody.text, nobody.claims) == (None, ())


def test_the_control_of_a_gate_is_never_shown_the_persona(readers, tmp_path):
    """The gate scores its control with the persona at hand; the judge without a persona must not see it."""
    histories, _ = readers
    with language_models(folder=tmp_path / "calls"):
        people = Population.of(histories)
        default = Default(lm="fake:world", calibrate=0).fit(people)
        row = histories[0].feedback[0]
        plain = default.score(Persona(), row.conversation, row.responses)
        for text in (SHORT, LONG):
            told = Persona(user="ann", text=text, examples=(row,))
            np.testing.assert_array_equal(default.score(told, row.conversation, row.responses), plain)
