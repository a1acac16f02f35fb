"""A population as tensors, and the mini-batches that neural methods learn from.

A mini-batch takes some users and splits each one's pairs at random into a context, from which the user
is to be inferred, and targets, which are to be predicted: the same task that unseen users pose. Context
and targets come from the same user and share no item.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from palate.core import Pairs, Population

__all__ = ["Crowd", "Episode", "padded", "sample_episode"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Crowd:
    """Users and their pairs, beside the features of all items.

    Attributes:
        x: float [items, d], features, on the device.
        anchor: float [items], log-odds of every item for the average user before any training.
        pairs: The pairs, users next to each other, rows in time order.
        starts: int64 [users + 1], where each user's pairs begin.
    """

    x: torch.Tensor
    anchor: torch.Tensor
    pairs: Pairs
    starts: Ints

    @classmethod
    def of(cls, population: Population, x: torch.Tensor, anchor: torch.Tensor) -> "Crowd":
        """Put a population's pairs beside the tensors of its corpus."""
        pairs = population.pairs
        return cls(x, anchor, pairs, np.searchsorted(pairs.user, np.arange(population.n_users + 1)))

    @property
    def n_users(self) -> int:
        """Number of users, those without pairs included."""
        return len(self.starts) - 1

    def index(self, numbers: Any) -> torch.Tensor:
        """Return int64 indices on the device of the features."""
        return torch.as_tensor(np.ascontiguousarray(numbers), device=self.x.device)


class Episode(NamedTuple):
    """Some users, each with a context and targets, padded to the longest; numbers of the crowd's pairs.

    Attributes:
        users: int64 [b].
        context: int64 [b, c], 0 where ``seen`` is False.
        seen: bool [b, c].
        target: int64 [b, t], 0 where ``asked`` is False.
        asked: bool [b, t].
    """

    users: Ints
    context: Ints
    seen: Bools
    target: Ints
    asked: Bools


def padded(crowd: Crowd, users: Ints, most: int | None = None) -> tuple[Ints, Bools]:
    """Return the latest ``most`` pairs (all by default) of users, in time order: int64 and bool [b, c]."""
    first, last = crowd.starts[users], crowd.starts[users + 1]
    if most is not None:
        first = np.maximum(first, last - most)
    width = int((last - first).max(initial=0))
    number = first[:, None] + np.arange(width)
    there = number < last[:, None]
    return np.where(there, number, 0), there


def sample_episode(
    crowd: Crowd, rng: np.random.Generator, users: Ints, contexts: tuple[int, int], targets: int
) -> Episode:
    """Split some users' pairs at random into context and targets that share no item.

    Args:
        crowd: The pairs.
        rng: Draws the split.
        users: int64 [b], users with at least one pair.
        contexts: Least and most context pairs; each user's number is drawn evenly between them.
        targets: Most target pairs of a user. A user keeps at least one.
    """
    number, there = padded(crowd, users)
    order = np.argsort(np.where(there, rng.random(number.shape), 2.0), axis=1)
    number, there = np.take_along_axis(number, order, 1), np.take_along_axis(there, order, 1)
    target, asked = number[:, :targets], there[:, :targets].copy()
    if contexts[1] == 0 or number.shape[1] == 1:
        empty = np.zeros((len(users), 0), np.int64)
        return Episode(users, empty, empty.astype(bool), target, asked)
    size = rng.integers(contexts[0], contexts[1] + 1, size=(len(users), 1))
    count = there.sum(1, keepdims=True)
    size = np.minimum(size, np.maximum(count - 1, 0))
    most = np.minimum(targets, np.maximum(count - size, 1))  # a short history is shared by both sides
    asked &= np.arange(asked.shape[1]) < most
    number, there = number[:, : targets + contexts[1]], there[:, : targets + contexts[1]]
    rank = np.arange(number.shape[1]) - most
    seen = there & (rank >= 0) & (rank < size) & ~_shares_item(crowd.pairs, number, target, asked)
    keep = np.argsort(~seen, axis=1, kind="stable")[:, : max(1, int(seen.sum(1).max(initial=0)))]
    context, seen = np.take_along_axis(number, keep, 1), np.take_along_axis(seen, keep, 1)
    return Episode(users, np.where(seen, context, 0), seen, target, asked)


def _shares_item(pairs: Pairs, number: Ints, target: Ints, asked: Bools) -> Bools:
    """Return bool [b, n]: whether a pair has an item in common with one of the user's targets."""
    mine = np.stack([pairs.winner[number], pairs.loser[number]], axis=-1)[:, :, None, :, None]
    theirs = np.stack([pairs.winner[target], pairs.loser[target]], axis=-1)
    theirs = np.where(asked[..., None], theirs, -1)[:, None, :, None, :]
    return np.asarray((mine == theirs).any(axis=(2, 3, 4)))
