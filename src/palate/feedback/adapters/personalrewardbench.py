"""PersonalRewardBench: the pairs of PRISM and Chatbot Arena that "SynthesizeMe!" tests on (its section 4).

Hub ids MichaelR207/prism_personalized_* and MichaelR207/chatbot_arena_personalized_*. The data set's splits
are splits of users. The column ``split`` splits the pairs of each user in time order: train (first half) and
val (next 20 %) are the context, test the targets. The release has more columns, which are not used: how the
two answers were rated (chosen_score, rejected_score), and what its filters said (personalizable_query,
prediction_JUDGE, agreement and so on). It has no ids and no times; rows are in time order. Where there is an
id, a time, a reason or a profile, as in the files that ``palate.curate`` writes, they are read.
"""

from collections.abc import Iterator
from typing import Any

from palate.feedback.adapters.base import Adapter, Place, Row, Table, pick, reply, talk

__all__ = ["PersonalRewardBench"]

PARTS = {"train": "context", "val": "context", "validation": "context", "test": "target"}
BESIDE = ("id", "time", "reason", "profile")


class PersonalRewardBench(Adapter):
    """PersonalRewardBench, in the columns of the release."""

    name = "personalrewardbench"
    title = "PersonalRewardBench"
    ids = (r"michaelr207/(prism|chatbot_arena)_personalized\w*", r".*/personalrewardbench.*")
    tables = (
        (
            Table(
                "",
                (
                    ("user_id", "user"),
                    ("context", "conversation", "prompt"),
                    ("chosen", "chosen_completion"),
                    ("rejected", "rejected_completion"),
                ),
            ),
        ),
    )
    marks = (frozenset(("user_id", "context", "chosen", "rejected", "split")),)
    uses_splits = True

    def start(self) -> None:
        """Tell what the splits become."""
        self.notes.append(
            "the data set's splits are the users' roles; in a user's rows, split train and val are the "
            "context, test the targets"
        )

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield one pair."""
        made = {
            "user": pick(row, "user_id", "user"),
            "conversation": talk(pick(row, "context", "conversation", "prompt")),
            "chosen": reply(pick(row, "chosen", "chosen_completion")),
            "rejected": reply(pick(row, "rejected", "rejected_completion")),
        }
        made |= {name: row[name] for name in BESIDE if row.get(name) not in (None, "")}
        part = row.get("split")
        if part is not None:
            made["split"] = PARTS.get(str(part).lower(), part)
        if place.split:
            made["user_split"] = place.split
        yield made
