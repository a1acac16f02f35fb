"""Every user's taste at once: posterior modes of logistic likelihoods under a standard normal prior.

A user has parameters w ~ N(0, I) in R^k and latent log-odds of their pairs, f = o + G m(w) with G [n, r]
the pairs' differences of directions; P(winner beats loser) = sigmoid(f). With residual
r = t - sigmoid(f) and curvature S = sigmoid(f)(1 - sigmoid(f)) the linear case m(w) = w is solved by
Newton's method (Rasmussen and Williams 2006, algorithm 3.1) in pairs or in parameters, whichever are
fewer (``numerics/forms.py``); the covariance is (I + G' S G)^-1 at the mode.

Where a step does not lower 0.5 |w|^2 + sum_i nll_i it is not taken, and the next one has the curvature
tanh(f/2) / 2f in the place of S: that quadratic touches nll at f and lies above it elsewhere (Jaakkola
and Jordan 2000), so its minimum is lower. The prior's curvature is I, so half the squared gradient
(c' K c or c' c) bounds how far, in nats, a user still is from the minimum: at ``tolerance`` they are
done and leave the stack. Another m(w), a ``Link``, is minimised by L-BFGS
(``numerics/quasi_newton.py``); its covariance is that of the problem linearised at the mode.

Users of like numbers of pairs are padded to stacks with the users on the last axis; threads take stacks.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palate.numerics.forms import Choices, Covariance, Form, form_of
from palate.numerics.quasi_newton import minimise
from palate.numerics.threads import one_blas_thread

__all__ = ["Covariance", "Link", "Posterior", "UserPairs", "posterior"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

_BYTES = 1 << 23  # of a stack's largest arrays: they stay in the caches, and NumPy has enough to do


class Link(Protocol):
    """A smooth map m from parameters w [k, ...] to weights of the directions [r, ...]."""

    def __call__(self, w: Floats, /) -> Floats:
        """Return m(w) [r, ...]."""

    def pull(self, m: Floats, h: Floats, /) -> Floats:
        """Return (dm/dw)' h [k, ...], where ``m`` is m(w); leading axes apart, the two broadcast."""


@dataclass(frozen=True, eq=False)
class UserPairs:
    """Pairs of many users next to each other, over tables of items.

    Attributes:
        offset: float [items], the part of an item's score that all users share.
        directions: float [items, r], along which users differ; its type is that of the computation.
        winner: int64 [pairs].
        loser: int64 [pairs].
        target: float [pairs].
        starts: int64 [users + 1], where each user's pairs begin.
    """

    offset: Floats
    directions: Floats
    winner: Ints
    loser: Ints
    target: Floats
    starts: Ints

    @property
    def n_users(self) -> int:
        """Number of users, those without pairs included."""
        return len(self.starts) - 1


@dataclass(frozen=True, eq=False)
class Posterior:
    """Mode float [users, k]; covariance None, float [users, k] (diagonal) or [users, k, k] (full)."""

    mean: Floats
    covariance: Floats | None


def posterior(
    pairs: UserPairs,
    *,
    size: int | None = None,
    link: Link | None = None,
    covariance: Covariance = "none",
    steps: int = 300,
    tolerance: float = 1e-9,
    threads: int | None = None,
) -> Posterior:
    """Return every user's posterior mode and covariance.

    Args:
        pairs: The users' pairs; a user may have none and keeps the prior.
        size: Number k of parameters a user; the directions' number unless the link says otherwise.
        link: The map m from parameters to weights of the directions; the identity by default.
        covariance: What to return of the posterior covariance.
        steps: Most steps of a user.
        tolerance: A user is done when half the squared gradient (nats) is no larger.
        threads: Stacks solved at once; the machine's cores by default.

    >>> one = UserPairs(np.zeros(2), np.array([[2.0], [0.0]]), np.array([0]), np.array([1]),
    ...                 np.ones(1), np.array([0, 1]))
    >>> posterior(one).mean.round(3)
    array([[0.521]])
    """
    k = pairs.directions.shape[1] if size is None else size
    kind = pairs.directions.dtype
    mean = np.zeros((pairs.n_users, k), kind)
    spread = _prior_covariance(pairs.n_users, k, covariance, kind)

    def solve(users: Ints) -> None:
        w, believed = _solve(pairs, users, k, link, covariance, steps, tolerance)
        mean[users] = w
        if spread is not None:
            spread[users] = believed

    stacks = list(_stacks(pairs, k))
    if len(stacks) < 2:  # one user's, in a server: starting threads costs more than the work
        for users in stacks:
            solve(users)
    else:
        with one_blas_thread(), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            list(pool.map(solve, stacks))
    return Posterior(mean, spread)


def _solve(
    pairs: UserPairs,
    users: Ints,
    k: int,
    link: Link | None,
    covariance: Covariance,
    steps: int,
    tolerance: float,
) -> tuple[Floats, Floats | None]:
    """Return the modes [b, k] and covariances of one stack."""
    choices, g = _gather(pairs, users)
    if link is None:
        form = form_of(g)
        x, f = _newton(form, choices, steps, tolerance)
        mean = form.weights(x)
    else:
        linked = _Linked(np.ascontiguousarray(g.transpose(1, 2, 0)), choices, link)
        w = minimise(linked, np.zeros((k, len(users)), g.dtype), steps, tolerance)
        mean = w.T
        if covariance != "none":
            f, jacobian = linked.linearised(w)
            form = form_of(jacobian)
    if covariance == "none":
        return mean, None
    return mean, form.covariance(choices.loss(f)[2], covariance)


def _prior_covariance(n: int, k: int, covariance: Covariance, kind: Any) -> Floats | None:
    if covariance == "none":
        return None
    return np.ones((n, k), kind) if covariance == "diagonal" else np.tile(np.eye(k, dtype=kind), (n, 1, 1))


def _stacks(pairs: UserPairs, k: int) -> Iterator[Ints]:
    """Yield users of like numbers of pairs, as many as fit a stack; users without pairs are left out."""
    counts = np.diff(pairs.starts)
    order = np.argsort(counts, kind="stable")
    order = order[np.searchsorted(counts[order], 1) :]
    sizes = counts[order]
    start = 0
    while start < len(order):
        widest = int(sizes[start] * 1.25) + (sizes[start] < 4)
        numbers = max(widest, k) * (min(widest, k) + widest)
        room = max(1, _BYTES // (numbers * pairs.directions.itemsize))
        stop = min(int(np.searchsorted(sizes, widest, side="right")), start + room)
        yield order[start:stop]
        start = stop


def _gather(pairs: UserPairs, users: Ints) -> tuple[Choices, Floats]:
    """Return the users' choices and their directions [b, n, r]."""
    starts, counts = pairs.starts[users], pairs.starts[users + 1] - pairs.starts[users]
    slot = np.arange(counts.max())
    real = slot < counts[:, None]
    index = starts[:, None] + slot
    padded = not real.all()
    if padded:
        index[~real] = 0
    win, lose = pairs.winner.take(index), pairs.loser.take(index)
    g = pairs.directions.take(win, axis=0)
    g -= pairs.directions.take(lose, axis=0)
    offset, target = pairs.offset.take(win) - pairs.offset.take(lose), pairs.target.take(index) - 0.5
    if padded:
        for column in (g, offset, target):
            column[~real] = 0.0
    return Choices(*(np.array(c.T, g.dtype, order="C") for c in (offset, target))), g


@dataclass(frozen=True, eq=False)
class _Point:
    """Where users are: x [m, b], f [n, b], the objective [b], the residual and the curvature [n, b]."""

    x: Floats
    f: Floats
    value: Floats
    residual: Floats
    curvature: Floats

    @classmethod
    def at(cls, form: Form, choices: Choices, x: Floats, f: Floats) -> "_Point":
        nll, residual, curvature = choices.loss(f)
        return cls(x, f, nll + form.prior(x, f - choices.offset), residual, curvature)

    def take(self, index: Ints) -> "_Point":
        columns = (self.x, self.f, self.value, self.residual, self.curvature)
        return _Point(*(column.take(index, axis=-1) for column in columns))

    def back(self, worse: NDArray[np.bool_], old: "_Point") -> tuple["_Point", NDArray[np.bool_]]:
        """Return some users to where they were, with a curvature that is safe there; and who had it already.

        A quadratic with the curvature tanh(f / 2) / 2f touches nll at f and lies nowhere below it.
        """
        half = np.maximum(0.5 * np.abs(old.f), 1e-3)
        safe = 0.25 * np.tanh(half) / half
        x, f, value = (
            np.where(worse, a, b) for a, b in ((old.x, self.x), (old.f, self.f), (old.value, self.value))
        )
        residual = np.where(worse, old.residual, self.residual)
        curvature = np.where(worse, safe, self.curvature)
        return _Point(x, f, value, residual, curvature), worse & (old.curvature >= safe).all(0)


def _newton(form: Form, choices: Choices, steps: int, tolerance: float) -> tuple[Floats, Floats]:
    """Return the modes' coordinates x [m, b] and log-odds f [n, b]."""
    start = np.zeros((form.size, choices.offset.shape[1]), choices.offset.dtype)
    at = _Point.at(form, choices, start, choices.offset)
    found, users = (start, choices.offset.copy()), np.arange(len(at.value))
    is_open, noise = np.ones(len(users), bool), 8.0 * np.finfo(start.dtype).eps
    for _ in range(steps):
        gradient, left = form.gradient(at.x, at.residual)
        is_open &= left > tolerance
        if np.count_nonzero(is_open) < 0.7 * len(is_open):
            found[0][:, users], found[1][:, users] = at.x, at.f
            keep = np.flatnonzero(is_open)
            if not len(keep):
                return found
            form, choices, at = form.take(keep), choices.take(keep), at.take(keep)
            users, is_open, left, gradient = users[keep], is_open[keep], left[keep], gradient.take(keep, 1)
        dx, df = form.step(gradient, at.x, at.residual, at.curvature)
        new = _Point.at(form, choices, at.x + dx * is_open, at.f + df * is_open)
        rounding = noise * (1.0 + at.value)
        worse = ~(new.value <= at.value + rounding)
        is_open &= worse | (new.value < at.value) | (left > rounding)
        if worse.any():
            new, stuck = new.back(worse, at)
            is_open &= ~stuck
        at = new
    found[0][:, users], found[1][:, users] = at.x, at.f
    return found


@dataclass(frozen=True, eq=False)
class _Linked:
    """The objective of a link: 0.5 |w|^2 + sum nll(o + G m(w)), for :func:`minimise`."""

    g: Floats  # [n, r, b]
    choices: Choices
    link: Link

    def __call__(self, w: Floats) -> tuple[Floats, Floats]:
        m = self.link(w)
        value, residual, _ = self.choices.loss(self._latent(m))
        value += 0.5 * np.einsum("kb,kb->b", w, w)
        return value, w - self.link.pull(m, np.einsum("nrb,nb->rb", self.g, residual))

    def take(self, index: Ints) -> "_Linked":
        return _Linked(self.g.take(index, axis=2), self.choices.take(index), self.link)

    def linearised(self, w: Floats) -> tuple[Floats, Floats]:
        """Return the log-odds f [n, b] and their Jacobian [b, n, k]."""
        m = self.link(w)
        jacobian = self.link.pull(m[:, None], self.g.swapaxes(0, 1))
        return self._latent(m), np.ascontiguousarray(jacobian.transpose(2, 1, 0))

    def _latent(self, m: Floats) -> Floats:
        return np.asarray(self.choices.offset + np.einsum("nrb,rb->nb", self.g, m))
