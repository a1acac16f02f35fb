"""Put words before a chat call's conversation by inserting bytes, so that every other byte stays as it was.

The body of ``POST /v1/chat/completions`` is read only to find the place. A conversation that begins with a
system (or developer) message gets the words at the beginning of that message, as many chat templates take
one such message at most; any other gets a system message of its own in the first place. Unknown fields,
numbers as they were written, blanks and the order of fields pass through.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from palate.core import DataError

__all__ = ["Call", "read_call", "with_words"]

_BLANK = " \t\n\r"
_SYSTEM = ("system", "developer")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # numbers are not read, however long


class _Member(NamedTuple):
    """A field of an object: its name, its value, and where the value begins and ends."""

    name: str
    value: Any
    begin: int
    end: int


@dataclass(frozen=True)
class Call:
    """A chat call as it was sent, with what has to be known of it.

    Attributes:
        text: The body.
        place: Where words are inserted, a position in ``text``; None where there is no message.
        kind: How: into a message's ``text``, as a ``part`` of one, as a ``message`` of its own.
        more: Whether something follows there that needs a comma.
        user: The field ``user``, or None.
    """

    text: str
    place: int | None
    kind: str = "message"
    more: bool = True
    user: str | None = None


def read_call(body: bytes) -> Call:
    """Find the place for words in a call's body.

    Raises:
        DataError: If the body is no JSON object with a list ``messages``.

    >>> read_call(b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "user": "ann"}').user
    'ann'
    """
    try:
        text = body.decode()
        members = list(_members(text, _skip(text, 0)))
        if _skip(text, members[-1].end) != len(text.rstrip(_BLANK)) - 1:
            raise ValueError("something stands behind the object")
    except (ValueError, IndexError, RecursionError) as error:
        raise DataError(f"the body is no JSON object as a chat call sends: {_short(error)}") from error
    named = [member for member in members if member.name == "messages"]
    if len(named) != 1 or not isinstance(named[0].value, list):
        seen = "it is given twice" if len(named) > 1 else "no list" if named else "it is not there"
        raise DataError(f"the field messages must be a list of messages, once; here: {seen}")
    users = [m.value for m in members if m.name == "user" and text[m.begin] == '"']
    return _placed(text, named[0], (users and users[-1]) or None)


def with_words(call: Call, words: str) -> bytes:
    """Return the body with words before the conversation; "" adds nothing.

    >>> call = read_call(b'{"messages": [{"role": "system", "content": "Be kind."}], "n": 1e0}')
    >>> with_words(call, "Likes lists.").decode()
    '{"messages": [{"role": "system", "content": "Likes lists.\\\\n\\\\nBe kind."}], "n": 1e0}'
    """
    if not words or call.place is None:
        return call.text.encode()
    whole = words.encode("utf-8", "replace").decode()
    if call.kind == "text":
        piece = json.dumps(whole + ("\n\n" if call.more else ""))[1:-1]
    elif call.kind == "part":
        piece = json.dumps({"type": "text", "text": whole}) + (", " if call.more else "")
    else:
        piece = json.dumps({"role": "system", "content": whole}) + ", "
    return (call.text[: call.place] + piece + call.text[call.place :]).encode()


def _placed(text: str, messages: _Member, user: str | None) -> Call:
    """Return the call with the place in its list of messages."""
    if not messages.value:
        return Call(text, None, user=user)
    first = _skip(text, messages.begin + 1)
    fields = list(_members(text, first)) if isinstance(messages.value[0], dict) else []
    by_name = {field.name: field for field in fields}
    role, content = by_name.get("role"), by_name.get("content")
    if len(by_name) == len(fields) and role and content and role.value in _SYSTEM:
        if isinstance(content.value, str):
            return Call(text, content.begin + 1, "text", bool(content.value), user)
        if isinstance(content.value, list):
            return Call(text, content.begin + 1, "part", bool(content.value), user)
    return Call(text, first, "message", True, user)


def _members(text: str, start: int) -> Iterator[_Member]:
    """Yield the fields of the object that begins at ``start``; the last one's end is before the brace."""
    if text[start] != "{":
        raise ValueError("it does not begin with {")
    at = _skip(text, start + 1)
    while text[at] != "}":
        if text[at] != '"':
            raise ValueError("a name is not in quotes")
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError("a colon is missing")
        begin = _skip(text, at + 1)
        value, end = _DECODER.raw_decode(text, begin)
        yield _Member(name, value, begin, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
            if text[at] != '"':
                raise ValueError("a name is missing behind a comma")
        elif text[at] != "}":
            raise ValueError("a comma or a brace is missing")


def _skip(text: str, at: int) -> int:
    """Return the place of the next character that is not blank."""
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _short(error: Exception) -> str:
    """Return what is wrong without a word of the body."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error) if type(error) is ValueError else "it breaks off"
