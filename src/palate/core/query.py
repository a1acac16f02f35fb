"""What a method is asked to score: a persona, a conversation, at least two responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core.builder import PopulationBuilder
from palate.core.errors import DataError
from palate.core.feedback import Conversation, as_conversation
from palate.core.persona import Persona, Personas
from palate.core.population import Corpus, Pairs

__all__ = ["Queries", "Query"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question: which of these responses would this user prefer?"""

    persona: Persona
    conversation: str | Conversation
    responses: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Queries:
    """Many questions as columns.

    Attributes:
        personas: Who is asked about.
        corpus: The texts.
        who: int64 [queries], index into ``personas``.
        options: int64 [options], items of the corpus, query after query.
        offsets: int64 [queries + 1], where each query's options begin.
    """

    personas: Personas
    corpus: Corpus
    who: NDArray[np.int64]
    options: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, queries: Sequence[Query]) -> "Queries":
        """Build columns from single questions.

        Raises:
            DataError: If a query has fewer than two responses.
        """
        builder = PopulationBuilder()
        for number, query in enumerate(queries):
            if len(query.responses) < 2:
                raise DataError(f"query {number} has {len(query.responses)} response(s); ranking needs two")
            talk = query.conversation
            builder.add(
                str(number),
                talk if isinstance(talk, str) else as_conversation(talk),
                query.responses,
                0,
            )
        columns = builder.build()
        return cls(
            Personas.of([q.persona for q in queries]),
            columns.corpus,
            np.arange(len(queries)),
            columns.options,
            columns.option_offsets,
        )

    @classmethod
    def of_pairs(cls, personas: Personas, corpus: Corpus, pairs: Pairs) -> "Queries":
        """Ask of every pair's user which of its two items they prefer; the winner stands first."""
        options = np.stack([pairs.winner, pairs.loser], axis=1).reshape(-1)
        return cls(personas, corpus, pairs.user, options, np.arange(len(pairs) + 1) * 2)

    def __len__(self) -> int:
        return len(self.who)

    @cached_property
    def option_query(self) -> NDArray[np.int64]:
        """int64 [options]: the query of each option."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def centred(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Shift scores so that every query's mean is zero; the differences stay as they were."""
        sizes = np.maximum(np.diff(self.offsets), 1)
        query = self.option_query
        means = np.bincount(query, weights=scores, minlength=len(self)) / sizes
        return scores - means[query]
