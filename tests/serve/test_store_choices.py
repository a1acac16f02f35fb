"""Choices in the store: kept once, told apart, read back in time order, whatever they hold."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import serve_stores
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_stores import add, body, kept

from palate.core import DataError, Population
from palate.serve.store import ConflictError, choices, clock, jobs, people, personas
from palate.serve.store.choices import Added
from palate.serve.store.observed import pairs

url, store = serve_stores.url, serve_stores.store

NASTY = [
    "'; DROP TABLE choices; --",
    '" OR 1=1',
    "%_\\",
    ":tenant",
    "$1 ? %(x)s",
    "\u202eright to left",
    "naïve 👩‍👩‍👧 雪",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "a" * 200,
    "line\nbreak\ttab\r",
    "\x01\x7f\ufffe",
]


def history(store, user="ann"):
    with store.read() as c:
        return choices.history(c, "t", user)


def test_replays_at_once_make_one_row(store):
    rows = [kept(key=f"k{n % 5}", chosen=n % 5 % 2) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        told = [each for (each,) in pool.map(lambda row: add(store, row), rows)]
    assert sorted(each.number for each in told if not each.replayed) == [1, 2, 3, 4, 5]
    numbers = {
        row.key: {t.number for r, t in zip(rows, told, strict=True) if r.key == row.key} for row in rows
    }
    assert all(len(each) == 1 for each in numbers.values())
    with store.read() as c:
        state = people.state(c, "t", "ann")
        assert (state.head, state.total, choices.page(c, "t", "ann").total) == (5, 5, 5)


def test_the_same_key_with_another_body_is_told_in_its_place(store):
    add(store, kept(key="k1", chosen=0))
    told = add(
        store,
        kept(key="k2"),
        kept(key="k1", chosen=1),
        kept(key="k2"),
        kept(key="k2", chosen=None),
        kept(user="bob", key="k1", chosen=1),
        kept(key="k1", chosen=0, time=5.0),
    )
    assert told[0] == Added(2)
    assert isinstance(told[1], ConflictError)
    assert told[2] == Added(2, replayed=True)
    assert isinstance(told[3], ConflictError)
    assert told[4:] == [Added(1), Added(1, replayed=True)]
    assert [row.chosen for row in history(store).feedback] == [0, 0]


def test_tenants_do_not_meet(store):
    add(store, kept(key="k1"), tenant="one")
    add(store, kept(key="k1", chosen=1), tenant="two")
    with store.read() as c:
        assert choices.history(c, "one", "ann").feedback[0].chosen == 0
        assert choices.history(c, "two", "ann").feedback[0].chosen == 1
        assert people.count(c, "one") == people.count(c, "two") == 1
        assert people.totals(c) == (2, 2)


def test_choices_that_come_in_another_order_make_the_same_history(store):
    rows = [kept(key=f"k{n}", chosen=n % 2, time=100.0 + n) for n in range(30)]
    add(store, *rows, tenant="in order")
    random.Random(0).shuffle(rows)
    for row in rows:
        add(store, row, tenant="shuffled")
    with store.read() as c:
        assert choices.history(c, "in order", "ann") == choices.history(c, "shuffled", "ann")


def test_a_clock_that_is_ahead_is_not_believed(store, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 1000.0)
    odd = [1300.0, 1301.0, float("inf"), float("nan"), None, 0.0]
    add(store, *(kept(key=f"k{n}", time=time) for n, time in enumerate(odd)))
    with store.read() as c:
        times = {row.key: (row.time, row.received) for row in choices.page(c, "t", "ann").choices}
    assert [times[f"k{n}"][0] for n in range(6)] == [1300.0, 1000.0, 1000.0, 1000.0, 1000.0, 0.0]
    assert {received for _, received in times.values()} == {1000.0}


def test_part_of_a_history(store):
    add(store, *(kept(key=f"k{n}", time=100.0 - n) for n in range(1, 6)))
    with store.read() as c:
        assert [row.id for row in choices.since(c, "t", "ann", 2).feedback] == ["k5", "k4", "k3"]
        assert choices.since(c, "t", "ann", 0) == choices.history(c, "t", "ann")
        assert len(choices.since(c, "t", "ann", 5)) == len(choices.history(c, "t", "nobody")) == 0


def test_histories_of_many_by_few_queries(store):
    add(store, *(kept(user=f"u{n % 20}", key=f"k{n}", time=float(n)) for n in range(50)))
    store.write(lambda c: people.set_profile(c, "t", "u3", {"language": "en"}))
    with store.read() as c:
        names = [f"u{n}" for n in range(19, 9, -1)] + [f"nobody {n}" for n in range(600)] + ["u3", "u0"]
        found = choices.histories(c, "t", names)
        assert [each.user for each in found] == names
        assert found[:12] == [choices.history(c, "t", name) for name in names[:12]]
        assert people.states(c, "t", names) == {n: people.state(c, "t", n) for n in names if n[0] == "u"}
    assert found[-2].profile == {"language": "en"}
    assert len(found[-1]) == 3


def test_ratings_become_pairs_with_names_of_their_own(store):
    add(
        store,
        kept(key="a", responses=("x", "y", "z"), chosen=None, ratings=[1, 5, 3], time=1.0),
        kept(key="a#2", time=2.0),
        kept(key="b", responses=("x", "y"), chosen=None, ratings=[0.5, 0.5], time=3.0),
    )
    found = history(store).feedback
    assert [(row.id, row.responses, row.chosen) for row in found] == [
        ("a", ("x", "y"), 1),
        ("a#2", ("x", "z"), 1),
        ("a#3", ("y", "z"), 0),
        ("b", ("x", "y"), None),
    ]
    Population.of([history(store)])  # ids are unique, as a population wants them
    with store.read() as c:
        assert choices.quotes(c, "t", "ann", ["a", "a#3", "b", "no", "no#1"]).keys() == {"a", "a#3", "b"}
        assert choices.quotes(c, "t", "ann", ["a#2"])["a#2"]["responses"] == ["Hello!", "Yo."]


@given(st.lists(st.floats(-1000, 1000), min_size=2, max_size=16))
def test_pairs_of_ratings_point_upwards(ratings):
    made = pairs(ratings)
    assert made
    for i, j, chosen in made:
        assert i < j
        assert chosen is None or ratings[(i, j)[chosen]] > ratings[(j, i)[chosen]]
    apart = sum(abs(a - b) >= 1 for k, a in enumerate(ratings) for b in ratings[:k])
    assert len(made) == max(1, apart)


def test_pages_latest_first(store):
    add(store, *(kept(key=f"k{n}") for n in range(1, 8)))
    seen, before = [], None
    with store.read() as c:
        while True:
            page = choices.page(c, "t", "ann", before=before, limit=3)
            assert page.total == 7
            seen.append([row.number for row in page.choices])
            before = page.next
            if before is None:
                break
        assert choices.page(c, "t", "nobody").choices == []
    assert seen == [[7, 6, 5], [4, 3, 2], [1]]


def test_one_choice_can_be_taken_out_everywhere(store):
    add(store, *(kept(key=f"k{n}", said=f"words of {n}") for n in range(3)))
    example = {"id": "k1", "text": "words of 1"}
    other = {"id": "k2", "text": "words of 2"}
    persona = {"text": "x", "examples": [example, other, {**example, "id": "k1#2"}]}

    def believe(c):
        born = people.state(c, "t", "ann").born
        held = personas.KeptPersona(0, 1, 0, "m", 3, True, persona, persona, persona, 1.0)
        assert personas.save(c, "t", "ann", held, born=born)
        personas.add_version(
            c, "t", "ann", personas.KeptVersion(1, "adapted", "", "m", 3, persona, None, [], 1.0)
        )

    store.write(believe)
    store.write(lambda c: jobs.done(c, jobs.take(c, 9, -1.0)))
    assert store.write(lambda c: choices.remove(c, "t", "ann", "k1"))
    assert not store.write(lambda c: choices.remove(c, "t", "ann", "k1"))
    with store.read() as c:
        state = people.state(c, "t", "ann")
        assert (state.head, state.total, state.upto, state.exact, state.rev) == (3, 2, 0, False, 2)
        now = personas.load(c, "t", "ann")
        then = personas.version(c, "t", "ann", 1)
        assert now.made == now.body == now.words == then.body == {"text": "x", "examples": [other]}
        assert jobs.counts(c, "t") == (1, 0)
        assert [row.id for row in choices.history(c, "t", "ann").feedback] == ["k0", "k2"]
    assert add(store, kept(key="k1", chosen=1)) == [Added(4)]  # the name is free again


@pytest.mark.parametrize("nasty", NASTY)
def test_whatever_a_name_or_text_holds_is_a_value(store, nasty):
    add(store, kept(user=nasty, key=nasty, said=nasty + "\x00", reason=nasty), tenant=nasty)
    store.write(lambda c: people.set_profile(c, nasty, nasty, {nasty: nasty}))
    with store.read() as c:
        (row,) = choices.page(c, nasty, nasty).choices
        assert row.key == row.reason == nasty
        assert row.conversation[0]["content"] == nasty + "\x00"
        assert choices.quotes(c, nasty, nasty, [nasty])[nasty]["reason"] == nasty
        assert [each.user for each in people.listed(c, nasty)] == [nasty]
        assert [each.user for each in people.listed(c, nasty, like=nasty[1:])] == [nasty]
        assert people.profile(c, nasty, nasty) == {nasty: nasty}
        assert choices.history(c, nasty, nasty).feedback[0].reason == nasty


@pytest.mark.parametrize("bad", ["a\x00b", "\ud800", "x\udfff"])
def test_what_cannot_be_kept_is_refused_alike(store, bad):
    for row in (kept(user=bad), kept(key=bad)):
        with pytest.raises(DataError, match="leave it out"):
            add(store, row)
    with pytest.raises(DataError, match="leave it out"):
        add(store, kept(), tenant=bad)
    with store.read() as c, pytest.raises(DataError, match="leave it out"):
        people.state(c, "t", bad)
    if bad != "a\x00b":
        with pytest.raises(DataError, match="kept as JSON"):
            add(store, kept(said=bad))
    assert add(store, kept())[0].number == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
def test_any_text_comes_back_as_it_was(store, text):
    add(store, kept(user=text, key=text, said=text))
    with store.read() as c:
        assert choices.page(c, "t", text).choices[0].key == text
        assert choices.history(c, "t", text).feedback[0].conversation[0].content == text


def test_a_body_is_told_from_another_whatever_its_order():
    one = body(0, reason="x")
    other = dict(reversed(one.items()))
    assert choices.digest(one) == choices.digest(other) != choices.digest(body(1, reason="x"))
