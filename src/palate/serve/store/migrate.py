"""Bring a database's tables up to date by alembic, once, however many processes open it at the same time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from palate.core import StorageError
from palate.serve.store import engines

__all__ = ["MIGRATIONS", "migrate", "revisions"]

MIGRATIONS = Path(__file__).parent / "migrations"
"""The folder of the revisions."""


def migrate(c: Connection, *, run: bool = True, folder: Path = MIGRATIONS) -> list[str]:
    """Run the revisions that a database lacks, all or none.

    Args:
        c: A connection outside any transaction.
        run: False only looks whether any is missing.
        folder: Where the revisions lie.

    Returns:
        The revisions that the database then has, the latest first.

    Raises:
        StorageError: If a revision is missing and ``run`` is False, if one fails, or if the database was
            written by a later version of Palate.
    """
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    head, have = script.get_current_head(), revisions(c)
    if have == [head]:
        return have
    if not run:
        raise StorageError(
            f"the database's tables are of revision {have or 'none'}, this version needs {head}: "
            "run `palate serve migrate`"
        )
    engines.begin(c, engines.WRITE)
    try:
        if revisions(c) != [head]:  # another process may have done it meanwhile
            config.attributes["connection"] = c
            command.upgrade(config, "head")
        engines.end(c, "COMMIT")
    except CommandError as error:
        raise StorageError(
            f"the database's tables cannot be brought to revision {head}: {error}; if a later version of "
            "Palate wrote them, use that one"
        ) from error
    finally:
        if engines.begun_still(c):
            engines.end(c, "ROLLBACK")
    return revisions(c)


def revisions(c: Connection) -> list[str]:
    """Return the revisions that a database has; none for a new one."""
    return list(MigrationContext.configure(c).get_current_heads())
