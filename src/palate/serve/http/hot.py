"""Routes that are called most: a body, a caller, an answer, and as little as possible in between.

To FastAPI they are routes like any other, described with the rest. When one is called, the body is read and
checked by pydantic, the caller's scope is looked at, and the function runs, without the resolution of
dependencies that other routes go through; that takes most of the time of a short request.

A plain function runs in a thread. An ``async`` one runs where requests are read: threads that hand over to
each other take longer than a short answer, so it does at once what is in memory, and the rest in a thread.
"""

import inspect
from typing import Any, get_args, get_origin, get_type_hints

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from palate.serve.http.answers import Route
from palate.serve.http.caller import CALLER, Need
from palate.serve.http.faults import Refusal
from palate.serve.http.server import Server

__all__ = ["Hot"]


class Hot(Route):
    """A route whose function takes ``body``, ``caller`` and ``here``, and nothing else.

    Raises:
        TypeError: When it is made for a function that takes anything else.
    """

    def __init__(self, path: str, endpoint: Any, **more: Any) -> None:
        if list(inspect.signature(endpoint).parameters) != ["body", "caller", "here"]:
            raise TypeError(f"{endpoint.__name__} must take body, caller and here to be served hot")
        super().__init__(path, endpoint, **more)
        hints = get_type_hints(endpoint, include_extras=True)
        self._body: TypeAdapter[Any] = TypeAdapter(hints["body"])
        self._need = _need(hints["caller"])
        self._at_once = inspect.iscoroutinefunction(endpoint)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["method"] not in (self.methods or ()):
            raise HTTPException(405)
        caller = self._need.check(scope[CALLER])
        sent = (await receive()).get("body", b"")  # the guard gives it in one piece
        body = self._read(scope, sent)
        server: Server = scope["app"].state.server
        if self._at_once:
            response = await self.endpoint(body, caller, server)
        else:
            response = await server.aside(self.endpoint, body, caller, server)
        await response(scope, receive, send)

    def _read(self, scope: Scope, sent: bytes) -> Any:
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if b"json" not in kind.lower():
            raise Refusal(415, "not_json", "send the body as JSON, with Content-Type: application/json")
        try:
            return self._body.validate_python(orjson.loads(sent))
        except orjson.JSONDecodeError as error:
            raise Refusal(400, "bad_request", f"the body is not JSON: {error.msg}") from error
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error


def _need(hint: Any) -> Need:
    """Return the scope that a function's ``caller`` needs, as its annotation says."""
    if get_origin(hint) is not None:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Depends) and isinstance(extra.dependency, Need):
                return extra.dependency
    raise TypeError("the caller of a hot route is Annotated[Caller, Depends(need(SCOPE))]")
