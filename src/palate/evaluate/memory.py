"""The most memory that a piece of work held, where the system tells it (Linux)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Peak", "peak_memory"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """What was measured: ``mib``, MiB held at most above what was held at the start; None where unknown."""

    mib: float | None = None


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak of the process's resident memory inside, above what it held at the start.

    >>> with peak_memory() as peak:
    ...     held = bytearray(b"x") * (64 << 20)
    >>> peak.mib is None or peak.mib > 60
    True
    """
    peak = Peak()
    try:
        _RESET.write_text("5")
        start = _kib("VmRSS")
    except OSError:
        start = None
    try:
        yield peak
    finally:
        most = _kib("VmHWM") if start is not None else None
        if start is not None and most is not None:
            peak.mib = max(0.0, (most - start) / 1024.0)


def _kib(name: str) -> float | None:
    """Return a line of the process's status, in KiB."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
