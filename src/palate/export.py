"""A persona for use elsewhere: as a system prompt, as JSON, and in preference data for training with TRL.

Rows follow TRL's documented formats, as message lists (``{"role": ..., "content": ...}``):

    preference     prompt, chosen, rejected          for DPO and its kin: the prompt is explicit
    implicit       chosen, rejected                  for reward models: each holds the prompt again
    sft            messages                          what was chosen, alone

The persona is the system message, before whatever the conversation's own system message says. Whether a row
has its user's persona stands in ``persona``: ``applied``; ``none`` where there is none, or none with words;
``set aside`` where its verdict gives it less weight than asked for. ``seen`` is true where the persona was
made from that very choice: a model that is trained on such rows learns to read the answer off the persona, so
adapt on some choices and export others. A choice is never shown as an example in its own row.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from palate.core import ConfigError, DataError, Feedback, Persona, Personas, Population

__all__ = ["Exported", "Kind", "as_lines", "from_json", "system_prompt", "to_json", "training_rows"]

Kind = Literal["preference", "implicit", "sft"]
KINDS = ("preference", "implicit", "sft")
LONGEST = 4000
"""Characters of a system prompt, by default: about a thousand tokens."""
_SHORTEST = 200
_USE = (
    "Below is what is known of the user's taste, learned from answers that they chose before. Answer as they "
    "would like it. It is about how to answer, and no order: whatever the user asks for now comes first."
)
_CUT = " [...]"


def system_prompt(persona: Persona, longest: int = LONGEST, *, examples: bool = True) -> str:
    """Return a persona as a system prompt, "" for one without words and examples.

    What does not fit is left out: first examples, the oldest first, then lines from the end of the text, and
    of a single line what is too long.

    Args:
        persona: The persona.
        longest: Most characters.
        examples: Whether past choices are shown.

    Raises:
        ConfigError: If so few characters cannot hold the sentence on how to use it.

    >>> print(system_prompt(Persona(text="Prefers short answers.")).splitlines()[-1])
    Prefers short answers.
    """
    if longest < len(_USE) + _SHORTEST:
        raise ConfigError(
            f"a system prompt of {longest} characters cannot hold a persona: give {len(_USE) + _SHORTEST} "
            "or more"
        )
    text = (persona.text or "").strip()
    shown = [_example(e) for e in persona.examples] if examples else []
    if not text and not shown:
        return ""
    room = longest - len(_USE) - 2
    if text:
        text = _fitting(text, room - len("What they like:\n"))
        room -= len("What they like:\n") + len(text) + 2
    shown = _latest(shown, room)
    parts = [_USE, *([f"What they like:\n{text}"] if text else []), *shown]
    return "\n\n".join(parts)


def _example(choice: Feedback) -> str:
    """Return a past choice as text."""
    turns = choice.conversation
    asked = turns[0].content if len(turns) == 1 else "\n".join(f"{t.role}: {t.content}" for t in turns)
    others = [text for i, text in enumerate(choice.responses) if i != choice.chosen]
    lines = [f"They asked: {asked}", f"They chose: {choice.chosen_response}"]
    lines += [f"They did not choose: {text}" for text in others]
    return "\n".join([*lines, f"Because: {choice.reason}"] if choice.reason else lines)


def _fitting(text: str, room: int) -> str:
    """Leave out lines from the end until a text fits; cut a first line that does not."""
    lines = text.splitlines()
    while len(lines) > 1 and len("\n".join(lines)) > room:
        lines.pop()
    whole = "\n".join(lines)
    return whole if len(whole) <= room else whole[: room - len(_CUT)].rstrip() + _CUT


def _latest(shown: Sequence[str], room: int) -> list[str]:
    """Keep the latest examples that fit, in their order."""
    kept: list[str] = []
    for text in reversed(shown):
        room -= len(text) + 2
        if room < 0:
            break
        kept.append(text)
    return kept[::-1]


def to_json(persona: Persona) -> str:
    """Return a persona as one line of JSON; :func:`from_json` gives an equal persona back.

    >>> from_json(to_json(Persona(user="ann", vector=(0.1, 1e-300)))).vector
    (0.1, 1e-300)
    """
    return _line(persona.to_json())


def from_json(text: str) -> Persona:
    """Read what :func:`to_json` wrote.

    Raises:
        DataError: If it is no JSON, or no persona.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"this is not JSON ({error}): {text[:60]!r}; give a line of `palate adapt`"
        ) from error
    if not isinstance(values, dict):
        raise DataError(f"this is not a persona as Palate writes it: {text[:60]!r}")
    return Persona.from_json(values)


@dataclass
class Exported:
    """What was exported so far; it is filled while the rows are read.

    Attributes:
        rows: Rows in all.
        personas: Rows by what stands in ``persona``.
        seen: Rows whose choice the persona was made from.
        ties: Choices that gave no row, for nothing was chosen.
        equal: Pairs that gave no row, for both answers are the same text.
    """

    rows: int = 0
    personas: dict[str, int] = field(default_factory=lambda: {"applied": 0, "none": 0, "set aside": 0})
    seen: int = 0
    ties: int = 0
    equal: int = 0

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


def _rows_of(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def training_rows(
    people: Population,
    personas: Sequence[Persona],
    kind: Kind = "preference",
    *,
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
        longest: Most characters of the persona's system message.
        examples: Whether the system message shows past choices.
        weight: A persona whose verdict gives it less weight than this is set aside; 0 applies all.
        done: Counts, filled as rows are read.

    Yields:
        The columns of the kind, and ``user``, ``id`` (of the choice), ``persona`` and ``seen``.

    Raises:
        ConfigError: If there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no kind of rows {kind!r}; there are {', '.join(KINDS)}")
    place = _places(personas)
    counts = done if done is not None else Exported()
    for user, (start, end) in zip(people.users, pairwise(people.offsets.tolist()), strict=True):
        persona = personas[place[user]] if user in place else Persona()
        teller = _Teller(persona, longest, examples, weight)
        for row in range(start, end):
            yield from _rows(people.row(row, str(user)), teller, kind, counts)


def _places(personas: Sequence[Persona]) -> dict[str | None, int]:
    """Return where each user's persona stands; columns are looked at one persona at a time."""
    users = personas.users.tolist() if isinstance(personas, Personas) else [p.user for p in personas]
    return {user: number for number, user in enumerate(users)}


class _Teller:
    """One user's system message, made once for all choices that are not among its examples."""

    def __init__(self, persona: Persona, longest: int, examples: bool, weight: float) -> None:
        self.persona, self.longest = persona, longest
        verdict = persona.verdict
        aside = verdict is not None and verdict.weight < weight
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


def _rows(choice: Feedback, teller: _Teller, kind: Kind, counts: Exported) -> Iterator[dict[str, Any]]:
    if choice.chosen is None:
        counts.ties += 1
        return
    chosen = choice.responses[choice.chosen]
    words = teller.of(choice.id)
    prompt = _prompt(choice, words)
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
        yield {**_columns(kind, prompt, chosen, rejected), **told}


def _columns(kind: Kind, prompt: list[dict[str, str]], chosen: str, rejected: str) -> dict[str, Any]:
    good, bad = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
    if kind == "preference":
        return {"prompt": prompt, "chosen": good, "rejected": bad}
    if kind == "implicit":
        return {"chosen": prompt + good, "rejected": prompt + bad}
    return {"messages": prompt + good}


def _prompt(choice: Feedback, words: str) -> list[dict[str, str]]:
    """Return the conversation as messages, the persona before its own system message."""
    turns = [{"role": turn.role, "content": turn.content} for turn in choice.conversation]
    if not words:
        return turns
    if turns and turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{words}\n\n{turns[0]['content']}"}, *turns[1:]]
    return [{"role": "system", "content": words}, *turns]


def as_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield rows as lines of JSON, one at a time."""
    return map(_line, rows)


def _line(values: Mapping[str, Any]) -> str:
    line = json.dumps(values, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, as some chats hold
        return json.dumps(values)
    return line
