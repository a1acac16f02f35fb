"""Late interaction: how near two texts are, word by word, and the vectors of their words.

With a_1 .. a_m and b_1 .. b_n the unit vectors of two texts' words,

    s(a, b) = ( 1/m sum_i max_j a_i . b_j  +  1/n sum_j max_i a_i . b_j ) / 2          from -1 to 1

Which vectors, by the encoder's name (:mod:`palate.models.encoder`):

    lexical           of each distinct word: 256 columns of hashed pieces of 3 to 5 letters and the word
                      itself, so that "garden" is near "gardening"; no model, no context; words of one or
                      two letters, which are mostly grammar, are left out where there are longer ones
    minilm, hf:NAME   the states of each token, in context; special tokens are left out
    st:NAME           a late-interaction model (ColBERT and its kin): its own vectors, as of a document;
                      any other sentence-transformers model: the states of each token

Source: ColBERT (Khattab and Zaharia 2020), MaxSim; pieces of words after Bojanowski et al. (2017). Departs:
means in the place of sums and both directions, so that neither text wins by its length and s(a, b) = s(b, a):
both texts here are conversations, and none is the query of the other.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from palate.core.errors import ConfigError, EncoderError
from palate.models.encoder import Floats, Spec, resolve
from palate.models.hidden import HiddenStates
from palate.models.tokens import code
from palate.models.weights import clean

__all__ = ["max_sim", "word_vectors"]

WORD_DIM = 256
"""Columns of a word of ``lexical``."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_LONGEST, _LONGEST_WORD = 1 << 15, 64  # characters of a text that are looked at, from its end; of a word
_MINILM_LENGTH = 256
_BATCH = 32


def max_sim(text: Floats, others: Sequence[Floats]) -> Floats:
    """Return how near a text is to each of the others: float32 [n].

    Args:
        text: float32 [words, d], rows of norm 1.
        others: One such matrix each.

    A text without words is near nothing: 0.

    >>> a, b = np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)[1:]
    >>> max_sim(a, [a, b, b[1:], b[:0]]).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    sizes = np.array([len(other) for other in others], np.int64)
    near = np.zeros(len(others), np.float32)
    heard = np.flatnonzero(sizes)
    if not len(text) or not len(heard):
        return near
    products = (
        text @ np.concatenate([others[i] for i in heard.tolist()]).T
    )  # [words, all words of the others]
    starts = np.concatenate([[0], np.cumsum(sizes[heard])[:-1]])
    there = np.maximum.reduceat(products, starts, axis=1).mean(axis=0)
    back = np.add.reduceat(products.max(axis=0), starts) / sizes[heard]
    near[heard] = (there + back) / 2
    return near


def word_vectors(texts: Sequence[str], spec: str) -> list[Floats]:
    """Return the vectors of every text's words: float32 [words, d] each, rows of norm 1.

    Args:
        texts: The texts.
        spec: An encoder's name; a ``+style`` is passed over.

    Raises:
        ConfigError: If there is no such encoder, or it has no words (``style``).
        MissingExtra: If it needs packages that are not installed.
        EncoderError: If the model cannot be loaded, or gives numbers that are not finite.

    >>> a, b, c = word_vectors(["my garden", "Gardening!", "a loan"], "lexical")
    >>> a.shape, bool(max_sim(a, [b])[0] > max_sim(a, [c])[0])
    ((1, 256), True)
    """
    return _reader(spec.removesuffix("+style"))(texts)


@functools.lru_cache(maxsize=4)
def _reader(text: str) -> Callable[[Sequence[str]], list[Floats]]:
    spec = Spec.parse(text)
    if spec.kind == "style":
        raise ConfigError("late interaction compares words, and the encoder 'style' has none; use 'lexical'")
    encoder = resolve(text)  # packages and options are looked at here
    if spec.kind == "lexical":
        return _lexical
    if spec.kind == "minilm":
        from palate.models.minilm import MiniLM

        assert isinstance(encoder, MiniLM)
        return HiddenStates(
            text,
            str(encoder.folder),
            encoder.device or "cpu",
            dtype=encoder.dtype or "float32",
            max_length=_MINILM_LENGTH,
        ).token_states
    if isinstance(encoder, HiddenStates):
        return encoder.token_states
    return functools.partial(_sentence, text, spec.name, dict(spec.options).get("revision"))


def _lexical(texts: Sequence[str]) -> list[Floats]:
    words = [_words(text) for text in texts]
    places = {word: row for row, word in enumerate(dict.fromkeys(chain.from_iterable(words)))}
    table = np.zeros((len(places), WORD_DIM), np.float32)
    pieces = [(row, code(piece)) for word, row in places.items() for piece in _pieces(word)]
    if pieces:
        rows, codes = np.array(pieces, np.uint64).T
        columns = (codes >> np.uint64(8)) % np.uint64(WORD_DIM)
        signs = 1.0 - 2.0 * ((codes >> np.uint64(40)) & np.uint64(1)).astype(np.float32)
        np.add.at(table, (rows.astype(np.intp), columns.astype(np.intp)), signs)
    return [_unit(table[[places[word] for word in found]]) for found in words]


def _words(text: str) -> list[str]:
    """Return a text's distinct words, the longer ones where there are any."""
    tail = (
        text if len(text) <= _LONGEST else re.sub(r"^\S*\s", "", text[-_LONGEST:])
    )  # begin with a whole word
    words = list(dict.fromkeys(_WORD.findall(tail.lower().replace("\u2019", "'"))))
    return [word for word in words if len(word) > 2] or words


def _pieces(word: str) -> list[str]:
    """Return a word's pieces of three to five letters, its ends marked, and twice the word itself."""
    whole = f"<{word[:_LONGEST_WORD]}>"
    cut = [whole[i : i + n] for n in (3, 4, 5) for i in range(len(whole) - n + 1)]
    return [*cut, whole, whole]


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = (rows / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


def _sentence(spec: str, name: str, revision: str | None, texts: Sequence[str]) -> list[Floats]:
    vectors = _encode(spec, name, revision)(clean(texts))
    for text, rows in zip(texts, vectors, strict=True):
        if not np.isfinite(rows).all():
            raise EncoderError(f"{spec} gave numbers that are not finite for the text {text[:60]!r}")
    return [_unit(rows) for rows in vectors]


@functools.lru_cache(maxsize=2)
def _encode(spec: str, name: str, revision: str | None) -> Callable[[list[str]], list[Floats]]:
    """Load a model, as what it is: one that is no late-interaction model would be given random weights."""
    from sentence_transformers import SentenceTransformer

    common: dict[str, Any] = {"batch_size": _BATCH, "show_progress_bar": False}
    try:
        if _is_late(name, revision):
            from sentence_transformers import MultiVectorEncoder  # from version 6 on

            late = MultiVectorEncoder(name, revision=revision)
            return lambda texts: late.encode_document(texts, convert_to_numpy=True, **common)
        plain = SentenceTransformer(name, revision=revision)
    except Exception as error:
        raise EncoderError(
            f"{spec} cannot be loaded ({type(error).__name__}: {error}); expected a folder or the name of a "
            "sentence-transformers model, and for a name a connection or a filled cache"
        ) from error

    def states(texts: list[str]) -> list[Floats]:
        found = plain.encode(texts, output_value="token_embeddings", convert_to_numpy=False, **common)
        return [rows.float().cpu().numpy() for rows in found]

    return states


def _is_late(name: str, revision: str | None) -> bool:
    """Whether a model's own settings say that it is made for late interaction."""
    from sentence_transformers.util import load_file_path

    def settings(file: str) -> Any:
        path = load_file_path(name, file, revision=revision)
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else {}

    if settings("config_sentence_transformers.json").get("model_type") in ("ColBERT", "MultiVectorEncoder"):
        return True
    kinds = settings("config.json").get("architectures") or []
    return any(kind == "HF_ColBERT" or kind.endswith("ForRetrieval") for kind in kinds)
