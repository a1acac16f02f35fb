"""A new user borrows the model of the training user who agrees most with their choices.

Source: "When Personalization Meets Reality", section 4.3, the baseline "retrieve similar
user". For context pairs D_u of a new user and individual models w_v of training users v:

    v*(u) = argmax_v  sum_{(c, r) in D_u} log sigmoid(w_v . (phi_c - phi_r)),     r_u = w_{v*} . phi

Departs from the paper: agreement is the log-likelihood, not the share of pairs, so that ties are rare
and a confident wrong model is passed over; a user without choices gets the pooled model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from palate.core import Pairs, Population, Queries
from palate.numerics.design import log_loss
from palate.reward.base import EmbeddingMethod, Validation, best, option_dot
from palate.reward.bt import MORE_RIDGES, RIDGES, Pooled, individual_weights

__all__ = ["SimilarUser"]

Floats = NDArray[np.floating[Any]]


@dataclass(kw_only=True, eq=False)
class SimilarUser(EmbeddingMethod):
    """Borrow the individual model of the most similar training user.

    Args:
        ridges: Precisions of the individual models' prior, tried on validation users.
    """

    name: ClassVar[str] = "similar-user"
    seconds_per_10k: ClassVar[float] = 5.0
    paper: ClassVar[str] = "When Personalization Meets Reality 4.3: retrieve similar user"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"ridges": MORE_RIDGES}
    ridges: tuple[float, ...] = RIDGES

    def _learn(self, population: Population) -> None:
        x = self._features(population.corpus)
        train, validation = population.with_role("train"), Validation.of(population)
        pooled = Pooled(encoder=self.encoder, seed=self.seed).fit(population)
        tried, losses = [], []
        for ridge in self.ridges:
            self.models_ = np.vstack([pooled.weights_, individual_weights(x, train, ridge)])
            w = self._condense(validation.context)
            target = validation.target
            d = np.einsum("ij,ij->i", x[target.winner] - x[target.loser], w[target.user])
            tried.append(self.models_)
            losses.append(validation.losses_of(d))
        chosen = best(losses)
        self.models_, self.ridge_ = tried[chosen], float(self.ridges[chosen])

    def _condense(self, population: Population) -> Floats:
        """Return float64 [users, d]: the borrowed weights; row 0 of the models is the pooled one."""
        nearest = np.zeros(population.n_users, np.int64)
        pairs = population.pairs
        if len(pairs) and len(self.models_) > 1:
            nll = _disagreement(
                self._features(population.corpus), self.models_[1:], pairs, population.n_users
            )
            nearest = 1 + nll.argmin(axis=1)
            nearest[np.bincount(pairs.user, minlength=population.n_users) == 0] = 0
        return np.asarray(self.models_[nearest])

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        return option_dot(self._features(queries.corpus), vectors, queries)


def _disagreement(x: Floats, models: Floats, pairs: Pairs, n_users: int, block: int = 4096) -> Floats:
    """Return float64 [users, models]: each user's negative log-likelihood under each model."""
    total = np.zeros((n_users, len(models)))
    for start in range(0, len(pairs), block):
        part = slice(start, start + block)
        margin = (x[pairs.winner[part]] - x[pairs.loser[part]]) @ models.T
        np.add.at(total, pairs.user[part], log_loss(margin, pairs.target[part, None]))
    return total
