"""A Gaussian process on items as whitened features, through inducing items.

    k(i, j) = phi_i . phi_j + style_i . style_j + rbf(phi) + rbf(style) + own * [same text]

The linear terms are features as they are. For the others, c, with inducing items Z and C_ZZ = L L', the
features L^-1 c(Z, i) have the prior of the process: w ~ N(0, I) gives cov(w . x_i, w . x_j) =
c(i, Z) C_ZZ^-1 c(Z, j), exact where i or j is in Z. The last term lets a text that many people judged
have a merit of its own; it is a very narrow RBF, so that equal texts match by content whatever corpus
they come from. Where items are many more than inducing ones, the linear model is left, never less.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

__all__ = ["NARROW", "ItemKernel"]

Floats = NDArray[np.floating[Any]]
NARROW = 0.05
"""Width of the term by which equal texts share a merit."""


@dataclass(frozen=True, eq=False)
class ItemKernel:
    """Inducing items' embeddings float64 [m, d] and styles [m, q], Cholesky factor [m, m], length scale."""

    text: Floats
    style: Floats
    factor: Floats
    length: float
    own: float

    @classmethod
    def over(
        cls, text: Floats, style: Floats, *, length: float, own: float, jitter: float = 1e-6
    ) -> "ItemKernel":
        """Build the kernel on inducing items; ``length`` is relative to their median distance."""
        scale = length * _median_distance(text)
        bare = cls(text, style, np.zeros((0, 0)), scale, own)
        gram = bare._against(text, style)
        return cls(text, style, np.linalg.cholesky(gram + jitter * np.eye(len(gram))), scale, own)

    def features(self, text: Floats, style: Floats, block: int = 8192) -> Floats:
        """Return features, float64 [items, d + q + m]: text, style, and the whitened rest."""
        out = np.empty((len(text), text.shape[1] + style.shape[1] + len(self.text)))
        for start in range(0, len(text), block):
            rows = slice(start, start + block)
            rest = solve_triangular(self.factor, self._against(text[rows], style[rows]), lower=True).T
            out[rows] = np.concatenate([text[rows], style[rows], rest], axis=1)
        return out

    def _against(self, text: Floats, style: Floats) -> Floats:
        """Return the terms that are not linear, c(Z, items), float64 [m, items]."""
        text, style = np.asarray(text, np.float64), np.asarray(style, np.float64)
        near, styled = _squared_distance(self.text, text), _squared_distance(self.style, style)
        k = np.exp(-near / (2.0 * self.length**2)) + np.exp(-styled / 2.0)
        if self.own:
            k += self.own * np.exp(-(near + styled) / (2.0 * NARROW**2))
        return np.asarray(k)


def _squared_distance(a: Floats, b: Floats) -> Floats:
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0.0))


def _median_distance(points: Floats, most: int = 512) -> float:
    some = points[:: max(1, len(points) // most)]
    distance = np.sqrt(_squared_distance(some, some)[np.triu_indices(len(some), 1)])
    positive = distance[distance > 1e-9]
    return float(np.median(positive)) if len(positive) else 1.0
