"""How answers are written and judged for the facet ``writing``: for whom, by what, against what.

    base      by the settings: the same method writing for the average user, ``Persona()``; or the model that
              it was tuned from (``base_batch``), which for a method without one is the same thing
    answers   one a prompt, side by side, with equal seeds: a method that reads no persona writes the very
              answer of its base

A method that keeps words and does not write is written for by a language model that has the words in front of
it, where one is named.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    ConfigError,
    Conversation,
    Generates,
    Method,
    MethodError,
    Pairs,
    Persona,
    Personas,
    Population,
    Queries,
)
from palate.evaluate.facets._asked import dealt
from palate.evaluate.facets._words import keeps_words
from palate.evaluate.protocol import Task
from palate.evaluate.versus import ASPECTS, Outcome, Versus
from palate.evaluate.writing import Writing

__all__ = [
    "Asked",
    "added",
    "asked_of",
    "author",
    "judge",
    "right_over_base",
    "swapped",
    "with_templates",
    "words_alone",
    "write",
    "write_base",
    "write_by_lm",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
_SAME = 1e-9  # scores that differ by less are equal


class Asked(NamedTuple):
    """Whose prompts are written for.

    Attributes:
        pairs: int64 [answers], target pairs of the task.
        user: int64 [answers], by their number in ``task.context``.
        profiles: True profile of each answer's user, "" where none is needed.
        left_out: Scored users without a profile.
    """

    pairs: Ints
    user: Ints
    profiles: list[str]
    left_out: int


# ---- for whom -----------------------------------------------------------------------------------------


def asked_of(task: Task, settings: Writing) -> Asked:
    """Return the target prompts that are written for: of users with a profile, where the judge reads one."""
    targets, people = task.targets, task.context
    known = [_profile(people, str(name), settings) for name in people.users]
    needs = settings.judge_of(ASPECTS[0]).needs_profile
    able = np.array([bool(text) or not needs for text in known], dtype=bool)
    order = dealt(task, len(targets))
    pairs = order[able[targets.user[order]]][: settings.answers]
    user = targets.user[pairs]
    scored = np.unique(targets.user)
    return Asked(pairs, user, [known[u] for u in user.tolist()], int((~able[scored]).sum()))


def _profile(people: Population, name: str, settings: Writing) -> str:
    """Return a user's true profile in words: the settings' own, else the data's, a line a field."""
    if name in settings.profiles:
        return settings.profiles[name]
    lines = [(key, str(value).strip()) for key, value in people.profiles.get(name, {}).items()]
    return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in lines if value)


def swapped(people: Population) -> Population:
    """Return the same users with each choice between two answers turned round; other rows are left out.

    >>> from palate.core import Feedback, as_conversation
    >>> people = Population.of([Feedback("ann", as_conversation("Hi"), ("Hello!", "Yo."), chosen=0)])
    >>> swapped(people).chosen.tolist()
    [1]
    """
    plain = (np.diff(people.option_offsets) == 2) & (people.chosen >= 0)
    kept = people.take_rows(plain)
    return replace(kept, chosen=1 - kept.chosen, reasons={})


def words_alone(personas: Sequence[Persona]) -> list[Persona]:
    """Return personas of which only the words are left, for any reader; without words, nothing is."""
    return [
        Persona(user=p.user, text=p.text) if p.text and p.text.strip() else Persona(user=p.user)
        for p in personas
    ]


# ---- writing ------------------------------------------------------------------------------------------


def author(method: Method, personas: Personas, settings: Writing) -> str:
    """Return who writes for a method: ``method`` itself, the spec of a language model, "" for nobody."""
    if isinstance(method, Generates):
        return "method"
    return settings.lm if method.personal and keeps_words(personas) else ""


def write(
    method: Method, personas: Sequence[Persona], conversations: Sequence[Conversation], settings: Writing
) -> list[str]:
    """Return one answer to each conversation, for the persona beside it; "" where a language model gave none.

    Raises:
        MethodError: If a method gives another number of answers.
    """
    if isinstance(method, Generates):
        return _each(
            method, method.generate_batch(personas, conversations, **_how(settings)), len(conversations)
        )
    return write_by_lm(personas, conversations, settings)


def write_by_lm(
    personas: Sequence[Persona], conversations: Sequence[Conversation], settings: Writing
) -> list[str]:
    """Return what a language model that is told each persona's words answers; "" where it gave nothing."""
    from palate.generate import answers  # only where a language model writes

    found = answers(personas, conversations, settings.lm, **_how(settings))
    return [row[0] if row else "" for row in found]


def write_base(method: Method, conversations: Sequence[Conversation], settings: Writing) -> list[str]:
    """Return the base's answer to each conversation; see the module's text."""
    untuned = getattr(method, "base_batch", None)
    if settings.base == "model" and untuned is not None:
        return _each(method, untuned(conversations, **_how(settings)), len(conversations))
    return write(method, [Persona()] * len(conversations), conversations, settings)


def _how(settings: Writing) -> dict[str, Any]:
    return {
        "samples": 1,
        "temperature": settings.temperature,
        "longest": settings.longest,
        "seed": settings.seed,
    }


def _each(method: Method, found: Sequence[Sequence[str]], count: int) -> list[str]:
    if len(found) != count or any(len(each) != 1 for each in found):
        raise MethodError(
            f"{method.label} was asked for one answer to each of {count} conversations and gave "
            f"{[len(each) for each in found][:5]} for {len(found)}"
        )
    return [str(each[0]) for each in found]


def with_templates(method: Method, name: str) -> Method | None:
    """Return the fitted method with another set of templates; None where it has none, or has it already.

    It takes the same personas: what it learned is the same.
    """
    now = method.config.get("templates")
    if now is None or str(now) == name:
        return None
    other = copy.copy(method)
    other.__dict__["_cached_fingerprint"] = method.fingerprint
    try:
        other.__dict__["templates"] = type(now)(name)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"writing: templates is {name!r}, and {method.label} names its sets as {now!r}: {error}"
        ) from error
    return other


# ---- judging ------------------------------------------------------------------------------------------


def judge(asked: Sequence[Versus], settings: Writing) -> dict[str, NDArray[Any]]:
    """Let both aspects be judged.

    Returns:
        For each aspect float64 [answers] ``share`` (1 win, 0.5 tie, 0 loss, NaN fault) and bool ``torn`` in
        ``personalization``, ``personalization_torn`` and so on; bool ``same``: equal answers; bool
        ``empty`` [answers, 2]: the method's, the base's. What has an empty side is not judged, and is NaN.
    """
    empty = np.array([[not one.first.strip(), not one.second.strip()] for one in asked], bool).reshape(-1, 2)
    judged = np.flatnonzero(~empty.any(axis=1))
    found: dict[str, NDArray[Any]] = {
        "same": np.array([one.first == one.second for one in asked], dtype=bool),
        "empty": empty,
    }
    for aspect in ASPECTS:
        outcomes: list[Outcome] = settings.judge_of(aspect).compare([asked[i] for i in judged.tolist()])
        share, torn = np.full(len(asked), np.nan), np.zeros(len(asked), dtype=bool)
        share[judged] = [outcome.share for outcome in outcomes]
        torn[judged] = [outcome.torn for outcome in outcomes]
        found |= {aspect: share, f"{aspect}_torn": torn}
    return found


# ---- beside it ----------------------------------------------------------------------------------------


def added(
    method: Method, personas: Sequence[Persona], conversations: Sequence[Conversation]
) -> tuple[Floats, str]:
    """Return what conditioning adds to each prompt, float64 [answers], and its unit.

    Tokens where the method counts them (``added_tokens``), else words of the persona and its examples.
    """
    count = getattr(method, "added_tokens", None)
    if count is not None:
        return np.asarray(count(personas, conversations), np.float64), "tokens"
    words = [len((p.text or "").split()) + sum(_shown(p)) for p in personas]
    return np.asarray(words, np.float64), "words"


def _shown(persona: Persona) -> list[int]:
    texts = [
        " ".join([*(turn.content for turn in row.conversation), *row.responses]) for row in persona.examples
    ]
    return [len(text.split()) for text in texts]


def right_over_base(method: Method, personas: Personas, task: Task, pairs: Pairs) -> Floats:
    """Return float64 [pairs]: 1 where the persona widens the chosen answer's margin, 0.5 where it is equal.

    The margin is s(chosen) - s(rejected); the base's is taken off, unless the method's score is a log-ratio
    to its base already (``scores_over_base``).
    """
    d = _margin(method, personas, task, pairs)
    if not getattr(method, "scores_over_base", False):
        nobody = replace(pairs, user=np.zeros(len(pairs), np.int64))
        d = d - _margin(method, Personas.average(), task, nobody)
    equal = np.abs(d) <= _SAME
    return np.where(np.isfinite(d), np.where(equal, 0.5, d > 0), np.nan)


def _margin(method: Method, personas: Personas, task: Task, pairs: Pairs) -> Floats:
    scores = method.score_batch(Queries.of_pairs(personas, task.people.corpus, pairs))
    return np.asarray(scores[0::2] - scores[1::2], np.float64)
