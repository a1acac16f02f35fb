"""Any sentence-transformers model, from a folder or the hub."""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from palate.core.errors import EncoderError
from palate.core.feedback import Conversation
from palate.models.encoder import Batches, Floats, Progress, check_finite, collect
from palate.models.weights import clean, folder_key, length_order

__all__ = ["Sentence"]

_VERSION = 1
_BATCH, _CHUNK = 32, 256


@dataclass(frozen=True)
class Sentence:
    """``st:NAME``: whatever ``SentenceTransformer(NAME).encode`` gives, divided by its norm.

    Args:
        spec: The name as the user wrote it.
        name: A folder or a model's name on the hub.
        device: Where it runs; None is the first GPU if there is one.
        revision: A hub model's branch, tag or commit.
    """

    spec: str
    name: str
    device: str | None = None
    revision: str | None = None
    reads_conversation: bool = field(default=False, init=False)
    cached: bool = field(default=True, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    @functools.cached_property
    def _model(self) -> Any:
        with self._lock:
            from sentence_transformers import SentenceTransformer

            try:
                return SentenceTransformer(self.name, device=self.device, revision=self.revision)
            except Exception as error:
                raise EncoderError(
                    f"{self.spec} cannot be loaded ({type(error).__name__}: {error}); expected a folder or "
                    "the name of a sentence-transformers model, and for a name a connection or a filled cache"
                ) from error

    @functools.cached_property
    def key(self) -> str:
        """A folder's hash, or a hub model's name and commit."""
        if Path(self.name).is_dir():
            return f"st{_VERSION}:{folder_key(Path(self.name))}"
        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        commit = getattr(config, "_commit_hash", None) or self.revision or "main"
        return f"st{_VERSION}:{self.name}@{commit}:{self._model.max_seq_length}"

    @functools.cached_property
    def dim(self) -> int:
        """Columns of the model's vectors."""
        model = self._model
        size = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return int(size())

    @property
    def blocks(self) -> tuple[tuple[str, slice], ...]:
        """``text`` alone."""
        return (("text", slice(0, self.dim)),)

    def render(self, conversation: Conversation, response: str) -> str:
        """Return the response."""
        return response

    def stream(self, texts: Sequence[str]) -> Batches:
        """Yield (positions, vectors float32 [b, dim]), long texts first; see :class:`MiniLM`."""
        order = length_order(texts)
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            vectors = self._model.encode(
                clean([texts[i] for i in rows]),
                batch_size=_BATCH,
                convert_to_numpy=True,
                normalize_embeddings=True,
                show_progress_bar=False,
            ).astype(np.float32)
            check_finite(vectors, rows, texts, self.spec)
            yield rows, vectors

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return float32 [n, dim], rows of norm 1; see :class:`~palate.models.encoder.Encoder`."""
        return collect(self, texts, self.dim, progress)
