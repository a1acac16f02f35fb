"""retrieval: a user's most similar past choices, shown to the judge as they are.

All decided choices of a user are kept. For a conversation x the judge is shown, as examples, the k whose own
conversations x_j are nearest to x,

    dense   s_j = cos(e(x), e(x_j))                                         e an encoder's vector of a text
    late    s_j = ( mean_i max_l a_i . b_l + mean_l max_i a_i . b_l ) / 2   a, b unit vectors of their words

ordered so that the nearest stands last, next to the question. Of equally near ones (to five places) the later
counts as nearer. Answers are no part of x or of x_j: a similarity that sees them would find the choice whose
chosen answer looks like an answer on offer, and so read the label off the query.

Calls: none to write a persona; the judge's prompts are longer by k choices.

Source: retrieval as in "When Personalization Meets Reality" and "EpiPersona" (k = 3 and 5, dense); late
interaction as in "Whose Boat Does it Float?". Departs: means in both directions for late interaction
(:mod:`palate.models.late`); conversations of several turns are compared whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from palate.core import ConfigError, Conversation, Feedback, History, Persona, Population, Queries
from palate.judge import as_text
from palate.models.llm.wire import Asking
from palate.models.near import Nearness
from palate.persona.base import ReadMethod, Shown, Written

__all__ = ["Retrieval"]

_PLACES = 5  # decimal places beyond which one conversation is no nearer than another
_AT_ONCE = 256  # queries whose conversations are read in one go


@dataclass(kw_only=True, eq=False)
class Retrieval(ReadMethod):
    """The most similar past choices as examples.

    Args:
        k: How many are shown.
        similarity: ``dense``, by one vector a conversation, or ``late``, word by word.
        encoder: Whose vectors, e.g. ``lexical``, ``minilm``, ``st:NAME`` (a ColBERT model for ``late``).

    Raises:
        ConfigError: If a field is impossible.
    """

    name: ClassVar[str] = "retrieval"
    paper: ClassVar[str] = "When Personalization Meets Reality; EpiPersona"
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"k": (1, 3, 5)}
    k: int = 3
    similarity: Literal["dense", "late"] = "dense"
    encoder: str = "lexical"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ConfigError(f"retrieval: k={self.k}; expected 1 or more past choices to show")
        if self.similarity not in ("dense", "late"):
            raise ConfigError(f"retrieval: similarity={self.similarity!r}; expected 'dense' or 'late'")
        if self.similarity == "late" and self.encoder == "style":
            raise ConfigError(
                "retrieval: the encoder 'style' has no words; take similarity='dense' or 'lexical'"
            )

    def _study(self, population: Population) -> None:
        """Find an encoder that cannot be had before anything is paid for."""
        self._near.between("", [""])

    def _write(self, history: History) -> Asking[Written]:
        """Keep every choice; nothing is asked."""
        return Written(examples=history.feedback)
        yield []

    def _shown(self, persona: Persona, conversation: Conversation) -> Shown:
        """Show the choices whose conversations are nearest to this one, the nearest last."""
        return Shown(persona.text, self._nearest(persona.examples, conversation))

    def _nearest(self, examples: tuple[Feedback, ...], conversation: Conversation) -> tuple[Feedback, ...]:
        near = self._near.between(as_text(conversation), [as_text(e.conversation) for e in examples])
        order = np.argsort(np.round(near, _PLACES), kind="stable")[
            -self.k :
        ]  # stable: of equals the later is last
        return tuple(examples[i] for i in order.tolist())

    def _questions(self, queries: Queries) -> Iterator[Any]:
        """Yield the base's questions; conversations are read many queries at a time."""
        for start in range(0, len(queries), _AT_ONCE):
            part = _part(queries, start, start + _AT_ONCE)
            people = [part.personas[who] for who in np.unique(part.who).tolist()]
            asked = [queries.corpus.conversation(item) for item in part.options[part.offsets[:-1]].tolist()]
            past = [example.conversation for persona in people for example in persona.examples]
            self._near.remember(as_text(talk) for talk in (*past, *asked))
            yield from super()._questions(part)

    @cached_property
    def _near(self) -> Nearness:
        return Nearness(self.encoder, self.similarity)


def _part(queries: Queries, start: int, stop: int) -> Queries:
    """Return some queries in a row, with the same personas."""
    offsets = queries.offsets[start : stop + 1]
    options = queries.options[offsets[0] : offsets[-1]]
    return Queries(queries.personas, queries.corpus, queries.who[start:stop], options, offsets - offsets[0])
