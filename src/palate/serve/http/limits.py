"""Before a route sees a request: its size, who calls, how often they may, and how long it may take.

The body is read here, whole, up to the limit of its route and within its time; one that is announced as
larger is refused unread. Then the route gets it in one piece. An answer that has not begun in time is a
fault; what works on it goes on, and what it writes is thrown away.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palate.core import StorageError
from palate.serve.http.caller import CALLER, Keyring, secret_of
from palate.serve.http.faults import RETRY_S, Refusal, fault
from palate.serve.settings import Settings

__all__ = ["Buckets", "Guard"]

BULK = ("/v1/feedback", "/v1/pool", "/v1/chat/completions", "/v1/reward")
_PATIENT = ("/v1/chat/completions", "/v1/best-of")  # a model writes there; the upstream's own limits hold
_LONGEST_ADDRESS, _LARGEST_HEADERS, _MOST_HEADERS = 8192, 32_768, 100
_MOST = 10_000


class Buckets:
    """Token buckets by name: so many requests a second, and twice as many at once.

    >>> buckets = Buckets(1.0)
    >>> [buckets.take("a", at) for at in (0.0, 0.0, 0.0, 0.5, 1.0)]
    [0.0, 0.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now: float | None = None, count: float = 1.0) -> float:
        """Take a request out; return 0.0, or the seconds until there is one."""
        if not self.rate:
            return 0.0
        now = time.monotonic() if now is None else now
        most = 2 * self.rate
        left, at = self._left.pop(name, (most, now))
        left = min(most, left + (now - at) * self.rate)
        wait = 0.0 if left >= 1 else (1 - left) / self.rate
        self._left[name] = (left - count if not wait else left), now
        if len(self._left) > _MOST:
            self._left.popitem(last=False)
        return wait


class Guard:
    """The ASGI layer that refuses what no route should see.

    Args:
        app: The routes.
        settings: Sizes, rates and times.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self._rates = {True: Buckets(settings.rate_user), False: Buckets(settings.rate)}
        self._refused = Buckets(settings.rate_refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = _headers(scope)
            if _guarded(scope["path"], self.settings):
                await self._admit(scope, headers)
            body = await self._body(scope, headers, receive)
        except Refusal as no:
            await fault(no.status_code, no.code, no.detail, no.field, no.headers)(scope, receive, send)
            return
        if body is None:  # the client is gone
            return
        if scope["path"] in _PATIENT:
            await self.app(scope, _Replay(body, receive), send)
        else:
            await self._serve(scope, _Replay(body, receive), send)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Find who calls, and whether they may again so soon."""
        keys: Keyring = scope["app"].state.server.keys
        where = (scope.get("client") or ("",))[0]
        wait = self._refused.take(where, count=0)
        if wait:
            raise _too_many(wait)
        secret = secret_of(headers.get(b"authorization", b"").decode("latin-1"))
        try:
            caller = await keys.caller(secret)
        except StorageError:
            message = "the database does not answer: try again in a second"
            raise Refusal(503, "unavailable", message, headers={"Retry-After": RETRY_S}) from None
        if caller is None:
            self._refused.take(where)
            told = "no key came along" if not secret else "this key is unknown, was revoked or has run out"
            message = f"{told}: send Authorization: Bearer KEY"
            raise Refusal(401, "no_key", message, headers={"WWW-Authenticate": 'Bearer realm="palate"'})
        wait = self._rates[caller.user is not None].take(caller.key_id)
        if wait:
            raise _too_many(wait)
        scope[CALLER] = caller

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """Read the body; None if the client went away meanwhile."""
        length = headers.get(b"content-length")
        if length is None and b"transfer-encoding" not in headers:
            return b""
        most = self.settings.bulk_limit if scope["path"].startswith(BULK) else self.settings.body_limit
        if length is not None and (not length.isdigit() or int(length) > most):
            raise _too_large(most)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.settings.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    part = message.get("body", b"")
                    parts.append(part)
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            message_ = f"the body did not come in within {self.settings.body_s:g} s"
            raise Refusal(408, "timeout", message_, headers={"Connection": "close"}) from None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the route; answer in its place if it has not begun to in time."""
        begun = late = False

        async def first(message: Message) -> None:
            nonlocal begun
            if late:
                return
            begun = True
            await send(message)

        def expire() -> None:
            nonlocal late
            if not begun:
                late = True
                text = f"no answer within {self.settings.request_s:g} s"
                no = fault(504, "timeout", text, None, {"Retry-After": RETRY_S})
                tasks.add(asyncio.ensure_future(no(scope, receive, send)))

        tasks: set[Any] = set()
        timer = asyncio.get_running_loop().call_later(self.settings.request_s, expire)
        try:
            await self.app(scope, receive, first)
        finally:
            timer.cancel()
            if tasks:
                await asyncio.wait(tasks)


class _Replay:
    """The body in one piece, then what comes after it: that the client went away."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _guarded(path: str, settings: Settings) -> bool:
    """Whether a path asks for a key."""
    return path.startswith("/v1/") or path == "/v1" or (path == "/metrics" and not settings.open_metrics)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by name, unless address or headers are too large."""
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _LONGEST_ADDRESS:
        raise Refusal(414, "too_large", f"the address has more than {_LONGEST_ADDRESS:,} characters")
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    found = dict(pairs)
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > _LARGEST_HEADERS or len(scope["headers"]) > _MOST_HEADERS:
        raise Refusal(431, "too_large", f"the headers have more than {_LARGEST_HEADERS:,} characters")
    return found


def _too_many(wait: float) -> Refusal:
    headers = {"Retry-After": str(max(1, math.ceil(wait)))}
    return Refusal(429, "too_many", f"too many requests: try again in {wait:.2f} s", headers=headers)


def _too_large(most: int) -> Refusal:
    return Refusal(
        413, "too_large", f"the body has more than {most:,} bytes: send less", headers={"Connection": "close"}
    )
