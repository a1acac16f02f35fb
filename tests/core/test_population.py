"""Columns against plain rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.core import (
    DataError,
    Feedback,
    History,
    Population,
    PopulationBuilder,
    Turn,
    as_conversation,
)

TEXTS = ["Yes.", "No.", "Perhaps 🦜", "نعم", "", "a\nb", "Yes. "]
TALKS = ["Hi", "Why?", (Turn("user", "Hi"), Turn("assistant", "Yes?"), Turn("user", "Go on"))]


@st.composite
def feedback(draw, number):
    options = draw(st.lists(st.sampled_from(TEXTS), min_size=2, max_size=4))
    chosen = draw(st.one_of(st.none(), st.integers(0, len(options) - 1)))
    return Feedback(
        user=draw(st.sampled_from(["ann", "bob", "كريم"])),
        conversation=as_conversation(draw(st.sampled_from(TALKS))),
        responses=tuple(options),
        chosen=chosen,
        id=f"id-{number}",
        time=draw(st.one_of(st.none(), st.floats(0, 9).map(float))),
        reason=draw(st.sampled_from([None, "because"])),
    )


@st.composite
def rows_of(draw):
    return [draw(feedback(number)) for number in range(draw(st.integers(0, 12)))]


def sorted_rows(rows):
    """User by user in order of first mention; a user's rows by time, those without one last."""
    users = list(dict.fromkeys(row.user for row in rows))
    key = {row.id: (users.index(row.user), np.inf if row.time is None else row.time) for row in rows}
    return sorted(rows, key=lambda row: key[row.id])


@settings(max_examples=60, deadline=None)
@given(rows_of())
def test_columns_give_back_the_rows(rows):
    crowd = Population.of(rows)
    assert [row for history in crowd for row in history.feedback] == sorted_rows(rows)
    assert list(crowd.users) == list(dict.fromkeys(row.user for row in rows))
    assert len(set(crowd.corpus.responses)) == len(crowd.corpus.responses)
    assert len(set(crowd.corpus.conversations)) == len(crowd.corpus.conversations)


@settings(max_examples=60, deadline=None)
@given(rows_of())
def test_pairs_are_every_comparison_that_a_row_tells(rows):
    crowd = Population.of(rows)
    expected = []
    for number, row in enumerate(sorted_rows(rows)):
        options, best = row.responses, row.chosen
        if best is not None:
            expected += [(number, options[best], other, 1.0) for i, other in enumerate(options) if i != best]
        else:
            expected += [
                (number, one, other, 0.5) for i, one in enumerate(options) for other in options[i + 1 :]
            ]
    pairs, text = crowd.pairs, crowd.corpus.response
    found = [
        (int(r), text(w), text(lo), float(t))
        for r, w, lo, t in zip(pairs.row, pairs.winner, pairs.loser, pairs.target, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    assert (np.diff(pairs.row) >= 0).all()
    np.testing.assert_array_equal(pairs.user, crowd.row_user[pairs.row])


@settings(max_examples=60, deadline=None)
@given(rows_of(), st.data())
def test_taking_rows_and_users_is_filtering(rows, data):
    crowd = Population.of(rows)
    kept = np.array([data.draw(st.booleans()) for _ in range(crowd.n_rows)], dtype=bool)
    ids = [row.id for row in sorted_rows(rows)]
    expected = [name for name, keep in zip(ids, kept, strict=True) if keep]
    for part in (
        crowd.take_rows(kept),
        crowd.take_rows(np.flatnonzero(kept)),
        crowd.take_rows(kept).compact(),
    ):
        assert [row.id for history in part for row in history.feedback] == expected
        assert list(part.users) == list(crowd.users)
    people = np.array([data.draw(st.booleans()) for _ in range(crowd.n_users)], dtype=bool)
    for part in (crowd.take_users(people), crowd.take_users(np.flatnonzero(people))):
        assert list(part.users) == list(crowd.users[people])
        assert list(part) == [history for history, keep in zip(crowd, people, strict=True) if keep]


@settings(max_examples=40, deadline=None)
@given(rows_of(), st.integers(0, 5))
def test_the_first_rows_of_every_user(rows, k):
    crowd = Population.of(rows)
    assert [h.feedback for h in crowd.head(k)] == [h.feedback[:k] for h in crowd]


@settings(max_examples=40, deadline=None)
@given(rows_of(), st.randoms(use_true_random=False))
def test_equal_rows_have_an_equal_digest_whatever_texts_surround_them(rows, shuffler):
    crowd = Population.of(rows)
    assert Population.of(rows).digest == crowd.digest
    strangers = [Feedback("zoe", as_conversation("else"), ("x", "y"), 0, f"z{n}") for n in range(3)]
    mixed = [*strangers, *rows]
    bigger = Population.of(mixed)
    part = bigger.take_users(bigger.users != "zoe").compact()
    assert part.digest == crowd.digest
    scattered = Population.of(sorted(rows, key=lambda row: row.user))
    assert scattered.n_rows == crowd.n_rows


CHANGES = {
    "choice": {"chosen": 1},
    "tie": {"chosen": None},
    "text": {"responses": ("Yes.", "No!")},
    "prompt": {"conversation": as_conversation("Why??")},
    "user": {"user": "bob"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_that_can_be_learned_from_changes_the_digest(change):
    row = {"user": "ann", "conversation": as_conversation("Why?"), "responses": ("Yes.", "No."), "chosen": 0}
    assert Population.of([Feedback(**row)]).digest != Population.of([Feedback(**{**row, **change})]).digest


def test_profiles_are_part_of_the_digest():
    one, two = (Population.of([History("ann", (), {"age": age})]).digest for age in ("30", "31"))
    assert one != two


def test_users_without_rows_and_histories_are_kept():
    ann = History("ann", (Feedback("ann", as_conversation("Q"), ("a", "b"), 0, "1"),), {"age": "30"})
    crowd = Population.of([History("bob", (), {"age": "40"}), ann])
    assert [len(history) for history in crowd] == [0, 1]
    assert [dict(history.profile) for history in crowd] == [{"age": "40"}, {"age": "30"}]
    assert Population.of([]).n_users == 0
    assert len(Population.of([]).pairs) == 0


def test_rows_without_an_id_are_named_and_equal_ids_refused():
    row = Feedback("ann", as_conversation("Q"), ("a", "b"), 0)
    named = Feedback("ann", as_conversation("Q"), ("a", "b"), 1, "row-1")
    crowd = Population.of([row, named, row])
    assert len(set(crowd.ids)) == 3
    with pytest.raises(DataError, match="two rows have the same id"):
        Population.of([named, named])


def test_the_builder_says_where_each_row_came_from():
    builder = PopulationBuilder()
    for user, time in (("b", 2.0), ("a", 5.0), ("b", 1.0), ("a", float("nan"))):
        builder.add(user, "Q", ["x", "y"], 0, time=time)
    crowd = builder.build()
    assert builder.order.tolist() == [2, 0, 1, 3]
    assert crowd.times[:3].tolist() == [1.0, 2.0, 5.0]


def test_feedback_that_makes_no_sense_is_refused():
    talk = as_conversation("Q")
    with pytest.raises(DataError, match=r"has 1 response\(s\); a choice needs at least two"):
        Feedback("ann", talk, ("only",), 0)
    with pytest.raises(DataError, match="chose position 2, but has responses 0 to 1"):
        Feedback("ann", talk, ("a", "b"), 2)
    with pytest.raises(DataError, match=r"the history of 'bob' holds feedback of \['ann'\]"):
        History("bob", (Feedback("ann", talk, ("a", "b"), 0),))
    assert Feedback("ann", talk, ("a", "b"), None).chosen_response is None
