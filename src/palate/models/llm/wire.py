"""A request to a language model, its answer, and a conversation with one written as a generator.

Code that needs answers is a plain generator: it yields the requests that may be made at the same time and
is sent their answers, in the same order,

    def write(history):
        (reply,) = yield [Request(INSIGHTS, (Section("choice", text),))]
        return reply.value if isinstance(reply, Reply) else None

so it stays synchronous and can be read from top to bottom; ``yield from`` composes. A client drives many of
them at once (``Client.run``), shares equal requests, and keeps every answer.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from palate.models.llm.program import Message, Program, Section, Told

__all__ = ["Answer", "Asking", "Fault", "Reply", "Request", "Token"]

T = TypeVar("T")


class Token(NamedTuple):
    """A token of an answer with its log-probability, and the likeliest tokens at its place.

    Attributes:
        text: The token.
        logprob: Its natural log-probability.
        top: The likeliest tokens there with theirs, the token itself among them where it is likely.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a language model. Equal requests are one call.

    Attributes:
        program: What is asked for, in which words, and how the answer is read.
        sections: The material, in order.
        temperature: 0 takes the likeliest words.
        seed: Sent where the endpoint takes one; None sends none.
        sample: Number of the draw: requests that differ in it alone are separate calls.
        logprobs: How many likeliest tokens are asked for at each place of the answer; 0 asks for none.
        max_tokens: Longest answer; 0 takes the program's.
        lm: Which model is asked; "" is that of the client that drives the conversation.
        heard: Is given the answer piece by piece as it comes, by an engine that can; it is no part of the
            call's content. See :func:`palate.models.llm.stream.spoken`.
    """

    program: Program
    sections: tuple[Section, ...]
    temperature: float = 0.0
    seed: int | None = None
    sample: int = 0
    logprobs: int = 0
    max_tokens: int = 0
    lm: str = ""
    heard: Callable[[str], None] | None = field(default=None, compare=False, repr=False)

    @property
    def longest(self) -> int:
        """The longest answer, in tokens."""
        return self.max_tokens or self.program.max_tokens

    def told(self, limit: int) -> Told:
        """Return the messages, shortened to a model that reads ``limit`` tokens, the answer included."""
        return self.program.tell(self.sections, limit - self.longest)

    def key(self, model: str, messages: Sequence[Message]) -> str:
        """Return the name under which the answer is kept: a hash of the whole call.

        Model, program and its version, every message and every setting count; who asks does not.
        """
        whole = [
            model,
            self.program.key,
            [tuple(m) for m in messages],
            self.temperature,
            self.seed,
            self.sample,
            self.logprobs,
            self.longest,
        ]
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def but(self, **changes: Any) -> "Request":
        """Return the request with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that could be read.

    Attributes:
        text: The words of the model.
        value: What the program read in them.
        tokens_in: Tokens of the prompt, as the endpoint counts them, or an estimate where it does not.
        tokens_out: Tokens of the answer.
        seconds: How long the call took when it was made.
        logprobs: Token by token, where asked for and given.
        paid: Whether this call was made now; False for an answer from the store or of an equal call.
        key: The name under which the call is kept.
        finish: How it ended: ``stop``, or ``length`` where the longest answer cut it off.
    """

    text: str
    value: Any
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    logprobs: tuple[Token, ...] = ()
    paid: bool = True
    key: str = ""
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Fault:
    """A call that gave no answer that could be read; it is counted and reported, never taken for a tie.

    Attributes:
        kind: One of ``refused``, ``malformed``, ``truncated``, ``timeout``, ``rate limit``, ``server``,
            ``too long``.
        message: What was seen.
        key: The name under which the call is kept, where there was an answer.
    """

    kind: str
    message: str
    key: str = ""


Answer = Reply | Fault
Asking = Generator[Sequence[Request], Sequence[Answer], T]
"""A conversation with a model that ends in a T: yields requests, is sent their answers in order."""
