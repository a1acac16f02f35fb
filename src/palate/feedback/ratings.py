"""Ratings and votes to pairs, by a named rule.

The rule ``gap``: within one user and one conversation a response beats another that the same user
rated lower by at least ``min_gap``. The ratings are sorted, equal ones in a seeded random order; of
n ratings v[0] <= ... <= v[n-1] the lowest k are matched with the highest k,

    v[i] with v[n - k + i],  i = 0 ... k - 1,   k as large as every gap allows,

which is a largest set of disjoint pairs. So a response of a user stands in one pair only, and stays on
one side of every later split. With ``per_response`` = r the lower ones are matched r times, each time
shifted by one.

The rule ``all``, for a few graded answers a turn: within one user and one conversation every two responses
are a pair, the higher rating beats the lower, equal ones tie; pairs less than ``min_gap`` apart, where it is
not 0, are left out. n rated responses make up to n (n - 1) / 2 pairs, and a response stands in many.

By either rule at most ``cap`` of a user's pairs are kept, drawn by the seed.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError

__all__ = ["Drawn", "PairRule", "Ratings", "draw_pairs"]

Ints = NDArray[np.int64]
ROUNDING = 1e-9
RULES = ("gap", "all")


@dataclass(frozen=True, slots=True)
class PairRule:
    """How ratings become pairs.

    Args:
        name: The rule, "gap" or "all" (see the module's text).
        min_gap: How much higher a response must be rated to beat another, in the ratings' units; above 0,
            except that 0 with "all" takes equal ratings as ties.
        cap: Most pairs kept of a user.
        per_response: Most pairs that one response of a user stands in; "all" does not look at it.
        seed: Draws the pairs.

    Raises:
        ConfigError: If a value cannot work.
    """

    name: str = "gap"
    min_gap: float = 1.0
    cap: int = 100
    per_response: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ConfigError(f"the rule {self.name!r} does not exist; the rules are {', '.join(RULES)}")
        least = self.min_gap >= 0 if self.name == "all" else self.min_gap > 0
        if not (least and math.isfinite(self.min_gap)):
            bound = "0 or more" if self.name == "all" else "a number above 0"
            raise ConfigError(f"min_gap is {self.min_gap}; expected {bound}, in the ratings' units")
        for field in ("cap", "per_response"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} is {getattr(self, field)}; expected 1 or more")

    def __str__(self) -> str:
        if self.name == "all":
            apart = f" at least {self.min_gap:g} apart" if self.min_gap else ", equal ratings as ties"
            return (
                f"rule all: every two responses that the same user rated in the same conversation{apart}, at "
                f"most {self.cap} pairs a user, drawn by seed {self.seed}"
            )
        times = "one pair" if self.per_response == 1 else f"{self.per_response} pairs"
        return (
            f"rule {self.name}: a response beats one that the same user rated at least {self.min_gap:g} "
            f"lower in the same conversation, each response of a user in at most {times}, at most {self.cap} "
            f"pairs a user, drawn by seed {self.seed}"
        )


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings as columns, in the order in which they came; all arrays are [ratings].

    Attributes:
        user: int64, number of the user.
        conversation: int64, number of the conversation.
        response: int64, number of the response.
        value: float64, the rating; finite.
        time: float64, seconds since 1970, NaN where unknown.
        split: int64, 0 context, 1 target, -1 where none was given.
    """

    user: Ints
    conversation: Ints
    response: Ints
    value: NDArray[np.float64]
    time: NDArray[np.float64]
    split: Ints

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pairs drawn from ratings.

    Attributes:
        winner: int64 [pairs], place of the higher rating; pairs are in order of their later rating.
        loser: int64 [pairs], place of the lower one, or of one that is equal: a tie.
        replaced: Ratings that were left out because the user rated the same response again later.
    """

    winner: Ints
    loser: Ints
    replaced: int


def draw_pairs(ratings: Ratings, rule: PairRule) -> Drawn:
    """Draw pairs by the rule; equal ratings, rule and seed give equal pairs."""
    rng = np.random.default_rng(rule.seed)
    last = _last_of_each(ratings)
    replaced = len(ratings) - len(last)
    group = _numbered(ratings.user[last], ratings.conversation[last], ratings.split[last])
    order = np.lexsort((rng.random(len(last)), ratings.value[last], group))
    rows, group = last[order], group[order]
    paired = _every_two if rule.name == "all" else _matched
    low, high = paired(ratings.value[rows], group, rule)
    loser, winner = rows[low], rows[high]
    kept = _capped(ratings.user[winner], rule.cap, rng)
    winner, loser = winner[kept], loser[kept]
    order = np.lexsort((np.minimum(winner, loser), np.maximum(winner, loser)))
    return Drawn(winner[order], loser[order], replaced)


def _last_of_each(ratings: Ratings) -> Ints:
    """Return the places of the ratings that the user did not give again later, in order."""
    place = np.arange(len(ratings))
    known = np.where(np.isnan(ratings.time), -np.inf, ratings.time)
    columns = (ratings.response, ratings.conversation, ratings.user)
    order = np.lexsort((place, known, *columns))
    changes = np.zeros(max(len(order) - 1, 0), dtype=bool)
    for column in columns:
        changes |= np.diff(column[order]) != 0
    ends = np.append(changes, True)[: len(order)]
    return np.sort(order[ends])


def _numbered(*columns: Ints) -> Ints:
    """Return int64 [n]: one number for each distinct row of the columns."""
    order = np.lexsort(columns)
    changes = np.zeros(max(len(order) - 1, 0), dtype=bool)
    for column in columns:
        changes |= np.diff(column[order]) != 0
    numbers = np.zeros(len(order), np.int64)
    numbers[order[1:]] = np.cumsum(changes)
    return numbers


def _matched(value: NDArray[np.float64], group: Ints, rule: PairRule) -> tuple[Ints, Ints]:
    """Return the places of the lower and the higher rating of each pair; input sorted by group, value."""
    if not len(group):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    sizes = np.bincount(group)
    start = np.cumsum(sizes) - sizes
    place = np.arange(len(group)) - start[group]
    k = _largest_matching(value, group, place, sizes, rule.min_gap)
    low = np.flatnonzero(place < k[group])
    of = group[low]
    lows, highs = [], []
    for shift in range(min(rule.per_response, int(k.max(initial=0)))):
        high = start[of] + (sizes - k)[of] + (place[low] + shift) % k[of]
        good = (value[high] - value[low] >= rule.min_gap - ROUNDING) & (shift < k[of])
        lows.append(low[good])
        highs.append(high[good])
    if not lows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(lows), np.concatenate(highs)


def _every_two(value: NDArray[np.float64], group: Ints, rule: PairRule) -> tuple[Ints, Ints]:
    """Return the places of the lower and the higher rating of every two of a group; input sorted likewise."""
    if not len(group):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    sizes = np.bincount(group)
    later = np.cumsum(sizes)[group] - 1 - np.arange(len(group))  # how many of the group come after
    low = np.repeat(np.arange(len(group)), later)
    begins = np.cumsum(later) - later
    high = low + 1 + np.arange(len(low)) - begins[low]
    good = value[high] - value[low] >= rule.min_gap - ROUNDING
    return low[good], high[good]


def _largest_matching(
    value: NDArray[np.float64], group: Ints, place: Ints, sizes: Ints, min_gap: float
) -> Ints:
    """Return int64 [groups]: the largest k of the module's text, by bisection of all groups at once."""
    least, most = np.zeros_like(sizes), sizes // 2
    while (least < most).any():
        k = (least + most + 1) // 2
        low = np.flatnonzero(place < k[group])
        high = low + (sizes - k)[group[low]]
        short = value[high] - value[low] < min_gap - ROUNDING
        fails = np.bincount(group[low[short]], minlength=len(sizes)) > 0
        least, most = np.where(fails, least, k), np.where(fails, k - 1, most)
    return least


def _capped(user: Ints, cap: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return bool [pairs]: at most ``cap`` of each user, drawn at random."""
    order = np.lexsort((rng.random(len(user)), user))
    counts = np.bincount(user) if len(user) else np.zeros(1, np.int64)
    rank = np.arange(len(user)) - (np.cumsum(counts) - counts)[user[order]]
    kept = np.zeros(len(user), dtype=bool)
    kept[order] = rank < cap
    return kept
