"""The new-users split leaks nothing, keeps its shares, and obeys what was given."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from palate.core import ConfigError, Feedback, Population, PopulationBuilder, Turn, as_conversation
from palate.feedback import context_parts, split_new_users
from palate.feedback.keys import conversation_of_rows
from palate.feedback.splits import row_groups


def people(n_users=60, most=40, talks=6, texts=50, seed=0):
    """Return users of 0 to ``most`` random choices."""
    rng = np.random.default_rng(seed)
    builder = PopulationBuilder()
    for user in range(n_users):
        builder.add_user(f"u{user}")
        for row in range(int(rng.integers(0, most + 1))):
            a = int(rng.integers(0, texts))
            b = (a + int(rng.integers(1, texts))) % texts
            talk = f"p{rng.integers(0, talks)}"
            builder.add(f"u{user}", talk, (f"r{a}", f"r{b}"), 0, time=float(row))
    return builder.build()


populations = st.builds(
    people, st.integers(0, 30), st.integers(0, 15), st.integers(1, 5), st.integers(2, 30), st.integers(0, 99)
)


def sides(population, label):
    """Return the splits that each label of a row is found on."""
    found = {}
    for row in range(population.n_rows):
        for name in label(row):
            found.setdefault(name, set()).add(int(population.split[row]))
    return found.values()


@settings(max_examples=60, deadline=None)
@given(populations, st.integers(0, 5), st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_nothing_leaks(population, seed, target):
    done = split_new_users(population, seed, target=target)
    assert (done.role >= 0).all()
    assert set(done.split.tolist()) <= {0, 1}
    talk = conversation_of_rows(done) if done.n_rows else []
    several = {u for u in range(done.n_users) if len(set(talk[done.offsets[u] : done.offsets[u + 1]])) > 1}

    def conversations(row):
        return [(int(done.row_user[row]), int(talk[row]))] if done.row_user[row] in several else []

    def responses(row):
        if done.row_user[row] in several:
            return []
        options = done.options[done.option_offsets[row] : done.option_offsets[row + 1]]
        return [(int(done.row_user[row]), int(item)) for item in options]

    assert all(len(side) == 1 for side in sides(done, conversations))
    assert all(len(side) == 1 for side in sides(done, responses))
    parts = context_parts(done)
    assert not (parts & (done.split == 1)).any()
    marked = replace(done, split=np.where(done.split == 1, 2, parts).astype(np.int8))
    assert all(len(side) == 1 for side in sides(marked, conversations))


@settings(max_examples=40, deadline=None)
@given(populations)
def test_users_with_several_groups_have_both_sides(population):
    done = split_new_users(population, 1)
    group = row_groups(done)
    for user in range(done.n_users):
        rows = slice(done.offsets[user], done.offsets[user + 1])
        several = len(set(group[rows].tolist())) > 1
        assert set(done.split[rows].tolist()) == (
            {0, 1} if several else {0} if rows.stop > rows.start else set()
        )


def test_time_order_and_shares():
    population = people(n_users=200, most=40, talks=1, texts=10**9)
    done = split_new_users(population, 0)
    last_context = np.full(done.n_users, -1.0)
    np.maximum.at(last_context, done.row_user[done.split == 0], done.times[done.split == 0])
    target = done.split == 1
    assert (done.times[target] > last_context[done.row_user[target]]).all()
    assert 0.27 < target.mean() < 0.33
    parts = context_parts(done)
    assert 0.17 < parts.mean() < 0.23
    last_train = np.full(done.n_users, -1.0)
    train = ~target & ~parts
    np.maximum.at(last_train, done.row_user[train], done.times[train])
    assert (done.times[parts] > last_train[done.row_user[parts]]).all()


def test_fractions_and_stratification():
    population = people(n_users=1000, most=50)
    done = split_new_users(population, 3)
    assert np.bincount(done.role).tolist() == [400, 100, 500]
    counts = np.diff(done.offsets)
    means = [counts[done.role == role].mean() for role in range(3)]
    assert max(means) - min(means) < 1.0
    assert split_new_users(population, 4).role.tolist() != done.role.tolist()
    assert split_new_users(population, 3).role.tolist() == done.role.tolist()


@pytest.mark.parametrize(("n", "expected"), [(0, set()), (1, {0}), (3, {0, 1, 2}), (16, {0, 1, 2})])
def test_few_users_still_fill_the_roles(n, expected):
    roles = set(split_new_users(people(n_users=n), 0).role.tolist())
    assert roles == expected or (n == 1 and len(roles) == 1)


def test_users_with_one_choice_or_none():
    builder = PopulationBuilder()
    builder.add_user("none")
    builder.add("one", "p", ("a", "b"), 0)
    done = split_new_users(builder.build(), 0)
    assert done.split.tolist() == [0]
    assert not context_parts(done).any()


def test_votes_that_share_a_response_move_together():
    builder = PopulationBuilder()
    chain = [("a", "b"), ("c", "d"), ("b", "c"), ("x", "y"), ("z", "w")]
    for time, options in enumerate(chain):
        builder.add("u", "one prompt", options, 0, time=float(time))
    population = builder.build()
    group = row_groups(population)
    assert group[0] == group[1] == group[2]
    assert len(set(group.tolist())) == 3
    assert split_new_users(population, 0).split.tolist() == [0, 0, 0, 0, 1]


def test_given_roles_and_splits_are_obeyed():
    population = people(n_users=40, most=20, talks=1, texts=10**9)
    role = np.full(40, -1, np.int8)
    role[:5], role[5:9] = 2, 1
    split = np.full(population.n_rows, -1, np.int8)
    first = population.offsets[:-1][np.diff(population.offsets) > 3]
    split[first[:3]], split[first[3:6]] = 1, 0
    done = split_new_users(replace(population, role=role, split=split), 0)
    assert (done.role[:9] == role[:9]).all()
    assert (done.split[split >= 0] == split[split >= 0]).all()
    for row in first[:3].tolist():
        user = population.row_user[row]
        rest = done.split[population.offsets[user] : population.offsets[user + 1]]
        assert rest.tolist() == [1] + [0] * (len(rest) - 1)
    assert split_new_users(done, 9).split.tolist() == done.split.tolist()


def test_rows_of_a_group_with_a_given_split_follow_it():
    builder = PopulationBuilder()
    for time, split in enumerate([-1, 1, -1]):
        builder.add("u", "p", ("a", f"b{time}"), 0, time=float(time), split=split)
    assert split_new_users(builder.build(), 0).split.tolist() == [1, 1, 1]


def test_max_context_keeps_the_latest():
    done = split_new_users(people(n_users=80, most=40), 0, max_context=5)
    context = done.split == 0
    counts = np.bincount(done.row_user[context], minlength=done.n_users)
    assert counts[done.role > 0].max() == 5
    assert counts[done.role == 0].max() > 5
    whole = split_new_users(people(n_users=80, most=40), 0)
    assert (done.split == 1).sum() == (whole.split == 1).sum()
    user = int(np.flatnonzero((done.role == 2) & (np.bincount(whole.row_user[whole.split == 0]) > 5))[0])
    kept = done.times[(done.row_user == user) & context]
    assert kept.tolist() == whole.times[(whole.row_user == user) & (whole.split == 0)][-5:].tolist()


@pytest.mark.parametrize(
    "options",
    [{"fractions": (0.5, 0.5)}, {"fractions": (0.9, 0.2, -0.1)}, {"target": 1.0}, {"max_context": -1}],
)
def test_shares_that_cannot_work(options):
    with pytest.raises(ConfigError, match="expected"):
        split_new_users(Population.of([]), 0, **options)


def test_all_turns_of_a_dialogue_stay_on_one_side():
    rows = []
    for user in range(12):
        for chat in range(5):
            turns = [Turn("system", "Be kind.")]
            for turn in range(3):
                turns = [*turns, Turn("user", f"{chat}" if not turn else f"and {turn}?")]
                name, shown = f"{user}-{chat}-{turn}", (f"a{chat}{turn}", f"b{chat}{turn}")
                talk = as_conversation(tuple(turns))
                rows.append(Feedback(f"u{user}", talk, shown, 0, name, time=float(len(rows))))
                turns = [*turns, Turn("assistant", f"a{chat}{turn}")]
    done = split_new_users(Population.of(rows))
    sides = {}
    for name, split in zip(done.ids, done.split, strict=True):
        sides.setdefault(name.rsplit("-", 1)[0], set()).add(int(split))
    assert all(len(side) == 1 for side in sides.values())
    assert {0, 1} == set().union(*sides.values())
