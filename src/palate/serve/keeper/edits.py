"""A person's corrections: what stands of them, and a persona with them applied.

Corrections are kept apart from personas, by what they are about, and are applied to whatever a method makes
of the user's choices, now and later, by this model and the next: they are undone by the person alone. What
is corrected is a shift, the distance from the average user's taste (:class:`palate.core.Revises`). A locked
statement has two: that of the words, and ``own``, that of the method that ranks, which may believe another.
A method of axes cannot rank by a sentence: there a sentence that was said is told to readers alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from palate.core import Claim, DataError, Method, MethodError, Persona, Revises, about
from palate.gate import Gate
from palate.serve.store.personas import KeptEdit
from palate.serve.wire.persona import Edit

__all__ = ["Believed", "direction", "edited", "how_applied", "standing", "told_of", "used", "with_said"]

MOST = 500
"""Corrections that stand of one user."""
_FAR = 20.0  # log-odds per unit: no taste is as strong


class Believed(NamedTuple):
    """What corrections refer to.

    Attributes:
        method: What ranks.
        persona: What it made, with the corrections that stand.
        teller: What found the words; the same method where that writes words itself.
        words: The words, with the corrections that stand.
    """

    method: Method
    persona: Persona
    teller: Method
    words: Persona

    def claim(self, key: str) -> Claim | None:
        """Return the statement about something, or None."""
        return next((claim for claim in self.words.claims if key in (claim.about, claim.key)), None)


def how_applied(edits: Iterable[KeptEdit]) -> str:
    """Return how far the person wants the persona applied: tested, always or never."""
    return next((edit.text or "tested" for edit in edits if edit.do == "apply"), "tested")


def edited(method: Method, persona: Persona, edits: Sequence[KeptEdit], *, own: bool = True) -> Persona:
    """Return a persona with the corrections that stand, as far as the method can follow them.

    Args:
        method: What made the persona.
        persona: As it was made.
        edits: The corrections.
        own: Whether the method is the one that ranks, rather than the one that finds words.
    """
    persona = _revised(method, persona, edits, own)
    how = how_applied(edits)
    if how != "tested" and isinstance(method, Gate):
        return method.with_weight(persona, 1.0 if how == "always" else 0.0)
    return persona


def used(method: Method, persona: Persona, edits: Iterable[KeptEdit]) -> Persona:
    """Return the persona as it is applied: nobody's, where the person wants none and no gate sees to it."""
    if how_applied(edits) == "never" and not isinstance(method, Gate):
        return Persona(user=persona.user)
    return persona


def _revised(method: Method, persona: Persona, edits: Sequence[KeptEdit], own: bool) -> Persona:
    if not edits or not isinstance(method, Revises):
        return persona
    known: dict[str, float] = {}
    sentences: dict[str, float] = {}
    for edit in edits:
        shift = edit.own if own and edit.own is not None else edit.shift
        if edit.do == "apply" or shift is None:
            continue
        if edit.do == "forget" or (edit.do != "say" and method.shift_of(persona, edit.about) is not None):
            known[edit.about] = shift
        elif edit.text and edit.do in ("say", "lock"):
            sentences[edit.text] = 1.0
    if not known and not sentences:
        return persona
    try:
        return method.revise(persona, {**known, **sentences})
    except MethodError:
        if not sentences:
            raise
        return method.revise(persona, known)


def with_said(words: Persona, edits: Iterable[KeptEdit]) -> Persona:
    """Return words with the sentences that the person said and the method could not take in."""
    there = {claim.about for claim in words.claims}
    fresh = tuple(
        Claim(edit.text, 0.0, 0.0, 0.0, about=edit.about).said(0.0)
        for edit in edits
        if edit.do == "say" and edit.text and edit.about not in there
    )
    if not fresh:
        return words
    lines = [words.text] if words.text and any(claim.kept for claim in words.claims) else []
    return replace(
        words, text="\n".join([*lines, *(claim.text for claim in fresh)]), claims=(*words.claims, *fresh)
    )


def direction(teller: Method, words: Persona, claim: Claim) -> float:
    """Return 1 where a statement points to the high side of its axis, and -1 where it points to the low side.

    A taste pushed far to the high side is worded like the statement or as its contrary.
    """
    if not isinstance(teller, Revises) or teller.shift_of(words, claim.about) is None:
        return 1.0
    far = teller.revise(words, {claim.about: _FAR}).claims
    pushed = next((other for other in far if other.about == claim.about), None)
    return -1.0 if pushed is not None and pushed.headline != claim.headline else 1.0


def standing(
    before: Sequence[KeptEdit], edits: Sequence[Edit], believed: Believed, time: float
) -> list[KeptEdit]:
    """Return the corrections that stand after some more.

    Args:
        before: Those that stood.
        edits: The new ones, in their order.
        believed: What they refer to.
        time: When they are made, in seconds since 1970.

    Raises:
        DataError: If one refers to nothing that is believed, or too many would stand.
    """
    rows = {edit.about: edit for edit in before}
    for edit in edits:
        row = _row(edit, rows, believed, time)
        if row is not None:
            rows[row.about] = row
    if len(rows) > MOST:
        raise DataError(f"{len(rows)} corrections would stand; the most are {MOST}: undo some (unlock)")
    return list(rows.values())


def _row(edit: Edit, rows: dict[str, KeptEdit], believed: Believed, time: float) -> KeptEdit | None:
    """Return the row that a correction makes; None where it makes none, or undoes one."""
    if edit.do == "apply":
        rows.pop("", None)
        return None if edit.how == "tested" else KeptEdit("", "apply", text=edit.how, time=time)
    if edit.do == "say":
        assert edit.text is not None
        return KeptEdit(about(edit.text), "say", 1.0, text=edit.text, time=time)
    assert edit.about is not None
    claim = believed.claim(edit.about)
    key = claim.about if claim else edit.about
    old = rows.get(key)
    if edit.do == "unlock":
        rows.pop(key, None)
        return None
    text = claim.headline if claim else old.text if old else None
    if edit.do == "forget":
        return KeptEdit(key, "forget", 0.0, text=text, time=time)
    if edit.do == "set":
        if old is not None and old.do == "say":
            raise DataError("a sentence of one's own has no strength to be set: unlock it, or say another")
        return KeptEdit(key, "set", _turned(edit, claim, key, believed), text=text, time=time)
    if old is not None and old.do in ("lock", "set", "say"):
        return None  # it stands already as the person said
    return _lock(key, claim, believed, text, time)


def _turned(edit: Edit, claim: Claim | None, key: str, believed: Believed) -> float:
    """Return the shift that a person set along the sentence, along the axis."""
    assert edit.shift is not None
    if claim is not None:
        return edit.shift * direction(believed.teller, believed.words, claim)
    if _shift(believed.teller, believed.words, key) is None and (
        _shift(believed.method, believed.persona, key) is None
    ):
        raise DataError(f"nothing is believed about {key!r}: name a statement by its `about`")
    return edit.shift


def _lock(key: str, claim: Claim | None, believed: Believed, text: str | None, time: float) -> KeptEdit:
    shift = _shift(believed.teller, believed.words, key)
    own = _shift(believed.method, believed.persona, key)
    if claim is None and shift is None:
        raise DataError(f"nothing is believed about {key!r}: name a statement by its `about`")
    if shift is None:
        shift = own if own is not None else 1.0
    return KeptEdit(key, "lock", shift, own=own, text=text, time=time)


def _shift(method: Method, persona: Persona, key: str) -> float | None:
    return method.shift_of(persona, key) if isinstance(method, Revises) else None


def told_of(edits: Sequence[Edit], believed: Believed) -> str:
    """Return what a person did, in a line, for the history of their persona."""
    verbs = {"lock": "locked", "unlock": "undid a correction of", "forget": "forgot", "set": "set"}
    lines = []
    for edit in edits:
        if edit.do == "apply":
            lines.append(f"applied {edit.how}" if edit.how != "tested" else "applied as far as tests support")
        elif edit.do == "say":
            lines.append(f"said “{edit.text}”")
        else:
            claim = believed.claim(edit.about or "")
            lines.append(f"{verbs[edit.do]} “{claim.headline if claim else edit.about}”")
    shown = lines[:5] + ([f"and {len(lines) - 5} more"] if len(lines) > 5 else [])
    told = ", ".join(shown)
    return told[:1].upper() + told[1:]
