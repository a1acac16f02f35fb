"""Errors of the store, and what is told of a database's own: never a value that was to be kept.

DataError
+-- ConflictError   the same key with another body, or an edit of what somebody else changed  (HTTP 409)
StorageError        the database is away, full or broken; what was asked is not kept           (HTTP 503)
"""

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from palate.core import DataError, PalateError, StorageError

__all__ = ["ConflictError", "kindly"]

_FULL = ("is full", "no space left", "disk full")


class ConflictError(DataError):
    """What was asked does not fit what is kept: it was changed meanwhile, or kept with another body."""


def kindly(error: BaseException, database: str = "") -> BaseException:
    """Return what a caller is told of an error.

    Args:
        error: Anything that came out of SQLAlchemy or a driver.
        database: The database's URL without a password, for whoever starts the server; a caller of the
            server is not told where its database is, nor in what words it failed.

    Returns:
        A :class:`StorageError` without statements and values for a database's error; an error that was
        raised on the way in as itself; any other as it is.
    """
    if isinstance(error, StatementError) and isinstance(error.orig, PalateError):
        return error.orig
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return DataError(f"a value cannot be kept ({type(error.orig).__name__}); expected text or a number")
    if not isinstance(error, SQLAlchemyError):
        return error
    cause = str(getattr(error, "orig", None) or error).lower()
    if any(word in cause for word in _FULL):
        return StorageError("the disk is full: nothing of this request is kept; make room and send it again")
    if "locked" in cause or "lock timeout" in cause or isinstance(error, PoolTimeout):
        return StorageError("the database was busy for too long: send the request again")
    if not isinstance(error, OperationalError):
        return StorageError(
            f"the database refused a statement ({type(error).__name__}): nothing of this request is kept"
        )
    if database:
        why = str(error.orig).partition("\n")[0]
        return StorageError(f"{database} cannot be opened ({why}): check that it is there and runs")
    return StorageError("the database does not answer: send the request again in a while")
