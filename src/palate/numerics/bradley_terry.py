"""Bradley-Terry on frozen features: the convex core of every located method here.

Minimises  sum_i c_i nll(x_i . w, t_i) + 0.5 ridge |w|^2  over w in R^d, with x_i the difference of the
features of the pair's two items. Features stay one row an item; pairs are gathered through a sparse
incidence matrix, so one pass costs items x d + pairs, not pairs x d.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from palate.core import FitDiverged
from palate.numerics.design import Design, log_loss, loss_slope
from palate.numerics.threads import one_blas_thread

__all__ = ["descend", "fit_shared"]

Floats = NDArray[np.floating[Any]]


def descend(function: Any, start: Floats, steps: int, what: str) -> Floats:
    """Minimise a function that returns (value, gradient), by L-BFGS, to convergence or ``steps``.

    Raises:
        FitDiverged: If the value is not finite at the end.
    """
    with one_blas_thread():
        found = minimize(
            function, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 20}
        )
    if not np.isfinite(found.fun):
        raise FitDiverged(f"{what} diverged to {found.fun}; scale the features or raise the ridge")
    return np.asarray(found.x)


def fit_shared(
    features: Floats,
    design: Design,
    ridge: float,
    *,
    weights: Floats | None = None,
    start: Floats | None = None,
    steps: int = 300,
) -> Floats:
    """Return float64 [d]: the weights that all users share.

    Args:
        features: float [used, d], a row for each of ``design.items``.
        design: The pairs.
        ridge: Precision of the Gaussian prior on the weights.
        weights: float [pairs], importance of each pair; one by default.
        start: Where to begin.
        steps: Most L-BFGS iterations.
    """
    x = np.asarray(features, np.float64)
    importance = np.ones(len(design)) if weights is None else weights

    def value(w: Floats) -> tuple[float, Floats]:
        d = design.incidence @ (x @ w)
        loss = float((importance * log_loss(d, design.target)).sum() + 0.5 * ridge * (w @ w))
        slope = design.incidence.T @ (importance * loss_slope(d, design.target))
        return loss, x.T @ slope + ridge * w

    return descend(value, np.zeros(x.shape[1]) if start is None else start, steps, "Bradley-Terry")
