"""LoRe: a few reward functions that all users share, and each user's mixture of them.

Source: POPI uses it as its learned-embedding baseline; Bose et al. 2025, "LoRe:
Personalizing LLMs via Low-Rank Reward Modeling". With phi [d], a basis V [d, B], user weights w_u [B]:

    r_u(x, y) = phi(x, y)' V softmax(w_u)
    fit    min over V, w   sum_u mean_i nll(r_u(chosen) - r_u(rejected))        users count the same
    adapt  min over w_u    sum_i nll(...), V kept

Departs from the paper:
- Priors instead of early stopping: a ridge on V and w_u ~ N(0, spread^2 I), scales and B chosen by
  validation users. ``spread`` large is the published objective.
- Batched adaptation by L-BFGS, all users at once, in the place of 500 to 1,000 Adam steps a user; the
  fit is L-BFGS over V and all w_u at once.
- No reference head: frozen sentence embeddings have none, so the term alpha (1 - cos(V_k, v_ref)) is
  left out; the basis starts at the pooled solution instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from palate.core import Population, Queries
from palate.numerics.bradley_terry import descend, fit_shared
from palate.numerics.design import Design, log_loss, loss_slope
from palate.numerics.laplace import UserPairs, posterior
from palate.reward.base import EmbeddingMethod, Validation, best, option_dot

__all__ = ["LoRe", "Mixture"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Mixture:
    """m(w) = softmax(spread w), users on the last axis; its transposed Jacobian is spread (diag m - m m')."""

    spread: float

    def __call__(self, w: Floats, /) -> Floats:
        """Return the shares [B, ...] of logits w [B, ...] in units of the spread."""
        share = self.spread * w
        share -= share.max(axis=0)
        np.exp(share, out=share)
        share /= share.sum(axis=0)
        return share

    def pull(self, m: Floats, h: Floats, /) -> Floats:
        """Return (dm/dw)' h [B, ...]."""
        return np.asarray(self.spread * m * (h - (m * h).sum(axis=0)))


@dataclass(kw_only=True, eq=False)
class LoRe(EmbeddingMethod):
    """Low-rank reward functions, mixed for each user.

    Args:
        ranks: Sizes B of the basis tried on validation users.
        ridges: Precisions of the prior on the basis tried.
        spreads: Prior standard deviations of a user's weights tried; the logits are in these units.
        starts: Random starts a setting; the best by validation users is kept.
        steps: L-BFGS iterations of a fit.
    """

    name: ClassVar[str] = "lore"
    seconds_per_10k: ClassVar[float] = 5.0
    paper: ClassVar[str] = "LoRe (Bose et al. 2025), as in POPI"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {  # one basis a trial, where a default fit tries six
        "ranks": ((2,), (4,), (8,), (16,)),
        "ridges": ((3.0,), (1.0,), (0.3,), (0.1,)),
        "spreads": ((0.5,), (1.0,), (2.0,), (4.0,)),
    }
    ranks: tuple[int, ...] = (2, 4, 8)
    ridges: tuple[float, ...] = (1.0, 0.3)
    spreads: tuple[float, ...] = (2.0,)
    starts: int = 1
    steps: int = 80

    def _learn(self, population: Population) -> None:
        x = self._features(population.corpus)
        train, validation = population.with_role("train"), Validation.of(population)
        design = Design.of(train.pairs, train.n_users)
        used = np.asarray(x[design.items], np.float64)
        shared = {r: fit_shared(used, design, r, weights=design.balance) for r in self.ridges}
        tried, losses = [], []
        grid = list(product(self.ranks, self.ridges, self.spreads, range(self.starts)))
        for rank, ridge, spread, start in grid:
            rng = np.random.default_rng([self.seed, start, rank])
            basis = fit_basis(used, design, shared[ridge], rank, ridge, spread, rng, self.steps)
            tried.append(basis)
            losses.append(self._losses(x, basis, spread, validation))
        chosen = best(losses)
        self.basis_ = tried[chosen]
        self.rank_, self.ridge_, self.spread_ = grid[chosen][:3]

    def _losses(self, x: Floats, basis: Floats, spread: float, validation: Validation) -> Floats:
        table = np.asarray(x @ basis, np.float64)
        share = self._shares(table, validation.context, spread)
        target = validation.target
        d = np.einsum("ij,ij->i", table[target.winner] - table[target.loser], share[target.user])
        return validation.losses_of(d)

    @staticmethod
    def _shares(table: Floats, population: Population, spread: float) -> Floats:
        """Return float [users, B]: each user's mixture, from their pairs, in the table's precision."""
        pairs, link = population.pairs, Mixture(spread)
        starts = np.searchsorted(pairs.user, np.arange(population.n_users + 1))
        offset = np.zeros(len(table), table.dtype)
        own = UserPairs(offset, table, pairs.winner, pairs.loser, pairs.target, starts)
        return np.ascontiguousarray(link(posterior(own, link=link, tolerance=1e-6).mean.T).T)

    def _table(self, queries_or_people: Queries | Population) -> Floats:
        corpus = queries_or_people.corpus
        return np.asarray(self._remember(corpus, lambda: self._features(corpus) @ self.basis_), np.float64)

    def _condense(self, population: Population) -> Floats:
        return self._shares(self._table(population).astype(np.float32), population, self.spread_)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        return option_dot(self._table(queries), vectors, queries)


def fit_basis(
    x: Floats,
    design: Design,
    shared: Floats,
    rank: int,
    ridge: float,
    spread: float,
    rng: np.random.Generator,
    steps: int,
) -> Floats:
    """Return V float64 [d, B], fitted with all training users' weights at once.

    Users count the same: their mean losses are summed and scaled to the number of pairs.
    """
    d, n, user = x.shape[1], design.n_users, design.user
    incidence, by_user, balance = design.incidence, design.by_user, design.balance

    def value(v: Floats) -> tuple[float, Floats]:
        basis, w = v[: d * rank].reshape(d, rank), v[d * rank :].reshape(n, rank)
        share = softmax(spread * w, axis=1)[user]
        margins = incidence @ (x @ basis)
        latent = (margins * share).sum(1)
        loss = (balance * log_loss(latent, design.target)).sum() + 0.5 * ridge * (basis * basis).sum()
        slope = (balance * loss_slope(latent, design.target))[:, None]
        d_basis = x.T @ (incidence.T @ (slope * share)) + ridge * basis
        d_w = by_user @ (slope * spread * (margins - latent[:, None]) * share) + w
        return float(loss + 0.5 * (w * w).sum()), np.concatenate([d_basis.ravel(), d_w.ravel()])

    noise = rng.normal(size=(d, rank)) * np.linalg.norm(shared) / np.sqrt(d)
    start = np.concatenate([(shared[:, None] + noise).ravel(), np.zeros(n * rank)])
    return descend(value, start, steps, "lore")[: d * rank].reshape(d, rank)
