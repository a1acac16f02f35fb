"""What went wrong, in one line for a report."""

import traceback

from palate.core import PalateError

__all__ = ["explain"]


def explain(error: BaseException) -> str:
    """Return what an error says; of an unexpected one also its kind and where it was raised.

    >>> explain(PalateError("cannot learn today"))
    'cannot learn today'
    """
    if isinstance(error, PalateError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
