"""A copy of the database while it is in use.

SQLite writes the copy anew (``VACUUM INTO``) from one snapshot: it is the database at one moment, while
others go on writing, and nothing of deleted rows is in it. PostgreSQL has ``pg_dump``.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from palate.core import ConfigError, StorageError
from palate.serve.store.store import Store

__all__ = ["back_up"]


def back_up(store: Store, path: Path) -> int:
    """Copy the database into a new file; return its bytes.

    Args:
        store: What is copied; it may be written to meanwhile, here and by other processes.
        path: The copy. It appears whole or not at all.

    Raises:
        ConfigError: If the store is not SQLite, or the file is there already.
        StorageError: If the copy cannot be written.
    """
    if store.backend != "sqlite":
        raise ConfigError("this copies SQLite files; of PostgreSQL take pg_dump -Fc, and pg_restore back")
    if path.exists():
        raise ConfigError(f"{path} is there already: name a new file, or move it away")
    with store.read() as c:
        file = str(c.exec_driver_sql("PRAGMA database_list").all()[0][2])
    draft = path.with_name(f".{path.name}.part")
    draft.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(file, timeout=30)) as original:
            original.execute("VACUUM INTO ?", (str(draft),))
        with closing(sqlite3.connect(draft)) as copy:
            found = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise StorageError(f"the copy of the database is damaged ({found}): look after the disk")
        draft.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot write the copy {path}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return path.stat().st_size
