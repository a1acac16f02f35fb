"""What a server's refusal becomes in the client: errors of Palate's own tree, with the status.

BadRequest   400, 413, 414, 415, 422   the request cannot be as it is          a DataError
NotAllowed   401, 403                  the key is missing, wrong, too weak     a KeyRefused
NotFound     404                       no such user, choice, version           a DataError
Conflict     409                       somebody else changed it since          a DataError
TooMany      429                       more requests than the key may send     an EndpointDown
ServerDown   5xx, no answer            the server cannot, or is not there      an EndpointDown
"""

from collections.abc import Mapping

import orjson

from palate.core import DataError, EndpointDown, KeyRefused, PalateError

__all__ = [
    "BadRequest",
    "Conflict",
    "NotAllowed",
    "NotFound",
    "ServerDown",
    "ServerSaid",
    "TooMany",
    "error_of",
]


class ServerSaid(PalateError):
    """A request that was not served.

    Attributes:
        status: HTTP status; 0 where there was no answer.
        code: The server's word for it, for programs.
        field: Which field of the request is to blame, or None.
        request_id: Under which the server logged it, "" where it named none.
    """

    def __init__(
        self, message: str, status: int = 0, code: str = "", field: str | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.field, self.request_id = status, code, field, request_id


class BadRequest(ServerSaid, DataError):
    """The request cannot be as it is."""


class NotAllowed(ServerSaid, KeyRefused):
    """The key is missing or wrong, or may not do this."""


class NotFound(ServerSaid, DataError):
    """There is no such user, choice, version, receipt or route."""


class Conflict(ServerSaid, DataError):
    """Somebody else changed it since, or the key names another choice."""


class TooMany(ServerSaid, EndpointDown):
    """More requests than the key may send."""


class ServerDown(ServerSaid, EndpointDown):
    """The server cannot serve it now, or does not answer."""


_KINDS: dict[int, type[ServerSaid]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: TooMany,
}


def error_of(status: int, body: bytes, headers: Mapping[str, str]) -> ServerSaid:
    """Return the error that an answer tells.

    Args:
        status: HTTP status, 400 or more.
        body: A fault as the server writes it; anything else is told by its status.
        headers: Of the answer.

    >>> error_of(404, b'{"error": {"code": "unknown_user", "message": "no user", "field": "user"}}', {})
    NotFound('no user (status 404, unknown_user)')
    """
    kind = _KINDS.get(status, ServerDown if status >= 500 else BadRequest)
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        read = None
    error = read.get("error") if isinstance(read, dict) else None
    if isinstance(read, dict) and read.get("refused"):  # choices that were refused, all of them
        error = {"code": "bad_request", **read["refused"][0]}
    error = error if isinstance(error, dict) else {"message": error}
    message, code, field = error.get("message"), error.get("code"), error.get("field")
    said = message if isinstance(message, str) and message else "the server says no more than the status"
    code = code if isinstance(code, str) else ""
    told = f"{said} (status {status}{', ' + code if code else ''})"
    return kind(
        told, status, code, field if isinstance(field, str) else None, headers.get("x-request-id", "")
    )
