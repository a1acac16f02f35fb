"""Bodies as answers, once: what a route made is written as JSON and is not checked again.

A route names its model by ``response_model``, for the API's description, and returns :func:`answer`.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from palate.serve.wire.operate import Fault

__all__ = ["FAULTS", "Route", "answer"]

FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault, "description": told}
    for status, told in {
        400: "The body is not JSON, or a header is wrong.",
        401: "No key, a wrong one, or one that ran out.",
        403: "The key may not do this, or not for this user.",
        404: "Not found.",
        409: "Somebody else changed it since, or the key names another choice.",
        413: "The body is too large.",
        414: "The address is too long.",
        415: "The body is not sent as JSON.",
        422: "A field cannot be as it is; the fault names it.",
        429: "Too many requests; the header Retry-After says when to come again.",
        431: "The headers are too large.",
        500: "A fault of the server.",
        502: "The upstream endpoint erred.",
        503: "The database or the model does not answer now; the header Retry-After says when to come again.",
        504: "It took too long.",
    }.items()
}
"""What any route may answer besides its own."""


def answer(body: BaseModel | Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a body as JSON.

    Args:
        body: A model of ``palate.serve.wire``, or plain values.
        status: HTTP status.
        headers: To send along.

    >>> answer({"a": [1.5]}).body
    b'{"a":[1.5]}'
    """
    if isinstance(body, BaseModel):
        content: bytes = body.__pydantic_serializer__.to_json(body, by_alias=True)
    else:
        content = orjson.dumps(body, default=_plain)
    return Response(content, status, headers, "application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__name__} is no JSON")


class _Read(Request):
    async def json(self) -> Any:
        """Read the body strictly: no NaN, no half surrogate pairs, no endless nesting."""
        return orjson.loads(await self.body())


class Route(APIRoute):
    """A route that reads bodies by orjson."""

    def get_route_handler(self) -> Any:
        """Return the handler, given a request that reads strictly."""
        handler = super().get_route_handler()

        async def read(request: Request) -> Response:
            response: Response = await handler(_Read(request.scope, request.receive))
            return response

        return read
