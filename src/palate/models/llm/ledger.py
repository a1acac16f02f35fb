"""What was asked and what it cost, by method, user and program.

A *request* is what a method asked for. It was answered by a *paid* call made now, by a *kept* answer, or by a
call that another request had on its way (*shared*); a request whose answer had to be asked for again has more
than one paid call. Tokens, dollars and seconds are those of paid calls.
"""

import threading
import time
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["COUNTS", "FAULTS", "Ledger", "Who"]

COUNTS = (
    "requests",
    "paid",
    "kept",
    "shared",
    "tokens_in",
    "tokens_out",
    "seconds",
    "shortened",
    "repairs",
    "retries",
    "interrupted",
    "compared",
    "torn",
    "silent",
)
"""What is counted. ``shortened``: prompts that were cut to what the model reads. ``repairs``: answers that
were asked for again, in the right form or at greater length. ``retries``: calls sent again after an error.
``interrupted``: calls that were on their way when a process died, and were made again. ``compared``: pairs of
answers that were judged; ``torn``: those whose two orders contradict each other, ``silent``: those of which
neither order gave an answer that could be read."""
FAULTS = ("refused", "malformed", "truncated", "timeout", "rate limit", "server", "too long")
"""Why a request got no answer that could be read, as of :class:`palate.models.llm.wire.Fault`."""
_DOLLARS = ("dollars", "unpriced")
_FIELDS = {name: place for place, name in enumerate((*COUNTS, *_DOLLARS, *FAULTS))}


class Who(NamedTuple):
    """On whose behalf a request is made."""

    method: str
    user: str
    program: str


class Ledger:
    """Counts, kept for each method, user and program. Safe with many threads.

    >>> ledger = Ledger()
    >>> ledger.add(Who("pi", "ann", "judge"), requests=2, paid=1, kept=1, tokens_in=90, dollars=0.01)
    >>> before = ledger.snapshot()
    >>> ledger.add(Who("pi", "bob", "judge"), requests=1, malformed=1)
    >>> [(row["user"], row["requests"], row["faults"]) for row in ledger.since(before).table(by="user")]
    [('bob', 1, {'malformed': 1})]
    >>> ledger.total["requests"], ledger.total["dollars"]
    (3, 0.01)
    """

    def __init__(self) -> None:
        self._cells: dict[Who, array[float]] = {}
        self._notes: dict[str, None] = {}
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._elapsed: float | None = None

    def add(self, who: Who, **counts: float) -> None:
        """Add to counts: those of this file, ``dollars``, and ``unpriced`` for calls of no known price."""
        with self._lock:
            cell = self._cells.get(who)
            if cell is None:
                cell = self._cells[who] = array("d", bytes(8 * len(_FIELDS)))
            for name, count in counts.items():
                cell[_FIELDS[name]] += count

    def fault(self, who: Who, kind: str) -> None:
        """Count a request that got no answer that could be read."""
        self.add(who, **{kind: 1})

    def note(self, sentence: str) -> None:
        """Keep a sentence that the reader of the costs should know: once, however often it is said."""
        with self._lock:
            self._notes[sentence] = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out on the way: limits of models, settings that an endpoint does not take."""
        with self._lock:
            return tuple(self._notes)

    @property
    def elapsed(self) -> float:
        """Seconds since the ledger was opened, or of the stretch that it covers."""
        return time.monotonic() - self._began if self._elapsed is None else self._elapsed

    def snapshot(self) -> "Ledger":
        """Return a copy that stays as it is."""
        copy = Ledger()
        with self._lock:
            copy._cells = {who: array("d", cell) for who, cell in self._cells.items()}
            copy._notes = dict(self._notes)
        copy._elapsed = self.elapsed
        return copy

    def since(self, before: "Ledger") -> "Ledger":
        """Return what came after a snapshot."""
        now = self.snapshot()
        for who, cell in before._cells.items():
            rest = array("d", (a - b for a, b in zip(now._cells[who], cell, strict=True)))
            if any(rest):
                now._cells[who] = rest
            else:
                del now._cells[who]
        now._notes = {note: None for note in now._notes if note not in before._notes}
        now._elapsed = self.elapsed - before.elapsed
        return now

    @property
    def total(self) -> Mapping[str, Any]:
        """All counts together, as a row of :meth:`table` without its name."""
        with self._lock:
            return _row(list(self._cells.values()))

    def table(self, by: str = "method") -> list[dict[str, Any]]:
        """Return a row for each method, user or program, in the order in which they first asked.

        A row has the counts by name, ``dollars`` (None where a call's price is not known) and ``faults``,
        a number for each kind that came up.
        """
        groups: dict[str, list[array[float]]] = {}
        with self._lock:
            for who, cell in self._cells.items():
                groups.setdefault(str(getattr(who, by)), []).append(cell)
            return [{by: name, **_row(cells)} for name, cells in groups.items()]


def _row(cells: "list[array[float]]") -> dict[str, Any]:
    sums = [sum(column) for column in zip(*cells, strict=True)] or [0.0] * len(_FIELDS)
    counts = {
        name: sums[place] if name == "seconds" else round(sums[place]) for name, place in _named(COUNTS)
    }
    dollars, unpriced = (sums[place] for _, place in _named(_DOLLARS))
    faults = {name: round(sums[place]) for name, place in _named(FAULTS) if sums[place]}
    return {**counts, "dollars": None if unpriced else dollars, "faults": faults}


def _named(names: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(name, _FIELDS[name]) for name in names]
