"""The linear logistic problem of many users at once, in the smaller of two forms; see ``laplace.py``.

    dual    n < k   w = G' a, f = o + K a, K = G G' made once, B = I + S^1/2 K S^1/2
                    c = a - r,   da = S^1/2 B^-1 S^1/2 K c - c,   covariance I - G' S^1/2 B^-1 S^1/2 G
    primal  n >= k  H = I + G' S G,   c = w - G' r,   dw = -H^-1 c,   covariance H^-1

Users stand on the last axis, but for the directions G [b, n, k], which matrix products want first.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from palate.numerics import stack

__all__ = ["Choices", "Covariance", "Dual", "Form", "Primal", "form_of"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Covariance = Literal["none", "diagonal", "full"]


@dataclass(frozen=True, eq=False)
class Choices:
    """Float [n, b] each: the shared log-odds, and the targets less 0.5. Padding is zero in both.

    With its directions zero too, padding adds a constant to the loss and nothing to w.
    """

    offset: Floats
    target: Floats

    def take(self, index: Ints) -> "Choices":
        """Return the choices of some of the users."""
        return Choices(self.offset.take(index, axis=1), self.target.take(index, axis=1))

    def loss(self, f: Floats) -> tuple[Floats, Floats, Floats]:
        """Return sum nll [b], the residual t - sigmoid(f) and the curvature [n, b], all from exp(-|f|)."""
        size = np.abs(f)
        e = np.exp(-size)
        above = 1.0 + e
        nll = np.log(above).sum(0) + 0.5 * size.sum(0) - np.einsum("nb,nb->b", self.target, f)
        e /= above
        centred = np.copysign(0.5 - e, f)  # sigmoid(f) - 0.5
        return nll, self.target - centred, e - e * e


class Form(Protocol):
    """The linear problem in coordinates x [m, b]."""

    @property
    def size(self) -> int:
        """Number m of coordinates."""

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

    def take(self, index: Ints) -> "Form":
        """Return the form of some of its users."""


@dataclass(frozen=True, eq=False)
class Dual:
    """x = a, w = G' a; for fewer pairs than parameters."""

    g: Floats  # [b, n, k]
    k: Floats  # [n, n, b]

    @classmethod
    def of(cls, g: Floats) -> "Dual":
        """Make K = G G' of directions [b, n, k]."""
        return cls(g, np.ascontiguousarray((g @ g.swapaxes(1, 2)).transpose(1, 2, 0)))

    @property
    def size(self) -> int:
        """Number m of coordinates."""
        return len(self.k)

    def weights(self, x: Floats) -> Floats:
        """Return w [b, k]."""
        return np.asarray((x.T[:, None, :] @ self.g)[:, 0])

    def prior(self, x: Floats, change: Floats) -> Floats:
        """Return 0.5 |w|^2 [b], given f - o."""
        return np.asarray(0.5 * np.einsum("nb,nb->b", x, change))

    def gradient(self, x: Floats, residual: Floats) -> tuple[Floats, Floats]:
        """Return what :meth:`step` wants of the gradient [m, b], and half its squared norm [b]."""
        c = x - residual
        change = np.einsum("ijb,jb->ib", self.k, c)
        return change, 0.5 * np.einsum("nb,nb->b", c, change)

    def step(self, gradient: Floats, x: Floats, residual: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        """Return Newton's change of x [m, b] and of f [n, b]."""
        root = np.sqrt(curvature)
        da = root * stack.solve(self._factor(root), root * gradient) - (x - residual)
        return da, np.einsum("ijb,jb->ib", self.k, da)

    def covariance(self, curvature: Floats, covariance: Covariance) -> Floats:
        """Return (I + G' S G)^-1, [b, k] or [b, k, k]."""
        root = np.sqrt(curvature)
        left = stack.invert(self._factor(root)) * root
        explained = np.ascontiguousarray(left.transpose(2, 0, 1)) @ self.g
        if covariance == "diagonal":
            return np.asarray(np.maximum(1.0 - np.einsum("bik,bik->bk", explained, explained), 0.0))
        return np.asarray(np.eye(self.g.shape[2]) - explained.swapaxes(1, 2) @ explained)

    def take(self, index: Ints) -> "Dual":
        """Return the form of some of its users."""
        return Dual(self.g[:0], self.k.take(index, axis=2))

    def _factor(self, root: Floats) -> Floats:
        b = self.k * root
        b *= root[:, None]
        b[np.arange(len(b)), np.arange(len(b))] += 1.0
        return stack.factor(b)


@dataclass(frozen=True, eq=False)
class Primal:
    """x = w; for at least as many pairs as parameters."""

    g: Floats  # [b, n, k]

    @property
    def size(self) -> int:
        """Number m of coordinates."""
        return int(self.g.shape[2])

    def weights(self, x: Floats) -> Floats:
        """Return w [b, k]."""
        return x.T

    def prior(self, x: Floats, change: Floats) -> Floats:
        """Return 0.5 |w|^2 [b], given f - o."""
        return np.asarray(0.5 * np.einsum("kb,kb->b", x, x))

    def gradient(self, x: Floats, residual: Floats) -> tuple[Floats, Floats]:
        """Return what :meth:`step` wants of the gradient [m, b], and half its squared norm [b]."""
        c = x - (residual.T[:, None, :] @ self.g)[:, 0].T
        return c, 0.5 * np.einsum("kb,kb->b", c, c)

    def step(self, gradient: Floats, x: Floats, residual: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        """Return Newton's change of x [m, b] and of f [n, b]."""
        dw = -stack.solve(self._factor(curvature), gradient)
        return dw, (self.g @ dw.T[..., None])[..., 0].T

    def covariance(self, curvature: Floats, covariance: Covariance) -> Floats:
        """Return (I + G' S G)^-1, [b, k] or [b, k, k]."""
        left = stack.invert(self._factor(curvature))
        if covariance == "diagonal":
            return np.asarray(np.einsum("ikb,ikb->bk", left, left))
        rows = np.ascontiguousarray(left.transpose(2, 0, 1))
        return np.asarray(rows.swapaxes(1, 2) @ rows)

    def take(self, index: Ints) -> "Primal":
        """Return the form of some of its users."""
        return Primal(self.g[index])

    def _factor(self, curvature: Floats) -> Floats:
        h = self.g.swapaxes(1, 2) @ (curvature.T[..., None] * self.g)
        h = np.ascontiguousarray(h.transpose(1, 2, 0))
        h[np.arange(len(h)), np.arange(len(h))] += 1.0
        return stack.factor(h)


def form_of(g: Floats) -> Form:
    """Return the smaller form of the problem with directions [b, n, k]."""
    return Dual.of(g) if g.shape[1] < g.shape[2] else Primal(g)
