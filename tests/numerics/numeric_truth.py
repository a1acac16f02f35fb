"""Random problems, and plain slow answers to them."""

import numpy as np
from scipy.optimize import minimize

from palate.core import Pairs
from palate.numerics.design import Design
from palate.numerics.laplace import UserPairs


def random_pairs(rng, users=7, items=12, most=15, ties=0.2, silent=()):
    """Pairs of users with differing numbers of them; ``silent`` users have none."""
    counts = rng.integers(1, most + 1, users)
    counts[list(silent)] = 0
    user = np.repeat(np.arange(users), counts)
    winner = rng.integers(items, size=len(user))
    loser = (winner + rng.integers(1, items, len(user))) % items
    target = np.where(rng.random(len(user)) < ties, 0.5, 1.0)
    return Pairs(user, winner, loser, target, np.arange(len(user)))


def random_design(rng, **kwargs):
    users = kwargs.get("users", 7)
    return Design.of(random_pairs(rng, **kwargs), users)


def user_pairs(pairs, offset, directions, users):
    starts = np.searchsorted(pairs.user, np.arange(users + 1))
    return UserPairs(offset, directions, pairs.winner, pairs.loser, pairs.target, starts)


def nll(latent, target):
    """Negative log-likelihood, written out."""
    return target * np.log1p(np.exp(-latent)) + (1 - target) * np.log1p(np.exp(latent))


def objective_of(pairs, user, latent_of):
    """The negative log posterior of one user: 0.5 |w|^2 + sum of nll."""
    own = np.flatnonzero(pairs.user == user)
    win, lose, target = pairs.winner[own], pairs.loser[own], pairs.target[own]
    return lambda w: 0.5 * w @ w + nll(latent_of(w, win, lose), target).sum()


def minimum(objective, size, start=None):
    """The minimum in float64, run to convergence."""
    first = np.zeros(size) if start is None else start
    found = minimize(objective, first, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    return found.x, float(found.fun)


def numeric_gradient(function, at, step=1e-5):
    """Central differences."""
    out = np.zeros_like(at)
    for i in range(len(at)):
        move = np.zeros_like(at)
        move[i] = step
        out[i] = (function(at + move) - function(at - move)) / (2 * step)
    return out


def numeric_hessian(function, at, step=1e-3):
    """Central differences of central differences."""
    rows = []
    for i in range(len(at)):
        move = np.zeros_like(at)
        move[i] = step
        ahead, behind = (numeric_gradient(function, at + s * move, step) for s in (1, -1))
        rows.append((ahead - behind) / (2 * step))
    return np.array(rows)
