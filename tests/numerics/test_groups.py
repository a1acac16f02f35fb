import numpy as np
import pytest

from palate.numerics.groups import Groups, fit_groups


def beliefs(rng, users, size):
    """Posteriors under N(0, I): precision I + something, as pairs of choices give."""
    root = rng.normal(size=(users, size, size))
    likelihood = root @ root.transpose(0, 2, 1)
    pull = rng.normal(size=(users, size))
    covariance = np.linalg.inv(np.eye(size) + likelihood)
    return (covariance @ pull[..., None])[..., 0], covariance, likelihood, pull


def test_one_round_group_changes_nothing():
    mean, covariance, *_ = beliefs(np.random.default_rng(0), 5, 3)
    placed = Groups(np.ones(1), np.zeros((1, 3)), np.eye(3)).place(mean, covariance)
    np.testing.assert_allclose(placed.mean, mean, atol=1e-10)
    np.testing.assert_allclose(placed.variance, np.einsum("uii->ui", covariance), atol=1e-10)
    np.testing.assert_allclose(placed.share, 1.0)


def test_placing_users_is_integration_over_the_mixture():
    """Against a fine grid over two parameters."""
    rng = np.random.default_rng(1)
    mean, covariance, likelihood, pull = beliefs(rng, 4, 2)
    within = np.array([[0.5, 0.2], [0.2, 0.8]])
    groups = Groups(np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, 2)), within)
    placed = groups.place(mean, covariance)
    axis = np.linspace(-9, 9, 361)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    inverse, norm = np.linalg.inv(within), 2 * np.pi * np.sqrt(np.linalg.det(within))
    gaps = z[:, None] - groups.means
    prior = groups.weights * np.exp(-0.5 * np.einsum("zki,ij,zkj->zk", gaps, inverse, gaps)) / norm
    total = []
    for user in range(4):
        told = np.exp(-0.5 * np.einsum("zi,ij,zj->z", z, likelihood[user], z) + z @ pull[user])
        joint = prior * told[:, None]
        weight = joint.sum(1) / joint.sum()
        middle = weight @ z
        np.testing.assert_allclose(placed.mean[user], middle, atol=1e-4)
        np.testing.assert_allclose(placed.variance[user], weight @ (z - middle) ** 2, atol=1e-4)
        np.testing.assert_allclose(placed.share[user], joint.sum(0) / joint.sum(), atol=1e-4)
        total.append(np.log(joint.sum() * (axis[1] - axis[0]) ** 2))
    # evidence is known up to a constant that is the same for all users
    np.testing.assert_allclose(placed.evidence - placed.evidence[0], np.array(total) - total[0], atol=1e-4)


def test_a_user_who_said_nothing_has_the_mixtures_moments():
    groups = Groups(np.array([0.25, 0.75]), np.array([[2.0], [-1.0]]), np.array([[0.3]]))
    placed = groups.place(np.zeros((1, 1)), np.ones((1, 1, 1)))
    middle = 0.25 * 2.0 - 0.75
    np.testing.assert_allclose(placed.mean[0], middle)
    np.testing.assert_allclose(placed.variance[0], 0.3 + 0.25 * (2 - middle) ** 2 + 0.75 * (-1 - middle) ** 2)
    np.testing.assert_allclose(placed.share[0], [0.25, 0.75])


def test_planted_groups_are_found():
    rng = np.random.default_rng(2)
    centres = np.array([[2.0, 0.0], [-1.0, 1.5]])
    group = (rng.random(300) < 0.3).astype(int)
    truth = centres[group] + 0.3 * rng.normal(size=(300, 2))
    noise = 0.25
    covariance = np.tile(np.eye(2) / (1 + 1 / noise), (300, 1, 1))
    seen = truth + np.sqrt(noise) * rng.normal(size=truth.shape)
    mean = seen / noise / (1 + 1 / noise)
    found = fit_groups(mean, covariance, 2, seed=0)
    order = np.argsort(-found.means[:, 0])
    np.testing.assert_allclose(found.means[order], centres, atol=0.25)
    np.testing.assert_allclose(found.weights[order], [0.7, 0.3], atol=0.06)
    assert (found.place(mean, covariance).share[:, order].argmax(1) == group).mean() > 0.97
    one = fit_groups(mean, covariance, 1)
    evidence = [g.place(mean, covariance).evidence.sum() for g in (one, found)]
    assert evidence[1] > evidence[0] + 50


@pytest.mark.parametrize("count", [1, 3])
def test_equal_seeds_give_equal_groups(count):
    mean, covariance, *_ = beliefs(np.random.default_rng(3), 30, 2)
    one, two = (fit_groups(mean, covariance, count, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.means, two.means)
    np.testing.assert_array_equal(one.within, two.within)
    assert one.weights.sum() == pytest.approx(1.0)
