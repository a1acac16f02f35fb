import numpy as np
import pytest

from palate.numerics import stack
from palate.numerics.quasi_newton import minimise


@pytest.mark.parametrize("size", [1, 2, 7, 31, 32, 33, 60])
def test_stacked_systems_are_solved_and_inverted(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(5, size, size + 2))
    a = np.eye(size) + root @ root.transpose(0, 2, 1)
    y = rng.normal(size=(5, size))
    lower = stack.factor(a.transpose(1, 2, 0).copy())
    np.testing.assert_allclose(
        stack.solve(lower, y.T).T, np.linalg.solve(a, y[..., None])[..., 0], rtol=1e-8, atol=1e-10
    )
    root = stack.invert(lower).transpose(2, 0, 1)
    np.testing.assert_allclose(root.transpose(0, 2, 1) @ root, np.linalg.inv(a), rtol=1e-7, atol=1e-9)


class Bowls:
    """Ill-conditioned quadratics, a problem in each column."""

    def __init__(self, curvature, at):
        self.curvature, self.at = curvature, at

    def __call__(self, w):
        gap = w - self.at
        return 0.5 * (self.curvature * gap**2).sum(0), self.curvature * gap

    def take(self, index):
        return Bowls(self.curvature[:, index], self.at[:, index])


def test_many_minima_are_found_whatever_their_scale():
    rng = np.random.default_rng(0)
    curvature = 10.0 ** rng.uniform(0, 3, (6, 40))
    at = rng.normal(size=(6, 40))
    found = minimise(Bowls(curvature, at), np.zeros((6, 40)), 500, 1e-10)
    np.testing.assert_allclose(found, at, atol=1e-4)


def test_a_problem_is_not_changed_by_those_beside_it():
    rng = np.random.default_rng(1)
    bowls = Bowls(10.0 ** rng.uniform(0, 2, (4, 12)), rng.normal(size=(4, 12)))
    together = minimise(bowls, np.zeros((4, 12)), 200, 1e-8)
    for column in range(12):
        alone = minimise(bowls.take(np.array([column])), np.zeros((4, 1)), 200, 1e-8)
        np.testing.assert_allclose(alone[:, 0], together[:, column], atol=1e-4)
