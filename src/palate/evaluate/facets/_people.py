"""What the facets share: a section's users and their scores, figures over them, and words for figures.

A figure is a plain value ``{"value", "low", "high", "users"}``: a mean over users, its 95 % interval, and how
many users it rests on. All figures of equally many users share their draws, so that their differences
are paired.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palate.evaluate.cells import Outcome
from palate.evaluate.measured import Measured
from palate.evaluate.metrics import Bootstrap
from palate.evaluate.page_reading import percent, points

__all__ = [
    "People",
    "Values",
    "contrast",
    "figure",
    "figures",
    "gap",
    "is_personal",
    "level",
    "place",
    "plain",
    "shown",
    "within",
]

Floats = NDArray[np.floating[Any]]
Values = dict[str, Any]
DRAWS, ROOM = 2000, 10_000_000


@dataclass(frozen=True, eq=False)
class People:
    """The users of a section that have a decided target pair, and the methods' scores on those pairs."""

    section: Measured

    @cached_property
    def decided(self) -> NDArray[np.int64]:
        """int64 [decided]: which target pairs are choices, not ties."""
        return np.flatnonzero(self.section.task.targets.target == 1.0)

    @cached_property
    def _numbered(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids, local = np.unique(self.section.task.targets.user[self.decided], return_inverse=True)
        return ids, local

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [users]: their numbers in ``task.context``."""
        return self._numbered[0]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def choices(self) -> NDArray[np.int64]:
        """int64 [users]: how many past choices each has."""
        return np.asarray(np.diff(self.section.task.context.offsets)[self.ids])

    @cached_property
    def pairs(self) -> Floats:
        """float64 [users]: how many decided target pairs each has."""
        return np.bincount(self._numbered[1], minlength=len(self)).astype(np.float64)

    def mean(self, values: Floats, among: NDArray[np.bool_] | None = None) -> Floats:
        """Return float64 [users]: each user's mean of values [decided]; NaN for a user without any."""
        local = self._numbered[1]
        if among is not None:
            local, values = local[among], values[among]
        count = np.bincount(local, minlength=len(self))
        total = np.bincount(local, weights=values, minlength=len(self))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def accuracy(self, difference: Floats, among: NDArray[np.bool_] | None = None) -> Floats:
        """Return float64 [users]: share of pairs whose winner got the higher score; equal counts 0.5."""
        d = difference[self.decided]
        return self.mean((d > 0) + 0.5 * (d == 0), among)

    @cached_property
    def control(self) -> Floats | None:
        """float64 [users]: the control's accuracy, None if it failed."""
        outcome = self.section.outcomes.get(self.section.control)
        return None if outcome is None else self.accuracy(outcome.applied)

    @cached_property
    def applied(self) -> dict[str, Floats]:
        """Accuracy float64 [users] of every method, the most accurate first, the control left out."""
        found = {
            name: self.accuracy(outcome.applied)
            for name, outcome in self.section.outcomes.items()
            if name != self.section.control
        }
        return dict(sorted(found.items(), key=lambda item: -float(item[1].mean())))

    @property
    def personal(self) -> list[str]:
        """The personal methods, the most accurate first."""
        return [name for name in self.applied if is_personal(self.section.outcomes[name])]


def is_personal(outcome: Outcome) -> bool:
    """Tell whether an outcome is a personal method's: a control has neither gate nor curve."""
    return outcome.gated is not None or len(outcome.curve) > 1


def place(section: Measured) -> Values:
    """Return where a picture belongs, and what it rests on."""
    people = People(section)
    return {
        **section.place,
        "control": section.control,
        "users": len(people),
        "pairs": len(people.decided),
    }


@lru_cache(maxsize=2)
def _draws(n: int) -> Floats:
    """Return float64 [draws, n]: how often each user is drawn; fewer draws where users are very many."""
    return Bootstrap(n, int(np.clip(ROOM // max(n, 1), 200, DRAWS)), seed=1).weights.astype(np.float64)


def figures(table: ArrayLike) -> list[Values]:
    """Return one figure a column of float [users, columns]; NaN where a user has no value.

    A column without any value has ``value`` None, one with a single user has no interval.

    >>> figures([[1.0, np.nan], [0.0, np.nan]])[0]["value"], figures([[1.0, np.nan]])[0]["low"]
    (0.5, None)
    >>> figures([[np.nan]])
    [{'value': None, 'low': None, 'high': None, 'users': 0}]
    """
    x = np.asarray(table, np.float64)
    some = np.isfinite(x)
    count, total = some.sum(axis=0), np.where(some, x, 0.0).sum(axis=0)
    ends = np.full((x.shape[1], 2), np.nan)
    several = np.flatnonzero(count > 1)
    if len(several):
        means = _means(x[:, several])
        ends[several] = [_percentiles(column) for column in means.T]
    columns = zip(count.tolist(), total.tolist(), ends.tolist(), strict=True)
    return [
        {"value": plain(s / n) if n else None, "low": plain(low), "high": plain(high), "users": n}
        for n, s, (low, high) in columns
    ]


def contrast(upper: Floats, lower: Floats) -> Values:
    """Return mean(upper) - mean(lower), float64 [users] each, NaN where a user has no value.

    The users of the two may be the same, others, or some of both: one set of draws serves both means.

    >>> contrast(np.array([1.0, 1.0, np.nan]), np.array([np.nan, 0.5, 0.5]))["value"]
    0.5
    """
    x = np.column_stack([upper, lower])
    some = np.isfinite(x)
    users = int(some.any(axis=1).sum())
    if not some.any(axis=0).all():
        return {"value": None, "low": None, "high": None, "users": users}
    value = float(np.nanmean(x[:, 0]) - np.nanmean(x[:, 1]))
    low = high = float("nan")
    if users > 1:
        means = _means(x)
        low, high = _percentiles(means[:, 0] - means[:, 1])
    return {"value": plain(value), "low": plain(low), "high": plain(high), "users": users}


def _means(x: Floats) -> Floats:
    """Return float64 [draws, columns]: the means under each draw, NaN where nobody was drawn."""
    some, weights = np.isfinite(x), _draws(len(x))
    top, bottom = weights @ np.where(some, x, 0.0), weights @ some.astype(np.float64)
    return np.where(bottom > 0, top / np.maximum(bottom, 1.0), np.nan)


def _percentiles(draws: Floats) -> tuple[float, float]:
    return Bootstrap.percentiles(draws[np.isfinite(draws)])


def figure(values: ArrayLike) -> Values:
    """Return the figure of float [users]; NaN where a user has no value.

    >>> figure([0.5, 0.5, np.nan])
    {'value': 0.5, 'low': 0.5, 'high': 0.5, 'users': 2}
    """
    return figures(np.asarray(values, np.float64)[:, None])[0]


def plain(value: float) -> float | None:
    """Return a number that JSON takes: six digits, None for NaN."""
    return round(float(value), 6) if np.isfinite(value) else None


# ---- words --------------------------------------------------------------------------------------------


def level(found: Mapping[str, Any]) -> str:
    """Say a share.

    >>> level({"value": 0.734, "low": 0.712, "high": 0.755})
    '73.4 % [71.2, 75.5]'
    """
    if found["value"] is None:
        return "unknown"
    between = "" if found["low"] is None else f" [{found['low'] * 100:.1f}, {found['high'] * 100:.1f}]"
    return f"{percent(found['value'])}{between}"


def gap(found: Mapping[str, Any]) -> str:
    """Say a difference of shares.

    >>> gap({"value": -0.02, "low": -0.031, "high": 0.004})
    '−2.0 points [−3.1, +0.4]'
    """
    if found["value"] is None:
        return "unknown"
    ends = "" if found["low"] is None else f" [{points(found['low'])}, {points(found['high'])}]"
    return f"{points(found['value'])} points{ends}"


def shown(found: Mapping[str, Any]) -> str:
    """Tell on which side of zero an interval lies: ``up``, ``down``, or ``""`` where it touches zero.

    >>> shown({"low": 0.01, "high": 0.2}), shown({"low": -0.1, "high": 0.2}), shown({"low": None})
    ('up', '', '')
    """
    if found["low"] is None:
        return ""
    return "up" if found["low"] > 0 else "down" if found["high"] < 0 else ""


def within(values: Mapping[str, Any]) -> str:
    """Begin a sentence with where it holds: ``On toy with minilm``."""
    seen = ", among users that methods learned from" if values["protocol"].startswith("seen-users") else ""
    return f"On {values['dataset']} with {values['encoder']}{seen}"
