"""Who read or changed what: ids and counts, never a text of a user's.

A user's name is noted only while something is kept of them. When they are deleted, it is replaced by the id
of the receipt, so that the log stays whole and names nobody.
"""

from sqlalchemy import Connection, bindparam, exists, insert, select, update

from palate.serve.store import clock
from palate.serve.store.schema import audit, users
from palate.serve.wire.rights import AuditPage, AuditRow

__all__ = ["note", "note_deleted", "page", "rename"]

_COLUMNS = (audit.c.number, audit.c.user, audit.c.actor, audit.c.action, audit.c.detail, audit.c.time)
_INSERT = insert(audit)
_THERE = select(exists().where(users.c.tenant == bindparam("tenant"), users.c.user == bindparam("user")))
_PAGE = (
    select(*_COLUMNS)
    .where(audit.c.tenant == bindparam("tenant"), audit.c.number < bindparam("before"))
    .order_by(audit.c.number.desc())
    .limit(bindparam("most"))
)
_PAGE_OF = _PAGE.where(audit.c.user == bindparam("user"))
_RENAME = (
    update(audit)
    .where(audit.c.tenant == bindparam("t"), audit.c.user == bindparam("u"))
    .values(user=bindparam("r"))
)


def note(
    c: Connection, tenant: str, actor: str, action: str, user: str | None = None, detail: str = ""
) -> None:
    """Note who did what.

    Args:
        c: Where to write.
        tenant: Whose log.
        actor: Id of the key, or "server".
        action: A word, such as "read persona".
        user: Whom it was about; not noted if nothing is kept of them.
        detail: Ids and counts; no text, name or statement.
    """
    if user is not None and not c.execute(_THERE, {"tenant": tenant, "user": user}).scalar_one():
        user = None
    row = {"tenant": tenant, "user": user, "actor": actor, "action": action, "detail": detail}
    c.execute(_INSERT, {**row, "time": clock.now()})


def note_deleted(c: Connection, tenant: str, actor: str, receipt: str) -> None:
    """Note that a user was deleted, by the receipt's id."""
    row = {"tenant": tenant, "user": receipt, "actor": actor, "action": "erase", "detail": ""}
    c.execute(_INSERT, {**row, "time": clock.now()})


def page(
    c: Connection, tenant: str, before: int | None = None, limit: int = 100, user: str | None = None
) -> AuditPage:
    """Return entries, latest first.

    Args:
        c: Where to read.
        tenant: Whose log.
        before: The number to go on before.
        limit: Most entries.
        user: Only entries about this user, or about a deleted one by the receipt's id.
    """
    asked = {"tenant": tenant, "before": 2**62 if before is None else before, "most": limit + 1}
    rows = c.execute(_PAGE, asked) if user is None else c.execute(_PAGE_OF, {**asked, "user": user})
    shown = [AuditRow(**row._mapping) for row in rows]
    more = len(shown) > limit
    return AuditPage(rows=shown[:limit], next=shown[limit - 1].number if more and limit else None)


def rename(c: Connection, tenant: str, user: str, receipt: str) -> int:
    """Put a receipt's id in the place of a user's name; returns in how many entries."""
    return int(c.execute(_RENAME, {"t": tenant, "u": user, "r": receipt}).rowcount)
