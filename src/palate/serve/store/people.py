"""Users: how far each is, lists of them, what is known of them.

Whoever anything is kept of has a row here, with a random number ``born``: a user who was deleted and comes
back is another, so that nothing begun for the first can be written to the second.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, update

from palate.serve.store import clock
from palate.serve.store.packing import pack, unpack
from palate.serve.store.schema import personas, users
from palate.serve.store.sql import Prepared, chunks, run, upsert
from palate.serve.store.store import Store

__all__ = [
    "Listed",
    "UserState",
    "count",
    "ensure",
    "listed",
    "new_born",
    "profile",
    "set_profile",
    "state",
    "state_now",
    "states",
    "totals",
]


@dataclass(frozen=True, slots=True)
class UserState:
    """How far a user is, and how far their persona is; None where there is no persona.

    Attributes:
        born: Random; another after a deletion.
        head: Number of the last choice.
        total: Choices that are kept.
        rev: Of the persona; grows with every write.
        version: Of the persona, for people.
        edited: The version that the last edit made.
        model: Fingerprint of the model that made the persona.
        upto: Number of the last choice that the persona reflects.
        exact: Whether it was made from the whole history at once.
    """

    born: int
    head: int
    total: int
    rev: int | None
    version: int | None
    edited: int | None
    model: str | None
    upto: int | None
    exact: bool | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A user in a list."""

    user: str
    choices: int
    pending: int
    version: int
    created: float
    seen: float


_MINE = and_(users.c.tenant == bindparam("tenant"), users.c.user == bindparam("user"))
_WITH_PERSONA = users.outerjoin(
    personas, and_(personas.c.tenant == users.c.tenant, personas.c.user == users.c.user)
)
_COLUMNS = (
    users.c.born,
    users.c.head,
    users.c.total,
    personas.c.rev,
    personas.c.version,
    personas.c.edited,
    personas.c.model,
    personas.c.upto,
    personas.c.exact,
)
_STATE = Prepared(select(*_COLUMNS).select_from(_WITH_PERSONA).where(_MINE))
_STATES = (
    select(users.c.user, *_COLUMNS)
    .select_from(_WITH_PERSONA)
    .where(users.c.tenant == bindparam("tenant"), users.c.user.in_(bindparam("users", expanding=True)))
)
_LISTED = (
    select(
        users.c.user,
        users.c.total,
        (users.c.head - func.coalesce(personas.c.upto, 0)).label("pending"),
        func.coalesce(personas.c.version, 0),
        users.c.created,
        users.c.seen,
    )
    .select_from(_WITH_PERSONA)
    .where(users.c.tenant == bindparam("tenant"), users.c.user > bindparam("after"))
    .order_by(users.c.user)
    .limit(bindparam("most"))
)
_LIKE = func.lower(users.c.user).like(bindparam("pattern"), escape="\\")
_LISTED_LIKE = _LISTED.where(_LIKE)
_TOTALS = select(func.count(), func.coalesce(func.sum(users.c.total), 0)).select_from(users)
_COUNT = select(func.count()).select_from(users)
_COUNT_MINE = _COUNT.where(users.c.tenant == bindparam("tenant"))
_COUNT_LIKE = _COUNT_MINE.where(_LIKE)
_ENSURE = upsert(lambda insert: insert(users).on_conflict_do_nothing(index_elements=["tenant", "user"]))
_BORN = select(users.c.born).where(_MINE)
_PROFILE = Prepared(select(users.c.profile).where(_MINE))
_SET_PROFILE = (
    update(users)
    .where(users.c.tenant == bindparam("t"), users.c.user == bindparam("u"))
    .values(profile=bindparam("p"), seen=bindparam("s"))
)


def state(c: Connection, tenant: str, user: str) -> UserState | None:
    """Return how far a user is, by one indexed select; None for one of whom nothing is kept."""
    return _state(_STATE(c, {"tenant": tenant, "user": user}).first)


def state_now(store: Store, tenant: str, user: str) -> UserState | None:
    """Return :func:`state` outside any transaction: what a request that needs nothing else asks."""
    return _state(store.look(_STATE, {"tenant": tenant, "user": user}))


def _state(row: Sequence[Any] | None) -> UserState | None:
    if row is None:
        return None
    exact = None if row[-1] is None else bool(row[-1])  # SQLite says 0 or 1
    values: list[Any] = [*row[:-1], exact]
    return UserState(*values)


def states(c: Connection, tenant: str, users: Sequence[str]) -> dict[str, UserState]:
    """Return how far each of several users is; those of whom nothing is kept are left out."""
    found: dict[str, UserState] = {}
    for some in chunks(users):
        for user, *rest in c.execute(_STATES, {"tenant": tenant, "users": some}):
            found[user] = UserState(*rest)
    return found


def ensure(c: Connection, tenant: str, user: str) -> int:
    """Return a user's ``born``; one who is not there is made, with no choices."""
    now = clock.now()
    run(
        c,
        _ENSURE,
        {
            "tenant": tenant,
            "user": user,
            "born": new_born(),
            "head": 0,
            "total": 0,
            "created": now,
            "seen": now,
            "profile": None,
        },
    )
    return int(c.execute(_BORN, {"tenant": tenant, "user": user}).scalar_one())


def new_born() -> int:
    """Return a number that no other user has, nor will have."""
    return secrets.randbits(62)


def listed(c: Connection, tenant: str, after: str = "", limit: int = 100, like: str = "") -> list[Listed]:
    """Return a tenant's users by name.

    Args:
        c: Where to read.
        tenant: Whose users.
        after: The name to go on after.
        limit: Most users of a page.
        like: Part of the name; A to Z match a to z.
    """
    values = {"tenant": tenant, "after": after, "most": limit}
    if not like:
        return [Listed(*row) for row in c.execute(_LISTED, values)]
    return [Listed(*row) for row in c.execute(_LISTED_LIKE, {**values, "pattern": _pattern(like)})]


def count(c: Connection, tenant: str | None = None, like: str = "") -> int:
    """Return how many users there are, of one tenant or of all; ``like`` as in :func:`listed`."""
    if tenant is None:
        return int(c.execute(_COUNT).scalar_one())
    if like:
        return int(c.execute(_COUNT_LIKE, {"tenant": tenant, "pattern": _pattern(like)}).scalar_one())
    return int(c.execute(_COUNT_MINE, {"tenant": tenant}).scalar_one())


def totals(c: Connection) -> tuple[int, int]:
    """Return how many users of all tenants there are, and how many choices of theirs are kept."""
    row = c.execute(_TOTALS).one()
    return int(row[0]), int(row[1])


def _pattern(like: str) -> str:
    """Return a pattern for a part of a name; only A to Z are made small, as both databases do."""
    small = "".join(letter.lower() if letter.isascii() else letter for letter in like)
    for special in ("\\", "%", "_"):
        small = small.replace(special, "\\" + special)
    return f"%{small}%"


def profile(c: Connection, tenant: str, user: str) -> dict[str, str]:
    """Return what is known of a user besides choices; empty for an unknown user."""
    row = _PROFILE(c, {"tenant": tenant, "user": user}).first
    return (unpack(row[0]) if row else None) or {}


def set_profile(c: Connection, tenant: str, user: str, profile: Mapping[str, str]) -> None:
    """Keep what is known of a user, in the place of what was; a user who is not there is made."""
    ensure(c, tenant, user)
    values = {"t": tenant, "u": user, "p": pack(dict(profile)) if profile else None, "s": clock.now()}
    c.execute(_SET_PROFILE, values)
