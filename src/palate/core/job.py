"""Where long work says how far it is, and where it keeps what it needs to go on after an interruption.

A fit does not take a folder or a callback: they are no part of what is learned. Whoever starts long work
opens a job around it, and whatever runs inside asks for the current one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Job", "Tell", "current_job", "job"]

Tell = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Job:
    """The surroundings of long work.

    Attributes:
        folder: Where checkpoints are kept; None keeps none.
        tell: Called with what is being done, how much of it is done, and how much there is.
    """

    folder: Path | None = None
    tell: Tell = _silent


_job: ContextVar[Job] = ContextVar("palate_job", default=Job())  # noqa: B039 - frozen


@contextmanager
def job(folder: str | Path | None = None, tell: Tell | None = None) -> Iterator[Job]:
    """Open a job: what is fitted inside keeps checkpoints in ``folder`` and reports to ``tell``.

    >>> with job("checkpoints"):
    ...     current_job().folder.name
    'checkpoints'
    >>> current_job().folder is None
    True
    """
    opened = Job(None if folder is None else Path(folder), tell or _silent)
    token = _job.set(opened)
    try:
        yield opened
    finally:
        _job.reset(token)


def current_job() -> Job:
    """Return the job that surrounds the caller; outside any, one without folder that says nothing."""
    return _job.get()
