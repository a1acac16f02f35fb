"""Connections to SQLite and PostgreSQL, and transactions begun and ended by hand, alike on both.

The driver commits by itself; BEGIN, COMMIT and ROLLBACK are sent as text, so that a reader's BEGIN is
also the test of a pooled connection and no round trip is lost.

    SQLite       write-ahead log, flushed at every commit; deleted rows overwritten with zeros
                 (``secure_delete``); temporary tables in memory; a writer asks for its turn every millisecond
    PostgreSQL   a reader sees one snapshot (REPEATABLE READ); writers take turns by an advisory lock
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from palate.core import ConfigError, StorageError

__all__ = [
    "READ",
    "WRITE",
    "backend_of",
    "begin",
    "begun",
    "begun_still",
    "connection",
    "direct",
    "driver",
    "end",
    "engine",
    "mark",
    "opened",
    "plain",
    "send",
    "writer",
]

READ = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}
WRITE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
_TURN = "SELECT pg_advisory_xact_lock(7012043)"  # any number that nothing else in the database locks
_PATIENCE = 10.0  # seconds that a writer waits for its turn
_PRAGMAS = (
    "busy_timeout = 10000",
    "synchronous = FULL",
    "foreign_keys = OFF",
    "secure_delete = ON",
    "temp_store = MEMORY",
)


def backend_of(url: URL) -> Literal["sqlite", "postgresql"]:
    """Return which of the two databases a URL names.

    Raises:
        ConfigError: If it is another.
    """
    name = url.get_backend_name()
    if name == "sqlite":
        return "sqlite"
    if name == "postgresql":
        return "postgresql"
    raise ConfigError(f"the database is {name!r}; expected sqlite:///file.db or postgresql://host/name")


def engine(url: str) -> Engine:
    """Return the engine of a database; nothing is connected yet.

    Raises:
        ConfigError: If the URL cannot be read, or names another kind of database.
    """
    try:
        where = make_url(url)
        backend = backend_of(where)
        if backend == "postgresql":
            return _postgresql(where.set(drivername="postgresql+psycopg"))
        return _sqlite(where.set(drivername="sqlite+pysqlite"))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"the database's URL cannot be read ({type(error).__name__}); expected sqlite:///file.db or "
            "postgresql://user:password@host/name"
        ) from None


def _sqlite(url: URL) -> Engine:
    short_lived = None
    if url.database in (None, "", ":memory:"):
        short_lived = tempfile.TemporaryDirectory(prefix="palate-", ignore_cleanup_errors=True)
        url = url.set(database=f"{short_lived.name}/palate.db")
    made = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=16,
        max_overflow=112,
        pool_timeout=_PATIENCE,
        pool_reset_on_return=None,
        connect_args={"check_same_thread": False, "cached_statements": 512},
    )

    @event.listens_for(made, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    if short_lived:

        @event.listens_for(made, "engine_disposed")
        def _remove(_: Engine) -> None:
            short_lived.cleanup()

    return made


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "palate",
        "options": "-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
        "keepalives_idle": 10,
        "tcp_user_timeout": 15_000,
    }
    for name in set(arguments) & set(url.query):  # what the URL says goes first
        del arguments[name]
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        pool_size=16,
        max_overflow=48,
        pool_timeout=_PATIENCE,
        pool_reset_on_return=None,
        connect_args=arguments,
    )


def connection(engine: Engine) -> Connection:
    """Return a connection of the pool's; the caller closes it."""
    return engine.connect()


def writer(engine: Engine) -> Connection:
    """Return a connection to write by, to be thrown away at the end.

    On SQLite :func:`begin` waits for its turns: SQLite's own waiting sleeps up to 100 ms a time.
    """
    c = connection(engine)
    if c.dialect.name == "sqlite":
        send(c, "PRAGMA busy_timeout = 0")
    return c


def driver(engine: Engine) -> sqlite3.Connection:
    """Return a connection of SQLite's driver that is not the pool's; the caller closes it, in any thread."""
    own = engine.raw_connection()
    own.detach()
    found = own.dbapi_connection
    assert isinstance(found, sqlite3.Connection)
    return found


@contextmanager
def direct(c: Connection) -> Iterator[sqlite3.Connection]:
    """Give SQLite's driver, whose errors become SQLAlchemy's."""
    driver = c.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        yield driver
    except sqlite3.Error as error:
        raise DBAPIError.instance("", None, error, sqlite3.Error, hide_parameters=True) from error


def send(c: Connection, command: str) -> None:
    """Send a command that returns no rows."""
    if c.dialect.name == "sqlite":
        with direct(c) as driver:
            driver.execute(command)
    else:
        c.exec_driver_sql(command).close()


def mark(c: Connection, command: str) -> None:
    """Send a command by the driver itself, at a third of the cost; its error is the driver's."""
    driver: Any = c.connection.driver_connection
    driver.execute(command)


def begin(c: Connection, how: dict[str, str]) -> None:
    """Begin a transaction; a writer waits for its turn.

    Raises:
        DBAPIError: If the database does not answer, or the turn did not come.
    """
    if how is WRITE and c.dialect.name == "sqlite":
        _begin_in_turn(c)
        return
    send(c, how[c.dialect.name])
    if how is WRITE:
        send(c, _TURN)


def _begin_in_turn(c: Connection) -> None:
    """Begin to write as soon as no other process does."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            send(c, WRITE["sqlite"])
            return
        except DBAPIError as error:
            if "locked" not in str(error.orig) or time.monotonic() > until:
                raise
            time.sleep(0.001)


def end(c: Connection, how: Literal["COMMIT", "ROLLBACK"]) -> None:
    """End the transaction."""
    send(c, how)


def begun_still(c: Connection) -> bool:
    """Return whether a transaction is open; a database that lost it, or undid it by itself, says no."""
    if c.closed or c.invalidated:
        return False
    driver: Any = c.connection.driver_connection
    if c.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return not driver.closed and driver.info.transaction_status.name in ("INTRANS", "INERROR")


@contextmanager
def begun(engine: Engine, how: dict[str, str]) -> Iterator[Connection]:
    """Give a connection with a transaction begun, undone at the end unless it was committed before."""
    c = connection(engine)
    try:
        try:
            begin(c, how)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            c.close()  # it died in the pool; so did the others, and the pool knows by now
            c = connection(engine)
            begin(c, how)
        yield c
    finally:
        if begun_still(c):
            with suppress(DBAPIError):
                end(c, "ROLLBACK")
        c.close()


@contextmanager
def plain(engine: Engine) -> Iterator[Connection]:
    """Give a connection outside any transaction."""
    c = connection(engine)
    try:
        yield c
    finally:
        c.close()


@contextmanager
def opened(engine: Engine) -> Iterator[Connection]:
    """Give the first connection to a database: it says that it can be used, and how.

    Raises:
        StorageError: If SQLite cannot write ahead there, as on a network's file system.
    """
    with plain(engine) as c:
        if c.dialect.name == "sqlite":
            mode = _write_ahead(c)
            if mode != "wal":
                raise StorageError(
                    f"{engine.url.database} stays in journal mode {mode!r}; expected 'wal': put the file on "
                    "a local disk that can be written"
                )
        yield c


def _write_ahead(c: Connection) -> str:
    """Turn the write-ahead log on; another process that does so at the same time is waited for."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return str(c.exec_driver_sql("PRAGMA journal_mode = WAL").scalar_one())
        except DBAPIError as error:
            if "locked" not in str(error.orig) or time.monotonic() > until:
                raise
            time.sleep(0.005)
