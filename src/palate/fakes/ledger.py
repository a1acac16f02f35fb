"""What a fake server charged, so that tests can say that no call was paid twice.

A call is charged when its answer is made, whether or not the answer arrives. A call with an idempotency key
that was seen before gets the first answer again, and is not charged; one that comes while the first is being
answered waits for it.
"""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

__all__ = ["Charge", "Ledger"]


@dataclass(slots=True)
class Charge:
    """One charged call.

    Attributes:
        key: Its idempotency key; "" without one.
        content: A hash of the body: equal calls have equal ones.
        tokens_in: Tokens of the prompt.
        tokens_out: Tokens of the answer.
        times: How often it was charged.
    """

    key: str
    content: str
    tokens_in: int
    tokens_out: int
    times: int = 1


class Ledger:
    """Charges by key and by content. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], Future[Any]] = {}
        self._charges: dict[tuple[str, str], Charge] = {}
        self._repeats = 0

    def answer(self, key: str, body: bytes, make: Callable[[], tuple[Any, int, int]]) -> Any:
        """Return the answer to a call, made and charged now unless its key has one already.

        Args:
            key: The idempotency key; "" for none.
            body: What was sent; another body under the same key is another call.
            make: Makes the answer; returns it with tokens in and tokens out.
        """
        content = hashlib.blake2b(body, digest_size=12).hexdigest()
        if not key:
            return self._charged("", content, make)
        with self._lock:
            first = (key, content) not in self._answers
            if first:
                self._answers[key, content] = Future()
            else:
                self._repeats += 1
            waiting = self._answers[key, content]
        if not first:
            return waiting.result()
        try:
            waiting.set_result(self._charged(key, content, make))
        except BaseException as error:
            with self._lock:
                del self._answers[key, content]
            waiting.set_exception(error)
        return waiting.result()

    def _charged(self, key: str, content: str, make: Callable[[], tuple[Any, int, int]]) -> Any:
        answer, tokens_in, tokens_out = make()
        with self._lock:
            known = self._charges.get((key, content))
            if known is None:
                self._charges[key, content] = Charge(key, content, tokens_in, tokens_out)
            else:
                known.times += 1
        return answer

    def to_json(self) -> dict[str, Any]:
        """Return the ledger as plain values.

        Returns:
            ``charged``, how many calls were; ``repeats``, how many got an answer again for nothing;
            ``paid_twice``, how many calls more than one a content were charged; ``tokens_in``,
            ``tokens_out``; ``by_key`` and ``by_content``, how often each was charged.
        """
        with self._lock:
            charges = list(self._charges.values())
            repeats = self._repeats
        by_key: dict[str, int] = {}
        by_content: dict[str, int] = {}
        for charge in charges:
            if charge.key:
                by_key[charge.key] = by_key.get(charge.key, 0) + charge.times
            by_content[charge.content] = by_content.get(charge.content, 0) + charge.times
        charged = sum(charge.times for charge in charges)
        return {
            "charged": charged,
            "repeats": repeats,
            "paid_twice": charged - len(by_content),
            "tokens_in": sum(charge.tokens_in * charge.times for charge in charges),
            "tokens_out": sum(charge.tokens_out * charge.times for charge in charges),
            "by_key": by_key,
            "by_content": by_content,
        }
