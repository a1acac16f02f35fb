"""What makes one call: the protocol, an answer as it came, and what can go wrong with it.

An engine sends one request once and says plainly what happened. It never waits, retries, keeps or counts:
the client does. Engines are found by the model's name:

    openai/gpt-4o-mini               any model string of DSPy or litellm
    openai/NAME@http://host:8000/v1  a model behind an OpenAI-compatible endpoint
    fake:...                         a reader that is no language model, from ``palate.fakes.reader``

An engine raises one of the errors below, and no other, for what an endpoint did.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, Protocol, cast, runtime_checkable

from palate.models.llm.program import Message
from palate.models.llm.wire import Request, Token

__all__ = [
    "BrokenOff",
    "Closes",
    "Completion",
    "Disconnected",
    "Engine",
    "EngineError",
    "Forbidden",
    "NoSuchModel",
    "RateLimited",
    "Refused",
    "Rejected",
    "ServerFailed",
    "TimedOut",
    "TooLong",
    "Unsupported",
    "identity",
    "is_fake",
    "make_engine",
]

_FAKES = "palate.fakes.reader"


class Completion(NamedTuple):
    """An answer as the endpoint gave it.

    Attributes:
        text: The words.
        finish: ``stop``; ``length`` where the longest answer cut it off; ``refusal`` where the model or a
            filter declined.
        tokens_in: Tokens of the prompt, 0 where the endpoint does not say.
        tokens_out: Tokens of the answer, 0 where the endpoint does not say.
        logprobs: Token by token, where asked for and given.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    logprobs: tuple[Token, ...] = ()


class EngineError(Exception):
    """A call that gave no answer. The message holds no key."""


class RateLimited(EngineError):
    """Too many calls (429). ``wait`` is what the endpoint asks for, in seconds, or None."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class ServerFailed(EngineError):
    """The endpoint failed (5xx), or answered with something that is no answer."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class TimedOut(EngineError):
    """No answer in time. The call may have been made, and charged, all the same."""


class Disconnected(EngineError):
    """No connection, or one that broke. ``refused`` says that nobody listened, so nothing was charged."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class BrokenOff(EngineError):
    """An answer that stopped coming after a part of it had been heard: another try might say it otherwise."""


class Forbidden(EngineError):
    """The key is missing, wrong, not allowed, or without credit (401, 402, 403)."""


class NoSuchModel(EngineError):
    """The endpoint or the library does not know the model (404)."""


class TooLong(EngineError):
    """The prompt is longer than the model reads. ``limit`` is what it reads, in tokens; 0 where not said."""

    def __init__(self, message: str, limit: int = 0) -> None:
        super().__init__(message)
        self.limit = limit


class Unsupported(EngineError):
    """A setting that this endpoint does not take: ``logprobs``, ``seed`` or ``temperature``."""

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


class Refused(EngineError):
    """A filter of the endpoint declined the prompt."""


class Rejected(EngineError):
    """Another request error (4xx): the same request will fail again."""


class Engine(Protocol):
    """Makes one call. Used from many threads at once."""

    def complete(self, model: str, messages: Sequence[Message], request: Request) -> Completion:
        """Send the messages with the request's settings, once.

        Args:
            model: The model's full name, as the client knows it.
            messages: What is sent.
            request: Its temperature, seed, logprobs and longest answer count; its sections are in the
                messages already. Where it has ``heard``, an engine that can gives it the answer piece by
                piece; one that cannot leaves it alone.

        Raises:
            EngineError: One of this file.
        """


@runtime_checkable
class Closes(Protocol):
    """An engine with something to close: connections."""

    def close(self) -> None:
        """Let go of what is held open."""


def identity(spec: str) -> str:
    """Return what a model's answers are kept under: its name, and of a fake in process also its version.

    A model's name stands for what answers; a fake answers otherwise as soon as its code is changed.
    """
    if not _in_process(spec):
        return spec
    return f"{spec} {import_module(_FAKES).version()}"


def is_fake(spec: str) -> bool:
    """Whether a name stands for a reader that is no language model, in process or over HTTP.

    >>> is_fake("fake:world"), is_fake("openai/fake-world@http://127.0.0.1:80/v1"), is_fake("openai/gpt-4o")
    (True, True, False)
    """
    return _in_process(spec) or spec.partition("@")[0].rpartition("/")[2].startswith("fake-")


def make_engine(spec: str, timeout: float, connections: int) -> Engine:
    """Return the engine of a model.

    Args:
        spec: The model's name.
        timeout: Seconds that a call may take.
        connections: How many calls are made at the same time.

    Raises:
        ConfigError: If the name cannot be read.
        MissingExtra: If it needs packages that are not installed.
    """
    if _in_process(spec):
        return cast(Engine, import_module(_FAKES).make_engine(spec))
    from palate.models.llm.through_dspy import DSPyEngine

    return DSPyEngine(spec, timeout, connections)


def _in_process(spec: str) -> bool:
    return spec.partition(":")[0] == "fake"
