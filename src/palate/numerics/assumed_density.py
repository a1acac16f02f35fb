"""One more choice into what is believed of a user: assumed-density filtering of a logistic likelihood.

What is believed is a mixture with diagonal covariance, w ~ sum_c s_c N(m_c, diag v_c); one component is the
plain case. The pairs of a choice are taken in one after the other. A pair has the log-odds f = o + g.w, which
under component c are N(mu_c, kappa_c) with mu_c = o + g.m_c and kappa_c = g.(v_c g). By Laplace on f, exact
in its mode because the rest of w enters through f alone,

    f_c = mu_c + kappa_c a,   a = t - sigmoid(f_c)                    one root, bracketed by [t - 1, t]
    m_c <- m_c + a v_c g,     v_c <- v_c - (v_c g)^2 S / (1 + kappa_c S),   S = sigmoid'(f_c)
    s_c <- s_c p_c, normed,   p_c = sigmoid(mu_c / sqrt(1 + pi / 8 kappa_c))   probability beforehand

The variance is the diagonal of Laplace's covariance. What is lost against adapting to all choices at once:
correlations between parameters, and that early choices are not looked at again.

With groups of taste (``numerics/groups.py``) a user's mean, variance and shares of groups are the moments of
such a mixture. :func:`apart` takes them apart again: with W = diag(within), the group means' distances D_c
from their mean under s, and one factor r a parameter, m_c = mean + r D_c, v = r W, where r solves
r W + r^2 sum_c s_c D_c^2 = variance. That is exact where covariances are diagonal, such as without choices.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.numerics.groups import Groups

__all__ = ["Belief", "apart", "take_in"]

Floats = NDArray[np.floating[Any]]


class Belief(NamedTuple):
    """Components: mean float64 [c, k], variance [c, k], share [c]."""

    mean: Floats
    variance: Floats
    share: Floats

    @property
    def moments(self) -> tuple[Floats, Floats]:
        """Mean [k] and variance [k] of the whole mixture."""
        middle = self.share @ self.mean
        return middle, self.share @ (self.variance + (self.mean - middle) ** 2)


def apart(mean: Floats, variance: Floats, share: Floats, groups: Groups) -> Belief:
    """Return the components of a user with this mean [k], variance [k] and shares of groups [c].

    >>> groups = Groups(np.full(2, 0.5), np.array([[1.0], [-1.0]]), np.array([[0.5]]))
    >>> told = apart(np.zeros(1), np.array([1.5]), np.full(2, 0.5), groups)
    >>> told.mean.ravel().tolist(), told.variance.ravel().tolist()
    ([1.0, -1.0], [0.5, 0.5])
    """
    within = np.diag(groups.within)
    distance = groups.means - share @ groups.means
    between = share @ distance**2
    ratio = 2.0 * variance / (within + np.sqrt(within**2 + 4.0 * between * variance))
    spread = np.broadcast_to(ratio * within, distance.shape)
    return Belief(mean + ratio * distance, spread, share)


def take_in(belief: Belief, offset: Floats, directions: Floats, target: Floats) -> Belief:
    """Return the belief with the pairs of one choice taken in.

    Args:
        belief: What is believed so far.
        offset: float64 [pairs], the part of the log-odds that is the same for all users.
        directions: float64 [pairs, k], the derivative of the log-odds by the user's parameters.
        target: float64 [pairs]: 1, or 0.5 for a tie.

    >>> plain = Belief(np.zeros((1, 1)), np.ones((1, 1)), np.ones(1))
    >>> take_in(plain, np.zeros(1), np.array([[2.0]]), np.ones(1)).mean.round(3)
    array([[0.521]])
    """
    mean, variance, share = belief.mean.copy(), belief.variance.copy(), belief.share.copy()
    for o, g, t in zip(offset.tolist(), directions, target.tolist(), strict=True):
        pull = variance * g
        mu, kappa = (o + mean @ g).tolist(), (pull @ g).tolist()
        for c, (middle, width) in enumerate(zip(mu, kappa, strict=True)):
            step = _mode(middle, width, t)
            curvature = _curve(middle + width * step)
            mean[c] += step * pull[c]
            variance[c] -= pull[c] ** 2 * (curvature / (1.0 + width * curvature))
        expected = np.array([_log_probability(m, w, t) for m, w in zip(mu, kappa, strict=True)])
        share = share * np.exp(expected - expected.max())
        share /= share.sum()
    return Belief(mean, np.maximum(variance, 0.0), share)


def _mode(mu: float, kappa: float, target: float) -> float:
    """Return the root of a - t + sigmoid(mu + kappa a): Newton's method, halving where it does not halve."""
    low, high = target - 1.0, target
    a, step, before = target - _sigmoid(mu), 1.0, 1.0
    for _ in range(200):
        p = _sigmoid(mu + kappa * a)
        rise, slope = a - target + p, 1.0 + kappa * p * (1.0 - p)
        low, high = (low, a) if rise > 0 else (a, high)
        new = a - rise / slope
        if not low < new < high or abs(2.0 * rise) > abs(before * slope):
            new = 0.5 * (low + high)
        before, step = step, new - a
        if abs(step) < 1e-15 or new == a:
            return new
        a = new
    return a


def _sigmoid(f: float) -> float:
    return 1.0 / (1.0 + math.exp(-f)) if f >= 0 else math.exp(f) / (1.0 + math.exp(f))


def _curve(f: float) -> float:
    e = math.exp(-abs(f))
    return e / (1.0 + e) ** 2


def _log_probability(mu: float, kappa: float, target: float) -> float:
    """Return log p of a choice, or of a tie as half of each outcome, integrated over the parameters."""
    f = mu / math.sqrt(1.0 + math.pi / 8.0 * kappa)
    loss = max(-f, 0.0) + math.log1p(math.exp(-abs(f)))
    return -loss - (1.0 - target) * f
