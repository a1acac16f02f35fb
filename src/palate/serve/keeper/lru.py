"""A table of limited size that several threads share: what was used longest ago goes first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lru"]


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """What was made for a key, for the latest ``size`` keys.

    >>> table = Lru[str, int](2)
    >>> table.put("a", 1); table.put("b", 2); table.get("a"); table.put("c", 3)
    1
    >>> table.get("b") is None, len(table)
    (True, 2)
    """

    def __init__(self, size: int) -> None:
        self._size, self._rows, self._lock = size, OrderedDict[K, V](), threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: K) -> V | None:
        """Return what is kept for a key, or None."""
        with self._lock:
            value = self._rows.get(key)
            if value is not None:
                self._rows.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        """Keep a value for a key; the one used longest ago makes room."""
        with self._lock:
            self._rows[key] = value
            self._rows.move_to_end(key)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)

    def drop(self, key: K) -> bool:
        """Forget a key; return whether it was known."""
        with self._lock:
            return self._rows.pop(key, None) is not None

    def drop_where(self, unwanted: Callable[[K], bool]) -> int:
        """Forget all keys for which ``unwanted`` holds; return how many."""
        with self._lock:
            gone = [key for key in self._rows if unwanted(key)]
            for key in gone:
                del self._rows[key]
            return len(gone)

    def known(self) -> list[K]:
        """Return the keys that are kept now."""
        with self._lock:
            return list(self._rows)
