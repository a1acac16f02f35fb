"""Bradley-Terry on frozen embeddings: for all users, for each alone, and with the user as a condition.

Source: "When Personalization Meets Reality", section 3.1. For user u, conversation x and
responses chosen y_c and rejected y_r, with phi [d] the frozen embedding of an item:

    pooled       r(x, y)   = w . phi(x, y)                      one w for everybody
    individual   r_u(x, y) = w_u . phi(x, y)                    w_u from the user's own pairs alone
    conditional  r_u(x, y) = (w + sum_{a in c_u} W_a) . phi     c_u the user's id, or profile values

    loss  -log sigmoid(r(x, y_c) - r(x, y_r)) + 0.5 ridge |weights|^2

Departs from the paper:
- Convex heads on frozen embeddings, fitted to convergence, instead of a fine-tuned language model
  (that is ``reward-lm``); the ridge is chosen by the log-loss of validation users.
- conditional: a condition that is only added to a linear head cancels inside a query, so the head
  is bilinear in condition and embedding, which is what a network that reads the id in its prompt can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from palate.core import ConfigError, Method, Population, Queries
from palate.numerics.bradley_terry import descend, fit_shared
from palate.numerics.design import Design, log_loss, loss_slope
from palate.numerics.laplace import UserPairs, posterior
from palate.reward.base import EmbeddingMethod, Validation, best, option_dot

__all__ = ["MORE_RIDGES", "RIDGES", "Conditional", "Individual", "Pooled", "Random", "individual_weights"]

Floats = NDArray[np.floating[Any]]
RIDGES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
"""Precisions tried in every fit, largest first."""
MORE_RIDGES = tuple((ridge,) for ridge in (300.0, 100.0, 55.0, 17.0, 5.5, 1.7, 0.55, 0.17, 0.03, 0.01))
"""Between and beyond them, one at a time: what a search over settings adds."""


@dataclass(kw_only=True, eq=False)
class Random(Method):
    """Knows nothing: every response gets the same score, every pair a probability of one half."""

    name: ClassVar[str] = "random"
    seconds_per_10k: ClassVar[float] = 0.1
    personal: ClassVar[bool] = False
    seed: int = 0

    def _learn(self, population: Population) -> None:
        """There is nothing to learn."""

    def _condense(self, population: Population) -> Floats:
        return np.zeros((population.n_users, 0))

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        return np.zeros(len(queries.options))


@dataclass(kw_only=True, eq=False)
class Pooled(EmbeddingMethod):
    """One Bradley-Terry model for everybody: the control that personalization must beat.

    Args:
        ridges: Precisions of the prior tried on validation users, largest first.
    """

    name: ClassVar[str] = "pooled"
    seconds_per_10k: ClassVar[float] = 0.5
    paper: ClassVar[str] = "When Personalization Meets Reality 3.1: vanilla Bradley-Terry"
    personal: ClassVar[bool] = False
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"ridges": MORE_RIDGES}
    ridges: tuple[float, ...] = RIDGES

    def _learn(self, population: Population) -> None:
        x = self._features(population.corpus)
        design = Design.of(population.with_role("train").pairs, population.n_users)
        validation = Validation.of(population)
        used = np.asarray(x[design.items], np.float64)
        w: Floats = np.zeros(x.shape[1])
        tried, losses = [], []
        for ridge in self.ridges:
            w = fit_shared(used, design, ridge, start=w)
            tried.append(w)
            losses.append(validation.losses(x @ w))
        chosen = best(losses)
        self.weights_, self.ridge_ = tried[chosen], float(self.ridges[chosen])

    def _condense(self, population: Population) -> Floats:
        return np.zeros((population.n_users, 0))

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        scores = self._remember(queries.corpus, lambda: self._features(queries.corpus) @ self.weights_)
        return np.asarray(scores[queries.options], np.float64)


@dataclass(kw_only=True, eq=False)
class Individual(EmbeddingMethod):
    """One Bradley-Terry model a user, from that user's pairs alone; all users in one batched solve.

    Args:
        ridges: Precisions of the prior tried on validation users.
    """

    name: ClassVar[str] = "individual"
    seconds_per_10k: ClassVar[float] = 0.5
    paper: ClassVar[str] = "When Personalization Meets Reality 3.1: individual reward model"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"ridges": MORE_RIDGES}
    ridges: tuple[float, ...] = RIDGES

    def _learn(self, population: Population) -> None:
        validation = Validation.of(population)
        target, x = validation.target, self._features(population.corpus)
        losses = []
        for ridge in self.ridges:
            w = individual_weights(x, validation.context, ridge)
            d = np.einsum("ij,ij->i", x[target.winner] - x[target.loser], w[target.user])
            losses.append(validation.losses_of(d))
        self.ridge_ = float(self.ridges[best(losses)])
        self.size_ = int(x.shape[1])

    def _condense(self, population: Population) -> Floats:
        if not population.n_rows:
            return np.zeros((population.n_users, self.size_))
        return individual_weights(self._features(population.corpus), population, self.ridge_)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        return option_dot(self._features(queries.corpus), vectors, queries)


def individual_weights(x: Floats, population: Population, ridge: float) -> Floats:
    """Return float64 [users, d]: each user's own ridge Bradley-Terry weights; zero without pairs."""
    pairs = population.pairs
    used, local = np.unique(np.concatenate([pairs.winner, pairs.loser]), return_inverse=True)
    table = np.asarray(x[used], np.float64) / np.sqrt(ridge)
    starts = np.searchsorted(pairs.user, np.arange(population.n_users + 1))
    winner, loser = local[: len(pairs)], local[len(pairs) :]
    own = UserPairs(np.zeros(len(used)), table, winner, loser, pairs.target, starts)
    return np.asarray(posterior(own).mean / np.sqrt(ridge))


@dataclass(kw_only=True, eq=False)
class Conditional(EmbeddingMethod):
    """One model for everybody that is told who asks: the user's id, or the values of their profile.

    A user whose id or values were never trained on gets the shared weights, the average answer.

    Args:
        on: ``user`` conditions on the id, ``profile`` on each ``key=value`` of the profile.
        ridges: Precisions of the prior tried on validation users.
    """

    name: ClassVar[str] = "conditional"
    seconds_per_10k: ClassVar[float] = 9.0
    paper: ClassVar[str] = "When Personalization Meets Reality 3.1: conditional reward model"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"ridges": ((100.0,), (30.0,), (3.0,), (0.3,), (0.1,))}
    on: Literal["user", "profile"] = "user"
    ridges: tuple[float, ...] = (10.0, 1.0)

    def _learn(self, population: Population) -> None:
        if self.on not in ("user", "profile"):
            raise ConfigError(f"conditional: on={self.on!r} is unknown; use 'user' or 'profile'")
        x = self._features(population.corpus)
        train, validation = population.with_role("train"), Validation.of(population)
        names = sorted({name for user in train.users for name in self._names(train, user)})
        self.names_: list[str] = names
        design = Design.of(train.pairs, train.n_users)
        tried, losses = [], []
        for ridge in self.ridges:
            self.weights_, self.table_ = self._fit(x, design, self._conditions(train), ridge)
            w = self._condense(validation.context)
            target = validation.target
            d = np.einsum("ij,ij->i", x[target.winner] - x[target.loser], w[target.user])
            tried.append((self.weights_, self.table_))
            losses.append(validation.losses_of(d))
        chosen = best(losses)
        (self.weights_, self.table_), self.ridge_ = tried[chosen], float(self.ridges[chosen])

    def _names(self, population: Population, user: str) -> list[str]:
        if self.on == "user":
            return [str(user)]
        return [f"{key}={value}" for key, value in population.profiles.get(user, {}).items()]

    def _conditions(self, population: Population) -> "sp.csr_array":
        """Return sparse [users, names]: which trained conditions hold for whom."""
        number = {name: i for i, name in enumerate(self.names_)}
        held = [[number[n] for n in self._names(population, u) if n in number] for u in population.users]
        rows = np.repeat(np.arange(len(held)), [len(h) for h in held])
        columns = np.array([c for h in held for c in h], dtype=np.int64)
        return sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(held), len(number)))

    def _fit(
        self, x: Floats, design: Design, conditions: "sp.csr_array", ridge: float
    ) -> tuple[Floats, Floats]:
        used = np.asarray(x[design.items], np.float64)
        shared = fit_shared(used, design, ridge)
        d, a = used.shape[1], conditions.shape[1]
        difference = used[design.winner] - used[design.loser]

        def value(v: Floats) -> tuple[float, Floats]:
            w, table = v[:d], v[d:].reshape(a, d)
            own = w + (conditions @ table)[design.user]
            margin = np.einsum("ij,ij->i", difference, own)
            loss = log_loss(margin, design.target).sum() + 0.5 * ridge * float(v @ v)
            pull = design.by_user @ (loss_slope(margin, design.target)[:, None] * difference)
            gradient = np.concatenate([pull.sum(0), (conditions.T @ pull).ravel()])
            return float(loss), gradient + ridge * v

        found = descend(value, np.concatenate([shared, np.zeros(a * d)]), 60, "conditional")
        return found[:d], found[d:].reshape(a, d)

    def _condense(self, population: Population) -> Floats:
        return np.asarray(self.weights_ + self._conditions(population) @ self.table_)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        return option_dot(self._features(queries.corpus), vectors, queries)
