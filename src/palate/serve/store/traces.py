"""The bytes of deleted rows: what it takes until a database lets go of them, and what it cannot promise.

SQLite overwrites deleted rows with zeros (``secure_delete``), but a page that was split or merged before may
still hold a copy of rows that moved, in the space between its rows: with random inserts this met one user in
twenty. Only writing the file anew (VACUUM) takes those out. It costs a second for every 100 MB or so, in
which nobody else writes, so that a small file is written anew with every deletion, a middling one right
after it, and a large one when the operator asks for it (:func:`compact`). Then the
write-ahead log is emptied.

PostgreSQL frees the space of deleted rows (VACUUM), and overwrites it when it needs it.
"""

import threading
import time
from contextlib import suppress

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from palate.core import StorageError
from palate.serve.store.schema import OF_USERS, audit
from palate.serve.store.store import Store

__all__ = ["SMALL", "clear", "compact", "left"]

SMALL, MIDDLE = 4 * 2**20, 64 * 2**20
"""Bytes up to which a SQLite file is written anew before a deletion returns, and soon after it did."""
_PATIENCE = 10.0
_VACUUM = "VACUUM " + ", ".join(table.name for table in (*OF_USERS, audit))
_FRAGMENTS = (
    "fragments of rows in unused parts of the database file's pages, if rows were moved there before: until "
    "`palate serve compact` is run"
)
_FRAGMENTS_NOW = _FRAGMENTS.partition(": until")[0] + ": for some seconds, until the file is written anew"
_PAGES = "freed space in PostgreSQL's files and its write-ahead log: until PostgreSQL uses it again"


def left(store: Store) -> list[str]:
    """Return what remains of deleted rows in the database's own files, and until when."""
    if store.backend == "postgresql":
        return [_PAGES]
    with store.read() as c:
        size = _size(c)
    return [] if size <= SMALL else [_FRAGMENTS_NOW if size <= MIDDLE else _FRAGMENTS]


def clear(store: Store) -> None:
    """Have the database let go of the bytes of rows that were deleted, as far as that is quick.

    A log that a long reader holds is emptied in the background, as soon as it can be.
    """
    if store.backend == "postgresql":
        with store.alone() as c:
            c.exec_driver_sql(_VACUUM)
        return
    with store.alone() as c:
        size = _size(c)
        if size <= SMALL:
            _anew(c)
        if not _emptied(c, 0.05) or SMALL < size <= MIDDLE:
            threading.Thread(target=_clear_later, args=(store,), daemon=True).start()


def compact(store: Store) -> None:
    """Write the whole database anew, without any trace of deleted rows; nobody else writes meanwhile.

    Raises:
        StorageError: If the database is in use all the time, or there is no room for a second copy.
    """
    with store.alone() as c:
        if store.backend == "postgresql":
            c.exec_driver_sql(_VACUUM.replace("VACUUM", "VACUUM (FULL)"))
            c.exec_driver_sql("CHECKPOINT")
            return
        c.exec_driver_sql("PRAGMA temp_store = DEFAULT").close()  # a large copy does not fit into memory
        try:
            _anew(c)
        finally:
            c.exec_driver_sql("PRAGMA temp_store = MEMORY").close()
        if not _emptied(c, _PATIENCE):
            raise StorageError("somebody keeps reading, so that the write-ahead log stays: try again")


def _size(c: Connection) -> int:
    pages = int(c.exec_driver_sql("PRAGMA page_count").scalar_one())
    return pages * int(c.exec_driver_sql("PRAGMA page_size").scalar_one())


def _anew(c: Connection) -> None:
    """Write a SQLite file anew, as soon as no other process writes."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            c.exec_driver_sql("VACUUM").close()
            return
        except DBAPIError as error:
            if "locked" not in str(error.orig) or time.monotonic() > until:
                raise
            time.sleep(0.002)


def _emptied(c: Connection, patience: float) -> bool:
    """Empty SQLite's write-ahead log; returns whether that came through."""
    until = time.monotonic() + patience
    c.exec_driver_sql("PRAGMA busy_timeout = 0").close()  # its own waiting is long, and holds writers up
    try:
        while True:
            busy = c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
            if busy is not None and not busy[0]:
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
    finally:
        c.exec_driver_sql("PRAGMA busy_timeout = 10000").close()


_waiting, _working = threading.Semaphore(1), threading.Lock()


def _clear_later(store: Store) -> None:
    """Write a file of middle size anew and empty its log; deletions meanwhile share the next turn."""
    if not _waiting.acquire(blocking=False):
        return
    with _working, suppress(StorageError):  # closed meanwhile: the last one to close the file empties the log
        _waiting.release()
        with store.alone() as c:
            if SMALL < _size(c) <= MIDDLE:
                _anew(c)
            while not _emptied(c, _PATIENCE):
                pass
