"""A session with language models: its settings, its costs, its clients.

    with language_models(concurrency=16, budget=Budget.parse("$3.50")) as session:
        with session.rehearsal() as plan:
            work()                          # asks nobody: what it would ask is counted
        print(plan.calls, plan.money(), plan.seconds(latency=1.0, concurrency=16))
        work()
        print(session.ledger.table(by="method"))

Like a :func:`palate.core.job`, a session is opened by whoever starts the work, and whatever runs inside asks
for the current one.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from palate.core import ConfigError
from palate.models.llm.client import Client
from palate.models.llm.desk import Desk, Settings
from palate.models.llm.ledger import Ledger
from palate.models.llm.rehearsal import Plan
from palate.models.llm.store import Store
from palate.models.llm.through_dspy import canonical

__all__ = ["Session", "Settings", "connect", "current_session", "language_models"]


class Session:
    """What language models are asked with, and what that cost.

    Args:
        settings: How models are asked.

    >>> with language_models(concurrency=4) as session:
    ...     session.client("openai/gpt-4o-mini") is connect("openai/gpt-4o-mini")
    True
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._desk = Desk(self.settings)
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    @property
    def ledger(self) -> Ledger:
        """What was asked, and what it cost."""
        return self._desk.ledger

    @property
    def store(self) -> Store:
        """The kept calls."""
        return self._desk.store

    @property
    def process(self) -> int:
        """The process that the session's workers live in."""
        return self._desk.process

    def client(self, spec: str) -> Client:
        """Return the client of a model; the same one for the same name.

        Raises:
            ConfigError: If the name cannot be read.
        """
        name = canonical(spec)
        with self._lock:
            if name not in self._clients:
                self._clients[name] = Client(self._desk, name)
            return self._clients[name]

    @contextmanager
    def rehearsal(self) -> Iterator[Plan]:
        """Ask nobody inside: requests are answered by their programs' examples, and counted."""
        before, plan = self._desk.plan, Plan()
        self._desk.plan = plan
        try:
            yield plan
        finally:
            self._desk.plan = before

    def close(self) -> None:
        """End the workers and close the store."""
        self._desk.close()


_session: ContextVar[Session | None] = ContextVar("palate_language_models", default=None)
_default: list[Session] = []
_lock = threading.Lock()


@contextmanager
def language_models(**settings: Any) -> Iterator[Session]:
    """Open a session with some :class:`Settings`; it is the current one inside.

    Raises:
        ConfigError: If a setting cannot work.
    """
    session = Session(Settings(**settings))
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)
        session.close()


def current_session() -> Session:
    """Return the session that surrounds the caller; outside any, one for the whole process."""
    session = _session.get()
    if session is not None and session.process == os.getpid():
        return session
    with _lock:
        if not _default or _default[0].process != os.getpid():
            _default[:] = [Session(session.settings if session else None)]
            atexit.register(_default[0].close)
        return _default[0]


def connect(spec: str) -> Client:
    """Return the client of a model in the current session.

    Args:
        spec: The model's name; "" is ``$PALATE_LM``.

    Raises:
        ConfigError: If no model is named, or the name cannot be read.
    """
    name = spec or os.environ.get("PALATE_LM", "")
    if not name:
        raise ConfigError(
            "no language model is named: say --lm openai/gpt-4o-mini (or any other LiteLLM name, or "
            "openai/NAME@http://HOST:PORT/v1), or set PALATE_LM"
        )
    return current_session().client(name)
