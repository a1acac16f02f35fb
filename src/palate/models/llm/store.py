"""Every call that was answered, found again by content: one SQLite file, shared by processes.

    folder:  $PALATE_LM_STORE, otherwise ~/.cache/palate/lm
    calls    key of the whole request -> prompt, settings, answer, tokens, seconds (zlib)
    uses     whom a call served: user, method, run
    claims   calls on their way
    models   what was learned of a model: what it reads, which settings it does not take

An answer is committed before it is used, and a commit survives the end of the process in any way. Answers
that could not be read are kept too: they were paid. Keys of endpoints are never written. A damaged file is
moved aside and begun again with a warning; a file that cannot be written is an error, because every answer
that cannot be kept is paid for twice.
"""

import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from palate.core import ConfigError, StorageError
from palate.models.llm.claims import CLAIMS, Claim, Claims, kept_answer
from palate.models.llm.records import Call, Kept, Packed, Use, unpack_answer, unpack_prompt

__all__ = ["Store", "store_folder"]

_T = TypeVar("_T")
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS calls (
        number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, program TEXT NOT NULL,
        prompt BLOB NOT NULL, answer BLOB NOT NULL, finish TEXT NOT NULL, tokens_in INTEGER NOT NULL,
        tokens_out INTEGER NOT NULL, seconds REAL NOT NULL, made REAL NOT NULL, fault TEXT NOT NULL DEFAULT ''
    )""",
    """CREATE TABLE IF NOT EXISTS uses (
        user TEXT NOT NULL, method TEXT NOT NULL, key BLOB NOT NULL, run TEXT NOT NULL,
        PRIMARY KEY (user, method, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS uses_of_key ON uses (key)",
    """CREATE TABLE IF NOT EXISTS models (
        model TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (model, name)
    ) WITHOUT ROWID""",
    CLAIMS,
)
_COLUMNS = "number, key, model, program, prompt, answer, finish, tokens_in, tokens_out, seconds, made, fault"
_PUT = f"INSERT OR REPLACE INTO calls ({', '.join(Packed._fields)}) VALUES ({', '.join('?' * 10)})"
_USE = "INSERT INTO uses VALUES (?, ?, ?, ?) ON CONFLICT (user, method, key) DO UPDATE SET run = excluded.run"
_PAGE = 100
_BUSY_SECONDS = 60.0
_DAMAGE = ("not a database", "malformed", "file is encrypted", "no such column", "no such table")


def store_folder() -> Path:
    """Return ``$PALATE_LM_STORE``, or ``~/.cache/palate/lm`` where it is not set."""
    named = os.environ.get("PALATE_LM_STORE", "")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "palate" / "lm"


class Store:
    """The kept calls. Safe with several threads and several processes at once.

    Args:
        folder: Where the file is; None is :func:`store_folder`.
        run: Name of the run that calls are made in.

    Raises:
        StorageError: If it cannot be opened to write.
    """

    def __init__(self, folder: Path | None = None, run: str = "") -> None:
        self.path = self.file(folder)
        self.run = run
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._claims = Claims(run)
        self._do(lambda connection: None)

    @staticmethod
    def file(folder: Path | None) -> Path:
        """Return where the file of a folder is, or would be."""
        return (store_folder() if folder is None else folder) / "calls.sqlite"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up all claims and close the file."""
        with self._lock:
            with suppress(sqlite3.Error):  # the lease of what is not given up ends by itself
                self._claims.close(self._connection)
            self._shut()

    # ---- answers ------------------------------------------------------------------------------

    def get(self, keys: Iterable[str]) -> dict[str, Kept]:
        """Return the kept answers among these keys."""
        wanted = [(key, bytes.fromhex(key)) for key in keys]

        def look(connection: sqlite3.Connection) -> dict[str, Kept]:
            found = ((key, kept_answer(connection, packed)) for key, packed in wanted)
            return {key: kept for key, kept in found if kept is not None}

        return self._do(look)

    def claim(self, key: str, seconds: float) -> Claim:
        """Claim a call for so many seconds; see :class:`palate.models.llm.claims.Claim`."""
        return self._change(lambda connection: self._claims.claim(connection, bytes.fromhex(key), seconds))

    def extend(self, key: str, seconds: float) -> bool:
        """Keep a claim for so many seconds from now; False if it is no longer this run's."""
        return self._change(lambda connection: self._claims.extend(connection, bytes.fromhex(key), seconds))

    def drop(self, key: str) -> None:
        """Give a claim up without an answer."""
        self._change(lambda connection: self._claims.drop(connection, bytes.fromhex(key)))

    def put(self, call: Packed, uses: Sequence[Use]) -> None:
        """Keep an answer and whom it serves, and give its claim up: all of it or nothing."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, call)
            connection.executemany(_USE, [(u.user, u.method, call.key, self.run) for u in uses])
            self._claims.drop(connection, call.key)

        self._change(write)

    def used(self, uses: Sequence[tuple[str, Use]]) -> None:
        """Note whom kept answers served."""
        rows = [(use.user, use.method, bytes.fromhex(key), self.run) for key, use in uses]
        self._change(lambda connection: connection.executemany(_USE, rows))

    def mark(self, key: str, fault: str) -> None:
        """Note that an answer could not be used."""
        row = (fault, bytes.fromhex(key), fault)
        self._change(
            lambda connection: connection.execute(
                "UPDATE calls SET fault = ? WHERE key = ? AND fault <> ?", row
            )
        )

    # ---- what was learned of models -----------------------------------------------------------

    def learned(self, model: str) -> dict[str, float]:
        """Return what was learned of a model."""
        return self._do(
            lambda connection: dict(
                connection.execute("SELECT name, value FROM models WHERE model = ?", (model,))
            )
        )

    def learn(self, model: str, name: str, value: float) -> None:
        """Remember something of a model."""
        row = (model, name, value)
        self._change(lambda c: c.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", row))

    # ---- for people ---------------------------------------------------------------------------

    def calls(
        self,
        *,
        user: str | None = None,
        method: str | None = None,
        program: str | None = None,
        key: str = "",
        faults: bool = False,
        limit: int | None = None,
    ) -> Iterator[Call]:
        """Yield kept calls, the newest first.

        Args:
            user: Those that served this user.
            method: Those that served this method.
            program: Those of a program, by name (``judge``) or by its whole key.
            key: Those whose key begins so.
            faults: Those alone whose answers could not be used.
            limit: At most so many.

        Raises:
            ConfigError: If the key is no beginning of one.
        """
        where, values = _conditions(user, method, program, key, faults)
        last, left = 1 << 62, 1 << 62 if limit is None else limit
        while left > 0:
            sql = f"SELECT {_COLUMNS} FROM calls WHERE number < ? {where} ORDER BY number DESC LIMIT ?"
            rows = self._page(sql, (last, *values, min(_PAGE, left)))
            yield from (call for _, call in rows)
            if not rows:
                return
            last, left = rows[-1][0], left - len(rows)

    def forget(self, user: str) -> int:
        """Erase every call that served this user alone, and who this user was; return how many calls.

        What stood in the erased calls is overwritten in the file. Copies that were moved aside as damaged
        are not touched.
        """

        def erase(connection: sqlite3.Connection) -> int:
            alone = (
                "DELETE FROM calls WHERE key IN (SELECT key FROM uses WHERE user = ?) AND NOT EXISTS "
                "(SELECT 1 FROM uses WHERE uses.key = calls.key AND uses.user <> ?)"
            )
            erased = connection.execute(alone, (user, user)).rowcount
            connection.execute("DELETE FROM uses WHERE user = ?", (user,))
            return erased

        with self._lock:
            self._do(lambda connection: connection.execute("PRAGMA secure_delete = ON"))
            erased = self._change(erase)
            self._do(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
            self._do(lambda connection: connection.execute("PRAGMA secure_delete = OFF"))
        return erased

    def _page(self, sql: str, values: Sequence[Any]) -> list[tuple[int, Call]]:
        def read(connection: sqlite3.Connection) -> list[tuple[int, Call]]:
            found = connection.execute(sql, values).fetchall()
            served = "SELECT user, method, run FROM uses WHERE key = ?"
            return [
                (row[0], _call(row, [Use(*use) for use in connection.execute(served, (row[1],))]))
                for row in found
            ]

        return self._do(read)

    # ---- the file -----------------------------------------------------------------------------

    def _change(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do some work in a transaction."""

        def whole(connection: sqlite3.Connection) -> _T:
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        return self._do(whole)

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do some work on the file; once more on a new one where it is damaged."""
        complaint = ""
        try:
            with self._lock:
                try:
                    return work(self._connection or self._open())
                except sqlite3.DatabaseError as error:
                    if not any(sign in str(error).lower() for sign in _DAMAGE):
                        raise
                    complaint = self._aside(error)
                    return work(self._connection or self._open())
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"the store of language-model calls {self.path} cannot be used ({error}): free some space, "
                "mend the folder's permissions, or set PALATE_LM_STORE to another folder"
            ) from error
        finally:
            if complaint:
                warnings.warn(complaint, stacklevel=4)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = not self.path.exists()
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("SELECT number FROM calls LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        if new:
            self.path.chmod(0o600)
        self._connection = connection
        return connection

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _aside(self, error: Exception) -> str:
        self._shut()
        aside = self.path.with_name(f"{self.path.name}.damaged")
        for ending in ("-wal", "-shm"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        if self.path.exists():
            self.path.replace(aside)
        return (
            f"the store of language-model calls {self.path} was damaged ({error}); it was moved to {aside} "
            "and begun again: calls that it held are made and paid anew"
        )


def _conditions(
    user: str | None, method: str | None, program: str | None, key: str, faults: bool
) -> tuple[str, list[Any]]:
    """Return what a row must meet, as SQL and its values."""
    where, values = "", []
    by = [(column, value) for column, value in (("user", user), ("method", method)) if value is not None]
    if by:
        served = " AND ".join(f"uses.{column} = ?" for column, _ in by)
        where += f" AND EXISTS (SELECT 1 FROM uses WHERE uses.key = calls.key AND {served})"
        values += [value for _, value in by]
    if program is not None:
        where += " AND (program = ? OR program GLOB ?)"
        values += [program, f"{program}/*"]
    if key:
        try:
            low, high = (bytes.fromhex(key.ljust(32, digit)) for digit in "0f")
        except ValueError as error:
            raise ConfigError(
                f"{key!r} is no beginning of a call's key, which is 32 digits of 0-9 and a-f: copy it from "
                "`palate trace`"
            ) from error
        where += " AND key BETWEEN ? AND ?"
        values += [low, high]  # type: ignore[list-item]
    return where + (" AND fault <> ''" if faults else ""), values


def _call(row: Sequence[Any], uses: Sequence[Use]) -> Call:
    _, key, model, program, prompt, answer, finish, tokens_in, tokens_out, seconds, made, fault = row
    settings, messages = unpack_prompt(prompt)
    text, logprobs = unpack_answer(answer)
    return Call(
        key.hex(),
        model,
        program,
        messages,
        settings,
        text,
        finish,
        tokens_in,
        tokens_out,
        seconds,
        logprobs,
        made,
        fault,
        tuple(uses),
    )
