"""What is left, with roles and splits, and each pair as a row in the published columns.

The columns are those of PersonalRewardBench's release where it says the same thing:

    conversation_id              of the user's conversation that the pair belongs to
    user_id
    context                      messages up to the answers
    chosen, rejected             a message each
    chosen_score, rejected_score how the user rated them; null without ratings
    turns                        messages of the user in the context
    dataset                      what was curated
    split                        train, val, test: a user's pairs in time order
    flip                         whether the chosen answer stands first in ``prediction_``, drawn by the seed
    personalizable_query         what the personalizable filter said; null where it could not be read
    query_reasoning              its reason
    prediction_J, reasoning_J    what judge J said, First or Second; null where it could not be read
    prediction_flip_J, reasoning_flip_J      the same in the other order
    agreement                    share of the judgments that could be read that name the chosen answer

and ``id``, ``time``, ``reason`` and ``profile`` (JSON, with a user's first pair), which the release has not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from palate.core import Population
from palate.curate.decide import Decisions
from palate.feedback import context_parts, split_new_users
from palate.feedback.keys import dialogue_of_rows
from palate.judge import Opinion
from palate.models.llm.wire import Reply

__all__ = ["PARTS", "Result", "finish"]

PARTS = ("train", "val", "test")
"""Values of the column ``split``: context to learn from, context to choose by, targets."""


@dataclass(frozen=True, eq=False)
class Result:
    """What is left of a table.

    Attributes:
        made: The decisions.
        people: The pairs that stay, with roles and splits.
        row: int64 [pairs], their rows in the table.
        part: int8 [pairs], a place in ``PARTS``.
        first: bool [rows of the table], whether the chosen answer stands first in ``prediction_``.
        toward: float64 [rows of the table, judges, 2], log-odds of the chosen answer, by order; NaN where
            a judgment could not be read or was not asked for.
    """

    made: Decisions
    people: Population
    row: NDArray[np.int64]
    part: NDArray[np.int8]
    first: NDArray[np.bool_]
    toward: NDArray[np.float64]

    def agreement(self, row: int) -> float | None:
        """Return the share of readable judgments about a row of the table that name the chosen answer."""
        said = self.toward[row][~np.isnan(self.toward[row])]
        return float((said > 0).mean()) if len(said) else None

    def opinions(self, row: int, judge: int) -> tuple[Opinion, ...]:
        """Return what a judge said about a row of the table: with the chosen answer first, then second."""
        questions = self.made.votes_of
        if questions is None or questions.of_row[row] < 0:
            return ()
        said = self.made.votes.opinions[judge][int(questions.of_row[row])]
        return said[::-1] if questions.swapped[row] else said

    def rows(self, role: int) -> Iterator[dict[str, Any]]:
        """Yield the pairs of the users of a role in the published columns, users in order, in time order."""
        talk = self._conversations()
        told: set[int] = set()
        for place in np.flatnonzero(self.people.role[self.people.row_user] == role).tolist():
            user = int(self.people.row_user[place])
            made = self._row(place, talk[place])
            name = str(self.people.users[user])
            profile = self.people.profiles.get(name) if user not in told else None
            told.add(user)
            made["profile"] = orjson.dumps(dict(profile)).decode() if profile else None
            yield made

    def _conversations(self) -> list[str]:
        """Return a name for each pair's conversation: one a user and dialogue."""
        if not self.people.n_rows:
            return []
        both = self.people.row_user * (len(self.people.corpus.conversations) + 1)
        _, first, of = np.unique(both + dialogue_of_rows(self.people), return_index=True, return_inverse=True)
        number = np.argsort(np.argsort(first))
        return [f"c{n + 1}" for n in number[of].tolist()]

    def _row(self, place: int, talk: str) -> dict[str, Any]:
        """Return a pair in the published columns, all but the profile."""
        row, people, table = int(self.row[place]), self.people, self.made.table
        context, (chosen, rejected) = table.conversation(row), table.answers(row)
        name, time = str(people.ids[place]), float(people.times[place])
        return {
            "conversation_id": talk,
            "user_id": str(people.users[people.row_user[place]]),
            "context": [{"role": turn.role, "content": turn.content} for turn in context],
            "chosen": {"role": "assistant", "content": chosen},
            "rejected": {"role": "assistant", "content": rejected},
            "chosen_score": _number(table.grades[row, 0]),
            "rejected_score": _number(table.grades[row, 1]),
            "turns": sum(turn.role == "user" for turn in context),
            "dataset": table.adapter or table.source or "feedback",
            "split": PARTS[self.part[place]],
            "flip": bool(self.first[row]),
            **self._taste(row),
            **self._predictions(row),
            "agreement": self.agreement(row),
            "id": name,
            "time": _number(time),
            "reason": people.reasons.get(name),
        }

    def _taste(self, row: int) -> dict[str, Any]:
        questions = self.made.taste_of
        if questions is None:
            return {}
        answer = self.made.tastes[int(questions.of_row[row])]
        read = answer.value if isinstance(answer, Reply) else None
        return {
            "personalizable_query": None if read is None else read.yes,
            "query_reasoning": None if read is None else read.reason,
        }

    def _predictions(self, row: int) -> dict[str, Any]:
        """Return what every judge said of a pair, in the order of ``flip`` and in the other."""
        told: dict[str, Any] = {}
        for judge, name in enumerate(self.made.votes.names):
            said = self.opinions(row, judge)
            for order in (0, 1):
                chosen_first = bool(self.first[row]) != bool(order)
                both = self.made.votes.asked[judge, 1]
                toward = self.toward[row, judge, 1 if both and not chosen_first else 0]
                opinion = said[0 if chosen_first else 1] if len(said) == 2 else None
                end = "flip_" if order else ""
                told[f"prediction_{end}{name}"] = _side(toward, chosen_first)
                told[f"reasoning_{end}{name}"] = (opinion.reason or None) if opinion else None
        return told


def finish(made: Decisions) -> Result:
    """Split what is left: users by their roles, each user's pairs in time order."""
    table, recipe = made.table, made.recipe
    kept = made.kept
    whole = replace(table.people.take_rows(kept), role=made.role)
    stays = np.diff(whole.offsets) > 0
    people = whole.take_users(stays)
    people = split_new_users(people, recipe.seed, recipe.fractions, target=recipe.target)
    late = context_parts(people, recipe.validation / (1 - recipe.target))
    part = np.where(people.split == 1, 2, late).astype(np.int8)
    rng = np.random.default_rng((recipe.seed, 1))
    first = rng.random(len(kept)) < 0.5
    return Result(made, people, np.flatnonzero(kept), part, first, _toward(made))


def _toward(made: Decisions) -> NDArray[np.float64]:
    """Return float64 [rows, judges, 2]: log-odds of the chosen answer; NaN where there is no judgment."""
    n, questions = made.table.people.n_rows, made.votes_of
    out = np.full((n, len(made.votes.names), 2), np.nan)
    if questions is not None:
        rows = np.flatnonzero(questions.of_row >= 0)
        found = made.votes.for_chosen(questions, rows)
        out[rows] = np.where(made.votes.asked, found, np.nan)
    return out


def _side(toward: float, chosen_first: bool) -> str | None:
    """Return which answer is named, First or Second; None where none is."""
    if toward != toward or toward == 0:
        return None
    return "First" if (toward > 0) == chosen_first else "Second"


def _number(value: float) -> float | None:
    return None if value != value else float(value)
