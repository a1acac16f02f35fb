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

update  v_u by assumed-density filtering (``numerics/assumed_density.py``); statements that stand move with
        it, the ends of their intervals in proportion to the standard deviation. A new statement is written
        by adapting alone, which sees all choices.
revise  a person's shift on axis j is s_j v_uj; v_uj is set to it and its variance to 0.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from palate.core import (
    Claim,
    Corpus,
    Feedback,
    Method,
    Pairs,
    Persona,
    Population,
    Queries,
    axis_shifts,
    one_choice,
)
from palate.models.features import embed
from palate.models.style import STYLE_AXES
from palate.numerics.assumed_density import Belief, take_in
from palate.numerics.design import Design, log_loss, mean_by
from palate.numerics.laplace import UserPairs, posterior
from palate.numerics.mixed_effects import Scales, fit_mixed_effects

__all__ = ["Style"]

Floats = NDArray[np.floating[Any]]
_SIDES = 1.96  # half-width of a 95 % interval, in standard deviations
_STEPS = np.linspace(0.0, 10.0, 201)  # how far from the mode the log posterior is looked at, in prior sd
_NAMES = tuple(axis.name for axis in STYLE_AXES)
_NUMBERS = 1 << 16  # of a block of steps looked at together
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
            ids, gap = _evidence(population, user)
            spoken = np.asarray((np.abs(gap) >= _DIFFERS).any(axis=0))
            ways = self._ways(population, user, mean)
            low, high = self._interval(ways, self._near(ways, spoken))
            shown = np.flatnonzero((low > 0) | (high < 0))
            shown = shown[np.argsort(-np.abs(taste[shown]), kind="stable")]
            claims = []
            for j in shown.tolist():
                speaks = np.abs(gap[:, j]) >= _DIFFERS
                agrees = speaks & (gap[:, j] * taste[j] > 0)
                sides = tuple(ids[agrees]), tuple(ids[speaks & ~agrees])
                claims.append(self._claim(j, float(taste[j]), (float(low[j]), float(high[j])), *sides))
            n = int(population.offsets[user + 1] - population.offsets[user])
            return _text(claims, n), tuple(claims)

        return write

    def _ways(self, population: Population, user: int, mean: Floats) -> "_Ways":
        """Return the lines along which a user's axes are followed; ``mean`` is the mode of v_u."""
        own, axes = _pairs_of(population, user), _axes(population.corpus)
        gap = axes[own.winner] - axes[own.loser]
        slope, latent = gap * self.spread_, gap @ (self.shared_ + self.spread_ * mean)
        p = expit(latent)
        covariance = np.linalg.inv(np.eye(len(mean)) + slope.T @ ((p * (1 - p))[:, None] * slope))
        line = covariance / np.diag(covariance)  # column j: where the axes go as v_j grows by one
        return _Ways(mean, line, latent, slope @ line, own.target)

    def _near(self, ways: "_Ways", asked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the axes among those asked whose interval may leave zero out: one look at each, at zero."""
        taste, aside = self.shared_ + self.spread_ * ways.mean, _SIDES * np.sqrt(self.shared_variance_)
        room = np.sqrt(np.maximum(taste**2 - aside**2, 0.0))  # reach times spread at which zero is the end
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(room > 0, room / self.spread_, 0.0)
        root = ways.root(np.minimum(step, _STEPS[-1])[None] * -np.sign(taste))[0]
        return np.flatnonzero(asked & (room > 0) & ((root > 0.95 * _SIDES) | (step > _STEPS[-1])))

    def _interval(self, ways: "_Ways", which: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the ends of 95 % intervals, float64 [axes]; infinite on axes other than ``which``."""
        aside, ends = _SIDES * np.sqrt(self.shared_variance_), np.full((2, len(ways.mean)), np.inf)
        for end, side in zip(ends, (-1.0, 1.0), strict=True):
            root = ways.only(which).root(side * np.repeat(_STEPS[:, None], len(which), axis=1))
            for j, column in zip(which, root.T, strict=True):
                end[j] = np.hypot(self.spread_[j] * np.interp(_SIDES, column, _STEPS), aside[j])
        taste = self.shared_ + self.spread_ * ways.mean
        return taste - ends[0], taste + ends[1]

    def _claim(
        self,
        j: int,
        taste: float,
        ends: tuple[float, float],
        supports: tuple[str, ...],
        contradicts: tuple[str, ...],
    ) -> Claim:
        """Return the statement on axis j; ``taste`` and ``ends`` point to the axis' high side."""
        words, unit, sign = self._side(j, taste)
        low, high = sorted(sign * end for end in ends)
        total = len(supports) + len(contradicts)
        text = (
            f"Prefers {words}: {len(supports)} of {total} choices that differ in it, {abs(taste):+.2f} "
            f"log-odds [{low:+.2f}, {high:+.2f}] {unit} "
            f"(people on average {sign * float(self.shared_[j]):+.2f})."
        )
        return Claim(text, abs(taste), low, high, supports, contradicts, about=_NAMES[j])

    def _side(self, j: int, taste: float) -> tuple[str, str, float]:
        """Return the words, the unit and the sign of a taste on axis j."""
        axis = STYLE_AXES[j]
        return (axis.high, axis.unit, 1.0) if taste > 0 else (axis.low, _reverse(axis.unit), -1.0)

    # ---- one more choice, and a person's word ---------------------------------------------------------

    def update(self, persona: Persona, feedback: Feedback) -> Persona:
        """Return the persona with one more choice taken in; see :class:`palate.core.Updates`."""
        own, seen = self._with_choice(persona, feedback)
        if seen is None:
            return own
        corpus, pairs = one_choice(feedback)
        axes = _axes(corpus)
        slope, before = axes[pairs.winner] - axes[pairs.loser], np.array(own.vector)
        mean, variance = np.split(before, 2)
        belief = Belief(mean[None], variance[None], np.ones(1))
        belief = take_in(belief, slope @ self.shared_, slope * self.spread_, pairs.target)
        after = np.concatenate([belief.mean[0], belief.variance[0]])
        gap = slope[pairs.target == 1.0]
        gap = gap.mean(axis=0, keepdims=True) if len(gap) else gap
        claims = _ordered(self._moved(own.claims, before, after, gap, seen.feedback[-1]))
        text = _text(claims, len(seen.feedback))
        return replace(own, vector=tuple(after.tolist()), claims=claims, text=text, provenance=seen)

    def _moved(
        self, claims: tuple[Claim, ...], before: Floats, after: Floats, gap: Floats, name: str
    ) -> Iterator[Claim]:
        """Yield the claims after the choice ``name``: differences ``gap`` [1, axes]; of a tie [0, axes]."""
        (old,), (old_variance,) = self._taste(before[None])
        (new,), (new_variance,) = self._taste(after[None])
        for claim in claims:
            j, sign = _NAMES.index(claim.about), _direction(claim)
            ids = [claim.supports, claim.contradicts]
            for difference in gap[:, j][np.abs(gap[:, j]) >= _DIFFERS]:
                ids[int(difference * sign < 0)] += (name,)
            if claim.by_hand:
                yield replace(claim, supports=ids[0], contradicts=ids[1])
                continue
            width = np.sqrt(new_variance[j])
            away = (
                np.abs(old[j] - sign * np.array([claim.low, claim.high])) * width / np.sqrt(old_variance[j])
            )
            near, far = min(away[0], _SIDES * width), away[1]  # a surprise takes the skew off the near side
            low, high = sorted((float(new[j] - sign * near), float(new[j] + sign * far)))
            if (low > 0 and sign > 0) or (high < 0 and sign < 0):
                yield self._claim(j, float(new[j]), (low, high), *ids)

    def revise(self, persona: Persona, shifts: Mapping[str, float]) -> Persona:
        """Return the persona with its taste on some axes as its person says; :class:`palate.core.Revises`."""
        own = self._resume(persona)
        assert own.provenance is not None
        vector, size = np.array(own.vector), len(_NAMES)
        claims = {claim.about: claim for claim in own.claims}
        stand, moved = self.spread_ * vector[:size], False
        for j, shift in axis_shifts(shifts, _NAMES, self.label).items():
            claim = claims.get(_NAMES[j])
            still_said = claim is not None and claim.kept and not shift
            if np.isclose(shift, stand[j], 1e-9) and not still_said:
                continue
            moved = True
            vector[j], vector[size + j] = shift / self.spread_[j], 0.0
            if shift or claim:
                claims[_NAMES[j]] = self._said(j, shift, claim)
        if not moved:
            return own
        told = _ordered(claims.values())
        text = _text(told, len(own.provenance.feedback))
        return replace(own, vector=tuple(vector.tolist()), claims=told, text=text)

    def _said(self, j: int, shift: float, claim: Claim | None) -> Claim:
        """Return the statement on axis j as a person said it; ``claim`` is what stood there."""
        shared = float(self.shared_[j])
        if not shift:
            assert claim is not None
            return claim.forgotten(_direction(claim) * shared)
        words, unit, sign = self._side(j, shared + shift)
        strength = sign * (shared + shift)
        turned = claim is not None and _direction(claim) != sign
        ids = (claim.supports, claim.contradicts) if claim else ((), ())
        text = f"Prefers {words}: {strength:+.2f} log-odds {unit}, people on average {sign * shared:+.2f}."
        bare = Claim(text, 0.0, 0.0, 0.0, *(ids[::-1] if turned else ids), about=_NAMES[j])
        return bare.said(strength)

    def shift_of(self, persona: Persona, about: str) -> float | None:
        """Return how far a user's taste on an axis lies from the average user's, in log-odds per unit."""
        if about not in _NAMES:
            return None
        j = _NAMES.index(about)
        return float(self.spread_[j] * np.array(self._resume(persona).vector)[j])

    def describe(self, persona: Persona) -> str:
        """Return the persona's sentences, or what people prefer on average for an average user."""
        if persona.text is not None:
            return persona.text
        taste, variance = self._taste(self._average_vector())
        shown = np.flatnonzero(np.abs(taste[0]) > _SIDES * np.sqrt(variance[0]))
        told = [STYLE_AXES[j].high if taste[0, j] > 0 else STYLE_AXES[j].low for j in shown]
        return "People on average prefer " + ", ".join(told) + "." if told else "No preference is evident."


def _direction(claim: Claim) -> float:
    """Return 1 for a sentence that tells of its axis' high side, -1 for the low side."""
    return 1.0 if STYLE_AXES[_NAMES.index(claim.about)].high in claim.headline else -1.0


def _ordered(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    return tuple(sorted(claims, key=lambda claim: (not claim.kept, -claim.strength)))


def _text(claims: Sequence[Claim], choices: int) -> str:
    told = "\n".join(claim.text for claim in claims if claim.kept)
    return told or f"No preference of style is evident from {choices} choice{'' if choices == 1 else 's'}."


class _Ways(NamedTuple):
    """The lines from a mode along which each axis is followed, the others going with it.

    Attributes:
        mean: float64 [axes], the mode.
        line: float64 [axes, followed], column by column the direction.
        latent: float64 [pairs], log-odds of the winner at the mode.
        move: float64 [pairs, followed], what a unit of each direction adds to them.
        target: float64 [pairs].
    """

    mean: Floats
    line: Floats
    latent: Floats
    move: Floats
    target: Floats

    def only(self, followed: NDArray[np.int64]) -> "_Ways":
        """Return some of the lines."""
        return self._replace(line=self.line[:, followed], move=self.move[:, followed])

    def root(self, steps: Floats) -> Floats:
        """Return sqrt(2 x fall of the log posterior), float64 [steps, followed], of steps of that shape."""
        at_once = max(1, _NUMBERS // max(self.move.size, self.line.size, 1))
        base = 0.5 * (self.mean**2).sum() + log_loss(self.latent, self.target).sum()
        rise = np.empty(steps.shape)
        for first in range(0, len(steps), at_once):
            some = steps[first : first + at_once, None, :]
            there = self.mean[:, None] + some * self.line
            loss = log_loss(self.latent[:, None] + some * self.move, self.target[:, None])
            rise[first : first + at_once] = 0.5 * (there**2).sum(1) + loss.sum(1) - base
        return np.asarray(np.sqrt(2.0 * np.maximum(rise, 0.0)))


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
