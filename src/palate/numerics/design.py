"""Pairs of items as a sparse incidence matrix, so that work is done once an item, not once a pair."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from palate.core import Pairs

__all__ = ["Design", "log_loss", "loss_slope", "mean_by", "user_mean"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Design:
    """Pairs over the items that occur in them.

    Attributes:
        items: int64 [used], the corpus items that occur, ascending.
        winner: int64 [pairs], index into ``items``.
        loser: int64 [pairs], index into ``items``.
        user: int64 [pairs].
        target: float64 [pairs]: 1, or 0.5 for a tie.
        n_users: Number of users that ``user`` counts over.
    """

    items: NDArray[np.int64]
    winner: NDArray[np.int64]
    loser: NDArray[np.int64]
    user: NDArray[np.int64]
    target: Floats
    n_users: int

    @classmethod
    def of(cls, pairs: Pairs, n_users: int) -> "Design":
        """Lay out pairs."""
        items, local = np.unique(np.concatenate([pairs.winner, pairs.loser]), return_inverse=True)
        return cls(items, local[: len(pairs)], local[len(pairs) :], pairs.user, pairs.target, n_users)

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def incidence(self) -> "sp.csr_array":
        """Sparse [pairs, used]: +1 at the winner, -1 at the loser; incidence @ scores = differences."""
        n = len(self)
        rows = np.tile(np.arange(n), 2)
        values = np.repeat([1.0, -1.0], n)
        return sp.csr_array(
            (values, (rows, np.concatenate([self.winner, self.loser]))), shape=(n, len(self.items))
        )

    @cached_property
    def by_user(self) -> "sp.csr_array":
        """Sparse [users, pairs] of ones: by_user @ x sums pairs a user."""
        n = len(self)
        return sp.csr_array((np.ones(n), (self.user, np.arange(n))), shape=(self.n_users, n))

    @cached_property
    def balance(self) -> Floats:
        """float64 [pairs]: weights that make every user with pairs count the same, of mean one."""
        counts = np.bincount(self.user, minlength=self.n_users)
        return len(self) / (np.count_nonzero(counts) * counts[self.user])


def log_loss(difference: Floats, target: Floats) -> Floats:
    """Return the negative log-likelihood in nats of each pair, given its log-odds.

    >>> log_loss(np.array([0.0]), np.array([1.0])).round(4)
    array([0.6931])
    """
    return -log_expit(difference) + (1.0 - target) * difference


def loss_slope(difference: Floats, target: Floats) -> Floats:
    """Return the derivative of :func:`log_loss` by the log-odds."""
    return np.asarray(expit(difference) - target)


def mean_by(group: NDArray[np.int64], values: Floats, n: int) -> Floats:
    """Return float64 [n]: the mean of ``values`` in each group, NaN for an empty one."""
    counts = np.bincount(group, minlength=n)
    with np.errstate(invalid="ignore"):
        return np.bincount(group, weights=values, minlength=n) / counts


def user_mean(user: NDArray[np.int64], values: Floats) -> float:
    """Return the mean over users of each user's mean."""
    means = mean_by(user, values, int(user.max()) + 1)
    return float(np.nanmean(means))
