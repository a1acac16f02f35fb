"""Where a text stands on the world's eight axes.

The world's own texts are known by heart, whatever their white space; one that was cut, or that something
was added to, is known by its beginning and its end. Any other text is placed by its style features f [14]
(``palate.models.style``),

    axes = clip(f W + b, -1.5, 1.5)

with W and b by ridge regression on the world's texts, learned on first use. Across prompts that it did not
learn from, this correlates with the true axes by 0.96 for length and structure, 0.8 for formality and
hedging, 0.5 to 0.6 for warmth, technical and examples, and 0.15 for leaning, which style hardly shows.
"""

import re
from bisect import bisect_left
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.feedback.world_answers import AXES, world_answers
from palate.models.style import style_features

__all__ = ["answers_to", "place"]

Floats = NDArray[np.float64]
_CUT = re.compile(r"\s*(?:\[\.\.\.\]|…|\.\.\.$)\s*")
_KNOWN_BY = 24  # characters by which a beginning or an end is recognised
_RIDGE = 5.0


class _Memory(NamedTuple):
    """The world's texts: exact, and sorted from either end."""

    item: dict[str, int]
    forward: list[tuple[str, int]]
    backward: list[tuple[str, int]]


def place(text: str) -> Floats:
    """Return float64 [8]: where a text stands on the axes of ``AXES``, from -1.5 to 1.5.

    >>> from palate.feedback.world_answers import world_answers
    >>> world = world_answers()
    >>> bool((place("  " + world.corpus.response(7)) == world.axes[7]).all())
    True
    """
    return np.array(_place(" ".join(text.split())))


@lru_cache(maxsize=16_384)
def _place(text: str) -> tuple[float, ...]:
    item = _memory().item.get(text)
    axes = world_answers().axes[item] if item is not None else _cut_place(text)
    return tuple(_estimate(text) if axes is None else axes)


def answers_to(conversation: str) -> NDArray[np.int64]:
    """Return the items of the world that answer a conversation: int64 [48], or none for an unknown one.

    >>> len(answers_to("I have some money left over each month. What should I do with it?"))
    48
    """
    prompt = _prompts().get(" ".join(conversation.split()))
    if prompt is None:
        last = conversation.rpartition("user: ")[2]
        prompt = _prompts().get(" ".join(last.split()))
    if prompt is None:
        return np.zeros(0, np.int64)
    return np.flatnonzero(world_answers().corpus.item_conversation == prompt)


@cache
def _memory() -> _Memory:
    corpus = world_answers().corpus
    texts = [" ".join(corpus.response(item).split()) for item in range(len(corpus))]
    forward = sorted((text, item) for item, text in enumerate(texts))
    backward = sorted((text[::-1], item) for item, text in enumerate(texts))
    return _Memory({text: item for item, text in enumerate(texts)}, forward, backward)


@cache
def _prompts() -> dict[str, int]:
    corpus = world_answers().corpus
    return {
        " ".join(conversation[-1].content.split()): number
        for number, conversation in enumerate(corpus.conversations)
    }


def _cut_place(text: str) -> Floats | None:
    """Place a text that was cut or added to by its ends; None if it is none of the world's."""
    whole = _longest_within(text)
    if whole is not None:
        return np.asarray(world_answers().axes[whole])
    parts = _CUT.split(text)
    head, tail = parts[0], parts[-1] if len(parts) > 1 else ""
    starts, ends = _with(head, _memory().forward), _with(tail[::-1], _memory().backward)
    both = starts & ends if starts and ends else starts or ends
    return np.asarray(world_answers().axes[sorted(both)].mean(axis=0)) if both else None


def _longest_within(text: str) -> int | None:
    """Return the item with the longest text that this one begins with, if there is one."""
    table = _memory().forward
    at = bisect_left(table, (text, -1)) - 1
    while at >= 0 and table[at][0][:_KNOWN_BY] == text[:_KNOWN_BY]:
        if text.startswith(table[at][0]):
            return table[at][1]
        at -= 1
    return None


def _with(beginning: str, table: list[tuple[str, int]]) -> set[int]:
    """Return the items whose text begins so; none for a beginning too short to tell."""
    found: set[int] = set()
    if len(beginning) < _KNOWN_BY:
        return found
    at = bisect_left(table, (beginning, -1))
    while at < len(table) and table[at][0].startswith(beginning):
        found.add(table[at][1])
        at += 1
    return found


@cache
def _weights() -> Floats:
    """Return float64 [15, 8]: ridge weights from style features and a constant to the axes."""
    world = world_answers()
    features = _features([world.corpus.response(item) for item in range(len(world.corpus))])
    gram = features.T @ features + _RIDGE * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(gram, features.T @ world.axes), np.float64)


def _features(texts: list[str]) -> Floats:
    return np.concatenate([style_features(texts).astype(np.float64), np.ones((len(texts), 1))], axis=1)


def _estimate(text: str) -> Floats:
    if not text:
        return np.zeros(len(AXES))
    return np.asarray(np.clip((_features([text]) @ _weights())[0], -1.5, 1.5))
