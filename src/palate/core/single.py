"""One question and one choice as columns, for what a server asks thousands of times a second.

The same columns as :meth:`Queries.of` and :class:`Population` give, without the sorting that many rows need.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.core.feedback import Conversation, Feedback, as_conversation
from palate.core.persona import Persona, Personas
from palate.core.population import Corpus, Pairs
from palate.core.query import Queries
from palate.core.recall import shared

__all__ = ["one_choice", "one_query"]


def one_query(persona: Persona, conversation: str | Conversation, responses: Sequence[str]) -> Queries:
    """Return one question as columns; its corpus is shared with equal questions.

    Raises:
        DataError: If there are fewer than two responses.

    >>> one_query(Persona(), "Hi", ["Hello!", "Yo.", "Hello!"]).options.tolist()
    [0, 1, 0]
    """
    if len(responses) < 2:
        raise DataError(f"query 0 has {len(responses)} response(s); ranking needs two")
    corpus, options = _items(conversation, responses)
    return Queries(
        Personas.of([persona]), corpus, np.zeros(1, np.int64), options, np.array([0, len(options)])
    )


def one_choice(feedback: Feedback) -> tuple[Corpus, Pairs]:
    """Return the pairs of one choice, in the order in which a population has them, and their texts.

    >>> corpus, pairs = one_choice(Feedback("ann", as_conversation("Hi"), ("Hello!", "Yo."), chosen=1))
    >>> corpus.response(pairs.winner[0]), pairs.target.tolist()
    ('Yo.', [1.0])
    """
    corpus, options = _items(feedback.conversation, feedback.responses)
    if feedback.chosen is None:
        winner, loser = np.array(list(combinations(options.tolist(), 2)), np.int64).T
    else:
        loser = np.delete(options, feedback.chosen)
        winner = np.full(len(loser), options[feedback.chosen])
    none = np.zeros(len(winner), np.int64)
    target = np.full(len(winner), 0.5 if feedback.chosen is None else 1.0)
    return corpus, Pairs(none, winner, loser, target, none)


def _items(conversation: str | Conversation, responses: Sequence[str]) -> tuple[Corpus, NDArray[np.int64]]:
    place: dict[str, int] = {}
    options = np.array([place.setdefault(text, len(place)) for text in responses], np.int64)
    items = np.arange(len(place))
    corpus = Corpus([as_conversation(conversation)], list(place), np.zeros(len(place), np.int64), items)
    return shared(corpus), options
