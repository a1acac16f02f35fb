"""Texts of a request as columns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import Conversation, Corpus, Personas, PopulationBuilder, Queries, Turn
from palate.serve.wire.texts import Message

__all__ = ["Offered", "offered", "talk_of"]

Ints = NDArray[np.int64]


def talk_of(messages: Sequence[Message]) -> Conversation:
    """Return a request's conversation."""
    return tuple(Turn(message.role, message.content) for message in messages)


class Offered(NamedTuple):
    """Options on offer, row after row.

    Attributes:
        corpus: The texts.
        options: int64 [options], items of the corpus.
        offsets: int64 [rows + 1], where each row's options begin.
    """

    corpus: Corpus
    options: Ints
    offsets: Ints

    def asked_of(self, personas: Personas, who: Ints | None = None) -> Queries:
        """Ask about every row; ``who`` is the persona of each, the first by default."""
        who = np.zeros(len(self.offsets) - 1, np.int64) if who is None else who
        return Queries(personas, self.corpus, who, self.options, self.offsets)

    def take(self, rows: Ints) -> "Offered":
        """Return some rows, over the same texts."""
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        shift = np.repeat(self.offsets[rows] - offsets[:-1], sizes)
        return Offered(self.corpus, self.options[np.arange(offsets[-1]) + shift], offsets)

    def times(self, count: int) -> "Offered":
        """Return all rows ``count`` times over."""
        sizes = np.tile(np.diff(self.offsets), count)
        return Offered(self.corpus, np.tile(self.options, count), np.concatenate([[0], np.cumsum(sizes)]))


def offered(rows: Sequence[tuple[Conversation, Sequence[str]]]) -> Offered:
    """Lay rows of responses side by side; a row may have a single one.

    >>> offered([((Turn("user", "Hi"),), ["Hello!", "Yo."])]).offsets.tolist()
    [0, 2]
    """
    builder = PopulationBuilder()
    for number, (talk, responses) in enumerate(rows):
        builder.add(str(number), talk, list(responses), 0)
    columns = builder.build()
    return Offered(columns.corpus, columns.options, columns.option_offsets)
