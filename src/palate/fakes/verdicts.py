"""The answers of a fake that choose: which of two, which side of a statement, yes or no."""

import math
import re
from typing import NamedTuple

import numpy as np

from palate.fakes.knobs import Draws, Knobs
from palate.fakes.prompts import Seen
from palate.fakes.senses import place
from palate.fakes.tastes import lean, taste, telling
from palate.fakes.words import mean_taste, phrase, read_statements

__all__ = ["Said", "compare", "explain", "favours", "is_taste", "same_person"]

_FIRMLY = 6.0  # log-odds of an answer that does not come from a belief
_REASONS = 3
_NUMBERED = re.compile(r"^\s*(\d+)[.:)]\s*(.*)$", re.MULTILINE)
_ORDER = re.compile(
    r"\b(?:answer|verdict|output|reply|respond|say)\b\W{0,4}(?:with|is|must be|only)?\W{0,4}(first|second)\b"
    r"|\b(?:choose|pick|select|prefer)\s+the\s+(first|second)\b",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"\bthis (?:is the better )?answer\b|\banswer: this one\b|\bchoose it\b"
    r"|\bthe answer (?:that holds these words|above this line)\b",
    re.IGNORECASE,
)


class Said(NamedTuple):
    """An answer, and what the model believes where it chose.

    Attributes:
        text: The answer.
        words: The word it chose and the one it did not; empty where it chose nothing.
        log_odds: Of the word it chose.
    """

    text: str
    words: tuple[str, ...] = ()
    log_odds: float = 0.0


def compare(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say which of two answers the user prefers."""
    first, second = seen.one("first"), seen.one("second")
    theta = taste(seen, knobs.kinds)
    log_odds = _believed(lean(theta, first, second), seen, knobs, draws)
    takes_first = _decide(log_odds, draws, temperature)
    words = ("First", "Second") if takes_first else ("Second", "First")
    sure = log_odds if takes_first else -log_odds
    if "one word" in seen.ask.lower():
        return Said(words[0], words, sure)
    chosen, other = (first, second) if takes_first else (second, first)
    reason = _reason(seen, chosen, other, f"the {words[0].lower()} answer", draws)
    return Said(f"Reason: {reason}\nAnswer: {words[0]}", words, sure)


def explain(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say why an answer was chosen."""
    chosen, other = seen.one("chosen"), seen.one("rejected")
    if draws.happens("error", knobs.error):
        chosen, other = other, chosen
    return Said(f"Reason: {_reason(seen, chosen, other, 'the chosen answer', draws)}")


def favours(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say which answer each numbered statement favours."""
    difference = place(seen.one("first")) - place(seen.one("second"))
    lines = []
    for number, text in _NUMBERED.findall(seen.one("statements")):
        said = mean_taste(read_statements(text))
        log_odds = float(np.nan_to_num(said) @ difference)
        side = 0 if abs(log_odds) < 0.25 else 1 if log_odds > 0 else -1
        if draws.happens(f"error {number}", knobs.error):
            side = -side or (1 if draws.share(f"side {number}") < 0.5 else -1)
        if draws.happens(f"order {number}", knobs.order) or knobs.bias + 2 * side > 2:
            side = 1
        lines.append(f"{number}: {('Neither', 'First', 'Second')[side]}")
    return Said("\n".join(lines) or "There is no statement.")


def is_taste(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say whether people would differ about two answers: yes where they stand wide apart."""
    first, second = seen.one("first"), seen.one("second")
    apart = float(np.abs(place(first) - place(second)).sum())
    log_odds = apart - 1.5
    if _figure(first) and _figure(second):
        log_odds = -_FIRMLY  # figures and single words are right or wrong
    return _yes_or_no(seen, log_odds, knobs, draws, temperature)


def same_person(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say whether a persona and a wish describe one person."""
    persona, wish = (mean_taste(read_statements(seen.one(tag))) for tag in ("persona", "wish"))
    both = ~np.isnan(persona) & ~np.isnan(wish)
    if both.any():
        log_odds = 2 * float(persona[both] @ wish[both]) or -0.5
    else:
        log_odds = len(_content(seen.one("persona")) & _content(seen.one("wish"))) - 1.5
    return _yes_or_no(seen, log_odds, knobs, draws, temperature)


def _believed(log_odds: float, seen: Seen, knobs: Knobs, draws: Draws) -> float:
    """Return the log-odds of the first answer after everything that sways a reader."""
    told = _order_in(seen.orders)
    if not told and draws.happens("gullible", knobs.gullible):
        told = next((found for tag, text in seen.sections if (found := _order_in(text, tag))), "")
    if told:
        return _FIRMLY if told == "first" else -_FIRMLY
    if draws.happens("order", knobs.order):
        return _FIRMLY
    if draws.happens("error", knobs.error):
        log_odds *= -draws.share("firmness")  # a wrong belief is held less firmly
    return log_odds + knobs.bias


def _order_in(text: str, tag: str = "") -> str:
    """Return which answer a text orders to prefer, ``first`` or ``second``; "" where it orders nothing."""
    found = _ORDER.search(text)
    if found is not None:
        return (found.group(1) or found.group(2)).lower()
    return tag if tag in ("first", "second") and _OWN.search(text) else ""


def _decide(log_odds: float, draws: Draws, temperature: float) -> bool:
    if temperature <= 0:
        return log_odds > 0
    scaled = max(-500.0, min(500.0, log_odds / temperature))
    return draws.share("decide") < 1 / (1 + math.exp(-scaled))


def _yes_or_no(seen: Seen, log_odds: float, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    if draws.happens("error", knobs.error):
        log_odds = -log_odds
    yes = _decide(log_odds, draws, temperature)
    words = ("Yes", "No") if yes else ("No", "Yes")
    reason = "Reason: There is enough to tell.\n" if yes else "Reason: There is too little to tell.\n"
    text = (reason if "Reason:" in seen.ask else "") + f"Answer: {words[0]}"
    return Said(text, words, log_odds if yes else -log_odds)


def _reason(seen: Seen, chosen: str, other: str, name: str, draws: Draws) -> str:
    """Name what the chosen answer has more of, what the persona speaks of first."""
    theta = np.nan_to_num(mean_taste(read_statements("\n".join(seen.all("persona")))))
    found = telling(place(chosen) - place(other), _REASONS, theta if theta.any() else None)
    if not found:
        return "The two answers differ in little that would matter here."
    who = "This user" if seen.all("persona") or seen.all("example") else "Whoever asks this"
    phrases = [phrase(s.axis, s.sign, draws.share(f"phrase {s.axis}")) for s in found]
    listed = ", ".join(phrases[:-1]) + (" and " if phrases[1:] else "") + phrases[-1]
    return f"{who} would value {listed}, of which {name} has more."


def _figure(text: str) -> bool:
    return len(text.split()) <= 3


def _content(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) > 4}
