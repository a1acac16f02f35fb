"""A person's corrections: what they do, that they stay, that they are all or none."""

import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
from serve_keeping import TENANT, give, of_taste, opened, served, world

from palate.core import Claim, DataError, Method, Persona, Personas, Population, about
from palate.gate import held_margins
from palate.serve.keeper import Keeper, Served, Shelf, changing
from palate.serve.keeper.edits import MOST
from palate.serve.keeper.effect import effect
from palate.serve.store import ConflictError, Store, audit, choices, people, personas
from palate.serve.wire.persona import Edit, Edits, Reverted
from palate.serve.wire.use import Rank


@pytest.fixture
def keeper(tmp_path):
    keeper = opened(tmp_path)
    give(keeper, "ann", of_taste("short", 20))
    keeper.readapt(TENANT, ["ann"])
    yield keeper
    keeper.store.close()


def patch(keeper, *edits, version=None, user="ann", **more):
    version = keeper.shown(TENANT, user).version if version is None else version
    return keeper.patch(TENANT, user, Edits(version=version, edits=list(edits), **more), "key-1")


def length(shown):
    return next((s for s in shown.statements if s.about == "length"), None)


def shift(keeper, about="length", user="ann"):
    """What ranks believes of an axis."""
    return served().method.shift_of(keeper.current(TENANT, user).corrected, about)


def test_the_fixture_believes_something(keeper):
    shown = keeper.shown(TENANT, "ann")
    found = length(shown)
    assert found.headline == "Prefers shorter answers"
    assert found.state == "found"
    assert found.shift > 0 > shift(keeper), "the statement's shift points where the sentence points"
    assert found.supports
    assert found.supports[0].chosen
    assert found.n_supports > found.n_contradicts
    assert (shown.version, shown.exact, shown.apply, shown.choices) == (1, True, "tested", 20)
    assert 0.3 < shown.settled < 1
    assert shown.weight == shown.verdict.weight


def test_what_is_forgotten_stays_forgotten(keeper, tmp_path):
    shown, _ = patch(keeper, Edit(do="forget", about="length"))
    assert length(shown).state == "forgotten"
    assert "shorter" not in shown.text.split("\n")[0]
    assert length(shown).headline == "Prefers shorter answers"
    assert shown.version == 2
    assert shift(keeper) == 0.0

    def gone():
        held, now = keeper.current(TENANT, "ann"), keeper.shown(TENANT, "ann")
        assert shift(keeper) == pytest.approx(0.0, abs=1e-9)
        assert length(now).state == "forgotten"
        assert not [c for c in held.words.claims if c.kept and c.about == "length"]
        return held

    rows = of_taste("short", 26)
    give(keeper, "ann", rows[20:24], 20)
    assert not gone().exact  # by steps
    keeper.readapt(TENANT, ["ann"])
    assert gone().exact
    keeper.store.write(lambda c: choices.remove(c, TENANT, "ann", "c2"))
    gone()
    other = opened(tmp_path)
    assert length(other.shown(TENANT, "ann")).state == "forgotten"
    other.store.close()


def test_what_is_forgotten_stays_forgotten_by_another_model(keeper):
    patch(keeper, Edit(do="forget", about="length"))
    second = served("second")
    keeper.shelf.serve(Served(second.method, second.words))
    for again in (False, True):
        if again:
            keeper.readapt(TENANT, ["ann"])
        held = keeper.current(TENANT, "ann")
        assert held.served.method is second.method
        assert second.method.shift_of(held.corrected, "length") == pytest.approx(0.0, abs=1e-9)
        assert length(keeper.shown(TENANT, "ann")).state == "forgotten"


def test_a_locked_statement_stays_as_it_stands(keeper):
    before, own = keeper.shown(TENANT, "ann"), shift(keeper)
    ranked = keeper.current(TENANT, "ann").persona.vector
    shown, effect = patch(keeper, Edit(do="lock", about="length"))
    assert length(shown).state == "locked"
    assert effect.differ == 0
    assert keeper.current(TENANT, "ann").persona.vector == ranked, "a lock changes nothing now"
    give(keeper, "ann", of_taste("long", 12), 20)
    for again in (False, True):
        if again:
            keeper.readapt(TENANT, ["ann"])
        now = keeper.shown(TENANT, "ann")
        assert shift(keeper) == pytest.approx(own, rel=1e-6)
        assert length(now).shift == pytest.approx(length(before).shift, rel=1e-6)
        assert length(now).headline == length(before).headline
        assert length(now).state == "locked"
    shown, _ = patch(keeper, Edit(do="unlock", about="length"))
    assert shift(keeper) > own
    assert length(shown) is None or length(shown).state == "found"


def test_a_strength_is_set_the_way_the_sentence_points(keeper):
    shown, _ = patch(keeper, Edit(do="set", about="length", shift=3.0))
    found = length(shown)
    assert found.state == "said"
    assert found.headline == "Prefers shorter answers"
    assert found.shift == pytest.approx(3.0)
    assert shift(keeper) == pytest.approx(-3.0)
    shown, _ = patch(keeper, Edit(do="set", about="length", shift=-6.0))
    assert length(shown).headline == "Prefers longer answers"
    assert shift(keeper) == pytest.approx(6.0)
    two = ["Yes.", "Yes, and there is a great deal more to say about it, which follows here at some length."]
    ranked = keeper.rank(TENANT, Rank(user="ann", conversation="Well?", responses=two)).ranking
    assert ranked[0].index == 1
    with pytest.raises(DataError, match="nothing is believed"):
        patch(keeper, Edit(do="set", about="no such axis", shift=1.0))
    with pytest.raises(DataError, match="nothing is believed"):
        patch(keeper, Edit(do="lock", about="no such axis"))


def test_a_sentence_of_ones_own_is_told_and_changes_no_ranking(keeper):
    before = keeper.current(TENANT, "ann").persona.vector
    shown, effect = patch(keeper, Edit(do="say", text="Answer in British spelling."))
    said = next(s for s in shown.statements if s.state == "said")
    assert said.about == "answer in british spelling"
    assert said.headline.startswith("Answer in British")
    assert "British" in shown.text
    assert "British" in keeper.current(TENANT, "ann").words.text
    assert effect.differ == 0
    assert keeper.current(TENANT, "ann").persona.vector == before
    with pytest.raises(DataError, match="no strength"):
        patch(keeper, Edit(do="set", about=said.about, shift=2.0))
    give(keeper, "ann", of_taste("short", 21)[20:], 20)
    keeper.readapt(TENANT, ["ann"])
    assert "British" in keeper.current(TENANT, "ann").words.text
    shown, _ = patch(keeper, Edit(do="unlock", about=said.about))
    assert "British" not in shown.text
    assert not [s for s in shown.statements if s.state == "said"]


def test_a_person_decides_whether_it_is_applied(keeper):
    two = ["No.", "No, for reasons that take a while to lay out and that I will now lay out one by one."]
    ask = Rank(user="ann", conversation="Well?", responses=two)
    plain = served().method.control.score(Persona(), "Well?", two)
    shown, _ = patch(keeper, Edit(do="apply", how="never"))
    assert (shown.apply, shown.weight) == ("never", 0.0)
    assert "as the person said" in shown.told
    never = keeper.rank(TENANT, ask)
    first, second = sorted(never.ranking, key=lambda r: r.index)
    assert first.score - second.score == pytest.approx(plain[0] - plain[1])
    assert never.persona.weight == 0.0
    shown, _ = patch(keeper, Edit(do="apply", how="always"))
    assert (shown.apply, shown.weight) == ("always", 1.0)
    keeper.readapt(TENANT, ["ann"])
    give(keeper, "ann", of_taste("long", 3), 30)
    assert keeper.current(TENANT, "ann").persona.vector[-1] == 1.0
    shown, _ = patch(keeper, Edit(do="apply", how="tested"))
    assert shown.apply == "tested"
    assert shown.weight == shown.verdict.weight < 1


def test_never_holds_without_a_gate_too(tmp_path):
    keeper = opened(tmp_path)
    keeper.shelf.serve(Served(served().method.method, served().words))
    give(keeper, "ann", of_taste("short", 8))
    patch(keeper, Edit(do="apply", how="never"))
    assert keeper.current(TENANT, "ann").persona == Persona(user="ann")
    assert keeper.current(TENANT, "ann").words == Persona(user="ann")
    assert keeper.shown(TENANT, "ann").apply == "never"
    keeper.store.close()


# ---- the effect ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [0.0, -8.0, 8.0])
def test_the_effect_is_that_of_held_back_choices(keeper, to):
    edit = Edit(do="forget", about="length") if not to else Edit(do="set", about="length", shift=-to)
    _, effect = patch(keeper, edit, **{"try": True})
    with keeper.store.read() as c:
        history = choices.history(c, TENANT, "ann")
    told = held_margins(served().method, Population.of([history]), {"length": to})
    assert (effect.choices, effect.differ, effect.better, effect.worse) == (
        len(told.pairs), told.changed, told.better, told.worse,
    )  # fmt: skip
    if to == 8.0:
        assert effect.worse > effect.better
        assert effect.differ
        assert effect.told.startswith(
            f"{effect.differ} of {effect.choices} would now be predicted differently: "
        )
    assert len(told.pairs) == 20


def test_the_effect_of_a_correction_begins_at_those_that_stand(keeper):
    _, first = patch(keeper, Edit(do="set", about="length", shift=-8.0))
    _, again = patch(keeper, Edit(do="set", about="length", shift=8.0))  # the sentence is turned by now
    _, back = patch(keeper, Edit(do="unlock", about="length"))
    assert first.differ
    assert again.differ == 0
    assert again.told.startswith("None of 20")
    assert (back.differ, back.better, back.worse) == (first.differ, first.worse, first.better)


def test_there_is_no_effect_without_choices(tmp_path):
    keeper = opened(tmp_path)
    _, effect = patch(keeper, Edit(do="say", text="Be kind."), user="new", **{"try": True})
    assert effect.choices == 0
    assert "no choices" in effect.told
    with keeper.store.read() as c:
        assert people.state(c, TENANT, "new") is None
    shown, _ = patch(keeper, Edit(do="say", text="Be kind."), user="new")
    assert shown.version == 2, "version 1 is what was believed before"
    assert "Be kind" in keeper.current(TENANT, "new").words.text
    give(keeper, "new", of_taste("short", 6))
    assert "Be kind" in keeper.current(TENANT, "new").words.text
    assert keeper.current(TENANT, "new").choices == 6
    keeper.store.close()


# ---- all or none, versions, conflicts -------------------------------------------------------------------


def test_trying_changes_nothing(keeper):
    before = keeper.shown(TENANT, "ann")
    shown, effect = patch(keeper, Edit(do="set", about="length", shift=-8.0), **{"try": True})
    assert length(shown).headline == "Prefers longer answers"
    assert effect.differ
    assert keeper.shown(TENANT, "ann") == before
    with keeper.store.read() as c:
        assert personas.edits(c, TENANT, "ann") == []
        assert not audit.page(c, TENANT).rows


def test_edits_are_applied_together_or_not_at_all(keeper):
    with pytest.raises(DataError):
        patch(keeper, Edit(do="forget", about="length"), Edit(do="lock", about="no such axis"))
    assert length(keeper.shown(TENANT, "ann")).state == "found"
    with keeper.store.read() as c:
        assert personas.edits(c, TENANT, "ann") == []


def test_an_edit_is_written_down(keeper):
    patch(keeper, Edit(do="forget", about="length"), Edit(do="say", text="Write like a pirate."))
    versions = keeper.versions(TENANT, "ann")
    assert [v.version for v in versions] == [2, 1]
    assert versions[0].cause == "edited"
    assert versions[0].told == "Forgot “Prefers shorter answers”, said “Write like a pirate.”"
    assert {s.state for s in versions[0].statements} >= {"forgotten", "said"}
    with keeper.store.read() as c:
        (row,) = audit.page(c, TENANT).rows
    assert (row.actor, row.action, row.user) == ("key-1", "edit", "ann")
    assert row.detail == "forget 1, say 1 (version 2)", "what was said is in no log"


def test_what_was_believed_before_the_first_edit_can_be_gone_back_to(keeper):
    give(keeper, "bob", of_taste("short", 20))
    patch(keeper, Edit(do="forget", about="length"), user="bob", version=0)
    versions = keeper.versions(TENANT, "bob")
    assert [(v.version, v.cause) for v in versions] == [(2, "edited"), (1, "adapted")]
    assert [s.state for s in versions[1].statements] == ["found"]
    shown, _ = keeper.revert(TENANT, "bob", Reverted(version=2, to=1), "k")
    assert (shown.version, length(shown).state) == (3, "found")


def test_versions_tell_what_was_said_whatever_ranks(keeper):
    keeper.shelf.serve(Served(served().words, served().words))
    keeper.readapt(TENANT, ["ann"])
    patch(keeper, Edit(do="say", text="Lives in Oslo."))
    give(keeper, "ann", of_taste("short", 21)[20:], 20)
    keeper.readapt(TENANT, ["ann"])
    for version in keeper.versions(TENANT, "ann")[:2]:
        assert {(s.about, s.state) for s in version.statements} >= {
            ("length", "found"),
            ("lives in oslo", "said"),
        }
    assert "Oslo" in keeper.current(TENANT, "ann").words.text


def test_an_edit_of_what_somebody_edited_since_is_refused(keeper):
    patch(keeper, Edit(do="forget", about="length"), version=1)
    with pytest.raises(ConflictError, match="since version 1"):
        patch(keeper, Edit(do="apply", how="never"), version=1)
    with pytest.raises(ConflictError, match="no version 9"):
        patch(keeper, Edit(do="apply", how="never"), version=9)
    give(keeper, "ann", of_taste("short", 22)[20:], 20)
    keeper.readapt(TENANT, ["ann"])  # version 3: no conflict with what was seen at version 2
    shown, _ = patch(keeper, Edit(do="apply", how="never"), version=2)
    assert shown.version == 4
    assert length(shown).state == "forgotten"


def test_of_edits_at_once_exactly_one_wins(keeper, tmp_path):
    other = opened(tmp_path)
    won, lost = [], []
    ready = threading.Barrier(8)

    def edit(n):
        ready.wait()
        try:
            patch((keeper, other)[n % 2], Edit(do="say", text=f"Sentence number {'abcdefgh'[n]}."), version=1)
            won.append(n)
        except ConflictError:
            lost.append(n)

    threads = [threading.Thread(target=edit, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    said = [s for s in keeper.shown(TENANT, "ann").statements if s.state == "said"]
    assert len(said) == 1
    assert said[0].headline == f"Sentence number {'abcdefgh'[won[0]]}"
    other.store.close()


def test_an_edit_and_readaptations_at_once_lose_nothing(keeper):
    rows, faults = of_taste("short", 40), []

    def make():
        try:
            for n in range(20, 32):
                give(keeper, "ann", [rows[n]], n)
                keeper.readapt(TENANT, ["ann"])
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    for n in range(5):
        patch(keeper, Edit(do="say", text=f"Sentence number {'abcde'[n]}."))
    thread.join()
    assert faults == []
    keeper.readapt(TENANT, ["ann"])
    held, shown = keeper.current(TENANT, "ann"), keeper.shown(TENANT, "ann")
    assert (held.choices, held.pending) == (32, 0)
    assert sorted(s.headline[-1] for s in shown.statements if s.state == "said") == list("abcde")


def test_an_edit_is_applied_to_what_a_job_saved_meanwhile(keeper, monkeypatch):
    between = [lambda: keeper.readapt(TENANT, ["ann"])]

    def slow(*given):
        give(keeper, "ann", of_taste("short", 21)[20:], 20)
        while between:
            between.pop()()
        return effect(*given)

    monkeypatch.setattr(changing, "effect", slow)
    shown, told = patch(keeper, Edit(do="forget", about="length"), version=1)
    assert (shown.version, shown.choices, told.choices) == (3, 21, 20)
    assert length(shown).state == "forgotten"
    assert shift(keeper) == 0.0
    assert [v.cause for v in keeper.versions(TENANT, "ann")] == ["edited", "adapted"]


def test_going_back_restores_the_corrections_that_stood(keeper):
    patch(keeper, Edit(do="forget", about="length"))  # version 2
    patch(keeper, Edit(do="unlock", about="length"), Edit(do="say", text="Be kind."))  # version 3
    give(keeper, "ann", of_taste("short", 22)[20:], 20)
    shown, effect = keeper.revert(TENANT, "ann", Reverted(version=3, to=2), "key-2")
    assert shown.version == 4
    assert length(shown).state == "forgotten"
    assert "Be kind" not in shown.text
    assert shown.choices == 22, "choices made since stay"
    assert effect.choices == 22
    shown, _ = keeper.revert(TENANT, "ann", Reverted(version=4, to=1), "key-2")
    assert length(shown).state == "found"
    assert shift(keeper) < 0
    assert keeper.versions(TENANT, "ann")[0].cause == "reverted"
    with pytest.raises(DataError, match="no version 77"):
        keeper.revert(TENANT, "ann", Reverted(version=5, to=77), "key-2")
    with pytest.raises(ConflictError):
        keeper.revert(TENANT, "ann", Reverted(version=4, to=2), "key-2")


def test_corrections_are_no_endless_list(keeper):
    for start in range(0, MOST, 50):
        names = ["".join(chr(97 + int(d)) for d in str(n)) for n in range(start, start + 50)]
        patch(keeper, *[Edit(do="say", text=f"Sentence {name}.") for name in names])
    with pytest.raises(DataError, match="the most are"):
        patch(keeper, Edit(do="say", text="One too many."))


# ---- a method of sentences ------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Written(Method):
    """Says the same of whoever chose, and likes answers that hold words of its text."""

    name = "written"
    seed: int = 0

    def _learn(self, population):
        self.ok_ = 1

    def _condense(self, population):
        return np.zeros((population.n_users, 0))

    def adapt_batch(self, histories):
        people, lines = Population.of(histories), ("Likes tea 2 times.", "Likes cats.")
        claims = [tuple(Claim(x, 1.0, 0.5, 1.5) for x in lines) if len(h) else () for h in people]
        texts = ["\n".join(c.text for c in mine) or None for mine in claims]
        known = np.ones(len(texts), bool)
        return Personas(
            self.label,
            self.fingerprint,
            people.users,
            None,
            known,
            people,
            None,
            texts,
            [()] * len(texts),
            claims,
        )

    def _log_odds(self, vectors, queries):
        who = queries.who[queries.option_query].tolist()
        texts = [(queries.personas[w].text or "").lower() for w in who]
        words = [queries.corpus.response(i).lower().split() for i in queries.options.tolist()]
        return np.array([float(sum(w in t for w in mine)) for mine, t in zip(words, texts, strict=True)])

    def revise(self, persona, shifts):
        said = {about(key): (key, shift) for key, shift in shifts.items()}
        claims = [replace(c, kept=bool(said.pop(c.about, (0, 1))[1])) for c in persona.claims]
        claims += [Claim(key, 1.0, 1.0, 1.0).said(1.0) for key, shift in said.values() if shift]
        return replace(persona, claims=tuple(claims), text="\n".join(c.text for c in claims if c.kept))

    def shift_of(self, persona, key):
        return next((float(c.kept) for c in persona.claims if c.about == about(key)), None)


def test_a_text_method_takes_sentences_into_its_persona(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}")
    keeper = Keeper(store, Shelf(Served(Written().fit(world()[0].population))))
    give(keeper, "ann", of_taste("short", 5))
    shown, _ = patch(keeper, Edit(do="forget", about="likes tea times"), Edit(do="say", text="Hates rain."))
    assert [(s.about, s.state) for s in shown.statements] == [
        ("likes cats", "found"), ("hates rain", "said"), ("likes tea times", "forgotten"),
    ]  # fmt: skip
    assert keeper.current(TENANT, "ann").words.text == "Likes cats.\nHates rain. (As the person said.)"
    two = ["tea", "rain"]
    ranked = keeper.rank(TENANT, Rank(user="ann", conversation="?", responses=two)).ranking
    assert ranked[0].index == 1, "what was said is ranked by"
    keeper.readapt(TENANT, ["ann"])
    assert keeper.current(TENANT, "ann").words.text == "Likes cats.\nHates rain. (As the person said.)"
    keeper.store.close()
