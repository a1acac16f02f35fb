"""The little in which SQLite and PostgreSQL differ, so that every statement is built once for both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Result
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["Upsert", "changed", "chunks", "run", "upsert"]

Upsert = Mapping[str, Executable]


def upsert(build: Callable[[Any], Executable]) -> Upsert:
    """Build an insertion with ON CONFLICT for both dialects.

    Args:
        build: Takes a dialect's ``insert`` and returns the statement.

    Returns:
        The statement by the name of the dialect, for :func:`run`.
    """
    return {"sqlite": build(sqlite.insert), "postgresql": build(postgresql.insert)}


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
