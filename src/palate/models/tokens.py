"""Words of many texts as one flat array of codes, for the encoders that need no model.

A *code* is a uint64: 56 bits of a hash that is the same on every machine, then a bit that says
whether the token starts with a digit, then 7 bits of its length (at most 127).
"""

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NUMERIC", "TOKENS_VERSION", "Codes", "Tokens", "code", "lengths", "pair_codes", "tokenize"]

Codes = NDArray[np.uint64]
TOKENS_VERSION = 1
NUMERIC = np.uint64(0x80)
_VOCABULARY_LIMIT = 500_000

# Scripts that write without spaces: every character is a token, so that pairs are character bigrams.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff]"
)
# Marks and joiners inside words, which Python's \w leaves out (Hebrew, Arabic, Indic scripts).
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u06df-\u06ed\u0900-\u0963\u0966-\u0dff\u200c"
)
_WORD = re.compile(rf"[^\W_][\w{_MARKS}]*(?:'[^\W_]+)*|[\u2600-\u27bf\U0001f000-\U0001faff]")


class Tokens(NamedTuple):
    """The words of n texts, one after the other.

    Attributes:
        codes: uint64 [words].
        text: int64 [words], the text that each word is in.
        counts: int64 [n], words of each text.
    """

    codes: Codes
    text: NDArray[np.int64]
    counts: NDArray[np.int64]


def code(word: str) -> int:
    """Return a token's code.

    >>> code("ten") & 0x7F, bool(code("10kg") & 0x80)
    (3, True)
    """
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big") << 8 | (0x80 if word[0].isdigit() else 0) | min(len(word), 127)


class _Vocabulary(dict[str, int]):
    """Remembers codes; a race between threads only computes the same code twice."""

    def __missing__(self, word: str) -> int:
        if len(self) > _VOCABULARY_LIMIT:
            self.clear()
        value = self[word] = code(word)
        return value


_vocabulary = _Vocabulary()


def tokenize(texts: Sequence[str]) -> Tokens:
    """Split texts into lower-case words (characters in scripts without spaces) and code them.

    >>> tokenize(["Don't panic!", "", "你好"]).counts.tolist()
    [2, 0, 2]
    """
    find, words, counts = _WORD.findall, list[str](), list[int]()
    for text in texts:
        low = text.lower().replace("\u2019", "'")
        if not low.isascii() and _UNSPACED.search(low):
            low = _UNSPACED.sub(r" \g<0> ", low)
        found = find(low)
        words += found
        counts.append(len(found))
    codes = np.fromiter(map(_vocabulary.__getitem__, words), np.uint64, len(words))
    sizes = np.array(counts, np.int64)
    return Tokens(codes, np.repeat(np.arange(len(texts)), sizes), sizes)


def pair_codes(left: Codes, right: Codes) -> Codes:
    """Mix the codes of two neighbours into one, order kept: uint64 [pairs]."""
    mixed: Codes = (left >> np.uint64(8)) * np.uint64(0x9E3779B97F4A7C15) + (right >> np.uint64(8))
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(29))


def lengths(codes: Codes) -> NDArray[np.int64]:
    """Return the words' lengths in characters, at most 127: int64 [words]."""
    return (codes & np.uint64(0x7F)).astype(np.int64)
