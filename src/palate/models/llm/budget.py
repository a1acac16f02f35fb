"""What may be spent, as a hard cap: a call is reserved before it is sent, or it is not sent.

What is reserved is the prompt as estimated and the longest answer; what is spent is what the endpoint says.
While reserved calls are on their way, a call that no longer fits waits for them: what they leave over may be
enough for it. So ``500calls`` makes exactly five hundred.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

from palate.core import BudgetSpent, ConfigError

__all__ = ["Budget", "Cost", "Price", "Purse"]

_PART = re.compile(
    r"(?P<dollars>\$\s*\d+(?:\.\d+)?|\$\s*\.\d+)|(?P<number>\d+(?:\.\d+)?(?:e\d+)?)\s*(?P<unit>calls?|tokens?)",
    re.IGNORECASE,
)
_LOOK = 0.1  # seconds between looks at whether a waiting call is still wanted


class Price(NamedTuple):
    """What a model costs: dollars a million tokens, of prompts and of answers.

    >>> round(Price(0.15, 0.60).of(2_000_000, 500_000), 2)
    0.6
    """

    inward: float
    outward: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """Return dollars."""
        return (tokens_in * self.inward + tokens_out * self.outward) / 1e6


class Cost(NamedTuple):
    """Calls, tokens (of prompts and answers together) and dollars."""

    calls: int = 0
    tokens: float = 0
    dollars: float = 0.0

    def plus(self, other: "Cost", sign: int = 1) -> "Cost":
        """Return the sum, or with sign -1 the difference."""
        return Cost(
            self.calls + sign * other.calls,
            self.tokens + sign * other.tokens,
            self.dollars + sign * other.dollars,
        )


@dataclass(frozen=True)
class Budget:
    """A cap on calls, tokens or dollars; None is no cap.

    >>> Budget.parse("500calls, $3.50")
    Budget(calls=500, tokens=None, dollars=3.5)
    >>> print(Budget.parse("2e6 tokens"))
    2,000,000 tokens
    """

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a budget as it is written on the command line.

        Raises:
            ConfigError: If it cannot be read, or names one thing twice.
        """
        found: dict[str, float] = {}
        for part in text.split(","):
            match = _PART.fullmatch(part.strip())
            if match is None:
                raise ConfigError(
                    f"the budget {text!r} cannot be read at {part.strip()!r}: write 500calls, 2e6tokens or "
                    "$3.50, or several with commas between"
                )
            unit = "dollars" if match["dollars"] else f"{match['unit'].lower().rstrip('s')}s"
            if unit in found:
                raise ConfigError(f"the budget {text!r} names {unit} twice: name it once")
            found[unit] = float(match["dollars"].lstrip("$ ") if match["dollars"] else match["number"])
        calls, tokens = found.get("calls"), found.get("tokens")
        return cls(
            None if calls is None else int(calls),
            None if tokens is None else int(tokens),
            found.get("dollars"),
        )

    def __str__(self) -> str:
        parts = [f"{self.calls:,} calls"] if self.calls is not None else []
        parts += [f"{self.tokens:,} tokens"] if self.tokens is not None else []
        parts += [f"${self.dollars:,.2f}"] if self.dollars is not None else []
        return ", ".join(parts)

    def holds(self, cost: Cost) -> bool:
        """Whether a cost stays within all caps."""
        caps = zip(cost, (self.calls, self.tokens, self.dollars), strict=True)
        return all(cap is None or spent <= cap * (1 + 1e-12) for spent, cap in caps)


class Purse:
    """What is spent and what is reserved of a budget. Safe with many threads.

    Args:
        budget: The cap, or None for none.
    """

    def __init__(self, budget: Budget | None) -> None:
        self.budget = budget
        self.spent = Cost()
        self._reserved = Cost()
        self._change = threading.Condition()

    def reserve(self, cost: Cost, wanted: Callable[[], bool]) -> bool:
        """Take a call's expected cost out, and wait for calls on their way where it does not fit yet.

        Args:
            cost: The most that the call is expected to cost.
            wanted: Asked while waiting; a call that is wanted no more is given up.

        Returns:
            Whether the call may be made.

        Raises:
            BudgetSpent: If it does not fit, with nothing on its way.
        """
        with self._change:
            while self.budget is not None:
                if self.budget.holds(self.spent.plus(self._reserved).plus(cost)):
                    break
                if not self._reserved.calls:
                    raise BudgetSpent(self._told(cost))
                if not wanted():
                    return False
                self._change.wait(_LOOK)
            self._reserved = self._reserved.plus(cost)
        return True

    def settle(self, reserved: Cost, spent: Cost) -> None:
        """Give a reservation back, and take out what was spent."""
        with self._change:
            self._reserved = self._reserved.plus(reserved, -1)
            self.spent = self.spent.plus(spent)
            self._change.notify_all()

    def _told(self, cost: Cost) -> str:
        spent = self.spent
        done = f"{spent.calls:,} calls, {spent.tokens:,.0f} tokens, ${spent.dollars:,.4f}"
        return (
            f"the budget of {self.budget} is spent: {done} in this run, and the next call may take "
            f"{cost.tokens:,.0f} tokens. All answers are kept: the same command goes on from them, with a "
            "budget of the same size again or another one"
        )
