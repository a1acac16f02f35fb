"""What a fake believes: a taste from what it is told, and the log-odds of two answers.

A taste is float64 [8], log-odds per unit of an axis. Its own, c, is the world's ``COMMON``; it fades with
what is told of the user. With p = 1 where a persona says something readable, else 0, and n past choices,

    theta_j = c_j / (1 + FADE p + n / SHY)                        where nothing is said of axis j
    theta_j = UNIT * mean over the statements on j of (sign * strength)              where something is

and the choices add what they have in common. With d the place of the chosen answer less the mean of the
rejected ones' (what is said of why counts as one more such step),

    theta += GAIN / (1 + p) * n / (n + SHY) * mean d
    log-odds of the first answer = theta . (axes of the first - axes of the second)

A reader that knows kinds of people (the world's named tastes m_k) adds, to the axes that nothing is said
of, what the kinds that fit have beyond the mean kind:

    theta += sum_k (q_k - 1 / K) m_k,    log q_k = sum log sigmoid(m_kj said_j) + sum_n log P(choice n | m_k)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palate.fakes.prompts import PastChoice, Seen, read_choice
from palate.fakes.senses import place
from palate.fakes.words import Statement, mean_taste, read_statements
from palate.feedback.world import COMMON, TASTES
from palate.feedback.world_answers import AXES, axis_vector

__all__ = ["lean", "step", "taste", "telling"]

Floats = NDArray[np.float64]
UNIT, GAIN = 1.8, 1.5
FADE, SHY = 1.5, 5.0
_SEEN = 0.25  # a smaller difference is not noticed
_OWN = axis_vector(COMMON)
_KINDS = 0.8 * _OWN + 2.0 * np.array([axis_vector(kind) for kind in TASTES.values()])
_SLIP = 0.06  # share of choices that fit no kind


def step(choice: PastChoice) -> Floats:
    """Return float64 [8]: where the chosen answer stands, less the mean of the others."""
    if not choice.chosen or not choice.rejected:
        return np.zeros(len(AXES))
    rest: Floats = np.mean([place(text) for text in choice.rejected], axis=0)
    return place(choice.chosen) - rest


def taste(seen: Seen, kinds: bool = False) -> Floats:
    """Return float64 [8]: the taste that a prompt tells, or the reader's own where it tells none."""
    said = mean_taste(read_statements("\n".join(seen.all("persona"))))
    choices = [read_choice(text) for text in seen.all("example")]
    steps = [step(choice) for choice in choices]
    spoken, n = ~np.isnan(said), len(choices)
    theta = _OWN / (1 + FADE * spoken.any() + n / SHY)
    if kinds:
        theta = theta + _kind(said, spoken, steps)
    theta = np.where(spoken, UNIT * np.nan_to_num(said), theta)
    steps += [np.nan_to_num(mean_taste(read_statements(choice.why))) for choice in choices if choice.why]
    if not steps:
        return theta
    common: Floats = np.mean(steps, axis=0)
    return theta + GAIN / (1 + spoken.any()) * n / (n + SHY) * common


def _kind(said: Floats, spoken: NDArray[np.bool_], steps: Sequence[Floats]) -> Floats:
    """Return float64 [8]: what the kinds of people that fit have beyond the mean kind."""
    log_fit = -np.logaddexp(0, -_KINDS[:, spoken] * said[spoken]).sum(axis=1)
    for d in steps:
        log_fit += np.log(_SLIP / 2 + (1 - _SLIP) / (1 + np.exp(-_KINDS @ d)))
    q = np.exp(log_fit - log_fit.max())
    extra: Floats = (q / q.sum() - 1 / len(_KINDS)) @ _KINDS
    return extra


def lean(theta: Floats, first: str, second: str) -> float:
    """Return the log-odds of the first answer over the second for a taste.

    A whim, the same in both orders, decides between answers that the taste holds equal.
    """
    whim = 1e-6 * (_whim(first) - _whim(second))
    return float(theta @ (place(first) - place(second))) + whim


def telling(difference: Floats, most: int, theta: Floats | None = None) -> list[Statement]:
    """Return the axes on which two answers differ most, widest first, each with the end it goes to.

    Args:
        difference: float64 [8].
        most: How many at most.
        theta: A taste: axes that it has a view on count for more.
    """
    weight = np.abs(difference)
    if theta is not None:
        weight = weight * (0.5 + np.abs(theta))
    order = np.argsort(-weight, kind="stable")[:most]
    return [
        Statement(int(axis), 1 if difference[axis] > 0 else -1)
        for axis in order
        if abs(difference[axis]) >= _SEEN
    ]


def _whim(text: str) -> float:
    return sum(text.encode("utf-8", "surrogatepass")) % 997 / 997.0
