"""The small language: prompts, answers and persona statements over few words, and people of known taste.

An answer names the topic of its prompt and says one word for each of four axes, in their order. Each axis has
two values, each value two words. A person's taste is t in R^4: on each axis a sign, the crowd's own with
probability 0.65 and the other with 0.35, times a magnitude, 0.8 or 2.0 with equal probability. With the
values v(y) in {-1, 1}^4 of an answer,

    u(y) = sum_k t_k v_k(y)                             utility, log-odds
    P(y beats y') = sigmoid(u(y) - u(y'))               Bradley and Terry

Answers are in one order and a value has two words: an order of its own for every answer, and a third word,
cost six nats an answer that say nothing of taste, and kept models of this size from learning in minutes.

A dialect is a group of topics with words of its own for every value: one taste is said in other words in
another group, so that what was learned by the letter in one does not hold in the other.

Nothing here is a real person, and no figure made with it is a figure of a real language model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError

__all__ = [
    "AXES",
    "CROWD",
    "MINORITY",
    "SMALL_ABDUCE",
    "SMALL_FIRST",
    "SMALL_SECOND",
    "SMALL_SURVEY",
    "Language",
    "all_tastes",
    "differing",
    "draw_tastes",
    "signals",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMALL_FIRST: dict[str, str] = {
    "system": "",
    "system_personal": "",
    "answer": "ask {prompt}",
    "answer_from_signals": "{signals} ask {prompt}",
    "answer_from_summary": "user {summary} ask {prompt}",
    "infer_system": "",
    "infer": "{signals} describe",
    "infer_for_prompt": "{signals} ask {prompt} describe",
    "pair": "ask {prompt} good {chosen} bad {rejected}",
    "separator": " ",
}
"""The first phrasing of every message; an empty system is no system message."""

SMALL_SECOND: dict[str, str] = {
    "system": "",
    "system_personal": "",
    "answer": "about {prompt}",
    "answer_from_signals": "about {prompt} seen {signals}",
    "answer_from_summary": "about {prompt} person {summary}",
    "infer_system": "",
    "infer": "portray {signals}",
    "infer_for_prompt": "portray {signals} about {prompt}",
    "pair": "about {prompt} yes {chosen} no {rejected}",
    "separator": " next ",
}
"""A second phrasing: other control words, another order."""

SMALL_ABDUCE: tuple[str, str] = ("{pair} why", "reason {pair}")
"""What asks for one statement about whoever made one choice, in either phrasing."""

SMALL_SURVEY: tuple[str, str] = ("{signals} which", "sides {signals}")
"""What asks which side of every axis choices favour, in either phrasing."""

AXES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "length": (("brief", "short", "terse", "concise"), ("long", "full", "ample", "lengthy")),
    "tone": (("warm", "kind", "gentle", "friendly"), ("cool", "dry", "stern", "distant")),
    "register": (("formal", "polite", "proper", "solemn"), ("casual", "slangy", "loose", "chatty")),
    "ground": (("vivid", "concrete", "storied", "pictured"), ("abstract", "general", "notional", "pure")),
}
"""The axes: words of the first value (+1) and of the second (-1), two for each dialect."""

_TOPICS = ("bread", "stars", "rivers", "chess", "music", "trains", "gardens", "storms")
_ASPECTS = ("history", "basics", "costs", "tools", "risks", "future")
_HOBBIES = ("sailing", "pottery", "cycling", "knitting", "fishing", "painting", "running", "baking")
_SYNONYMS = 2
_MAGNITUDES = (0.8, 2.0)  # log-odds per half difference
MINORITY = 0.35  # share of people on the side that fewer are on, axis by axis
CROWD = np.array([1.0, -1.0, 1.0, -1.0])  # the side that most are on
_SIDES = tuple(AXES.values())


def draw_tastes(n: int, rng: np.random.Generator, minority: float = MINORITY) -> Floats:
    """Draw people from the prior.

    Args:
        n: How many.
        rng: Where chance comes from.
        minority: Share of people who are not on the crowd's side, axis by axis; 0.5 has no crowd.

    Returns:
        float64 [n, axes]: taste, log-odds per unit of value.
    """
    sign = np.where(rng.random((n, len(AXES))) < minority, -CROWD, CROWD)
    taste: Floats = sign * rng.choice(_MAGNITUDES, (n, len(AXES)))
    return taste


def all_tastes(minority: float = MINORITY) -> tuple[Floats, Floats]:
    """Return every taste there is, float64 [4^4, axes], and its probability."""
    values = np.array([sign * size for sign in (1.0, -1.0) for size in _MAGNITUDES])
    tastes = np.array(np.meshgrid(*[values] * len(AXES))).reshape(len(AXES), -1).T
    with_crowd = np.where(np.sign(tastes) == CROWD, 1 - minority, minority)
    return tastes, (with_crowd / len(_MAGNITUDES)).prod(axis=1)


@dataclass(frozen=True)
class Language:
    """The words, and what any text means.

    Args:
        dialects: Groups of topics with words of their own, 1 or 2.

    Raises:
        ConfigError: With another number of dialects.

    >>> language = Language()
    >>> language.values("bread brief cool").tolist()
    [1.0, -1.0, 0.0, 0.0]
    >>> language.stated("likes brief loves cool enjoys sailing").tolist()
    [0.8, -2.0, 0.0, 0.0]
    """

    dialects: int = 1

    topics: ClassVar[tuple[str, ...]] = _TOPICS
    aspects: ClassVar[tuple[str, ...]] = _ASPECTS
    hobbies: ClassVar[tuple[str, ...]] = _HOBBIES
    verbs: ClassVar[tuple[str, str]] = ("likes", "loves")
    idle: ClassVar[tuple[str, str]] = ("enjoys", "asks")
    control: ClassVar[tuple[str, ...]] = (
        *("ask", "good", "bad", "user", "describe", "why"),
        *("about", "yes", "no", "person", "portray", "next", "seen", "reason", "which", "sides"),
    )

    def __post_init__(self) -> None:
        if self.dialects not in (1, 2):
            raise ConfigError(f"dialects is {self.dialects}, and may be 1 or 2: there are words for two")

    @property
    def words(self) -> tuple[str, ...]:
        """Every word, of both dialects: the vocabulary of a tokenizer."""
        values = [word for pair in AXES.values() for side in pair for word in side]
        return (
            *self.control,
            *self.verbs,
            *self.idle,
            *self.topics,
            *self.aspects,
            *self.hobbies,
            *values,
        )

    @cached_property
    def meaning(self) -> dict[str, tuple[int, float]]:
        """Axis and value of each word that has one."""
        return {
            word: (axis, sign)
            for axis, pair in enumerate(AXES.values())
            for sign, side in zip((1.0, -1.0), pair, strict=True)
            for word in side
        }

    def group(self, topic: str) -> int:
        """Return the dialect of a topic."""
        return self.topics.index(topic) * self.dialects // len(self.topics)

    def word(self, axis: int, value: float, dialect: int, rng: np.random.Generator) -> str:
        """Draw a word for a value of an axis."""
        return _SIDES[axis][0 if value > 0 else 1][dialect * _SYNONYMS + int(rng.random() * _SYNONYMS)]

    def prompt(self, rng: np.random.Generator, group: int | None = None) -> str:
        """Draw a prompt: a topic, of one dialect if asked, and an aspect."""
        size = len(self.topics) // self.dialects
        topic = (group or 0) * size + int(rng.integers(len(self.topics) if group is None else size))
        return f"{self.topics[topic]} {self.aspects[int(rng.integers(len(self.aspects)))]}"

    def answer(self, prompt: str, values: Floats, rng: np.random.Generator) -> str:
        """Write an answer to a prompt with the given values [axes], +1 or -1."""
        topic = prompt.split()[0]
        first = self.group(topic) * _SYNONYMS
        chosen = (rng.random(len(_SIDES)) * _SYNONYMS).astype(int).tolist()  # one draw for all is faster
        said = [
            side[0 if value > 0 else 1][first + number]
            for side, value, number in zip(_SIDES, values.tolist(), chosen, strict=True)
        ]
        return " ".join([topic, *said])

    def statement(self, axis: int, value: float, strong: bool, dialect: int, rng: np.random.Generator) -> str:
        """State one preference: ``likes`` or, where it is strong, ``loves``, and a word."""
        return f"{self.verbs[strong]} {self.word(axis, value, dialect, rng)}"

    def persona(self, taste: Floats, rng: np.random.Generator, dialect: int | None = None) -> str:
        """State a whole taste [axes], in any order, in one dialect or each axis in any."""
        strong = np.abs(taste) > np.mean(_MAGNITUDES)
        parts = []
        for axis in rng.permutation(len(taste)):
            said = int(rng.integers(self.dialects)) if dialect is None else dialect
            parts.append(self.statement(axis, taste[axis], bool(strong[axis]), said, rng))
        return " ".join(parts)

    def values(self, text: str) -> Floats:
        """Return float64 [axes]: the mean value of a text's words on each axis, 0 where it says nothing."""
        total, count = np.zeros(len(AXES)), np.zeros(len(AXES))
        for word in text.split():
            if word in self.meaning:
                axis, value = self.meaning[word]
                total[axis] += value
                count[axis] += 1
        return total / np.maximum(count, 1)

    def stated(self, text: str) -> Floats:
        """Return float64 [axes]: the taste that a persona states; a word without a verb is ``likes``."""
        total, count = np.zeros(len(AXES)), np.zeros(len(AXES))
        before = ""
        for word in text.split():
            if word in self.meaning:
                axis, value = self.meaning[word]
                total[axis] += value * _MAGNITUDES[before == self.verbs[1]]
                count[axis] += 1
            before = word
        return total / np.maximum(count, 1)

    def fit(self, taste: Floats, text: str) -> float:
        """Return the utility of any text for a taste [axes], log-odds; for a persona, of ``stated`` of it."""
        return float(taste @ self.values(text))

    def quality(self, prompt: str, text: str, ended: bool = True) -> float:
        """Return how well formed an answer is, 0 to 1, whoever it is for.

        The mean of four marks: it names the topic once; the share of axes with exactly one word, in the
        words of the topic's dialect; it has the right length; it ended by itself.
        """
        words, topic = text.split(), prompt.split()[0]
        group = self.group(topic)
        once = 0
        for pair in AXES.values():
            here = {w for side in pair for w in side[group * _SYNONYMS : (group + 1) * _SYNONYMS]}
            once += sum(w in here for w in words) == 1 == sum(w in (*pair[0], *pair[1]) for w in words)
        marks = (words.count(topic) == 1, once / len(AXES), len(words) == len(AXES) + 1, ended)
        return float(np.mean(marks))


def signals(pairs: Sequence[tuple[str, str, str]], template: dict[str, str] | None = None) -> str:
    """Render past choices: (prompt, chosen, rejected) of each, oldest first.

    >>> signals([("bread costs", "brief bread", "bread long")])
    'ask bread costs good brief bread bad bread long'
    """
    form = SMALL_FIRST if template is None else template
    return form["separator"].join(
        form["pair"].format(prompt=prompt, chosen=chosen, rejected=rejected)
        for prompt, chosen, rejected in pairs
    )


def differing(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the values [axes] of two answers: uniform, differing on each axis with probability 1/2."""
    first = rng.choice([-1.0, 1.0], len(AXES))
    differ = rng.random(len(AXES)) < 0.5
    if not differ.any():
        differ[rng.integers(len(AXES))] = True
    return first, np.where(differ, -first, first)
