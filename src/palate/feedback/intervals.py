"""Figures with their 95 % interval and n. Users are the sampling unit: an interval resamples users."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Figure", "clustered_mean"]

DRAWS = 1000
ROOM = 20_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its 95 % interval, and what it rests on.

    Attributes:
        value: The number; None where it is unknown, ``note`` says why.
        low: Lower end of the interval, None where there is none.
        high: Upper end.
        n: Number of observations.
        clusters: Number of users (or of what ``note`` names) that they come from.
        note: A remark.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    clusters: int = 0
    note: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"unknown: {self.note}"
        between = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        note = f" ({self.note})" if self.note else ""
        return f"{self.value:.3f}{between}, n {self.n:,} of {self.clusters:,}{note}"


def clustered_mean(
    values: ArrayLike, clusters: ArrayLike, *, seed: int = 0, note: str = "", draws: int = DRAWS
) -> Figure:
    """Return the mean of values with a bootstrap interval that resamples whole clusters.

    Args:
        values: float [n].
        clusters: int [n], whose value it is.
        seed: Draws the resamples.
        note: Goes into the figure.
        draws: Resamples; fewer (200 at least) where there are very many clusters.

    >>> clustered_mean([1, 1, 0, 0], [0, 0, 1, 1])
    Figure(value=0.5, low=0.0, high=1.0, n=4, clusters=2, note='')
    """
    value, cluster = np.asarray(values, dtype=float), np.asarray(clusters)
    if not len(value):
        return Figure(None, note=note or "there is nothing to count")
    _, member = np.unique(cluster, return_inverse=True)
    counts = np.bincount(member).astype(float)
    sums = np.bincount(member, weights=value)
    mean, n = float(sums.sum() / counts.sum()), len(counts)
    if n < 2:
        return Figure(mean, n=len(value), clusters=n, note=note)
    draws = int(np.clip(ROOM // n, min(200, draws), draws))
    low, high = np.percentile(_resampled(sums, counts, draws, seed), [2.5, 97.5])
    return Figure(mean, float(low), float(high), len(value), n, note)


def _resampled(sums: NDArray[Any], counts: NDArray[Any], draws: int, seed: int) -> NDArray[np.float64]:
    """Return float [draws]: the mean of each resample, in blocks that fit into memory."""
    rng = np.random.default_rng(seed)
    n = len(sums)
    block = max(1, ROOM // 10 // n)
    means = []
    for start in range(0, draws, block):
        picks = rng.integers(0, n, size=(min(block, draws - start), n))
        means.append(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))
    return np.concatenate(means)
