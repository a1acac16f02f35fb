"""Who makes a call, when several processes share a store: a claim with a lease, taken over from the dead.

A claim is written before a call is sent and goes with the answer. One that is found without its process tells
of a call that was on its way when the process died: it is made again, and counted as *interrupted*.
"""

import os
import socket
import sqlite3
import threading
import time
import zlib
from typing import NamedTuple

from palate.models.llm.engine import Completion
from palate.models.llm.records import Kept, unpack_answer

__all__ = ["CLAIMS", "Claim", "Claims", "kept_answer"]

CLAIMS = """CREATE TABLE IF NOT EXISTS claims (
    key BLOB PRIMARY KEY, run TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL
) WITHOUT ROWID"""
_live: set[str] = set()  # the runs of this process
_lock = threading.Lock()


class Claim(NamedTuple):
    """What became of the wish to make a call.

    Attributes:
        mine: Whether this run is to make it; else another does, or it is kept already.
        kept: The answer, where there is one.
        interrupted: Whether it is taken over from a run that died while it was on its way.
    """

    mine: bool
    kept: Kept | None = None
    interrupted: bool = False


class Claims:
    """The claims of one run, in a connection that the store lends (within its lock and transactions).

    Args:
        run: The run's own name.
    """

    def __init__(self, run: str) -> None:
        self.run, self._host, self._pid = run, socket.gethostname(), os.getpid()
        with _lock:
            _live.add(run)

    def claim(self, connection: sqlite3.Connection, key: bytes, seconds: float) -> Claim:
        """Claim a call for so long, unless it is answered or another living run has it."""
        kept = kept_answer(connection, key)
        if kept is not None:
            return Claim(False, kept)
        found = connection.execute(
            "SELECT run, host, pid, until FROM claims WHERE key = ?", (key,)
        ).fetchone()
        if found is not None and found[0] != self.run and self._lives(*found):
            return Claim(False)
        row = (key, self.run, self._host, self._pid, time.time() + seconds)
        connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)", row)
        return Claim(True, None, found is not None)

    def extend(self, connection: sqlite3.Connection, key: bytes, seconds: float) -> bool:
        """Keep a claim for longer; False if it is no longer this run's."""
        row = (time.time() + seconds, key, self.run)
        return connection.execute("UPDATE claims SET until = ? WHERE key = ? AND run = ?", row).rowcount > 0

    def drop(self, connection: sqlite3.Connection, key: bytes) -> None:
        """Give a claim up."""
        connection.execute("DELETE FROM claims WHERE key = ? AND run = ?", (key, self.run))

    def close(self, connection: sqlite3.Connection | None) -> None:
        """Give all claims up."""
        with _lock:
            _live.discard(self.run)
        if connection is not None:
            connection.execute("DELETE FROM claims WHERE run = ?", (self.run,))

    def _lives(self, run: str, host: str, pid: int, until: float) -> bool:
        if time.time() > until:
            return False
        if host != self._host or os.name != "posix":
            return True  # nobody here can tell: the lease decides
        if pid == os.getpid():
            with _lock:
                return run in _live
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def kept_answer(connection: sqlite3.Connection, key: bytes) -> Kept | None:
    """Return a kept answer, or None."""
    row = connection.execute(
        "SELECT answer, finish, tokens_in, tokens_out, seconds FROM calls WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    try:
        text, logprobs = unpack_answer(row[0])
    except (zlib.error, ValueError):
        return None  # a damaged row: asked for again, and replaced
    return Kept(Completion(text, row[1], row[2], row[3], logprobs), row[4])
