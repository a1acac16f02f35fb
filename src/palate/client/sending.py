"""When a request is sent again, and how long is waited before: the part of sending that needs no connection.

A request that surely was not done (no connection, 429, 503) is sent again, whatever it is. One that nobody
knows about (the connection broke, no answer in time, 502, 504) is sent again only where that does no harm:
reading, and choices, which bear a key and so never count twice. ``Retry-After`` is honoured; without it the
wait doubles from a quarter of a second, drawn at random between a half and the whole.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import httpx

from palate.client.answered import ServerDown, ServerSaid, error_of
from palate.client.verb import Call

__all__ = ["Patience", "broken"]

_UNDONE = (429, 503)
_UNKNOWN = (502, 504)


@dataclass(frozen=True)
class Patience:
    """How often a request is sent again.

    Attributes:
        retries: At most so many times.
        longest: Longest wait before one, in seconds; a server that asks for more is not waited for.
    """

    retries: int = 4
    longest: float = 30.0

    def wait(self, call: Call[Any], sent: int, undone: bool, after: float | None) -> float | None:
        """Return the seconds to wait before a request is sent again, or None to give up.

        Args:
            call: The request.
            sent: How often it was sent.
            undone: Whether it surely was not done.
            after: What the server asks for, in seconds.
        """
        if sent > self.retries or not (undone or call.again):
            return None
        if after is not None:
            return after if after <= self.longest else None
        return min(self.longest, 0.25 * 2.0 ** (sent - 1)) * random.uniform(0.5, 1.0)

    def after_answer(
        self, call: Call[Any], sent: int, response: httpx.Response
    ) -> tuple[ServerSaid, float | None]:
        """Return the error of an answer, and the wait before the request is sent again or None."""
        error = error_of(response.status_code, response.content, response.headers)
        if error.status not in (*_UNDONE, *_UNKNOWN):
            return error, None
        undone = error.status in _UNDONE
        return error, self.wait(call, sent, undone, _asked(response.headers))

    def after_break(
        self, call: Call[Any], sent: int, error: httpx.HTTPError
    ) -> tuple[ServerSaid, float | None]:
        """Return the error of a request without an answer, and the wait as above."""
        undone = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        return broken(call, error), self.wait(call, sent, undone, None)


def broken(call: Call[Any], error: httpx.HTTPError) -> ServerDown:
    """Return the error of a request without an answer."""
    if isinstance(error, httpx.ConnectError):
        why = "nothing listens there: see that `palate serve` runs, and at this address"
    elif isinstance(error, httpx.TimeoutException):
        why = "there was no answer in time: give timeout=SECONDS where it may take longer"
    else:
        why = f"the connection broke ({type(error).__name__})"
    return ServerDown(f"{call.method} {call.path.partition('?')[0]}: {why}")


def _asked(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the header Retry-After asks for."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError):
        return None
