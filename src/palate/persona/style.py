"""style: a persona in words from axes that a person can read, and the choices that each sentence rests on.

Ours; needs no language model. The ``mixed`` model on the style axes alone: with d_i [14] the axes of
item i (length, structure, formality, ...),

    r_u(i) = sum_j (b_j + s_j v_uj) d_ij,    v_u ~ N(0, I),    b ~ N(0, shared^2 / 14 I)

b is what people share, s_j how far they differ on axis j (learned by variational EM), v_u the user, by a
batched Laplace posterior. A user's taste on axis j is b_j + s_j v_uj at the mode, in log-odds per unit
of the axis. Its 95 % interval ends where the exact log posterior has fallen by 1.96^2 / 2 along the line
on which Laplace's covariance moves the other axes with v_uj, Var(b_j) added; a symmetric interval would
see nothing in a user who always chose the shorter answer. A sentence is written only where the interval
excludes zero and a choice speaks of the axis; it tells the strength, the interval, what people prefer on
average, and how many of the user's choices that differ on the axis agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from palate.core import Claim, Corpus, Method, Pairs, Persona, Population, Queries
from palate.models.features import embed
from palate.models.style import STYLE_AXES
from palate.numerics.design import Design, log_loss, mean_by
from palate.numerics.laplace import UserPairs, posterior
from palate.numerics.mixed_effects import Scales, fit_mixed_effects

__all__ = ["Style"]

Floats = NDArray[np.floating[Any]]
_SIDES = 1.96  # half-width of a 95 % interval, in standard deviations
_STEPS = np.linspace(0.0, 10.0, 201)  # how far from the mode the log posterior is looked at, in prior sd
_DIFFERS = 0.25  # a choice speaks of an axis when its options differ by at least this much of a unit


@dataclass(kw_only=True, eq=False)
class Style(Method):
    """A readable persona: taste on interpretable axes of style.

    Args:
        shareds: Prior scales of what people share, tried on validation users.
        rounds: Rounds of variational EM.
        seed: Kept for the protocol; nothing here is random.
    """

    name: ClassVar[str] = "style"
    paper: ClassVar[str] = "ours: interpretable mixed effects"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"shareds": ((0.25,), (0.35,), (0.7,), (1.4,), (3.0,))}
    shareds: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounds: int = 12
    seed: int = 0

    def _learn(self, population: Population) -> None:
        axes = _axes(population.corpus)
        train, validation = population.with_role("train"), population.with_role("val")
        context, target = validation.with_split("context"), validation.with_split("target").pairs
        design = Design.of(train.pairs, train.n_users)
        used, best = axes[design.items], np.inf
        for shared in self.shareds:
            scaled = used / np.sqrt(used.shape[1])
            model = fit_mixed_effects(scaled, used, design, Scales(shared, 1.0, 0), rounds=self.rounds)
            shared_taste, spread = model.w / np.sqrt(used.shape[1]), model.spread
            taste = _believe(axes, shared_taste, spread, context)[:, : len(spread)] * spread + shared_taste
            d = np.einsum("ij,ij->i", axes[target.winner] - axes[target.loser], taste[target.user])
            losses = mean_by(target.user, log_loss(d, target.target), validation.n_users)
            loss = float(np.nanmean(losses)) if len(target) else 0.0
            if loss < best:
                best, self.shared_, self.spread_, self.scale_ = loss, shared_taste, spread, float(shared)
        self.shared_variance_ = self._certainty(used, design)

    def _certainty(self, used: Floats, design: Design) -> Floats:
        """Return float64 [axes]: the Laplace variance of what people share."""
        difference = used[design.winner] - used[design.loser]
        p = expit(difference @ self.shared_)
        precision = difference.T @ ((p * (1 - p))[:, None] * difference)
        precision[np.diag_indices_from(precision)] += used.shape[1] / self.scale_**2
        return np.array(np.diag(np.linalg.inv(precision)))

    def _condense(self, population: Population) -> Floats:
        """Return float64 [users, 28]: mean, then variance, of v_u."""
        return _believe(_axes(population.corpus), self.shared_, self.spread_, population)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        axes = _axes(queries.corpus)[queries.options]
        taste = self._taste(vectors)[0][queries.who[queries.option_query]]
        return np.asarray(np.einsum("ij,ij->i", axes, taste))

    def _taste(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Return taste [users, axes] in log-odds per unit, and its variance."""
        mean, variance = np.split(vectors, 2, axis=1)
        return self.shared_ + self.spread_ * mean, self.shared_variance_ + self.spread_**2 * variance

    def _words(self, population: Population, vectors: Floats) -> Any:
        def write(user: int) -> tuple[str, tuple[Claim, ...]]:
            mean = vectors[user, : len(self.spread_)]
            taste = self.shared_ + self.spread_ * mean
            low, high = self._interval(population, user, mean)
            ids, gap = _evidence(population, user)
            spoken = (np.abs(gap) >= _DIFFERS).any(axis=0)
            shown = np.flatnonzero(((low > 0) | (high < 0)) & spoken)
            shown = shown[np.argsort(-np.abs(taste[shown]), kind="stable")]
            claims = tuple(self._claim(j, taste[j], low[j], high[j], ids, gap) for j in shown.tolist())
            if not claims:
                n = int(population.offsets[user + 1] - population.offsets[user])
                return f"No preference of style is evident from {n} choices.", ()
            return "\n".join(claim.text for claim in claims), claims

        return write

    def _interval(self, population: Population, user: int, mean: Floats) -> tuple[Floats, Floats]:
        """Return the ends of each axis' 95 % interval, float64 [axes]; ``mean`` is the mode of v_u."""
        own, axes = _pairs_of(population, user), _axes(population.corpus)
        gap = axes[own.winner] - axes[own.loser]
        slope, latent = gap * self.spread_, gap @ (self.shared_ + self.spread_ * mean)
        p = expit(latent)
        covariance = np.linalg.inv(np.eye(len(mean)) + slope.T @ ((p * (1 - p))[:, None] * slope))
        line = covariance / np.diag(covariance)  # column j: where the axes go as v_j grows by one
        move = slope @ line
        ends = []
        for side in (-1.0, 1.0):
            rise = np.empty((len(_STEPS), len(mean)))
            for number, step in enumerate(side * _STEPS):
                there = mean[:, None] + step * line
                loss = log_loss(latent[:, None] + step * move, own.target[:, None]) if len(own) else move
                rise[number] = 0.5 * (there**2).sum(0) + loss.sum(0)
            root = np.sqrt(2.0 * np.maximum(rise - rise[0], 0.0))
            reach = np.array([np.interp(_SIDES, root[:, j], _STEPS) for j in range(len(mean))])
            ends.append(np.hypot(self.spread_ * reach, _SIDES * np.sqrt(self.shared_variance_)))
        taste = self.shared_ + self.spread_ * mean
        return taste - ends[0], taste + ends[1]

    def _claim(
        self, j: int, taste: float, low: float, high: float, ids: NDArray[np.object_], gap: Floats
    ) -> Claim:
        axis, sign = STYLE_AXES[j], 1.0 if taste > 0 else -1.0
        speaks = np.abs(gap[:, j]) >= _DIFFERS
        agrees = speaks & (gap[:, j] * sign > 0)
        average, strength = sign * float(self.shared_[j]), abs(float(taste))
        low, high = (float(low), float(high)) if sign > 0 else (-float(high), -float(low))
        unit = axis.unit if sign > 0 else _reverse(axis.unit)
        text = (
            f"Prefers {axis.high if sign > 0 else axis.low}: {int(agrees.sum())} of {int(speaks.sum())} "
            f"choices that differ in it, {strength:+.2f} log-odds [{low:+.2f}, {high:+.2f}] {unit} "
            f"(people on average {average:+.2f})."
        )
        against = speaks & ~agrees
        return Claim(text, strength, low, high, tuple(ids[agrees]), tuple(ids[against]))

    def describe(self, persona: Persona) -> str:
        """Return the persona's sentences, or what people prefer on average for an average user."""
        if persona.text is not None:
            return persona.text
        taste, variance = self._taste(self._average_vector())
        shown = np.flatnonzero(np.abs(taste[0]) > _SIDES * np.sqrt(variance[0]))
        told = [STYLE_AXES[j].high if taste[0, j] > 0 else STYLE_AXES[j].low for j in shown]
        return "People on average prefer " + ", ".join(told) + "." if told else "No preference is evident."


def _reverse(unit: str) -> str:
    return unit.replace("per doubling", "per halving") if "doubling" in unit else unit + " less"


def _axes(corpus: Corpus) -> Floats:
    return np.asarray(embed(corpus, "style"), np.float64)


def _believe(axes: Floats, shared: Floats, spread: Floats, population: Population) -> Floats:
    pairs = population.pairs
    starts = np.searchsorted(pairs.user, np.arange(population.n_users + 1))
    table = UserPairs(axes @ shared, axes * spread, pairs.winner, pairs.loser, pairs.target, starts)
    believed = posterior(table, covariance="diagonal")
    assert believed.covariance is not None
    return np.concatenate([believed.mean, believed.covariance], axis=1)


def _pairs_of(population: Population, user: int) -> Pairs:
    pairs = population.pairs
    return pairs.take(np.arange(*np.searchsorted(pairs.user, [user, user + 1])))


def _evidence(population: Population, user: int) -> tuple[NDArray[np.object_], Floats]:
    """Return a user's choices: ids [choices], and on each axis the chosen less the mean of the others."""
    pairs, axes = _pairs_of(population, user), _axes(population.corpus)
    own = pairs.take(pairs.target == 1.0)
    rows, choice, count = np.unique(own.row, return_inverse=True, return_counts=True)
    gap = np.zeros((len(rows), axes.shape[1]))
    np.add.at(gap, choice, axes[own.winner] - axes[own.loser])
    return population.ids[rows], gap / count[:, None]
