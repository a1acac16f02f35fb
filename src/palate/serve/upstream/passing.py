"""A call to an OpenAI-compatible endpoint and its answer, passed through byte by byte as they come.

    no answer to connect            502 upstream_down
    no byte for too long            504 upstream_timeout, before the first; a broken connection after it
    broken before an answer         502 upstream_broke
    broken in its middle            the client's connection is broken too: half an answer never looks whole
    all connections in use          503 upstream_busy
    any status                      passed on with its body, but for redirections: 502 upstream_moved
    client goes away                the call is cancelled, its connection closed

Nothing is buffered, decoded or cut anew: what the endpoint sent in a piece is sent on in a piece.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palate.core import ModelError
from palate.serve.settings import Settings

__all__ = ["Passing", "Upstream", "UpstreamFault", "until_gone"]

T = TypeVar("T")

Noting = Callable[[float, str], None]
_SENT = {"accept", "accept-encoding", "content-type", "http-referer", "idempotency-key", "traceparent"}
_SENT |= {"tracestate", "user-agent", "x-title"}
"""Headers of the caller that are passed on, and those that begin with ``openai-``."""
_KEPT_BACK = {"connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer"}
_KEPT_BACK |= {"transfer-encoding", "upgrade"}  # the connection's own; from here on, its own site's
_KEPT_BACK |= {"alt-svc", "content-security-policy", "date", "nel", "report-to", "server", "set-cookie"}
_KEPT_BACK |= {"strict-transport-security"}
"""Headers of the endpoint that are not passed on, and those that begin with ``access-control-``."""
_IDLE_S = 4.0  # below the 5 seconds after which uvicorn, and so vLLM, closes an idle connection
_RENAMED = {b"x-request-id": b"x-upstream-request-id"}


class UpstreamFault(ModelError):
    """The upstream endpoint could not be asked, or broke off.

    Attributes:
        status: HTTP status for the caller.
        code: For programs.
        field: Which field of the request is to blame, or None.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field


@dataclass(eq=False)
class Upstream:
    """An endpoint and the connections to it, shared by all requests of a process.

    Attributes:
        url: Base URL with ``/v1``, "" where there is none.
        key: Its key, "" for none.
        own_key: Whether callers may send a key of their own, as ``X-Upstream-Authorization``.
        note: Told the seconds of each wait: for the ``first`` byte, for the ``whole`` answer.
    """

    url: str
    key: str = field(default="", repr=False)
    own_key: bool = False
    connect_s: float = 5.0
    read_s: float = 120.0
    connections: int = 100
    note: Noting = lambda seconds, what: None
    _pool: httpx.AsyncHTTPTransport | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "Upstream":
        """Return the endpoint that the settings name."""
        made = cls(
            settings.upstream.rstrip("/"),
            settings.upstream_key,
            settings.upstream_own_key,
            settings.upstream_connect_s,
            settings.upstream_read_s,
            settings.upstream_connections,
        )
        if made.url:
            made._connected()  # now, rather than in the first call
        return made

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> httpx.Request:
        """Build a request with what may be passed on of a caller's headers; its own key stays here.

        Args:
            method: HTTP method.
            path: Below the base URL, as ``/chat/completions``.
            body: As it is to be sent.
            headers: The caller's, names in lower case.
            query: The caller's query.

        Raises:
            UpstreamFault: If there is no endpoint, or a key was sent where none may be.
        """
        if not self.url:
            raise UpstreamFault(
                503,
                "no_upstream",
                "this server has no language model behind it: start it with --upstream URL",
            )
        given = headers or {}
        sent = {"accept-encoding": "identity", "user-agent": "palate"}
        sent |= {k: v for k, v in given.items() if k in _SENT or k.startswith("openai-")}
        authorization = f"Bearer {self.key}" if self.key else ""
        if "x-upstream-authorization" in given:
            if not self.own_key:
                message = "this server takes no key for its upstream: leave X-Upstream-Authorization out"
                raise UpstreamFault(403, "no_own_key", message, "X-Upstream-Authorization")
            authorization = given["x-upstream-authorization"]
        if authorization:
            sent["authorization"] = authorization
        url = self.url + path + (f"?{query}" if query else "")
        return httpx.Request(
            method, url, headers=sent, content=body, extensions={"timeout": self._patience()}
        )

    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer as soon as its head is there; it is to be closed.

        Raises:
            UpstreamFault: If there is none, or it leads elsewhere.
        """
        began = time.perf_counter()
        try:
            response = await self._connected().handle_async_request(request)
            response.request = request
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _fault(error, self) from error
        self.note(time.perf_counter() - began, "first")
        if response.is_redirect:
            await response.aclose()
            raise UpstreamFault(
                502, "upstream_moved", "the upstream answers with a redirection: set its final URL"
            )
        return response

    async def whole(self, request: httpx.Request) -> tuple[int, bytes]:
        """Send a request and return status and body of the whole answer.

        Raises:
            UpstreamFault: If there is none, or it breaks off.
        """
        began = time.perf_counter()
        response = await self.open(request)
        try:
            body = await response.aread()
        except httpx.HTTPError as error:
            raise _fault(error, self) from error
        finally:
            await response.aclose()
        self.note(time.perf_counter() - began, "whole")
        return response.status_code, body

    def _connected(self) -> httpx.AsyncHTTPTransport:
        """Return the connections; without a client around them, which would follow, keep cookies and log."""
        if self._pool is None:
            limits = httpx.Limits(
                max_connections=self.connections,
                max_keepalive_connections=self.connections,
                keepalive_expiry=_IDLE_S,
            )
            # certificates are read where they are needed alone: that takes a fifth of a second
            secure = self.url.startswith("https:")
            self._pool = httpx.AsyncHTTPTransport(verify=secure, limits=limits, trust_env=False)
        return self._pool

    def _patience(self) -> dict[str, float]:
        return {
            "connect": self.connect_s,
            "read": self.read_s,
            "write": self.read_s,
            "pool": self.connect_s,
        }


class Passing(Response):
    """The answer of an upstream endpoint, sent on as it comes.

    Args:
        upstream: The endpoint.
        request: What is sent to it.
        headers: To be added to its answer.
    """

    def __init__(self, upstream: Upstream, request: httpx.Request, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._upstream, self._request = upstream, request
        self._added = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; an answer that breaks off leaves without a last message, so that the server breaks it too.

        Raises:
            UpstreamFault: If there is no answer; nothing was sent then.
        """
        await until_gone(receive, self._pass(send))

    async def _pass(self, send: Send) -> None:
        began = time.perf_counter()
        response = await self._upstream.open(self._request)
        try:
            headers = [*_passed(response.headers.raw), *self._added]
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for piece in response.aiter_raw():  # still encoded
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except httpx.HTTPError:
            return  # broken in the middle, after the head was sent on
        finally:
            await response.aclose()
            self._upstream.note(time.perf_counter() - began, "whole")


def _passed(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers that are the answer's, and not the connection's or the endpoint's own site's."""
    lower = [(name.lower(), value) for name, value in raw]
    named = {
        part.strip().lower() for name, value in lower if name == b"connection" for part in value.split(b",")
    }
    return [
        (_RENAMED.get(name, name), value)
        for name, value in lower
        if name.decode("latin-1") not in _KEPT_BACK
        and name not in named
        and not name.startswith(b"access-control-")
    ]


async def until_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Do work for a client, and cancel it when the client goes away.

    Args:
        receive: The request's, behind its body.
        work: What is to be done.

    Returns:
        What the work returned; None if the client went away before.
    """
    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        left = not doing.done()
        if left:
            doing.cancel()
            await asyncio.wait({doing})  # it closes its connection
    return None if left else doing.result()


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        continue


def _fault(error: Exception, upstream: Upstream) -> UpstreamFault:
    """Return what the caller is told; neither the endpoint's address nor its key."""
    if isinstance(error, httpx.PoolTimeout):
        many = f"all {upstream.connections} connections to the upstream are in use: try again in a moment"
        return UpstreamFault(503, "upstream_busy", many)
    if isinstance(error, httpx.ConnectTimeout):
        return UpstreamFault(
            504, "upstream_timeout", f"the upstream took no connection within {upstream.connect_s:g} seconds"
        )
    if isinstance(error, httpx.TimeoutException):
        return UpstreamFault(
            504,
            "upstream_timeout",
            f"the upstream said nothing for {upstream.read_s:g} seconds: it was let go",
        )
    if isinstance(error, httpx.ConnectError):
        return UpstreamFault(502, "upstream_down", "the upstream takes no connection: see that it runs")
    kind: Any = type(error).__name__
    return UpstreamFault(502, "upstream_broke", f"the upstream broke off before it answered ({kind})")
