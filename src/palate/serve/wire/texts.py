"""Strings that can be kept and shown, and conversations: what every request is made of."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "LONGEST",
    "Answer",
    "Conversation",
    "Key",
    "Line",
    "Message",
    "Name",
    "Reply",
    "Responses",
    "Wire",
    "Words",
]

LONGEST = 100_000
"""Most characters of one text."""


class Wire(BaseModel):
    """A request's body: unknown fields are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reply(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _kept(text: str) -> str:
    """Refuse what a database or a page cannot hold."""
    if "\x00" in text:
        raise ValueError("holds the character NUL, which cannot be kept: leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no text: leave it out") from None
    return text


def _name(text: str) -> str:
    if text.strip() != text or not text.isprintable():
        raise ValueError(f"{text!r}: expected printable characters without blanks at the ends")
    return text


def _talk(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Words = Annotated[str, Field(max_length=LONGEST), AfterValidator(_kept)]
"""Any text."""
Answer = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_kept)]
"""A response: not empty."""
Line = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_kept)]
"""A sentence."""
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_kept), AfterValidator(_name)]
"""A user's or a tenant's name."""
Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_kept), AfterValidator(_name)]
"""A client's name for a choice: sent again, it is the same choice."""


class Message(Wire):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Words


Conversation = Annotated[list[Message], Field(min_length=1, max_length=200), BeforeValidator(_talk)]
"""Turns, oldest first; a plain string is one turn of the user's."""
Responses = Annotated[list[Answer], Field(min_length=2, max_length=16)]
"""Responses to one conversation."""
