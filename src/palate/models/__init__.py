"""Text encoders, their cache on disk, and the features of a corpus. Nothing personal, nothing heavy."""

from palate.models.cache import EmbeddingCache, cache_folder, text_key
from palate.models.encoder import Encoder, Progress, Streams, resolve
from palate.models.features import embed, embed_texts
from palate.models.style import STYLE_AXES, StyleAxis, style_features

__all__ = [
    "STYLE_AXES",
    "EmbeddingCache",
    "Encoder",
    "Progress",
    "Streams",
    "StyleAxis",
    "cache_folder",
    "embed",
    "embed_texts",
    "resolve",
    "style_features",
    "text_key",
]
