"""Around every request: its id, its line in the log, its figures, the headers of its answer.

It is the last resort too: an error that no one foresaw is answered as a fault, and logged by its kind and
place alone.
"""

import itertools
import re
import secrets
import time
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palate.serve.http.caller import CALLER
from palate.serve.http.faults import fault
from palate.serve.http.logs import log, log_error
from palate.serve.http.metrics import Metrics

__all__ = ["Edge"]

_PROCESS, _NUMBERS = secrets.token_hex(6).encode(), itertools.count(1 << 20)  # no call of the system each
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    b"cache-control": b"no-store",
}


class Edge:
    """The outermost ASGI layer.

    Args:
        app: What is inside.
        metrics: Counts the answers.
        quiet: Whether requests are left out of the log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, quiet: bool) -> None:
        self.app, self.metrics, self.quiet = app, metrics, quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and tell how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        asked = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        number = asked if _ID.fullmatch(asked) else b"%s%x" % (_PROCESS, next(_NUMBERS))
        scope["palate.id"] = number.decode()
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        scope["path"] = raw.decode("ascii", "surrogateescape")  # segments are decoded one by one

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                there = {name for name, _ in headers}
                headers += [pair for pair in _HEADERS.items() if pair[0] not in there]
                message = {**message, "headers": [*headers, (b"x-request-id", number)]}
            await send(message)

        try:
            await self.app(scope, receive, tell)
        except Exception as error:
            log_error(error, scope["palate.id"])
            if not status:
                message = "this is a fault of the server; the header X-Request-Id helps to find it in the log"
                await fault(500, "server_error", message)(scope, receive, tell)
        finally:
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "") or "none"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.request(route, method, status, seconds)
        if not self.quiet:
            caller = scope.get(CALLER)
            log(
                "request",
                id=scope["palate.id"],
                route=route,
                method=method,
                status=status,
                ms=round(1000 * seconds, 2),
                key=caller and caller.key_id,
            )


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
