"""The time, in one place, so that a test can set it."""

import time

__all__ = ["now"]


def now() -> float:
    """Return the seconds since 1970."""
    return time.time()
