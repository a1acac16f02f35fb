"""Many small symmetric systems at once: a[i, j] is a row of numbers, one for each system.

With the systems on the last axis each step of a Cholesky factorisation is one array operation over all
of them, several times faster than LAPACK called for each 10 x 10 matrix. Above ``_SMALL`` rows LAPACK
is faster and is called instead. Every matrix is I plus something positive semi-definite, so no pivot
is below 1 and there is nothing to pivot.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["factor", "invert", "solve"]

Floats = NDArray[np.floating[Any]]
_SMALL = 32


def factor(a: Floats) -> Floats:
    """Overwrite the lower half of I + (positive semi-definite) [m, m, b] with L, a = L L'; return it.

    The diagonal holds 1 / L[j, j], which is what :func:`solve` and :func:`invert` multiply by. What
    stands above the diagonal is left there and not read.
    """
    if len(a) > _SMALL:
        lower = np.linalg.cholesky(a.transpose(2, 0, 1)).transpose(1, 2, 0)
        diagonal = np.arange(len(a))
        lower[diagonal, diagonal] = 1.0 / lower[diagonal, diagonal]
        return lower
    for j in range(len(a)):
        column = a[j:, j]
        if j:
            column -= np.einsum("ikb,kb->ib", a[j:, :j], a[j, :j])
        np.divide(1.0, np.sqrt(np.maximum(column[0], 1.0)), out=column[0])
        column[1:] *= column[0]
    return a


def solve(lower: Floats, y: Floats) -> Floats:
    """Return x [m, b] of L L' x = y, with L from :func:`factor`.

    >>> lower = factor(np.array([[[5.0], [2.0]], [[2.0], [2.0]]]))
    >>> solve(lower, np.array([[7.0], [4.0]])).round(6).ravel()
    array([1., 1.])
    """
    x = y.copy()
    for j in range(len(x)):
        if j:
            x[j] -= np.einsum("kb,kb->b", lower[j, :j], x[:j])
        x[j] *= lower[j, j]
    for j in reversed(range(len(x))):
        if j + 1 < len(x):
            x[j] -= np.einsum("kb,kb->b", lower[j + 1 :, j], x[j + 1 :])
        x[j] *= lower[j, j]
    return x


def invert(lower: Floats) -> Floats:
    """Return L^-1 [m, m, b], zero above the diagonal, with L from :func:`factor`."""
    inverse = np.zeros_like(lower)
    for i in range(len(lower)):
        inverse[i, i] = lower[i, i]
        if i:
            inverse[i, :i] = np.einsum("kb,kjb->jb", lower[i, :i], inverse[:i, :i])
            inverse[i, :i] *= -lower[i, i]
    return inverse
