"""Fingerprints of rows, so that equal ones are found by sorting and not by a loop."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Population

__all__ = [
    "chosen_item",
    "conversation_of_rows",
    "dialogue_of_rows",
    "equal_rows",
    "mix",
    "option_keys",
    "question_keys",
]

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]


def mix(values: NDArray[Any]) -> Keys:
    """Return uint64 [n]: the numbers scattered over all 64 bits (splitmix64).

    >>> mix(np.array([1, 2])).tolist()
    [10451216379200822465, 10905525725756348110]
    """
    z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def option_keys(population: Population) -> Keys:
    """Return uint64 [rows]: equal where the same options are on offer, in any order."""
    if not population.n_rows:
        return np.zeros(0, np.uint64)
    return np.add.reduceat(mix(population.options), population.option_offsets[:-1])


def question_keys(population: Population) -> Keys:
    """Return uint64 [rows]: equal where the same user was offered the same options."""
    return mix(option_keys(population) ^ mix(population.row_user + 1))


def chosen_item(population: Population) -> Ints:
    """Return int64 [rows]: the item that was chosen, -1 for a tie."""
    best = population.options[population.option_offsets[:-1] + np.maximum(population.chosen, 0)]
    return np.where(population.chosen < 0, -1, best)


def conversation_of_rows(population: Population) -> Ints:
    """Return int64 [rows]: the conversation of each row."""
    return population.corpus.item_conversation[population.options[population.option_offsets[:-1]]]


def dialogue_of_rows(population: Population) -> Ints:
    """Return int64 [rows]: the dialogue of each row; all turns of one opening are one dialogue.

    The opening is a conversation up to its first turn by the user. A row on the third turn of a chat thus
    has the dialogue of the row on its first.
    """
    number: dict[Any, int] = {}
    dialogue = []
    for conversation in population.corpus.conversations:
        first = next((i for i, turn in enumerate(conversation) if turn.role == "user"), len(conversation))
        dialogue.append(number.setdefault(tuple(conversation[: first + 1]), len(number)))
    return np.asarray(dialogue, np.int64)[conversation_of_rows(population)]


def equal_rows(population: Population) -> NDArray[np.bool_]:
    """Return bool [rows]: True where an earlier row is the same in all but its id and reason."""
    key = question_keys(population) ^ mix(chosen_item(population) + 1)
    times, split = population.times, population.split
    order = np.lexsort((split, times, key))
    a, b = order[:-1], order[1:]
    same_time = (times[a] == times[b]) | (np.isnan(times[a]) & np.isnan(times[b]))
    equal = np.zeros(population.n_rows, dtype=bool)
    equal[b] = (key[a] == key[b]) & same_time & (split[a] == split[b])
    return equal
