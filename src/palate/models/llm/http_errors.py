"""From a library's error to one of ours: what an endpoint meant, whichever provider spoke."""

import json
import re
from typing import Any

from palate.models.llm.engine import (
    Disconnected,
    EngineError,
    Forbidden,
    NoSuchModel,
    RateLimited,
    Refused,
    Rejected,
    ServerFailed,
    TimedOut,
    TooLong,
    Unsupported,
)
from palate.models.llm.scrub import Scrubber

__all__ = ["as_engine_error"]

_TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size)|maximum.{0,20}(context|prompt|input).{0,10}length|"
    r"prompt is too long|too many (input )?tokens|input is too long|exceeds.{0,30}(context|token limit)",
    re.IGNORECASE | re.DOTALL,
)
_LIMITS = re.compile(
    r"(?:context (?:length|window|size)(?: is| of|:)?|maximum(?: of| is)|>|limit(?: of| is|:))"
    r"\s*\(?([\d,]{3,9})",
    re.IGNORECASE,
)
_SETTINGS = {
    "logprobs": re.compile(r"log[ _]?prob", re.IGNORECASE),
    "seed": re.compile(r"\bseed\b", re.IGNORECASE),
    "temperature": re.compile(r"\btemperature\b", re.IGNORECASE),
}
_FILTERED = re.compile(r"content[ _]?(policy|filter|management)|safety system|responsible ai", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"provider not provided|not a valid model|model .{0,80}(not found|does not exist)",
    re.IGNORECASE | re.DOTALL,
)
_CREDIT = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
_TIMED = {"ReadTimeout", "WriteTimeout"}
_UNHEARD = {"ConnectError", "ConnectTimeout", "ConnectionRefusedError"}
_NOBODY = re.compile(r"connection refused|name or service not known|nodename nor servname", re.IGNORECASE)
_LONGEST = 300


def as_engine_error(
    error: Exception, spec: str, scrub: Scrubber, body: bytes = b"", answered: bool = False
) -> EngineError:
    """Return what went wrong in the client's terms.

    Args:
        error: What DSPy, LiteLLM or the transport raised.
        spec: The model's name, for the message.
        scrub: Takes keys out of the message.
        body: The endpoint's words, where it answered with an error.
        answered: Whether it answered at all: then what cannot be understood is an answer that is none.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = _words(error, body)
    told = f"{spec}: {scrub(said)[:_LONGEST] or type(error).__name__}"
    status = getattr(error, "status", None)
    wait = getattr(error, "retry_after", None)
    if kinds & {"NotConfiguredError", "MissingCredentialError"}:
        return Forbidden(f"{spec}: no key was found{_variables(error)}")
    if kinds & {"AuthError", "BillingError"} or status in (401, 402, 403):
        return Forbidden(told)
    if "RateLimitError" in kinds or status == 429:
        return Forbidden(told) if _CREDIT.search(said) else RateLimited(told, wait)
    if "TimeoutError" in kinds or status in (408, 504):
        return TimedOut(told)
    if "TransportError" in kinds or isinstance(error, OSError):
        return _broken(error, told)
    if "ServerError" in kinds or status == 409 or (status or 0) >= 500:
        return ServerFailed(told, wait)
    if kinds & {"InvalidRequestError", "CapabilityError", "ConfigurationError"}:
        return _request_error(kinds, said, told, status)
    if "ProviderError" in kinds or answered:
        return ServerFailed(told, wait)  # an answer that is none: no JSON, or of no known shape
    return Rejected(f"{told} ({type(error).__name__})")


def _request_error(kinds: set[str], said: str, told: str, status: int | None) -> EngineError:
    """Tell the request errors apart."""
    if "ContextLengthError" in kinds or status == 413 or _TOO_LONG.search(said):
        found = _LIMITS.search(said)
        return TooLong(told, int(found[1].replace(",", "")) if found else 0)
    if kinds & {"UnsupportedModelError", "UnknownModelError"} or status == 404 or _UNKNOWN.search(said):
        return NoSuchModel(told)
    if _FILTERED.search(said):
        return Refused(told)
    for setting, pattern in _SETTINGS.items():
        if pattern.search(said):
            return Unsupported(told, setting)
    return Rejected(told)


def _broken(error: Exception, told: str) -> EngineError:
    """Tell a connection that broke from one that never was, and both from one that took too long."""
    cause = error.__cause__ or error
    names = {kind.__name__ for kind in type(cause).__mro__}
    if names & _TIMED:
        return TimedOut(told)
    return Disconnected(told, refused=bool(names & _UNHEARD) or bool(_NOBODY.search(told)))


def _words(error: Exception, body: bytes) -> str:
    """Return what was said, without the library's advice; from the body where the library missed it."""
    said = str(getattr(error, "message", None) or error).split("\n\n")[0].strip()
    try:
        found: Any = json.loads(body) if body else None
    except ValueError:
        return said
    if isinstance(found, dict) and "error" not in found:
        return str(found.get("message") or found.get("detail") or said)
    return said


def _variables(error: Exception) -> str:
    names = getattr(error, "env_keys", ()) or ()
    return f": set the environment variable {' or '.join(names)}" if names else ""
