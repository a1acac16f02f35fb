"""Many users' histories as columns: texts stored once, choices as index arrays.

Methods learn from and adapt on these columns; :class:`~palate.core.feedback.History` rows are views
for people. Nothing here holds one Python object a user or a choice, except their names.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palate.core.feedback import Conversation, Feedback, History

__all__ = ["ROLES", "SPLITS", "Corpus", "Pairs", "Population"]

Ints = NDArray[np.int64]
ROLES = ("train", "val", "test")
"""Codes of ``Population.role``: 0, 1, 2; -1 where no role was given."""
SPLITS = ("context", "target")
"""Codes of ``Population.split``: 0, 1; -1 where none was given."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Every text once. An *item* is one response to one conversation.

    Attributes:
        conversations: The distinct conversations.
        responses: The distinct response texts.
        item_conversation: int64 [items], index into ``conversations``.
        item_response: int64 [items], index into ``responses``.
    """

    conversations: Sequence[Conversation]
    responses: Sequence[str]
    item_conversation: Ints
    item_response: Ints

    def __len__(self) -> int:
        return len(self.item_response)

    def response(self, item: int) -> str:
        """Return the text of an item."""
        return self.responses[int(self.item_response[item])]

    def conversation(self, item: int) -> Conversation:
        """Return the conversation that an item answers."""
        return self.conversations[int(self.item_conversation[item])]

    @cached_property
    def digest(self) -> bytes:
        """A hash of all texts and items."""
        h = hashlib.blake2b(digest_size=16)
        for conversation in self.conversations:
            h.update(repr([tuple(turn) for turn in conversation]).encode("utf-8", "surrogatepass"))
        for text in self.responses:
            h.update(b"\0" + text.encode("utf-8", "surrogatepass"))
        h.update(self.item_conversation.tobytes() + self.item_response.tobytes())
        return h.digest()


@dataclass(frozen=True, eq=False)
class Pairs:
    """Choices as pairs of items: the winner beat the loser, or tied with it.

    Attributes:
        user: int64 [pairs], index into the population's users.
        winner: int64 [pairs], item.
        loser: int64 [pairs], item.
        target: float64 [pairs]: 1 for a choice, 0.5 for a tie.
        row: int64 [pairs], the choice it came from.
    """

    user: Ints
    winner: Ints
    loser: Ints
    target: NDArray[np.float64]
    row: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, keep: NDArray[Any]) -> "Pairs":
        """Return the pairs that a mask keeps, or those at an index, in its order."""
        return Pairs(self.user[keep], self.winner[keep], self.loser[keep], self.target[keep], self.row[keep])


@dataclass(frozen=True, eq=False)
class Population:
    """Many users' feedback, a user's rows next to each other and in time order.

    Attributes:
        corpus: The texts; shared, not copied, by every part of a population.
        users: Names, object [users].
        offsets: int64 [users + 1]; user u has rows ``offsets[u]`` to ``offsets[u + 1]``.
        options: int64 [options], the items on offer, row after row.
        option_offsets: int64 [rows + 1], where each row's options begin.
        chosen: int64 [rows], the position of the chosen option, -1 for a tie.
        times: float64 [rows], seconds since 1970, NaN where unknown.
        ids: Names of the rows, object [rows].
        role: int8 [users], a code of ``ROLES`` or -1.
        split: int8 [rows], a code of ``SPLITS`` or -1.
        reasons: The user's own words, by row id.
        profiles: What is known of a user, by user name.

    >>> from palate.core import Feedback, as_conversation
    >>> people = Population.of([Feedback("ann", as_conversation("Hi"), ("Hello!", "Yo."), chosen=0)])
    >>> people.n_users, people.n_rows, len(people.pairs)
    (1, 1, 1)
    """

    corpus: Corpus
    users: NDArray[np.object_]
    offsets: Ints
    options: Ints
    option_offsets: Ints
    chosen: Ints
    times: NDArray[np.float64]
    ids: NDArray[np.object_]
    role: NDArray[np.int8]
    split: NDArray[np.int8]
    reasons: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Feedback | History]) -> "Population":
        """Build columns from feedback or from whole histories (which may be empty)."""
        from palate.core.builder import PopulationBuilder

        builder = PopulationBuilder()
        for row in rows:
            if isinstance(row, Feedback):
                builder.add_feedback(row)
                continue
            builder.add_user(row.user, row.profile)
            for feedback in row.feedback:
                builder.add_feedback(feedback)
        return builder.build()

    @property
    def n_users(self) -> int:
        """Number of users, those without feedback included."""
        return len(self.users)

    @property
    def n_rows(self) -> int:
        """Number of choices."""
        return len(self.chosen)

    @cached_property
    def row_user(self) -> Ints:
        """int64 [rows]: the user of each row."""
        return np.repeat(np.arange(self.n_users), np.diff(self.offsets))

    @cached_property
    def rank(self) -> Ints:
        """int64 [rows]: how many of the user's rows came before."""
        return np.arange(self.n_rows) - self.offsets[self.row_user]

    @cached_property
    def pairs(self) -> Pairs:
        """Every choice as pairs: the chosen option beats each other one; in a tie all are equal."""
        sizes = np.diff(self.option_offsets)
        if (sizes == 2).all():
            return self._twos()
        start = self.option_offsets[:-1]
        tied = self.chosen < 0
        best = start + np.maximum(self.chosen, 0)
        row = np.repeat(np.arange(self.n_rows), sizes)
        others = np.flatnonzero(np.arange(len(self.options)) != best[row])
        row = row[others]
        pairs = Pairs(
            self.row_user[row],
            self.options[best[row]],
            self.options[others],
            np.where(tied[row], 0.5, 1.0),
            row,
        )
        return _with_ties_among_the_rest(self, pairs, sizes)

    def _twos(self) -> Pairs:
        """Return the pairs of rows with two options each, without passing over all the options."""
        row, first = np.arange(self.n_rows), self.option_offsets[0]
        best = first + 2 * row + np.maximum(self.chosen, 0)
        other = best + np.where(self.chosen == 1, -1, 1)
        target = np.where(self.chosen < 0, 0.5, 1.0)
        return Pairs(self.row_user, self.options[best], self.options[other], target, row)

    def take_rows(self, keep: ArrayLike) -> "Population":
        """Return the same users with some of their rows (a mask, or sorted row numbers)."""
        index = np.asarray(keep)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        sizes = np.diff(self.option_offsets)[index]
        option_offsets = _offsets(sizes)
        shift = np.repeat(self.option_offsets[index] - option_offsets[:-1], sizes)
        counts = np.bincount(self.row_user[index], minlength=self.n_users)
        return replace(
            self,
            offsets=_offsets(counts),
            options=self.options[np.arange(option_offsets[-1]) + shift],
            option_offsets=option_offsets,
            chosen=self.chosen[index],
            times=self.times[index],
            ids=self.ids[index],
            split=self.split[index],
        )

    def take_users(self, keep: ArrayLike) -> "Population":
        """Return some users with all their rows (a mask, or sorted user numbers)."""
        index = np.asarray(keep)
        mask = index if index.dtype == bool else np.isin(np.arange(self.n_users), index)
        part = self.take_rows(mask[self.row_user])
        counts = np.diff(part.offsets)[mask]
        return replace(part, users=self.users[mask], offsets=_offsets(counts), role=self.role[mask])

    def compact(self) -> "Population":
        """Return the same users and rows with only the texts they use, numbered in order of first use.

        Equal rows then have equal columns and an equal digest, however their texts once arrived.
        """
        items, options = _by_first_use(self.options, len(self.corpus))
        talks, item_talk = _by_first_use(self.corpus.item_conversation[items], len(self.corpus.conversations))
        texts, item_text = _by_first_use(self.corpus.item_response[items], len(self.corpus.responses))
        conversations, responses = self.corpus.conversations, self.corpus.responses
        corpus = Corpus(
            [conversations[i] for i in talks.tolist()],
            [responses[i] for i in texts.tolist()],
            item_talk,
            item_text,
        )
        names = set(self.ids) if self.reasons else set()
        reasons = {name: reason for name, reason in self.reasons.items() if name in names}
        people = set(self.users) if self.profiles else set()
        profiles = {user: profile for user, profile in self.profiles.items() if user in people}
        return replace(self, corpus=corpus, options=options, reasons=reasons, profiles=profiles)

    def with_role(self, name: str) -> "Population":
        """Return the users of one role: train, val or test."""
        return self.take_users(self.role == ROLES.index(name))

    def with_split(self, name: str) -> "Population":
        """Return all users with the rows of one split only: context or target."""
        return self.take_rows(self.split == SPLITS.index(name))

    def head(self, k: int) -> "Population":
        """Return all users with their first ``k`` rows."""
        return self.take_rows(self.rank < k)

    def history(self, user: int) -> History:
        """Return one user's rows as a view for people."""
        name = str(self.users[user])
        rows = range(self.offsets[user], self.offsets[user + 1])
        return History(name, tuple(self.row(r, name) for r in rows), self.profiles.get(name, {}))

    def row(self, index: int, user: str | None = None) -> Feedback:
        """Return one row as a view for people."""
        items = self.options[self.option_offsets[index] : self.option_offsets[index + 1]]
        time, chosen, name = float(self.times[index]), int(self.chosen[index]), str(self.ids[index])
        return Feedback(
            user=user if user is not None else str(self.users[self.row_user[index]]),
            conversation=self.corpus.conversation(items[0]),
            responses=tuple(self.corpus.response(i) for i in items),
            chosen=None if chosen < 0 else chosen,
            id=name,
            time=None if np.isnan(time) else time,
            reason=self.reasons.get(name),
        )

    def __iter__(self) -> Iterator[History]:
        return (self.history(u) for u in range(self.n_users))

    @cached_property
    def digest(self) -> str:
        """A hash of all that a method could learn from: equal data, equal digest."""
        h = hashlib.blake2b(self.corpus.digest, digest_size=16)
        for column in (self.offsets, self.options, self.option_offsets, self.chosen, self.role, self.split):
            h.update(np.ascontiguousarray(column).tobytes())
        h.update("\0".join(map(str, self.users)).encode("utf-8", "surrogatepass"))
        h.update(repr(sorted((user, sorted(p.items())) for user, p in self.profiles.items())).encode())
        return h.hexdigest()


def _offsets(sizes: ArrayLike) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _by_first_use(numbers: Ints, size: int) -> tuple[Ints, Ints]:
    """Return the numbers below ``size`` in order of first use, and ``numbers`` renumbered so."""
    first = np.full(size, -1, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    used = np.flatnonzero(first >= 0)
    used = used[np.argsort(first[used])]
    renumbered = np.empty(size, np.int64)
    renumbered[used] = np.arange(len(used))
    return used, renumbered[numbers]


def _with_ties_among_the_rest(population: Population, pairs: Pairs, sizes: Ints) -> Pairs:
    """Add the pairs of an n-way tie that do not involve its first option (rare, so a plain loop)."""
    wide = np.flatnonzero((population.chosen < 0) & (sizes > 2))
    if not len(wide):
        return pairs
    extra: list[tuple[int, int, int]] = []
    for row in wide.tolist():
        items = population.options[population.option_offsets[row] : population.option_offsets[row + 1]]
        left, right = np.triu_indices(len(items) - 1, k=1)
        extra += [(row, int(a), int(b)) for a, b in zip(items[1:][left], items[1:][right], strict=True)]
    rows, winners, losers = np.array(extra, np.int64).T
    more = Pairs(population.row_user[rows], winners, losers, np.full(len(rows), 0.5), rows)
    joined = Pairs(
        np.concatenate([pairs.user, more.user]),
        np.concatenate([pairs.winner, more.winner]),
        np.concatenate([pairs.loser, more.loser]),
        np.concatenate([pairs.target, more.target]),
        np.concatenate([pairs.row, more.row]),
    )
    return joined.take(np.argsort(joined.row, kind="stable"))
