"""ELIX, Review and Roleplay: two responses to a prompt, judged in the name of a persona.

Source: Singh et al. (2025), hub ids Asap7772/elix_*, Asap7772/steered_reviews_* and
sher222/persona-iterative-responses; the data of POPI, section 5.1. ELIX and Review have ``response_x``,
``response_y``, ``scorer_level`` and ``label`` (0: x), Roleplay has ``x``, ``yw``, ``yl`` and ``level``.
"""

from collections.abc import Iterator
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, pick, reply, side, talk
from palate.feedback.values import decoded

__all__ = ["Fspo"]

USER = ("scorer_level", "level", "user_id", "user", "uid", "persona_id", "persona", "scorer_level_id")
PROMPT = ("prompt", "x", "question", "instruction")
WON, LOST = ("yw", "chosen", "preferred"), ("yl", "rejected", "dispreferred")
FIRST = ("response_x", "response_a", "response_1")
SECOND = ("response_y", "response_b", "response_2")


class Fspo(Adapter):
    """ELIX, Review, Roleplay and their kin; the user is the persona."""

    name = "fspo"
    title = "ELIX / Review / Roleplay"
    ids = (
        *(r"asap7772/(elix|steered_reviews)\w*", r"sher222/persona-iterative-responses"),
        r"sher222/(elix|review|roleplay)\w*",
    )
    tables = ((Table("", (USER, PROMPT, (*WON, *FIRST), (*LOST, *SECOND))),),)
    marks = (
        frozenset(("prompt", "response_x", "response_y", "scorer_level", "label")),
        frozenset(("x", "yw", "yl", "level")),
    )

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one pair; with ``label`` or ``preference`` one comparison."""
        user, profile = _persona(row)
        made: dict[str, Any] = {"user": user, "prompt": talk(pick(row, *PROMPT)), "profile": profile}
        if set(WON) & row.keys() and set(LOST) & row.keys():
            yield {**made, "chosen": reply(pick(row, *WON)), "rejected": reply(pick(row, *LOST))}
            return
        made |= {"response_a": reply(pick(row, *FIRST)), "response_b": reply(pick(row, *SECOND))}
        label = pick(row, "label", "preference", "winner")
        yield {**made, "winner": side(label, ("0", "x", "a", *FIRST), ("1", "y", "b", *SECOND))}


def _persona(row: Row) -> tuple[Any, dict[str, Any]]:
    """Return the user's name and what is known of them."""
    user = decoded(pick(row, *USER))
    told = decoded(pick(row, "score_persona", "persona", "persona_description", "user_description"))
    if isinstance(told, dict):
        told = pick(told, "persona_description", "description", "persona")
    if isinstance(user, dict):
        user = pick(user, "id", "persona_id", "persona_description", "description")
    return user, {"persona": told if told is not None else user}
