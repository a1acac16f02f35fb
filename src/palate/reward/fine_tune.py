"""Further fine-tuning: the pooled model, tuned for one epoch on a new user's own pairs.

Source: "When Personalization Meets Reality", section 4.3, the baseline "further fine-tune trained RM".
With w0 [d] the pooled solution and d_i = phi(chosen) - phi(rejected) [d] the user's i-th pair in time order,
stochastic gradient steps, one a choice (a choice among more than two responses is several pairs):

    w <- w + rate / s * sum_{i in choice} (t_i - sigmoid(w . d_i)) d_i    from w = w0, in each epoch
    s = mean |d|^2 of the training pairs                                  so that rates have no unit

A persona is the difference w_u - w0 [d]. It is zero without choices.

Departs from the paper:
- A linear head on frozen embeddings in the place of a language model.
- The learning rate, and how many epochs, are chosen by the log-loss of validation users;
  ``epochs=(1,)`` is the paper's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from palate.core import ConfigError, FitDiverged, Pairs, Population, Queries
from palate.reward.base import EmbeddingMethod, Validation, best, option_dot
from palate.reward.bt import Pooled

__all__ = ["FineTune", "tune"]

Floats = NDArray[np.floating[Any]]
_STACK = 1 << 24  # numbers of a stack of users' weights


@dataclass(kw_only=True, eq=False)
class FineTune(EmbeddingMethod):
    """The pooled model, fine-tuned on each user's own pairs; all users in one batch.

    Args:
        rates: Learning rates tried on validation users, in units of the pairs' mean squared length.
        epochs: Numbers of passes over a user's pairs tried on validation users.
    """

    name: ClassVar[str] = "fine-tune"
    seconds_per_10k: ClassVar[float] = 1.0
    paper: ClassVar[str] = "When Personalization Meets Reality 4.3: further fine-tune trained RM"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "rates": ((0.05,), (0.1,), (0.2,), (0.5,), (1.0,), (2.0,), (4.0,)),
        "epochs": ((1,), (2,), (4,), (8,), (16,)),
    }
    rates: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)
    epochs: tuple[int, ...] = (1, 4)

    def _learn(self, population: Population) -> None:
        if not self.rates or not self.epochs or min(self.rates) <= 0.0 or min(self.epochs) < 1:
            raise ConfigError(
                f"fine-tune: rates={self.rates!r}, epochs={self.epochs!r}; give at least one rate above 0 "
                "and one number of epochs from 1 up"
            )
        x = self._features(population.corpus)
        self.weights_ = Pooled(encoder=self.encoder, seed=self.seed).fit(population).weights_
        pairs, validation = population.with_role("train").pairs, Validation.of(population)
        self.scale_ = _mean_square(x, pairs) or 1.0
        grid, losses, target = list(product(self.rates, self.epochs)), [], validation.target
        for rate, epochs in grid:
            own = self._tuned(validation.context, rate, epochs)
            w = self.weights_ + own[target.user]
            losses.append(validation.losses_of(np.einsum("ij,ij->i", x[target.winner] - x[target.loser], w)))
        self.rate_, self.epochs_ = grid[best(losses)]

    def _tuned(self, population: Population, rate: float, epochs: int) -> Floats:
        """Return float64 [users, d]: what the steps add to the pooled weights."""
        x = self._features(population.corpus)
        return tune(x, population.pairs, population.n_users, self.weights_, rate / self.scale_, epochs)

    def _condense(self, population: Population) -> Floats:
        if not population.n_rows:
            return np.zeros((population.n_users, len(self.weights_)))
        return self._tuned(population, self.rate_, int(self.epochs_))

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        x = self._features(queries.corpus)
        shared = self._remember(queries.corpus, lambda: x @ self.weights_)
        return np.asarray(shared[queries.options], np.float64) + option_dot(x, vectors, queries)


def tune(x: Floats, pairs: Pairs, n_users: int, start: Floats, rate: float, epochs: int) -> Floats:
    """Return float64 [users, d]: the change of the weights after epochs of one gradient step a choice.

    All users take their i-th step together; those with fewer choices have stopped by then.

    Args:
        x: float [items, d], features.
        pairs: Users' pairs, a user's next to each other and in time order.
        n_users: Number of users that ``pairs.user`` counts over.
        start: float [d], the weights that every user begins with.
        rate: Learning rate.
        epochs: Passes over the pairs.

    Raises:
        FitDiverged: If a user's weights are not finite in the end.

    >>> one = Pairs(*np.array([[0], [0], [1]]), np.ones(1), np.array([0]))
    >>> tune(np.array([[1.0], [0.0]]), one, 1, np.zeros(1), 0.5, 1)
    array([[0.25]])
    """
    own = np.zeros((n_users, len(start)))
    first, size = np.unique(pairs.row, return_index=True, return_counts=True)[1:]  # of each choice's pairs
    starts = np.searchsorted(pairs.user[first], np.arange(n_users + 1))
    shared = np.asarray(x @ start, np.float64)
    plain, slot = shared[pairs.winner] - shared[pairs.loser], np.arange(size.max(initial=1))
    for users in _stacks(starts, len(start)):
        counts, w = np.diff(starts)[users], np.zeros((len(users), len(start)))
        still = len(users) - np.searchsorted(counts[::-1], np.arange(counts[0]), side="right")
        for active, step in zip(np.tile(still, epochs), np.tile(np.arange(counts[0]), epochs), strict=True):
            choice = starts[users[:active]] + step
            there = slot < size[choice, None]
            pair = np.where(there, first[choice, None] + slot, 0)
            gap = np.asarray(x[pairs.winner[pair]] - x[pairs.loser[pair]], np.float64)
            margin = plain[pair] + np.einsum("ijk,ik->ij", gap, w[:active])
            slope = rate * there * (pairs.target[pair] - expit(margin))
            w[:active] += np.einsum("ij,ijk->ik", slope, gap)
        own[users] = w
    if not np.isfinite(own).all():
        raise FitDiverged(f"fine-tune: steps of rate {rate:g} diverged; try smaller rates")
    return own


def _stacks(starts: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield users who have choices, those with most first, as many at a time as fit."""
    counts = np.diff(starts)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    room = max(1, _STACK // max(size, 1))
    for begin in range(0, len(order), room):
        yield order[begin : begin + room]


def _mean_square(x: Floats, pairs: Pairs, block: int = 1 << 14) -> float:
    """Return the mean squared length of the pairs' differences."""
    total = 0.0
    for begin in range(0, len(pairs), block):
        part = slice(begin, begin + block)
        gap = np.asarray(x[pairs.winner[part]] - x[pairs.loser[part]], np.float64)
        total += float(np.einsum("ij,ij->", gap, gap))
    return total / max(len(pairs), 1)
