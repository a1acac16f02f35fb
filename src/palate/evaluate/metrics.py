"""Figures with intervals: users are the sampling unit, and comparisons are paired on the same users.

Every interval is a 95 % percentile interval of the cluster bootstrap: users are drawn with replacement,
all of a user's pairs together, by multinomial weights, so that a draw is one matrix product.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from palate.core import Pairs
from palate.numerics.design import log_loss

__all__ = [
    "Bins",
    "Bootstrap",
    "Figure",
    "Scored",
    "calibration",
    "compare",
    "from_choices",
    "summarise",
    "user_table",
]

Floats = NDArray[np.floating[Any]]
BINS = 10


class Figure(NamedTuple):
    """One figure: its value, 95 % interval over users, and how many users and pairs it rests on."""

    metric: str
    value: float
    low: float | None
    high: float | None
    users: int
    pairs: int
    against: str | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """Target pairs and a method's log-odds that the winner beats the loser, float64 [pairs]."""

    pairs: Pairs
    difference: Floats

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Which pairs are choices, not ties: accuracy and calibration are measured on them."""
        return np.asarray(self.pairs.target == 1.0)

    @property
    def right(self) -> Floats:
        """float64 [pairs]: 1 where the method put the winner first, 0.5 where it could not tell."""
        return np.asarray((self.difference > 0) + 0.5 * (self.difference == 0), np.float64)


class Bootstrap:
    """Draws of users, shared by all figures of one set of users so that they are paired."""

    def __init__(self, n_users: int, draws: int = 2000, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.weights = rng.multinomial(n_users, np.full(n_users, 1.0 / max(n_users, 1)), size=draws)

    def interval(self, top: Floats, bottom: Floats) -> tuple[float, float]:
        """Return the interval of sum(top) / sum(bottom) over users [users]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = (self.weights @ top) / (self.weights @ bottom)
        return self.percentiles(draws)

    @staticmethod
    def percentiles(draws: Floats) -> tuple[float, float]:
        """Return the 2.5 % and 97.5 % points of what the draws gave."""
        low, high = np.nanpercentile(draws, [2.5, 97.5])
        return float(low), float(high)


class Users(NamedTuple):
    """Sums a user over the users that have pairs: how many, and of a value [users]."""

    ids: NDArray[np.int64]
    pairs: Floats
    total: Floats

    @property
    def mean(self) -> Floats:
        """Each user's mean."""
        return np.asarray(self.total / self.pairs)


def by_user(user: NDArray[np.int64], values: Floats) -> Users:
    """Sum values a user, leaving out users without any."""
    ids, local = np.unique(user, return_inverse=True)
    return Users(
        ids, np.bincount(local).astype(np.float64), np.bincount(local, weights=values).astype(np.float64)
    )


def summarise(scored: Scored, bootstrap: Bootstrap) -> list[Figure]:
    """Return accuracy (mean over users, and over pairs), log-loss, calibration error, worst tenth."""
    keep = scored.decided
    correct = by_user(scored.pairs.user[keep], scored.right[keep])
    loss = by_user(scored.pairs.user, log_loss(scored.difference, scored.pairs.target))
    n, pairs = len(correct.ids), int(keep.sum())
    ones = np.ones(n)
    ece, ece_interval = _calibration_error(scored, bootstrap)
    worst, worst_interval = _worst_tenth(correct.mean, bootstrap)
    return [
        Figure("accuracy", float(correct.mean.mean()), *bootstrap.interval(correct.mean, ones), n, pairs),
        Figure(
            "accuracy_pairs",
            float(correct.total.sum() / correct.pairs.sum()),
            *bootstrap.interval(correct.total, correct.pairs),
            n,
            pairs,
        ),
        Figure(
            "log_loss",
            float(loss.mean.mean()),
            *_own(bootstrap, len(loss.ids)).interval(loss.mean, np.ones(len(loss.ids))),
            len(loss.ids),
            len(scored.pairs),
        ),
        Figure("calibration_error", ece, *ece_interval, n, pairs),
        Figure("worst_tenth", worst, *worst_interval, n, pairs),
    ]


def compare(scored: Scored, control: Scored, name: str, bootstrap: Bootstrap) -> list[Figure]:
    """Return paired differences to a control, and the shares of users helped, left alone and harmed.

    A user is helped if their accuracy on the target rose over the control's, harmed if it fell.
    """
    keep = scored.decided
    mine = by_user(scored.pairs.user[keep], scored.right[keep])
    theirs = by_user(control.pairs.user[keep], control.right[keep])
    gain, n, pairs = mine.mean - theirs.mean, len(mine.ids), int(keep.sum())
    loss = by_user(
        scored.pairs.user,
        log_loss(scored.difference, scored.pairs.target) - log_loss(control.difference, control.pairs.target),
    )
    figures = [
        Figure("accuracy", float(gain.mean()), *bootstrap.interval(gain, np.ones(n)), n, pairs, against=name),
        Figure(
            "log_loss",
            float(loss.mean.mean()),
            *_own(bootstrap, len(loss.ids)).interval(loss.mean, np.ones(len(loss.ids))),
            len(loss.ids),
            len(scored.pairs),
            against=name,
        ),
    ]
    for metric, share in (
        ("helped", gain > 1e-9),
        ("unchanged", np.abs(gain) <= 1e-9),
        ("harmed", gain < -1e-9),
    ):
        value = share.astype(np.float64)
        interval = bootstrap.interval(value, np.ones(n))
        figures.append(Figure(metric, float(value.mean()), *interval, n, pairs, against=name))
    return figures


_FROM_CHOICES = {
    "accuracy": "from_choices",
    "log_loss": "from_choices_log_loss",
    "helped": "choices_helped",
    "harmed": "choices_harmed",
}


def from_choices(scored: Scored, before: Scored, bootstrap: Bootstrap) -> list[Figure]:
    """Return what the users' own choices add to a method: paired with its own answer before it saw any.

    A method may beat the control through its shared model alone; then these differences are nothing.
    """
    return [
        figure._replace(metric=_FROM_CHOICES[figure.metric], against=None)
        for figure in compare(scored, before, "", bootstrap)
        if figure.metric in _FROM_CHOICES
    ]


class Bins(NamedTuple):
    """Calibration: mean confidence, share right and number of pairs of each bin that has any."""

    confidence: Floats
    accuracy: Floats
    pairs: NDArray[np.int64]


def calibration(scored: Scored) -> Bins:
    """Return calibration in ten equal bins of confidence from 0.5 to 1."""
    keep = scored.decided
    confidence, bin_, right = _confidence(scored)
    count = np.bincount(bin_, minlength=BINS)
    some = count > 0
    return Bins(
        np.bincount(bin_, weights=confidence, minlength=BINS)[some] / count[some],
        np.bincount(bin_, weights=right[keep], minlength=BINS)[some] / count[some],
        count[some],
    )


def user_table(scored: Scored, control: Scored) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Return users with decided pairs: number, pairs, accuracy, the control's accuracy."""
    keep = scored.decided
    mine = by_user(scored.pairs.user[keep], scored.right[keep])
    theirs = by_user(control.pairs.user[keep], control.right[keep])
    return mine.ids, mine.pairs, mine.mean, theirs.mean


def _own(bootstrap: Bootstrap, n: int) -> Bootstrap:
    """Return draws for ``n`` users: the given ones where the numbers agree (no user has only ties)."""
    return bootstrap if bootstrap.weights.shape[1] == n else Bootstrap(n, len(bootstrap.weights))


def _confidence(scored: Scored) -> tuple[Floats, NDArray[np.int64], Floats]:
    confidence = expit(np.abs(scored.difference[scored.decided]))
    bin_ = np.minimum(((confidence - 0.5) * 2 * BINS).astype(np.int64), BINS - 1)
    return confidence, bin_, scored.right


def _calibration_error(scored: Scored, bootstrap: Bootstrap) -> tuple[float, tuple[float, float]]:
    """Return sum over bins of |accuracy - confidence| pairs / all pairs, and its interval."""
    keep = scored.decided
    confidence, bin_, right = _confidence(scored)
    ids, user = np.unique(scored.pairs.user[keep], return_inverse=True)
    gap = np.zeros((len(ids), BINS))
    np.add.at(gap, (user, bin_), right[keep] - confidence)
    count = np.bincount(user).astype(np.float64)
    value = np.abs(gap.sum(0)).sum() / count.sum()
    draws = np.abs(bootstrap.weights @ gap).sum(1) / (bootstrap.weights @ count)
    return float(value), bootstrap.percentiles(draws)


def _worst_tenth(accuracy: Floats, bootstrap: Bootstrap) -> tuple[float, tuple[float, float]]:
    """Return the mean accuracy of the tenth of users that are served worst, and its interval."""
    order = np.argsort(accuracy)
    ranked, weights = accuracy[order], bootstrap.weights[:, order].astype(np.float64)
    tenth = max(1.0, 0.1 * len(accuracy))
    before = np.cumsum(weights, axis=1) - weights
    taken = np.clip(tenth - before, 0.0, weights)
    value = np.clip(tenth - np.arange(len(ranked)), 0.0, 1.0) @ ranked / tenth
    return float(value), bootstrap.percentiles(taken @ ranked / taken.sum(axis=1))
