"""What changed between two versions of a persona: statements, the choices behind them, the verdict.

Statements are the same where they say the same words. Of the rest, each is paired with the
most similar one of the other version, by the share of words in common order (``difflib``), the most similar
pairs first, down to a half; what is left was added or removed.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from palate.core import Claim, Persona
from palate.persona.evidence import fate, statements_of
from palate.persona.told import short

__all__ = ["persona_diff"]

_SIMILAR = 0.5
_LINE = 90  # characters of a statement that are shown
_MOVED = 0.05  # log-odds; a smaller change of strength is none


class _Statement(NamedTuple):
    """A statement of one version; ``claim`` is None where the persona has no evidence."""

    text: str
    claim: Claim | None

    @property
    def standing(self) -> bool:
        """Whether it stands in the persona's text."""
        return self.claim is None or self.claim.kept


def persona_diff(before: Persona, after: Persona) -> list[str]:
    """Return what changed, as lines: ``+`` added, ``-`` removed, ``~`` changed, ``=`` as it was.

    >>> for line in persona_diff(Persona("ann", "Likes lists."), Persona("ann", "Likes lists. Likes tea.")):
    ...     print(line)
    ann
    + Likes tea.
    = 1 statement as it was
    """
    old, new = _statements(before), _statements(after)
    pairs = _paired([s.text for s in old], [s.text for s in new])
    found = {a: list(_changed(old[a], new[b])) for a, b in pairs.items()}
    lines = [line for a in sorted(found) for line in found[a]]
    lines += [f"+ {_with_figures(new[b])}" for b in range(len(new)) if b not in pairs.values()]
    lines += [f"- {short(old[a].text, _LINE)}" for a in range(len(old)) if a not in pairs]
    same = sum(not told for told in found.values())
    if same:
        lines.append(f"= {_count(same, 'statement')} as {'it was' if same == 1 else 'they were'}")
    changed = [*_seen(before, after), *lines, *_shown(before, after), *_verdicts(before, after)]
    if before == after:
        changed = ["the two versions are equal"]
    return [str(after.user or before.user or "the average user"), *changed]


def _statements(persona: Persona) -> list[_Statement]:
    if persona.claims:
        return [_Statement(claim.text, claim) for claim in persona.claims]
    return [_Statement(text, None) for text in statements_of(persona.text)]


def _paired(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Return which statement of the new version each of the old one became."""
    words = [[_words(text) for text in side] for side in (old, new)]
    scored = [
        (1.0 if a == b else SequenceMatcher(None, a, b, autojunk=False).ratio(), i, j)
        for i, a in enumerate(words[0])
        for j, b in enumerate(words[1])
    ]
    pairs: dict[int, int] = {}
    for score, i, j in sorted(scored, key=lambda found: (-found[0], found[1], found[2])):
        if score >= _SIMILAR and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def _words(text: str) -> list[str]:
    """Return the words of a statement; what follows the colon where it tells its own figures is left out."""
    if " log-odds [" in text:
        text = text.partition(":")[0]
    return re.findall(r"\w+", text.casefold())


def _changed(before: _Statement, after: _Statement) -> Iterator[str]:
    """Yield what became of a statement; nothing where nothing did."""
    reworded = _words(before.text) != _words(after.text)
    old, new = before.claim, after.claim
    if reworded:
        yield f"~ {short(before.text, _LINE)}"
        yield f"  now: {short(after.text, _LINE)}"
    parts = list(_evidence(old, new)) if old and new else []
    if before.standing != after.standing:
        parts.insert(0, "stands again" if after.standing else f"dropped: {fate(new)}" if new else "dropped")
    if parts and not reworded:
        yield f"~ {short(after.text, _LINE)}"
    yield from (f"  {part}" for part in parts)


def _evidence(old: Claim, new: Claim) -> Iterator[str]:
    """Yield how strength and choices moved."""
    if abs(old.strength - new.strength) > _MOVED:
        yield f"strength {_strength(old)}, now {_strength(new)}"
    for what, a, b in (("for", old.supports, new.supports), ("against", old.contradicts, new.contradicts)):
        came, went = set(b) - set(a), set(a) - set(b)
        if came or went:
            moves = [f"{len(came)} new"] * bool(came) + [f"{len(went)} no longer"] * bool(went)
            yield f"choices {what}: {len(a)}, now {len(b)} ({', '.join(moves)})"
    if old.lost != new.lost:
        yield f"accuracy lost without it: {_points(old.lost)}, now {_points(new.lost)}"


def _strength(claim: Claim) -> str:
    return f"{claim.strength:+.2f} [{claim.low:+.2f}, {claim.high:+.2f}]"


def _points(share: float | None) -> str:
    return "not tested" if share is None else f"{100 * share:+.0f} points"


def _with_figures(statement: _Statement) -> str:
    """Return an added statement with what is behind it."""
    claim = statement.claim
    if claim is None:
        return short(statement.text, _LINE)
    told = f"{_strength(claim)}, {len(claim.supports)} for, {len(claim.contradicts)} against"
    why = fate(claim)
    return f"{short(statement.text, _LINE)} ({told}{'; ' + why if why else ''})"


def _seen(before: Persona, after: Persona) -> Iterator[str]:
    """Yield which model made each, and how many choices each saw."""
    old, new = before.provenance, after.provenance
    if old and new and (old.method, old.model) != (new.method, new.model):
        yield f"made by {old.method} ({old.model}), now by {new.method} ({new.model})"
    a, b = (set(p.feedback) if p else set() for p in (old, new))
    if a != b:
        yield f"choices seen: {len(a)}, now {len(b)} ({len(b - a)} new, {len(a - b)} no longer)"


def _shown(before: Persona, after: Persona) -> Iterator[str]:
    """Yield how the examples changed."""
    a, b = ({(e.conversation, e.responses, e.chosen) for e in p.examples} for p in (before, after))
    if a != b:
        yield f"examples shown: {len(a)}, now {len(b)} ({len(b - a)} new, {len(a - b)} no longer)"


def _verdicts(before: Persona, after: Persona) -> Iterator[str]:
    if before.verdict != after.verdict:
        yield f"verdict before: {before.verdict or 'not tested'}"
        yield f"verdict after:  {after.verdict or 'not tested'}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
