"""Errors of the store, and what is told of a database's own: never a value that was to be kept.

DataError
+-- ConflictError   the same key with another body, or an edit of what somebody else changed  (HTTP 409)
StorageError        the database is away, full or broken; what was asked is not kept           (HTTP 503)
"""

from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from palate.core import DataError, PalateError, StorageError

__all__ = ["ConflictError", "kindly"]

_FULL = ("is full", "no space left", "disk full")


class ConflictError(DataError):
    """What was asked does not fit what is kept: it was changed meanwhile, or kept with another body."""


def kindly(error: BaseException, database: str) -> BaseException:
    """Return what a caller is told of an error.

    Args:
        error: Anything that came out of SQLAlchemy or a driver.
        database: The database's name for people, without a password.

    Returns:
        A :class:`StorageError` without statements and values for a database's error; an error that was
        raised on the way in as itself; any other as it is.
    """
    if isinstance(error, StatementError) and isinstance(error.orig, PalateError):
        return error.orig
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return DataError(
            f"a value cannot be kept: {type(error.orig).__name__}; expected plain text or numbers"
        )
    if not isinstance(error, SQLAlchemyError):
        return error
    cause = str(getattr(error, "orig", None) or error).lower()
    if any(word in cause for word in _FULL):
        told = f"no room is left for {database}: nothing of this request is kept; make room and send it again"
    elif "locked" in cause or "lock timeout" in cause or isinstance(error, PoolTimeout):
        told = f"{database} was busy for too long: send the request again"
    else:
        kind = type(getattr(error, "orig", None) or error).__name__
        told = f"{database} does not do its work ({kind}): send the request again once it is back"
    return StorageError(told)
