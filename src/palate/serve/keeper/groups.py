"""The people: a map of a tenant's users, groups of those alike, whom personas help.

Where a persona can be asked cheaply, a user stands where the answers do: their log-odds for the same few
dozen pairs, less the average user's, so that what is not known of a user moves them to the middle. Else a
user stands by the statements that hold of them.

    X [users, pairs]     scores, the average user's taken off
    X = U S V'           the map: the first two columns of U S, each axis' share of the variance told
    groups               a mixture of normals with one covariance on the first columns, each scaled to unit
                         variance; k = 1 ... 6 by the integrated completed likelihood (Biernacki and others,
                         2000): a cloud without gaps stays one group, however long, and an axis on which
                         people differ less may still part two
    words of a group     statements that its members share more often than all users do; never one that
                         fewer than ``ALIKE`` of them have, so that no single person's words are shown

A tenant with many users is sampled, the same users each time.
"""

import json
import logging
import threading
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.special import entr

from palate.core import Personas
from palate.serve.keeper.lru import Lru
from palate.serve.keeper.model import Served, Shelf
from palate.serve.keeper.texts import Offered, offered
from palate.serve.store import Store, choices, people, personas
from palate.serve.store.personas import Sampled
from palate.serve.wire.operate import GroupShown, People, Point

__all__ = ["ALIKE", "Groups", "grouped", "mapped"]

Floats = NDArray[np.floating[Any]]
SAMPLE = 5000
"""Users on a map, at most."""
ALIKE = 5
"""Members of a group who must share a statement before it is shown."""
KEPT = 60.0
"""Seconds for which a map is kept."""
_PAIRS, _READ, _MOST_GROUPS, _WORDS, _AXES = 32, 40, 6, 3, 3
_SPREAD = 0.1  # of the widest axis, that another must have to tell groups apart
_FITTED = 1500  # users by whom groups are found; the others join them
_STRONG = 6.0  # gain in the criterion that one more group needs: strong evidence (Kass and Raftery, 1995)
_TELLING = 0.15  # by how much more of a group than of all a statement must hold to tell the group apart
_log = logging.getLogger(__name__)


class _User(NamedTuple):
    """What the map needs of a user."""

    user: str
    choices: int
    weight: float | None
    gain: float | None
    vector: tuple[float, ...] | None
    about: frozenset[str]


class _Map(NamedTuple):
    """A map and when it was made."""

    made: float
    model: str
    named: People


class Groups:
    """Maps of tenants' users, each kept for a minute.

    Args:
        store: What is kept.
        shelf: The model that is served.
        report: A report.json whose leaderboard is shown beside the map, or "".
    """

    def __init__(self, store: Store, shelf: Shelf, report: str = "") -> None:
        self._store, self._shelf, self._report = store, shelf, report
        self._maps: Lru[str, _Map] = Lru(50)
        self._lock = threading.Lock()
        self._read: tuple[float, dict[str, Any] | None] = (-1.0, None)

    def people(self, tenant: str, named: bool = True) -> People:
        """Return a tenant's map; ``named`` says whether users' names are on it."""
        found = self._fitting(tenant)
        if found is None:
            with self._lock:
                found = self._fitting(tenant) or self._draw(tenant)
        if named:
            return found
        return found.model_copy(
            update={"points": [p.model_copy(update={"user": None}) for p in found.points]}
        )

    def drop(self, tenant: str | None = None) -> int:
        """Let go of a tenant's map, or of all; return how many."""
        return self._maps.drop_where(lambda key: tenant is None or key == tenant)

    def _fitting(self, tenant: str) -> People | None:
        found = self._maps.get(tenant)
        if found is None or time.monotonic() - found.made > KEPT:
            return None
        return found.named if found.model == self._shelf.active.fingerprint else None

    def _draw(self, tenant: str) -> People:
        served = self._shelf.active
        with self._store.read() as c:
            total = people.count(c, tenant)
            users = [_user(row, served) for row in personas.sample(c, tenant, SAMPLE)]
            some = [u.user for u in users if u.choices][:_READ]
            rows = choices.histories(c, tenant, some)
        texts = [(f.conversation, f.responses[:2]) for history in rows for f in history.feedback[:2]]
        place = _placed(served, users, offered(texts[:_PAIRS]) if texts else None)
        where, explained = mapped(place)
        group = grouped(place)
        drawn = People(
            users=total,
            shown=len(users),
            points=_points(users, where, group),
            groups=_groups(users, group),
            **_counts(users),
            explained=explained,
            report=self._leaderboard(),
        )
        self._maps.put(tenant, _Map(time.monotonic(), served.fingerprint, drawn))
        return drawn

    def _leaderboard(self) -> dict[str, Any] | None:
        """Return what a report says of methods; None without one."""
        if not self._report:
            return None
        path = Path(self._report)
        try:
            changed = path.stat().st_mtime
            if self._read[0] != changed:
                report = json.loads(path.read_text(encoding="utf-8"))
                kept = ("datasets", "methods", "rows")
                self._read = (changed, {key: report[key] for key in kept if key in report})
        except (OSError, ValueError, AttributeError) as error:
            _log.warning("the report could not be read: %s", type(error).__name__)
            return None
        return self._read[1]


def _user(row: Sampled, served: Served) -> _User:
    body, words = row.body, row.words or row.body
    verdict = body.get("verdict")
    tested = verdict is not None and verdict["choices"] > 0
    mine = row.model == served.fingerprint and body.get("vector") is not None
    return _User(
        row.user,
        row.total,
        None if verdict is None else verdict["weight"],
        verdict["accuracy"] - verdict["control_accuracy"] if verdict and tested else None,
        tuple(body.get("vector") or ()) if mine else None,
        frozenset(_headline(claim) for claim in words.get("claims", ()) if claim["kept"]),
    )


def _headline(claim: dict[str, Any]) -> str:
    text: str = claim["text"]
    return text.split(": ", 1)[0].removesuffix(".") if ": " in text else text


def _placed(served: Served, users: Sequence[_User], texts: Offered | None) -> Floats:
    """Return float64 [users, n]: where users stand, people on average in the origin."""
    scored = served.cheap and texts is not None and any(u.vector is not None for u in users)
    if scored and texts is not None:
        return _by_scores(served, users, texts)
    common = [key for key, n in Counter(k for u in users for k in u.about).most_common(64) if n > 1]
    return np.array([[key in u.about for key in common] for u in users], float).reshape(
        len(users), len(common)
    )


def _by_scores(served: Served, users: Sequence[_User], texts: Offered) -> Floats:
    count = len(texts.offsets) - 1
    out = np.zeros((len(users), count))
    known = [i for i, u in enumerate(users) if u.vector is not None]
    size = max(len(users[i].vector or ()) for i in known)
    known = [i for i in known if len(users[i].vector or ()) == size]
    average = _log_odds(served, Personas.average(), texts)[0]
    for start in range(0, len(known), 1000):
        some = known[start : start + 1000]
        names = np.empty(len(some), dtype=object)
        names[:] = [users[i].user for i in some]
        vectors = np.array([users[i].vector for i in some])
        block = Personas(served.label, served.fingerprint, names, vectors, np.ones(len(some), bool))
        out[some] = _log_odds(served, block, texts) - average
    return out


def _log_odds(served: Served, users: Personas, texts: Offered) -> Floats:
    """Return float64 [users, pairs]: log-odds of each pair's first response over its second."""
    count = len(texts.offsets) - 1
    who = np.repeat(np.arange(len(users)), count)
    scores = served.method.score_batch(texts.times(len(users)).asked_of(users, who))
    return np.asarray(scores[0::2] - scores[1::2]).reshape(len(users), count)


def mapped(place: Floats) -> tuple[Floats, list[float]]:
    """Return positions float64 [users, 2] on the two main directions, and their shares of the variance.

    >>> where, share = mapped(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]]))
    >>> abs(where[:, 0]).round(2).tolist(), [round(s, 2) for s in share]
    ([1.0, 1.0, 0.0, 0.0], [0.8, 0.2])
    """
    out = np.zeros((len(place), 2))
    if not len(place) or not place.shape[1]:
        return out, [0.0, 0.0]
    centred = place - place.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1.0, 1.0)
    out[:, : axes.shape[1]] = centred @ axes
    total = max(float(values.sum()), 1e-300)
    share = [float(max(v, 0.0) / total) for v in values[::-1][:2]]
    return out, [*share, *[0.0] * (2 - len(share))]


def grouped(place: Floats) -> NDArray[np.int64]:
    """Return int64 [users]: each user's group, the largest group first."""
    n = len(place)
    if n < 2 * ALIKE or not place.shape[1]:
        return np.zeros(n, np.int64)
    centred = place - place.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    points = centred @ vectors[:, ::-1][:, : min(_AXES, place.shape[1])]
    spread = points.std(axis=0)
    if not spread[0] > 1e-9:
        return np.zeros(n, np.int64)
    axes = spread > _SPREAD * spread[0]
    best = _mixture(points[:, axes], spread[axes])
    order = np.argsort(-np.bincount(best), kind="stable")
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    return place_of[best]


def _mixture(wide: Floats, spread: Floats) -> NDArray[np.int64]:
    """Return int64 [n]: each point's component in the mixture that the criterion favours.

    Chance starts miss groups, so the fits start from trees (Ward): of points as they are, and scaled.
    """
    points = wide / spread
    some = points[:_FITTED]
    trees = [linkage(each[:_FITTED], "ward") for each in (points, wide)]
    most = min(_MOST_GROUPS, len(some) // ALIKE, len(np.unique(some.round(6), axis=0)))
    best, lowest = np.zeros(len(points), np.int64), np.inf
    for k in range(1, most + 1):
        fits = [_fitted(some, fcluster(tree, k, "maxclust") - 1) for tree in trees]
        mixture = max(fits, key=lambda fit: float(fit.lower_bound_))
        share = mixture.predict_proba(some)
        cost = float(mixture.bic(some) + 2.0 * entr(share).sum())
        if cost < lowest - _STRONG and np.bincount(share.argmax(axis=1), minlength=k).min() >= 2:
            best, lowest = mixture.predict(points).astype(np.int64), cost
    return best


def _fitted(points: Floats, start: NDArray[np.integer[Any]]) -> Any:
    """Return the mixture of normals with one covariance that is found from these labels."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    counts = np.bincount(start)
    means = np.stack([points[start == label].mean(axis=0) for label in range(len(counts))])
    mixture = GaussianMixture(
        len(counts),
        covariance_type="tied",
        reg_covar=1e-3,
        means_init=means,
        weights_init=counts / len(points),
        random_state=0,
    )
    with warnings.catch_warnings(), threadpool_limits(1):  # threads would cost more than they save
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(points)


def _points(users: Sequence[_User], where: Floats, group: NDArray[np.int64]) -> list[Point]:
    rows = zip(users, where.tolist(), group.tolist(), strict=True)
    return [
        Point(x=x, y=y, group=g, gain=u.gain, weight=u.weight, choices=u.choices, user=u.user)
        for u, (x, y), g in rows
    ]


def _groups(users: Sequence[_User], group: NDArray[np.int64]) -> list[GroupShown]:
    everywhere = Counter(key for u in users for key in u.about)
    out = []
    for number in range(int(group.max(initial=-1)) + 1):
        mine = [u for u, g in zip(users, group.tolist(), strict=True) if g == number]
        gains = [u.gain for u in mine if u.gain is not None]
        out.append(
            GroupShown(
                number=number,
                users=len(mine),
                share=len(mine) / len(users),
                words=_shared(mine, everywhere, len(users)),
                gain=float(np.mean(gains)) if gains else None,
            )
        )
    return out


def _shared(mine: Sequence[_User], everywhere: Counter[str], total: int) -> list[str]:
    """Return the statements that a group shares more than all users do, the most telling first."""
    counts = Counter(key for u in mine for key in u.about)
    alone = len(mine) == total
    lead = {key: n / len(mine) - (0.0 if alone else everywhere[key] / total) for key, n in counts.items()}
    shown = [
        k
        for k, n in counts.items()
        if n >= ALIKE and n >= 0.25 * len(mine) and (alone or lead[k] >= _TELLING)
    ]
    return sorted(shown, key=lambda key: (-lead[key], key))[:_WORDS]


def _counts(users: Sequence[_User]) -> dict[str, int]:
    gains = [u.gain for u in users]
    return {
        "helped": sum(g is not None and g > 0 for g in gains),
        "harmed": sum(g is not None and g < 0 for g in gains),
        "even": sum(g == 0 for g in gains),
        "untested": sum(g is None for g in gains),
    }
