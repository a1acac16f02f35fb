"""Pairs, or longer lists of responses, that may be shown to a tenant's users to learn from."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select

from palate.serve.store import clock
from palate.serve.store.packing import pack, unpack
from palate.serve.store.schema import pool
from palate.serve.store.sql import run, upsert

__all__ = ["Offered", "add", "count", "page", "remove", "sampled", "stamp"]


class Offered(NamedTuple):
    """An offer as it is kept: the body has ``conversation`` and ``responses``."""

    id: str
    body: dict[str, Any]


_PUT = upsert(
    lambda insert: (made := insert(pool)).on_conflict_do_update(
        index_elements=["tenant", "id"],
        set_={"body": made.excluded.body, "created": made.excluded.created},
    )
)
_MINE = pool.c.tenant == bindparam("tenant")
_PAGE = (
    select(pool.c.id, pool.c.body)
    .where(_MINE, pool.c.id > bindparam("after"))
    .order_by(pool.c.id)
    .limit(bindparam("most"))
)
_NEWEST = select(pool.c.id, pool.c.body).where(_MINE).order_by(pool.c.created.desc(), pool.c.id)
_SAMPLED = _NEWEST.limit(bindparam("most"))
_STAMP = select(func.count(), func.coalesce(func.max(pool.c.created), 0.0)).where(_MINE)
_REMOVE = delete(pool).where(_MINE, pool.c.id == bindparam("id_"))
_REMOVE_ALL = delete(pool).where(_MINE)


def add(c: Connection, tenant: str, offers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Add offers and return their ids.

    Args:
        c: Where to write.
        tenant: Whose pool.
        offers: Each with ``conversation``, ``responses`` and perhaps ``id``: one without gets one, one with
            an id that is there takes its place.
    """
    now, ids = clock.now(), []
    for offer in offers:
        ids.append(offer.get("id") or "p_" + secrets.token_hex(8))
        body = pack({"conversation": offer["conversation"], "responses": offer["responses"]})
        run(c, _PUT, {"tenant": tenant, "id": ids[-1], "body": body, "created": now})
    return ids


def page(c: Connection, tenant: str, after: str = "", limit: int = 100) -> list[Offered]:
    """Return offers by id; ``after`` is the id to go on after."""
    rows = c.execute(_PAGE, {"tenant": tenant, "after": after, "most": limit})
    return [Offered(id, unpack(body)) for id, body in rows]


def sampled(c: Connection, tenant: str, limit: int = 200) -> list[Offered]:
    """Return up to ``limit`` offers, the latest added first."""
    rows = c.execute(_SAMPLED, {"tenant": tenant, "most": limit})
    return [Offered(id, unpack(body)) for id, body in rows]


def count(c: Connection, tenant: str) -> int:
    """Return how many offers there are."""
    return stamp(c, tenant)[0]


def stamp(c: Connection, tenant: str) -> tuple[int, float]:
    """Return how many offers there are and when the latest came: another stamp, another pool."""
    row = c.execute(_STAMP, {"tenant": tenant}).one()
    return int(row[0]), float(row[1])


def remove(c: Connection, tenant: str, id: str | None = None) -> int:
    """Take an offer out, or all of them; returns how many went."""
    if id is None:
        return int(c.execute(_REMOVE_ALL, {"tenant": tenant}).rowcount)
    return int(c.execute(_REMOVE, {"tenant": tenant, "id_": id}).rowcount)
