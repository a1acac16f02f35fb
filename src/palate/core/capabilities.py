"""What a method may be able to do beyond fit, adapt and score: small protocols, present or absent.

A method has a capability by having its functions; ``isinstance(method, Updates)`` asks. One that cannot be
kept is left out: there is none that fails when it is called.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from palate.core.feedback import Conversation, Feedback
from palate.core.persona import Persona
from palate.core.query import Queries

__all__ = ["Describes", "Generates", "Revises", "Uncertain", "Updates"]

Floats = NDArray[np.floating[Any]]


@runtime_checkable
class Describes(Protocol):
    """A method that can put a persona into words."""

    def describe(self, persona: Persona) -> str:
        """Return the persona in words."""


@runtime_checkable
class Generates(Protocol):
    """A method that writes for a persona."""

    def generate_batch(
        self,
        personas: Sequence[Persona],
        conversations: Sequence[Conversation],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        longest: int = 0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return ``samples`` answers for each persona and conversation, side by side.

        Args:
            personas: Whom each is written for.
            conversations: What each answers.
            samples: Answers to each.
            temperature: 0 takes the likeliest words.
            longest: Most tokens of an answer; 0 takes the method's own limit.
            seed: Of the draw.
        """

    def stream(
        self,
        persona: Persona,
        conversation: Conversation,
        *,
        temperature: float = 1.0,
        longest: int = 0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield one answer piece by piece."""


@runtime_checkable
class Updates(Protocol):
    """A method that takes one more choice into a persona at once, close to what adapting anew would give."""

    def update(self, persona: Persona, feedback: Feedback) -> Persona:
        """Return the persona with one more choice taken into account. Pure: the argument stays as it is.

        Args:
            persona: Of this model; ``Persona()`` and an average user's begin at the average. It may have
                been revised: what a person said stays as they said it.
            feedback: The user's new choice, or a tie. One whose id the persona has seen changes nothing.

        Returns:
            The persona, its provenance with the choice added, its vector, claims and verdict moved.

        Raises:
            PersonaMismatch: If another model made the persona.
            MethodError: If the choice is another user's.

        >>> from palate.catalogue import build
        >>> from palate.checks import people
        >>> model, ann = build("style").fit(people()), people(seed=1).history(0)
        >>> persona = model.update(Persona(ann.user), ann.feedback[0])
        >>> persona.provenance.feedback == (ann.feedback[0].id,)
        True
        """


@runtime_checkable
class Revises(Protocol):
    """A method whose personas a person can correct, statement by statement."""

    def revise(self, persona: Persona, shifts: Mapping[str, float]) -> Persona:
        """Return the persona as its person wants it. Pure, and the same however often it is said.

        What is corrected is a *shift*: how far the user's taste lies from the average user's, in log-odds
        per unit of the axis that ``Claim.about`` names, towards the axis' high side whatever a sentence
        says. 0 is to be like everyone, which is what forgetting means. A method whose statements are free
        sentences has no axes: there the shift is 1 for a sentence that stands and 0 for one that does not.

        Args:
            persona: Of this model.
            shifts: The shift of each statement that is corrected, by ``Claim.about`` or ``Claim.key``; all
                others stay as they are. The shift that stands changes nothing. A key that is not known is
                passed over if its shift is 0, for there is nothing to forget; otherwise a method of
                sentences takes it for a new one, and a method of axes refuses it.

        Returns:
            The persona with its vector, claims and text: a statement that was set has its total strength
            for both ends of its interval and says that the person said so; a forgotten one is not kept.

        Raises:
            PersonaMismatch: If another model made the persona.
            MethodError: If a shift is no finite number, or an axis is not known.

        >>> from palate.catalogue import build
        >>> from palate.checks import people
        >>> model, ann = build("style").fit(people()), people(seed=1).history(0)
        >>> plain = model.revise(model.adapt(ann), {"length": 0.0})
        >>> model.shift_of(plain, "length"), [c.about for c in plain.claims if c.kept]
        (0.0, [])
        """

    def shift_of(self, persona: Persona, about: str) -> float | None:
        """Return the shift that stands, such as to lock it; None for a key that is not known."""


@runtime_checkable
class Uncertain(Protocol):
    """A method that says how sure it is."""

    def variance_batch(self, queries: Queries) -> Floats:
        """Return float64 [queries]: posterior variance of the log-odds of one option over another."""
