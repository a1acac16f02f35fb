"""Polis: statements that participants agree with, disagree with or pass on.

The export of a conversation: ``comments.csv``, ``votes.csv`` and, for the question that was asked,
``summary.csv``; file names may begin with the name of the conversation.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from palate.core import DataError
from palate.feedback.adapters.base import Adapter, Place, Row, Table, pick
from palate.feedback.report import BadRow

__all__ = ["Polis"]

QUESTION = "Do you agree with the following statement?"
SUMMARY = Table("summary", (("topic",),), True)
COMMENTS = Table("comments", (("comment-id", "comment_id", "tid"), ("comment-body", "comment_body", "txt")))
VOTES = Table(
    "votes",
    (
        ("comment-id", "comment_id", "tid"),
        ("voter-id", "voter_id", "participant-id", "participant_id", "pid"),
        ("vote",),
    ),
)


class Polis(Adapter):
    """A Polis conversation; a vote is a rating: 1 agree, 0 pass, -1 disagree."""

    name = "polis"
    title = "Polis"
    tables = ((SUMMARY,), (COMMENTS,), (VOTES,))
    marks = (frozenset(("comment-id", "voter-id", "vote")),)

    def __init__(self, options: Mapping[str, str], notes: list[str], left_out: Counter[str]) -> None:
        self.statements: dict[str, str] = {}
        self.question = QUESTION
        super().__init__(options, notes, left_out)

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Take note of a statement, or yield a vote."""
        if place.table == "summary":
            self._ask(row)
        elif place.table == "comments":
            self.statements[_key(row)] = str(pick(row, "comment-body", "comment_body", "txt") or "")
        else:
            if not self.statements:
                raise DataError(
                    f"{place.file}: votes without the statements: give the folder that holds "
                    "comments.csv too, as polis:FOLDER"
                )
            if _key(row) not in self.statements:
                raise BadRow("missing field", "response", f"there is no comment {_key(row)}")
            yield {
                "user": pick(row, *VOTES.needs[1]),
                "prompt": self.question,
                "response": self.statements[_key(row)],
                "rating": row["vote"],
                "time": pick(row, "timestamp"),
            }

    def _ask(self, row: Row) -> None:
        """Take the question from the summary, whose header is ``topic`` and the topic itself."""
        header = [name for name in row if name != "topic"]
        if self.question == QUESTION and header:
            self.question = header[0]
            self.notes.append(f"the question is {self.question!r}")


def _key(row: Row) -> str:
    """Return a statement's number as text, so that 3 and "3" are one."""
    value = pick(row, "comment-id", "comment_id", "tid")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
