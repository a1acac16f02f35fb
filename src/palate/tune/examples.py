"""Training examples from users' choices: one pair, and what was known of its user without it.

    e = (s_i \\ {pair}, x, y_c, y_r)        s_i: up to ``signals`` other choices of user i, and their profile

The pair itself, and any choice in the same conversation, never stand among its own signals. At test the
signals are the user's context, which holds no target.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from palate.core import Conversation, Feedback, History, Population

__all__ = ["Example", "Examples", "examples_of", "signals_of"]


@dataclass(frozen=True)
class Example:
    """A pair of a user, and the choices that are known beside it.

    Attributes:
        user: Whose.
        id: Name of the choice that the pair comes from.
        conversation: What was answered.
        chosen: The answer that was chosen.
        rejected: The answer that was not.
        past: Other choices of the user, oldest first.
        profile: What else is known of the user.
        more: Further choices of the user that are not in ``past``, for who judges by several.
    """

    user: str
    id: str
    conversation: Conversation
    chosen: str
    rejected: str
    past: tuple[Feedback, ...] = ()
    profile: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Feedback, ...] = ()


class Examples(NamedTuple):
    """Examples, and how many choices gave none, by why."""

    rows: list[Example]
    left_out: Counter[str]


def examples_of(people: Population, signals: int, seed: int, passes: int = 1, more: int = 0) -> Examples:
    """Return examples of every decided pair of every user, in a drawn order.

    Args:
        people: The users, all rows of theirs.
        signals: Most choices shown beside a pair.
        seed: Of the order and of which choices are shown.
        passes: How many times each pair comes, each time beside other choices.
        more: Most further choices that stand beside a pair, none of them among its signals.
    """
    rng = np.random.default_rng(seed)
    rows: list[Example] = []
    left_out: Counter[str] = Counter()
    for turn in range(passes):
        for history in people:
            rows += _of_user(history, signals, more, rng, Counter() if turn else left_out)
    order = rng.permutation(len(rows))
    return Examples([rows[i] for i in order], left_out)


def _of_user(
    history: History, signals: int, more: int, rng: np.random.Generator, left_out: Counter[str]
) -> list[Example]:
    decided = [choice for choice in history.feedback if choice.chosen is not None]
    left_out["ties"] += len(history.feedback) - len(decided)
    found = []
    for choice in decided:
        others = [other for other in decided if other.conversation != choice.conversation]
        order = rng.permutation(len(others))
        past = tuple(others[i] for i in sorted(order[:signals].tolist()))
        further = tuple(others[i] for i in order[signals : signals + more].tolist())
        chosen = choice.responses[choice.chosen or 0]
        for i, text in enumerate(choice.responses):
            if i == choice.chosen:
                continue
            if text == chosen:
                left_out["pairs of equal answers"] += 1
                continue
            found.append(
                Example(
                    history.user,
                    choice.id,
                    choice.conversation,
                    chosen,
                    text,
                    past,
                    history.profile,
                    further,
                )
            )
    return found


def signals_of(history: History, signals: int) -> tuple[Feedback, ...]:
    """Return the latest decided choices of a user, oldest first, at most ``signals``."""
    decided: Sequence[Feedback] = [choice for choice in history.feedback if choice.chosen is not None]
    return tuple(decided[-signals:]) if signals else ()
