"""What the study measures of a fitted method, on people whom it never saw and whose truth is known.

    accuracy        share of target pairs whose chosen answer has the higher score; the score is what telling
                    of the user adds to an answer's log-probability, so that telling nothing gives 1/2
    added tokens    what is known of the user adds to a prompt
    win rate        share of written answers with a higher utility for the user's true taste than the base's
                    answer to the same prompt, ties half
    quality         how well formed written answers are, whoever they are for
    transfer        the same accuracy where another frozen model, or this one in other words, is told the text

Everything is kept a user, so that intervals resample users and comparisons are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Persona, Personas, Population, Queries
from palate.small.world import SmallWorld
from palate.tune.base import WritingMethod

__all__ = ["accuracy_of", "heeded", "measure", "of_texts", "written_for"]

Floats = NDArray[np.floating[Any]]
_WRITTEN = 3  # prompts a user that answers are written to


def accuracy_of(method: WritingMethod, personas: Personas, targets: Population) -> Floats:
    """Return float64 [users]: share of each user's target pairs that the method has right, ties half."""
    pairs = targets.pairs
    scores = method.score_batch(Queries.of_pairs(personas, targets.corpus, pairs))
    return _right(scores[0::2] - scores[1::2], pairs.user, targets.n_users)


def _right(gap: Floats, user: NDArray[np.int64], n: int) -> Floats:
    """Return float64 [n]: share of each user's gaps that are above 0, ties half."""
    right = np.where(np.abs(gap) < 1e-9, 0.5, gap > 0)
    count = np.bincount(user, minlength=n)
    return np.asarray(np.bincount(user, weights=right, minlength=n) / np.maximum(count, 1))


def heeded(
    method: WritingMethod, texts: Sequence[str | None], targets: Population, chosen: bool = True
) -> Floats:
    """Return the accuracy of a model that is told, for each pair, who would choose one of its answers.

    Args:
        method: The model.
        texts: A persona for each of ``targets.pairs``.
        targets: The pairs.
        chosen: Whether the personas are of those who choose as was chosen; else they choose the other one.

    Returns:
        float64 [users]: share of pairs in which the answer that the persona would choose scores higher.
    """
    pairs = targets.pairs
    known = Personas.of([Persona(user=str(number), text=text) for number, text in enumerate(texts)])
    asked = Queries.of_pairs(known, targets.corpus, replace(pairs, user=np.arange(len(pairs))))
    scores = method.score_batch(asked)
    gap = scores[0::2] - scores[1::2]
    return _right(gap if chosen else -gap, pairs.user, targets.n_users)


def of_texts(method: WritingMethod, texts: Sequence[str | None], targets: Population) -> Floats:
    """Return the accuracy of a model that is told texts which another one wrote."""
    known = [Persona(user=str(user), text=text) for user, text in zip(targets.users, texts, strict=True)]
    return accuracy_of(method, Personas.of(known), targets)


def written_for(
    method: WritingMethod, base: WritingMethod, personas: Personas, targets: Population, world: SmallWorld
) -> dict[str, Floats]:
    """Write answers to some target prompts of each user, by the method and by the base that knows nothing.

    Returns:
        ``win`` and ``quality``, ``quality_base``: float64 [users].
    """
    language = world.language
    taste = dict(zip(world.population.users, world.taste, strict=True))
    rows = np.concatenate([np.arange(s, min(s + _WRITTEN, e)) for s, e in _spans(targets)])
    owner = targets.row_user[rows]
    talks = [targets.corpus.conversation(targets.options[targets.option_offsets[r]]) for r in rows]
    views = [personas[u] for u in owner]
    mine = [words[0] for words in method.generate_batch(views, talks)]
    theirs = [words[0] for words in base.generate_batch([Persona()] * len(talks), talks)]
    n = targets.n_users
    out = {name: np.zeros(n) for name in ("win", "quality", "quality_base")}
    for u, talk, a, b in zip(owner, talks, mine, theirs, strict=True):
        prompt, want = talk[-1].content, taste[targets.users[u]]
        gap = language.fit(want, a) - language.fit(want, b)
        out["win"][u] += 0.5 if abs(gap) < 1e-9 else float(gap > 0)
        out["quality"][u] += language.quality(prompt, a)
        out["quality_base"][u] += language.quality(prompt, b)
    count = np.maximum(np.bincount(owner, minlength=n), 1)
    return {name: values / count for name, values in out.items()}


def _spans(people: Population) -> list[tuple[int, int]]:
    return list(zip(people.offsets[:-1].tolist(), people.offsets[1:].tolist(), strict=True))


def measure(
    method: WritingMethod,
    base: WritingMethod,
    world: SmallWorld,
    others: Mapping[str, WritingMethod],
    role: str = "test",
) -> dict[str, Any]:
    """Return all measures of a fitted method, a list a user each.

    Args:
        method: The method.
        base: The base model as a method that is told whatever text it is given.
        world: The people.
        others: Models that are told the method's texts, by name.
        role: Which users.
    """
    people = world.population.with_role(role)
    context, targets = people.with_split("context"), people.with_split("target")
    personas = method.adapt_batch(context)
    views = list(personas)
    talks = [
        targets.corpus.conversation(targets.options[targets.option_offsets[s]]) for s, _ in _spans(targets)
    ]
    found: dict[str, Any] = {
        "accuracy": accuracy_of(method, personas, targets),
        "tokens": np.array(method.added_tokens(views, talks), float),
        **written_for(method, base, personas, targets, world),
    }
    texts = [view.text for view in views]
    if any(texts):
        for name, other in others.items():
            found[f"accuracy_{name}"] = of_texts(other, texts, targets)
    out: dict[str, Any] = {name: np.round(values, 6).tolist() for name, values in found.items()}
    return {**out, "examples": [text for text in texts[:5] if text]}
