"""The steps of a curation, in order, with their parameters, and every reason for which a pair goes.

    step            parameter            a pair goes where
    -------------   ------------------   --------------------------------------------------------------
    pairs           min_gap              its two ratings differ by less than this share of the scale, or it
                                         is a tie
    users           min_pairs            its user has fewer pairs
    personalizable  a model              the model says that people could not differ about it
    consensus       judges, scores       all judgments, in all orders, agree with each other
    users left      min_left             its user has fewer pairs left

A gap is a share of the *scale*, the highest rating of the source less the lowest that stands in a pair: on
PRISM's 1 to 100 a tenth is 9.9 points. Filters look at one pair at a time and only ever take pairs away, so
a user who has fewer than ``min_left`` at any moment is gone at the end, whatever comes between. Such users go
at once, before their pairs cost calls; the result is the same.
"""

import math
from dataclasses import dataclass

from palate.core import ConfigError

__all__ = [
    "CLOSE",
    "FEW",
    "FEW_LEFT",
    "NO_TASTE",
    "OBVIOUS",
    "ODD",
    "REASONS",
    "STEPS",
    "TIE",
    "Reason",
    "Recipe",
]

STEPS = ("pairs", "users", "personalizable", "consensus", "users left")
"""The steps in order."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a pair goes: in which step, and in words."""

    step: str
    words: str


REASONS: tuple[Reason, ...] = (
    Reason("pairs", "a tie: neither answer was chosen"),
    Reason("pairs", "the two ratings are too close"),
    Reason("users", "the user has too few pairs"),
    Reason("personalizable", "not a matter of taste"),
    Reason("consensus", "every judgment names the chosen answer: too obvious"),
    Reason("consensus", "every judgment names the rejected answer: a mistake, or against all sense"),
    Reason("users left", "the user has too few pairs left"),
)
"""Every reason; a pair's reason is a place in this table."""
TIE, CLOSE, FEW, NO_TASTE, OBVIOUS, ODD, FEW_LEFT = range(len(REASONS))


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of a curation.

    Args:
        min_pairs: Fewest pairs of a user at the start.
        min_left: Fewest pairs of a user at the end; None takes ``min_pairs``.
        min_gap: Smallest difference of two ratings, as a share of the scale; 0 keeps all but ties.
        cap: Most pairs of a user that are made of ratings, drawn by the seed.
        fractions: Shares of users in train, val and test.
        target: Share of a user's pairs, the latest, that become targets.
        validation: Share that becomes context for validation, just before the targets.
        seed: Draws the users' roles, which answer stands first in ``flip``, and pairs beyond ``cap``.

    Raises:
        ConfigError: If a value cannot work.

    >>> Recipe(min_pairs=5).least
    5
    """

    min_pairs: int = 5
    min_left: int | None = None
    min_gap: float = 0.1
    cap: int = 500
    fractions: tuple[float, ...] = (0.4, 0.1, 0.5)
    target: float = 0.3
    validation: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("min_pairs", "cap", *(["min_left"] if self.min_left is not None else [])):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a number of pairs, 1 or more")
        if not 0 <= self.min_gap < 1:
            raise ConfigError(
                f"min_gap is {self.min_gap}; expected a share of the ratings' scale, from 0 to below 1, such "
                "as 0.1 for a tenth"
            )
        for name in ("target", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; expected a share of a user's pairs, 0 to below 1"
                )
        if self.target + self.validation >= 1:
            raise ConfigError(
                f"target is {self.target} and validation {self.validation}, which leaves no context to learn "
                "from; expected shares that add up to less than 1"
            )
        shares = self.fractions
        if len(shares) != 3 or min(shares) < 0 or not math.isclose(sum(shares), 1):
            raise ConfigError(f"fractions is {tuple(shares)}; expected three shares that add up to 1")

    @property
    def least(self) -> int:
        """Fewest pairs of a user at the end."""
        return self.min_pairs if self.min_left is None else self.min_left
