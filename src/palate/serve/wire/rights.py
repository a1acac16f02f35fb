"""The person's rights and who may call: export, receipts, keys, the audit log."""

from typing import Annotated, Any, Literal

from pydantic import Field

from palate.serve.wire.feedback import ChoiceKept
from palate.serve.wire.texts import Line, Name, Reply, Wire

__all__ = [
    "SCOPES",
    "AuditPage",
    "AuditRow",
    "Export",
    "KeyMade",
    "KeyShown",
    "NewKey",
    "NewToken",
    "Receipt",
]

SCOPES = ("feedback", "read", "use", "edit", "erase", "admin", "operator")
"""What a key may do: send choices, read personas, rank and write, edit, erase, keys and pool, the server."""
Scope = Literal["feedback", "read", "use", "edit", "erase", "admin", "operator"]


class Export(Reply):
    """All that is kept of a user."""

    user: str
    tenant: str
    profile: dict[str, str] = {}
    choices: list[ChoiceKept]
    persona: dict[str, Any] | None
    versions: list[dict[str, Any]]
    edits: list[dict[str, Any]]
    tokens: list[dict[str, Any]] = []
    audit: list[dict[str, Any]] = []
    time: float


class Receipt(Reply):
    """What was erased, and what only a refit of the shared model removes.

    Attributes:
        id: Keep it: it proves the deletion and names nobody.
        erased: Rows that were deleted, by table; cached vectors and texts, by cache.
        remains: What is left, each with how it goes.
    """

    id: str
    time: float
    erased: dict[str, int]
    remains: list[str]


class NewKey(Wire):
    """An API key to be made for the caller's tenant; an operator may name another tenant."""

    label: Line
    scopes: Annotated[list[Scope], Field(min_length=1)]
    tenant: Name | None = None
    days: Annotated[float, Field(gt=0, le=3650)] | None = None


class NewToken(Wire):
    """A token that reaches one user alone."""

    user: Name
    scopes: Annotated[list[Literal["feedback", "read", "use", "edit", "erase"]], Field(min_length=1)] = [
        "feedback",
        "read",
        "use",
        "edit",
        "erase",
    ]
    days: Annotated[float, Field(gt=0, le=3650)] = 30


class KeyShown(Reply):
    """A key without its secret."""

    id: str
    tenant: str
    user: str | None = None
    label: str
    scopes: list[str]
    created: float
    expires: float | None = None


class KeyMade(KeyShown):
    """A new key; the secret is shown this once and is not kept."""

    secret: str


class AuditRow(Reply):
    """One entry: who read or changed what."""

    number: int
    user: str | None
    actor: str
    action: str
    detail: str
    time: float


class AuditPage(Reply):
    """Entries, latest first; ``next`` is the number to go on before, or null."""

    rows: list[AuditRow]
    next: int | None = None
