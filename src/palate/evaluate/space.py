"""The settings of a space, each once, in an order that covers every field's values early.

Each field deals its values from a shuffled deck, so that a value comes back only after all others have come;
a setting that was seen is passed over. A longer draw begins with the same settings as a shorter one.
"""

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["possible", "settings"]


def settings(
    space: Mapping[str, Sequence[Any]], start: Mapping[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    """Yield every setting of a space once, ``start`` first, the others in an order drawn by the seed.

    >>> list(settings({"x": (1, 2, 3)}, {"x": 2}, seed=0))
    [{'x': 2}, {'x': 3}, {'x': 1}]
    """
    first = {name: start[name] for name in space}
    yield first
    seen = {_written(first)}
    decks = {name: _deck(values, name, seed) for name, values in space.items()}
    while len(seen) < possible(space, start):
        drawn = {name: next(deck) for name, deck in decks.items()}
        if _written(drawn) not in seen:
            seen.add(_written(drawn))
            yield drawn


def possible(space: Mapping[str, Sequence[Any]], start: Mapping[str, Any]) -> int:
    """Return how many settings there are, ``start`` among them.

    >>> possible({"x": (1, 2, 3), "y": (0, 1)}, {"x": 9, "y": 0})
    7
    """
    inside = all(_written(start[name]) in map(_written, values) for name, values in space.items())
    return math.prod(len(set(map(_written, values))) for values in space.values()) + (not inside)


def _deck(values: Sequence[Any], name: str, seed: int) -> Iterator[Any]:
    """Yield values for ever: all of them in a drawn order, then all of them in another."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    while True:
        yield from (values[i] for i in rng.permutation(len(values)))


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
