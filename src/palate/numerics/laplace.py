"""Every user's taste at once: batched Newton for logistic likelihoods under a standard normal prior.

A user has parameters w ~ N(0, I) in R^k and latent log-odds f_i(w) of their pairs i, linear
(f = o + G w) or not; P(winner beats loser) = sigmoid(f_i). Each step linearises f at w with
Jacobian J [pairs, k], residual g = t - sigmoid(f) and curvature S = sigmoid(f)(1 - sigmoid(f)):

    w' = (I + J' S J)^-1 J' (g + S J w)              k x k, used when pairs >= k
       = J' a,   (I + S J J') a = g + S J w          n x n, used when pairs < k

(Rasmussen and Williams 2006, algorithm 3.1, is the linear case.) Steps that do not lower
0.5 |w|^2 + sum_i nll_i are halved. Users are padded into buckets of like size and solved in
stacks; threads take chunks. The posterior covariance is (I + J' S J)^-1 at the mode.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from palate.numerics.threads import one_blas_thread

__all__ = ["Covariance", "Posterior", "UserPairs", "linear", "posterior"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Covariance = Literal["none", "diagonal", "full"]
Link = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]
"""(offset [b, n], G [b, n, r], w [b, k]) -> (latent [b, n], Jacobian [b, n, k])."""

_ELEMENTS = 1 << 19  # numbers in a chunk's largest array: about the second-level cache


@dataclass(frozen=True, eq=False)
class UserPairs:
    """Pairs of many users next to each other, over tables of items.

    Attributes:
        offset: float [items], the part of an item's score that all users share.
        directions: float [items, r], along which users differ.
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


def linear(offset: Floats, directions: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return the linear latent o + G w and its Jacobian G."""
    return offset + (directions @ w[..., None])[..., 0], directions


def posterior(
    pairs: UserPairs,
    *,
    size: int | None = None,
    link: Link = linear,
    covariance: Covariance = "none",
    steps: int = 40,
    tolerance: float = 1e-6,
    threads: int | None = None,
) -> Posterior:
    """Return every user's posterior mode and covariance.

    Args:
        pairs: The users' pairs; a user may have none and keeps the prior.
        size: Number k of parameters a user; the directions' number unless the link says otherwise.
        link: Latent log-odds and their Jacobian; linear by default.
        covariance: What to return of the posterior covariance.
        steps: Most Newton steps.
        tolerance: Stop when no user's objective fell by more than this (nats).
        threads: Chunks solved at once; the machine's cores by default.

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
        offset, g, target, real = _gather(pairs, users)
        w, jacobian, curvature = _newton(offset, g, target, real, k, link, steps, tolerance)
        mean[users] = w
        if spread is not None:
            spread[users] = _covariance(jacobian, curvature, covariance)

    with one_blas_thread(), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(solve, _chunks(pairs, k)))
    return Posterior(mean, spread)


def _prior_covariance(n: int, k: int, covariance: Covariance, kind: Any) -> Floats | None:
    if covariance == "none":
        return None
    return np.ones((n, k), kind) if covariance == "diagonal" else np.tile(np.eye(k, dtype=kind), (n, 1, 1))


def _chunks(pairs: UserPairs, k: int) -> Iterator[Ints]:
    """Yield users of like numbers of pairs, as many as fit a chunk; users without pairs are left out."""
    counts = np.diff(pairs.starts)
    order = np.argsort(counts, kind="stable")
    order = order[np.searchsorted(counts[order], 1) :]
    sizes = counts[order]
    start = 0
    while start < len(order):
        widest = int(sizes[start] * 1.25) + (sizes[start] < 4)
        room = max(1, _ELEMENTS // (max(widest, k) * min(widest + k, 2 * k + widest)))
        stop = min(int(np.searchsorted(sizes, widest, side="right")), start + room)
        yield order[start:stop]
        start = stop


def _gather(pairs: UserPairs, users: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Return offset [b, n], directions [b, n, r], target [b, n] and 1 where a pair is real, 0 for padding."""
    starts, counts = pairs.starts[users], pairs.starts[users + 1] - pairs.starts[users]
    slot = np.arange(counts.max())
    real = slot < counts[:, None]
    index = np.where(real, starts[:, None] + slot, 0)
    win, lose = pairs.winner[index], pairs.loser[index]
    mask = real.astype(pairs.directions.dtype)
    directions = pairs.directions[win] - pairs.directions[lose]
    directions *= mask[..., None]
    return (pairs.offset[win] - pairs.offset[lose]) * mask, directions, pairs.target[index] * mask, mask


def _newton(
    offset: Floats,
    g: Floats,
    target: Floats,
    real: Floats,
    k: int,
    link: Link,
    steps: int,
    tolerance: float,
) -> tuple[Floats, Floats, Floats]:
    def objective(w: Floats, f: Floats) -> Floats:
        nll = (1.0 - target) * f - log_expit(f)
        return np.asarray(0.5 * (w * w).sum(-1) + (nll * real).sum(-1))

    w = np.zeros((len(g), k), g.dtype)
    f, jacobian = link(offset, g, w)
    best = objective(w, f)
    for _ in range(steps):
        step = _step(w, f, jacobian, target, real) - w
        scale = np.ones((len(w), 1), g.dtype)
        for _ in range(8):
            trial = w + scale * step
            f_trial, jacobian_trial = link(offset, g, trial)
            value = objective(trial, f_trial)
            worse = ~(value <= best + 1e-12 + 1e-6 * np.abs(best))
            if not worse.any():
                break
            scale[worse] *= 0.5
        else:
            trial[worse] = w[worse]
            f_trial, jacobian_trial = link(offset, g, trial)
            value = objective(trial, f_trial)
        fall = float((best - value).max(initial=0.0))
        w, f, jacobian, best = trial, f_trial, jacobian_trial, value
        if fall < tolerance:
            break
    p = expit(f)
    return w, jacobian, p * (1.0 - p) * real


def _step(w: Floats, f: Floats, jacobian: Floats, target: Floats, real: Floats) -> Floats:
    p = expit(f)
    curvature = p * (1.0 - p) * real
    pull = (target - p) * real + curvature * (jacobian @ w[..., None])[..., 0]
    transposed = jacobian.swapaxes(-1, -2)
    n, k = jacobian.shape[-2:]
    if n < k:
        left = curvature[..., None] * (jacobian @ transposed)
        left[..., np.arange(n), np.arange(n)] += 1.0
        return np.asarray((transposed @ np.linalg.solve(left, pull[..., None]))[..., 0])
    left = transposed @ (curvature[..., None] * jacobian)
    left[..., np.arange(k), np.arange(k)] += 1.0
    return np.asarray(np.linalg.solve(left, transposed @ pull[..., None])[..., 0])


def _covariance(jacobian: Floats, curvature: Floats, covariance: Covariance) -> Floats:
    transposed = jacobian.swapaxes(-1, -2)
    n, k = jacobian.shape[-2:]
    if n < k and covariance == "diagonal":
        left = curvature[..., None] * (jacobian @ transposed)
        left[..., np.arange(n), np.arange(n)] += 1.0
        explained = np.linalg.solve(left, curvature[..., None] * jacobian)
        return np.asarray(np.maximum(1.0 - (jacobian * explained).sum(-2), 0.0))
    precision = transposed @ (curvature[..., None] * jacobian)
    precision[..., np.arange(k), np.arange(k)] += 1.0
    full = np.linalg.inv(precision)
    return full if covariance == "full" else np.einsum("bii->bi", full).copy()
