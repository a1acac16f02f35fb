"""What is known of one model: how much it reads, what it costs, and what its endpoint does not take."""

import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from palate.models.llm.budget import Price
from palate.models.llm.engine import is_fake
from palate.models.llm.wire import Request

__all__ = ["CONTEXT", "LIMIT", "Facts"]

CONTEXT = 8192
"""Tokens that a model is taken to read where nothing is known."""
LIMIT = "limit"
"""The name under which the store remembers what a model was found to read."""
_INSTEAD: Mapping[str, Mapping[str, Any]] = {
    "logprobs": {"logprobs": 0},
    "seed": {"seed": None},
    "temperature": {"temperature": 1.0},
}


class Facts:
    """What is known of one model; limits and settings that an endpoint refuses are learned on the way.

    Args:
        spec: The model's name.
        context: Tokens that it reads, where somebody says so; 0 asks the table that DSPy comes with.
        prices: Prices by a model's name, with or without the address of its endpoint.
    """

    def __init__(self, spec: str, context: int, prices: Mapping[str, Price]) -> None:
        self._spec, self._context, self._prices = spec, context, prices
        self._learned = 0
        self._left_out: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @cached_property
    def _table(self) -> Mapping[str, Any]:
        if is_fake(self._spec):
            return {}
        from palate.models.llm.through_dspy import model_facts

        return model_facts(self._spec)

    @cached_property
    def price(self) -> Price | None:
        """Dollars a million tokens, or None where no price is known."""
        for name in (self._spec, self._spec.partition("@")[0]):
            if name in self._prices:
                return Price(*self._prices[name])
        inward, outward = (self._table.get(f"{way}_cost_per_token") for way in ("input", "output"))
        if not isinstance(inward, int | float) or not isinstance(outward, int | float):
            return None
        return Price(inward * 1e6, outward * 1e6)

    @cached_property
    def nominal(self) -> int:
        """Tokens that the model is said to read, prompt and answer together."""
        known = self._table.get("max_input_tokens") if not self._context else None
        return self._context or (known if isinstance(known, int) and known > 0 else CONTEXT)

    @property
    def limit(self) -> int:
        """Tokens that the model is known to read: the nominal number, or what its endpoint said."""
        return min(self.nominal, self._learned) if self._learned else self.nominal

    def lower(self, limit: int) -> bool:
        """Learn that the model reads less; False if that was known."""
        with self._lock:
            if limit >= self.limit:
                return False
            self._learned = limit
            return True

    def leave_out(self, setting: str) -> bool:
        """Learn that a setting is not taken; False if that was known, or the setting cannot be left out."""
        with self._lock:
            if setting in self._left_out or setting not in _INSTEAD:
                return False
            self._left_out |= {setting}
            return True

    def recall(self, learned: Mapping[str, float]) -> None:
        """Take up what was learned before, as the store has it."""
        for name, value in learned.items():
            if name == LIMIT:
                self.lower(int(value))
            else:
                self.leave_out(name)

    def adapted(self, request: Request) -> Request:
        """Return a request without the settings that its endpoint does not take."""
        for setting in self._left_out:
            request = request.but(**_INSTEAD[setting])
        return request
