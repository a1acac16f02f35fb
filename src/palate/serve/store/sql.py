"""The little in which SQLite and PostgreSQL differ, so that every statement is built once for both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Dialect, Executable, Result
from sqlalchemy.dialects import postgresql, sqlite

from palate.serve.store.engines import direct
from palate.serve.store.schema import String, plain

__all__ = ["Prepared", "Rows", "Upsert", "changed", "chunks", "run", "upsert"]

Upsert = Mapping[str, Executable]


def upsert(build: Callable[[Any], Executable]) -> Upsert:
    """Build an insertion with ON CONFLICT for both dialects.

    Args:
        build: Takes a dialect's ``insert`` and returns the statement.

    Returns:
        The statement by the name of the dialect, for :func:`run`.
    """
    return {"sqlite": build(sqlite.insert), "postgresql": build(postgresql.insert)}


class Rows(NamedTuple):
    """What a statement returned, all of it, and how many rows it changed."""

    found: Sequence[Sequence[Any]]
    changed: int

    @property
    def first(self) -> Sequence[Any] | None:
        """The first row, or None."""
        return self.found[0] if self.found else None


class Prepared:
    """A statement that is asked very often: compiled once a dialect, and sent as text.

    SQLite is sent it by its driver: what SQLAlchemy does around a statement takes several times as long as
    the statement.

    Args:
        statement: With named parameters alone, none of them a list.
    """

    def __init__(self, statement: Executable | Upsert) -> None:
        self._statement = statement
        self._ready: dict[str, tuple[str, list[str] | None, dict[str, Any], list[str]]] = {}

    def __call__(self, c: Connection, values: Mapping[str, Any]) -> Rows:
        """Execute it.

        Raises:
            DataError: If a name or line holds what cannot be kept.
            DBAPIError: If the database errs.
        """
        text, given = self.text(c.dialect, values)
        if c.dialect.name == "sqlite":
            with direct(c) as driver:
                cursor = driver.execute(text, given)
                return Rows(cursor.fetchall(), cursor.rowcount)
        result = c.exec_driver_sql(text, given)
        return Rows(result.all() if result.returns_rows else (), result.rowcount)

    def text(self, dialect: Dialect, values: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the text and the values as the dialect's driver takes them.

        Raises:
            DataError: If a name or line holds what cannot be kept.
        """
        text, order, fixed, strings = self._ready.get(dialect.name) or self._prepare(dialect)
        given = {**fixed, **values}
        for name in strings:
            plain(given[name])
        return text, given if order is None else tuple(given[name] for name in order)

    def _prepare(self, dialect: Dialect) -> tuple[str, list[str] | None, dict[str, Any], list[str]]:
        statement: Any = self._statement
        if isinstance(statement, Mapping):
            statement = statement[dialect.name]
        compiled = statement.compile(dialect=dialect)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        strings = [name for name, bind in compiled.binds.items() if isinstance(bind.type, String)]
        order = list(compiled.positiontup) if compiled.positional else None
        ready = self._ready[dialect.name] = (str(compiled), order, fixed, strings)
        return ready


def chunks(names: Sequence[str], size: int = 500) -> Iterator[list[str]]:
    """Yield names in lists that fit into one statement.

    >>> list(chunks(["a", "b", "c"], 2))
    [['a', 'b'], ['c']]
    """
    for start in range(0, len(names), size):
        yield list(names[start : start + size])


def run(c: Connection, statement: Upsert, values: Any) -> Result[Any]:
    """Execute the statement of this connection's dialect."""
    return c.execute(statement[c.dialect.name], values)


def changed(c: Connection, statement: Executable, values: Any) -> int:
    """Execute a statement that changes rows, and return how many: SQLAlchemy tells it if asked before."""
    result = c.execute(statement, values, execution_options={"preserve_rowcount": True})
    assert isinstance(result, CursorResult)
    return result.rowcount
