"""What ``mixed`` keeps of an item, from its text alone, at the cost of one look at the inducing items.

The features of an item are x_i = (phi_i, style_i, L^-1 c(Z, i)); see ``numerics/kernel.py``. All that is
asked of them are their products with fixed columns V [m, 1 + r], what is shared and the directions. So

    x_i V = phi_i V_phi + style_i V_style + c(Z, i)' B,     B = L^-T V_rest

with B made once: no triangular system is solved for an item, and norms of Z are not summed again.

:attr:`Projection.along` is how far a learned direction goes along each style axis: the slopes of f_k on the
axes, by least squares with an intercept over the inducing items. A user's whole taste on axis j beyond the
average user's is then, to first order,

    shift_j = s_j v_j + sum_k z_k along_kj
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from palate.numerics.kernel import NARROW, ItemKernel
from palate.numerics.mixed_effects import MixedEffects

__all__ = ["Projection", "Shifts"]

Floats = NDArray[np.floating[Any]]
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Projection:
    """A fitted model's products with the features of items.

    Attributes:
        kernel: The inducing items.
        linear: float64 [d + q, 1 + r], V for text and style.
        rest: float64 [m, 1 + r], B.
        text_norm: float64 [m, 1], squared norms of the inducing items' texts, halved.
        style_norm: float64 [m, 1], the same of their styles.
        spread: float64 [q], the style axes' spreads s.
        along: float64 [r, q], slopes of the learned directions on the style axes.
    """

    kernel: ItemKernel
    linear: Floats
    rest: Floats
    text_norm: Floats
    style_norm: Floats
    spread: Floats
    along: Floats

    @classmethod
    def of(cls, kernel: ItemKernel, model: MixedEffects) -> "Projection":
        """Make it once for a fitted model."""
        columns = np.concatenate([model.w[:, None], model.directions], axis=1)
        head = kernel.text.shape[1] + kernel.style.shape[1]
        rest = solve_triangular(kernel.factor, columns[head:], lower=True, trans="T")
        linear = np.ascontiguousarray(columns[:head])
        text, style = (0.5 * np.einsum("ij,ij->i", x, x)[:, None] for x in (kernel.text, kernel.style))
        # the whitened rest of inducing item i is row i of L
        features = np.concatenate([kernel.text, kernel.style, kernel.factor], axis=1)
        axes = np.concatenate([kernel.style, np.ones((len(kernel.style), 1))], axis=1)
        slopes = np.linalg.lstsq(axes, features @ model.directions, rcond=None)[0][:-1]
        scale = np.sqrt(kernel.style.shape[1])  # the kernel's styles are axes divided by it
        return cls(kernel, linear, rest, text, style, model.spread, (slopes / scale).T)

    def __call__(self, text: Floats, style: Floats) -> tuple[Floats, Floats]:
        """Return what is shared, float64 [items], and the directions' values, float64 [items, r + q].

        Args:
            text: float [items, d], the text block of the embeddings.
            style: float [items, q], the style axes.
        """
        scale = np.sqrt(self.kernel.style.shape[1])
        out = np.empty((len(text), self.linear.shape[1]))
        for start in range(0, len(text), _BLOCK):
            rows = slice(start, start + _BLOCK)
            words = np.asarray(text[rows], np.float64)
            shape = np.asarray(style[rows], np.float64) / scale
            near = _half_squared(self.kernel.text, self.text_norm, words)
            styled = _half_squared(self.kernel.style, self.style_norm, shape)
            out[rows] = np.concatenate([words, shape], axis=1) @ self.linear
            out[rows] += self._terms(near, styled).T @ self.rest
        fixed = np.asarray(style, np.float64) * self.spread
        return out[:, 0].copy(), np.concatenate([out[:, 1:], fixed], axis=1)

    def _terms(self, near: Floats, styled: Floats) -> Floats:
        """Return c(Z, items), float64 [m, items], from halves of squared distances."""
        k = np.exp(near * -(self.kernel.length**-2))
        k += np.exp(-styled)
        if self.kernel.own:
            both = near + styled
            same = np.flatnonzero(both.min(axis=0) < 40.0 * NARROW**2)  # elsewhere it is below 1e-17
            if len(same):
                k[:, same] += self.kernel.own * np.exp(both[:, same] * -(NARROW**-2))
        return np.asarray(k)


@dataclass(frozen=True, eq=False)
class Shifts:
    """Users' tastes on the style axes beyond the average user's, and how a person's word moves them.

    Attributes:
        spread: float64 [q], s.
        along: float64 [r, q], slopes of the learned directions.
        average: float64 [r + q], the average user's mean.
    """

    spread: Floats
    along: Floats
    average: Floats

    def of(self, mean: Floats) -> Floats:
        """Return float64 [q]: the shifts of a user with this mean [r + q]."""
        learned, own = np.split(mean - self.average, [len(self.along)])
        return np.asarray(self.spread * own + learned @ self.along)

    def moved(self, mean: Floats, shifts: Mapping[int, float]) -> Floats:
        """Return a mean [r + q] with v moved until these axes have these shifts."""
        out, stand = mean.copy(), self.of(mean)
        for axis, shift in shifts.items():
            out[len(self.along) + axis] += (shift - stand[axis]) / self.spread[axis]
        return out

    def set_axes(self, variance: Floats) -> list[int]:
        """Return the axes that a person has set: nothing is left open about them (variance [r + q] is 0)."""
        found: list[int] = np.flatnonzero(variance[len(self.along) :] == 0.0).tolist()
        return found

    def held(self, directions: Floats, axes: list[int]) -> Floats:
        """Return the directions [pairs, r + q] along which a user moves while these axes' shifts stay."""
        if not axes:
            return directions
        out, r = directions.copy(), len(self.along)
        out[:, :r] -= (directions[:, r:][:, axes] / self.spread[axes]) @ self.along[:, axes].T
        return out


def _half_squared(points: Floats, norm: Floats, items: Floats) -> Floats:
    """Return half the squared distances, float64 [points, items]."""
    half = points @ items.T
    np.subtract(norm, half, out=half)
    half += 0.5 * np.einsum("ij,ij->i", items, items)
    return np.asarray(np.maximum(half, 0.0, out=half))
