"""Requests about one user: their choices, what is believed of them, their rights."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

from palate.client.verb import Fill, route
from palate.serve.wire.feedback import Choice, Choices, ChoicesPage, Told
from palate.serve.wire.lists import Patched, Profile, UsersPage
from palate.serve.wire.persona import Edit, Edits, PersonaShown, Reverted, VersionShown
from palate.serve.wire.rights import Export, Receipt
from palate.serve.wire.texts import Message

__all__ = [
    "Talk",
    "choices",
    "choose",
    "edit",
    "erase",
    "export",
    "feedback",
    "persona",
    "receipt",
    "remove_choice",
    "revert",
    "set_profile",
    "talk",
    "users",
    "version",
    "versions",
]

Talk = str | Sequence[Message | Mapping[str, str]]
"""A conversation: a text is one turn of the user's."""


def talk(conversation: Talk) -> Any:
    """Return a conversation as the wire's classes read it."""
    if isinstance(conversation, str):
        return conversation
    return [turn if isinstance(turn, Message) else dict(turn) for turn in conversation]


@route("POST /v1/feedback", Told)
def choose(
    user: str,
    conversation: Talk,
    responses: Sequence[str],
    chosen: int | None = None,
    *,
    ratings: Sequence[float] | None = None,
    key: str | None = None,
    time: float | None = None,
    reason: str | None = None,
    source: str | None = None,
) -> Fill:
    """Send one choice; it is kept, durably, when this returns.

    Args:
        user: Who chose.
        conversation: What was answered.
        responses: What was on offer, two or more.
        chosen: The position of the chosen response; None is a tie.
        ratings: One a response, in the place of ``chosen``.
        key: Your name for the choice; without one it is given one here, so that a repetition of this very
            request never counts twice. Name it where your own program may send it again.
        time: Seconds since 1970.
        reason: The user's own words for why.
        source: Where it comes from.
    """
    fields = {
        "user": user,
        "conversation": talk(conversation),
        "responses": list(responses),
        "chosen": chosen,
        "ratings": None if ratings is None else [float(rating) for rating in ratings],
        "key": key or uuid.uuid4().hex,
        "time": time,
        "reason": reason,
        "source": source,
    }
    tie = {"chosen": None} if chosen is None and ratings is None else {}
    return Fill(body=Choice.model_validate({k: v for k, v in fields.items() if v is not None} | tie))


@route("POST /v1/feedback", Told)
def feedback(choices: Iterable[Choice | Mapping[str, Any]]) -> Fill:
    """Send many choices, of one user or of many, up to 1,000; those without a key are given one.

    The answer says which were accepted and which refused; good ones are kept whatever the others are.
    """
    rows = [c.model_dump(exclude_unset=True) if isinstance(c, Choice) else dict(c) for c in choices]
    keyed = [{**row, "key": row.get("key") or uuid.uuid4().hex} for row in rows]
    return Fill(body=Choices.model_validate({"choices": keyed}))


@route("GET /v1/users/{user}/choices", ChoicesPage)
def choices(user: str, *, before: int | None = None, limit: int | None = None) -> Fill:
    """Read a user's choices, latest first; go on before the page's ``next``."""
    return Fill({"user": user}, {"before": before, "limit": limit})


@route("DELETE /v1/users/{user}/choices/{key}", NoneType, again=False)
def remove_choice(user: str, key: str) -> Fill:
    """Take one choice back; the persona is made anew without it."""
    return Fill({"user": user, "key": key})


@route("GET /v1/users", UsersPage)
def users(*, after: str | None = None, limit: int | None = None, like: str | None = None) -> Fill:
    """List users by name; go on after the page's ``next``."""
    return Fill(query={"after": after, "limit": limit, "like": like})


@route("GET /v1/users/{user}/persona", PersonaShown)
def persona(user: str) -> Fill:
    """Read what is believed of a user: statements, strength, evidence, verdict."""
    return Fill({"user": user})


@route("PATCH /v1/users/{user}/persona", Patched, again=False)
def edit(
    user: str, version: int, edits: Sequence[Edit | Mapping[str, Any]], *, only_try: bool = False
) -> Fill:
    """Correct a persona: all edits together, or none.

    Args:
        user: Whose.
        version: The version that the edits were made on; :class:`Conflict` where somebody edited since.
        edits: As ``{"do": "forget", "about": ...}``.
        only_try: Whether only the effect is told and nothing applied.
    """
    made = [each if isinstance(each, Edit) else dict(each) for each in edits]
    body = Edits.model_validate({"version": version, "edits": made, "try": only_try})
    return Fill({"user": user}, body=body, again=only_try)


@route("GET /v1/users/{user}/persona/versions", list[VersionShown])
def versions(user: str, *, before: int | None = None, limit: int | None = None) -> Fill:
    """Read the history of a persona, latest first: what was believed when, and what changed it."""
    return Fill({"user": user}, {"before": before, "limit": limit})


@route("GET /v1/users/{user}/persona/versions/{version}", VersionShown)
def version(user: str, version: int) -> Fill:
    """Read one version of a persona."""
    return Fill({"user": user, "version": version})


@route("POST /v1/users/{user}/persona/revert", Patched, again=False)
def revert(user: str, version: int, to: int) -> Fill:
    """Go back to the edits that stood at the version ``to``; ``version`` is the one you saw last."""
    return Fill({"user": user}, body=Reverted(version=version, to=to))


@route("PUT /v1/users/{user}/profile", NoneType)
def set_profile(user: str, profile: Mapping[str, str]) -> Fill:
    """Set what is known of a user beside their choices, such as an age; it replaces what was there."""
    return Fill({"user": user}, body=Profile(profile=dict(profile)))


@route("GET /v1/users/{user}/export", Export)
def export(user: str) -> Fill:
    """Read all that is kept of a user."""
    return Fill({"user": user})


@route("DELETE /v1/users/{user}", Receipt, again=False)
def erase(user: str) -> Fill:
    """Delete a user everywhere; the receipt says what was erased and what only a refit removes."""
    return Fill({"user": user})


@route("GET /v1/receipts/{id}", Receipt)
def receipt(id: str) -> Fill:
    """Read the receipt of a deletion."""
    return Fill({"id": id})
