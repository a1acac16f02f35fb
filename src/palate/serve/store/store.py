"""The database: snapshots to read, and one thread that writes for a whole process.

Every write is a function of a connection. The writing thread takes all that wait, runs them in one
transaction, each behind a savepoint so that one that fails undoes itself alone, commits, and only then
answers: what was answered is on the disk. While one commit waits for the disk the next group gathers, so
that many callers share its cost (group commit).

    begin | savepoint f(c) release | savepoint g(c) release | ... | commit | answer f, g, ...

Writers of several processes take turns: SQLite has one at a time, and on PostgreSQL a lock that lives as
long as the transaction does the same. So a function may read, decide and write without a race.

A transaction that the database loses before its commit is run once more, every function in a transaction of
its own: functions change nothing but the database. A commit that is lost leaves open whether it came
through; its callers get a StorageError and ask again, which is harmless where keys are the client's.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Literal, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from palate.core import StorageError
from palate.serve.store import engines
from palate.serve.store.faults import kindly
from palate.serve.store.migrate import migrate as brought_up_to_date
from palate.serve.store.sql import Prepared

__all__ = ["Store"]

T = TypeVar("T")
Op = Callable[[Connection], T]
_Waiting = tuple[Op[Any], "Future[Any]"]
_MOST = 256  # functions of one transaction


class _Lost(Exception):
    """The transaction is gone, with all that was done in it."""


class Store:
    """A database of users, choices and personas. Open one a process; threads share it.

    Attributes:
        backend: "sqlite" or "postgresql".
        near: Whether to look at a row takes microseconds, for no other machine is asked.
        database: Its name for people, without a password.

    >>> from sqlalchemy import text
    >>> store = Store.open("sqlite://")
    >>> store.write(lambda c: c.execute(text("SELECT 40 + 2")).scalar_one())
    42
    >>> store.close()
    """

    def __init__(self, engine: Engine) -> None:
        self.backend: Literal["sqlite", "postgresql"] = engines.backend_of(engine.url)
        self.near = self.backend == "sqlite"
        self.database = engine.url.render_as_string(hide_password=True)
        self._engine = engine
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._looking, self._drivers = threading.local(), dict[threading.Thread, sqlite3.Connection]()
        self._door = threading.Lock()  # nothing is accepted after the end was queued
        self._open = True
        self._connection: Connection | None = None
        self._writer = threading.Thread(target=self._serve, name="palate-writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, url: str, *, migrate: bool = True) -> Self:
        """Open a database, make its tables or bring them up to date, and start the writing thread.

        Args:
            url: "sqlite:///file.db", "postgresql://user:password@host/name", or "sqlite://" for a temporary
                file that ends with the store.
            migrate: Whether to run migrations that are missing.

        Raises:
            ConfigError: If the URL is none, or of another kind of database.
            StorageError: If the database does not answer, or has tables that this version does not know.
        """
        engine = engines.engine(url)
        try:
            with engines.opened(engine) as c:
                brought_up_to_date(c, run=migrate)
        except BaseException as error:
            engine.dispose()
            told = kindly(error, engine.url.render_as_string(hide_password=True))
            if told is error:
                raise
            raise told from None
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database for as long as it is held; hold it briefly.

        Raises:
            StorageError: If the database does not answer.
        """
        try:
            with engines.begun(self._engine, engines.READ) as c:
                yield c
        except Exception as error:
            told = kindly(error)
            if told is error:
                raise
            raise told from None

    def look(self, statement: Prepared, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """Return the first row of one select, or None, at a third of what :meth:`read` costs on SQLite.

        One statement is a snapshot by itself. SQLite is asked by its driver, each thread over a
        connection of its own.

        Raises:
            StorageError: If the database does not answer.
        """
        if self.backend == "sqlite":
            with suppress(sqlite3.Error):  # read tells what is wrong
                if not hasattr(self._looking, "driver"):
                    self._looking.driver = self._driver()
                text, given = statement.text(self._engine.dialect, values)
                found: Sequence[Any] | None = self._looking.driver.execute(text, given).fetchone()
                return found
        with self.read() as c:
            return statement(c, values).first

    def _driver(self) -> sqlite3.Connection:
        """Open a connection for this thread, and close those of threads that have ended."""
        made = engines.driver(self._engine)
        with self._door:
            for thread in [each for each in self._drivers if not each.is_alive()]:
                self._drivers.pop(thread).close()
            self._drivers[threading.current_thread()] = made
        return made

    def write(self, op: Op[T]) -> T:
        """Run a function in a transaction and return its value once that is durable.

        Args:
            op: Takes a connection. It may be run again after a lost transaction, so it changes nothing but
                the database; what it raises undoes it, and nothing else.

        Raises:
            StorageError: If the database does not answer, is full, or the store is closed: nothing of ``op``
                is kept, unless the message says that this is not known.
        """
        return self.submit(op).result()

    def submit(self, op: Op[T]) -> "Future[T]":
        """Queue a function as :meth:`write` does, and return what its value will be; for ``async`` code."""
        if threading.current_thread() is self._writer:
            raise RuntimeError("a function that writes cannot wait for another write: use its connection")
        future: Future[T] = Future()
        with self._door:
            if not self._open:
                raise StorageError("the store is closed: open a new one")
            self._queue.put((op, future))
        return future

    def ready(self) -> None:
        """Return if the database answers.

        Raises:
            StorageError: If it does not.
        """
        if not (self._open and self._writer.is_alive()):
            raise StorageError("the store is closed: open a new one")
        with self.read() as c:
            c.exec_driver_sql("SELECT 1")

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Give a connection outside any transaction, for upkeep such as VACUUM."""
        try:
            with engines.plain(self._engine) as c:
                yield c
        except SQLAlchemyError as error:
            raise kindly(error) from None

    def close(self) -> None:
        """Finish what was accepted, then close. A second call does nothing."""
        with self._door:
            if not self._open:
                return
            self._open = False
            self._queue.put(None)
        self._writer.join()
        for driver in self._drivers.values():
            driver.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the writing thread ---------------------------------------------------------------------------

    def _serve(self) -> None:
        """Take groups off the queue until the store is closed."""
        while True:
            group: list[_Waiting | None] = [self._queue.get()]
            with suppress(Empty):
                while group[-1] is not None and len(group) < _MOST:
                    group.append(self._queue.get_nowait())
            waiting = [each for each in group if each is not None and each[1].set_running_or_notify_cancel()]
            if waiting:
                self._answer(waiting)
            if group[-1] is None:
                self._forget()
                return

    def _answer(self, group: list[_Waiting]) -> None:
        try:
            self._transact(group)
            return
        except _Lost:
            self._forget()
        except BaseException as error:
            self._forget()
            self._refuse(group, error)
            return
        for one in group:
            try:
                self._transact([one])
            except BaseException as error:
                self._forget()
                self._refuse([one], error.__cause__ if isinstance(error, _Lost) else error)

    def _transact(self, group: list[_Waiting]) -> None:
        """Run a group in one transaction and answer it.

        Raises:
            _Lost: If the transaction was lost before its commit.
        """
        c = self._writing()
        outcomes = [self._run(c, op, many=len(group) > 1) for op, _ in group]
        if any(good for good, _ in outcomes):
            try:
                engines.end(c, "COMMIT")
            except DBAPIError as error:
                raise self._in_doubt(error) from None
        else:
            engines.end(c, "ROLLBACK")
        for (_, future), (good, value) in zip(group, outcomes, strict=True):
            if good:
                future.set_result(value)
            else:
                future.set_exception(kindly(value))

    def _writing(self) -> Connection:
        """Return the writer's connection, a transaction begun; a connection that died is replaced once."""
        for again in (True, False):
            try:
                if self._connection is None:
                    self._connection = engines.writer(self._engine)
                engines.begin(self._connection, engines.WRITE)
                return self._connection
            except DBAPIError as error:
                self._forget()
                if not again or not error.connection_invalidated:
                    raise
        raise AssertionError  # the loop returns or raises

    @staticmethod
    def _run(c: Connection, op: Op[Any], many: bool) -> tuple[bool, Any]:
        """Run one function; return whether it came through, and its value or error."""
        try:
            if many:
                engines.mark(c, "SAVEPOINT op")
            value = op(c)
            if many:
                engines.mark(c, "RELEASE SAVEPOINT op")
        except BaseException as error:
            if not engines.begun_still(c):
                raise _Lost from error
            if many:
                try:
                    engines.mark(c, "ROLLBACK TO SAVEPOINT op")
                    engines.mark(c, "RELEASE SAVEPOINT op")
                except Exception:
                    raise _Lost from error
            return False, error
        return True, value

    def _in_doubt(self, error: DBAPIError) -> BaseException:
        """Return what is told of a commit that failed."""
        if not error.connection_invalidated:
            return kindly(error)
        return StorageError(
            "the database went away while it was writing: it is not known whether this request is kept; "
            "send it again with the same key"
        )

    def _refuse(self, group: list[_Waiting], error: BaseException | None) -> None:
        told = kindly(error or StorageError("the database lost a transaction: send the request again"))
        for _, future in group:
            if not future.done():
                future.set_exception(told)

    def _forget(self) -> None:
        """Drop the writer's connection, and with it a transaction that is still open."""
        c, self._connection = self._connection, None
        if c is not None:
            with suppress(Exception):
                c.invalidate()
            with suppress(Exception):
                c.close()
