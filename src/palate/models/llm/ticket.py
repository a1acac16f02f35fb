"""One request on its way to an answer: how its prompt is made, and what follows from what came back.

An answer that cannot be read is asked for once more: in the right form, with the bad answer shown, or, where
it was cut off, at twice the length. Each of these is a call of its own, kept like any other. What cannot be
read then is a fault.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from palate.core import ConfigError
from palate.models.llm.caller import Caller, expected_tokens
from palate.models.llm.engine import Completion, TooLong
from palate.models.llm.facts import LIMIT
from palate.models.llm.ledger import Who
from palate.models.llm.program import Malformed, Message, Told
from palate.models.llm.wire import Fault, Request

__all__ = ["Ticket", "Unreadable"]

_DECLINED = re.compile(
    r"\W*(?:i['’]m sorry|i am sorry|sorry|i apologi[sz]e|i (?:can(?:no|['’])?t|can not|won['’]t|will not|"
    r"am unable|['’]m unable|am not able|['’]m not able)|as an ai)\b",
    re.IGNORECASE,
)
_SHOWN = 2000  # characters of a bad answer that are shown to the model again
_SHORTER = 0.8
_ROUNDS = 5


class Unreadable(Exception):
    """An answer that could not be read; carries why, in one word of :class:`Fault`, and what was seen."""

    def __init__(self, kind: str, message: str, expected: str = "") -> None:
        super().__init__(message)
        self.kind, self.expected = kind, expected


@dataclass(eq=False, slots=True)
class Ticket:
    """A request on its way.

    Attributes:
        caller: Who asks its model.
        request: What is asked for.
        who: On whose behalf.
        asking: The conversation that waits for it, as its drive knows it.
        slot: The place of its answer there.
        messages: The prompt as it is sent.
        key: The name of the call.
        paid: Whether a call was made for it.
        repaired: Whether the answer was asked for again in the right form.
        longer: Whether it was asked for again at greater length.
        waits: How often it waited for another process.
    """

    caller: Caller
    request: Request
    who: Who
    asking: Any
    slot: int
    messages: tuple[Message, ...] = ()
    key: str = ""
    paid: bool = False
    repaired: bool = False
    longer: bool = False
    waits: int = 0
    shortened: bool = False
    _rounds: int = field(default=0)

    def write(self, limit: int = 0) -> None:
        """Write the prompt, no longer than the model reads.

        Args:
            limit: Tokens that it reads; 0 takes what is nominal for the model.

        Raises:
            ConfigError: If the program's own words are longer.
        """
        self._take(self.request.told(limit or self.caller.facts.nominal))

    def fits(self) -> bool:
        """Whether the prompt and the longest answer are within what the model was found to read."""
        facts = self.caller.facts
        return facts.limit >= facts.nominal or self._size() <= facts.limit

    def read(self, completion: Completion) -> Any:
        """Read an answer.

        Raises:
            Unreadable: If it cannot be read.
        """
        if completion.finish == "refusal":
            raise Unreadable("refused", _excerpt(completion.text))
        try:
            return self.request.program.read(completion.text)
        except Malformed as error:
            seen = f"{error}; the answer was {_excerpt(completion.text)!r}"
            if _DECLINED.match(completion.text):
                raise Unreadable("refused", _excerpt(completion.text)) from None
            kind = "truncated" if completion.finish == "length" else "malformed"
            raise Unreadable(kind, seen, str(error)) from None

    def retell(self, problem: Unreadable, text: str) -> bool:
        """Turn into the request that asks once more; False if that was done already, or is no use."""
        if problem.kind == "truncated" and not self.longer:
            self.longer = True
            self.request = self.request.but(max_tokens=2 * self.request.longest)
            if not self.repaired:
                self.write(0 if self.fits() else self.caller.facts.limit)
            else:
                self._name()
            return True
        if problem.kind == "malformed" and not self.repaired:
            self.repaired = True
            shown = Message("assistant", text.strip()[:_SHOWN] or "(nothing)")
            again = (
                f"Your answer could not be read: {problem.expected}. Give the whole answer again in exactly "
                "the form that was asked for, and nothing else."
            )
            self.messages = (*self.messages, shown, Message("user", again))
            self._name()
            return True
        return False

    def shorten(self, error: TooLong) -> bool:
        """Write a shorter prompt for a model that reads less than was thought; False if there is none."""
        before, self._rounds = self.messages, self._rounds + 1
        if self.repaired or self._rounds > _ROUNDS:
            return False
        size = self._size()
        limit = error.limit if 0 < error.limit < size else int(size * _SHORTER)
        for _ in range(_ROUNDS):
            try:
                self.write(limit)
            except ConfigError:
                return False
            if self.messages != before:
                break
            limit = int(limit * _SHORTER)
        else:
            return False
        if self.caller.facts.lower(limit):
            self.caller.learned(LIMIT, limit, f"reads about {limit:,} tokens: longer prompts are shortened")
        return True

    def fault(self, kind: str, message: str) -> Fault:
        """Return a fault that names the call."""
        return Fault(kind, message, self.key)

    def _take(self, told: Told) -> None:
        self.messages = told.messages
        self.shortened = bool(told.dropped or told.cut)
        self._name()

    def _name(self) -> None:
        self.key = self.request.key(self.caller.identity, self.messages)

    def _size(self) -> int:
        return expected_tokens(self.messages) + self.request.longest


def _excerpt(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 200 else f"{words[:140]} [...] {words[-50:]}"
