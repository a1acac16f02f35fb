"""Fourteen style features that a person can read, each a pure function of one text.

    feature = clip((raw - centre) / scale, -4, 4)

``raw`` is either a logarithm to base 2 of a count, or a smoothed rate of words in 100 words,
100 count / (words + 20), so that short texts are not all extremes. Centres and scales are constants,
rounded from a mix of short statements, arguments and assistant answers, so that typical spread is about
1. One step of a feature is what its ``unit`` says. The word lists are English; in other languages
length, structure, questions and emphasis still count.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.models.lexicon import PHRASES, WORDS
from palate.models.tokens import NUMERIC, Codes, Tokens, code, lengths, pair_codes, tokenize

__all__ = ["STYLE_AXES", "STYLE_VERSION", "StyleAxis", "style_features"]

STYLE_VERSION = 1


class StyleAxis(NamedTuple):
    """One style feature, and the words for it.

    Attributes:
        name: Its name.
        low: What a person who likes low values prefers, as in "prefers shorter answers".
        high: What a person who likes high values prefers.
        unit: What one step of the feature is, as in "per doubling of length".
        centre: Raw value that gives 0.
        scale: Raw difference that gives 1.
    """

    name: str
    low: str
    high: str
    unit: str
    centre: float
    scale: float


STYLE_AXES: tuple[StyleAxis, ...] = (
    StyleAxis("length", "shorter answers", "longer answers", "per doubling of length", 5.0, 1.0),
    StyleAxis("sentences", "short sentences", "long sentences", "per doubling of sentence length", 4.0, 1.0),
    StyleAxis("lists", "running text", "lists and steps", "per doubling of list items", 0.5, 1.0),
    StyleAxis(
        "sections",
        "one block of text",
        "paragraphs and headings",
        "per doubling of breaks and headings",
        0.5,
        1.0,
    ),
    StyleAxis(
        "formality", "casual wording", "formal wording", "per 2 casual or formal words in 100", -0.5, 2.0
    ),
    StyleAxis("hedging", "firm statements", "hedged statements", "per 1 hedge in 100 words", 0.5, 1.0),
    StyleAxis("warmth", "a matter-of-fact tone", "a warm tone", "per 2 warm words in 100", 1.5, 2.0),
    StyleAxis("directness", "suggestions", "direct instructions", "per 3 directive words in 100", 2.0, 3.0),
    StyleAxis(
        "technical", "plain words", "technical wording", "per 4 technical terms in 100 words", 3.0, 4.0
    ),
    StyleAxis(
        "examples",
        "general statements",
        "examples, names and figures",
        "per 2 examples in 100 words",
        1.0,
        2.0,
    ),
    StyleAxis("questions", "few questions", "many questions", "per 1 question in 100 words", 0.5, 1.0),
    StyleAxis("emphasis", "a calm tone", "exclamation and emphasis", "per 2 emphases in 100 words", 0.7, 2.0),
    StyleAxis(
        "first person",
        "an impersonal voice",
        "a first-person voice",
        "per 3 first-person words in 100",
        2.0,
        3.0,
    ),
    StyleAxis(
        "caution",
        "affirmative statements",
        "negations and cautions",
        "per 2 negations in 100 words",
        1.5,
        2.0,
    ),
)
"""The columns of :func:`style_features`, in order."""

_CENTRES = np.array([axis.centre for axis in STYLE_AXES])
_SCALES = np.array([axis.scale for axis in STYLE_AXES])
_BITS = {name: 1 << i for i, name in enumerate(WORDS)}

_SENTENCE_END = re.compile(r"[.!?…。！？।؟](?:(?<![.!?…])|(?=[\s\"')\]”’*]|$))")
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6} \S|^\*\*[^*\n]{1,80}\*\*:?[ \t]*$", re.MULTILINE)
_SHOUT = re.compile(r"\b[A-Z]{3,}\b")
_EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")
_NAME = re.compile(r"[A-Z](?<=[a-z,;] [A-Z])[a-z]{2,}")
_UNITS = (
    "percent|degrees|[munkcd]?m|[mk]?g|lbs?|oz|ft|mph|km/h|[mnµ]?s|[kMGT]?Hz|[KMGT]i?B|[mk]?[WVAJ]|kWh|[md]?l"
    "|bits?|bytes?"
)
_MEASURE = re.compile(rf"\d ?(?:%|°|(?:{_UNITS})(?!\w))")


def _table(words: dict[str, str]) -> tuple[Codes, NDArray[np.int64]]:
    """Return sorted codes of words (or of pairs of words) and the set of their categories as bits."""
    masks: dict[int, int] = {}
    for category, listed in words.items():
        for entry in listed.split("|") if "|" in listed else listed.split():
            parts = np.array([code(word) for word in entry.split()], np.uint64)
            key = int(pair_codes(parts[:1], parts[1:])[0]) if len(parts) == 2 else int(parts[0])
            masks[key] = masks.get(key, 0) | _BITS[category]
    keys = np.array(sorted(masks), np.uint64)
    return keys, np.array([masks[int(key)] for key in keys], np.int64)


_WORD_TABLE = _table(WORDS)
_PHRASE_TABLE = _table(PHRASES)


def _look_up(table: tuple[Codes, NDArray[np.int64]], codes: Codes) -> NDArray[np.int64]:
    keys, masks = table
    at = np.searchsorted(keys, codes)
    at[at == len(keys)] = 0
    return np.where(keys[at] == codes, masks[at], 0)


def _word_counts(tokens: Tokens, n: int) -> dict[str, NDArray[np.int64]]:
    """Count the words and phrases of every category in every text: int64 [n] each."""
    words = _look_up(_WORD_TABLE, tokens.codes)
    same = tokens.text[1:] == tokens.text[:-1]
    pairs = _look_up(_PHRASE_TABLE, pair_codes(tokens.codes[:-1][same], tokens.codes[1:][same]))
    hits = np.concatenate([words, pairs])
    text = np.concatenate([tokens.text, tokens.text[1:][same]])
    text, hits = text[hits > 0], hits[hits > 0]
    counts = {name: np.bincount(text[hits & bit > 0], minlength=n) for name, bit in _BITS.items()}
    counts["long"] = np.bincount(tokens.text[lengths(tokens.codes) >= 10], minlength=n)
    counts["figures"] = np.bincount(tokens.text[tokens.codes & NUMERIC > 0], minlength=n)
    return counts


def _shape(text: str) -> tuple[int, int, int, int, int, int, int]:
    """Return sentences, list items, breaks, questions, emphases, names, and measures with code marks."""
    items = breaks = measures = 0
    if "\n" in text:
        breaks = text.count("\n\n")
    if "\n" in text or text[:1] in "-*+•#0123456789":
        items = len(_LIST_ITEM.findall(text))
        breaks += 2 * len(_HEADING.findall(text))
    questions = text.count("?") + text.count("؟") + text.count("？")
    emphases = text.count("!") + text.count("！") + text.count("**") // 2 + len(_SHOUT.findall(text))
    if not text.isascii():
        emphases += len(_EMOJI.findall(text))
    if "`" in text:
        measures = text.count("`") // 2
    measures += len(_MEASURE.findall(text))
    sentences, names = max(1, len(_SENTENCE_END.findall(text))), len(_NAME.findall(text))
    return sentences, items, breaks, questions, emphases, names, measures


def style_features(texts: Sequence[str], tokens: Tokens | None = None) -> NDArray[np.float32]:
    """Return the style features of texts: float32 [n, 14], columns as :data:`STYLE_AXES`, in [-4, 4].

    Args:
        texts: Any texts; an empty one is legal.
        tokens: Their words, where :func:`~palate.models.tokens.tokenize` has split them already.

    >>> short, long = style_features(["Yes.", "Yes, " + "and here is why it is so. " * 50])[:, 0]
    >>> bool(short < long)
    True
    """
    n = len(texts)
    if not n:
        return np.zeros((0, len(STYLE_AXES)), np.float32)
    tokens = tokenize(texts) if tokens is None else tokens
    count = _word_counts(tokens, n)
    sentences, items, breaks, questions, emphases, names, measures = np.array([_shape(t) for t in texts]).T
    per_100 = 100.0 / (tokens.counts + 20.0)
    rates = (
        count["formal"] - count["casual"],
        count["hedge"],
        count["warm"],
        count["direct"],
        count["long"] + 2 * measures + count["technical"],
        count["example"] + 0.25 * (names + count["figures"]),
        questions,
        emphases,
        count["first"],
        count["caution"],
    )
    logs = (1 + tokens.counts, 1 + tokens.counts / sentences, 1 + items, 1 + breaks)
    raw = np.stack([*(np.log2(x) for x in logs), *(x * per_100 for x in rates)], axis=1)
    features: NDArray[np.float32] = np.clip((raw - _CENTRES) / _SCALES, -4, 4).astype(np.float32)
    return features
