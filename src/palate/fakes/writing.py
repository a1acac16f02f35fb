"""The answers of a fake that describe: insights, personas, names of groups, and answers for a user.

A persona is counted. Each mention of an axis in the reasoning about a choice is a vote for one end, read
wrongly with the error rate; where the two answers of the choice stand adds a fainter vote. What is counted
depends on the instruction:

* an axis that it names is noticed in 5 of k mentions where it names k of the eight (in all, up to five); one
  that it does not name in 3 of 10; where it names none, each in 4 of 10,
* "two or three", "at most five" is how many statements are written; else four,
* where it asks for what agrees or repeats, an axis needs a clearer majority,
* where it asks how strongly, statements say so.

Axes that the personas of demonstrations speak of count as named.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palate.fakes.answering import answer_in_style
from palate.fakes.knobs import Draws, Knobs
from palate.fakes.prompts import PastChoice, Seen, read_choice
from palate.fakes.senses import answers_to, place
from palate.fakes.tastes import step, taste, telling
from palate.fakes.verdicts import Said
from palate.fakes.words import AXIS_NAMES, axes_named, mean_taste, phrase, read_statements, statement
from palate.feedback.world_answers import AXES, world_answers

__all__ = ["answer", "condense", "infer", "insights", "name_group", "persona"]

Floats = NDArray[np.float64]
_GUESS = {
    "length": ("busy", "curious"),
    "structure": ("thoughtful", "orderly"),
    "formality": ("easy-going", "conscientious"),
    "warmth": ("independent", "sociable"),
    "hedging": ("self-assured", "open-minded"),
    "technical": ("practical", "knowledgeable"),
    "examples": ("systematic", "imaginative"),
    "leaning": ("watchful", "enterprising"),
}
_NAMES = {
    "length": ("Short", "Long"),
    "structure": ("Flowing", "Structured"),
    "formality": ("Casual", "Formal"),
    "warmth": ("Blunt", "Warm"),
    "hedging": ("Firm", "Hedged"),
    "technical": ("Plain", "Technical"),
    "examples": ("General", "Illustrated"),
    "leaning": ("Cautious", "Daring"),
}
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_MOST = re.compile(
    rf"\b(?:at most|up to|no more than|\w+ (?:or|to)) ({'|'.join(_COUNTS)}|[1-8])\b", re.IGNORECASE
)
_AGREED = re.compile(
    r"\b(?:agree|agrees|repeat\w*|recur\w*|consistent\w*|several|more than one)\b", re.IGNORECASE
)
_STRENGTH = re.compile(r"\bhow (?:strong(?:ly)?|much|important)\b|\bstrength\b", re.IGNORECASE)
_USUAL = 4  # statements, where nothing is said about how many
_FROM_CHOICE = 0.6  # votes of a unit of difference
_MAJORITY, _CLEAR_MAJORITY = 0.15, 0.3  # votes a choice that an axis needs


def insights(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say in one to three lines what a choice tells."""
    found = telling(step(read_choice(seen.one("choice"))), 3)
    lines = [_written(s.axis, s.sign, knobs, draws) for s in found]
    return Said("\n".join(f"- {line}" for line in lines) or "- Shows no clear preference here.")


def infer(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Say in one sentence who would prefer an answer over the other."""
    found = telling(place(seen.one("preferred")) - place(seen.one("other")), 2)
    if not found:
        return Said("The user is patient and prefers either of the two.")
    ends = [(s.axis, _end(s.axis, s.sign, knobs, draws)) for s in found]
    guess = _GUESS[AXIS_NAMES[ends[0][0]]][ends[0][1] > 0]
    phrases = [phrase(axis, sign, draws.share(f"phrase {axis}")) for axis, sign in ends]
    return Said(f"The user is {guess} and prefers {' and '.join(phrases)}.")


def persona(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Write a persona from choices and the reasoning about them."""
    choices = [read_choice(text) for text in seen.all("reasoning")]
    notice = _attention(seen)
    votes = np.zeros(len(AXES))
    for number, choice in enumerate(choices):
        votes += _votes(choice, number, notice, knobs, draws)
    return Said(_counted(votes / max(1, len(choices)), seen.instruction, draws))


def condense(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Write what several personas of one user have in common."""
    texts = seen.all("persona")
    everything = np.ones(len(AXES))
    votes = np.zeros(len(AXES))
    for number, text in enumerate(texts):
        votes += _votes(PastChoice("", "", (), text), number, everything, knobs, draws)
    return Said(_counted(votes / max(1, len(texts)), seen.instruction, draws))


def name_group(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Name a group of personas by what most of them share."""
    said = [np.nan_to_num(mean_taste(read_statements(text))) for _, text in seen.sections]
    shared = np.mean(said, axis=0) if said else np.zeros(len(AXES))
    found = telling(shared, 2)
    names = [_NAMES[AXIS_NAMES[s.axis]][s.sign > 0] for s in found]
    name = f"{names[0]} and {names[1].lower()}" if names[1:] else f"{(names or ['Mixed'])[0]} answers"
    return Said(f"Name: {name}" if "Name:" in seen.ask else name)


def answer(seen: Seen, knobs: Knobs, draws: Draws, temperature: float) -> Said:
    """Answer a conversation for a user: the world's best answer, or a sentence or two in the user's style."""
    asked = seen.one("conversation")
    theta = taste(seen, knobs.kinds)
    items = answers_to(asked)
    if not len(items):
        return Said(answer_in_style(theta, asked, draws))
    liking = world_answers().axes[items] @ theta
    if draws.happens("error", knobs.error):
        liking = -liking
    if temperature > 0:
        luck = np.array([draws.share(f"item {item}") for item in items])
        liking = liking - temperature * np.log(-np.log(np.clip(luck, 1e-12, 1 - 1e-12)))
    return Said(world_answers().corpus.response(int(items[liking.argmax()])))


def _end(axis: int, sign: int, knobs: Knobs, draws: Draws) -> int:
    """Return the end of an axis that is written: the wrong one with the error rate."""
    return -sign if draws.happens(f"error {axis}", knobs.error) else sign


def _written(axis: int, sign: int, knobs: Knobs, draws: Draws) -> str:
    return statement(axis, _end(axis, sign, knobs, draws), draws.share(f"phrase {axis}"))


def _attention(seen: Seen) -> Floats:
    """Return float64 [8]: the share of the mentions of each axis that is noticed."""
    named = np.array(axes_named(seen.instruction))
    for text in seen.all("example"):
        spoken = mean_taste(read_statements(text.rpartition("Persona:")[2]))
        named |= ~np.isnan(spoken)
    if not named.any():
        return np.full(len(AXES), 0.4)
    return np.where(named, min(1.0, 5 / named.sum()), 0.3)


def _votes(choice: PastChoice, number: int, notice: Floats, knobs: Knobs, draws: Draws) -> Floats:
    """Return float64 [8]: votes of one choice for the high end (above 0) or the low end of each axis."""
    votes: Floats = _FROM_CHOICE * notice * np.clip(step(choice), -1.5, 1.5)
    for said in read_statements(choice.why):
        name = f"{number} {said.axis}"
        if draws.share(f"notice {name}") < notice[said.axis]:
            wrong = draws.happens(f"misread {name}", knobs.error)
            votes[said.axis] += -said.sign if wrong else said.sign
    return votes


def _counted(votes: Floats, instruction: str, draws: Draws) -> str:
    """Write the statements that the votes of a choice bear out, strongest first."""
    found = _MOST.search(instruction)
    word = found.group(1).lower() if found else ""
    most = int(_COUNTS.get(word, word or _USUAL))
    least = _CLEAR_MAJORITY if _AGREED.search(instruction) else _MAJORITY
    order: Sequence[int] = np.argsort(-np.abs(votes), kind="stable")[:most].tolist()
    kept = [axis for axis in order if abs(votes[axis]) >= least] or [
        axis for axis in order[:1] if votes[axis]
    ]
    graded = bool(_STRENGTH.search(instruction))
    lines = [
        statement(
            axis,
            1 if votes[axis] > 0 else -1,
            draws.share(f"phrase {axis}"),
            2.0 if graded and abs(votes[axis]) >= 0.6 else 0.5 if graded and abs(votes[axis]) < 0.3 else 1.0,
        )
        for axis in kept
    ]
    return "\n".join(lines) or "Prefers no kind of answer that these choices show."
