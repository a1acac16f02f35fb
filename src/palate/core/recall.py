"""Small corpora of equal texts are one object, so that whatever was computed of them is found again.

A server is asked about the same few texts over and over, each time in objects of their own. Features and
scores are remembered by corpus (``palate.models.features``, ``EmbeddingMethod``) and live as long as it does;
:func:`shared` returns the corpus that had these texts before. What is computed of it depends on its texts
alone, never on what was asked earlier, so that answers are the same to the last bit with and without it.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable

from palate.core.population import Corpus

__all__ = ["forget_texts", "shared"]

_ITEMS, _CHARACTERS = 256, 1 << 18  # of a corpus that is small: one request, or one user's choices
_ALL_ITEMS = 1 << 13  # kept at once, so that features of 1,000 numbers an item take no more than 32 MiB
_ALL_CHARACTERS = 1 << 25
_kept: "OrderedDict[Hashable, tuple[Corpus, int]]" = OrderedDict()  # with its characters
_lock = threading.Lock()
_items = _characters = 0


def shared(corpus: Corpus) -> Corpus:
    """Return the corpus that had these texts before, if it is small and still known; else the corpus itself.

    Args:
        corpus: Its texts are not to be changed afterwards.

    >>> from palate.core import Query, Queries, Persona
    >>> first, second = (Queries.of([Query(Persona(), "Hi", ("Hello!", "Yo."))]).corpus for _ in range(2))
    >>> first is second, shared(first) is shared(second)
    (False, True)
    """
    global _items, _characters
    size, length = len(corpus), _length(corpus)
    if size > _ITEMS or length > _CHARACTERS:
        return corpus
    key = (
        tuple(corpus.conversations),
        tuple(corpus.responses),
        corpus.item_conversation.tobytes(),
        corpus.item_response.tobytes(),
    )
    with _lock:
        known = _kept.get(key)
        if known is not None:
            _kept.move_to_end(key)
            return known[0]
        _kept[key] = corpus, length
        _items, _characters = _items + size, _characters + length
        while _items > _ALL_ITEMS or _characters > _ALL_CHARACTERS:
            gone, its_length = _kept.popitem(last=False)[1]
            _items, _characters = _items - len(gone), _characters - its_length
    return corpus


def _length(corpus: Corpus) -> int:
    turns = (turn for conversation in corpus.conversations for turn in conversation)
    return sum(map(len, corpus.responses)) + sum(len(turn.content) for turn in turns)


def forget_texts() -> int:
    """Let go of all texts that are kept here, with what was computed of them; return how many corpora.

    For a deletion: a text that a deleted user wrote is then in no object of this process that outlives a
    request.
    """
    global _items, _characters
    with _lock:
        count, _items, _characters = len(_kept), 0, 0
        _kept.clear()
    return count
