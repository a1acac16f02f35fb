"""What two methods write for the same personas, compared by a judge: one method against a control.

``compare_on`` takes any personas. ``chosen_and_rejected`` takes people: the persona of a user's choices, and
the persona of the same choices turned round, which stands for somebody whom most people's choices speak
against. Both methods are given the same words, and the judge reads them as the profile:

    Delta-PQ (chosen)     of the method over the control, on personas of choices
    Delta-PQ (rejected)   the same on personas of swapped choices

A method that only learned what most people like does worse on the second than on the first.

Source: "Whose Boat Does it Float?", PT against plain DPO on chosen and rejected personas (mean Delta-PQ +13.4
and +23.7). Departs: personas of a whole history, not of a single choice; intervals over users.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, Conversation, Method, Pairs, Persona, Population
from palate.evaluate.facets._people import Values
from palate.evaluate.facets._writing_asked import judge, swapped, words_alone, write
from palate.evaluate.facets._writing_figures import verdicts
from palate.evaluate.versus import Versus
from palate.evaluate.writing import Writing

__all__ = ["SIDES", "chosen_and_rejected", "compare_on", "judge_answers", "judge_on"]

SIDES = ("chosen", "rejected")


def compare_on(
    method: Method,
    control: Method,
    personas: Sequence[Persona],
    conversations: Sequence[Conversation],
    settings: Writing,
    *,
    profiles: Sequence[str] = (),
) -> Values:
    """Return how what a method writes fares against what a control writes for the same personas.

    Args:
        method: The fitted method whose wins are counted.
        control: The fitted method it stands against.
        personas: Whom each is written for; both are given them as they are.
        conversations: What is answered, one beside each persona.
        settings: Who judges, and how is written.
        profiles: What the judge reads of each user; the personas' own words where none are given.

    Returns:
        ``personalization`` and ``quality`` (win rate, share without ties, counts), ``delta_pq``, ``length``,
        ``answers``, ``users``, ``empty`` (sides without words, which are not judged).

    Raises:
        ConfigError: If the lists are not of one length, or a profile is needed and there is none.
    """
    return verdicts(judge_on(method, control, personas, conversations, settings, profiles=profiles))


def judge_on(
    method: Method,
    control: Method,
    personas: Sequence[Persona],
    conversations: Sequence[Conversation],
    settings: Writing,
    *,
    profiles: Sequence[str] = (),
) -> dict[str, NDArray[Any]]:
    """Return the verdicts that :func:`compare_on` sums up, as arrays [answers]."""
    told = list(profiles) or [p.text or "" for p in personas]
    if not len(personas) == len(conversations) == len(told):
        raise ConfigError(
            f"{len(personas)} personas, {len(conversations)} conversations and {len(told)} profiles: "
            "expected one of each for every answer"
        )
    mine, theirs = (write(one, personas, conversations, settings) for one in (method, control))
    names = [p.user or "" for p in personas]
    versus = [Versus(*each) for each in zip(conversations, mine, theirs, told, names, strict=True)]
    return judge_answers(versus, settings)


def judge_answers(versus: Sequence[Versus], settings: Writing) -> dict[str, NDArray[Any]]:
    """Return the verdicts on answers that are written already, as arrays [answers], users by their names."""
    words = [[len(v.first.split()), len(v.second.split()), np.nan, np.nan] for v in versus]
    _, user = np.unique(np.array([v.user for v in versus], dtype=str), return_inverse=True)
    return {"user": user, "words": np.array(words).reshape(-1, 4), **judge(versus, settings)}


def chosen_and_rejected(
    method: Method, control: Method, context: Population, targets: Pairs, settings: Writing
) -> dict[str, NDArray[Any]]:
    """Compare two methods on personas of users' choices and of the same choices turned round.

    Args:
        method: The fitted method, whose personas both are given, their words alone.
        control: The fitted control.
        context: The users, with the choices that personas are made of.
        targets: Pairs whose conversations are written for; ``user`` counts over ``context.users``.
        settings: Who judges, and how is written.

    Returns:
        The arrays of :func:`judge_on` for each side, as ``chosen.user`` and so on, and ``left_out``: answers
        whose user has no words on one of the sides.
    """
    users, local = np.unique(targets.user, return_inverse=True)
    people = context.take_users(users)
    sides = [words_alone(list(method.adapt_batch(each))) for each in (people, swapped(people))]
    kept = [i for i, u in enumerate(local.tolist()) if all(side[u].text for side in sides)]
    talks = [context.corpus.conversation(int(targets.winner[i])) for i in kept]
    out: dict[str, NDArray[Any]] = {"left_out": np.array(len(local) - len(kept))}
    if not kept:
        return out
    for name, side in zip(SIDES, sides, strict=True):
        found = judge_on(method, control, [side[local[i]] for i in kept], talks, settings)
        out |= {f"{name}.{key}": array for key, array in found.items()}
    return out
