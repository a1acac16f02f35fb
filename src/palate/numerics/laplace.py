"""Every user's taste at once: posterior modes of logistic likelihoods under a standard normal prior.

A user has parameters w ~ N(0, I) in R^k and latent log-odds of their pairs, f = o + G m(w) with G [n, r]
the pairs' differences of directions; P(winner beats loser) = sigmoid(f). With residual
r = t - sigmoid(f) and curvature S = sigmoid(f)(1 - sigmoid(f)) the linear case m(w) = w is solved by
Newton's method (Rasmussen and Williams 2006, algorithm 3.1), in the smaller of two forms:

    n < k   w = G' a, f = o + K a, K = G G' made once, B = I + S^1/2 K S^1/2
            c = a - r,   da = S^1/2 B^-1 S^1/2 K c - c,   covariance I - G' S^1/2 B^-1 S^1/2 G
    n >= k  H = I + G' S G,   c = w - G' r,   dw = -H^-1 c,   covariance H^-1

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
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from palate.numerics import stack
from palate.numerics.quasi_newton import minimise
from palate.numerics.threads import one_blas_thread

__all__ = ["Covariance", "Link", "Posterior", "UserPairs", "posterior"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Covariance = Literal["none", "diagonal", "full"]

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
        choices, g = _gather(pairs, users)
        if link is None:
            form = _form(g)
            x, f = _newton(form, choices, steps, tolerance)
            mean[users] = form.weights(x)
        else:
            linked = _Linked(np.ascontiguousarray(g.transpose(1, 2, 0)), choices, link)
            w = minimise(linked, np.zeros((k, len(users)), kind), steps, tolerance)
            mean[users] = w.T
            if spread is None:
                return
            f, jacobian = linked.linearised(w)
            form = _form(jacobian)
        if spread is not None:
            spread[users] = form.covariance(choices.loss(f)[2], covariance)

    with one_blas_thread(), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(solve, _stacks(pairs, k)))
    return Posterior(mean, spread)


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


@dataclass(frozen=True, eq=False)
class _Choices:
    """Float [n, b] each: the shared log-odds, and the targets less 0.5. Padding is zero in both.

    With its directions zero too, padding adds a constant to the loss and nothing to w.
    """

    offset: Floats
    target: Floats

    def take(self, index: Ints) -> "_Choices":
        return _Choices(self.offset.take(index, axis=1), self.target.take(index, axis=1))

    def loss(self, f: Floats) -> tuple[Floats, Floats, Floats]:
        """Return sum nll [b], the residual t - sigmoid(f) and the curvature [n, b], all from exp(-|f|)."""
        size = np.abs(f)
        e = np.exp(-size)
        above = 1.0 + e
        nll = np.log(above).sum(0) + 0.5 * size.sum(0) - np.einsum("nb,nb->b", self.target, f)
        e /= above
        centred = np.copysign(0.5 - e, f)  # sigmoid(f) - 0.5
        return nll, self.target - centred, e - e * e


def _gather(pairs: UserPairs, users: Ints) -> tuple[_Choices, Floats]:
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
    return _Choices(*(np.array(c.T, g.dtype, order="C") for c in (offset, target))), g


class _Form(Protocol):
    """The linear problem in coordinates x [m, b]."""

    size: int

    def weights(self, x: Floats) -> Floats:
        """Return w [b, k]."""

    def prior(self, x: Floats, change: Floats) -> Floats:
        """Return 0.5 |w|^2 [b], given f - o."""

    def gradient(self, x: Floats, residual: Floats) -> tuple[Floats, Floats]:
        """Return what :meth:`step` wants of the gradient [m, b], and half its squared norm [b]."""

    def step(self, gradient: Floats, x: Floats, residual: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        """Return Newton's change of x [m, b] and of f [n, b]."""

    def covariance(self, curvature: Floats, covariance: Covariance) -> Floats:
        """Return (I + G' S G)^-1, [b, k] or [b, k, k]."""

    def take(self, index: Ints) -> "_Form":
        """Return the form of some of its users."""


def _form(g: Floats) -> _Form:
    return _Dual.of(g) if g.shape[1] < g.shape[2] else _Primal(g)


@dataclass(frozen=True, eq=False)
class _Dual:
    """x = a, w = G' a; for fewer pairs than parameters."""

    g: Floats  # [b, n, k]
    k: Floats  # [n, n, b]

    @classmethod
    def of(cls, g: Floats) -> "_Dual":
        return cls(g, np.ascontiguousarray((g @ g.swapaxes(1, 2)).transpose(1, 2, 0)))

    @property
    def size(self) -> int:
        return len(self.k)

    def weights(self, x: Floats) -> Floats:
        return np.asarray((x.T[:, None, :] @ self.g)[:, 0])

    def prior(self, x: Floats, change: Floats) -> Floats:
        return np.asarray(0.5 * np.einsum("nb,nb->b", x, change))

    def gradient(self, x: Floats, residual: Floats) -> tuple[Floats, Floats]:
        c = x - residual
        change = np.einsum("ijb,jb->ib", self.k, c)
        return change, 0.5 * np.einsum("nb,nb->b", c, change)

    def step(self, gradient: Floats, x: Floats, residual: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        root = np.sqrt(curvature)
        da = root * stack.solve(self._factor(root), root * gradient) - (x - residual)
        return da, np.einsum("ijb,jb->ib", self.k, da)

    def covariance(self, curvature: Floats, covariance: Covariance) -> Floats:
        root = np.sqrt(curvature)
        left = stack.invert(self._factor(root)) * root
        explained = np.ascontiguousarray(left.transpose(2, 0, 1)) @ self.g
        if covariance == "diagonal":
            return np.asarray(np.maximum(1.0 - np.einsum("bik,bik->bk", explained, explained), 0.0))
        return np.asarray(np.eye(self.g.shape[2]) - explained.swapaxes(1, 2) @ explained)

    def take(self, index: Ints) -> "_Dual":
        return _Dual(self.g[:0], self.k.take(index, axis=2))

    def _factor(self, root: Floats) -> Floats:
        b = self.k * root
        b *= root[:, None]
        b[np.arange(len(b)), np.arange(len(b))] += 1.0
        return stack.factor(b)


@dataclass(frozen=True, eq=False)
class _Primal:
    """x = w; for at least as many pairs as parameters."""

    g: Floats  # [b, n, k]

    @property
    def size(self) -> int:
        return self.g.shape[2]

    def weights(self, x: Floats) -> Floats:
        return x.T

    def prior(self, x: Floats, change: Floats) -> Floats:
        return np.asarray(0.5 * np.einsum("kb,kb->b", x, x))

    def gradient(self, x: Floats, residual: Floats) -> tuple[Floats, Floats]:
        c = x - (residual.T[:, None, :] @ self.g)[:, 0].T
        return c, 0.5 * np.einsum("kb,kb->b", c, c)

    def step(self, gradient: Floats, x: Floats, residual: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        dw = -stack.solve(self._factor(curvature), gradient)
        return dw, (self.g @ dw.T[..., None])[..., 0].T

    def covariance(self, curvature: Floats, covariance: Covariance) -> Floats:
        left = stack.invert(self._factor(curvature))
        if covariance == "diagonal":
            return np.asarray(np.einsum("ikb,ikb->bk", left, left))
        rows = np.ascontiguousarray(left.transpose(2, 0, 1))
        return np.asarray(rows.swapaxes(1, 2) @ rows)

    def take(self, index: Ints) -> "_Primal":
        return replace(self, g=self.g[index])

    def _factor(self, curvature: Floats) -> Floats:
        h = np.ascontiguousarray((self.g.swapaxes(1, 2) @ (curvature.T[..., None] * self.g)).transpose(1, 2, 0))
        h[np.arange(len(h)), np.arange(len(h))] += 1.0
        return stack.factor(h)


def _newton(form: _Form, choices: _Choices, steps: int, tolerance: float) -> tuple[Floats, Floats]:
    """Return the modes' coordinates x [m, b] and log-odds f [n, b]."""
    b = choices.offset.shape[1]
    x, f = np.zeros((form.size, b), choices.offset.dtype), choices.offset.copy()
    found, users = (x.copy(), f.copy()), np.arange(b)
    value, residual, curvature = choices.loss(f)
    is_open = np.ones(b, bool)
    for _ in range(steps):
        gradient, left = form.gradient(x, residual)
        is_open &= left > tolerance
        if np.count_nonzero(is_open) < 0.7 * len(is_open):
            found[0][:, users], found[1][:, users] = x, f
            keep = np.flatnonzero(is_open)
            if not len(keep):
                return found
            form, choices, users = form.take(keep), choices.take(keep), users[keep]
            x, f, residual, curvature, gradient = (
                a.take(keep, axis=1) for a in (x, f, residual, curvature, gradient)
            )
            value, is_open = value[keep], is_open[keep]
        dx, df = form.step(gradient, x, residual, curvature)
        x_new, f_new = x + dx * is_open, f + df * is_open
        value_new, residual_new, curvature_new = choices.loss(f_new)
        value_new += form.prior(x_new, f_new - choices.offset)
        worse = ~(value_new <= value + 8.0 * np.finfo(x.dtype).eps * (1.0 + value))
        if worse.any():
            safe = _bound(f)
            stuck = worse & (curvature >= safe).all(0)
            is_open &= ~stuck & (worse | (value_new < value))
            curvature = np.where(worse, safe, curvature_new)
            x, f, residual = (np.where(worse, a, c) for a, c in ((x, x_new), (f, f_new), (residual, residual_new)))
            value = np.where(worse, value, value_new)
        else:
            is_open &= value_new < value
            x, f, value, residual, curvature = x_new, f_new, value_new, residual_new, curvature_new
    found[0][:, users], found[1][:, users] = x, f
    return found


def _bound(f: Floats) -> Floats:
    """Return tanh(f / 2) / 2f, the curvature of a quadratic that nowhere lies below nll."""
    half = np.maximum(0.5 * np.abs(f), 1e-3)
    return np.asarray(0.25 * np.tanh(half) / half)


@dataclass(frozen=True, eq=False)
class _Linked:
    """The objective of a link: 0.5 |w|^2 + sum nll(o + G m(w)), for :func:`minimise`."""

    g: Floats  # [n, r, b]
    choices: _Choices
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
