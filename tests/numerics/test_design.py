import numpy as np
import pytest
from numeric_truth import nll, numeric_gradient, random_design, random_pairs

from palate.numerics.design import Design, log_loss, loss_slope, mean_by, user_mean


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_incidence_gives_the_difference_of_every_pair(rng):
    pairs = random_pairs(rng, items=30)
    design, scores = Design.of(pairs, 7), rng.normal(size=30)
    expected = [scores[w] - scores[lo] for w, lo in zip(pairs.winner, pairs.loser, strict=True)]
    np.testing.assert_allclose(design.incidence @ scores[design.items], expected, atol=1e-12)
    assert set(design.items) == set(pairs.winner) | set(pairs.loser)
    assert len(design) == len(pairs)


def test_transposed_incidence_collects_pairs_at_their_items(rng):
    design = random_design(rng)
    values = rng.normal(size=len(design))
    expected = np.zeros(len(design.items))
    for value, w, lo in zip(values, design.winner, design.loser, strict=True):
        expected[w] += value
        expected[lo] -= value
    np.testing.assert_allclose(design.incidence.T @ values, expected, atol=1e-12)


def test_by_user_sums_and_leaves_silent_users_at_zero(rng):
    design = random_design(rng, silent=(2, 6))
    values = rng.normal(size=len(design))
    expected = [values[design.user == u].sum() for u in range(7)]
    np.testing.assert_allclose(design.by_user @ values, expected, atol=1e-12)


def test_balance_counts_users_with_pairs_the_same_and_has_mean_one(rng):
    design = random_design(rng, silent=(0,))
    totals = design.by_user @ design.balance
    assert totals[0] == 0
    np.testing.assert_allclose(totals[1:], len(design) / 6)
    assert design.balance.mean() == pytest.approx(1.0)


def test_log_loss_is_the_written_out_one_and_its_slope_is_its_derivative(rng):
    d, target = rng.normal(size=9) * 3, rng.choice([0.5, 1.0], 9)
    np.testing.assert_allclose(log_loss(d, target), nll(d, target), rtol=1e-12)
    slope = numeric_gradient(lambda x: log_loss(x, target).sum(), d)
    np.testing.assert_allclose(loss_slope(d, target), slope, atol=1e-8)


def test_log_loss_of_extreme_odds_is_finite():
    np.testing.assert_allclose(log_loss(np.array([-800.0, 800.0]), np.ones(2)), [800.0, 0.0])


def test_means_by_group(rng):
    group, values = np.array([0, 0, 2, 2, 2]), np.arange(5.0)
    means = mean_by(group, values, 4)
    np.testing.assert_allclose(means[[0, 2]], [0.5, 3.0])
    assert np.isnan(means[[1, 3]]).all()
    assert user_mean(group, values) == pytest.approx(1.75)
