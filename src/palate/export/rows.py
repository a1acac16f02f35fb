"""Preference data with each user's persona in it, one row at a time, in the layout of a trainer.

The persona is the system message, before whatever the conversation's own system message says. Whether a row
has its user's persona stands in ``persona``: ``applied``; ``none`` where there is none, or none with words;
``set aside`` where its verdict gives it less weight than asked for. ``seen`` is true where the persona was
made from that very choice: a model that is trained on such rows learns to read the answer off the persona, so
adapt on some choices and export others. A choice is never shown as an example in its own row.

Statements of a persona that ask for harm are left out and counted, once a user: see :mod:`palate.harm`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from palate.core import Feedback, Persona, Personas, Population
from palate.export.layouts import Kind, Layout, Pair, columns
from palate.export.prompt import LONGEST, system_prompt
from palate.harm import screen_persona

__all__ = ["Exported", "training_rows"]


@dataclass
class Exported:
    """What was exported so far; it is filled while the rows are read.

    Attributes:
        rows: Rows in all.
        personas: Rows by what stands in ``persona``.
        seen: Rows whose choice the persona was made from.
        ties: Choices that gave no row, for nothing was chosen.
        equal: Pairs that gave no row, for both answers are the same text.
        harm: Statements that were left out of personas because they ask for harm, by kind.
    """

    rows: int = 0
    personas: dict[str, int] = field(default_factory=lambda: {"applied": 0, "none": 0, "set aside": 0})
    seen: int = 0
    ties: int = 0
    equal: int = 0
    harm: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield what people are told."""
        applied, none, aside = (self.personas[key] for key in ("applied", "none", "set aside"))
        yield f"{_rows_of(self.rows)}: {applied:,} with a persona, {none:,} of users without one"
        if aside:
            yield f"{_rows_of(aside)} whose persona its own verdict sets aside: left out there"
        if self.seen:
            yield (
                f"{_rows_of(self.seen)} of a choice that the persona was made from (seen: true): train on "
                "the others, or adapt on fewer choices"
            )
        if self.ties or self.equal:
            yield f"left out: {self.ties:,} ties, {self.equal:,} pairs of equal answers"
        if self.harm:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.harm.items()))
            yield f"left out of personas, for they ask for harm: {kinds}"


def _rows_of(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def training_rows(
    people: Population,
    personas: Sequence[Persona],
    kind: Kind = "preference",
    *,
    layout: Layout = "trl",
    longest: int = LONGEST,
    examples: bool = True,
    weight: float = 0.05,
    done: Exported | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one row for each chosen answer and each one rejected for it, user after user.

    Args:
        people: The choices.
        personas: Personas of these users, in any order, found by name; users without one get plain rows.
        kind: ``preference``, ``implicit`` or ``sft``; the last gives one row a choice.
        layout: ``trl``, ``openrlhf``, ``openrlhf-text`` or ``icai``; see :mod:`palate.export.layouts`.
        longest: Most characters of the persona's system message.
        examples: Whether the system message shows past choices.
        weight: A persona whose verdict gives it less weight than this is set aside; 0 applies all.
        done: Counts, filled as rows are read.

    Yields:
        The columns of kind and layout, and ``user``, ``id`` (of the choice), ``persona`` and ``seen``.

    Raises:
        ConfigError: If there is no such kind or layout, or the layout has no rows of the kind.
    """
    make = columns(kind, layout)
    place = _places(personas)
    counts = done if done is not None else Exported()
    for user, (start, end) in zip(people.users, pairwise(people.offsets.tolist()), strict=True):
        persona = personas[place[user]] if user in place else Persona()
        teller = _Teller(persona, longest, examples, weight)
        for each in teller.refused:
            counts.harm[each] = counts.harm.get(each, 0) + 1
        for row in range(start, end):
            for pair, told in _pairs(people.row(row, str(user)), teller, kind, counts):
                yield {**make(pair, counts.rows - 1), **told}


def _places(personas: Sequence[Persona]) -> dict[str | None, int]:
    """Return where each user's persona stands; columns are looked at one persona at a time."""
    users = personas.users.tolist() if isinstance(personas, Personas) else [p.user for p in personas]
    return {user: number for number, user in enumerate(users)}


class _Teller:
    """One user's system message, made once for all choices that are not among its examples."""

    def __init__(self, persona: Persona, longest: int, examples: bool, weight: float) -> None:
        verdict = persona.verdict
        aside = verdict is not None and verdict.weight < weight
        persona, refused = (persona, ()) if aside else screen_persona(persona)
        self.persona, self.longest = persona, longest
        self.refused = [refusal.kind for refusal in refused]
        self.words = "" if aside else system_prompt(persona, longest, examples=examples)
        self.state = "set aside" if aside else "applied" if self.words else "none"
        self.shown = {e.id for e in persona.examples if e.id} if self.words and examples else set()
        made_from = persona.provenance.feedback if persona.provenance else ()
        self.seen = set(made_from) | self.shown

    def of(self, name: str) -> str:
        """Return the system message for a choice."""
        if name not in self.shown:
            return self.words
        others = tuple(e for e in self.persona.examples if e.id != name)
        return system_prompt(Persona(text=self.persona.text, examples=others), self.longest)


def _pairs(
    choice: Feedback, teller: _Teller, kind: Kind, counts: Exported
) -> Iterator[tuple[Pair, dict[str, Any]]]:
    """Yield what was chosen with each answer rejected for it, and what marks the row; count them."""
    if choice.chosen is None:
        counts.ties += 1
        return
    chosen = choice.responses[choice.chosen]
    words = teller.of(choice.id)
    seen = bool(words) and choice.id in teller.seen
    state = teller.state if words or teller.state != "applied" else "none"
    told = {"user": choice.user, "id": choice.id, "persona": state, "seen": seen}
    others = [text for i, text in enumerate(choice.responses) if i != choice.chosen]
    for rejected in others[:1] if kind == "sft" else others:
        if kind != "sft" and rejected == chosen:
            counts.equal += 1
            continue
        counts.rows += 1
        counts.personas[state] += 1
        counts.seen += seen
        yield Pair(choice.user, choice.id, words, choice.conversation, chosen, rejected), told
