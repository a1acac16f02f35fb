"""Reddit TL;DR with workers: two summaries of a post and which one the worker chose.

Hub id openai/summarize_from_feedback, config comparisons. Source: Stiennon et al. (2020).
"""

from collections.abc import Iterator
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, pick, records
from palate.feedback.report import BadRow
from palate.feedback.values import decoded

__all__ = ["Tldr"]


class Tldr(Adapter):
    """Comparisons of summaries; the prompt is the title and the post, or the article."""

    name = "tldr"
    title = "Reddit TL;DR"
    ids = (r"openai/summarize_from_feedback",)
    config = "comparisons"
    tables = ((Table("", (("info", "post", "info.post"), ("summaries",), ("choice",), ("worker",))),),)
    marks = (frozenset(("info", "summaries", "choice", "worker")),)

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one comparison."""
        info = decoded(row.get("info"))
        if not isinstance(info, dict):
            info = {name.removeprefix("info."): value for name, value in row.items()}
        text = pick(info, "post", "article")
        if text is None:
            raise BadRow("missing field", "info", "info has no post and no article")
        title = pick(info, "title") if info.get("post") else None
        summaries = row["summaries"]
        if not (isinstance(summaries, list) and all(isinstance(s, str) for s in summaries)):
            summaries = [summary.get("text") for summary in records(summaries)]
        yield {
            "user": row["worker"],
            "prompt": f"{title}\n\n{text}" if title else text,
            "responses": [s.strip() if isinstance(s, str) else s for s in summaries],
            "chosen": row["choice"],
        }
