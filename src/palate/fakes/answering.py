"""A sentence or two in a style: what a fake answers where the world has no written answer.

It is made of a plain middle and the world's own openers and closers, whole sentences whose shifts on the
axes are known; it knows nothing of the subject, and says so.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.fakes.knobs import Draws
from palate.feedback.world_answers import axis_vector

__all__ = ["answer_in_style"]

Floats = NDArray[np.float64]
_WORD = re.compile(r"[^\W\d_]{4,}")
_SENTENCES = {
    ("technical", -1): "Put simply, {subject} is best taken one piece at a time.",
    ("technical", 1): "Technically, {subject} is a function of its boundary conditions and parameters.",
    ("examples", 1): "For example, somebody who began with one small case was done within a week.",
    ("examples", -1): "As a rule, the general principle matters more than the single case.",
    ("length", 1): "It is worth going through all of it at leisure, with what came before, what follows from "
    "it, and what else could be said on either side, because each of these changes the picture a little.",
}
_PLAIN = "This is a fake answer about {subject}."


def answer_in_style(theta: Floats, asked: str, draws: Draws) -> str:
    """Return a short answer to a conversation that leans to what a taste likes.

    >>> from palate.feedback.world_answers import axis_vector
    >>> print(answer_in_style(axis_vector({"technical": 1}), "What is rhubarb?", Draws("")))
    This is a fake answer about rhubarb. Technically, rhubarb is a function of its boundary conditions and \
parameters.
    """
    words = _WORD.findall(asked.rpartition("\n")[2]) or ["it"]
    subject = words[-1].lower()
    parts = [_PLAIN.format(subject=subject)]
    parts += [
        sentence.format(subject=subject)
        for (axis, end), sentence in _SENTENCES.items()
        if theta @ axis_vector({axis: end}) > 0.75
    ]
    parts = _piece("openers", theta) + parts + _piece("closers", theta)
    if theta @ axis_vector({"structure": 1}) > 0.75:
        return "\n".join(f"- {part}" for part in parts)
    return " ".join(parts)


@cache
def _wrappers() -> Any:
    return json.loads((files("palate.feedback") / "world_texts" / "wrappers.json").read_text("utf-8"))


def _piece(kind: str, theta: Floats) -> list[str]:
    """Return the opener or closer that a taste likes best, if it likes one."""
    liking = [float(theta @ axis_vector(piece["axes"])) for piece in _wrappers()[kind]]
    best = int(np.argmax(liking))
    return [_wrappers()[kind][best]["text"]] if liking[best] > 0.4 else []
