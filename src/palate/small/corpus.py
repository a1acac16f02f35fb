"""The documents that a small base model learns from: what an instruct model has, weakly and verbosely.

Five kinds, each a message and its reply, in either phrasing of :mod:`palate.small.language`:

    answer      a prompt, and the answer of a person of whom nothing is known
    personal    some statements about a person and a prompt, and that person's answer
    describe    a person's past choices, and what a careless annotator writes of them
    abduce      one choice, and one statement about who may have made it
    survey      past choices, and which side of every axis they favour

A person of taste t writes the value +1 on axis k with probability sigmoid(2 t_k): the same taste by which
people choose. Personal statements are of one to all axes, in any order, in the words of their topic's
dialect, in most documents among statements that say nothing of taste (hobbies, topics), so that a model
learns to follow them in any form.

Most annotators are careless. They write some fourteen statements, most of them beside the point. A statement
of taste comes from one look at one past choice, on one axis on which its answers differ: it quotes the word
of the chosen answer, or by mistake that of the rejected one. Its strength is a guess. Three in ten annotators
are careful: they name, axis by axis, the side that most of the choices favour (the crowd's where none do), in
the words of one of the choices. So a base model can sum people up, and mostly does not: asked to describe a
person it is long, repeats itself, leaves axes out and is wrong on many, as instruct models are until they are
tuned. Asked straight out, side by side for every axis, everybody is careful: a survey.

Reading is learned from few choices first, from ten at once later: from ten at once alone, models of this size
are slow to see more than the crowd's side. What is asked about a person after each of their choices comes as
one family of documents that begin alike (``readings``), which is read once.

There is no document in which past choices are followed by an answer: that past choices bear on what to write
is for a method to find out. The shares were set so that a base follows personas and reads choices within
minutes. Surveys, careful annotators and the order of reading were added after bases without them could not
read, or could not be tuned to say what they read within a few hundred steps.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.small.language import (
    AXES,
    CROWD,
    SMALL_ABDUCE,
    SMALL_FIRST,
    SMALL_SECOND,
    SMALL_SURVEY,
    Language,
    differing,
    draw_tastes,
    signals,
)

__all__ = ["KINDS", "Document", "documents", "readings"]

Floats = NDArray[np.float64]

_LOOKS = 0.45  # share of an annotator's statements that are of taste
_CAREFUL = 0.3  # share of annotators who are careful
_SLIPS = 0.15  # share of those that name the rejected value
_STATEMENTS = (8, 20)  # that an annotator writes, uniformly
_PAIRS = 10  # choices, the most that are shown
_CLEAR = 4  # net lead, in values, from which a survey says ``loves``
_PLAIN = 0.3  # share of personal documents without idle statements
_FORMS = (SMALL_FIRST, SMALL_SECOND)


class Document(NamedTuple):
    """One message and the reply to it."""

    content: str
    reply: str


def _own_values(taste: Floats, rng: np.random.Generator) -> Floats:
    """Draw the values [axes] that a person of this taste writes."""
    return np.where(rng.random(len(taste)) < 1 / (1 + np.exp(-2 * taste)), 1.0, -1.0)


def _idle(language: Language, rng: np.random.Generator, topics: list[str] | None = None) -> str:
    """Say something that has nothing to do with taste: a hobby, or a topic asked about."""
    if rng.random() < 0.5:
        return f"{language.idle[0]} {language.hobbies[int(rng.integers(len(language.hobbies)))]}"
    known = topics or list(language.topics)
    return f"{language.idle[1]} {known[int(rng.integers(len(known)))]}"


def _answer(language: Language, form: int, rng: np.random.Generator) -> Document:
    prompt, taste = language.prompt(rng), draw_tastes(1, rng)[0]
    content = _FORMS[form]["answer"].format(prompt=prompt)
    return Document(content, language.answer(prompt, _own_values(taste, rng), rng))


def _personal(language: Language, form: int, rng: np.random.Generator) -> Document:
    prompt, taste = language.prompt(rng), draw_tastes(1, rng)[0]
    told = int(rng.integers(1, len(AXES) + 1))
    said = language.persona(taste, rng, language.group(prompt.split()[0])).split()
    parts = [" ".join(said[2 * n : 2 * n + 2]) for n in range(told)]
    if rng.random() >= _PLAIN:
        parts += [_idle(language, rng) for _ in range(int(rng.integers(1, 13)))]
    summary = " ".join(parts[n] for n in rng.permutation(len(parts)))
    content = _FORMS[form]["answer_from_summary"].format(prompt=prompt, summary=summary)
    return Document(content, language.answer(prompt, _own_values(taste, rng), rng))


class _Seen(NamedTuple):
    """One past choice, and its answers' values [axes], the chosen first."""

    texts: tuple[str, str, str]
    values: tuple[Floats, Floats]


def _choice(language: Language, taste: Floats, rng: np.random.Generator) -> _Seen:
    prompt = language.prompt(rng)
    first, second = differing(rng)
    if rng.random() >= 1 / (1 + np.exp(-taste @ (first - second))):
        first, second = second, first
    texts = (prompt, language.answer(prompt, first, rng), language.answer(prompt, second, rng))
    return _Seen(texts, (first, second))


def _look(language: Language, seen: _Seen, rng: np.random.Generator) -> str:
    """Quote the word of the chosen answer on one axis, or by mistake that of the rejected one."""
    axis = int(rng.choice(np.flatnonzero(seen.values[0] != seen.values[1])))
    quoted = seen.texts[1 + int(rng.random() < _SLIPS)].split()[1 + axis]
    return f"{language.verbs[int(rng.random() < 0.5)]} {quoted}"


def _choices(language: Language, rng: np.random.Generator, count: int) -> list[_Seen]:
    """Draw a person and some choices of theirs."""
    taste = draw_tastes(1, rng)[0]
    return [_choice(language, taste, rng) for _ in range(count)]


def _sides(language: Language, choices: Sequence[_Seen], rng: np.random.Generator) -> str:
    """Name the side of every axis that most choices favour."""
    lead = sum(seen.values[0] - seen.values[1] for seen in choices)
    parts = []
    for axis, net in enumerate(np.asarray(lead).tolist()):
        side, quoted = net or CROWD[axis], choices[int(rng.integers(len(choices)))]
        dialect = language.group(quoted.texts[0].split()[0])
        parts.append(language.statement(axis, side, abs(net) >= _CLEAR, dialect, rng))
    return " ".join(parts)


def _careless(language: Language, choices: Sequence[_Seen], rng: np.random.Generator) -> str:
    """Say much, most of it beside the point."""
    count = len(choices)
    topics = [seen.texts[0].split()[0] for seen in choices]
    return " ".join(
        _look(language, choices[int(rng.integers(count))], rng)
        if rng.random() < _LOOKS
        else _idle(language, rng, topics)
        for _ in range(int(rng.integers(_STATEMENTS[0], _STATEMENTS[1] + 1)))
    )


def _survey(language: Language, form: int, choices: Sequence[_Seen], rng: np.random.Generator) -> Document:
    shown = signals([seen.texts for seen in choices], _FORMS[form])
    return Document(SMALL_SURVEY[form].format(signals=shown), _sides(language, choices, rng))


def _describe(language: Language, form: int, choices: Sequence[_Seen], rng: np.random.Generator) -> Document:
    shown = signals([seen.texts for seen in choices], _FORMS[form])
    write = _sides if rng.random() < _CAREFUL else _careless
    return Document(_FORMS[form]["infer"].format(signals=shown), write(language, choices, rng))


def readings(
    n: int, rng: np.random.Generator, language: Language, most: int = _PAIRS
) -> list[list[Document]]:
    """Write what is said of people after each of their choices, a list a person.

    The documents of a list begin alike, so that a model may read that beginning once.

    Args:
        n: How many people.
        rng: Where chance comes from.
        language: The words.
        most: Choices of each.

    >>> family = readings(1, np.random.default_rng(0), Language())[0]
    >>> family[0].content.split()[:3] == family[-1].content.split()[:3]
    True
    """
    out = []
    for _ in range(n):
        form, choices = int(rng.integers(2)), _choices(language, rng, most)
        count = np.arange(1, most + 1)
        asked = [(_survey, int(c)) for c in count]
        said = [(_describe, int(c)) for c in (*rng.integers(1, most + 1, 2), most)]
        if form:
            asked, said = (asked, []) if rng.random() < 0.75 else ([], said * 2)
        out.append([write(language, form, choices[:c], rng) for write, c in (*asked, *said)])
    return out


def _abduce(language: Language, form: int, rng: np.random.Generator) -> Document:
    """State what a choice shows; whether a person of that taste made it or its opposite is all one."""
    seen = _choice(language, draw_tastes(1, rng)[0], rng)
    if rng.random() < 0.5:
        prompt, chosen, rejected = seen.texts
        seen = _Seen((prompt, rejected, chosen), seen.values[::-1])
    shown = signals([seen.texts], _FORMS[form])
    return Document(SMALL_ABDUCE[form].format(pair=shown), _look(language, seen, rng))


def _read(write: Callable[..., Document]) -> "_Writer":
    """Return what writes of a person with one to ten choices."""

    def written(language: Language, form: int, rng: np.random.Generator) -> Document:
        return write(language, form, _choices(language, rng, int(rng.integers(1, _PAIRS + 1))), rng)

    return written


_Writer = Callable[[Language, int, np.random.Generator], Document]
_WRITERS: dict[str, _Writer] = {
    "answer": _answer,
    "personal": _personal,
    "describe": _read(_describe),
    "abduce": _abduce,
    "survey": _read(_survey),
}
KINDS: tuple[str, ...] = tuple(_WRITERS)
"""The kinds of documents."""


def documents(kind: str, n: int, rng: np.random.Generator, language: Language) -> list[Document]:
    """Write documents of one kind, each phrasing as often as the other.

    Args:
        kind: One of ``KINDS``.
        n: How many.
        rng: Where chance comes from.
        language: The words.

    >>> len(documents("abduce", 3, np.random.default_rng(0), Language())[0].reply.split())
    2
    """
    write = _WRITERS[kind]
    return [write(language, int(rng.integers(2)), rng) for _ in range(n)]
