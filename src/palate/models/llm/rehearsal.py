"""What a run would ask, found by running it without a model.

Inside a rehearsal every request is answered at once, with its kept answer where there is one, and otherwise
with the example of its program. Distinct requests are given distinct examples where the program can still
read them (the words are followed by a mark): else ten candidates would look like one, and what is asked
about each of them would be counted once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palate.core import ConfigError
from palate.models.llm.budget import Price
from palate.models.llm.engine import Completion
from palate.models.llm.ledger import Ledger, Who
from palate.models.llm.program import Malformed, Program

__all__ = ["Plan"]


@dataclass(slots=True)
class _Model:
    """What is expected to be asked of one model."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    price: Price | None = None


class Plan:
    """What was asked in a rehearsal.

    Attributes:
        ledger: Expected counts by method, user and program; ``paid`` are calls that would be made.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._seen: set[bytes] = set()
        self._models: dict[str, _Model] = {}
        self._stretches: list[tuple[int, int]] = []  # of each run: calls, and the longest chain of them

    # ---- results ------------------------------------------------------------------------------

    @property
    def calls(self) -> int:
        """Distinct calls that would be made."""
        return sum(model.calls for model in self._models.values())

    @property
    def kept(self) -> int:
        """Distinct calls whose answers are kept already."""
        return int(self.ledger.total["kept"])

    @property
    def tokens_in(self) -> int:
        """Tokens of the prompts that would be sent, as estimated."""
        return sum(model.tokens_in for model in self._models.values())

    @property
    def tokens_out(self) -> int:
        """Tokens of the answers, as long as the programs' examples."""
        return sum(model.tokens_out for model in self._models.values())

    def money(self, prices: Mapping[str, Price] | None = None) -> float | None:
        """Return dollars, or None where a model's price is not known.

        Args:
            prices: By a model's name, in the place of those that the session knows.
        """
        total = 0.0
        for spec, model in self._models.items():
            price = (prices or {}).get(spec, model.price)
            if price is None:
                return None
            total += Price(*price).of(model.tokens_in, model.tokens_out)
        return total

    def seconds(self, latency: float, concurrency: int) -> float:
        """Return the least wall-clock time: calls that wait for each other, and calls side by side.

        Args:
            latency: Seconds a call.
            concurrency: Calls at the same time.
        """
        return latency * sum(max(calls / concurrency, chain) for calls, chain in self._stretches)

    def table(self, by: str = "method") -> list[dict[str, Any]]:
        """Return expected counts by method, user or program; see :meth:`Ledger.table`."""
        return self.ledger.table(by)

    # ---- what a drive reports -----------------------------------------------------------------

    def first(self, key: str) -> bool:
        """Whether a call is seen for the first time."""
        packed = bytes.fromhex(key)
        if packed in self._seen:
            return False
        self._seen.add(packed)
        return True

    def add(self, who: Who, spec: str, tokens_in: int, tokens_out: int, price: Price | None) -> None:
        """Count a call that would be made."""
        model = self._models.setdefault(spec, _Model(price=price))
        model.calls += 1
        model.tokens_in += tokens_in
        model.tokens_out += tokens_out
        dollars = 0.0 if price is None else price.of(tokens_in, tokens_out)
        self.ledger.add(
            who,
            paid=1,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            dollars=dollars,
            unpriced=price is None,
        )

    def ran(self, calls: int, chain: int) -> None:
        """Note a run that would make so many calls, at most so many of them one after another."""
        self._stretches.append((calls, chain))

    @staticmethod
    def answer(program: Program, key: str) -> tuple[Completion, Any]:
        """Return a program's example as an answer to the request of this key, and what the program reads.

        Raises:
            ConfigError: If the program cannot read its own example.
        """
        for text in (f"{program.example} [{key[:8]}]", program.example):
            try:
                return Completion(text), program.read(text)
            except Malformed as error:
                complaint = str(error)
        raise ConfigError(
            f"the example of program {program.name} cannot be read by itself ({complaint}): "
            "write an example in the form that its `read` takes"
        )
