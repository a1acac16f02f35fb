"""Who may call: API keys of a tenant, and tokens that reach one user.

A secret is 256 random bits behind ``pk_`` (API key) or ``pu_`` (user's token). Only its SHA-256 is kept: with
that much chance in it nothing can be tried out, and whoever reads the database cannot call.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, or_, select

from palate.serve.store import clock, people
from palate.serve.store.schema import keys, users
from palate.serve.wire.rights import KeyShown

__all__ = ["Caller", "find", "hashed", "listed", "make", "revoke", "tenants"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        key_id: Id of the key; what logs and the audit call them.
        tenant: Whose users they may reach.
        user: The one user that a token reaches; None for an API key.
        scopes: What they may do.
        expires: Seconds since 1970, or None.
    """

    key_id: str
    tenant: str
    user: str | None
    scopes: frozenset[str]
    expires: float | None = None


_INSERT = insert(keys)
_FIND = select(keys.c.id, keys.c.tenant, keys.c.user, keys.c.scopes, keys.c.expires).where(
    keys.c.hash == bindparam("hash"),
    or_(keys.c.expires.is_(None), keys.c.expires > bindparam("now")),
)
_SHOWN = (keys.c.id, keys.c.tenant, keys.c.user, keys.c.label, keys.c.scopes, keys.c.created, keys.c.expires)
_LISTED = (
    select(*_SHOWN)
    .where(keys.c.tenant == bindparam("tenant"), keys.c.id > bindparam("after"))
    .order_by(keys.c.id)
    .limit(bindparam("most"))
)
_LISTED_OF = _LISTED.where(keys.c.user == bindparam("user"))
_LISTED_API = _LISTED.where(keys.c.user.is_(None))
_REVOKE = delete(keys).where(keys.c.tenant == bindparam("tenant"), keys.c.id == bindparam("id_"))
_TENANTS = select(keys.c.tenant).union(select(users.c.tenant)).order_by("tenant")


def make(
    c: Connection,
    tenant: str,
    user: str | None,
    label: str,
    scopes: Sequence[str],
    days: float | None = None,
) -> tuple[KeyShown, str]:
    """Make a key and return it with its secret, which is kept nowhere.

    Args:
        c: Where to write.
        tenant: Whose users it reaches.
        user: The one user whom a token reaches, made if not there; None makes an API key.
        label: For people.
        scopes: What it may do.
        days: Until it expires; None for never.
    """
    secret = ("pu_" if user is not None else "pk_") + secrets.token_urlsafe(32)
    now = clock.now()
    if user is not None:
        people.ensure(c, tenant, user)
    row = KeyShown(
        id=("tok_" if user is not None else "key_") + secrets.token_hex(8),
        tenant=tenant,
        user=user,
        label=label,
        scopes=sorted(set(scopes)),
        created=now,
        expires=None if days is None else now + 86400 * days,
    )
    c.execute(_INSERT, {**row.model_dump(), "scopes": " ".join(row.scopes), "hash": hashed(secret)})
    return row, secret


def hashed(secret: str) -> bytes:
    """Return what is kept of a secret: its SHA-256."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def find(c: Connection, secret: str) -> Caller | None:
    """Return who holds a secret; None for one that is unknown, revoked or expired."""
    row = c.execute(_FIND, {"hash": hashed(secret), "now": clock.now()}).first()
    return None if row is None else Caller(row[0], row[1], row[2], frozenset(row[3].split()), row[4])


def listed(
    c: Connection, tenant: str, user: str | None = None, *, after: str = "", limit: int = 1000
) -> list[KeyShown]:
    """Return a tenant's API keys, or one user's tokens, without their secrets, by id."""
    asked = {"tenant": tenant, "after": after, "most": limit}
    rows = c.execute(_LISTED_API, asked) if user is None else c.execute(_LISTED_OF, {**asked, "user": user})
    return [KeyShown(**{**row._mapping, "scopes": row.scopes.split()}) for row in rows]


def revoke(c: Connection, tenant: str, id: str) -> bool:
    """Delete a key or token of a tenant; returns whether there was one."""
    return bool(c.execute(_REVOKE, {"tenant": tenant, "id_": id}).rowcount)


def tenants(c: Connection) -> list[str]:
    """Return the names of all tenants that have a key or a user."""
    return [row[0] for row in c.execute(_TENANTS)]
