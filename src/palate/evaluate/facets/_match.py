"""The question whether two texts describe one person, and what its answers come to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.evaluate.facets._draw import Dot, Row
from palate.evaluate.facets._people import Values, figures, gap, level, shown
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Asking, Reply, Request

__all__ = ["SAME", "answers", "beyond", "judged", "near_row", "pair_row", "plain_reason", "same"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


def read_same(text: str) -> bool:
    """Read yes or no.

    Raises:
        Malformed: If the answer says neither.

    >>> read_same("They both want brevity.\\n**Answer:** Yes."), read_same("no")
    (True, False)
    """
    words = [line.strip(' *".').lower() for line in text.splitlines() if line.strip()]
    last = words[-1].rpartition("answer")[2].strip(' :*".') if words else ""
    if last not in ("yes", "no"):
        raise Malformed('the last line must be "Answer: Yes" or "Answer: No"')
    return last == "yes"


SAME = Program(
    "match",
    "Do these describe the same person",
    "You are given a persona, which was written about a user of an assistant from the user's choices, and a "
    "wish: words in which a person says what they want, or why they chose as they did. Say whether the two "
    "strongly match: whether what the persona says this user likes and dislikes is what the person of the "
    "wish likes and dislikes. That both could be said of most people is no match.",
    "Say whether they strongly match. End with a line of its own:\nAnswer: Yes   (or)   Answer: No",
    "Answer: Yes",
    read_same,
    max_tokens=200,
)
"""Compares a persona with a person's own words."""


def same(persona: str, wishes: Sequence[str], lm: str = "") -> Asking[list[float]]:
    """Ask of a persona and each of several wishes: 1 for yes, 0 for no, NaN where the answer is unread.

    ``lm`` is the model that is asked, "" that of the client that drives.
    """
    found = yield [
        Request(SAME, (Section("persona", persona), Section("wish", wish)), lm=lm) for wish in wishes
    ]
    return [float(answer.value) if isinstance(answer, Reply) else float("nan") for answer in found]


def plain_reason(text: str) -> str:
    """Return a reason with words in the place of its marks.

    >>> plain_reason("[rejected] is mocking, [chosen] is not")
    'the rejected answer is mocking, the chosen answer is not'
    """
    return text.replace("[chosen]", "the chosen answer").replace("[rejected]", "the rejected answer").strip()


# ---- figures and words ------------------------------------------------------------------------------------


def answers(said: Floats, owner: Ints) -> Values:
    """Return the share of yes to true and to random pairs, and their difference, users drawn.

    Args:
        said: float64 [pairs, 2], to the true and the random one; only pairs with both answers count.
        owner: int64 [pairs], whose each is.
    """
    both = np.isfinite(said).all(axis=1)
    users, local = np.unique(owner[both], return_inverse=True)
    count = np.bincount(local, minlength=len(users))
    columns = [np.bincount(local, said[both, side], len(users)) / count for side in (0, 1)]
    matched, random, gain = figures(np.column_stack([*columns, columns[0] - columns[1]]))
    unread = int(len(said) - both.sum())
    return {"matched": matched, "random": random, "gain": gain, "asked": len(said), "unread": unread}


def judged(found: Mapping[str, Any]) -> str:
    """Say whether a judge finds more matches in true pairs than in random ones."""
    side = {"up": "sees more matches in true pairs", "down": "sees fewer matches in true pairs"}.get(
        shown(found["gain"]), "is not shown to see more matches in true pairs"
    )
    unread = f", {found['unread']:,} unread" if found["unread"] else ""
    return (
        f"{found['judge']} as judge {side} ({level(found['matched'])}) than in random ones "
        f"({level(found['random'])}), {gap(found['gain'])} ({found['matched']['users']:,} users{unread})"
    )


def beyond(found: Mapping[str, Any]) -> bool:
    """Tell whether a share is shown to be above a half."""
    return found["low"] is not None and found["low"] > 0.5


def near_row(name: str, found: Mapping[str, Any]) -> Row:
    """Make a row of how much nearer texts lie to their own partners, over a half."""
    if found["value"] is None:
        return Row(name, [])
    low, high = (None if found[end] is None else found[end] - 0.5 for end in ("low", "high"))
    text = f"{name}: {level(found)} ({found['users']:,} users)"
    dot = Dot(found["value"] - 0.5, text, "better" if beyond(found) else "same", 0, low, high)
    return Row(name, [dot], f"{100 * found['value']:.0f} %")


def pair_row(name: str, found: Mapping[str, Any]) -> Row:
    """Make a row of the matches seen in true and in random pairs."""
    dots: list[Dot] = []
    numbers: list[str] = []
    for side, kind, shape in (("matched", "s0", 0), ("random", "s1", 2)):
        f = found[side]
        if f["value"] is not None:
            text = f"{name}, {'true' if side == 'matched' else side} pairs: {level(f)} ({f['users']:,} users)"
            dots.append(Dot(f["value"], text, kind, shape, f["low"], f["high"]))
            numbers.append(f"{100 * f['value']:.0f}")
    return Row(name, dots, " / ".join(numbers))
