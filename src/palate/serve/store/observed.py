"""Rows of choices as a :class:`palate.core.History`.

A choice among several responses is one observation. Ratings v[0] ... v[n-1] become observations of two
responses by the rule ``all`` of :mod:`palate.feedback.ratings` with a gap of 1: of every two that differ by
1 or more the higher beats the lower. Ratings that all lie closer together, such as 0 to 1, give one
observation: the highest beats the lowest, or a tie where all are equal. The first is called by the client's
key, the others key#2, key#3, ..., in the order of the responses.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from palate.core import Feedback, History, Turn
from palate.serve.store.packing import unpack

__all__ = ["GAP", "history_of", "pairs"]

GAP = 1.0
"""How much higher a response must be rated to beat another, where any two are that far apart."""


def pairs(ratings: Sequence[float]) -> list[tuple[int, int, int | None]]:
    """Return (first, second, chosen) of every observation that ratings make; ``chosen`` is 0, 1 or None.

    >>> pairs([1, 5, 5]), pairs([0.25, 1.0, 0.5]), pairs([3, 3])
    ([(0, 1, 1), (0, 2, 1)], [(0, 1, 1)], [(0, 1, None)])
    """
    apart = [(i, j) for i, j in combinations(range(len(ratings)), 2) if abs(ratings[i] - ratings[j]) >= GAP]
    if not apart:
        low, high = min(ratings), max(ratings)
        if low == high:
            return [(0, 1, None)]
        ends = ratings.index(low), ratings.index(high)
        apart = [(min(ends), max(ends))]
    return [(i, j, 0 if ratings[i] > ratings[j] else 1) for i, j in apart]


def history_of(user: str, rows: Sequence[Any], profile: Mapping[str, str]) -> History:
    """Return a history.

    Args:
        user: Whose.
        rows: (user, key, time, body as JSON), in time order.
        profile: What is known of the user besides.
    """
    found: list[Feedback] = []
    names: set[str] = set()
    for _, key, time, body in rows:
        for each in _observations(user, key, time, unpack(body)):
            if each.id in names:  # a client's own key looks like one made here
                continue
            names.add(each.id)
            found.append(each)
    return History(user, tuple(found), profile)


def _observations(user: str, key: str, time: float, body: Mapping[str, Any]) -> Iterator[Feedback]:
    """Yield the observations of one choice."""
    talk = tuple(Turn(turn["role"], turn["content"]) for turn in body["conversation"])
    responses, ratings, reason = body["responses"], body.get("ratings"), body.get("reason")
    if ratings is None:
        yield Feedback(user, talk, tuple(responses), body.get("chosen"), key, time, reason)
        return
    for n, (i, j, chosen) in enumerate(pairs(ratings), start=1):
        name = key if n == 1 else f"{key}#{n}"
        yield Feedback(user, talk, (responses[i], responses[j]), chosen, name, time, reason)
