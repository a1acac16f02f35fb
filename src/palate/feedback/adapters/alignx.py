"""AlignX: a pair of comments on a post, and what the user wrote, chose and said of themselves before.

Hub ids JinaLeejnl/AlignX and JinaLeejnl/AlignX-test. Source: Li et al. (2025). Every row is another user.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, pick, records
from palate.feedback.report import BadRow, shorten
from palate.feedback.values import decoded

__all__ = ["AlignX"]

PAIRS = "Pair-wise Comparative Feedback"
WRITTEN = "User-Generated Content"
ABOUT = "Demographic Information"
DIRECTION = "Preference Direction"
SIZE = 90


class AlignX(Adapter):
    """AlignX; a row is a user, their earlier pairs are the context and the row's own pair the target."""

    name = "alignx"
    title = "AlignX"
    ids = (r"jinaleejnl/alignx(-test|_test)?",)
    tables = ((Table("", (("prompt",), ("chosen",), ("rejected",), (PAIRS, WRITTEN, ABOUT, DIRECTION))),),)
    marks = tuple(
        frozenset(("prompt", "chosen", "rejected", name)) for name in (PAIRS, WRITTEN, ABOUT, DIRECTION)
    )

    def start(self) -> None:
        """Tell what a row becomes."""
        self.notes.append(
            "every row is a user: the pairs of its history are the context, its own pair the target, what "
            "the user wrote and said and the preference direction the profile"
        )

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the pairs of the history, then the row's own."""
        stem = place.split or Path(place.file).name.split(".")[0]
        user = f"{stem}-{place.line}"
        profile = _profile(row)
        for pair in records(row.get(PAIRS)):
            texts = {name: pair.get(name) for name in ("prompt", "chosen", "rejected")}
            yield {"user": user, **texts, "split": "context", "profile": {}}
        own = {name: row[name] for name in ("prompt", "chosen", "rejected")}
        yield {"user": user, **own, "split": "target", "profile": profile}


def _profile(row: Row) -> dict[str, Any]:
    """Return what is known of the user, as texts."""
    profile: dict[str, Any] = {"demographics": pick(row, ABOUT, "profile")}
    direction = decoded(row.get(DIRECTION))
    if direction not in (None, "", []):
        listed = isinstance(direction, (list, tuple)) and len(direction) == SIZE
        if not listed or any(v not in (0, 0.5, 1) for v in direction):
            why = f"{shorten(direction)}: expected {SIZE} values, each 0, 0.5 or 1"
            raise BadRow("wrong type", DIRECTION, why)
        profile["preference_direction"] = " ".join(f"{float(v):g}" for v in direction)
    for number, post in enumerate(records(row.get(WRITTEN)), 1):
        profile |= {f"post_{number}": post.get("prompt"), f"comment_{number}": post.get("comment")}
    return {name: value for name, value in profile.items() if value not in (None, "")}
