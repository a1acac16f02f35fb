"""What models are asked about: each conversation with two answers once, in an order that tells nothing.

Many people choose between the same two answers. They are one question, whoever chose what. Which answer is
its first is decided by a hash of the texts, so that neither a model nor a score sees the choice.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.core import Conversation, Corpus
from palate.curate.table import Table

__all__ = ["Questions", "questions_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Questions:
    """The distinct questions of some pairs.

    Attributes:
        corpus: The texts.
        items: int64 [questions, 2], the two answers.
        of_row: int64 [rows], the question of each pair, -1 where it is asked about none.
        swapped: bool [rows]: whether the chosen answer is the question's second.
        users: object [questions], who met it first: in whose name it is asked.
    """

    corpus: Corpus
    items: Ints
    of_row: Ints
    swapped: NDArray[np.bool_]
    users: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.items)

    def conversation(self, question: int) -> Conversation:
        """Return the conversation of a question."""
        return self.corpus.conversation(int(self.items[question, 0]))

    def answers(self, question: int) -> tuple[str, str]:
        """Return the two answers of a question."""
        first, second = self.items[question].tolist()
        return self.corpus.response(first), self.corpus.response(second)


def questions_of(table: Table, rows: NDArray[np.bool_]) -> Questions:
    """Return the questions of some pairs (a mask), in order of first use."""
    corpus = table.people.corpus
    pairs = table.people.options.reshape(-1, 2)
    index = np.flatnonzero(rows)
    used = np.unique(pairs[index])
    rank = np.zeros(len(corpus), np.int64)
    rank[used] = np.argsort(np.argsort([_digest(corpus.response(item)) for item in used.tolist()]))
    swapped = np.zeros(len(pairs), dtype=bool)
    swapped[index] = rank[pairs[index, 0]] > rank[pairs[index, 1]]
    first, second = np.where(swapped[:, None], pairs[:, ::-1], pairs)[index].T
    _, place, of = np.unique(first * (len(corpus) + 1) + second, return_index=True, return_inverse=True)
    order = np.argsort(place, kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    of_row = np.full(len(pairs), -1, np.int64)
    of_row[index] = number[of]
    items = np.stack([first, second], axis=1)[place[order]]
    people = table.people
    return Questions(corpus, items, of_row, swapped, people.users[people.row_user[index[place[order]]]])


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
