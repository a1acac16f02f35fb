"""Seen users: nothing on both sides, the same targets at every size, users dealt evenly."""

from dataclasses import replace

import numpy as np
import pytest

from palate.core import ConfigError, DataError, Feedback, Population, as_conversation
from palate.evaluate.bounds import known_bounds
from palate.evaluate.protocol import SIZES, held_back, make_tasks, new_users, read_protocol, seen_users
from palate.feedback.splits import row_groups
from palate.feedback.world import World


def talkers(users=12, talks=6, turns=3):
    """Users with several conversations of several choices, and of different lengths."""
    rows = [
        Feedback(
            f"user-{u}",
            as_conversation(f"talk {t} of {u}"),
            (f"a {u} {t} {n}", f"b {u} {t} {n}"),
            chosen=(u + n) % 2,
            time=float(100 * t + n),
        )
        for u in range(users)
        for t in range(talks - u % 3)
        for n in range(turns)
    ]
    return Population.of(rows)


def voters(users=15, votes=20):
    """Users with a single conversation, whose responses return: choices hang together by an answer."""
    rng = np.random.default_rng(0)
    rows = []
    for u in range(users):
        for n in range(votes):
            a, b = rng.choice(12, 2, replace=False) + 12 * (n // 5)
            rows.append(Feedback(f"user-{u}", as_conversation("Vote"), (f"s{a}", f"s{b}"), 0, time=float(n)))
    return Population.of(rows)


def keys(population):
    """Conversations and answers of every row, by user."""
    rows = []
    for row in range(population.n_rows):
        view = population.row(row)
        rows.append((view.user, view.conversation, frozenset(view.responses)))
    return rows


@pytest.mark.parametrize("people", [talkers(), voters()], ids=["conversations", "votes"])
@pytest.mark.parametrize("size", [20, 100])
def test_nothing_is_on_both_sides(people, size):
    task = seen_users("d", people, size, seed=3)
    held = held_back(people)
    targets = {held.ids[row] for row in np.flatnonzero(held.split == 1)}
    for handed in (task.fit_on, task.context):
        assert not set(handed.ids) & targets
    group = dict(zip(people.ids, row_groups(people).tolist(), strict=True))
    tested = {group[i] for i in targets}
    assert not tested & {group[i] for i in task.context.ids}
    many = len(people.corpus.conversations) > 1
    asked = held.take_rows(held.split == 1)
    for user, talk, answers in keys(task.context):
        for other, theirs, offered in keys(asked):
            assert user != other or (talk != theirs if many else not answers & offered)


def test_every_size_is_tested_on_the_same_choices():
    people = talkers()
    small, large, drawn = (seen_users("d", people, n, seed=s) for n, s in ((12, 0), (90, 0), (90, 7)))
    for task in (large, drawn):
        for column in ("user", "winner", "loser", "target"):
            np.testing.assert_array_equal(getattr(task.targets, column), getattr(small.targets, column))
    assert set(small.context.ids) < set(large.context.ids)
    assert set(drawn.context.ids) != set(large.context.ids)
    assert small.people.digest != large.people.digest
    again = seen_users("d", people, 90, seed=0)
    assert again.people.digest == large.people.digest


@pytest.mark.parametrize("size", [12, 40, 90])
def test_users_are_balanced_as_far_as_they_have_rows(size):
    people = talkers()
    most = np.diff(held_back(people).with_split("context").offsets)
    counts = np.diff(seen_users("d", people, size).context.offsets)
    assert counts.sum() == size
    assert (counts <= most).all()
    short = counts < most
    assert counts[short].max(initial=0) - counts[short].min(initial=size) <= 1
    assert (counts[~short] <= counts[short].max(initial=size)).all()


def test_methods_see_what_they_adapt_on_and_some_users_choose_settings():
    task = seen_users("d", talkers(users=20), 150)
    assert sorted(task.fit_on.ids) == sorted(task.context.ids)
    assert np.bincount(task.fit_on.role, minlength=3).tolist() == [16, 4, 0]
    validation = task.fit_on.with_role("val")
    assert len(validation.with_split("target").pairs) > 0
    assert (task.protocol, task.size, task.setting) == ("seen-users", 150, "seen-users:150")
    assert task.scored_users == 20


def test_fewer_pairs_than_users_leave_some_users_cold():
    task = seen_users("d", talkers(users=12), 5)
    assert (task.context.n_users, task.fit_on.n_users, len(task.context.pairs)) == (12, 5, 5)
    assert task.scored_users == 12


def test_rows_with_several_options_are_dealt_whole():
    people = World(users=20, kind="nway", options=4).sample().population
    task = seen_users("d", people, 100)
    assert (np.bincount(task.context.pairs.row) == 3).all()
    assert 97 < len(task.context.pairs) <= 100


def test_roles_and_splits_of_new_users_are_left_out_of_account():
    people = talkers()
    given = replace(people, role=np.full(people.n_users, 2, np.int8), split=np.zeros(people.n_rows, np.int8))
    assert seen_users("d", given, 50).people.digest == seen_users("d", people, 50).people.digest


def test_sizes_beyond_the_data_are_left_out_and_told():
    people = talkers()
    tasks, notes = make_tasks("d", people, ("new-users", "seen-users:50,60,100000"))
    assert [task.setting for task in tasks] == ["new-users", "seen-users:50", "seen-users:60"]
    most = len(held_back(people).with_split("context").pairs)
    assert notes == [f"d has {most} training pairs of seen users: without the size of 100,000."]
    assert make_tasks("d", people, ("seen-users:100000",))[0] == []


def test_what_cannot_work_is_refused():
    with pytest.raises(DataError, match=r"training pairs are fewer than the 5,000 asked for"):
        seen_users("d", talkers(), 5000)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        seen_users("d", talkers(), 0)
    alone = Population.of([Feedback(f"u{n}", as_conversation("Hi"), ("a", "b"), chosen=0) for n in range(9)])
    with pytest.raises(DataError, match="no test user has a target choice"):
        seen_users("d", alone, 5)


@pytest.mark.parametrize(
    "text", ["", "old-users", "new-users:3", "seen-users:", "seen-users:0", "seen-users:1,x", "seen-users:-5"]
)
def test_a_protocol_that_does_not_exist_is_refused(text):
    with pytest.raises(ConfigError, match="expected new-users, seen-users, or seen-users:SIZES"):
        read_protocol(text)


def test_protocols_are_read():
    assert read_protocol("seen-users") == ("seen-users", SIZES)
    assert read_protocol(" seen-users:10_000,5,5") == ("seen-users", (10_000, 5))
    assert read_protocol("new-users") == ("new-users", ())


@pytest.mark.parametrize("kind", [{}, {"kind": "nway", "options": 3}, {"drift": 0.2}])
def test_the_bounds_of_a_world_answer_the_targets_of_seen_users(kind):
    sample = World(users=80, **kind).sample()
    task = seen_users("w", sample.population, 500)
    bounds = {name: scores[-1] for name, (_, scores) in known_bounds(sample, task).items()}
    assert set(bounds) == {"oracle", "average"}
    right = {name: float((odds > 0).mean()) for name, odds in bounds.items()}
    assert right["oracle"] > right["average"] + 0.1
    assert right["average"] > 0.53


def test_bounds_of_new_users_are_those_of_the_world():
    sample = World(users=60).sample()
    task = new_users("w", sample.population, simulated=True)
    bounds = known_bounds(sample, task)
    assert set(bounds) == {"oracle", "ideal", "average"}
    assert all(len(odds) == len(task.targets) for _, scores in bounds.values() for odds in scores.values())
    fewer = replace(task, targets=task.targets.take(np.arange(5)))
    with pytest.raises(DataError, match="the world's targets and the task's differ"):
        known_bounds(sample, fewer)
