"""Vectors on disk, found again by content: one SQLite file an encoder key, shared by processes.

    folder:  $PALATE_CACHE, otherwise ~/.cache/palate/embeddings; "off" keeps nothing on disk
    file:    the hash of the encoder's key, so that a changed setting misses
    row:     blake2b-16 of the rendered text  ->  the vector's float32 bytes

Every batch is committed as it is put in, so an interruption loses at most one. Nothing that goes wrong
here stops an encoding: a damaged file is moved aside and begun again, and on a full disk or in a
read-only folder the work goes on uncached; each time one warning says so. Delete the folder to free
its space.
"""

import hashlib
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["EmbeddingCache", "cache_folder", "kept_on_disk", "text_key"]

_T = TypeVar("_T")
_SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
_ASK = 900  # keys in one query; SQLite takes at least 999
_BUSY_SECONDS = 30.0
_DAMAGE = (
    "not a database",
    "malformed",
    "file is encrypted",
    "no such column",
    "no such table",
)


def cache_folder() -> Path:
    """Return ``$PALATE_CACHE``, or ``~/.cache/palate/embeddings`` where it is not set."""
    named = os.environ.get("PALATE_CACHE", "")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "palate" / "embeddings"


def kept_on_disk() -> bool:
    """Say whether vectors are kept on disk: not where ``$PALATE_CACHE`` is "off"."""
    return os.environ.get("PALATE_CACHE", "") != "off"


def text_key(text: str) -> bytes:
    """Return the key of a rendered text: 16 bytes.

    >>> text_key("hello").hex()[:8], len(text_key(""))
    ('46fb7408', 16)
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class EmbeddingCache:
    """The vectors of one encoder. Safe with several threads and several processes at once.

    Args:
        encoder_key: The encoder's ``key``.
        dim: Length of its vectors.
        folder: Where the files are; None is :func:`cache_folder`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, EmbeddingCache("demo", 2, Path(folder)) as cache:
    ...     cache.put_many([text_key("a")], np.array([[1, 2]], np.float32))
    ...     found, vectors = cache.get_many([text_key("a"), text_key("b")])
    >>> found.tolist(), vectors.tolist()
    ([True, False], [[1.0, 2.0], [0.0, 0.0]])
    """

    def __init__(self, encoder_key: str, dim: int, folder: Path | None = None) -> None:
        name = hashlib.blake2b(f"{encoder_key}\0{dim}".encode(), digest_size=16).hexdigest()
        self.path = (cache_folder() if folder is None else folder) / f"{name}.sqlite"
        self._dim, self._lock = dim, threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._may_write = True
        self._guarded(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put in is kept."""
        with self._lock:
            self._drop()

    def get_many(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Look vectors up.

        Args:
            keys: n keys, as of :func:`text_key`.

        Returns:
            found: bool [n].
            vectors: float32 [n, dim], zeros where not found.
        """
        found = np.zeros(len(keys), np.bool_)
        vectors = np.zeros((len(keys), self._dim), np.float32)
        for start in range(0, len(keys), _ASK):
            part = list(keys[start : start + _ASK])
            rows = self._guarded(partial(self._select, part)) or {}
            for i, key in enumerate(part, start):
                value = rows.get(key)
                if value is not None and len(value) == 4 * self._dim:
                    found[i], vectors[i] = True, np.frombuffer(value, "<f4")
        return found, vectors

    def put_many(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Keep vectors, float32 [n, dim], and commit. Trouble warns once and is no error."""
        if not self._may_write:
            return
        little = np.ascontiguousarray(vectors, "<f4")
        rows = [(key, row.tobytes()) for key, row in zip(keys, little, strict=True)]
        if not self._guarded(partial(self._insert, rows)) and self._may_write:
            self._guarded(partial(self._insert, rows))  # a damaged file was replaced: into the new one

    # ---- the file, always under the lock ------------------------------------------------------

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_SCHEMA)

    def _open_to_read(self) -> None:
        """Open a file only to read; without locks (immutable) where its folder lets nobody lock it."""
        address = f"{self.path.resolve().as_uri()}?mode=ro"
        for more in ("", "&immutable=1"):
            self._drop()
            self._connection = sqlite3.connect(address + more, uri=True, check_same_thread=False)
            try:
                self._connection.execute("SELECT key, value FROM vectors LIMIT 1").fetchone()
                return
            except sqlite3.OperationalError:
                if more:
                    raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _select(self, keys: list[bytes]) -> dict[bytes, bytes]:
        if self._connection is None:
            return {}
        marks = ",".join("?" * len(keys))
        return dict(self._connection.execute(f"SELECT key, value FROM vectors WHERE key IN ({marks})", keys))

    def _insert(self, rows: list[tuple[bytes, bytes]]) -> bool:
        connection = self._connection
        if connection is None or not self._may_write:
            return False
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return True

    # ---- trouble ------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], _T]) -> _T | None:
        """Do some work on the file; mend or give the cache up, with a warning, where it fails."""
        complaint = ""
        try:
            with self._lock:
                try:
                    return work()
                except (sqlite3.Error, OSError) as error:
                    complaint = self._recover(error)
        finally:
            if complaint:
                warnings.warn(complaint, stacklevel=4)
        return None

    def _recover(self, error: Exception) -> str:
        reason = str(error).lower()
        self._drop()
        if isinstance(error, sqlite3.DatabaseError) and any(sign in reason for sign in _DAMAGE):
            return self._begin_again(error)
        self._may_write = False
        try:
            self._open_to_read()
            rest = "what it holds is still used, new vectors are not kept"
        except (sqlite3.Error, OSError):
            self._drop()
            rest = "encoding goes on without it"
        return (
            f"the embedding cache {self.path} cannot be written ({error}): {rest}; free some space, "
            "mend the folder's permissions, or set PALATE_CACHE to another folder"
        )

    def _begin_again(self, error: Exception) -> str:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        try:
            for ending in ("-wal", "-shm"):
                Path(f"{self.path}{ending}").unlink(missing_ok=True)
            if self.path.exists():
                self.path.replace(aside)
            self._open()
        except (sqlite3.Error, OSError) as second:
            self._drop()
            self._may_write = False
            return f"the embedding cache {self.path} is damaged ({error}) and cannot be replaced ({second})"
        return (
            f"the embedding cache {self.path} was damaged ({error}); it was moved to {aside} and begun again"
        )
