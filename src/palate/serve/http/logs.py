"""Lines of JSON on the standard error stream: what was asked and how it went, never what was in it.

    {"time": "2026-01-02T03:04:05.678Z", "event": "request", "id": "...", "route": "/v1/rank",
     "method": "POST", "status": 200, "ms": 1.9, "key": "k_..."}

Routes are named by their template, so that no user's name is in a path that is logged. What other packages
log is passed on by its level and the place that says it; of an error, its kind alone.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

__all__ = ["log", "log_as_json", "log_error"]

_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "palate")


def log(event: str, **what: Any) -> None:
    """Write one line.

    Args:
        event: What happened: request, error, start, stop, ...
        what: Plain values; None is left out.
    """
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": time, "event": event, **{key: value for key, value in what.items() if value is not None}}
    sys.stderr.write(orjson.dumps(line, default=str).decode() + "\n")
    sys.stderr.flush()


def log_error(error: BaseException, id: str | None) -> None:
    """Write where an error was raised, not what it says: that may hold a user's words.

    Args:
        error: What was raised.
        id: The request's.
    """
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = [f"{frame.filename.rpartition('palate/')[2]}:{frame.lineno}" for frame in frames]
    log("error", id=id, kind=type(error).__name__, where=where)


class _AsJson(logging.Handler):
    """Turn records of other packages into lines of JSON, without their arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        log(
            "log",
            level=record.levelname.lower(),
            source=f"{record.name}:{record.funcName}",
            message=str(record.msg).partition("\n")[0][:200],
            kind=getattr(kind, "__name__", None),
        )


def log_as_json() -> None:
    """Send what uvicorn logs through here, warnings and worse; requests have lines of their own."""
    handler = _AsJson()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
