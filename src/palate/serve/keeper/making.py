"""From histories to personas, many users at once.

Names of choices are a client's: two users may use the same. A population wants them distinct, so that where
they are not they are numbered while the personas are made, and given back their names afterwards.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from palate.core import Claim, Feedback, History, Method, ModelError, Persona, StorageError

__all__ = ["each_made", "made", "plain"]

_MARK = "\x1f"


def made(method: Method, histories: Sequence[History]) -> list[Persona]:
    """Adapt users in one batch.

    Args:
        method: A fitted one.
        histories: One a user; ids need to be distinct neither inside a history nor between two.

    Returns:
        A persona for each, in their order.
    """
    ids = [row.id for history in histories for row in history.feedback]
    if len(set(ids)) == len(ids):
        return list(method.adapt_batch(histories))
    numbered = [_numbered(history, place) for place, history in enumerate(histories)]
    return [
        replace(_named(persona), user=history.user)
        for persona, history in zip(method.adapt_batch(numbered), histories, strict=True)
    ]


def each_made(method: Method, histories: Sequence[History]) -> list[Persona | Exception]:
    """Adapt users in one batch, or in halves where one of them cannot be adapted.

    Args:
        method: A fitted one.
        histories: One a user.

    Returns:
        For each user the persona, or why there is none. A language model that does not answer is no user's
        fault: then there is none for the whole batch.
    """
    if not histories:
        return []
    try:
        return list(made(method, histories))
    except (ModelError, StorageError) as error:
        return [error] * len(histories)
    except Exception as error:
        if len(histories) == 1:
            return [error]
        half = len(histories) // 2
        return [*each_made(method, histories[:half]), *each_made(method, histories[half:])]


def plain(persona: Persona) -> dict[str, Any]:
    """Return a persona as what JSON keeps exactly; an endless interval ends at the largest number.

    >>> Persona.from_json(plain(Persona(user="ann", vector=(0.1,)))) == Persona(user="ann", vector=(0.1,))
    True
    """
    claims = tuple(_finite(claim) for claim in persona.claims)
    values: dict[str, Any] = orjson.loads(orjson.dumps(replace(persona, claims=claims), default=list))
    return values


def _finite(claim: Claim) -> Claim:
    ends = (claim.strength, claim.low, claim.high)
    if all(map(math.isfinite, ends)):
        return claim
    most = 1e300
    strength, low, high = (0.0 if math.isnan(x) else max(-most, min(most, x)) for x in ends)
    return replace(claim, strength=strength, low=low, high=high)


def _numbered(history: History, place: int) -> History:
    """Return a history whose ids are its own."""
    rows = tuple(
        replace(row, id=f"{place}.{number}{_MARK}{row.id}") for number, row in enumerate(history.feedback)
    )
    return replace(history, feedback=rows)


def _named(persona: Persona) -> Persona:
    """Return a persona whose choices have the client's names."""
    source = persona.provenance
    return replace(
        persona,
        provenance=source and replace(source, feedback=_names(source.feedback)),
        claims=tuple(_claim(claim) for claim in persona.claims),
        examples=tuple(_example(row) for row in persona.examples),
    )


def _claim(claim: Claim) -> Claim:
    return replace(claim, supports=_names(claim.supports), contradicts=_names(claim.contradicts))


def _example(row: Feedback) -> Feedback:
    return replace(row, id=_name(row.id))


def _names(ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(_name, ids))


def _name(id: str) -> str:
    return id.partition(_MARK)[2] or id
