from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from palate.core import ConfigError
from palate.feedback.world import World
from palate.feedback.world_bounds import average_bound, ideal, oracle, predict


@pytest.fixture(scope="module")
def default():
    return World.default(users=200).sample()


def test_the_bounds_stand_in_order_with_room_between(default):
    known, guessed, blind = (b.accuracy for b in (oracle(default), ideal(default), average_bound(default)))
    assert 0.82 < known < 0.88
    assert guessed < known - 0.02
    assert blind < guessed - 0.08
    losses = [b.log_loss for b in (oracle(default), ideal(default), average_bound(default))]
    assert losses == sorted(losses)
    assert losses[-1] < np.log(2)


def test_two_tastes_are_obvious():
    sample = World.two_tastes().sample()
    assert oracle(sample).accuracy >= 0.98
    assert ideal(sample).accuracy >= 0.98
    assert (
        ideal(sample, contexts=0).accuracy == average_bound(sample).accuracy == pytest.approx(0.5, abs=0.02)
    )
    assert sorted(np.bincount(sample.taste)) == [100, 100]


def test_the_ideal_learner_moves_from_the_prior_to_the_oracle():
    sample = World(users=200, pairs=200, strength=1.5, spread=0.5).sample()
    np.testing.assert_array_equal(ideal(sample, contexts=0).log_odds, average_bound(sample).log_odds)
    accuracy = [ideal(sample, contexts=k, samples=256).accuracy for k in (0, 5, 30, 200)]
    assert min(np.diff(accuracy)) > 0.01
    truth = oracle(sample).log_odds
    apart = [np.mean(np.abs(expit(truth) - expit(ideal(sample, k, 256).log_odds))) for k in (0, 5, 30, 200)]
    assert max(np.diff(apart)) < 0
    assert oracle(sample).accuracy - accuracy[-1] < 0.015
    assert apart[-1] < 0.06


@pytest.mark.parametrize("world", [World(users=1000), World(users=1000, noise=0.3, drift=0.3)])
def test_what_the_bounds_promise_comes_true(world):
    sample = world.sample()
    for bound in (oracle(sample), average_bound(sample), ideal(sample, samples=0)):
        promised = expit(np.abs(bound.log_odds)).reshape(world.users, -1).mean(axis=1)
        kept = (bound.log_odds > 0).reshape(world.users, -1).mean(axis=1)
        error = np.std(promised - kept) / np.sqrt(world.users)
        assert abs(np.mean(promised - kept)) < 3.5 * error, bound.name


def test_the_oracle_allows_for_random_choices():
    world = World(users=100, noise=0.2)
    sample = world.sample()
    pairs = sample.population.with_split("target").pairs
    gap = sample.items_axes[pairs.winner] - sample.items_axes[pairs.loser]
    chance = 0.1 + 0.8 * expit((gap * sample.theta[pairs.user]).sum(axis=1))
    assert expit(oracle(sample).log_odds) == pytest.approx(chance)


def on_two_axes(rng, shape):
    gap = np.zeros((*shape, 8))
    gap[..., [0, 4]] = rng.choice([-2, -1, -0.5, 0.5, 1, 2], (*shape, 2))
    return gap


def by_integration(world, context, target):
    """Sum over a fine grid of theta on the two axes that matter; the others integrate to one."""
    line = np.linspace(-9, 9, 121)
    theta = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    prior = world.prior
    means = prior.means[:, [0, 4]]
    density = np.exp(-0.5 * ((theta[:, None] - means) ** 2).sum(-1) / prior.sd**2) @ prior.weights
    answers = []
    for seen, asked in zip(context[..., [0, 4]], target[..., [0, 4]], strict=True):
        behind = np.exp(-np.einsum("ga,roa->gro", theta, seen)).sum(-1)
        chance = world.noise / world.options + (1 - world.noise) / (1 + behind)
        weight = density * chance.prod(axis=1)
        win = world.noise / 2 + (1 - world.noise) * expit(np.einsum("ga,toa->gto", theta, asked))
        answers.append(np.einsum("g,gto->to", weight, win) / weight.sum())
    return np.array(answers)


@pytest.mark.parametrize(
    ("world", "rough"),
    [
        (World(users=6), 0.02),
        (World(users=6, spread=1.2, noise=0.25), 0.12),
        (World(users=6, spread=1.0, noise=0.0), 0.05),
        (World(users=6, kind="nway", options=4), 0.15),
    ],
)
def test_the_ideal_learner_agrees_with_brute_force(world, rough):
    rng = np.random.default_rng(5)
    for rows in (0, 2, 30):
        context = on_two_axes(rng, (world.users, rows, world.options - 1))
        target = on_two_axes(rng, (world.users, 20, world.options - 1))
        exact = by_integration(world, context, target)
        assert expit(predict(world, context, target, samples=0)) == pytest.approx(exact, abs=rough)
        assert expit(predict(world, context, target, samples=8192)) == pytest.approx(exact, abs=0.012)
        if not rows:
            assert expit(predict(world, context, target)) == pytest.approx(exact, abs=1e-6)


def by_particles(world, context, target, count=40_000):
    """Follow many tastes through the episodes of one user, resampling at each border."""
    rng = np.random.default_rng(7)
    prior, episode = world.prior, world.episode_of_row
    theta = prior.means[rng.choice(len(prior.weights), count, p=prior.weights)]
    theta = theta + prior.sd * rng.standard_normal(theta.shape)
    weight = np.full(count, 1 / count)
    answers = []
    for row, gap in enumerate(np.concatenate([context, target])[:, 0]):
        if row and episode[row] != episode[row - 1]:
            theta = theta[rng.choice(count, count, p=weight)]
            theta += world.drift * rng.standard_normal(theta.shape)
            weight = np.full(count, 1 / count)
        chance = world.noise / 2 + (1 - world.noise) * expit(theta @ gap)
        if row >= len(context):
            answers.append(weight @ chance)
        else:
            weight = weight * chance / (weight @ chance)
    return np.array(answers)


def test_with_drift_the_filter_agrees_with_many_particles():
    world = World(users=4, pairs=20, targets=10, episodes=6, drift=0.4)
    sample = world.sample()
    pairs = sample.population.pairs
    gap = (sample.items_axes[pairs.winner] - sample.items_axes[pairs.loser]).reshape(4, 30, 1, 8)
    found = expit(predict(world, gap[:, :20], gap[:, 20:]))[..., 0]
    exact = np.array([by_particles(world, rows[:20], rows[20:]) for rows in gap])
    assert np.abs(found - exact).max() < 0.04
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.015


def test_the_ideal_learner_is_the_best_of_those_who_learn():
    sample = World(users=200, strength=1.5, spread=0.5).sample()
    best = ideal(sample, samples=256).log_loss
    for wrong in (replace(sample.world, spread=1.5), replace(sample.world, mixture=(0.1, 0.1, 0.1, 0.7))):
        assert ideal(replace(sample, world=wrong), samples=256).log_loss > best + 0.002


def test_draws_are_seeded_and_matter_little(default):
    one, same, other = (ideal(default, seed=seed).log_odds for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.sqrt(np.mean((expit(one) - expit(other)) ** 2)) < 0.008


def test_users_without_spread_are_known_by_their_taste():
    sample = World(users=100, spread=0.0).sample()
    assert ideal(sample).accuracy == pytest.approx(oracle(sample).accuracy, abs=0.03)


def test_a_bound_can_be_taken_for_some_pairs(default):
    pairs = default.population.with_split("target").pairs
    test = default.population.role[pairs.user] == 2
    bound = oracle(default)
    assert len(bound.take(test).log_odds) == test.sum() == 100 * 20
    assert bound.take(test).name == "oracle"


@pytest.mark.parametrize("contexts", [-1, 31])
def test_asking_for_more_context_than_there_is(default, contexts):
    with pytest.raises(ConfigError, match="0 to 30"):
        ideal(default, contexts=contexts)
