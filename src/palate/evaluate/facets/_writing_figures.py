"""What verdicts on written answers come to: win rates, Delta-PQ, length control, each with its interval.

Users are the sampling unit. With y in {1, 0.5, 0} for win, tie, loss of answer i of user u, faults left out,

    win rate      mean over users of the mean of their y; a tie counts a half
    w             wins / (wins + losses), over all answers: the share without ties; None where all are ties
    Delta-PQ      ((w_P - 0.5) / 0.5 + (w_Q - 0.5) / 0.5) / 2, from -1 to 1; P personalization, Q quality
    length        correlation of y_P with log((1 + words) / (1 + words of the base)), and the win rate in
                  three bins of that ratio: below 0.8, up to 1.25, above

A ratio of sums has the interval of its draws: users are drawn, all of a user's answers together.

Source: "Whose Boat Does it Float?" (Delta-PQ), POPI, 5.1 (win rate). Departs: intervals over users.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.evaluate.facets._people import Values, figure, plain
from palate.evaluate.metrics import Bootstrap
from palate.evaluate.versus import ASPECTS

__all__ = ["BINS", "aspect", "average", "delta_pq", "length_control", "over_users", "verdicts"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
BINS = ("shorter", "alike", "longer")
"""Bins of the ratio of words, method over base, cut at ``CUTS``."""
CUTS = (0.8, 1.25)


@lru_cache(maxsize=4)
def _draws(users: int) -> Floats:
    return Bootstrap(users, seed=1).weights.astype(np.float64)


def over_users(user: Ints, columns: Floats, of: Callable[[Floats], Floats]) -> Values:
    """Return the figure of a statistic of sums over answers, with its interval over users.

    Args:
        user: int64 [answers].
        columns: float [answers, k], summed over answers.
        of: From sums [..., k] to the statistic [...], NaN where it has no value.

    >>> columns = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    >>> over_users(np.array([0, 0, 1]), columns, lambda s: s[..., 0] / s[..., 1])["value"]
    0.666667
    """
    ids, local = np.unique(user, return_inverse=True)
    sums = np.zeros((len(ids), columns.shape[1]))
    np.add.at(sums, local, columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(of(sums.sum(axis=0)))
        low = high = float("nan")
        if len(ids) > 1 and np.isfinite(value):
            drawn = of(_draws(len(ids)) @ sums)
            low, high = Bootstrap.percentiles(drawn[np.isfinite(drawn)])
    return {"value": plain(value), "low": plain(low), "high": plain(high), "users": len(ids)}


def average(user: Ints, values: Floats) -> Values:
    """Return the mean over users of their mean; answers of NaN are left out."""
    some = np.isfinite(values)
    if not some.any():
        return figure(np.full(1, np.nan))
    _, local = np.unique(user[some], return_inverse=True)
    return figure(np.bincount(local, weights=values[some]) / np.bincount(local))


def verdicts(arrays: Mapping[str, NDArray[Any]]) -> Values:
    """Return everything that verdicts come to.

    Args:
        arrays: What ``judge`` of ``_writing_asked`` gave, with ``user`` int64 [answers] and ``words``
            float64 [answers, 4].
    """
    user, same, empty = arrays["user"], arrays["same"], arrays["empty"]
    full = ~empty.any(axis=1)
    out: Values = {
        name: aspect(user[full], arrays[name][full], arrays[f"{name}_torn"][full], same[full])
        for name in ASPECTS
    }
    return {
        **out,
        "delta_pq": delta_pq(user, arrays["personalization"], arrays["quality"]),
        "length": length_control(user, arrays["personalization"], arrays["words"]),
        "answers": len(user),
        "users": len(np.unique(user)),
        "empty": {"method": int(empty[:, 0].sum()), "base": int(empty[:, 1].sum())},
    }


def aspect(user: Ints, share: Floats, torn: NDArray[np.bool_], same: NDArray[np.bool_]) -> Values:
    """Return one aspect's figures and counts.

    Args:
        user: int64 [answers].
        share: float64 [answers]: 1 a win, 0.5 a tie, 0 a loss, NaN a fault.
        torn: bool [answers]: ties whose two orders contradict each other.
        same: bool [answers]: ties of equal answers.
    """
    judged = np.isfinite(share)
    decided = judged & (share != 0.5)
    table = np.column_stack([share == 1.0, decided]).astype(np.float64)
    return {
        "win_rate": average(user, share),
        "without_ties": over_users(user[decided], table[decided], _ratio),
        "answers": int(judged.sum()),
        "wins": int((share == 1.0).sum()),
        "losses": int((share == 0.0).sum()),
        "ties": int((share == 0.5).sum()),
        "torn": int(torn[judged].sum()),
        "same": int(same[judged].sum()),
        "faults": int((~judged).sum()),
    }


def delta_pq(user: Ints, personal: Floats, quality: Floats) -> Values:
    """Return Delta-PQ; answers of which one aspect is a fault are left out of both.

    >>> delta_pq(np.zeros(4, int), np.array([1, 1, 1, 0.0]), np.array([1, 0, 0.5, 0.5]))["value"]
    0.25
    """
    both = np.isfinite(personal) & np.isfinite(quality)
    columns = [
        each
        for share in (personal[both], quality[both])
        for each in ((share == 1.0).astype(np.float64), (share != 0.5).astype(np.float64))
    ]
    return over_users(user[both], np.column_stack(columns), _delta)


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _delta(sums: Floats) -> Floats:
    w_p, w_q = sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]
    return np.asarray(((w_p - 0.5) / 0.5 + (w_q - 0.5) / 0.5) / 2)


def length_control(user: Ints, share: Floats, words: Floats) -> Values:
    """Return what wins have to do with length.

    Args:
        user: int64 [answers].
        share: float64 [answers], of personalization.
        words: float64 [answers, 4], of the method's answer, the base's, the chosen and the rejected one.

    Returns:
        ``words``: means of the four (users averaged); ``longer``: difference to the base;
        ``correlation``; ``bins``: win rate and number of answers of each bin.
    """
    names = ("method", "base", "chosen", "rejected")
    ratio = (1 + words[:, 0]) / (1 + words[:, 1])
    which = np.select([ratio < CUTS[0], ratio <= CUTS[1]], [0, 1], 2)
    some = np.isfinite(share)
    bins = []
    for number, name in enumerate(BINS):
        inside = some & (which == number)
        columns = np.column_stack([share[inside], np.ones(int(inside.sum()))])
        bins.append(
            {"bin": name, "answers": int(inside.sum()), "win_rate": over_users(user[inside], columns, _ratio)}
        )
    x, y = np.log(ratio[some]), share[some]
    moments = np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])
    return {
        "words": {name: average(user, words[:, i]) for i, name in enumerate(names)},
        "longer": average(user, words[:, 0] - words[:, 1]),
        "correlation": over_users(user[some], moments, _correlation),
        "bins": bins,
    }


def _correlation(sums: Floats) -> Floats:
    """Return Pearson's correlation from sums of 1, x, y, xx, yy, xy; NaN where one does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums), -1, 0)
    vx, vy = n * xx - x * x, n * yy - y * y
    varies = (vx > 1e-9 * np.maximum(n * xx, 1e-300)) & (vy > 1e-9 * np.maximum(n * yy, 1e-300))
    return np.where(varies, (n * xy - x * y) / np.sqrt(np.where(varies, vx * vy, 1.0)), np.nan)
