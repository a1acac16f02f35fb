"""One observation of a person's taste, and one person's observations in time order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from palate.core.errors import DataError

__all__ = ["Conversation", "Feedback", "History", "Turn", "as_conversation"]


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


Conversation = tuple[Turn, ...]


def as_conversation(prompt: str | Conversation) -> Conversation:
    """Turn a plain prompt into a conversation of one user turn.

    >>> as_conversation("Why is the sky blue?")
    (Turn(role='user', content='Why is the sky blue?'),)
    """
    return (Turn("user", prompt),) if isinstance(prompt, str) else tuple(Turn(*turn) for turn in prompt)


@dataclass(frozen=True, slots=True)
class Feedback:
    """One observation: a user was shown responses and chose one of them, or none.

    Args:
        user: Whose choice it is.
        conversation: The conversation so far, oldest turn first.
        responses: The responses on offer; at least two.
        chosen: The position of the chosen response, or None for a tie.
        id: A name for this observation, unique within a population; provenance points to it.
        time: Seconds since 1970, or None where unknown.
        reason: The user's own words for why, or None.

    Raises:
        DataError: With fewer than two responses, or a choice that is not among them.

    >>> Feedback("ann", as_conversation("Hi"), ("Hello!", "Yo."), chosen=0).chosen_response
    'Hello!'
    """

    user: str
    conversation: Conversation
    responses: tuple[str, ...]
    chosen: int | None
    id: str = ""
    time: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if len(self.responses) < 2:
            raise DataError(
                f"feedback {self.id!r} of user {self.user!r} has {len(self.responses)} response(s); "
                "a choice needs at least two: add the response it was preferred to"
            )
        if self.chosen is not None and not 0 <= self.chosen < len(self.responses):
            raise DataError(
                f"feedback {self.id!r} of user {self.user!r} chose position {self.chosen}, "
                f"but has responses 0 to {len(self.responses) - 1}"
            )

    @property
    def chosen_response(self) -> str | None:
        """The text of the chosen response, or None for a tie."""
        return None if self.chosen is None else self.responses[self.chosen]


@dataclass(frozen=True, slots=True)
class History:
    """One user's feedback up to a moment, in time order. Empty is legal: the average user."""

    user: str
    feedback: tuple[Feedback, ...] = ()
    profile: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = {row.user for row in self.feedback} - {self.user}
        if strangers:
            raise DataError(f"the history of {self.user!r} holds feedback of {sorted(strangers)}")

    def __len__(self) -> int:
        return len(self.feedback)
