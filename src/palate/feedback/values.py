"""Raw values to the values of a row; each raises ``BadRow`` with the value seen and what was expected."""

import math
from collections.abc import Mapping
from typing import Any

import orjson

from palate.core import Conversation, Turn
from palate.feedback.report import BadRow, shorten

__all__ = [
    "after_prefix",
    "as_grade",
    "as_name",
    "as_position",
    "as_responses",
    "as_side",
    "as_text",
    "as_truth",
    "as_turns",
    "decoded",
    "settle",
]

TIE_WORDS = {"tie", "tie (bothbad)", "both", "bothbad", "both_bad", "draw", "equal", "same", "neither"}
VOTE_WORDS = {
    **dict.fromkeys(("agree", "up", "like", "yes", "thumbs_up", "upvote", "positive"), 1.0),
    **dict.fromkeys(("disagree", "down", "dislike", "no", "thumbs_down", "downvote", "negative"), -1.0),
    **dict.fromkeys(("pass", "neutral", "unsure"), 0.0),
    **{"true": 1.0, "false": 0.0},
}


def as_name(value: Any) -> str:
    """Return a user's name; whole numbers are names too."""
    if type(value) is not str:
        if value is None:
            raise BadRow("missing field", "user", "the user is null; every choice needs whose it is")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadRow("wrong type", "user", f"{shorten(value)}: expected a text or a whole number")
        if value != value or value in (math.inf, -math.inf) or value != int(value):
            raise BadRow("wrong type", "user", f"{shorten(value)}: expected a text or a whole number")
        return str(int(value))
    if not value or value.isspace():
        raise BadRow("empty text", "user", "the user is empty; every choice needs whose it is")
    return value


def as_text(value: Any, field: str) -> str:
    """Return a text that is not blank; of a message, or of messages, the text of the last."""
    if type(value) is str:
        if not value or value.isspace():
            raise BadRow("empty text", field, f"{field} is empty: {shorten(value)}")
        return value
    if value is None:
        raise BadRow("missing field", field, f"{field} is null; expected a text")
    if isinstance(value, dict):
        for key in ("content", "text", "response"):
            if isinstance(value.get(key), str):
                return as_text(value[key], field)
    if isinstance(value, list):
        return as_text(as_turns(value, field)[-1].content if value else "", field)
    raise BadRow("wrong type", field, f"{shorten(value)}: expected a text")


def as_responses(value: Any) -> tuple[str, ...]:
    """Return the texts on offer."""
    value = decoded(value)
    if not isinstance(value, (list, tuple)):
        raise BadRow("wrong type", "responses", f"{shorten(value)}: expected a list of texts")
    if not value:
        raise BadRow("one response", "responses", "the list of responses is empty")
    return tuple(as_text(item, "responses") for item in value)


def as_position(value: Any, responses: tuple[str, ...]) -> int:
    """Return the position of the chosen response, -1 for a tie."""
    if isinstance(value, (dict, list)):
        value = as_text(value, "chosen")
    if value is None or (isinstance(value, str) and value not in responses and value.lower() == "tie"):
        return -1
    if isinstance(value, str) and value in responses:
        return responses.index(value)
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(responses):
            return value
        last = len(responses) - 1
        raise BadRow("chosen not among responses", "chosen", f"position {value}: expected 0 to {last}")
    raise BadRow(
        "chosen not among responses",
        "chosen",
        f"{shorten(value)}: expected one of the responses, its position from 0, or null for a tie",
    )


def as_side(value: Any, at: Mapping[str, str]) -> int:
    """Return 0 or 1: which of two columns won, -1 for a tie."""
    a, b = at["response_a"], at["response_b"]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    word = "" if value is None or isinstance(value, bool) else str(value).strip().lower()
    if word in TIE_WORDS:
        return -1
    tail = word.rsplit("_", 1)[-1].rsplit(" ", 1)[-1]
    ends = a[-1].lower(), b[-1].lower()
    for position, names in enumerate(({ends[0], "a", a.lower()}, {ends[1], "b", b.lower()})):
        if word in names or tail in names or (ends == ("a", "b") and tail == str(position + 1)):
            return position
    raise BadRow(
        "bad winner",
        "winner",
        f"{shorten(value)}: expected {ends[0]!r}, {ends[1]!r}, {a!r}, {b!r} or 'tie'",
    )


def as_grade(value: Any) -> float:
    """Return a rating as a finite number; votes in words are 1, 0 and -1, truth values 1 and 0."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in VOTE_WORDS:
            return VOTE_WORDS[word]
        try:
            value = float(word)
        except ValueError:
            raise BadRow(
                "bad rating",
                "rating",
                f"{shorten(value)}: expected a number, true / false, up / down or agree / disagree",
            ) from None
    try:
        grade = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRow("bad rating", "rating", f"{shorten(value)}: expected a number or a vote") from None
    if not math.isfinite(grade):
        raise BadRow("bad rating", "rating", f"{grade}: expected a finite number")
    return grade


def as_truth(value: Any, field: str) -> bool:
    """Return a truth value; null and empty are false."""
    if value is None or isinstance(value, bool):
        return bool(value)
    word = str(value).strip().lower()
    if word in ("1", "1.0", "true", "yes", "tie"):
        return True
    if word in ("", "0", "0.0", "false", "no"):
        return False
    raise BadRow("wrong type", field, f"{shorten(value)}: expected true or false")


def decoded(value: Any) -> Any:
    """Return a list or object that stands in a text cell as JSON; other values as they are."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def settle(turns: Conversation) -> str | Conversation:
    """Return the text of a lone user turn, other conversations as they are."""
    if len(turns) == 1 and turns[0].role == "user" and turns[0].content.strip():
        return turns[0].content
    return turns


def as_turns(value: Any, field: str, answered: bool = True) -> Conversation:
    """Return messages as turns; ``answered`` asks for an assistant's message at the end."""
    if not isinstance(value, (list, tuple)):
        raise BadRow("wrong type", field, f"{shorten(value)}: expected a text or a list of messages")
    turns = tuple(_turn(message, field) for message in value)
    if answered and (not turns or turns[-1].role == "user"):
        raise BadRow("wrong type", field, "the messages do not end with an answer")
    return turns


def _turn(message: Any, field: str) -> Turn:
    if isinstance(message, dict):
        role, content = message.get("role"), message.get("content")
        if role is None and "from" in message:
            role = {"human": "user", "gpt": "assistant"}.get(message["from"], message["from"])
            content = message.get("value")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
        if isinstance(role, str) and isinstance(content, str):
            return Turn(role, content)
    raise BadRow(
        "wrong type", field, f"{shorten(message)}: expected a message {{'role': ..., 'content': ...}}"
    )


def after_prefix(won: Conversation, lost: Conversation) -> tuple[Conversation, str, str]:
    """Return the turns that two conversations share, and what each goes on with.

    What follows is the last answer; where the two part earlier, all that follows, turn by turn.
    """
    shared = 0
    while shared < min(len(won), len(lost)) - 1 and won[shared] == lost[shared]:
        shared += 1
    return won[:shared], _rest(won[shared:]), _rest(lost[shared:])


def _rest(turns: Conversation) -> str:
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)
