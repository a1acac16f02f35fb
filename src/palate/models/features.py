"""From a corpus to one matrix of features, computed once and shared.

An *item* is one response to one conversation. An encoder that does not read the conversation encodes
each distinct response once; an ``hf:`` encoder encodes each distinct rendered chat once. Vectors come
from memory, then from the cache on disk, then from the encoder, longest texts first.
"""

import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import EncoderError
from palate.core.feedback import Conversation
from palate.models.cache import EmbeddingCache, kept_on_disk, text_key
from palate.models.encoder import Batches, Encoder, Floats, Progress, Streams, Styled, resolve
from palate.models.weights import length_order

__all__ = ["Texts", "embed", "embed_texts", "remember"]

_CHUNK = 256


class Texts(Protocol):
    """What :func:`embed` needs of a corpus; :class:`palate.core.Corpus` has it.

    Attributes:
        conversations: The distinct conversations.
        responses: The distinct responses.
        item_conversation: int [items], index into ``conversations``.
        item_response: int [items], index into ``responses``.
    """

    @property
    def conversations(self) -> Sequence[Conversation]: ...  # noqa: D102
    @property
    def responses(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def item_conversation(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def item_response(self) -> NDArray[Any]: ...  # noqa: D102


class _Slot:
    """One matrix and the lock under which it is made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.matrix: Floats | None = None


_slots: WeakKeyDictionary[Any, dict[str, _Slot]] = WeakKeyDictionary()
_slots_lock = threading.Lock()


def embed(corpus: Texts, spec: str | Encoder, *, progress: Progress | None = None) -> Floats:
    """Return the features of every item: float32 [items, dim], read-only.

    The matrix is remembered as long as the corpus lives, so that all methods share it; equal calls at
    the same time make it once.

    Args:
        corpus: The texts; not copied, and not to be changed afterwards.
        spec: An encoder or its name; see :func:`~palate.models.encoder.resolve`.
        progress: Called with (done, total) distinct texts as they are encoded or found.

    Raises:
        ConfigError: If no encoder is called so.
        MissingExtra: If the encoder needs packages that are not installed.
        EncoderError: If a text cannot be turned into finite numbers.

    >>> from palate.core import Corpus, as_conversation
    >>> corpus = Corpus([as_conversation("Hi")], ["Hello!", "Yo."], np.array([0, 0]), np.array([1, 0]))
    >>> embed(corpus, "lexical").shape, embed(corpus, "lexical") is embed(corpus, "lexical")
    ((2, 526), True)
    """
    encoder = resolve(spec) if isinstance(spec, str) else spec
    slot = _slot(corpus, encoder)
    with slot.lock:
        if slot.matrix is None:
            matrix = _items(corpus, encoder, progress)
            matrix.setflags(write=False)
            slot.matrix = matrix
        return slot.matrix


def remember(corpus: Texts, spec: str | Encoder, matrix: Floats) -> None:
    """Hand over features that were made elsewhere, so that :func:`embed` does not make them again.

    Args:
        corpus: The texts.
        spec: The encoder that made the matrix, or its name.
        matrix: float32 [items, dim], as :func:`embed` gave it; not copied, and not to be changed afterwards.

    Raises:
        EncoderError: If the matrix has not one row an item.

    >>> from palate.core import Corpus, as_conversation
    >>> corpus = Corpus([as_conversation("Hi")], ["Hello!", "Yo."], np.array([0, 0]), np.array([1, 0]))
    >>> remember(corpus, "lexical", np.ones((2, 526), np.float32))
    >>> float(embed(corpus, "lexical").sum())
    1052.0
    """
    items = len(corpus.item_response)
    if matrix.ndim != 2 or len(matrix) != items:
        raise EncoderError(
            f"features of shape {matrix.shape} were handed over for {items} items; hand over the matrix "
            "that embed() made of the same corpus"
        )
    slot = _slot(corpus, resolve(spec) if isinstance(spec, str) else spec)
    kept = matrix.view()
    kept.setflags(write=False)
    with slot.lock:
        slot.matrix = kept


def embed_texts(texts: Sequence[str], spec: str | Encoder, *, progress: Progress | None = None) -> Floats:
    """Return the features of responses without a conversation: float32 [n, dim], read-only.

    Args:
        texts: The responses; equal ones are encoded once.
        spec: An encoder or its name; see :func:`~palate.models.encoder.resolve`.
        progress: Called with (done, total) distinct texts.

    Raises:
        ConfigError: If no encoder is called so.
        MissingExtra: If the encoder needs packages that are not installed.
        EncoderError: If a text cannot be turned into finite numbers.

    >>> embed_texts(["Hello!", "Hello!"], "style").shape
    (2, 14)
    """
    encoder = resolve(spec) if isinstance(spec, str) else spec
    distinct = dict.fromkeys(texts)
    place = {text: i for i, text in enumerate(distinct)}
    rendered = [_base(encoder).render((), text) for text in distinct]
    vectors = _with_style(encoder, _vectors(_base(encoder), rendered, progress), list(distinct))
    matrix: Floats = vectors[[place[text] for text in texts]] if texts else vectors
    matrix.setflags(write=False)
    return matrix


def _slot(corpus: Texts, encoder: Encoder) -> _Slot:
    with _slots_lock:
        return _slots.setdefault(corpus, {}).setdefault(encoder.key, _Slot())


def _base(encoder: Encoder) -> Encoder:
    return encoder.base if isinstance(encoder, Styled) else encoder


def _with_style(encoder: Encoder, vectors: Floats, responses: Sequence[str]) -> Floats:
    return encoder.join(vectors, responses) if isinstance(encoder, Styled) else vectors


def _items(corpus: Texts, encoder: Encoder, progress: Progress | None) -> Floats:
    """Return a new matrix: float32 [items, dim]."""
    base, answers = _base(encoder), np.asarray(corpus.item_response)
    if not encoder.reads_conversation:
        rendered = [base.render((), text) for text in corpus.responses]
        vectors = _vectors(base, rendered, progress)
        gathered: Floats = _with_style(encoder, vectors, corpus.responses)[answers]
        return gathered
    pairs = zip(corpus.item_conversation.tolist(), answers.tolist(), strict=True)
    chats = [base.render(corpus.conversations[c], corpus.responses[r]) for c, r in pairs]
    distinct = dict.fromkeys(chats)
    place = {text: i for i, text in enumerate(distinct)}
    vectors = _vectors(base, list(distinct), progress)[[place[text] for text in chats]]
    if not isinstance(encoder, Styled):
        return vectors
    used, inverse = np.unique(answers, return_inverse=True)
    style = encoder.join(np.zeros((len(used), 0), np.float32), [corpus.responses[r] for r in used])
    return np.hstack([vectors, style[inverse]])


def _vectors(encoder: Encoder, texts: Sequence[str], progress: Progress | None) -> Floats:
    """Return float32 [n, dim] for rendered texts, by way of the disk cache where the encoder wants it."""
    if not encoder.cached or not texts or not kept_on_disk():
        return encoder.encode(texts, progress)
    with EmbeddingCache(encoder.key, encoder.dim) as cache:
        keys = [text_key(text) for text in texts]
        found, vectors = cache.get_many(keys)
        done = int(found.sum())
        if progress is not None and done:
            progress(done, len(texts))
        missing = np.flatnonzero(~found)
        with closing(_batches(encoder, [texts[i] for i in missing.tolist()])) as batches:
            for rows, part in batches:
                places = missing[rows]
                vectors[places] = part
                cache.put_many([keys[i] for i in places], part)
                done += len(rows)
                if progress is not None:
                    progress(done, len(texts))
    return vectors


def _batches(encoder: Encoder, texts: Sequence[str]) -> Batches:
    """Yield (positions, vectors): the encoder's own batches, or runs of 256 texts, longest first."""
    if isinstance(encoder, Streams):
        yield from encoder.stream(texts)
        return
    order = length_order(texts)
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        yield rows, encoder.encode([texts[i] for i in rows.tolist()])
