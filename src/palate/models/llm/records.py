"""Kept calls: as they are read by people, and as they are packed into the store."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from palate.models.llm.engine import Completion
from palate.models.llm.program import Message
from palate.models.llm.wire import Request, Token

__all__ = ["Call", "Kept", "Packed", "Use", "pack", "unpack_answer", "unpack_prompt"]

_LEVEL = 1  # of zlib: a prompt shrinks to a half in 60 microseconds; more effort gains a tenth


class Kept(NamedTuple):
    """An answer from the store."""

    completion: Completion
    seconds: float


class Use(NamedTuple):
    """That a call served somebody: a user of a method, in a run (its last one)."""

    user: str
    method: str
    run: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it was made.

    Attributes:
        key: The name of its content, 32 hexadecimal digits.
        model: The model's name.
        program: The program's key: name, version, and a hash of its words.
        messages: The prompt.
        settings: ``temperature``, ``seed``, ``sample``, ``logprobs`` and ``max_tokens``.
        text: The answer.
        finish: Why it ended: ``stop``, ``length`` or ``refusal``.
        tokens_in: Tokens of the prompt.
        tokens_out: Tokens of the answer.
        seconds: How long the call took.
        logprobs: Token by token, where asked for and given.
        when: Seconds since 1970.
        fault: Why the answer could not be used, "" if it could.
        uses: Whom it served.
    """

    key: str
    model: str
    program: str
    messages: tuple[Message, ...]
    settings: dict[str, Any]
    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    seconds: float
    logprobs: tuple[Token, ...]
    when: float
    fault: str = ""
    uses: tuple[Use, ...] = ()


class Packed(NamedTuple):
    """A call as a row: the columns of the store's table, in order."""

    key: bytes
    model: str
    program: str
    prompt: bytes
    answer: bytes
    finish: str
    tokens_in: int
    tokens_out: int
    seconds: float
    made: float


def pack(
    key: str,
    model: str,
    request: Request,
    messages: Sequence[Message],
    completion: Completion,
    seconds: float,
    when: float,
) -> Packed:
    """Turn a call that was answered into a row."""
    settings = {
        "temperature": request.temperature,
        "seed": request.seed,
        "sample": request.sample,
        "logprobs": request.logprobs,
        "max_tokens": request.longest,
    }
    c = completion
    return Packed(
        bytes.fromhex(key),
        model,
        request.program.key,
        _squeeze([settings, *messages]),
        _squeeze([c.text, *c.logprobs]),
        c.finish,
        c.tokens_in,
        c.tokens_out,
        seconds,
        when,
    )


def unpack_prompt(prompt: bytes) -> tuple[dict[str, Any], tuple[Message, ...]]:
    """Return the settings and the messages."""
    settings, *messages = _open(prompt)
    return settings, tuple(Message(*message) for message in messages)


def unpack_answer(answer: bytes) -> tuple[str, tuple[Token, ...]]:
    """Return the words and their log-probabilities."""
    text, *tokens = _open(answer)
    return text, tuple(Token(t, p, tuple((word, q) for word, q in top)) for t, p, top in tokens)


def _squeeze(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode("utf-8", "surrogatepass"), _LEVEL)


def _open(packed: bytes) -> Any:
    return json.loads(zlib.decompress(packed).decode("utf-8", "surrogatepass"))
