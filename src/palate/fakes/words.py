"""Statements about a taste in words: which axis, which end, how strongly; read and written.

A statement is read from left to right. A word for one end of an axis counts for that end, unless what
stands before it turns it round: a verb of dislike (to the end of the sentence), ``not``, ``without``,
``than``, ``over`` and their like (to the next comma or ``and``), or ``too``. What is written here reads back.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.feedback.world_answers import AXES

__all__ = [
    "AXIS_NAMES",
    "PHRASES",
    "Statement",
    "axes_named",
    "mean_taste",
    "phrase",
    "read_statements",
    "statement",
]

AXIS_NAMES: tuple[str, ...] = tuple(axis.name for axis in AXES)

PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "length": (("short answers", "brief replies"), ("long answers", "detailed replies")),
    "structure": (
        ("one flowing paragraph", "running text"),
        ("lists and steps", "headings and bullet points"),
    ),
    "formality": (("casual wording", "a relaxed tone"), ("formal wording", "a formal tone")),
    "warmth": (("a cool and blunt tone", "a matter-of-fact tone"), ("a warm and kind tone", "encouragement")),
    "hedging": (("firm statements", "a confident voice"), ("ifs and maybes", "hedged statements")),
    "technical": (("plain words", "everyday language"), ("technical wording", "technical terms")),
    "examples": (("general statements", "general principles"), ("concrete examples", "examples and stories")),
    "leaning": (("cautious advice", "safe and proven options"), ("daring advice", "bold suggestions")),
}
"""What each end of an axis is called in writing: low, high."""

_ENDS: dict[str, tuple[str, str]] = {
    "length": (
        "short(?:er|est)?|brie(?:f(?:er|ly)?|vity)|concis(?:e|ely|ion|eness)|succinct(?:ly)?|terse|compact"
        "|to the point|one-liners?|few words|quick answers?",
        "long(?:er|est)?|length(?:y|ier)|details?|detailed|thorough(?:ly|ness)?|in-depth|in depth|depth"
        "|comprehensive|elaborate|extensive|exhaustive|verbos(?:e|ity)|wordy|long-winded",
    ),
    "structure": (
        "one flowing paragraph|flowing|running text|one block of text|(?:single|one) paragraph|prose"
        "|narrative|unstructured|continuous text|long sentences",
        "lists and steps|lists?|bullet(?: point)?s?|bulleted|step-by-step|steps?|headings?"
        "|paragraphs and headings|numbered|structured?|well-structured|organi[sz]ed|outlines?"
        "|short sentences",
    ),
    "formality": (
        "casual|informal(?:ity)?|relaxed|colloquial|slang|chatty|conversational|laid-back|breezy"
        "|a first-person voice|many questions|exclamation and emphasis",
        "formal(?:ity)?|polished|professional|academic|scholarly|dignified|an impersonal voice|few questions"
        "|a calm tone",
    ),
    "warmth": (
        "cool and blunt|cool|blunt(?:ness)?|cold|matter-of-fact(?:ness)?|detached|curt|brusque|unsentimental"
        "|no-nonsense|dry",
        "warm and kind|warm(?:th|er)?|kind(?! of)(?:ness|er)?|friendl(?:y|ier|iness)|empath(?:y|etic)"
        "|encourag(?:ing|ement)|supportive|caring|compassion(?:ate)?|gentle|sympath(?:y|etic)|reassur(?:ing|ance)",
    ),
    "hedging": (
        "certain(?:ty)?|firm(?:ly|ness)?|confiden(?:t|ce)|decisive(?:ness)?|definit(?:e|ive)|assertive"
        "|unhedged|direct instructions|(?<=prefers )direct answers",
        "full of ifs and maybes|ifs and maybes|ifs|maybes|hedg(?:e|es|ed|ing)|tentative|qualified|nuanced?"
        "|uncertain(?:ty)?|caveats?|provisional|(?<=prefers )suggestions",
    ),
    "technical": (
        "in plain words|plain(?:er|ly)?(?: words| wording| language)?|simpl(?:e|er|y|icity)"
        "(?: words| language| terms)?|everyday|jargon-free|lay(?:man's)? terms|non-technical|accessible",
        "technical(?:ity| terms| wording| detail)?|jargon|expert|specialist|speciali[sz]ed|scientific"
        "|terminology|figures",
    ),
    "examples": (
        "(?<!in )general(?:ities| statements| principles)?|generic|abstract(?:ions?)?",
        "full of examples|examples, names and figures|examples? and (?:stories|anecdotes)"
        "|(?:concrete )?examples?|anecdotes?|stor(?:y|ies)|concrete|illustrat(?:ed|ions?|ive)",
    ),
    "leaning": (
        "cautio(?:us|n|usness)|negations and cautions|careful|safe(?: and proven|r|ty)?|prudent|conservative"
        "|proven|risk-averse|low-risk",
        "daring|bold(?:er|ness)?|brave(?:r|ry)?|adventurous|risk(?:s|y|-taking)?|ambitious|experimental"
        "|unconventional|affirmative statements",
    ),
}
_SUBJECTS = {
    "length": "length|long(?:er)?|short(?:er)?|brevity|detail",
    "structure": "structured?|format(?:ting)?|layout|organi[sz]ation|lists?",
    "formality": "formality|register|formal|casual|tone",
    "warmth": "warmth|warm|kindness|empathy|friendliness|tone",
    "hedging": "hedg(?:ing|ed|es)|certainty|confidence|nuance|caveats?",
    "technical": "technical(?:ity)?|jargon|vocabulary|expertise|plain(?:ness)?",
    "examples": "examples?|anecdotes|stories|concrete(?:ness)?",
    "leaning": "leanings?|risk|boldness|caution|daring|cautious",
}
_LIKE = "prefer|like|want|value|enjoy|appreciate|favou?r|love|seek|choose|pick|need|expect|care for|welcome"
_MARKS = (
    (
        "dislike",
        rf"(?:(?:does|do|did|would) ?n[o']t|never|cannot stand)(?: really)? (?:{_LIKE})|dislik(?:es?|ing)"
        r"|avoid(?:s|ing)?|rejects?|hates?|dismiss(?:es)?|put off by|annoyed by|tired of|has no use for",
    ),
    ("like", rf"(?:{_LIKE})s?"),
    ("only", r"not only|no longer than"),
    ("turn", r"not|no|nothing|without|rather than|over|instead of|less|fewer|than|never|nor"),
    ("too", r"too|overly|excessively"),
    ("but", r"but|while|whereas|though"),
    ("stop", r"[,:]|and|with"),
)
_STRONG = re.compile(r"\b(?:strong(?:ly|est)?|very|really|greatly|deeply|above all|always|by far)\b")
_SLIGHT = re.compile(r"\b(?:slight(?:ly)?|somewhat|a little|a bit|mild(?:ly)?|weakly|sometimes)\b")
_LOG_ODDS = re.compile(r"([+-]\d+(?:\.\d+)?) log-odds")
_EVIDENCE = re.compile(r":\s*\d+ of \d+ .*|\([^)]*\)|\[[^\]]*\]")
_SENTENCE = re.compile(r"[.!?;]+(?=\s|$)|\n+")
_MOST = 3.0  # log-odds beyond this are no stronger
_SAID_AS = ((1.5, " above all"), (0.75, ""), (0.0, " a little"))


class Statement(NamedTuple):
    """One thing said about a taste.

    Attributes:
        axis: Its place in ``AXES``.
        sign: -1 for the axis' low end, 1 for its high end.
        strength: 1 said plainly, 2 said strongly, 0.5 slightly; or log-odds where a figure is given.
    """

    axis: int
    sign: int
    strength: float = 1.0


def _scanner() -> re.Pattern[str]:
    terms = [
        (f"{name}_{end}", pattern)
        for name, ends in _ENDS.items()
        for end, pattern in zip(("low", "high"), ends, strict=True)
    ]
    # a longer phrase of one axis stands before the word of another that is in it
    terms.sort(key=lambda term: -max(len(part) for part in term[1].split("|")))
    whole = [("structure_low", "long sentences"), ("structure_high", "short sentences")]
    groups = [f"(?P<{name}_first>{p})" for name, p in whole]
    groups += [f"(?P<{name}>{pattern})" for name, pattern in (*_MARKS[:3], *terms, *_MARKS[3:])]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(groups)})(?![\w-])|(?P<comma>[,:])")


_SCAN = _scanner()
_NAMES = {name: re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE) for name, pattern in _SUBJECTS.items()}


@lru_cache(maxsize=8192)
def read_statements(text: str) -> tuple[Statement, ...]:
    """Return what a text says about a taste, in its order.

    >>> read_statements("Prefers short answers, not formal ones. Dislikes lists.")
    (Statement(axis=0, sign=-1, strength=1.0), Statement(axis=2, sign=-1, strength=1.0), \
Statement(axis=1, sign=-1, strength=1.0))
    """
    out: list[Statement] = []
    for line in text.splitlines():
        for sentence in _SENTENCE.split(line):
            out += _read_sentence(sentence.lower().replace("’", "'"))
    return tuple(out)


def _read_sentence(sentence: str) -> list[Statement]:
    figure = _LOG_ODDS.search(sentence)
    words = _EVIDENCE.sub(" ", sentence)
    strength = 2.0 if _STRONG.search(words) else 0.5 if _SLIGHT.search(words) else 1.0
    if figure:
        strength = min(abs(float(figure.group(1))), _MOST)
    stance, turned, found = 1, 1, []
    for match in _SCAN.finditer(words):
        kind = match.lastgroup or ""
        if kind in ("like", "dislike"):
            stance, turned = (1 if kind == "like" else -1), 1
        elif kind in ("turn", "too"):
            turned = -1 if kind == "turn" else -stance
        elif kind in ("stop", "comma"):
            turned = 1
        elif kind == "but":
            stance = turned = 1
        elif kind != "only":
            name, end = kind.split("_")[:2]
            sign = (1 if end == "high" else -1) * stance * turned
            found.append(Statement(AXIS_NAMES.index(name), sign, strength))
    return found


def mean_taste(statements: Sequence[Statement]) -> NDArray[np.float64]:
    """Return float64 [8]: mean of sign times strength of what is said of each axis; NaN where nothing is."""
    total, count = np.zeros(len(AXES)), np.zeros(len(AXES))
    for said in statements:
        total[said.axis] += said.sign * said.strength
        count[said.axis] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def phrase(axis: int, sign: int, pick: float = 0.0) -> str:
    """Return words for an end of an axis; ``pick`` in [0, 1) chooses which."""
    ends = PHRASES[AXIS_NAMES[axis]][sign > 0]
    return ends[int(pick * len(ends))]


def statement(axis: int, sign: int, pick: float = 0.0, strength: float = 1.0) -> str:
    """Write a statement that :func:`read_statements` reads back.

    >>> statement(0, -1), statement(3, 1, strength=2)
    ('Prefers short answers.', 'Prefers a warm and kind tone above all.')
    """
    how = next(words for least, words in _SAID_AS if strength >= least)
    return f"Prefers {phrase(axis, sign, pick)}{how}."


def axes_named(text: str) -> tuple[bool, ...]:
    """Return for each axis whether a text names it as something to look at.

    >>> [n for n, named in zip(AXIS_NAMES, axes_named("Look at length and tone."), strict=True) if named]
    ['length', 'formality', 'warmth']
    """
    return tuple(bool(_NAMES[name].search(text)) for name in AXIS_NAMES)
