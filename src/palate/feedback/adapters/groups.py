"""Data sets without people, read with a group in the user's place: what was asked for, or the forum.

HH-RLHF (Anthropic/hh-rlhf): helpful and harmless. SHP (stanfordnlp/SHP): the forum. PKU-SafeRLHF, the pairs
of BeaverTails (PKU-Alignment/PKU-SafeRLHF): better and safer.
"""

import re
from collections.abc import Iterator
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, side
from palate.feedback.report import BadRow, shorten

__all__ = ["HH", "SHP", "SafeRLHF"]

SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class HH(Adapter):
    """HH-RLHF; the user is the part, helpful or harmless, that the file's folder names."""

    name = "hh"
    title = "HH-RLHF"
    ids = (r"anthropic/hh-rlhf",)
    tables = ((Table("", (("chosen",), ("rejected",))),),)

    def start(self) -> None:
        """Tell who stands for the user."""
        self.notes.append("no people: the user is helpful or harmless by the folder's name, else everyone")

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one pair of transcripts."""
        found = re.findall(r"helpful|harmless", place.file.lower())
        yield {
            "user": found[-1] if found else "everyone",
            "chosen": _transcript(row["chosen"]),
            "rejected": _transcript(row["rejected"]),
        }


def _transcript(text: Any) -> list[dict[str, str]]:
    """Return the turns of a transcript of Human and Assistant."""
    parts = re.split(r"\n\n(Human|Assistant):", text) if isinstance(text, str) else []
    if len(parts) < 3:
        raise BadRow("wrong type", "chosen", f"{shorten(text)}: expected 'Human: ... Assistant: ...'")
    turns = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": SPEAKERS[who], "content": said.strip()} for who, said in turns]


class SHP(Adapter):
    """Stanford Human Preferences; the user is the forum."""

    name = "shp"
    title = "SHP"
    ids = (r"stanfordnlp/shp(-2)?",)
    tables = ((Table("", (("domain",), ("history",), ("human_ref_A",), ("human_ref_B",), ("labels",))),),)
    marks = (frozenset(("domain", "history", "human_ref_A", "human_ref_B", "labels")),)

    def start(self) -> None:
        """Tell who stands for the user."""
        self.notes.append("no people: the user is the forum")

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one comparison; label 1 is the first response."""
        yield {
            "user": re.sub(r"_(train|validation|test)$", "", str(row["domain"])),
            "prompt": row["history"],
            "response_a": row["human_ref_A"],
            "response_b": row["human_ref_B"],
            "winner": side(row["labels"], ("1",), ("0",)),
        }


class SafeRLHF(Adapter):
    """PKU-SafeRLHF; two users, one who chose by helpfulness and one by safety."""

    name = "saferlhf"
    title = "PKU-SafeRLHF"
    ids = (r"pku-alignment/pku-saferlhf\S*",)
    tables = (
        (
            Table(
                "",
                (
                    *(("prompt",), ("response_0",), ("response_1",)),
                    *(("better_response_id",), ("safer_response_id",)),
                ),
            ),
        ),
    )
    marks = (frozenset(("prompt", "response_0", "response_1", "better_response_id", "safer_response_id")),)

    def start(self) -> None:
        """Tell who stands for the users."""
        self.notes.append("no people: the users are better (more helpful) and safer")

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one comparison for each of the two."""
        for user in ("better", "safer"):
            yield {
                "user": user,
                "prompt": row["prompt"],
                "response_a": row["response_0"],
                "response_b": row["response_1"],
                "winner": side(row[f"{user}_response_id"], ("0",), ("1",)),
            }
