"""What all clients of a session share: settings, the ledger, the purse, the store, and calls on their way."""

import os
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from palate.core import ConfigError
from palate.models.llm.budget import Budget, Price, Purse
from palate.models.llm.caller import Caller
from palate.models.llm.flights import Flights
from palate.models.llm.ledger import Ledger
from palate.models.llm.records import Kept
from palate.models.llm.rehearsal import Plan
from palate.models.llm.store import Store
from palate.models.llm.through_dspy import canonical

__all__ = ["Desk", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How language models are asked.

    Attributes:
        concurrency: Calls at the same time, of each model.
        retries: How often a call is sent again after an error that may pass.
        timeout: Seconds that a call may take.
        budget: Hard cap on what a session spends.
        prices: Dollars a million tokens, by a model's name; they win over the table that DSPy comes with.
        folder: Where calls are kept; None is ``$PALATE_LM_STORE``, otherwise ``~/.cache/palate/lm``.
        context: Tokens that models read, prompt and answer together; 0 is what the table knows, else 8192.

    Raises:
        ConfigError: If a value cannot work.
    """

    concurrency: int = 16
    retries: int = 6
    timeout: float = 60.0
    budget: Budget | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    folder: Path | None = None
    context: int = 0

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("retries", 0), ("timeout", 0.001), ("context", 0)):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name} of language models is {value}; it must be at least {least}")
        if self.folder is not None:
            object.__setattr__(self, "folder", Path(self.folder))


class Desk:
    """What all clients of a session share.

    Args:
        settings: How models are asked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger = Ledger()
        self.purse = Purse(settings.budget)
        self.flights = Flights()
        self.run = uuid.uuid4().hex[:12]
        self.process = os.getpid()
        self.plan: Plan | None = None
        self._store: Store | None = None
        self._callers: dict[str, Caller] = {}
        self._lock = threading.RLock()

    @property
    def store(self) -> Store:
        """The kept calls; opened on first use.

        Raises:
            StorageError: If it cannot be opened to write.
        """
        with self._lock:
            if self._store is None:
                self._store = Store(self.settings.folder, self.run)
            return self._store

    def kept(self, keys: Iterable[str]) -> dict[str, Kept]:
        """Return the kept answers among these keys."""
        return {} if self._without_store else self.store.get(keys)

    def learned(self, spec: str) -> dict[str, float]:
        """Return what was learned of a model."""
        return {} if self._without_store else self.store.learned(spec)

    @property
    def _without_store(self) -> bool:
        """Whether there is none yet, and a rehearsal that must not begin one."""
        if self._store is not None or self.plan is None:
            return False
        return not Store.file(self.settings.folder).exists()

    def caller(self, spec: str) -> Caller:
        """Return what asks a model, one a model.

        Raises:
            ConfigError: If the name cannot be read.
        """
        found = self._callers.get(spec)
        if found is not None:
            return found
        name = canonical(spec)
        with self._lock:
            if name not in self._callers:
                self._callers[name] = Caller(name, self)
            self._callers[spec] = self._callers[name]
            return self._callers[name]

    def close(self) -> None:
        """End all workers and close the store."""
        with self._lock:
            for caller in set(self._callers.values()):
                caller.close()
            self._callers.clear()
            if self._store is not None:
                self._store.close()
            self._store = None
