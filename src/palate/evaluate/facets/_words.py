"""What the facets of text personas share: whose words are looked at, how they are kept, cut and compared.

Words that set one group of texts apart from another are told by their log-odds with an informative Dirichlet
prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words"). With y_w of n the texts of a group that hold word w
(summed over words: n), a = PRIOR or, if that is less, n of both groups, and a_w = a times the share of w,

    d_w = log((y_w + a_w) / (n + a - y_w - a_w)) - the same for the other group
    z_w = d_w / sqrt(1 / (y_w + a_w) + 1 / (y'_w + a_w))
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from palate.core import Personas
from palate.evaluate.protocol import Task
from palate.models.encoder import resolve
from palate.models.features import embed_texts

__all__ = [
    "counted",
    "keeps_words",
    "log_odds",
    "own",
    "pack",
    "sampled",
    "statements",
    "telling",
    "texts_of",
    "unpack",
    "vectors",
    "words_in",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
PRIOR = 500.0
"""Largest weight of the prior, in words."""
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """a about above after again against all also am an and any are as at be because been before being
        below between both but by can could did do does doing down during each few for from further had has
        have having he her here hers him his how i if in into is it its itself just me more most my no nor
        not of off on once only or other our out over own s same she should so some such t than that the
        their theirs them then there these they this those through to too under until up very was we were
        what when where which while who whom why will with would you your yours user users prefer prefers
        preferred like likes want wants answer answers response responses""",
    )
)
"""Words that say nothing by themselves, and those that every persona is made of."""
_FIGURES = re.compile(r":\s*\d+ of \d+ .*$|\s*\[[^\]]*\]")
_BULLET = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
_SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)]))\s+(?=\W?[^\W\d_a-z])")


# ---- whose words ----------------------------------------------------------------------------------------


def keeps_words(personas: Personas) -> bool:
    """Tell whether personas may hold a text."""
    return personas.words is not None or any(text for text in personas.texts or ())


def sampled(task: Task, most: int) -> Ints:
    """Return int64: at most ``most`` scored users, by their number in ``task.context``, in order.

    They are the same for every method, so that methods are compared on the same people.
    """
    users = np.unique(task.targets.user[task.targets.target == 1.0])
    if len(users) > most:
        users = np.sort(np.random.default_rng(0).permutation(users)[:most])
    return users


_written: WeakKeyDictionary[Personas, dict[int, str]] = WeakKeyDictionary()


def texts_of(personas: Personas, users: Ints) -> list[str]:
    """Return the texts of some users, "" for who has none; each is written once for all facets."""
    kept = _written.setdefault(personas, {})
    for user in users.tolist():
        if user not in kept:
            kept[user] = str(personas[user].text or "").strip()
    return [kept[user] for user in users.tolist()]


# ---- keeping ----------------------------------------------------------------------------------------------


def pack(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return texts as two arrays that a cell can keep: their UTF-8 bytes, and where each ends.

    >>> unpack(pack("told", ["one", "", "zwölf"]), "told")
    ['one', '', 'zwölf']
    """
    parts = [text.encode("utf-8", "replace") for text in texts]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return {name: np.frombuffer(b"".join(parts), np.uint8), f"{name}_ends": ends}


def unpack(arrays: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    """Return the texts that :func:`pack` put away; none where it put none."""
    if name not in arrays:
        return []
    whole, ends = arrays[name].tobytes(), arrays[f"{name}_ends"].tolist()
    return [whole[a:b].decode("utf-8") for a, b in zip([0, *ends], ends, strict=False)]


# ---- cutting ----------------------------------------------------------------------------------------------


def statements(text: str, most: int) -> list[str]:
    """Return the first statements of a persona: its lines, or the sentences of a single one.

    Figures of evidence (``: 17 of 21 choices ...``, intervals in brackets) are left out.

    >>> statements("- Prefers lists: 3 of 4 choices, +0.8 log-odds.\\n- Likes warmth.", 9)
    ['Prefers lists', 'Likes warmth.']
    >>> statements("Wants brevity. Avoids jargon, e.g. acronyms.", 9)
    ['Wants brevity.', 'Avoids jargon, e.g. acronyms.']
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = _SENTENCE.split(lines[0])
    told = [_FIGURES.sub("", _BULLET.sub("", line)).strip() for line in lines]
    return [line for line in told if line][:most]


def words_in(text: str) -> set[str]:
    """Return the words that a text holds, in lower case, without those that say nothing by themselves.

    >>> sorted(words_in("The user prefers SHORT, plain answers; 3 of 4."))
    ['plain', 'short']
    """
    return {w for w in _WORD.findall(text.lower().replace("’", "'")) if w not in _STOP and len(w) > 1}


# ---- comparing --------------------------------------------------------------------------------------------


def vectors(texts: Sequence[str], encoder: str) -> Floats:
    """Return float64 [n, k] of norm 1 or 0: texts in an encoder's own columns, without those of style."""
    found = embed_texts(texts, encoder).astype(np.float64)
    text = dict(resolve(encoder).blocks).get("text")
    found = found if text is None else found[:, text]
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(norms > 0, norms, 1.0))


def counted(texts: Sequence[str], row: Ints, rows: int, vocabulary: Mapping[str, int]) -> Floats:
    """Return float64 [rows, words]: how many of a row's texts hold each word."""
    out = np.zeros((rows, len(vocabulary)))
    for text, at in zip(texts, row.tolist(), strict=True):
        held = [vocabulary[word] for word in words_in(text) if word in vocabulary]
        out[at, held] += 1.0
    return out


def log_odds(mine: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Return log-odds and z of every word, float64 [..., words], from counts [..., words]."""
    whole = mine + theirs
    total = np.maximum(whole.sum(axis=-1, keepdims=True), 1.0)
    weight = np.minimum(PRIOR, total)
    prior = np.maximum(weight * whole / total, 1e-9)
    sides = []
    for count in (mine, theirs):
        n = count.sum(axis=-1, keepdims=True) + weight
        sides.append(np.log(count + prior) - np.log(np.maximum(n - count - prior, 1e-9)))
    difference = sides[0] - sides[1]
    return difference, difference / np.sqrt(1.0 / (mine + prior) + 1.0 / (theirs + prior))


def telling(inside: Sequence[str], outside: Sequence[str], most: int) -> list[str]:
    """Return the words that set some texts apart from others, the most distinctive first.

    A word counts that at least two of the texts hold, with z above 1; where there is none, the words that
    most of them hold stand in.

    >>> telling(["short and plain", "short lists"] * 2, ["long tales", "long and warm"] * 2, 1)
    ['short']
    """
    held = [words_in(text) for text in inside]
    vocabulary = {w: i for i, w in enumerate(sorted(set().union(*held)))} if held else {}
    if not vocabulary:
        return []
    mine = counted(inside, np.zeros(len(inside), np.int64), 1, vocabulary)[0]
    theirs = counted(outside, np.zeros(len(outside), np.int64), 1, vocabulary)[0]
    z = log_odds(mine, theirs)[1]
    names = list(vocabulary)
    good = np.flatnonzero((mine >= min(2, len(inside))) & (z > 1.0))
    order = good[np.argsort(-z[good], kind="stable")] if len(good) else np.argsort(-mine, kind="stable")
    return [names[i] for i in order[:most].tolist()]


def own(extra: Mapping[str, NDArray[Any]], facet: str) -> dict[str, NDArray[Any]]:
    """Return a facet's own arrays of an outcome, by their names in it."""
    return {key.removeprefix(f"{facet}."): a for key, a in extra.items() if key.startswith(f"{facet}.")}
