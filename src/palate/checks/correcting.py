"""Checks of two capabilities: taking one more choice into a persona, and being corrected by its person.

A method that has neither passes them all.
"""

import math
from dataclasses import replace

import numpy as np

from palate.checks.subject import Check, Subject, check_of, raises, snapshot, that
from palate.core import (
    Feedback,
    MethodError,
    Persona,
    PersonaMismatch,
    Provenance,
    Revises,
    Updates,
)

__all__ = [
    "CHECKS",
    "check_forgetting_is_like_everyone",
    "check_revised_stays_revised",
    "check_revising_is_pure",
    "check_update_close_to_adapting",
    "check_update_order",
    "check_updating_is_pure",
    "check_what_is_said_stands",
    "check_wrong_corrections",
]

_KNOWN = 5  # choices that a persona is adapted from before it is updated
_SMALL = 0.02
"""Log-odds (root mean square) below which personas of made-up people are as good as equal."""
_PROBES = ("length", "lists", "formality")  # axes that a method without claims may have


@check_of("let `update` move the persona as far as adapting to all choices would, and in the same direction")
def check_update_close_to_adapting(subject: Subject) -> None:
    """Choices taken in one by one give about what adapting to them gives, from a few choices or from none."""
    method = subject.fitted
    if not isinstance(method, Updates):
        return
    for known in (_KNOWN, 0):
        start = [method.adapt(h) for h in subject.readers.head(known)]
        after = [
            _after(method, persona, history.feedback[known:])
            for persona, history in zip(start, subject.readers, strict=True)
        ]
        off, moved = _apart(subject, after, subject.personas), _apart(subject, start, subject.personas)
        that(
            off <= max(0.5 * moved, _SMALL),
            f"updated from {known} choices personas are {off:.3g} log-odds from adapted ones, and "
            f"{moved:.3g} without any update",
        )


@check_of(
    "return a new persona, append to its provenance, and refuse what is not this model's or this user's"
)
def check_updating_is_pure(subject: Subject) -> None:
    """An update changes no model, is the same each time, knows a choice that it saw, and whose it is."""
    method = subject.make().fit(subject.population)
    if not isinstance(method, Updates):
        return
    model, history = snapshot(method), subject.readers.history(0)
    persona = method.adapt(replace(history, feedback=history.feedback[:_KNOWN]))
    before, row = repr(persona), history.feedback[_KNOWN]
    once = method.update(persona, row)
    that(method.update(persona, row) == once, "updating the same persona twice gave other personas")
    that(repr(persona) == before, "updating changed the persona that was given")
    that(once.provenance is not None and once.provenance.feedback[-1] == row.id, "the choice is not recorded")
    that(method.update(once, row) == once, "a choice that was seen before was taken in a second time")
    that(Persona.from_json(once.to_json()) == once, "an updated persona changed on its way through JSON")
    changed = [k for k, v in snapshot(method).items() if model.get(k) != v]
    that(not changed, f"updating changed the model's {changed}")
    new = method.update(Persona(history.user), row)
    that(new.user == history.user, f"the average user's persona with a choice belongs to {new.user!r}")
    tie = method.update(persona, replace(row, chosen=None, id="tie"))
    that(bool(np.isfinite(method.score(tie, "Hi", ["a", "b"])).all()), "a tie gave scores not finite")
    stranger = replace(row, user="eve")
    raises(MethodError, lambda: method.update(persona, stranger), "another user's choice")
    foreign = replace(persona, provenance=Provenance("another-method", "0123456789abcdef"))
    raises(PersonaMismatch, lambda: method.update(foreign, row), "updating another method's persona")


@check_of("let an update depend on what is known little enough that the order of two choices hardly matters")
def check_update_order(subject: Subject) -> None:
    """Two choices in one order or in the other give about the same persona."""
    method = subject.fitted
    if not isinstance(method, Updates):
        return
    start, one, other = [], [], []
    for history in subject.readers:
        rows = history.feedback[_KNOWN : _KNOWN + 2]
        start.append(method.adapt(replace(history, feedback=history.feedback[:_KNOWN])))
        one.append(_after(method, start[-1], rows))
        other.append(_after(method, start[-1], rows[::-1]))
    off, moved = _apart(subject, one, other), _apart(subject, start, one)
    that(off <= max(0.5 * moved, _SMALL), f"the order moves scores by {off:.3g}, the choices by {moved:.3g}")


@check_of("leave a persona exactly as it is where a shift is what stands already")
def check_revising_is_pure(subject: Subject) -> None:
    """The shift that stands changes nothing; a correction said twice is the same; the argument stays."""
    method = subject.fitted
    if not isinstance(method, Revises):
        return
    for persona in subject.personas:
        keys = _keys(method, persona)
        stand = {key: shift for key in keys if (shift := method.shift_of(persona, key)) is not None}
        that(len(stand) == len(keys), f"of {keys} only {sorted(stand)} have a shift that stands")
        that(method.revise(persona, stand) == persona, "the shifts that stand changed the persona")
        that(method.revise(persona, {}) == persona, "no correction changed the persona")
        before = repr(persona)
        for key in keys:
            once = method.revise(persona, {key: 0.0})
            that(method.revise(once, {key: 0.0}) == once, f"forgetting {key!r} twice is not like once")
            that(
                Persona.from_json(once.to_json()) == once, "a revised persona changed on its way through JSON"
            )
        that(repr(persona) == before, "revising changed the persona that was given")


@check_of("let shift 0 give the average user's taste, set the claim aside and take it out of the text")
def check_forgetting_is_like_everyone(subject: Subject) -> None:
    """What is forgotten has no shift, is no kept claim and stands in no text; the rest stays."""
    method = subject.fitted
    if not isinstance(method, Revises):
        return
    for persona in subject.personas:
        keys = _keys(method, persona)
        for key in keys:
            plain = method.revise(persona, {key: 0.0})
            left = method.shift_of(plain, key)
            that(left is not None and abs(left) < 1e-6, f"{key!r} has the shift {left} once it is forgotten")
            others = {
                other: (method.shift_of(persona, other), method.shift_of(plain, other)) for other in keys
            }
            moved = {o: v for o, v in others.items() if o != key and not _same(*v)}
            that(not moved, f"forgetting {key!r} moved {moved}")
            kept = [claim.text for claim in plain.claims if claim.about == key and claim.kept]
            that(not kept, f"{key!r} is forgotten and still kept: {kept}")
            gone = [claim.statement for claim in plain.claims if not claim.kept and claim.about == key]
            stand = [text for text in gone if text in (plain.text or "")]
            that(not stand, f"{key!r} is forgotten and still stands in the text: {stand}")


@check_of(
    "let a shift that was set stand as it was said: its claim with no interval, and a text that says so"
)
def check_what_is_said_stands(subject: Subject) -> None:
    """What a person sets has that shift, and a claim about it is theirs."""
    method = subject.fitted
    if not isinstance(method, Revises):
        return
    for persona in subject.personas:
        for key in _keys(method, persona):
            other = method.revise(persona, {key: 0.0})
            said = method.revise(other, {key: 1.0})
            stands = method.shift_of(said, key)
            that(stands is not None and _same(stands, 1.0), f"{key!r} was set to 1 and stands at {stands}")
            for claim in said.claims:
                if claim.about == key:
                    that(claim.kept and claim.by_hand, f"{key!r} was set, its claim is {claim}")
                    that(claim.low == claim.strength == claim.high, f"{key!r} was set, its claim is {claim}")
                    that(claim.text in (said.text or ""), f"{claim.text!r} is not in the text")
            scores = method.score(said, "Hi", ["Yes.", "Certainly, and here is why: it is so."])
            that(bool(np.isfinite(scores).all()), f"with {key!r} set scores are not finite")


@check_of("hold what a person set while updating: no new choice moves it")
def check_revised_stays_revised(subject: Subject) -> None:
    """Choices that come after a correction leave it as it was said."""
    method = subject.fitted
    if not (isinstance(method, Revises) and isinstance(method, Updates)):
        return
    history, persona = subject.readers.history(0), subject.personas[0]
    fresh = [replace(row, id=f"new-{row.id}") for row in history.feedback[:3]]
    for key in _keys(method, persona):
        for shift in (0.0, 1.0):
            said = method.revise(method.revise(persona, {key: 0.5}), {key: shift})
            after = method.shift_of(_after(method, said, tuple(fresh)), key)
            that(
                after is not None and _same(after, shift), f"{key!r} was set to {shift} and moved to {after}"
            )


@check_of("refuse what is no number and what no axis is; pass over a forgotten statement that is not known")
def check_wrong_corrections(subject: Subject) -> None:
    """Not a number is refused; an unknown key is passed over at 0, and else refused or a new sentence."""
    method, persona = subject.fitted, subject.personas[0]
    if not isinstance(method, Revises):
        return
    unknown = "Never mentions the weather on Mars."
    raises(MethodError, lambda: method.revise(persona, {unknown: math.nan}), "a shift that is no number")
    that(method.shift_of(persona, unknown) is None, "a statement that nobody made has a shift")
    that(
        method.revise(persona, {unknown: 0.0}) == persona,
        "forgetting what was never said changed the persona",
    )
    try:
        told = method.revise(persona, {unknown: 1.0})
    except MethodError:
        pass
    else:
        stands = method.shift_of(told, unknown)
        that(stands == 1.0 and unknown in (told.text or ""), "a new statement was taken and does not stand")
    foreign = replace(persona, provenance=Provenance("another-method", "0123456789abcdef"))
    raises(PersonaMismatch, lambda: method.revise(foreign, {}), "revising another method's persona")
    plain = method.revise(Persona("zoe"), {unknown: 0.0})
    that(plain.user == "zoe", f"the average user's persona, revised, belongs to {plain.user!r}")


CHECKS: tuple[Check, ...] = (
    check_update_close_to_adapting,
    check_updating_is_pure,
    check_update_order,
    check_revising_is_pure,
    check_forgetting_is_like_everyone,
    check_what_is_said_stands,
    check_revised_stays_revised,
    check_wrong_corrections,
)


def _after(method: Updates, persona: Persona, rows: tuple[Feedback, ...]) -> Persona:
    for row in rows:
        persona = method.update(persona, row)
    return persona


def _keys(method: Revises, persona: Persona) -> list[str]:
    """Return what can be corrected of a persona: what its claims are about, and axes that it has."""
    named = dict.fromkeys(claim.about for claim in persona.claims)
    return [key for key in (*named, *_PROBES) if method.shift_of(persona, key) is not None]


def _same(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)


def _apart(subject: Subject, some: list[Persona], others: list[Persona]) -> float:
    """Return the root mean square difference in log-odds that the readers' questions get."""
    asked = [
        [replace(q, persona=personas[i // 3]) for i, q in enumerate(subject.questions)]
        for personas in (some, others)
    ]
    a, b = (subject.fitted.score_batch(queries) for queries in asked)
    sizes = [len(q.responses) for q in subject.questions]
    first = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    return float(np.sqrt((((a - a[first]) - (b - b[first])) ** 2).mean()))
