"""The clients: one that waits and one that awaits, with a method a route."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import orjson

from palate.client import operate, people, use
from palate.client.answered import error_of
from palate.client.sending import Patience, broken
from palate.client.verb import Awaiting, Call, Waiting
from palate.core import ConfigError

__all__ = ["KEY", "AsyncPalate", "Palate", "Verbs"]

T = TypeVar("T")
KEY = "PALATE_KEY"
"""The environment variable that holds the key where none is given."""


class Verbs:
    """The methods of both clients; :class:`AsyncPalate`'s are to be awaited."""

    choose = people.choose
    feedback = people.feedback
    choices = people.choices
    remove_choice = people.remove_choice
    users = people.users
    persona = people.persona
    edit = people.edit
    versions = people.versions
    version = people.version
    revert = people.revert
    set_profile = people.set_profile
    export = people.export
    erase = people.erase
    receipt = people.receipt

    rank = use.rank
    reward = use.reward
    judge = use.judge
    jury = use.jury
    next_pairs = use.next_pairs
    best_of = use.best_of
    chat = use.chat
    models = use.models
    reward_openrlhf = use.reward_openrlhf
    reward_verl = use.reward_verl

    whoami = operate.whoami
    audit = operate.audit
    make_key = operate.make_key
    keys = operate.keys
    revoke_key = operate.revoke_key
    make_token = operate.make_token
    model = operate.model
    swap_model = operate.swap_model
    pool = operate.pool
    add_to_pool = operate.add_to_pool
    remove_from_pool = operate.remove_from_pool
    people_map = operate.people_map
    state = operate.state
    health = operate.health
    ready = operate.ready
    metrics = operate.metrics


class Palate(Verbs, Waiting):
    """A client that waits for answers; threads may share it.

    Args:
        url: Where the server listens, as ``http://127.0.0.1:8000``.
        key: An API key or a user's token; "" takes that of the environment variable ``PALATE_KEY``.
        timeout: Longest wait for an answer, in seconds.
        retries: How often a request is sent again at most; see ``palate.client.sending``.
        longest_wait: Longest wait before it is sent again, in seconds.
        transport: In the place of the network, for tests.

    Raises:
        ConfigError: If the URL is none.

    Every method raises :class:`palate.client.ServerSaid`, as one of its kinds, where it is not served.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        timeout: float = 30.0,
        retries: int = 4,
        longest_wait: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.patience = Patience(retries, longest_wait)
        base, headers = _where(url, key)
        self._http = httpx.Client(base_url=base, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """Send a request, again where that helps and does no harm, and read its answer."""
        sent = 0
        while True:
            sent += 1
            try:
                response = self._http.send(_request(self._http, call))
            except httpx.HTTPError as error:
                told, wait = self.patience.after_break(call, sent, error)
            else:
                if response.is_success:
                    return call.read(response.content)
                told, wait = self.patience.after_answer(call, sent, response)
            if wait is None:
                raise told
            time.sleep(wait)

    def chat_stream(self, call: Mapping[str, Any], user: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the events of a chat call as they come; arguments as of :meth:`chat`.

        Raises:
            ServerSaid: If it is not served, or breaks off.
        """
        made = use.chat.call({**call, "stream": True}, user)
        try:
            response = self._http.send(_request(self._http, made), stream=True)
            try:
                if not response.is_success:
                    raise error_of(response.status_code, response.read(), response.headers)
                yield from filter(None, map(_event, response.iter_lines()))
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise broken(made, error) from error


class AsyncPalate(Verbs, Awaiting):
    """A client whose methods are awaited; the arguments are those of :class:`Palate`."""

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        timeout: float = 30.0,
        retries: int = 4,
        longest_wait: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.patience = Patience(retries, longest_wait)
        base, headers = _where(url, key)
        self._http = httpx.AsyncClient(base_url=base, headers=headers, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Send a request, again where that helps and does no harm, and read its answer."""
        sent = 0
        while True:
            sent += 1
            try:
                response = await self._http.send(_request(self._http, call))
            except httpx.HTTPError as error:
                told, wait = self.patience.after_break(call, sent, error)
            else:
                if response.is_success:
                    return call.read(response.content)
                told, wait = self.patience.after_answer(call, sent, response)
            if wait is None:
                raise told
            await asyncio.sleep(wait)

    async def chat_stream(
        self, call: Mapping[str, Any], user: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a chat call as they come; arguments as of :meth:`chat`.

        Raises:
            ServerSaid: If it is not served, or breaks off.
        """
        made = use.chat.call({**call, "stream": True}, user)
        try:
            response = await self._http.send(_request(self._http, made), stream=True)
            try:
                if not response.is_success:
                    raise error_of(response.status_code, await response.aread(), response.headers)
                async for line in response.aiter_lines():
                    event = _event(line)
                    if event is not None:
                        yield event
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise broken(made, error) from error


def _where(url: str, key: str) -> tuple[str, dict[str, str]]:
    """Return the base URL and the headers of every request."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"the server's URL is {url!r}: expected one such as http://127.0.0.1:8000")
    secret = key or os.environ.get(KEY, "")
    return url.rstrip("/"), {"authorization": f"Bearer {secret}"} if secret else {}


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    timeout = http.timeout if call.timeout is None else httpx.Timeout(call.timeout, connect=10.0)
    return http.build_request(
        call.method, call.path, content=call.content, headers=call.headers, timeout=timeout
    )


def _event(line: str) -> dict[str, Any] | None:
    """Return the object of a line of server-sent events, or None for one that holds none."""
    text = line.removeprefix("data:").strip() if line.startswith("data:") else ""
    read = orjson.loads(text) if text.startswith("{") else None
    return read if isinstance(read, dict) else None
