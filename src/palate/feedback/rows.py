"""One raw row to one parsed row: a choice, ratings, or a user without either.

    pair      user, prompt, chosen, rejected             texts, or message lists as in TRL
    nway      user, prompt, responses, chosen            chosen: position from 0, text, or null / "tie"
    ab        user, prompt, response_a, response_b, winner
    rating    user, prompt, response, rating             numbers, true / false, up / down, agree / disagree
    ratings   user, prompt, responses, ratings           two lists of one length
    user      user, profile, user_split                  a user without a choice

The prompt is a text, or the conversation so far as a list of ``{"role", "content"}``. A value that
cannot be used raises :class:`~palate.feedback.report.BadRow`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from palate.core import Conversation, Turn
from palate.feedback.fields import KINDS_OF_ROWS, Layout
from palate.feedback.report import BadRow, shorten
from palate.feedback.times import NO_TIME, Time, parse_time
from palate.feedback.values import (
    after_prefix,
    as_grade,
    as_name,
    as_position,
    as_responses,
    as_side,
    as_text,
    as_truth,
    as_turns,
    decoded,
    settle,
)

__all__ = ["NO_EXTRAS", "Choice", "Extras", "Known", "Parsed", "Rated", "parse"]

Row = Mapping[str, Any]
ROLE_WORDS = {
    **{"train": 0, "training": 0},
    **{"val": 1, "valid": 1, "validation": 1, "dev": 1},
    **{"test": 2, "testing": 2},
}
SPLIT_WORDS = {"context": 0, "history": 0, "target": 1}


class Extras(NamedTuple):
    """What may stand beside any row."""

    id: str = ""
    time: Time = NO_TIME
    split: int = -1
    role: int = -1
    reason: str | None = None
    profile: Mapping[str, str] | None = None
    source: str | None = None


NO_EXTRAS = Extras()


class Choice(NamedTuple):
    """A choice between responses; ``chosen`` is -1 for a tie, ``shown`` says that positions are as shown."""

    user: str
    conversation: str | Conversation
    responses: tuple[str, ...]
    chosen: int
    shown: bool
    extras: Extras


class Rated(NamedTuple):
    """Responses to one conversation, each with the user's rating."""

    user: str
    conversation: str | Conversation
    responses: tuple[str, ...]
    ratings: tuple[float, ...]
    extras: Extras


class Known(NamedTuple):
    """A user without feedback."""

    user: str
    extras: Extras


Parsed = Choice | Rated | Known


def parse(row: Row, layout: Layout) -> Parsed:
    """Return a parsed row.

    Raises:
        BadRow: Saying the field and why.
    """
    if not layout.kinds:
        raise _no_kind(layout)
    extras = _extras(row, layout) if layout.optional or layout.profile else NO_EXTRAS
    return PARSERS[layout.kind_of(row).name](row, layout, extras)


# ---- the kinds ------------------------------------------------------------------------------------


def _pair(row: Row, layout: Layout, extras: Extras) -> Choice:
    at = layout.at
    user, won, lost = row[at["user"]], row[at["chosen"]], row[at["rejected"]]
    if layout.flat and won != lost:  # the usual row, without a call a value
        talk = row[at["prompt"]]
        if (
            type(user) is type(talk) is type(won) is type(lost) is str
            and user.strip()
            and talk.strip()
            and won.strip()
            and lost.strip()
        ):
            return Choice(user, talk, (won, lost), 0, False, extras)
    user = as_name(user)
    prefix: Conversation = ()
    if type(won) is not str and type(lost) is not str and isinstance(won, list) and isinstance(lost, list):
        prefix, won, lost = after_prefix(as_turns(won, "chosen"), as_turns(lost, "rejected"))
    won, lost = as_text(won, "chosen"), as_text(lost, "rejected")
    talk = settle(prefix) if prefix else _conversation(row, layout, (won, lost))
    if won == lost:
        raise BadRow(
            "chosen equals rejected", "rejected", "chosen and rejected are the same text; drop the row"
        )
    return Choice(user, talk, (won, lost), -1 if _is_tie(row, layout) else 0, False, extras)


def _nway(row: Row, layout: Layout, extras: Extras) -> Choice:
    user = as_name(row[layout.at["user"]])
    responses = as_responses(row[layout.at["responses"]])
    talk = _conversation(row, layout, responses)
    if len(set(responses)) < 2:
        raise BadRow("one response", "responses", f"{len(responses)} response(s), of which no two differ")
    if _is_tie(row, layout):
        return Choice(user, talk, responses, -1, True, extras)
    if "chosen" not in layout.at:
        raise BadRow("missing field", "chosen", "no choice and no tie")
    chosen = as_position(row[layout.at["chosen"]], responses)
    if chosen >= 0 and responses.count(responses[chosen]) > 1:
        raise BadRow("chosen equals rejected", "responses", "the chosen text is on offer twice; drop the row")
    return Choice(user, talk, responses, chosen, True, extras)


def _ab(row: Row, layout: Layout, extras: Extras) -> Choice:
    at = layout.at
    user = as_name(row[at["user"]])
    a, b = row[at["response_a"]], row[at["response_b"]]
    prefix: Conversation = ()
    if isinstance(a, list) and isinstance(b, list):
        prefix, a, b = after_prefix(as_turns(a, "response_a"), as_turns(b, "response_b"))
    a, b = as_text(a, "response_a"), as_text(b, "response_b")
    talk = settle(prefix) if prefix else _conversation(row, layout, (a, b))
    if a == b:
        raise BadRow("chosen equals rejected", "response_b", "both responses are the same text; drop the row")
    chosen = -1 if _is_tie(row, layout) else as_side(row.get(at.get("winner", "")), at)
    return Choice(user, talk, (a, b), chosen, True, extras)


def _rating(row: Row, layout: Layout, extras: Extras) -> Rated:
    at = layout.at
    user, response = as_name(row[at["user"]]), as_text(row[at["response"]], "response")
    talk = _conversation(row, layout, (response,))
    return Rated(user, talk, (response,), (as_grade(row[at["rating"]]),), extras)


def _ratings(row: Row, layout: Layout, extras: Extras) -> Rated:
    at = layout.at
    user, responses = as_name(row[at["user"]]), as_responses(row[at["responses"]])
    talk = _conversation(row, layout, responses)
    grades = decoded(row[at["ratings"]])
    if not isinstance(grades, list) or len(grades) != len(responses):
        raise BadRow(
            "wrong type", "ratings", f"{shorten(grades)}: expected {len(responses)} ratings, one a response"
        )
    return Rated(user, talk, responses, tuple(map(as_grade, grades)), extras)


def _user(row: Row, layout: Layout, extras: Extras) -> Known:
    return Known(as_name(row[layout.at["user"]]), extras)


PARSERS: dict[str, Callable[[Row, Layout, Extras], Parsed]] = {
    "pair": _pair,
    "nway": _nway,
    "ab": _ab,
    "rating": _rating,
    "ratings": _ratings,
    "user": _user,
}


def _no_kind(layout: Layout) -> BadRow:
    """Return what is missing from the kind of row that these columns are nearest to."""
    pair = next(kind for kind in KINDS_OF_ROWS if kind.name == "pair")
    nearest = min((pair, *KINDS_OF_ROWS), key=lambda kind: sum(need not in layout.at for need in kind.needs))
    if all(need not in layout.at for need in nearest.needs if need != "user"):
        nearest = pair
    missing = [need for need in nearest.needs if need not in layout.at]
    columns = ", ".join(layout.columns[:20]) or "none"
    return BadRow(
        "missing field",
        missing[0],
        f"no column for {' and '.join(missing)}; there are {columns}: rename one, or map it with fields",
    )


# ---- what kinds share ------------------------------------------------------------------------------


def _conversation(row: Row, layout: Layout, responses: tuple[str, ...]) -> str | Conversation:
    """Return the conversation so far: a text for one user turn, else turns."""
    at = layout.at
    prompt = row[at["prompt"]] if "prompt" in at else None
    earlier = decoded(row[at["conversation"]]) if "conversation" in at else None
    if earlier is None or earlier == "":
        if type(prompt) is str:
            return as_text(prompt, "prompt")
        earlier, prompt = prompt, None
    if earlier is None:
        raise BadRow("missing field", "prompt", "no prompt or conversation; map one with fields, or give []")
    turns = (
        (Turn("user", earlier),)
        if isinstance(earlier, str)
        else as_turns(earlier, "conversation", answered=False)
    )
    if turns and turns[-1].role == "assistant" and turns[-1].content in responses:
        turns = turns[:-1]
    if isinstance(prompt, str) and prompt.strip() and (not turns or turns[-1].content != prompt):
        turns = (*turns, Turn("user", prompt))
    return settle(turns)


def _is_tie(row: Row, layout: Layout) -> bool:
    column = layout.at.get("tie")
    return column is not None and as_truth(row[column], "tie")


def _extras(row: Row, layout: Layout) -> Extras:
    found: dict[str, Any] = {}
    for field, column in layout.optional:
        value = row[column]
        if value is not None and value != "":
            name, reader = EXTRAS[field]
            found[name] = reader(value)
    if layout.profile:
        entries = {name: row[column] for name, column in layout.profile.items()}
        found["profile"] = {**found.get("profile", {}), **_profile(entries)}
    return Extras(**found) if found else NO_EXTRAS


def _label(value: Any) -> str:
    if isinstance(value, (str, int)):
        return str(value).strip()
    raise BadRow("wrong type", "id", f"{shorten(value)}: expected a text or a whole number")


def _said(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    raise BadRow("wrong type", "reason", f"{shorten(value)}: expected the user's words as a text")


def _word(value: Any, field: str, known: Mapping[str, int]) -> int:
    code = known.get(value.strip().lower()) if isinstance(value, str) else None
    if code is None:
        raise BadRow(
            "bad role",
            field,
            f"{shorten(value)}: expected {', '.join(known)}; rename the column, or switch it off with "
            f"fields {field}= (an empty name)",
        )
    return code


def _profile(value: Any) -> dict[str, str]:
    value = decoded(value)
    if not isinstance(value, dict):
        raise BadRow("wrong type", "profile", f"{shorten(value)}: expected an object of names and values")
    return {str(name): _plain(v) for name, v in value.items() if v is not None and v != ""}


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value, default=str).decode()


EXTRAS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "id": ("id", _label),
    "time": ("time", parse_time),
    "split": ("split", lambda value: _word(value, "split", SPLIT_WORDS)),
    "user_split": ("role", lambda value: _word(value, "user_split", ROLE_WORDS)),
    "reason": ("reason", _said),
    "profile": ("profile", _profile),
    "source": ("source", str),
}
"""Optional field to its place in ``Extras`` and its reader."""
