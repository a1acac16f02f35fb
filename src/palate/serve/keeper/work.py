"""The threads behind a keeper: one makes personas anew from whole histories, one looks at what others did.

Jobs are taken by lease, so that several processes share them and one that dies loses none. After a batch the
thread rests as long as the batch took, so that the database is others' half of the time: personas are current
without it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import Connection

from palate.core import StorageError
from palate.serve.keeper.model import Shelf
from palate.serve.store import Store, clock, erase, jobs
from palate.serve.store.jobs import Job

__all__ = ["Worker", "Works"]

BATCH, DEAR = 24, 64
"""Users of a batch, more where a language model is waited for."""
LEASE = 300.0  # seconds
_IDLE, _LOOK, _SOON, _REST = 0.5, 1.0, 0.2, 5.0  # seconds
_log = logging.getLogger(__name__)


class Works(Protocol):
    """What the threads need of a keeper."""

    store: Store
    shelf: Shelf

    def readapt(self, tenant: str, users: Sequence[str]) -> dict[str, str | None]: ...  # noqa: D102
    def forget_gone(self) -> int: ...  # noqa: D102


class Worker:
    """Two threads that can be started and stopped once.

    Args:
        keeper: Whose work it is.
    """

    def __init__(self, keeper: Works) -> None:
        self._keeper = keeper
        self._end = threading.Event()
        self._receipts: int | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(self.work, _IDLE), name="palate-jobs", daemon=True),
            threading.Thread(target=self._run, args=(self.look, _LOOK), name="palate-follow", daemon=True),
        ]

    def start(self, jobs: bool = True) -> None:
        """Start the threads; without ``jobs`` only the one that looks at what others did."""
        for thread in self._threads[0 if jobs else 1 :]:
            thread.start()

    def stop(self) -> None:
        """Have the threads end what they are doing, and wait for them. A second call does nothing."""
        self._end.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def work(self) -> bool:
        """Take some jobs and do them; return whether there were any."""
        store = self._keeper.store
        most = BATCH if self._keeper.shelf.active.cheap else DEAR
        taken = store.write(lambda c: jobs.take(c, most, LEASE))
        by_tenant: dict[str, list[Job]] = {}
        for job in taken:
            by_tenant.setdefault(job.tenant, []).append(job)
        for tenant, mine in by_tenant.items():
            self._do(tenant, mine)
        return bool(taken)

    def _do(self, tenant: str, mine: list[Job]) -> None:
        started = time.monotonic()
        told = self._keeper.readapt(tenant, [job.user for job in mine])
        done = [job for job in mine if told.get(job.user) is None]
        changed = [job for job in mine if told.get(job.user) == "changed"]
        failed = [(job, told[job.user] or "") for job in mine if told.get(job.user) not in (None, "changed")]

        def op(c: Connection) -> None:
            jobs.done(c, [*done, *changed])
            for job in changed:
                jobs.queue(c, tenant, job.user, clock.now() + _SOON)
            for job, fault in failed:
                jobs.failed(c, job, fault)

        self._keeper.store.write(op)
        self._end.wait(min(_REST, 4 * (time.monotonic() - started)))

    def look(self) -> bool:
        """See what other processes did: which model is served, who was erased."""
        self._keeper.shelf.follow(self._keeper.store)
        with self._keeper.store.read() as c:
            last = erase.last(c)
        if self._receipts is not None and last != self._receipts:
            self._keeper.forget_gone()
        self._receipts = last
        return False

    def _run(self, step: Callable[[], bool], pause: float) -> None:
        """Repeat a step until the end; a fault of the database or of a step is waited out."""
        wait = pause
        while not self._end.is_set():
            try:
                wait = 0.0 if step() else pause
            except StorageError as error:
                _log.warning("background work waits: %s", error)
                wait = min(30.0, max(1.0, 2 * wait))
            except Exception as error:  # its message and its frames may hold what a user wrote
                _log.error("background work failed and goes on: %s", type(error).__name__)
                wait = min(30.0, max(1.0, 2 * wait))
            if wait:
                self._end.wait(wait)
