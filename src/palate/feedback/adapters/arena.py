"""Chatbot Arena with judges: two conversations side by side and who won.

Hub id lmsys/chatbot_arena_conversations. Source: Zheng et al. (2023).
"""

from collections.abc import Iterator
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, talk

__all__ = ["Arena"]


class Arena(Adapter):
    """Chatbot Arena; the judge is the user, both kinds of tie are ties."""

    name = "arena"
    title = "Chatbot Arena"
    ids = (r"lmsys/chatbot_arena_conversations",)
    tables = ((Table("", (("judge",), ("conversation_a",), ("conversation_b",), ("winner",))),),)
    marks = (frozenset(("judge", "conversation_a", "conversation_b", "winner", "question_id", "tstamp")),)

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one comparison."""
        yield {
            "id": row.get("question_id"),
            "user": row["judge"],
            "response_a": talk(row["conversation_a"]),
            "response_b": talk(row["conversation_b"]),
            "winner": row["winner"],
            "time": row.get("tstamp"),
        }
