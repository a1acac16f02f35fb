"""The engine of a fake: a request in, an answer out, by reading the messages and nothing else.

The task is found by the first line of the system message; a conversation without any, or with a persona as
``palate.export`` puts it, is carried on. ``make_engine`` is what the client calls for a model whose name
begins with ``fake:``.
"""

import hashlib
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from palate.fakes import verdicts, writing
from palate.fakes.knobs import Draws, Knobs
from palate.fakes.prompts import Seen, read_chat, read_messages
from palate.fakes.proposals import fill_fields
from palate.fakes.verdicts import Said
from palate.feedback.world_answers import world_answers
from palate.models.llm.engine import (
    Completion,
    Disconnected,
    RateLimited,
    ServerFailed,
    TimedOut,
    TooLong,
)
from palate.models.llm.program import Message
from palate.models.llm.wire import Request, Token

__all__ = ["TITLES", "FakeEngine", "Reader", "Settings", "Transport", "make_engine", "tokens", "version"]

Task = Callable[[Seen, Knobs, Draws, float], Said]
_TASKS: dict[str, Task] = {
    "Compare two answers": verdicts.compare,
    "Describe what a choice tells about a user": writing.insights,
    "Infer who would prefer this answer": writing.infer,
    "Condense personas": writing.condense,
    "Write a persona": writing.persona,
    "Say which answer each statement favours": verdicts.favours,
    "Is this a matter of taste": verdicts.is_taste,
    "Do these describe the same person": verdicts.same_person,
    "Name a group of personas": writing.name_group,
    "Answer for a user": writing.answer,
    "Explain a choice": verdicts.explain,
}
TITLES: tuple[str, ...] = tuple(_TASKS)
"""The first lines of the system messages that it understands."""

_OTHER = "This is a fake language model. It does not know this task, and is glad to help with another."
_REFUSAL = "I'm sorry, but I can't help with that."
_RAMBLING = "There is much to be said on both sides here, and it would take a while to say it."
_TOKEN = re.compile(r" ?\w{1,8}|[^\w\s]|\s")
_FRAME = 4  # tokens around a message
_SURE = 12.0  # log-odds beyond this are cut off
_FILLERS = (" Both", " Neither", " The", " It", "\n", " A", " Unclear", ".", " I", " This")


class Settings(NamedTuple):
    """The settings of a call that an answer depends on; see ``Request``."""

    temperature: float = 0.0
    seed: int | None = None
    sample: int = 0
    logprobs: int = 0
    longest: int = 512


def tokens(text: str) -> list[str]:
    """Cut a text into the fake's tokens: words with the space before them, in pieces of eight letters.

    >>> tokens("Answer: First")
    ['Answer', ':', ' First']
    """
    return _TOKEN.findall(text)


@dataclass(frozen=True)
class Reader:
    """Answers prompts; equal calls get equal answers."""

    knobs: Knobs = field(default_factory=Knobs)

    def answer(self, messages: Sequence[Message], settings: Settings) -> Completion:
        """Answer one prompt.

        Raises:
            TooLong: If prompt and longest answer have more tokens than the reader takes.
        """
        tokens_in = sum(len(tokens(message.content)) + _FRAME for message in messages)
        if tokens_in + settings.longest > self.knobs.context:
            raise TooLong(
                f"a fake model reads {self.knobs.context} tokens; the prompt has {tokens_in} and the answer "
                f"may have {settings.longest}",
                self.knobs.context,
            )
        seen = read_messages(messages, self.knobs.blind)
        sampled = (settings.seed or 0, settings.sample) if settings.temperature > 0 else ()
        draws = Draws(seen.whole, self.knobs.seed, sampled)
        said, finish = self._said(seen, read_chat(messages, self.knobs.blind), draws, settings.temperature)
        pieces = tokens(said.text)
        most = min(settings.longest, len(pieces))
        if draws.happens("truncated", self.knobs.truncated):
            most = min(most, len(pieces) // 2)
        if most < len(pieces):
            pieces, finish = pieces[:most], "length"
        given = self.knobs.logprobs and settings.logprobs > 0
        logprobs = _logprobs(pieces, said, settings.logprobs) if given else ()
        return Completion("".join(pieces), finish, tokens_in, len(pieces), logprobs)

    def _said(self, seen: Seen, chat: Seen | None, draws: Draws, temperature: float) -> tuple[Said, str]:
        """Return what is said, and how it ends."""
        if draws.happens("refuse", self.knobs.refuse):
            return Said(_REFUSAL), "refusal"
        if draws.happens("malformed", self.knobs.malformed):
            return Said("" if draws.share("empty") < 0.3 else _RAMBLING), "stop"
        task = _TASKS.get(seen.title.rstrip(".:"))
        if task is not None:
            return task(seen, self.knobs, draws, temperature), "stop"
        filled = fill_fields(seen, draws)
        if chat is not None and not filled:
            return writing.answer(chat, self.knobs, draws, temperature), "stop"
        return Said(filled or _OTHER), "stop"


def _logprobs(pieces: Sequence[str], said: Said, most: int) -> tuple[Token, ...]:
    """Return a log-probability for every token; the word that was chosen has that of the belief."""
    place = next((n for n in reversed(range(len(pieces))) if pieces[n].strip() in said.words[:1]), -1)
    out = []
    for number, piece in enumerate(pieces):
        top = [(piece, -0.01)]
        if number == place:
            log_odds = max(-_SURE, min(_SURE, said.log_odds))
            gap = piece[: len(piece) - len(piece.lstrip())]
            top = [(piece, -math.log1p(math.exp(-log_odds)))]
            top.append((gap + said.words[1], -math.log1p(math.exp(log_odds))))
        lowest = min(logprob for _, logprob in top)
        top += [(filler, lowest - 5.0 - n) for n, filler in enumerate(_FILLERS)]
        top.sort(key=lambda pair: -pair[1])
        chosen = dict(top)[piece]
        out.append(Token(piece, chosen, tuple(top[:most])))
    return tuple(out)


class Transport:
    """What goes wrong on the way to a fake, drawn at each attempt. Safe to share between threads."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._left = self._most = max(1.0, knobs.rate)
        self._filled = time.monotonic()

    def wait(self) -> float:
        """Take one call from what the rate allows; return the seconds to wait where none is left, else 0."""
        if not self._knobs.rate:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._left = min(self._most, self._left + (now - self._filled) * self._knobs.rate)
            self._filled = now
            if self._left < 1:
                return (1 - self._left) / self._knobs.rate
            self._left -= 1
            return 0.0

    def trouble(self, messages: Sequence[Message]) -> str:
        """Return what happens to this attempt: ``fail``, ``hang``, ``drop``, or "" for nothing."""
        shares = {name: getattr(self._knobs, name) for name in ("fail", "hang", "drop")}
        if not any(shares.values()):
            return ""
        key = Draws(repr(messages), self._knobs.seed).name
        with self._lock:
            attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        draws = Draws(key, self._knobs.seed, (attempt,))
        found = next((name for name, share in shares.items() if draws.happens(name, share)), "")
        if not found:
            with self._lock:
                self._attempts.pop(key, None)  # so that a long run stays small
        return found


class FakeEngine:
    """A fake in process, as the client sees any model.

    Attributes:
        knobs: How it errs.
        answered: How many calls it has answered.
    """

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self.answered = 0
        self._reader = Reader(knobs)
        self._transport = Transport(knobs)
        self._lock = threading.Lock()

    def complete(self, model: str, messages: Sequence[Message], request: Request) -> Completion:
        """Answer a request.

        Raises:
            RateLimited: Beyond the rate.
            ServerFailed: For a share ``fail`` of attempts.
            TimedOut: For a share ``hang`` of attempts, after the latency.
            Disconnected: For a share ``drop`` of attempts, after the latency.
            TooLong: If the prompt is longer than the context.
        """
        wait = self._transport.wait()
        if wait:
            raise RateLimited(f"more than {self.knobs.rate:g} calls a second of {model}", wait)
        trouble = self._transport.trouble(messages)
        if trouble == "fail":
            raise ServerFailed(f"{model} failed on purpose")
        settings = Settings(
            request.temperature, request.seed, request.sample, request.logprobs, request.longest
        )
        completion = self._reader.answer(messages, settings)
        if self.knobs.latency:
            time.sleep(self.knobs.latency)
        if trouble == "hang":
            raise TimedOut(f"{model} hung on purpose")
        if trouble == "drop":
            raise Disconnected(f"{model} broke the connection on purpose")
        with self._lock:
            self.answered += 1
        return completion


@cache
def version() -> str:
    """Return a hash of the fake's code and of the world's texts: other code may answer otherwise."""
    h = hashlib.blake2b(digest_size=6)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        h.update(file.read_bytes())
    for text in world_answers().corpus.responses:
        h.update(text.encode())
    return h.hexdigest()


def make_engine(spec: str) -> FakeEngine:
    """Return the engine of a fake by its name, such as ``fake:world?error=0.2&bias=0.3``.

    Raises:
        ConfigError: If the name or a knob is unknown.
    """
    return FakeEngine(Knobs.of(spec))
