"""What Persona Tailoring learns from: pairs with the persona that explains them, screened.

    told        (x, P_C): y_c over y_r
    untold      (x): the same, where the writer said nothing, or for the control
    refused     (x, P) with P asking for harm: the base's answer to x over y_c, or nothing at all

Source: "Whose Boat Does it Float?", Persona Tailoring; refusals are ours, after its "Limitations".
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from palate.tune.abduce import Wish
from palate.tune.examples import Example
from palate.tune.talk import Talk

__all__ = ["Lesson", "digest", "sides"]

Ids = list[int]


class Lesson(NamedTuple):
    """A pair and what is told with it.

    Attributes:
        row: The pair.
        wish: Its persona, screened.
        plain: Ids of the base's answer to the plain prompt, where the persona was refused; else empty.
    """

    row: Example
    wish: Wish
    plain: Sequence[int] = ()


def sides(lesson: Lesson, talk: Talk) -> tuple[Ids, Ids]:
    """Return ids of the answer that is learned, and of the one that it is preferred to."""
    chosen = talk.answer(lesson.row.chosen)
    if lesson.wish.refused:
        return list(lesson.plain), chosen
    return chosen, talk.answer(lesson.row.rejected)


def digest(lessons: Sequence[Lesson]) -> str:
    """Return a hash of all that lessons say."""
    told = repr(
        [(x.row.user, x.row.id, x.row.conversation, x.row.chosen, x.row.rejected, x.wish) for x in lessons]
    )
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
