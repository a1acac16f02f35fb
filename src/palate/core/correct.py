"""A person's corrections of a persona: what may be asked, and what becomes of statements in sentences.

Two kinds of methods are corrected. One keeps numbers on named axes; :func:`axis_shifts` reads what was asked
of it. The other keeps sentences, and what its reader or judge is given is their text; :func:`corrected`
drops, restores and adds sentences, and writes the text anew from those that stand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from palate.core.errors import MethodError
from palate.core.persona import Claim, Persona, about

__all__ = ["axis_shifts", "corrected", "standing"]


def axis_shifts(shifts: Mapping[str, float], names: Sequence[str], label: str) -> dict[int, float]:
    """Return the shift of each axis that is corrected, by its number.

    Args:
        shifts: As given to :meth:`palate.core.Revises.revise`.
        names: The axes, in order.
        label: What the method is called.

    Raises:
        MethodError: If a shift is no finite number, or an axis is not known and its shift is not 0.

    >>> axis_shifts({"length": -1.5, "colour": 0}, ("length", "lists"), "style")
    {0: -1.5}
    """
    numbers = {name: number for number, name in enumerate(names)}
    out = {}
    for key, shift in _finite(shifts).items():
        if key in numbers:
            out[numbers[key]] = shift
        elif shift:
            raise MethodError(
                f"{label} has no axis {key[:60]!r} to set to {shift:+.2f}; it has {', '.join(names)}"
            )
    return out


def corrected(persona: Persona, shifts: Mapping[str, float], statements: Sequence[str]) -> Persona:
    """Return a persona of sentences as its person wants it; the persona itself where that is how it stands.

    Past choices that are shown beside the text stay: they are what the person did, not what is said of them.

    Args:
        persona: Its claims may cover only a part of its text.
        shifts: 0 for a sentence that is not to stand, a positive number for one that is: by its key, or for
            a new one by the sentence itself.
        statements: The sentences of its text.

    Raises:
        MethodError: If a shift is no finite number, or negative.

    >>> ann = Persona("ann", "Likes lists.", claims=(Claim("Likes lists.", 1.9, 0.3, 4.9, ("a",)),))
    >>> corrected(ann, {"likes lists": 0, "No jokes, please.": 1}, ["Likes lists."]).text
    'No jokes, please. (As the person said.)'
    """
    claims = _complete(persona, statements)
    place = {claim.about: number for number, claim in enumerate(claims)}
    before = list(claims)
    for key, shift in _finite(shifts).items():
        if shift < 0:
            raise MethodError(
                f"{key[:60]!r} was given the shift {shift:+.2f}: a sentence stands (1) or it does not (0); "
                "to say the opposite, forget it and add a sentence that says so"
            )
        number = place.get(key, place.get(about(key)))
        if number is None and shift:
            place[about(key)] = len(claims)
            claims.append(Claim(" ".join(key.split()), 0.0, 0.0, 0.0).said(shift))
        elif number is not None and claims[number].kept != bool(shift):
            claim = claims[number]
            claims[number] = claim.said(shift) if shift else claim.forgotten()
    if claims == before:
        return persona
    text = "\n".join(claim.text for claim in claims if claim.kept)
    return replace(persona, text=text or None, claims=tuple(claims))


def standing(persona: Persona, key: str, statements: Sequence[str]) -> float | None:
    """Return 1 for a sentence that stands in the persona, 0 for one that does not, None for an unknown one.

    >>> standing(Persona("ann", "Likes lists."), "likes lists", ["Likes lists."])
    1.0
    """
    found = {claim.about: float(claim.kept) for claim in _complete(persona, statements)}
    return found.get(key, found.get(about(key)))


def _complete(persona: Persona, statements: Sequence[str]) -> list[Claim]:
    """Return the claims, and one without evidence for every sentence of the text that none of them tells."""
    claims = list(persona.claims)
    told = {claim.about for claim in claims} | {about(claim.text) for claim in claims}
    for statement in statements:
        bare = Claim(statement, 0.0, 0.0, 0.0)
        if not told & {bare.about, about(statement)}:
            told.add(bare.about)
            claims.append(bare)
    return claims


def _finite(shifts: Mapping[str, float]) -> dict[str, float]:
    wrong = {key: shift for key, shift in shifts.items() if not math.isfinite(shift)}
    if wrong or not all(key.strip() for key in shifts):
        raise MethodError(
            f"shifts are {dict(list(shifts.items())[:3])}: each must name a statement and be a finite "
            "number; 0 forgets it"
        )
    return {key: float(shift) for key, shift in shifts.items()}
