import numpy as np
import pytest
from numeric_truth import minimum, numeric_hessian, objective_of, random_pairs, user_pairs

from palate.numerics.laplace import UserPairs, posterior

USERS, ITEMS = 9, 14


def problem(seed, size, most, kind=np.float64, scale=1.0):
    rng = np.random.default_rng(seed)
    pairs = random_pairs(rng, users=USERS, items=ITEMS, most=most, silent=(3,))
    offset = rng.normal(size=ITEMS).astype(kind)
    directions = (scale * rng.normal(size=(ITEMS, size))).astype(kind)
    return pairs, offset, directions


def linear_objective(pairs, user, offset, directions):
    offset, directions = offset.astype(np.float64), directions.astype(np.float64)

    def latent(w, win, lose):
        return offset[win] - offset[lose] + (directions[win] - directions[lose]) @ w

    return objective_of(pairs, user, latent)


SHAPES = [(3, 20), (12, 6), (5, 5), (1, 3), (40, 10), (33, 60)]


@pytest.mark.parametrize(("size", "most"), SHAPES, ids=lambda n: str(n))
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mode_of_every_user_is_the_minimum(size, most, seed):
    pairs, offset, directions = problem(seed, size, most)
    mean = posterior(user_pairs(pairs, offset, directions, USERS)).mean
    for user in range(USERS):
        objective = linear_objective(pairs, user, offset, directions)
        truth, value = minimum(objective, size)
        assert objective(mean[user]) - value < 1e-5
        np.testing.assert_allclose(mean[user], truth, atol=3e-3)


@pytest.mark.parametrize(("size", "most"), [(3, 20), (12, 6)], ids=["n>k", "n<k"])
def test_covariance_is_the_inverse_hessian(size, most):
    pairs, offset, directions = problem(2, size, most)
    table = user_pairs(pairs, offset, directions, USERS)
    full, diagonal = (posterior(table, covariance=kind).covariance for kind in ("full", "diagonal"))
    assert posterior(table).covariance is None
    for user in range(USERS):
        objective = linear_objective(pairs, user, offset, directions)
        mode, _ = minimum(objective, size)
        truth = np.linalg.inv(numeric_hessian(objective, mode))
        np.testing.assert_allclose(full[user], truth, atol=2e-3)
        np.testing.assert_allclose(diagonal[user], np.diag(truth), atol=2e-3)


def test_a_user_without_pairs_keeps_the_prior():
    pairs, offset, directions = problem(3, 4, 8)
    table = user_pairs(pairs, offset, directions, USERS)
    full = posterior(table, covariance="full")
    assert (full.mean[3] == 0).all()
    np.testing.assert_array_equal(full.covariance[3], np.eye(4))
    assert (posterior(table, covariance="diagonal").covariance[3] == 1).all()


def test_no_user_and_no_pair():
    empty = UserPairs(
        np.zeros(3), np.zeros((3, 2)), *(np.zeros(0, np.int64),) * 2, np.zeros(0), np.zeros(1, np.int64)
    )
    assert posterior(empty, covariance="diagonal").mean.shape == (0, 2)
    silent = UserPairs(
        np.zeros(3), np.zeros((3, 2)), *(np.zeros(0, np.int64),) * 2, np.zeros(0), np.zeros(6, np.int64)
    )
    assert (posterior(silent).mean == np.zeros((5, 2))).all()


def test_others_in_the_stack_do_not_change_a_user():
    """Users of one to sixty pairs are padded together; each must come out as alone."""
    rng = np.random.default_rng(4)
    pairs, offset, directions = problem(4, 6, 60)
    together = posterior(user_pairs(pairs, offset, directions, USERS), covariance="diagonal")
    for user in rng.permutation(USERS):
        alone = pairs.take(pairs.user == user)
        own = UserPairs(
            offset, directions, alone.winner, alone.loser, alone.target, np.array([0, len(alone)])
        )
        single = posterior(own, covariance="diagonal")
        np.testing.assert_allclose(single.mean[0], together.mean[user], atol=1e-3)
        np.testing.assert_allclose(single.covariance[0], together.covariance[user], atol=1e-3)


def test_threads_do_not_change_the_answer():
    pairs, offset, directions = problem(5, 4, 30)
    table = user_pairs(pairs, offset, directions, USERS)
    np.testing.assert_array_equal(posterior(table, threads=1).mean, posterior(table, threads=3).mean)


def test_ties_pull_towards_indifference():
    directions = np.array([[2.0], [0.0]])
    zero = np.zeros(1, np.int64)
    tie = UserPairs(np.zeros(2), directions, zero, zero + 1, np.array([0.5]), np.array([0, 1]))
    assert posterior(tie).mean[0, 0] == pytest.approx(0.0, abs=1e-9)
    leaning = UserPairs(np.array([3.0, 0.0]), directions, zero, zero + 1, np.array([0.5]), np.array([0, 1]))
    assert posterior(leaning).mean[0, 0] < -0.5


def test_large_separable_odds_do_not_overflow():
    pairs, offset, directions = problem(6, 5, 40, scale=40.0)
    found = posterior(user_pairs(pairs, offset, directions, USERS), covariance="diagonal")
    assert np.isfinite(found.mean).all()
    assert ((found.covariance > 0) & (found.covariance <= 1 + 1e-9)).all()
    for user in range(USERS):
        objective = linear_objective(pairs, user, offset, directions)
        with np.errstate(over="ignore"):
            _, value = minimum(objective, 5, start=found.mean[user])
            assert objective(found.mean[user]) - value < 1e-3


def test_single_precision_is_near_double():
    pairs, offset, directions = problem(7, 8, 12)
    double = posterior(user_pairs(pairs, offset, directions, USERS)).mean
    single = posterior(
        user_pairs(pairs, offset.astype(np.float32), directions.astype(np.float32), USERS)
    ).mean
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=5e-3)


def test_more_evidence_narrows_the_posterior():
    rng = np.random.default_rng(8)
    directions = rng.normal(size=(30, 4))
    w = rng.normal(size=4)
    win, lose = rng.integers(30, size=(2, 400))
    flip = rng.random(400) > 1 / (1 + np.exp(-(directions[win] - directions[lose]) @ w))
    win, lose = np.where(flip, lose, win), np.where(flip, win, lose)
    spreads, errors = [], []
    for n in (5, 50, 400):
        own = UserPairs(np.zeros(30), directions, win[:n], lose[:n], np.ones(n), np.array([0, n]))
        found = posterior(own, covariance="diagonal")
        spreads.append(found.covariance.mean())
        errors.append(np.abs(found.mean[0] - w).max())
    assert spreads[0] > spreads[1] > spreads[2]
    assert errors[2] < 0.5
