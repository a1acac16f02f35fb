"""One route as one function: what fills a request is written once, and both clients have it as a method.

A function fills in path, query and body; :func:`route` makes it a :class:`Verb`. As an attribute of a client
that waits it is a method that returns the answer, of one that awaits a method that returns an awaitable.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from palate.client.answered import ServerDown
from palate.core import DataError

__all__ = ["Awaiting", "Call", "Fill", "Verb", "Waiting", "route"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Fill:
    """What a request is filled with.

    Attributes:
        path: Values of the route's template.
        query: Values; None is left out.
        body: Sent as JSON; None sends none.
        headers: To send along.
        again: Whether it may be sent again when nobody knows whether it was done; None: as the route says.
        timeout: Longest wait for the answer in seconds; None: as the client says.
    """

    path: Mapping[str, str | int] = field(default_factory=dict)
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    again: bool | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request that is ready to be sent, and what reads its answer."""

    method: str
    path: str
    content: bytes | None
    headers: Mapping[str, str]
    again: bool
    answer: Any
    timeout: float | None = None

    def read(self, body: bytes) -> T:
        """Read the body of a success.

        Raises:
            ServerDown: If it is something else: a proxy's page, another version's answer.
        """
        if self.answer is bytes or self.answer is type(None):
            return body if self.answer is bytes else None  # type: ignore[return-value]
        try:
            return _adapter(self.answer).validate_json(body)  # type: ignore[no-any-return]
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise ServerDown(
                f"{self.method} {self.path} was answered with something else than this client reads "
                f"({where}: {first['msg']}): see that server and client are of one version"
            ) from error


class Waiting(ABC):
    """A client whose methods return answers."""

    @abstractmethod
    def run(self, call: Call[T]) -> T:
        """Send a request and return what its answer reads as."""


class Awaiting(ABC):
    """A client whose methods return awaitables."""

    @abstractmethod
    def run(self, call: Call[T]) -> Awaitable[T]:
        """Send a request and return what its answer reads as."""


class Verb(Generic[P, T]):
    """A route of the server, as a method of both clients.

    Attributes:
        method: HTTP method.
        template: Path with the names of its values in braces, as OpenAPI has it.
    """

    def __init__(self, spec: str, answer: Any, again: bool, fill: Callable[P, Fill]) -> None:
        self.method, self.template = spec.split(" ")
        self._answer, self._again, self._fill = answer, again, fill
        self.__doc__ = fill.__doc__

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """Return the request that these arguments make.

        Raises:
            DataError: If an argument cannot be as it is.
        """
        try:
            fill = self._fill(*args, **kwargs)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the arguments"
            told = str(first["msg"]).removeprefix("Value error, ")
            raise DataError(f"{self._fill.__name__}: {where}: {told}") from error
        path = self.template.format(**{name: _segment(value) for name, value in fill.path.items()})
        query = [f"{k}={quote(str(v), safe='')}" for k, v in fill.query.items() if v is not None]
        headers, content = dict(fill.headers), None
        if fill.body is not None:
            content, headers["content-type"] = _json(fill.body), "application/json"
        again = self._again if fill.again is None else fill.again
        whole = f"{path}?{'&'.join(query)}" if query else path
        return Call(self.method, whole, content, headers, again, self._answer, fill.timeout)

    @overload
    def __get__(self, client: Waiting, owner: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: Any = None) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, client: None, owner: Any = None) -> "Verb[P, T]": ...
    def __get__(self, client: Waiting | Awaiting | None, owner: Any = None) -> Any:
        """Return it as a method of a client."""
        if client is None:
            return self

        @functools.wraps(self._fill)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.run(self.call(*args, **kwargs))

        return method


def route(spec: str, answer: type[T], *, again: bool = True) -> Callable[[Callable[P, Fill]], Verb[P, T]]:
    """Make a function that fills a request the method of a route.

    Args:
        spec: Method and path, as ``GET /v1/users/{user}/persona``.
        answer: What the answer's body reads as; ``bytes`` takes it as it is.
        again: Whether it may be sent again when nobody knows whether it was done.
    """
    return lambda fill: Verb(spec, answer, again, fill)


@functools.cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def _json(body: Any) -> bytes:
    if isinstance(body, BaseModel):
        return body.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _segment(value: str | int) -> str:
    """Return a value as one segment of a path, whatever it holds.

    >>> _segment("a/b"), _segment("..")
    ('a%2Fb', '%2E%2E')
    """
    text = quote(str(value), safe="")
    return text.replace(".", "%2E") if set(text) == {"."} else text
