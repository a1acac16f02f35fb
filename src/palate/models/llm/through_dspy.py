"""Calls through DSPy: natively where it speaks a provider's protocol, else by LiteLLM.

DSPy's own layers for caching, history and retries are not used: the client does these things for a whole
session, over processes. What is used is what they stand on: ``dspy.lm15`` (requests, answers, errors, and
providers that speak them) and ``dspy.clients.engines.LiteLLMEngine`` for every other provider. Natively, one
call of 4,000 characters costs half a millisecond of processor time; through LiteLLM about ten times that.

Every call carries ``Idempotency-Key``, the name of the call's content, so that an endpoint that honours it
does not charge twice for a call that was cut off and made again.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from palate.core import ConfigError, MissingExtra
from palate.models.llm.engine import BrokenOff, Completion, EngineError
from palate.models.llm.http_errors import as_engine_error
from palate.models.llm.program import Message
from palate.models.llm.scrub import Scrubber
from palate.models.llm.wire import Request, Token

__all__ = ["DSPyEngine", "Endpoint", "canonical", "model_facts", "read_spec"]

_OURS = "palate-endpoint"
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}
_CONNECT_SECONDS = 10.0
_FINISH = {"length": "length", "content_filter": "refusal"}


class Endpoint(NamedTuple):
    """A model's name, taken apart: ``openai/NAME@http://host/v1`` has an address, others have none."""

    name: str
    address: str = ""

    @property
    def local(self) -> bool:
        """Whether the address is on this machine."""
        return (urlsplit(self.address).hostname or "") in _LOOPBACK


def read_spec(spec: str) -> Endpoint:
    """Take a model's name apart.

    Raises:
        ConfigError: If there is no name, or the address is none.

    >>> read_spec("openai/tiny@http://127.0.0.1:8000/v1")
    Endpoint(name='openai/tiny', address='http://127.0.0.1:8000/v1')
    """
    name, at, address = spec.partition("@http")
    if not at:
        base = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or ""
        return Endpoint(name, base if name.startswith("openai/") else "")
    address = f"http{address}"
    parts = urlsplit(address)
    if not name.startswith("openai/") or name == "openai/" or not parts.hostname:
        raise ConfigError(
            f"the model {name!r} at {parts.hostname or address!r} cannot be read: a model behind an "
            "OpenAI-compatible endpoint is written as openai/NAME@http://HOST:PORT/v1"
        )
    if parts.username or parts.password:
        raise ConfigError(
            f"the address of {name} holds a password; names of models are kept and shown: put the key into "
            "OPENAI_API_KEY instead"
        )
    return Endpoint(name, address)


def canonical(spec: str) -> str:
    """Return the name under which a model's calls are kept: with the address where the environment gives one.

    Raises:
        ConfigError: If it cannot be read.
    """
    name = spec.strip()
    if name.startswith("fake:"):
        return name
    endpoint = read_spec(name)
    return f"{endpoint.name}@{endpoint.address.rstrip('/')}" if endpoint.address else endpoint.name


def model_facts(spec: str) -> dict[str, Any]:
    """Return what LiteLLM's table, as it comes with DSPy, knows of a provider's model; else nothing."""
    endpoint = read_spec(spec)
    if endpoint.address:
        return {}
    provider, _, model = endpoint.name.partition("/")
    with suppress(Exception):  # the table is advice: whatever goes wrong with it, nothing is known
        _dspy(spec)
        from dspy.clients.model_metadata import model_info

        return dict(model_info(provider, model))
    return {}


class DSPyEngine:
    """Makes calls of one model. Safe with many threads at once.

    Args:
        spec: The model's name.
        timeout: Seconds that a call may take from end to end.
        connections: How many calls are made at the same time.

    Raises:
        ConfigError: If the name cannot be read.
        MissingExtra: If DSPy is not installed.
    """

    def __init__(self, spec: str, timeout: float, connections: int) -> None:
        self._endpoint = read_spec(spec)
        self._spec, self._timeout, self._connections = spec, timeout, connections
        self._lm15 = _dspy(spec)
        self._scrub = Scrubber()
        self._air = threading.local()  # of the call that this thread makes
        self._lock = threading.Lock()
        self._model = ""
        self._router: Any = None
        self._line: Any = None

    def __repr__(self) -> str:
        return f"DSPyEngine({self._spec!r})"

    def complete(self, model: str, messages: Sequence[Message], request: Request) -> Completion:
        """Make one call; see :class:`palate.models.llm.engine.Engine`."""
        air = self._air
        air.key, air.body, air.answered, air.heard = request.key(model, messages), b"", False, 0
        failure: EngineError
        try:
            with self._lock:
                line = self._line or self._open()
            asked = self._request(messages, request)
            return self._read(
                line.complete(asked) if not request.heard else self._aloud(line, asked, request)
            )
        except (ConfigError, ImportError):
            raise
        except Exception as error:
            failure = as_engine_error(error, self._spec, self._scrub, air.body, air.answered)
            if air.heard:
                failure = BrokenOff(f"the answer broke off after {air.heard:,} characters: {failure}")
        raise failure  # outside the handler: the library's error may hold what ours leaves out

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._line = None
            if self._router is not None:
                self._router.close()

    # ---- ways to send -------------------------------------------------------------------------

    def _open(self) -> Any:
        """Find the way to this model once: the native one, or LiteLLM."""
        provider, definitions, keys = self._provider()
        if provider is None:
            self._model = self._endpoint.name
            self._line = _ByLiteLLM(self._timeout, self._air)
        else:
            config = self._lm15.RouterConfig(
                providers=definitions, api_keys=keys, max_connections=self._connections + 1
            )
            self._router = self._lm15.LMRouter(config)
            native = self._router.lm(f"{provider}:{self._model}")
            native.transport = _Bounded(native.transport, self._timeout, self._air)
            self._line = native
        return self._line

    def _provider(self) -> tuple[str | None, tuple[Any, ...], dict[str, str] | None]:
        lm15, endpoint = self._lm15, self._endpoint
        if endpoint.address:
            key = os.environ.get("OPENAI_API_KEY") or ("none" if endpoint.local else "")
            access = lm15.AccessPolicy(_OURS, env_keys=("OPENAI_API_KEY",), base_url=endpoint.address)
            compat = lm15.OpenAIChatCompat(max_tokens_field="max_tokens", cache_control="none")
            self._model = endpoint.name.partition("/")[2]
            found = (lm15.ProviderDefinition.chat(access, compat=compat),)
            return _OURS, found, {_OURS: key} if key else None
        prefix = endpoint.name.partition("/")[0].upper()
        if any(os.environ.get(f"{prefix}_{end}") for end in ("API_BASE", "BASE_URL")):
            return None, (), None  # a gateway that LiteLLM knows how to reach
        try:
            resolution = lm15.LMRouter().resolve_openai_chat(endpoint.name)
        except lm15.UnknownModelError:
            return None, (), None
        self._model = resolution.model
        return resolution.provider, (), None

    # ---- there and back -------------------------------------------------------------------------

    def _request(self, messages: Sequence[Message], request: Request) -> Any:
        lm15 = self._lm15
        said = [
            lm15.Message.assistant(_clean(m.content))
            if m.role == "assistant"
            else lm15.Message.user(_clean(m.content))
            for m in messages
            if m.role != "system"
        ]
        config = lm15.Config(
            max_tokens=request.longest,
            temperature=request.temperature,
            seed=request.seed,
            logprobs=request.logprobs or None,
        )
        system = "\n\n".join(_clean(m.content) for m in messages if m.role == "system") or None
        return lm15.Request(model=self._model, messages=tuple(said), system=system, config=config)

    def _aloud(self, line: Any, asked: Any, request: Request) -> Any:
        """Let an answer be heard as it comes; return it whole."""
        with self._lm15.ResponseStream(line.stream(asked), asked) as pieces:
            for piece in pieces:
                if piece and request.heard:
                    request.heard(self._scrub.known(piece))
                    self._air.heard += len(piece)
            return pieces.response

    def _read(self, response: Any) -> Completion:
        refusals = [part.text for part in response.message.parts if part.type == "refusal"]
        text = "".join(part.text for part in response.message.parts if part.type == "text")
        usage = response.usage
        return Completion(
            self._scrub.known(text or "".join(refusals)),
            "refusal" if refusals and not text else _FINISH.get(response.finish_reason, "stop"),
            usage.input_tokens or 0,
            usage.output_tokens or 0,
            tuple(
                Token(t.token, t.logprob, tuple((top.token, top.logprob) for top in t.top))
                for t in response.logprobs or ()
            ),
        )


class _ByLiteLLM:
    """Calls by LiteLLM; its connections are its own."""

    def __init__(self, timeout: float, air: threading.local) -> None:
        self._timeout, self._air = timeout, air

    def complete(self, request: Any) -> Any:
        return self._engine().complete(request)

    def stream(self, request: Any) -> Any:
        return self._engine().stream(request)

    def _engine(self) -> Any:
        from dspy.clients.engines import LiteLLMEngine

        headers = {"Idempotency-Key": self._air.key}
        return LiteLLMEngine(timeout=self._timeout, extra_headers=headers)


class _Bounded:
    """A transport that names every call, and gives one up that takes too long from end to end."""

    def __init__(self, inner: Any, timeout: float, air: threading.local) -> None:
        self._inner, self._timeout, self._air = inner, timeout, air

    def stream(self, request: Any) -> "_Timed":
        request.headers.append(("Idempotency-Key", self._air.key))
        request.connect_timeout = min(self._timeout, _CONNECT_SECONDS)
        request.read_timeout = request.write_timeout = self._timeout
        return _Timed(self._inner.stream(request), self._timeout, self._air)

    def close(self) -> None:
        self._inner.close()


class _Timed:
    """An answer on its way that must be whole in time; one that comes in pieces, a piece each time."""

    def __init__(self, inner: Any, timeout: float, air: threading.local) -> None:
        self._inner, self._timeout, self._air = inner, timeout, air
        self._deadline = time.monotonic() + timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> "_Timed":
        self._inner.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._inner.__exit__(*reason)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            if time.monotonic() > self._deadline:
                raise TimeoutError("the answer was not whole in time")
            yield chunk

    def iter_lines(self) -> Iterator[bytes]:
        self._air.answered = True
        for line in self._inner.iter_lines():
            if line.startswith(b"data:"):
                self._deadline = time.monotonic() + self._timeout
            elif time.monotonic() > self._deadline:  # signs of life, and no word
                raise TimeoutError(f"nothing was said for {self._timeout:g} seconds")
            yield line

    def read(self) -> bytes:
        body = b"".join(self)
        self._air.answered = True
        if self._inner.status >= 400:
            self._air.body = body[:4000]
        return body


def _clean(text: str) -> str:
    """Replace what no endpoint takes: halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _dspy(spec: str) -> Any:
    """Import DSPy's protocol layer; the tables of prices and models are those it came with."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        from dspy import lm15
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the model {spec}", "llm", error.name or "dspy") from error
    return lm15
