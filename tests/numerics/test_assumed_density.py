"""One choice taken in, against a plain Laplace computation; groups taken apart and put together."""

import numpy as np
import pytest
from scipy.special import expit

from palate.numerics.assumed_density import Belief, apart, take_in
from palate.numerics.groups import Groups


def gradient(w, mean, variance, o, g, t):
    """The slope of the negative log posterior of one pair: zero at its one mode, for it is convex."""
    return (w - mean) / variance + (expit(o + g @ w) - t) * g


@pytest.mark.parametrize("target", [1.0, 0.5])
@pytest.mark.parametrize("size", [0.1, 1.0, 8.0])
def test_one_pair_is_laplaces_posterior(target, size):
    rng = np.random.default_rng(3)
    for _ in range(5):
        mean, variance = rng.normal(size=4), rng.uniform(0.1, 2.0, size=4)
        o, g = rng.normal() * size, rng.normal(size=4) * size
        belief = Belief(mean[None], variance[None], np.ones(1))
        got = take_in(belief, np.array([o]), g[None], np.array([target]))
        mode, p = got.mean[0], expit(o + g @ got.mean[0])
        np.testing.assert_allclose(gradient(mode, mean, variance, o, g, target), 0.0, atol=1e-8)
        precision = np.diag(1 / variance) + p * (1 - p) * np.outer(g, g)
        np.testing.assert_allclose(got.variance[0], np.diag(np.linalg.inv(precision)), rtol=1e-8)
        assert belief.mean[0].tolist() == mean.tolist()


def test_what_is_known_for_sure_does_not_move_and_the_rest_does():
    belief = Belief(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.ones(1))
    after = take_in(belief, np.zeros(1), np.array([[-3.0, 1.0]]), np.ones(1))
    assert (after.mean[0, 0], after.variance[0, 0]) == (1.0, 0.0)
    assert after.mean[0, 1] > 0.5


def test_shares_go_to_the_group_that_expected_the_choice():
    belief = Belief(np.array([[2.0], [-2.0]]), np.full((2, 1), 0.5), np.array([0.3, 0.7]))
    after = take_in(belief, np.zeros(1), np.array([[1.0]]), np.ones(1))
    p = expit(np.array([2.0, -2.0]) / np.sqrt(1 + np.pi / 8 * 0.5))
    np.testing.assert_allclose(after.share, [0.3, 0.7] * p / ([0.3, 0.7] @ p))
    tie = take_in(belief, np.zeros(1), np.array([[1.0]]), np.array([0.5]))
    np.testing.assert_allclose(tie.share, belief.share)


def test_extreme_pairs_stay_finite():
    belief = Belief(np.zeros((1, 2)), np.ones((1, 2)), np.ones(1))
    for o in (-800.0, 800.0):
        for scale in (1e-9, 1e6):
            after = take_in(belief, np.array([o]), np.full((1, 2), scale), np.ones(1))
            assert np.isfinite(after.mean).all()
            assert (after.variance >= 0).all()


def test_groups_apart_and_together_are_the_same_moments():
    rng = np.random.default_rng(0)
    groups = Groups(np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, 4)), np.diag(rng.uniform(0.2, 1.0, 4)))
    for shrink in (1.0, 0.5, 0.01):
        share = rng.dirichlet(np.ones(3))
        mean = rng.normal(size=4)
        spread = groups.means - share @ groups.means
        variance = shrink * (np.diag(groups.within) + share @ spread**2)
        told = apart(mean, variance, share, groups)
        back, width = told.moments
        np.testing.assert_allclose(back, mean, atol=1e-12)
        np.testing.assert_allclose(width, variance, rtol=1e-9)


def test_without_choices_the_components_are_the_groups():
    rng = np.random.default_rng(1)
    groups = Groups(np.array([0.4, 0.6]), rng.normal(size=(2, 3)), np.diag([0.3, 0.5, 0.9]))
    placed = groups.place(np.zeros((1, 3)), np.eye(3)[None])
    told = apart(placed.mean[0], placed.variance[0], placed.share[0], groups)
    np.testing.assert_allclose(told.mean, groups.means, atol=1e-9)
    np.testing.assert_allclose(told.variance, np.tile([0.3, 0.5, 0.9], (2, 1)), atol=1e-9)
