"""Training pairs with their personas, kept for use at test: found again by a prompt that is like theirs.

    nearest(x, k) = the k pairs of largest similarity(x, x_i), the nearest first; equal ones in their order

Similarity is that of :mod:`palate.models.near`: late interaction or cosine, of any encoder.

Source: "Whose Boat Does it Float?", retrieved personas (ColBERT in the source).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from palate.core import Conversation, as_conversation
from palate.models.near import Nearness
from palate.tune.prompts import spoken

__all__ = ["Shelf", "Shot"]


class Shot(NamedTuple):
    """A training pair as it is shown.

    Attributes:
        conversation: What was answered.
        persona: Who would choose the answer.
        answer: The chosen answer.
    """

    conversation: Conversation
    persona: str
    answer: str

    def to_plain(self) -> list[Any]:
        """Return plain values that JSON keeps."""
        return [[list(turn) for turn in self.conversation], self.persona, self.answer]

    @classmethod
    def from_plain(cls, values: Sequence[Any]) -> "Shot":
        """Return what :meth:`to_plain` gave."""
        return cls(as_conversation(tuple(values[0])), str(values[1]), str(values[2]))


class Shelf:
    """Pairs, and which are nearest to a prompt.

    Args:
        shots: The pairs.
        encoder: By which prompts are compared.
        similarity: ``late`` or ``dense``.

    >>> from palate.core import as_conversation
    >>> told = [("plan a trip to Rome", "likes ruins"), ("bake bread", "likes detail")]
    >>> shelf = Shelf([Shot(as_conversation(x), p, "") for x, p in told], "lexical", "late")
    >>> [shot.persona for shot in shelf.nearest(as_conversation("bake rye bread"), 1)]
    ['likes detail']
    """

    def __init__(self, shots: Sequence[Shot], encoder: str, similarity: Literal["late", "dense"]) -> None:
        self.shots = list(shots)
        self._prompts = [spoken(shot.conversation) for shot in self.shots]
        self._near = Nearness(encoder, similarity)
        self._known: dict[str, list[int]] = {}

    def nearest(self, conversation: Conversation, count: int) -> list[Shot]:
        """Return at most ``count`` pairs, the nearest first."""
        asked = spoken(conversation)
        if len(self._known.get(asked, [])) < min(count, len(self.shots)):
            near = self._near.between(asked, self._prompts)
            self._known[asked] = np.argsort(-near, kind="stable")[:count].tolist()
        return [self.shots[i] for i in self._known.get(asked, [])[:count]]
