"""mixed: what all users share, a few directions along which they differ, and how sure it is of each user.

Ours: a hierarchical Bradley-Terry model, fitted by empirical Bayes. Its published relative is crowdGPPL
(Simpson and Gurevych 2020). For an item i with embedding phi_i and style axes d_i [q]:

    r_u(i) = f_0(i) + sum_k z_uk f_k(i) + sum_j v_uj s_j d_ij,      z_u, v_u ~ N(0, I)
    f_0 ~ GP(0, shared^2 k),   f_k ~ GP(0, personal^2 k),
    k = phi.phi' + style.style' + rbf(phi) + rbf(style) + own [same text]

fit     variational EM for each candidate (``numerics/mixed_effects.py``): first without learned
        directions, over ``shareds``; then with rank 1, 2, ... over ``personals``. Learned directions
        are admitted only if the best candidate with them beats the best without on validation users
        by more than one standard error of the users' paired differences. The admitted candidates are
        averaged, weighted by exp(-users * log-loss), into one model: mean of the means, mean of
        the covariances, kept to ``rank`` principal directions. Last, a prior of several groups of
        taste (``numerics/groups.py``) takes the place of the normal one, if it passes the same test.
adapt   Laplace: mean and variance of (z_u, v_u), all users in one batched Newton; with groups, of the
        mixture, and the user's share in each group.
update  one more choice by assumed-density filtering (``numerics/assumed_density.py``), groups included.
revise  a person's shift on a style axis is s_j v_j and what the learned directions have of it
        (``reward/projection.py``). v_j is moved until the shift is as wanted, and its variance is 0
        from then on; later choices move z with the shift held, f_k less its part along the axis.
score   the mean log-odds, divided by sqrt(1 + pi/8 variance): the logistic of it is the probability
        integrated over what is not known about the user (MacKay 1992). Times one number that makes
        validation users' probabilities come true, with a prior that keeps it near 1.

Where users do not differ directions are refused and the spreads shrink: it is then close to a pooled
model, and little is lost. Cost: X [items, m] once; a pass is items x m x (1 + r) + pairs x (1 + r).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    ConfigError,
    Corpus,
    Feedback,
    Persona,
    Population,
    Queries,
    axis_shifts,
    one_choice,
)
from palate.models.encoder import resolve
from palate.models.features import embed
from palate.models.style import STYLE_AXES
from palate.numerics.assumed_density import Belief, apart, take_in
from palate.numerics.design import Design
from palate.numerics.groups import Groups, fit_groups
from palate.numerics.kernel import ItemKernel
from palate.numerics.laplace import UserPairs, posterior
from palate.numerics.mixed_effects import MixedEffects, Scales, fit_mixed_effects, merge
from palate.reward.base import EmbeddingMethod, Validation, evident, sharpen
from palate.reward.projection import Projection, Shifts

__all__ = ["Mixed"]

Floats = NDArray[np.floating[Any]]
STYLE_NAMES = tuple(axis.name for axis in STYLE_AXES)
"""The axes that a person can correct."""


@dataclass(kw_only=True, eq=False)
class Mixed(EmbeddingMethod):
    """Hierarchical Bradley-Terry by empirical Bayes.

    Args:
        rank: Most learned directions that are kept; 0 keeps the style axes alone.
        ranks: Numbers of learned directions tried; empty tries none.
        shareds: Prior scales of what is shared, tried without learned directions.
        personals: Prior scales of a learned direction tried.
        groups: Numbers of groups of taste tried.
        length: Length scale of the kernels, relative to the median distance of items.
        own: Variance of a text's own merit.
        inducing: Most items that carry the kernel; the most frequent ones are taken.
        most_pairs: Fit on at most so many pairs, by drawing training users.
    """

    name: ClassVar[str] = "mixed"
    version: ClassVar[int] = 3
    seconds_per_10k: ClassVar[float] = 26.0
    paper: ClassVar[str] = "ours; relative: crowdGPPL (Simpson and Gurevych 2020)"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {  # what a fit does not choose itself
        "length": (0.4, 0.65, 1.0),
        "own": (0.05, 0.2, 0.5),
    }
    rank: int = 8
    ranks: tuple[int, ...] = (1, 2, 4, 8)
    shareds: tuple[float, ...] = (0.4, 0.7, 1.0, 1.5)
    personals: tuple[float, ...] = (0.25, 0.5, 1.0)
    groups: tuple[int, ...] = (2, 3, 4, 6)
    length: float = 0.65
    own: float = 0.2
    inducing: int = 1024
    most_pairs: int = 200_000

    def _learn(self, population: Population) -> None:
        if self.rank < 0 or not self.shareds or (self.ranks and not self.personals):
            raise ConfigError(
                f"mixed: rank={self.rank}, shareds={self.shareds}, personals={self.personals} leave "
                "nothing to try; use rank >= 0 and at least one scale of each"
            )
        train = _sample(population.with_role("train"), self.most_pairs, self.seed)
        design = Design.of(train.pairs, train.n_users)
        text, style = self._blocks(population.corpus)
        used = np.bincount(np.concatenate([design.winner, design.loser]))
        top = np.sort(design.items[np.argsort(-used, kind="stable")[: self.inducing]])
        kernel = ItemKernel.over(
            text[top].astype(np.float64), _scaled(style[top]), length=self.length, own=self.own
        )
        self._keep_kernel(kernel)
        self._choose(population, design, text, style)

    def _choose(self, population: Population, design: Design, text: Floats, style: Floats) -> None:
        kernel, validation = self._kernel(), Validation.of(population)
        asked = np.unique(
            np.concatenate([validation.context.options, validation.target.winner, validation.target.loser])
        )
        x, fixed = kernel.features(text[design.items], _scaled(style[design.items])), _fixed(style)
        probe = (asked, kernel.features(text[asked], _scaled(style[asked])), fixed[asked])

        def tried(scales: Scales, start: Floats | None) -> tuple[MixedEffects, Floats]:
            model = fit_mixed_effects(x, fixed[design.items], design, scales, start=start, seed=self.seed)
            return model, validation.losses_of(_differences(model, validation, *probe))

        flat: list[tuple[MixedEffects, Floats]] = []
        for shared in self.shareds:
            flat.append(tried(Scales(shared, 1.0, 0), flat[-1][0].w if flat else None))
        admitted, scale = flat, self.shareds[_lowest(flat)]
        if self.rank and self.ranks:
            grid = [Scales(scale, p, r) for r in self.ranks for p in self.personals]
            personal = [tried(s, flat[_lowest(flat)][0].w) for s in grid]
            if evident(personal[_lowest(personal)][1], flat[_lowest(flat)][1]):
                admitted = flat + personal
        mean = np.array([losses.mean() if len(losses) else 0.0 for _, losses in admitted])
        weights = np.exp(-(mean - mean.min()) * max(1, len(admitted[0][1])))
        model = merge([m for m, _ in admitted], weights, self.rank)
        self.shared_, self.directions_, self.spread_ = model.w, model.directions, model.spread
        self.rank_ = int(model.directions.shape[1])
        self._choose_groups(model, design, validation, (x, fixed[design.items]), probe)
        asked_of = _differences(model, validation, *probe, self._groups())
        self.sharpness_ = sharpen(validation, asked_of)

    def _choose_groups(
        self,
        model: MixedEffects,
        design: Design,
        validation: Validation,
        trained: tuple[Floats, Floats],
        probe: tuple[NDArray[np.int64], Floats, Floats],
    ) -> None:
        """Admit groups of taste if validation users are predicted better with them, beyond doubt."""
        self.group_weights_, self.group_means_, self.group_within_ = _no_groups(
            len(model.spread) + self.rank_
        )
        offset, g = model.project(*trained)
        starts = np.searchsorted(design.user, np.arange(design.n_users + 1))
        table = UserPairs(offset, g, design.winner, design.loser, design.target, starts)
        told = np.flatnonzero(np.diff(starts) > 0)
        believed = posterior(table, covariance="full")
        assert believed.covariance is not None
        mean, covariance = believed.mean[told], believed.covariance[told]
        tried = []
        for count in self.groups if self.rank_ else ():
            if len(told) >= 10 * count:
                found = fit_groups(mean, covariance, count, seed=self.seed)
                of_groups = _differences(model, validation, *probe, found)
                tried.append((found, validation.losses_of(of_groups)))
        if not tried:
            return
        best, losses = min(tried, key=lambda one: one[1].mean() if len(one[1]) else 0.0)
        if evident(losses, validation.losses_of(_differences(model, validation, *probe))):
            self.group_weights_, self.group_means_, self.group_within_ = best.weights, best.means, best.within

    def _condense(self, population: Population) -> Floats:
        """Return [users, 2k + groups]: mean of each user's parameters, their variance, shares of groups."""
        offset, g = (table.astype(np.float32) for table in self._projected(population.corpus))
        pairs = population.pairs
        starts = np.searchsorted(pairs.user, np.arange(population.n_users + 1))
        table = UserPairs(offset, g, pairs.winner, pairs.loser, pairs.target, starts)
        return np.concatenate(_believe(table, self._groups()), axis=1)

    def _groups(self) -> Groups | None:
        if len(self.group_weights_) < 2:
            return None
        return Groups(self.group_weights_, self.group_means_, self.group_within_)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        offset, g = self._projected(queries.corpus)
        mean = vectors[:, : g.shape[1]]
        who, query = queries.who[queries.option_query], queries.option_query
        scores = offset[queries.options] + np.einsum("ij,ij->i", g[queries.options], mean[who])
        variance = self._variance(vectors, queries)
        shrink = self.sharpness_ / np.sqrt(1.0 + np.pi / 8.0 * variance)
        return np.asarray(queries.centred(scores) * shrink[query])

    def update(self, persona: Persona, feedback: Feedback) -> Persona:
        """Return the persona with one more choice taken in; see :class:`palate.core.Updates`."""
        own, seen = self._with_choice(persona, feedback)
        if seen is None:
            return own
        corpus, pairs = one_choice(feedback)
        offset, g = self._projected(corpus)
        mean, variance, share = np.split(np.array(own.vector), [g.shape[1], 2 * g.shape[1]])
        shifts, groups = self._shifts, self._groups()
        axes = shifts.set_axes(variance)
        plain = Belief(mean[None], variance[None], np.ones(1))
        believed = take_in(
            plain if groups is None else apart(mean, variance, share, groups),
            offset[pairs.winner] - offset[pairs.loser],
            shifts.held(g[pairs.winner] - g[pairs.loser], axes),
            pairs.target,
        )
        stand = shifts.of(mean)
        mean, variance = believed.moments
        mean = shifts.moved(mean, {axis: stand[axis] for axis in axes})
        variance[self.rank_ + np.array(axes, np.int64)] = 0.0
        kept = np.concatenate([mean, variance, share if groups is None else believed.share])
        return replace(own, vector=tuple(kept.tolist()), provenance=seen)

    def revise(self, persona: Persona, shifts: Mapping[str, float]) -> Persona:
        """Return the persona with its taste on some style axes as its person says.

        Only ranking is moved: the words come from ``style``, which is revised alike. See
        :class:`palate.core.Revises`.
        """
        own = self._resume(persona)
        wanted, vector = axis_shifts(shifts, STYLE_NAMES, self.label), np.array(own.vector)
        size, tastes = len(self._shifts.average), self._shifts
        stand = tastes.of(vector[:size])
        moved = {axis: shift for axis, shift in wanted.items() if not np.isclose(shift, stand[axis], 1e-9)}
        if not moved:
            return own
        vector[:size] = tastes.moved(vector[:size], moved)
        vector[size + self.rank_ + np.array(list(moved))] = 0.0
        return replace(own, vector=tuple(vector.tolist()))

    def shift_of(self, persona: Persona, about: str) -> float | None:
        """Return how far a user's taste on an axis lies from the average user's, in log-odds per unit."""
        if about not in STYLE_NAMES:
            return None
        mean = np.array(self._resume(persona).vector)[: len(self._shifts.average)]
        return float(self._shifts.of(mean)[STYLE_NAMES.index(about)])

    @property
    def _shifts(self) -> Shifts:
        return self._served[1]

    def variance_batch(self, queries: Queries) -> Floats:
        """Return float64 [queries]: posterior variance of the log-odds of one option over another."""
        return self._variance(self._vectors(queries.personas), queries)

    def _variance(self, vectors: Floats, queries: Queries) -> Floats:
        """Return the variance of a difference of two options, the mean over the query's pairs of options."""
        _, g = self._projected(queries.corpus)
        variance = vectors[:, g.shape[1] : 2 * g.shape[1]]
        query, rows = queries.option_query, g[queries.options]
        sizes = np.maximum(np.diff(queries.offsets), 2)
        starts = queries.offsets[:-1]
        if not len(starts):
            return np.zeros(0)
        mean = np.add.reduceat(rows, starts, axis=0) / sizes[:, None]
        squares = np.add.reduceat((rows - mean[query]) ** 2, starts, axis=0)
        return np.asarray(((2.0 / (sizes - 1))[:, None] * squares * variance[queries.who]).sum(1))

    def _projected(self, corpus: Corpus) -> tuple[Floats, Floats]:
        """Return, for all items of a corpus, what is shared [items] and the directions [items, k]."""

        def make() -> tuple[Floats, Floats]:
            ranges = dict(resolve(self.encoder).blocks)
            if not {"text", "style"} <= ranges.keys():
                return self._projection(*self._blocks(corpus))
            features = embed(corpus, self.encoder)  # its style block is the axes, scaled: not asked for again
            style = features[:, ranges["style"]] * np.sqrt(len(STYLE_NAMES))
            return self._projection(features[:, ranges["text"]], style)

        offset, g = self._remember(corpus, make)
        return offset, g

    @property
    def _projection(self) -> Projection:
        return self._served[0]

    @property
    def _served(self) -> tuple[Projection, Shifts]:
        """What serving needs of the fitted model beyond its state, made on first use."""
        made: tuple[str, tuple[Projection, Shifts]] | None = self.__dict__.get("_made")
        if made is None or made[0] != self.fingerprint:
            model = MixedEffects(self.shared_, self.directions_, self.spread_)
            projection = Projection.of(self._kernel(), model)
            average = self.group_weights_ @ self.group_means_
            made = self.fingerprint, (projection, Shifts(self.spread_, projection.along, average))
            self.__dict__["_made"] = made
        return made[1]

    def _blocks(self, corpus: Corpus) -> tuple[Floats, Floats]:
        """Return the text block of the embeddings [items, d] and the style axes [items, q]."""
        ranges = dict(resolve(self.encoder).blocks)
        text = embed(corpus, self.encoder)[:, ranges.get("text", slice(0, 0))]
        return text, embed(corpus, "style")

    def _keep_kernel(self, kernel: ItemKernel) -> None:
        self.kernel_text_, self.kernel_style_ = kernel.text, kernel.style
        self.kernel_factor_, self.kernel_length_ = kernel.factor, float(kernel.length)

    def _kernel(self) -> ItemKernel:
        return ItemKernel(
            self.kernel_text_, self.kernel_style_, self.kernel_factor_, self.kernel_length_, self.own
        )


def _scaled(style: Floats) -> Floats:
    """Give the style axes a norm of about one, as the embeddings have."""
    return np.asarray(style / np.sqrt(style.shape[1]), np.float64)


def _fixed(style: Floats) -> Floats:
    return np.asarray(style, np.float64)


def _sample(population: Population, most_pairs: int, seed: int) -> Population:
    if len(population.pairs) <= most_pairs:
        return population
    drawn = np.random.default_rng(seed).permutation(population.n_users)
    counts = np.bincount(population.pairs.user, minlength=population.n_users)[drawn]
    return population.take_users(np.sort(drawn[: max(1, int((np.cumsum(counts) <= most_pairs).sum()))]))


def _lowest(candidates: list[tuple[MixedEffects, Floats]]) -> int:
    return int(np.argmin([losses.mean() if len(losses) else 0.0 for _, losses in candidates]))


def _no_groups(size: int) -> tuple[Floats, Floats, Floats]:
    return np.ones(1), np.zeros((1, size)), np.eye(size)


def _believe(table: UserPairs, groups: Groups | None, block: int = 16384) -> tuple[Floats, Floats, Floats]:
    """Return every user's mean [users, k], variance [users, k] and shares of groups [users, 0 or groups].

    With groups users go block by block: their full covariances at once would not fit.
    """
    if groups is None:
        believed = posterior(table, covariance="diagonal")
        assert believed.covariance is not None
        return believed.mean, believed.covariance, np.zeros((table.n_users, 0), believed.mean.dtype)
    parts = []
    for start in range(0, table.n_users, block):
        some = replace(table, starts=table.starts[start : start + block + 1])
        believed = posterior(some, covariance="full")
        assert believed.covariance is not None
        placed = groups.place(believed.mean, believed.covariance)
        parts.append((placed.mean, placed.variance, placed.share))
    empty = [(np.zeros((0, groups.means.shape[1])),) * 2 + (np.zeros((0, len(groups.weights))),)]
    mean, variance, share = (np.concatenate(column) for column in zip(*(parts or empty), strict=True))
    return mean, variance, share


def _differences(
    model: MixedEffects,
    validation: Validation,
    asked: NDArray[np.int64],
    features: Floats,
    fixed: Floats,
    groups: Groups | None = None,
) -> Floats:
    """Adapt the validation users on their context and return the log-odds of their target pairs."""
    offset, g = model.project(features, fixed)
    local = np.zeros(len(validation.context.corpus), np.int64)
    local[asked] = np.arange(len(asked))
    pairs, target = validation.context.pairs, validation.target
    starts = np.searchsorted(pairs.user, np.arange(validation.context.n_users + 1))
    table = UserPairs(offset, g, local[pairs.winner], local[pairs.loser], pairs.target, starts)
    believed, spread, _ = _believe(table, groups)
    win, lose = local[target.winner], local[target.loser]
    d_g = g[win] - g[lose]
    mean = offset[win] - offset[lose] + (d_g * believed[target.user]).sum(1)
    variance = (d_g * d_g * spread[target.user]).sum(1)
    return np.asarray(mean / np.sqrt(1.0 + np.pi / 8.0 * variance))
