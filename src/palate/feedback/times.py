"""A time in any of the usual spellings to seconds since 1970."""

import math
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

__all__ = ["NO_TIME", "Time", "parse_time"]


class Time(NamedTuple):
    """Seconds since 1970, NaN where unknown; ``bad`` where a value was given that is no time."""

    seconds: float
    bad: bool


NO_TIME = Time(math.nan, False)
UNKNOWN = Time(math.nan, True)


def parse_time(value: Any) -> Time:
    """Return a time from ISO 8601, a date, or a number of seconds, milli-, micro- or nanoseconds.

    A time without a zone is taken as UTC. Numbers from 1e11 on (the year 5138 in seconds) are
    milliseconds, from 1e14 on microseconds, from 1e17 on nanoseconds.

    >>> parse_time("1970-01-02T00:00:00Z").seconds, parse_time(1_700_000_000_000).seconds
    (86400.0, 1700000000.0)
    >>> parse_time("yesterday").bad
    True
    """
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_number(value)
    if isinstance(value, datetime):
        return _from_date(value)
    if isinstance(value, date):
        return _from_date(datetime(value.year, value.month, value.day, tzinfo=UTC))
    return UNKNOWN


def _from_text(text: str) -> Time:
    try:
        return _from_date(datetime.fromisoformat(text))
    except ValueError:
        pass
    try:
        return _from_number(float(text))
    except ValueError:
        return UNKNOWN


def _from_number(number: float) -> Time:
    try:
        seconds = float(number)
    except OverflowError:
        return UNKNOWN
    if abs(seconds) < 1e11:
        return Time(seconds, False)
    if not math.isfinite(seconds):
        return UNKNOWN
    scale = 1e9 if abs(seconds) >= 1e17 else 1e6 if abs(seconds) >= 1e14 else 1e3
    return Time(seconds / scale, False)


def _from_date(moment: datetime) -> Time:
    try:
        return Time((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), False)
    except (OverflowError, ValueError):
        return UNKNOWN
