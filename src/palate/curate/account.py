"""Every pair of the input with every decision made about it, one JSON object a line.

    {"id", "user", "kept", "step", "why", "role", "split", "about": {"prompt", "chosen", "rejected"},
     "decisions": [{"step": "pairs", "kept": true, ...}, ...]}

``about`` is the beginning of the texts, to recognise the pair by. A decision has what it rests on: ratings
and their gap, the user's number of pairs, the model's answer and reason, each judge's log-odds for the chosen
answer in each order; and the key under which a call is kept. Rows that reading set aside come first, up to
the first 1,000, with file, line and why.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from palate.core import ROLES
from palate.curate.decide import Decisions
from palate.curate.recipe import CLOSE, FEW, FEW_LEFT, REASONS, STEPS
from palate.curate.result import PARTS, Result
from palate.judge import Opinion
from palate.models.llm.wire import Fault

__all__ = ["account", "decisions_of"]

MOST = 160  # characters of a text in ``about``


def account(result: Result) -> Iterator[dict[str, Any]]:
    """Yield every row that was set aside, then every pair, users in order and in time order."""
    table = result.made.table
    for aside in table.report.details if table.report else ():
        yield {
            "id": None,
            "user": None,
            "kept": False,
            "step": "read",
            "why": f"{aside.kind}: {aside.why}",
            "role": None,
            "split": None,
            "about": {"file": aside.file, "line": aside.line, "field": aside.field},
            "decisions": [],
        }
    place = np.full(table.people.n_rows, -1, np.int64)
    place[result.row] = np.arange(len(result.row))
    for row in range(table.people.n_rows):
        yield _line(result, row, int(place[row]))


def _line(result: Result, row: int, place: int) -> dict[str, Any]:
    """Return a pair with what was decided; ``place`` is its place among those that stay, or -1."""
    made, people = result.made, result.made.table.people
    user, reason = int(people.row_user[row]), int(made.reason[row])
    role = int(made.role[user])
    decisions = list(decisions_of(result, row))
    talk, (chosen, rejected) = made.table.conversation(row), made.table.answers(row)
    return {
        "id": str(people.ids[row]),
        "user": str(people.users[user]),
        "kept": reason < 0,
        "step": None if reason < 0 else REASONS[reason].step,
        "why": None if reason < 0 else _why(made, row, user, reason),
        "role": ROLES[role] if role >= 0 else None,
        "split": PARTS[result.part[place]] if place >= 0 else None,
        "about": {
            "prompt": _short(talk[-1].content if talk else ""),
            "chosen": _short(chosen),
            "rejected": _short(rejected),
        },
        "decisions": decisions,
    }


def decisions_of(result: Result, row: int) -> Iterator[dict[str, Any]]:
    """Yield the decisions about a pair, in the order in which they were made."""
    made, table = result.made, result.made.table
    reason, user = int(made.reason[row]), int(table.people.row_user[row])
    fell = REASONS[reason].step if reason >= 0 else None
    for step in STEPS:
        told = {"step": step, "kept": step != fell}
        if step == "pairs":
            yield told | _ratings(made, row)
        elif step == "users":
            yield told | {"pairs": int(made.had[user]), "fewest": made.recipe.min_pairs}
        elif step == "personalizable" and made.taste_of is not None and made.taste_of.of_row[row] >= 0:
            yield told | _taste(made, row)
        elif step == "consensus" and made.votes_of is not None and made.votes_of.of_row[row] >= 0:
            yield told | _consensus(result, row)
        elif step == "users left":
            yield told | {"pairs": int(made.left[user]), "fewest": made.recipe.least}
        if step == fell:
            return


def _ratings(made: Decisions, row: int) -> dict[str, Any]:
    """Return the ratings that a pair was made of, if any."""
    chosen, rejected = made.table.grades[row].tolist()
    if chosen != chosen:
        return {}
    gap = float(made.table.gap[row])
    return {"ratings": [chosen, rejected], "gap": round(gap, 6), "least": made.recipe.min_gap}


def _taste(made: Decisions, row: int) -> dict[str, Any]:
    if made.taste_of is None:
        return {}
    answer = made.tastes[int(made.taste_of.of_row[row])]
    told = {"lm": made.filter_lm, "key": answer.key}
    if isinstance(answer, Fault):
        return told | {"answer": None, "fault": {"kind": answer.kind, "message": answer.message}}
    return told | {"answer": "yes" if answer.value.yes else "no", "reason": answer.value.reason}


def _consensus(result: Result, row: int) -> dict[str, Any]:
    """Return the votes of every judge: log-odds of the chosen answer, with it first and with it second."""
    votes, toward = result.made.votes, result.toward[row]
    judges = []
    for judge, name in enumerate(votes.names):
        said = zip(result.opinions(row, judge), toward[judge].tolist(), strict=False)
        judges.append({"judge": name, "votes": [_vote(opinion, value) for opinion, value in said]})
    read = toward[~np.isnan(toward)]
    return {
        "agree": int((read > 0).sum()),
        "disagree": int((read < 0).sum()),
        "of": int(votes.asked.sum()),
        "judges": judges,
    }


def _vote(opinion: Opinion, toward: float) -> dict[str, Any]:
    told: dict[str, Any] = {"key": opinion.key} if opinion.key else {}
    if opinion.fault is not None:
        return told | {
            "for_chosen": None,
            "fault": {"kind": opinion.fault.kind, "message": opinion.fault.message},
        }
    return told | {"for_chosen": round(toward, 6), **({"reason": opinion.reason} if opinion.reason else {})}


def _why(made: Decisions, row: int, user: int, reason: int) -> str:
    """Return why a pair goes, with the figures seen."""
    words = REASONS[reason].words
    if reason == CLOSE:
        chosen, rejected = made.table.grades[row].tolist()
        low, high = made.table.scale or (0.0, 0.0)
        return (
            f"{words}: {chosen:g} and {rejected:g} are {made.table.gap[row]:.1%} of the scale {low:g} to "
            f"{high:g} apart, under {made.recipe.min_gap:.1%}"
        )
    if reason == FEW:
        return f"{words}: {made.had[user]}, expected {made.recipe.min_pairs} or more"
    if reason == FEW_LEFT:
        return f"{words}: {made.left[user]}, expected {made.recipe.least} or more"
    return words


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= MOST else one[: MOST - 1] + "…"
