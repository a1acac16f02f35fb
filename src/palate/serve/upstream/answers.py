"""Several answers of an upstream endpoint to one conversation: in one call, or one by one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from palate.serve.upstream.passing import Upstream, UpstreamFault
from palate.serve.upstream.splice import read_call, with_words

__all__ = ["several"]

_AT_ONCE = 8  # calls side by side


async def several(
    upstream: Upstream, fields: Mapping[str, Any], words: str, n: int, headers: Mapping[str, str]
) -> list[str]:
    """Return up to ``n`` answers, in the order in which they came; empty ones and refusals are left out.

    The endpoint is asked for all in one call. What that did not give is asked for in single calls: many
    endpoints know ``n`` and give one answer, others refuse it. A call that fails counts only if none gave
    an answer.

    Args:
        upstream: The endpoint.
        fields: The call's ``model``, ``messages`` and settings, without ``n``.
        words: The persona as a system message, "" for none.
        n: How many.
        headers: The caller's, for what may be passed on.

    Raises:
        UpstreamFault: If no call gave an answer.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(count: int) -> list[str]:
        body = orjson.dumps({**fields, **({"n": count} if count > 1 else {})})
        told = with_words(read_call(body), words)
        request = upstream.request(
            "POST", "/chat/completions", told, {**headers, "content-type": "application/json"}
        )
        async with gate:
            status, answer = await upstream.whole(request)
        return _texts(status, answer)

    found: list[str] = []
    faults: list[UpstreamFault] = []
    try:
        found = await ask(n)
    except UpstreamFault as error:
        if n == 1 or error.code != "upstream_refused":
            raise
        faults.append(error)
    missing = n - len(found) if n > 1 else 0
    for each in await asyncio.gather(*(ask(1) for _ in range(missing)), return_exceptions=True):
        if isinstance(each, UpstreamFault):
            faults.append(each)
        elif isinstance(each, BaseException):
            raise each
        else:
            found += each
    if not found:
        raise faults[-1] if faults else UpstreamFault(502, "upstream_empty", "the upstream gave no answer")
    return found[:n]


def _texts(status: int, body: bytes) -> list[str]:
    """Return the answers in a completion's body.

    Raises:
        UpstreamFault: If it is an error, or no completion.
    """
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        read = None
    if status >= 400:
        said = _said(read)
        busy = status in (429, 503)
        raise UpstreamFault(
            503 if busy else 502,
            "upstream_busy" if busy else "upstream_refused",
            f"the upstream refused with status {status}{said}",
        )
    choices = read.get("choices") if isinstance(read, dict) else None
    if not isinstance(choices, list):
        raise UpstreamFault(502, "upstream_odd", "the upstream answered with something that is no completion")
    texts = [_content(choice) for choice in choices]
    return [text for text in texts if text.strip()]


def _content(choice: Any) -> str:
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content.replace("\x00", "") if isinstance(content, str) else ""


def _said(read: Any) -> str:
    """Return an endpoint's own message, in short."""
    error = read.get("error", read) if isinstance(read, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return f": {message[:300]}" if isinstance(message, str) and message else ""
