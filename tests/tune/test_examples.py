"""Examples: a pair never stands among its own signals, and what gave none is counted."""

from palate.core import Feedback, History, Population, as_conversation
from palate.tune.examples import examples_of, signals_of


def choice(user, i, chosen=0, responses=("yes", "no"), asked=None):
    return Feedback(
        user, as_conversation(asked or f"question {i}"), responses, chosen, id=f"{user}{i}", time=float(i)
    )


def people():
    ann = [choice("ann", i, i % 2) for i in range(6)]
    ann += [choice("ann", 6, asked="question 5"), choice("ann", 7, None)]
    bob = [choice("bob", 0, 0, ("same", "same")), choice("bob", 1, 2, ("a", "b", "c", "c"))]
    return Population.of([History("ann", tuple(ann), {"age": "old"}), History("bob", tuple(bob))])


def test_every_decided_pair_comes_once():
    found = examples_of(people(), 3, seed=0)
    assert sorted((e.id, e.chosen, e.rejected) for e in found.rows) == [
        *((f"ann{i}", *(("yes", "no") if i % 2 == 0 else ("no", "yes"))) for i in range(6)),
        ("ann6", "yes", "no"),
        ("bob1", "c", "a"),
        ("bob1", "c", "b"),
    ]
    assert dict(found.left_out) == {"ties": 1, "pairs of equal answers": 2}


def test_a_pair_is_not_among_its_signals():
    for seed in range(5):
        for example in examples_of(people(), 10, seed).rows:
            asked = [f.conversation for f in example.past]
            assert example.conversation not in asked  # nor another choice in the same conversation
            assert all(f.user == example.user for f in example.past)
            assert all(f.chosen is not None for f in example.past)
            assert [f.time for f in example.past] == sorted(f.time for f in example.past)
            if example.user == "ann":
                assert len(example.past) == (5 if example.id in ("ann5", "ann6") else 6)
                assert example.profile == {"age": "old"}


def test_at_most_so_many_signals_are_shown_and_each_pass_shows_others():
    found = examples_of(people(), 2, seed=1, passes=4)
    assert len(found.rows) == 36
    assert all(len(e.past) <= 2 for e in found.rows)
    assert len({tuple(f.id for f in e.past) for e in found.rows if e.id == "ann0"}) > 1
    assert dict(found.left_out) == {"ties": 1, "pairs of equal answers": 2}  # choices, however many passes
    assert all(e.past == () for e in examples_of(people(), 0, seed=1).rows)


def test_equal_seeds_equal_examples():
    assert examples_of(people(), 3, 5) == examples_of(people(), 3, 5)
    assert [e.id for e in examples_of(people(), 3, 5).rows] != [
        e.id for e in examples_of(people(), 3, 6).rows
    ]


def test_signals_are_the_latest():
    ann = next(iter(people()))
    assert [f.id for f in signals_of(ann, 2)] == ["ann5", "ann6"]
    assert signals_of(ann, 0) == ()
    assert len(signals_of(ann, 99)) == 7
