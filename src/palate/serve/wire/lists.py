"""Lists and small bodies that the routes answer with."""

from typing import Annotated

from pydantic import Field

from palate.serve.wire.persona import Effect, PersonaShown
from palate.serve.wire.texts import Line, Name, Reply, Wire

__all__ = [
    "Health",
    "OfferShown",
    "Patched",
    "PoolAdded",
    "PoolPage",
    "Profile",
    "UserRow",
    "UsersPage",
    "Whoami",
]


class Whoami(Reply):
    """Who calls: the tenant, the user of a user's token, and what the key may do."""

    tenant: str
    user: str | None = None
    scopes: list[str]
    key: str = Field(description="The key's id, as the audit log names it.")


class UserRow(Reply):
    """A user, with how many choices are kept of them."""

    user: str
    choices: int
    created: float
    seen: float = Field(description="When they last wrote.")


class UsersPage(Reply):
    """Users by name; ``next`` is the name to go on after, or null."""

    users: list[UserRow]
    total: int
    next: str | None = None


class Patched(Reply):
    """A persona after an edit, and what the edit changes."""

    persona: PersonaShown
    effect: Effect


class Profile(Wire):
    """What is known of a user besides their choices, such as an age group; it is exported and erased too."""

    profile: Annotated[dict[Name, Line], Field(max_length=50)]


class OfferShown(Reply):
    """A pair of the pool."""

    id: str
    conversation: list[dict[str, str]]
    responses: list[str]


class PoolPage(Reply):
    """Pairs of the pool; ``next`` is the id to go on after, or null."""

    offers: list[OfferShown]
    total: int
    next: str | None = None


class PoolAdded(Reply):
    """The ids of pairs that were added to the pool."""

    ids: list[str]
    total: int


class Health(Reply):
    """Whether the server is well, and what is not."""

    status: str
    problems: list[str] = []
