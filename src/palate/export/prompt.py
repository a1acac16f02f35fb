"""A persona as text for use elsewhere: as a system prompt for any chat model, and as a line of JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from palate.core import ConfigError, DataError, Feedback, Persona
from palate.harm import screen_persona

__all__ = ["LONGEST", "as_lines", "from_json", "system_prompt", "to_json"]

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

    Statements that ask for harm are left out (:mod:`palate.harm`). So is what does not fit: first examples,
    the oldest first, then lines from the end of the text, and of a single line what is too long.

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
    persona, _ = screen_persona(persona)
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
