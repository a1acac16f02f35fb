import time
from dataclasses import replace

import numpy as np
import pytest

from palate.core import SPLITS, ConfigError
from palate.feedback.world import TASTES, World
from palate.feedback.world_answers import ANSWERS, AXES, VARIANTS
from palate.feedback.world_bounds import average_bound, ideal, oracle


def columns(sample):
    people = sample.population
    return [
        people.options,
        people.chosen,
        people.times,
        people.role,
        people.split,
        sample.theta,
        sample.taste,
    ]


@pytest.mark.parametrize("kind", ["pairs", "nway", "ratings"])
def test_equal_fields_give_an_equal_sample(kind):
    world = World(users=50, kind=kind, options=2 if kind == "pairs" else 4, drift=0.2)
    for one, two in zip(columns(world.sample()), columns(world.sample()), strict=True):
        np.testing.assert_array_equal(one, two)
    assert world.sample().population.digest == world.sample().population.digest
    assert world.sample().population.digest != replace(world, seed=1).sample().population.digest


def test_roles_and_splits():
    world = World(users=200)
    people = world.sample().population
    assert np.bincount(people.role).tolist() == [80, 20, 100]
    assert people.n_rows == 200 * 50
    split = people.split.reshape(200, 50)
    assert (split[:, :30] == SPLITS.index("context")).all()
    assert (split[:, 30:] == SPLITS.index("target")).all()
    assert (np.diff(people.times.reshape(200, 50), axis=1) > 0).all()
    assert len(set(people.ids)) == people.n_rows
    assert people.users[123] == "u000123"


def test_no_prompt_is_in_both_context_and_target_of_a_user():
    people = World(users=300).sample().population
    prompt = people.corpus.item_conversation[people.options[::2]]
    key = people.row_user * 1000 + prompt
    assert not set(key[people.split == 0]) & set(key[people.split == 1])
    shared = set(prompt[people.split == 0]) & set(prompt[people.split == 1])
    assert len(shared) == 48, "over users every prompt is on both sides"


def test_pairs_are_fair_questions():
    sample = World(users=1000).sample()
    people = sample.population
    left, right = people.options.reshape(-1, 2).T
    assert (people.corpus.item_conversation[left] == people.corpus.item_conversation[right]).all()
    assert (left // VARIANTS != right // VARIANTS).all()
    assert abs(people.chosen.mean() - 0.5) < 0.01
    gap = sample.items_axes[left] - sample.items_axes[right]
    assert np.abs(gap.mean(axis=0)).max() < 0.03
    assert (gap.var(axis=0) > 1.4).all()
    off = np.corrcoef(gap.T) - np.eye(len(AXES))
    assert np.abs(off).max() < 0.05
    assert len(np.unique(people.options)) == 48 * ANSWERS * VARIANTS


def test_tastes_hold_their_shares_and_their_spread():
    world = World(users=2000)
    sample = world.sample()
    assert np.bincount(sample.taste).tolist() == [900, 600, 300, 200]
    inside = sample.theta - world.prior.means[sample.taste]
    assert inside.std(axis=0) == pytest.approx(np.full(8, world.spread), rel=0.06)
    assert replace(world, spread=0.0).sample().theta[0] in world.prior.means


def test_an_episode_is_one_topic_in_one_stretch_of_time():
    world = World(users=100, pairs=12, targets=8, episodes=4)
    sample = world.sample()
    people = sample.population
    assert sample.episode[:20].tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    topic_of = {n: t for t, prompts in enumerate(np.arange(48)[:, None]) for n in prompts}
    assert len(topic_of) == 48
    prompts = people.corpus.item_conversation[people.options[::2]].reshape(100, 4, 5)
    assert max(len(set(block)) for user in prompts for block in user) <= 4
    gaps = np.diff(people.times.reshape(100, 20), axis=1)
    borders = np.flatnonzero(np.diff(world.episode_of_row))
    assert gaps[:, borders].min() > 86_400 > 3600 > np.delete(gaps, borders, axis=1).max()


def test_the_smallest_worlds_work():
    sample = World.default(users=10).sample()
    assert np.bincount(sample.population.role, minlength=3).tolist() == [4, 1, 5]
    assert len(ideal(sample).log_odds) == len(oracle(sample).log_odds) == 200
    for world in (
        World(users=1, pairs=1, targets=0, episodes=1),
        World(users=1, pairs=0, targets=1, episodes=1),
    ):
        one = world.sample()
        assert one.population.n_rows == 1
        assert len(ideal(one).log_odds) == world.targets == len(average_bound(one).log_odds)


def test_noise_makes_choices_random():
    wholly = World(users=500, noise=1.0).sample()
    assert set(oracle(wholly).log_odds) == {0.0}
    quiet, loud = (oracle(World(users=500, noise=noise).sample()).accuracy for noise in (0.0, 0.4))
    assert quiet > loud + 0.1


def test_drift_moves_tastes_as_far_as_it_says():
    still, moving = World(users=2000).sample(), World(users=2000, drift=0.3).sample()
    assert still.walk is None
    assert moving.walk is not None
    assert moving.walk[:, 0].any() == np.False_
    assert moving.walk[:, 9].std() == pytest.approx(0.3 * 3, rel=0.05)
    rows = np.array([0, 49])
    assert (moving.theta_of(rows)[0] == moving.theta[0]).all()
    assert moving.theta_of(rows)[1] == pytest.approx(moving.theta[0] + moving.walk[0, 9])
    lost = [oracle(s).accuracy - ideal(s, samples=0).accuracy for s in (still, moving)]
    assert lost[1] > lost[0] + 0.02, "old choices say less of a moving taste"


def test_many_options_and_their_pairs():
    sample = World(users=100, kind="nway", options=4).sample()
    people = sample.population
    rows = people.options.reshape(-1, 4)
    assert all(len(set(row)) == 4 for row in (rows // VARIANTS).tolist())
    assert len(people.pairs) == people.n_rows * 3
    assert np.bincount(people.chosen) / people.n_rows == pytest.approx(np.full(4, 0.25), abs=0.03)
    assert oracle(sample).accuracy > ideal(sample).accuracy > average_bound(sample).accuracy


def test_ratings_tell_the_choices_in_grades():
    world = World(users=100, kind="ratings")
    sample = world.sample()
    user, item, rating = sample.ratings()
    np.testing.assert_array_equal(item, sample.population.options)
    assert user[:100].tolist() == [0] * 100
    assert set(rating) == {1, 2, 3, 4, 5}
    grades = rating.reshape(-1, 2)
    picked = grades[np.arange(len(grades)), sample.population.chosen]
    assert (picked == grades.max(axis=1)).all()
    np.testing.assert_array_equal(
        sample.population.chosen, replace(world, kind="pairs").sample().population.chosen
    )
    with pytest.raises(ConfigError, match="kind='ratings'"):
        World(users=2).sample().ratings()


def test_pairs_differ_where_they_must():
    sample = World(users=100, differ=("length", "warmth")).sample()
    labels = sample.items_axes[sample.population.options // VARIANTS * VARIANTS].reshape(-1, 2, 8)
    assert (np.abs(labels[:, 0] - labels[:, 1])[:, [0, 3]] >= 1).all()


def test_generated_tastes_come_from_the_seed():
    one, two = (World(tastes=6, mixture=(), seed=seed).prior for seed in (0, 1))
    assert one.means.shape == (6, 8)
    assert one.weights == pytest.approx(np.full(6, 1 / 6))
    assert (one.means != two.means).any()
    assert World(tastes=6, mixture=()).taste_names[5] == "taste-6"


def test_every_named_taste_can_be_used():
    names = tuple(TASTES)
    assert World(users=9, tastes=names, mixture=()).sample().theta.shape == (9, 8)
    assert World(tastes=list(names), mixture=[]).tastes == names  # as it comes from YAML


def test_a_hundred_thousand_users_are_quick():
    begun = time.perf_counter()
    sample = World(users=100_000, pairs=3, targets=2, episodes=2).sample()
    assert time.perf_counter() - begun < 20
    assert sample.population.n_rows == 500_000


@pytest.mark.parametrize(
    ("fields", "field", "cure"),
    [
        ({"users": 0}, "users", "users=1"),
        ({"users": 2.5}, "users", "whole"),
        ({"pairs": -1}, "pairs", "0 or more"),
        ({"pairs": 0, "targets": 0}, "pairs", "pairs=30"),
        ({"spread": float("nan")}, "spread", "spread=0"),
        ({"strength": -1}, "strength", "0 or more"),
        ({"noise": 5}, "noise", "0.05"),
        ({"episodes": 51}, "episodes", "episodes=50"),
        ({"kind": "stars"}, "kind", "ratings"),
        ({"options": 3}, "options", "nway"),
        ({"kind": "nway", "options": 7}, "options", "6 answers"),
        ({"tastes": ("brisk", "martian")}, "tastes", "brisk, thorough"),
        ({"tastes": ()}, "tastes", "tastes=4"),
        ({"tastes": 3}, "mixture", "mixture=()"),
        ({"mixture": (0.5, 0.5, 0.5, 0.5)}, "mixture", "sum to 1"),
        ({"differ": ("charm",)}, "differ", "leaning"),
        ({"seed": -1}, "seed", "0 or more"),
    ],
)
def test_impossible_fields_are_told_with_their_cure(fields, field, cure):
    with pytest.raises(ConfigError, match=rf"^World\.{field} is ") as caught:
        World(**fields)
    assert cure in str(caught.value)


def test_axes_that_cannot_all_differ_are_told():
    with pytest.raises(ConfigError, match="differ"):
        World(kind="nway", options=4, differ=("length",)).sample()
