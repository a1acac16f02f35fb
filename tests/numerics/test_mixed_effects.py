import numpy as np
import pytest
from numeric_truth import numeric_gradient
from scipy.special import expit

from palate.core import Pairs
from palate.numerics import mixed_effects
from palate.numerics.design import Design
from palate.numerics.laplace import Posterior
from palate.numerics.mixed_effects import MixedEffects, Scales, fit_mixed_effects, merge


def planted(seed, users=150, most=40, m=6, directions=None, spread=(), w=None):
    """Choices of users whose tastes are known; the features of an item are its own."""
    rng = np.random.default_rng(seed)
    items = 80
    x, fixed = rng.normal(size=(items, m)), rng.normal(size=(items, len(spread)))
    directions = np.zeros((m, 0)) if directions is None else directions
    w = np.zeros(m) if w is None else w
    z, v = rng.normal(size=(users, directions.shape[1])), rng.normal(size=(users, len(spread)))
    score = x @ w + z @ (x @ directions).T + (v * spread) @ fixed.T
    user = np.repeat(np.arange(users), most)
    left = rng.integers(items, size=len(user))
    right = (left + rng.integers(1, items, len(user))) % items
    wins = rng.random(len(user)) < expit(score[user, left] - score[user, right])
    winner, loser = np.where(wins, left, right), np.where(wins, right, left)
    design = Design.of(Pairs(user, winner, loser, np.ones(len(user)), np.arange(len(user))), users)
    return x[design.items], fixed[design.items], design, z


def cosine(a, b):
    return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def test_one_planted_direction_is_found_with_its_length():
    true = np.array([[1.5, -1.0, 0.0, 0.0, 0.5, 0.0]]).T
    w = np.array([0.0, 0.0, 1.0, -0.5, 0.0, 0.0])
    x, fixed, design, _ = planted(0, directions=true, w=w)
    model = fit_mixed_effects(x, fixed, design, Scales(1.0, 1.0, 1))
    assert cosine(model.directions[:, 0], true[:, 0]) > 0.97
    assert np.linalg.norm(model.directions) == pytest.approx(np.linalg.norm(true), rel=0.25)
    np.testing.assert_allclose(model.w, w, atol=0.25)


def test_two_planted_directions_span_the_plane():
    true = np.array([[1.5, 0, 0.5, 0, 0, 0], [0, -1.2, 0, 0, 1.0, 0]]).T
    x, fixed, design, _ = planted(1, users=250, directions=true)
    model = fit_mixed_effects(x, fixed, design, Scales(1.0, 1.0, 2))
    found, _ = np.linalg.qr(model.directions)
    plane, _ = np.linalg.qr(true)
    assert np.linalg.svd(found.T @ plane)[1].min() > 0.93
    np.testing.assert_allclose(model.directions @ model.directions.T, true @ true.T, atol=0.6)


def test_spreads_of_fixed_directions_are_recovered():
    x, fixed, design, _ = planted(2, spread=(1.2, 0.0, 0.5))
    model = fit_mixed_effects(x, fixed, design, Scales(1.0, 1.0, 0), rounds=15)
    np.testing.assert_allclose(model.spread[[0, 2]], [1.2, 0.5], rtol=0.25)
    assert model.spread[1] < 0.25
    assert model.directions.shape == (6, 0)


def test_a_direction_that_nobody_needs_shrinks():
    w = np.array([1.0, -1.0, 0.5, 0.0, 0.0, 0.0])
    x, fixed, design, _ = planted(3, w=w)
    model = fit_mixed_effects(x, fixed, design, Scales(1.0, 0.5, 2))
    assert np.linalg.norm(model.directions) < 0.35 * np.linalg.norm(w)
    np.testing.assert_allclose(model.w, w, atol=0.3)


def test_an_equal_seed_gives_an_equal_model():
    x, fixed, design, _ = planted(4, users=40, directions=np.eye(6)[:, :1], spread=(0.5,))
    one, two = (fit_mixed_effects(x, fixed, design, Scales(1.0, 1.0, 1), seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.w, two.w)
    np.testing.assert_array_equal(one.directions, two.directions)
    np.testing.assert_array_equal(one.spread, two.spread)


class Spy:
    """Stands in for the solver: keeps the function that it was given, and does not move."""

    def __init__(self):
        self.function, self.start = None, None

    def __call__(self, function, start, *_):
        self.function, self.start = function, start
        return start


@pytest.fixture
def spy(monkeypatch):
    seen = Spy()
    monkeypatch.setattr(mixed_effects, "descend", seen)
    return seen


def believed(rng, users, k):
    root = 0.4 * rng.normal(size=(users, k, k))
    return Posterior(rng.normal(size=(users, k)), root @ root.transpose(0, 2, 1) + 0.1 * np.eye(k))


def small(rank=2, q=3):
    rng = np.random.default_rng(9)
    x, fixed, design, _ = planted(9, users=6, most=5, m=4, spread=(0.4, 0.8, 0.2)[:q])
    model = MixedEffects(rng.normal(size=4), rng.normal(size=(4, rank)), np.array([0.4, 0.8, 0.2])[:q])
    return rng, x, fixed, design, model


@pytest.mark.parametrize(("rank", "q"), [(2, 3), (0, 2), (2, 0)])
def test_the_gradient_of_the_m_step(spy, rank, q):
    rng, x, fixed, design, model = small(rank, q)
    mixed_effects._maximise(model, x, fixed, design, believed(rng, 6, rank + q), Scales(0.8, 0.6, rank), 5)
    at = spy.start + 0.2 * rng.normal(size=len(spy.start))
    numeric = numeric_gradient(lambda v: spy.function(v)[0], at)
    np.testing.assert_allclose(spy.function(at)[1], numeric, atol=2e-4)


def test_the_loss_of_the_m_step_is_the_expected_one(spy):
    """Quadrature against a plain average over draws of the users' parameters."""
    rng, x, fixed, design, model = small()
    belief = believed(rng, 6, 5)
    mixed_effects._maximise(model, x, fixed, design, belief, Scales(0.8, 0.6, 2), 5)
    g = np.concatenate([x @ model.directions, fixed * model.spread], axis=1)
    gap, shared = (
        g[design.winner] - g[design.loser],
        (x @ model.w)[design.winner] - (x @ model.w)[design.loser],
    )
    draws = np.zeros(len(design))
    for _ in range(4000):
        noise = rng.normal(size=belief.mean.shape)
        z = belief.mean + np.einsum("uij,uj->ui", np.linalg.cholesky(belief.covariance), noise)
        draws += np.log1p(np.exp(-(shared + (gap * z[design.user]).sum(1))))
    prior = 0.5 * model.w @ model.w / 0.64 + 0.5 * (model.directions**2).sum() / 0.36
    assert spy.function(spy.start)[0] == pytest.approx(draws.sum() / 4000 + prior, rel=0.02)


def test_the_gradient_of_the_joint_start(spy):
    rng, x, _, design, model = small(2, 0)
    mixed_effects._joint_start(x, design, Scales(0.8, 0.6, 2), model, seed=0)
    at = spy.start + 0.2 * rng.normal(size=len(spy.start))
    numeric = numeric_gradient(lambda v: spy.function(v)[0], at)
    np.testing.assert_allclose(spy.function(at)[1], numeric, atol=2e-4)


def test_rescaling_keeps_the_users_log_odds_and_makes_their_second_moment_one():
    rng, x, fixed, _, model = small()
    belief = believed(rng, 6, 5)
    after, moved = mixed_effects._rescale(model, belief, 2)
    _, g = model.project(x, fixed)
    _, g_after = after.project(x, fixed)
    np.testing.assert_allclose(g_after @ moved.mean.T, g @ belief.mean.T, atol=1e-9)
    second = moved.mean.T @ moved.mean / 6 + moved.covariance.mean(0)
    np.testing.assert_allclose(second[:2, :2], np.eye(2), atol=1e-9)


def covariance(model, x, fixed):
    g = model.project(x, fixed)[1]
    return g @ g.T


def test_a_merged_model_has_the_mean_of_means_and_of_covariances():
    rng = np.random.default_rng(12)
    x, fixed = rng.normal(size=(9, 5)), rng.normal(size=(9, 2))
    models = [
        MixedEffects(rng.normal(size=5), rng.normal(size=(5, r)), rng.uniform(0.1, 1.0, 2)) for r in (0, 1, 2)
    ]
    weights = np.array([1.0, 3.0, 4.0])
    merged = merge(models, weights, rank=8)
    np.testing.assert_allclose(merged.w, sum(a * m.w for a, m in zip(weights / 8, models, strict=True)))
    expected = sum(a * covariance(m, x, fixed) for a, m in zip(weights / 8, models, strict=True))
    np.testing.assert_allclose(covariance(merged, x, fixed), expected, atol=1e-9)
    assert merged.directions.shape == (5, 3)


def test_a_merged_model_keeps_its_largest_directions():
    wide = MixedEffects(np.zeros(3), np.diag([3.0, 2.0, 1.0]), np.zeros(0))
    merged = merge([wide, wide], np.ones(2), rank=2)
    np.testing.assert_allclose(merged.directions @ merged.directions.T, np.diag([9.0, 4.0, 0.0]), atol=1e-9)


def test_merging_models_without_directions():
    flat = [MixedEffects(np.full(2, v), np.zeros((2, 0)), np.array([v])) for v in (1.0, 3.0)]
    merged = merge(flat, np.ones(2), rank=4)
    np.testing.assert_allclose(merged.w, [2.0, 2.0])
    np.testing.assert_allclose(merged.spread, [np.sqrt(5.0)])
    assert merged.directions.shape == (2, 0)
