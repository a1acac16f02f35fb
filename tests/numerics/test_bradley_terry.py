import numpy as np
import pytest
from numeric_truth import nll, numeric_gradient, random_design
from scipy.special import expit

from palate.core import FitDiverged
from palate.numerics import bradley_terry
from palate.numerics.bradley_terry import descend, fit_shared


def newton(features, design, ridge, weights, rounds=60):
    """Plain dense Newton in float64."""
    x = features[design.winner] - features[design.loser]
    w = np.zeros(x.shape[1])
    for _ in range(rounds):
        p = expit(x @ w)
        gradient = x.T @ (weights * (p - design.target)) + ridge * w
        hessian = x.T @ ((weights * p * (1 - p))[:, None] * x) + ridge * np.eye(len(w))
        w = w - np.linalg.solve(hessian, gradient)
    return w


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_newtons(seed):
    rng = np.random.default_rng(seed)
    design = random_design(rng, users=5, items=20, most=30)
    features = rng.normal(size=(len(design.items), 6))
    weights = rng.uniform(0.2, 2.0, len(design))
    found = fit_shared(features, design, 0.7, weights=weights)
    np.testing.assert_allclose(found, newton(features, design, 0.7, weights), atol=2e-4)


def test_the_gradient_of_the_loss_vanishes_at_the_fit():
    rng = np.random.default_rng(5)
    design = random_design(rng, most=20)
    features = rng.normal(size=(len(design.items), 4))

    def loss(w):
        d = (features[design.winner] - features[design.loser]) @ w
        return nll(d, design.target).sum() + 0.5 * 0.3 * w @ w

    found = fit_shared(features, design, 0.3)
    assert np.abs(numeric_gradient(loss, found)).max() < 2e-3
    assert np.abs(numeric_gradient(loss, found + 0.1)).max() > 0.1


def test_the_gradient_handed_to_the_solver_is_that_of_the_value(monkeypatch):
    rng = np.random.default_rng(6)
    design = random_design(rng)
    features, weights = rng.normal(size=(len(design.items), 5)), rng.uniform(0.5, 2.0, len(design))
    seen = []
    monkeypatch.setattr(bradley_terry, "descend", lambda f, start, *_: seen.append(f) or start)
    fit_shared(features, design, 2.0, weights=weights)
    at = rng.normal(size=5)
    np.testing.assert_allclose(seen[0](at)[1], numeric_gradient(lambda w: seen[0](w)[0], at), atol=1e-6)


def test_a_weight_of_two_is_a_pair_given_twice():
    rng = np.random.default_rng(7)
    once = random_design(rng, users=1, most=12)
    features = rng.normal(size=(len(once.items), 3))
    index = np.concatenate([np.arange(len(once)), np.arange(0, len(once), 2)])
    twice = bradley_terry.Design(
        once.items, once.winner[index], once.loser[index], once.user[index], once.target[index], 1
    )
    weights = np.where(np.arange(len(once)) % 2 == 0, 2.0, 1.0)
    ours = fit_shared(features, once, 1.0, weights=weights)
    np.testing.assert_allclose(ours, fit_shared(features, twice, 1.0), atol=1e-4)


def test_the_start_does_not_matter():
    rng = np.random.default_rng(8)
    design = random_design(rng)
    features = rng.normal(size=(len(design.items), 4))
    near, far = (fit_shared(features, design, 0.5, start=s * np.ones(4)) for s in (0.0, 5.0))
    np.testing.assert_allclose(near, far, atol=2e-3)


def test_ties_alone_leave_nothing_to_prefer():
    rng = np.random.default_rng(9)
    design = random_design(rng, ties=1.0)
    np.testing.assert_allclose(fit_shared(rng.normal(size=(len(design.items), 4)), design, 1.0), 0, atol=1e-6)


def test_a_value_that_is_not_finite_is_reported():
    with pytest.raises(FitDiverged, match="toy diverged to nan; scale the features"):
        descend(lambda w: (float("nan"), w), np.ones(2), 5, "toy")
