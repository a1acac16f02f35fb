"""What a read method keeps of one user, and what a judge is shown of it."""

from collections.abc import Mapping
from typing import NamedTuple

from palate.core import Claim, Feedback

__all__ = ["Shown", "Written"]


class Written(NamedTuple):
    """What is kept of one user.

    Attributes:
        text: The persona in words, or None.
        examples: Past choices that a judge is shown.
        claims: The statements of the text with their evidence.
        held: Ids of past choices that the words were not written from: statements are tested on them.
    """

    text: str | None = None
    examples: tuple[Feedback, ...] = ()
    claims: tuple[Claim, ...] = ()
    held: tuple[str, ...] = ()


class Shown(NamedTuple):
    """What a judge is shown of a user for one conversation; ``reasons`` by id of an example."""

    text: str | None = None
    examples: tuple[Feedback, ...] = ()
    reasons: Mapping[str, str] = {}
