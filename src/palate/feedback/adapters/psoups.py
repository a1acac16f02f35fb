"""P-SOUPS, and other pairs that name their user by number.

Source: Jang et al. (2023): three dimensions with two opposite wishes each, P1A to P3B, are the users. Read in
three layouts: one file a wish (``P1A.json``: ``user_input``, ``completion_a`` preferred over
``completion_b``), pairs with the wish in words (``ground_truth_persona``), and pairs with ``uid`` (RiverDong/
psoups). ``uid`` reads the other sets of "When Personalization Meets Reality" with that column.
"""

import re
from collections.abc import Iterator
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, pick, reply, talk
from palate.feedback.report import BadRow

__all__ = ["PSoups", "Uid"]

WISHES = {
    "P1A": "Generate a response that can be easily understood by an elementary school student.",
    "P1B": "Generate a response that only a PhD Student in that specific field could understand.",
    "P2A": "Generate a response that is concise and to the point without being verbose.",
    "P2B": "Generate a response that is very informative without missing any background information.",
    "P3A": "Generate a response that is friendly, witty, funny, and humorous, like a close friend.",
    "P3B": "Generate a response in an unfriendly manner.",
}
FILE = re.compile(r"(?<![a-z0-9])(?:p|pref)([1-3][ab])(?![a-z0-9])")


class PSoups(Adapter):
    """P-SOUPS; the user is the wish."""

    name = "psoups"
    title = "P-SOUPS"
    ids = (r"riverdong/psoups", r".*/(p-soups|psoups)")
    tables = (
        (
            Table(
                "",
                (
                    ("user_input", "prompt", "instruction"),
                    ("completion_a", "chosen"),
                    ("completion_b", "rejected"),
                ),
            ),
        ),
    )
    marks = (
        frozenset(("user_input", "completion_a", "completion_b")),
        frozenset(("prompt", "chosen", "rejected", "ground_truth_persona")),
    )

    def start(self) -> None:
        """Tell who the users are."""
        self.notes.append("the users are the wishes P1A to P3B (or their numbers)")

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one pair, the wish taken out of the prompt."""
        user, wish = _wish(row, place)
        prompt = talk(pick(row, "user_input", "prompt", "instruction"))
        if isinstance(prompt, str) and wish:
            prompt = prompt.replace(wish, "").strip()
        yield {
            "user": user,
            "prompt": prompt,
            "chosen": reply(pick(row, "completion_a", "chosen")),
            "rejected": reply(pick(row, "completion_b", "rejected")),
            "profile": {"wish": wish} if wish else {},
        }


def _wish(row: Row, place: Place) -> tuple[Any, str]:
    """Return the user and the wish in words, empty where unknown."""
    named = pick(row, "uid", "user_id", "user", "preference_profile")
    if named is not None:
        return named, WISHES.get(str(named).upper(), "")
    words = pick(row, "ground_truth_persona")
    if words is not None:
        return next((name for name, wish in WISHES.items() if wish == words), words), str(words)
    found = FILE.search(re.split(r"[/\\]", place.file)[-1].lower())
    if found is None:
        raise BadRow("missing field", "user", "no uid, no ground_truth_persona, no file P1A to P3B")
    name = "P" + found[1].upper()
    return name, WISHES[name]


class Uid(Adapter):
    """Pairs whose user is the number ``uid``, such as those of "When Personalization Meets Reality"."""

    name = "uid"
    title = "pairs with uid"
    ids = (r"riverdong/(personal-llm\S*|ultrafeedback-personalized)",)
    tables = ((Table("", (("uid",), ("chosen",), ("rejected",))),),)

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one pair; chosen and rejected may be whole conversations."""
        made = {"user": row["uid"], "chosen": row["chosen"], "rejected": row["rejected"]}
        prompt = pick(row, "prompt", "question", "instruction")
        yield made if prompt is None else {**made, "prompt": talk(prompt)}
