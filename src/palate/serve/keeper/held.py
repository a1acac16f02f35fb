"""A persona as it is held in memory: what is believed of a user, and up to which choice."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from palate.core import Persona, Personas, Verdict
from palate.serve.keeper.edits import how_applied
from palate.serve.keeper.model import Served
from palate.serve.store.people import UserState
from palate.serve.store.personas import KeptEdit
from palate.serve.wire.use import PersonaUsed

__all__ = ["Held", "told"]

_SURE, _ASIDE = 0.75, 0.05  # weights from which on a persona is applied, and below which it is not


@dataclass(frozen=True, eq=False)
class Held:
    """What is believed of a user.

    Attributes:
        user: Whose it is; None for the average user.
        served: The model that made it, and that is to be asked with it.
        persona: As it is applied: with the person's corrections.
        made: As the method made it.
        corrected: With the corrections, whether it is applied or not.
        state: Where the user was when this was made; None for a user who is not known.
        upto: Number of the last choice it reflects.
        exact: Whether it was made from the whole history.
        edits: The corrections that stand.
        kept_words: Its words as JSON, where they were kept with it.
        find_words: Finds its words.
        memo: What was measured of it.
    """

    user: str | None
    served: Served
    persona: Persona
    made: Persona
    corrected: Persona
    state: UserState | None = None
    upto: int = 0
    exact: bool = True
    edits: tuple[KeptEdit, ...] = ()
    kept_words: Mapping[str, Any] | None = None
    find_words: Callable[["Held"], Persona] | None = field(default=None, repr=False)
    memo: dict[str, tuple[object, float]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def columns(self) -> Personas:
        """The persona as it is applied, as one column."""
        return Personas.of([self.persona])

    @cached_property
    def words(self) -> Persona:
        """The persona in words, for people and for models that read: corrections and verdict included.

        ``text`` is None where nothing is evident; nobody's where the person wants none applied.
        """
        if self.persona == Persona(user=self.user):
            return self.persona
        words = self.told_words
        evident = any(claim.kept for claim in words.claims) or (
            words.text and self.corrected.text and not self.served.finds_claims
        )
        return words if evident else Persona(user=self.user)

    @cached_property
    def told_words(self) -> Persona:
        """The persona in words as its person reads it, whether it is applied or not."""
        with self._lock:
            return self.corrected if self.find_words is None else self.find_words(self)

    @property
    def version(self) -> int:
        """Its version; 0 where none was written down yet."""
        return 0 if self.state is None else self.state.version or 0

    @property
    def pending(self) -> int:
        """How many choices are kept that it does not reflect yet."""
        return 0 if self.state is None else max(0, min(self.state.head - self.upto, self.state.total))

    @property
    def choices(self) -> int:
        """How many choices it reflects."""
        return 0 if self.state is None else self.state.total - self.pending

    @property
    def weight(self) -> float | None:
        """How far it is applied, 0 to 1; None where that was not tested."""
        how = how_applied(self.edits)
        if how != "tested":
            return 1.0 if how == "always" else 0.0
        return None if self.corrected.verdict is None else self.corrected.verdict.weight

    @cached_property
    def used(self) -> PersonaUsed:
        """What an answer says of the persona that it rests on."""
        return PersonaUsed(
            user=self.user, version=self.version, choices=self.choices, weight=self.weight, told=told(self)
        )


def told(held: Held) -> str:
    """Return in a line how far a persona is applied and why."""
    if held.user is None:
        return "people on average: no user was named"
    if held.state is None or not (held.state.total or held.edits):
        return "nothing is known of this user yet: people on average"
    if held.pending and not held.choices:
        return "being made from the user's choices: people on average meanwhile"
    how, verdict = how_applied(held.edits), held.corrected.verdict
    tested = "" if verdict is None or not verdict.choices else _tested(verdict)
    if how != "tested":
        said = "always applied" if how == "always" else "never applied"
        return f"{said}, as the person said{f': {tested}' if tested else ''}"
    if verdict is None:
        return "applied: not tested on held-back choices"
    word = (
        "applied"
        if verdict.weight > _SURE
        else "set aside"
        if verdict.weight < _ASIDE
        else f"applied in part ({verdict.weight:.0%})"
    )
    return f"{word}: {tested}" if tested else word


def _tested(verdict: Verdict) -> str:
    """Return how a persona did on choices it never saw."""
    choices = f"{verdict.choices} choice{'' if verdict.choices == 1 else 's'}"
    return (
        f"right on {verdict.accuracy:.0%} of {choices} that it never saw, "
        f"people on average on {verdict.control_accuracy:.0%}"
    )
