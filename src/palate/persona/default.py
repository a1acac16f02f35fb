"""default: the judge without a persona; demographics: the judge told what is known of a user.

Source: "SynthesizeMe!", 5.1. ``default`` shows the model the conversation and the two answers alone.
``demographics`` adds the user's profile, as it was given with the data, as the persona.

Departs from the paper: the judge is asked in both orders, and an answer's odds come from its token's
probability where the endpoint gives it (:mod:`palate.judge`). A user without a profile is judged as by
``default``, and the share of such users stands in the report's costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from palate.core import Conversation, History, Persona
from palate.models.llm.wire import Asking
from palate.persona.base import ReadMethod, Shown, Written

__all__ = ["Default", "Demographics", "profile_text"]


@dataclass(kw_only=True, eq=False)
class Default(ReadMethod):
    """The judge's own taste: the control of the read methods."""

    name: ClassVar[str] = "default"
    paper: ClassVar[str] = "SynthesizeMe, 5.1"
    personal: ClassVar[bool] = False

    def _shown(self, persona: Persona, conversation: Conversation) -> Shown:
        """Show nothing, whoever wrote the persona: a gate scores its control with the persona at hand."""
        return Shown()


@dataclass(kw_only=True, eq=False)
class Demographics(ReadMethod):
    """The profile as persona; the choices are not looked at."""

    name: ClassVar[str] = "demographics"
    paper: ClassVar[str] = "SynthesizeMe, 5.1"
    states: ClassVar[bool] = False

    def _write(self, history: History) -> Asking[Written]:
        """Put the profile into words; nothing is asked."""
        return Written(profile_text(history.profile))
        yield []


def profile_text(profile: Mapping[str, str]) -> str | None:
    """Return a profile in words, None where nothing is known.

    >>> print(profile_text({"age": "18-24", "employment": "student"}))
    What is known of this user: age: 18-24; employment: student.
    """
    known = [f"{name.replace('_', ' ')}: {value}" for name, value in profile.items() if str(value).strip()]
    return f"What is known of this user: {'; '.join(known)}." if known else None
