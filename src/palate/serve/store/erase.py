"""Deletion of a user, with a receipt that names nobody; and export of all that is kept of them.

One transaction deletes the user's rows of every table in :data:`palate.serve.store.schema.OF_USERS`, puts the
receipt's id in the place of their name in the audit log, and writes the receipt. Then the database is made to
let go of the bytes (:mod:`palate.serve.store.traces`).
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from palate.serve.store import audit, clock, keys, people, personas, traces
from palate.serve.store import choices as chosen
from palate.serve.store.packing import pack, unpack
from palate.serve.store.schema import OF_USERS, choices, receipts
from palate.serve.store.store import Store
from palate.serve.wire.rights import Export, Receipt

__all__ = ["erase", "export", "last", "receipt"]

_DELETE = {
    table.name: delete(table).where(table.c.tenant == bindparam("tenant"), table.c.user == bindparam("user_"))
    for table in OF_USERS
}
_INSERT = insert(receipts)
_RECEIPT = select(receipts.c.body).where(
    receipts.c.tenant == bindparam("tenant"), receipts.c.id == bindparam("id_")
)
_LAST = select(func.coalesce(func.max(receipts.c.number), 0))
_CHOICES = (
    select(choices.c.key, choices.c.number, choices.c.time, choices.c.received, choices.c.body)
    .where(choices.c.tenant == bindparam("tenant"), choices.c.user == bindparam("user"))
    .order_by(choices.c.number)
)
_MODEL = (
    "the fitted model that all users share: if this user's choices were among those it was fitted on, only a "
    "fit without them takes out what it learned"
)
_BACKUPS = "back-ups of the database made before: until they are replaced"


def erase(
    store: Store, tenant: str, user: str, actor: str = "server", beside: Mapping[str, int] | None = None
) -> Receipt | None:
    """Delete all that is kept of a user; durable when it returns.

    Args:
        store: Where.
        tenant: Whose user.
        user: Who is deleted.
        actor: Who asked for it, for the audit log.
        beside: What was dropped from memory, by cache; the receipt tells it.

    Returns:
        The receipt, or None if nothing was kept of such a user.
    """
    bytes_left = traces.left(store)

    def op(c: Connection) -> Receipt | None:
        whose = {"tenant": tenant, "user_": user}
        gone = {name: int(c.execute(each, whose).rowcount) for name, each in _DELETE.items()}
        id = "r_" + secrets.token_hex(12)
        entries = audit.rename(c, tenant, user, id)
        if not any(gone.values()) and not entries:
            return None
        remains = [_MODEL, _BACKUPS, *bytes_left]
        if entries:
            lines = f"{entries} entr{'y' if entries == 1 else 'ies'}"
            remains.append(f"{lines} of the audit log, with {id} in the place of the name")
        made = Receipt(id=id, time=clock.now(), erased={**gone, **(beside or {})}, remains=remains)
        c.execute(_INSERT, {"id": id, "tenant": tenant, "body": pack(made.model_dump()), "time": made.time})
        audit.note_deleted(c, tenant, actor, id)
        return made

    made = store.write(op)
    if made is not None:
        traces.clear(store)
    return made


def receipt(c: Connection, tenant: str, id: str) -> Receipt | None:
    """Return a receipt of a tenant's by its id, or None."""
    body: Any = unpack(c.execute(_RECEIPT, {"tenant": tenant, "id_": id}).scalar_one_or_none())
    return None if body is None else Receipt(**body)


def last(c: Connection) -> int:
    """Return the number of the last receipt of all; another than before: a user was deleted since."""
    return int(c.execute(_LAST).scalar_one())


def export(c: Connection, tenant: str, user: str) -> Export | None:
    """Return all that is kept of a user, or None where that is nothing.

    Args:
        c: Where to read: one snapshot, so that the parts agree.
        tenant: Whose user.
        user: Whose data.
    """
    if people.state(c, tenant, user) is None:
        return None
    mine = {"tenant": tenant, "user": user}
    persona = personas.load(c, tenant, user)
    return Export(
        user=user,
        tenant=tenant,
        profile=people.profile(c, tenant, user),
        choices=[chosen.kept(*row) for row in c.execute(_CHOICES, mine)],
        persona=None if persona is None else asdict(persona),
        versions=[asdict(each) for each in personas.versions(c, tenant, user, limit=100_000)],
        edits=[asdict(each) for each in personas.edits(c, tenant, user)],
        tokens=[token.model_dump() for token in keys.listed(c, tenant, user)],
        audit=[row.model_dump() for row in audit.page(c, tenant, limit=100_000, user=user).rows],
        time=clock.now(),
    )
