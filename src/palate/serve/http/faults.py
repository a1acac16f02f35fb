"""Errors as answers: what was seen, what was expected, how to mend it; never a user's text.

400 bad_request      the body is no JSON, a header is wrong
401 no_key           no key, a wrong one, one that ran out
403 forbidden        the key may not do this, or not for this user
404 not_found        no such route, user, choice, version, receipt
405 wrong_method     the route knows other methods
409 conflict         somebody else changed it since
413 too_large        the body, 414 the address, 431 the headers
415 not_json         the body is of another kind
422 bad_request      the body has a field that cannot be
429 too_many         more requests than the key may send; Retry-After says when
503 unavailable      the database does not answer; Retry-After says when
504 timeout          it took too long
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from palate.core import (
    ConfigError,
    DataError,
    EncoderError,
    MethodError,
    ModelError,
    NotFitted,
    PalateError,
    PersonaMismatch,
    StorageError,
)
from palate.serve.http.logs import log_error
from palate.serve.http.routes.pages import missing
from palate.serve.store.faults import ConflictError

__all__ = ["RETRY_S", "Refusal", "fault", "install_faults", "trouble_of", "unknown_user"]

RETRY_S = "1"
_PLACES = {"body", "path", "query", "header", "Choice", "Choices"}  # where, or as which kind, not a field
_CODES = {400: "bad_request", 404: "not_found", 405: "wrong_method", 413: "too_large", 415: "not_json"}


class Refusal(HTTPException):
    """A request that is not served, as its caller is told.

    Args:
        status: HTTP status.
        code: For programs.
        message: For people; it may name what was sent as a name or key, never a text.
        field: Which field it is about.
        headers: To send along, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code, self.field = code, field


def unknown_user(user: str) -> Refusal:
    """Return what is told of a user of whom nothing is kept."""
    return Refusal(404, "unknown_user", f"nothing is kept of the user {_short(user)!r}", "user")


def fault(
    status: int,
    code: str,
    message: str,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer of an error: a body as :class:`palate.serve.wire.operate.Fault` tells."""
    error = {"code": code, "message": _text(message), "field": None if field is None else _text(field)}
    return Response(orjson.dumps({"error": error}), status, headers, "application/json")


def install_faults(app: FastAPI) -> None:
    """Answer every error of the routes with a fault."""
    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        HTTPException: _refused,
        RequestValidationError: _invalid,
        PalateError: _failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def trouble_of(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return field and message of the first error that pydantic found, without what was sent."""
    first = errors[0]
    path = [str(part) for part in first["loc"] if part not in _PLACES]
    message = str(first["msg"]).removeprefix("Value error, ")
    return ".".join(path), message if len(errors) == 1 else f"{message} (and {len(errors) - 1} more)"


async def _refused(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):
        return missing(request)
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    code = getattr(error, "code", _CODES.get(error.status_code, "refused"))
    message = str(error.detail)
    if not isinstance(error, Refusal):
        message = _PLAIN.get(error.status_code, message)
    return fault(error.status_code, code, message, getattr(error, "field", None), headers)


_PLAIN = {
    404: "no such route: /openapi.json and /docs list them",
    405: "the route does not know this method: the header Allow names those it knows",
    400: "the body cannot be read: send JSON",
}


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    errors = error.errors()
    if errors and errors[0].get("type") == "json_invalid":
        return fault(400, "bad_request", f"the body is not JSON: {errors[0].get('ctx', {}).get('error', '')}")
    field, message = trouble_of(errors)
    kind = request.headers.get("content-type", "")
    if request.method in ("POST", "PUT", "PATCH") and "json" not in kind:
        return fault(415, "not_json", "send the body as JSON, with Content-Type: application/json")
    return fault(422, "bad_request", message, field)


async def _failed(request: Request, error: PalateError) -> Response:
    status = getattr(error, "status", None)
    if isinstance(error, ModelError) and isinstance(status, int):  # of the upstream, which says its own
        return fault(status, getattr(error, "code", "upstream"), str(error), getattr(error, "field", None))
    if isinstance(error, ConflictError):
        return fault(409, "conflict", str(error))
    if isinstance(error, StorageError):
        _note(request, error)
        return fault(503, "unavailable", _kind(error), None, {"Retry-After": RETRY_S})
    if isinstance(error, NotFitted | PersonaMismatch | EncoderError | ModelError):
        _note(request, error)
        message = "the model cannot answer now: try again in a second"
        return fault(503, "unavailable", message, None, {"Retry-After": RETRY_S})
    if isinstance(error, DataError | MethodError | ConfigError):
        return fault(422, "bad_request", str(error))
    _note(request, error)
    return fault(500, "server_error", "this is a fault of the server; the request's id helps to find it")


def _kind(error: StorageError) -> str:
    """Return what a caller is told: the store's own words where they are meant for callers."""
    told = str(error)
    if told.startswith(_TOLD):
        return told
    return "the database does not answer: nothing was kept of this request; try again in a second"


_TOLD = (
    "the disk is full",
    "the database was busy",
    "the database went away while",
    "the persona kept changing",
)


def _note(request: Request, error: Exception) -> None:
    log_error(error, request.scope.get("palate.id"))


def _methods(request: Request) -> set[str]:
    """Return the methods of all routes that this path leads to."""
    found: set[str] = set()
    for route in request.app.routes:
        matched, _ = route.matches({**request.scope, "method": "GET"})
        if matched is not Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return found


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _text(value: str) -> str:
    """Return text that can be sent, whatever was in the request that it quotes."""
    return value.encode("utf-8", "replace").decode()[:2000]
