"""The contract of a method as checks that anyone can run on their own.

    check_method(MyMethod)        raises CheckFailed: which check, what was seen, what mends it

or, with pytest, one test a check:

    SUBJECT = Subject(MyMethod)

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_method(check):
        check(SUBJECT)

``MyMethod`` is anything that makes an unfitted method: its class, or a function without arguments. The
checks fit it a dozen times on some dozens of choices that they make up, offline.
"""

from collections.abc import Callable, Mapping

from palate.checks import correcting, learning, serving
from palate.checks.subject import Check, CheckFailed, Subject, people
from palate.core import ConfigError, Method

__all__ = ["CHECKS", "Check", "CheckFailed", "Subject", "check_method", "people"]

CHECKS: tuple[Check, ...] = (*learning.CHECKS, *serving.CHECKS, *correcting.CHECKS)
"""Every check, in the order in which :func:`check_method` runs them."""


def check_method(make: Callable[[], Method], skip: Mapping[str, str] | None = None) -> None:
    """Run every check on a method.

    Args:
        make: Makes an unfitted method: a class, or a function without arguments.
        skip: Names of checks to leave out, each with the reason.

    Raises:
        CheckFailed: At the first check that fails.
        ConfigError: If ``skip`` names no check or gives no reason.

    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> @dataclass(kw_only=True, eq=False)
    ... class Shorter(Method):
    ...     name = "shorter"
    ...     def _learn(self, population):
    ...         self.scale_ = 100.0
    ...     def _condense(self, population):
    ...         return np.zeros((population.n_users, 0))
    ...     def _log_odds(self, vectors, queries):
    ...         lengths = [len(queries.corpus.response(item)) for item in queries.options]
    ...         return -np.array(lengths, float) / self.scale_
    >>> check_method(Shorter)
    """
    left_out = dict(skip or {})
    unknown = set(left_out) - {check.__name__ for check in CHECKS}
    if unknown or not all(reason.strip() for reason in left_out.values()):
        raise ConfigError(
            f"skip is {left_out}; give each check a reason, and name checks among "
            + ", ".join(check.__name__ for check in CHECKS)
        )
    subject = Subject(make)
    for check in CHECKS:
        if check.__name__ not in left_out:
            check(subject)
