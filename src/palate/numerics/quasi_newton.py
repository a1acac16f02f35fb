"""L-BFGS for many small smooth problems at once, a problem in each column of [k, b].

Every problem has its own step and its own history; converged ones leave the stack. The start of the
inverse Hessian is s'y / y'y I (Nocedal and Wright 2006, algorithm 7.4). A change of gradient that shows
too little curvature is damped towards the prior's, which is I (Powell 1978). A step that breaks Armijo's
rule is shortened by interpolation, for the problems concerned alone.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Objective", "minimise"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
History = list[tuple[Floats, Floats, Floats]]
_MEMORY = 2
_SEARCHES = 12
_FLATTEST = 0.2  # the least curvature a step is taken to have, in units of the prior's


class Objective(Protocol):
    """Problems that are minimised together."""

    def __call__(self, w: Floats, /) -> tuple[Floats, Floats]:
        """Return values [b] and gradients [k, b] at w [k, b]."""

    def take(self, index: Ints, /) -> "Objective":
        """Return some of the problems."""


def minimise(objective: Objective, w: Floats, steps: int, tolerance: float) -> Floats:
    """Return w [k, b] where half the squared gradient is at most ``tolerance``, after at most ``steps``."""
    found, problems = w.copy(), np.arange(w.shape[1])
    value, gradient = objective(w)
    is_open = 0.5 * _dot(gradient, gradient) > tolerance
    history: History = []
    for _ in range(steps):
        if np.count_nonzero(is_open) < 0.8 * len(is_open):
            found[:, problems] = w
            keep = np.flatnonzero(is_open)
            if not len(keep):
                break
            objective, problems, is_open = objective.take(keep), problems[keep], is_open[keep]
            w, value, gradient = w.take(keep, 1), value[keep], gradient.take(keep, 1)
            history = [(s.take(keep, 1), y.take(keep, 1), weight[keep]) for s, y, weight in history]
        step = _direction(gradient, history) * is_open
        value_new, gradient_new = _search(objective, w, step, value, gradient)
        w = w + step
        history = [*history[1 - _MEMORY :], _pair(step, gradient_new - gradient)]
        moved = history[-1][2] > 0.0
        is_open &= moved & (0.5 * _dot(gradient_new, gradient_new) > tolerance)
        value, gradient = value_new, gradient_new
    found[:, problems] = w
    return found


def _search(
    objective: Objective, w: Floats, step: Floats, value: Floats, gradient: Floats
) -> tuple[Floats, Floats]:
    """Shorten ``step`` in place where it breaks Armijo's rule; return values and gradients at its end."""
    value_new, gradient_new = objective(w + step)
    slope = _dot(step, gradient)
    noise = 8.0 * np.finfo(w.dtype).eps * (1.0 + np.abs(value))
    bad = np.arange(len(value))
    for trial in range(_SEARCHES):
        rise = (value_new - value)[bad]
        worse = ~(rise <= 1e-4 * slope[bad] + noise[bad])
        if not worse.any():
            break
        bad, rise = bad[worse], rise[worse]
        parabola = -0.5 * slope[bad] / np.maximum(rise - slope[bad], 1e-30)
        shorter = np.clip(parabola, 0.1, 0.5) * (trial + 1 < _SEARCHES)
        step[:, bad] *= shorter
        slope[bad] *= shorter
        value_new[bad], gradient_new[:, bad] = objective.take(bad)(w[:, bad] + step[:, bad])
    return value_new, gradient_new


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("kb,kb->b", a, b))


def _pair(s: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return a step, the gradient's change and 1 / s'y; 0 for a problem that did not move."""
    curvature, length = _dot(s, y), _dot(s, s)
    least = _FLATTEST * length
    if (curvature < least).any():
        share = np.where(curvature < least, (least - curvature) / np.maximum(length - curvature, 1e-30), 0.0)
        y = y + share.astype(s.dtype) * (s - y)
        curvature = np.maximum(curvature, least)
    return s, y, (length > 0.0) / np.maximum(curvature, 1e-30)


def _direction(gradient: Floats, history: History) -> Floats:
    """Return minus the inverse Hessian times the gradient, by the two-loop recursion."""
    q, alphas = -gradient, []
    for s, y, weight in reversed(history):
        alphas.append(weight * _dot(s, q))
        q -= alphas[-1] * y
    if history:
        s, y, weight = history[-1]
        stretch = weight * _dot(y, y)
        q /= np.where(stretch > 0.0, stretch, 1.0)
    for (s, y, weight), alpha in zip(history, reversed(alphas), strict=True):
        q += (alpha - weight * _dot(y, q)) * s
    return q
