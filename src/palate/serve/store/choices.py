"""What users chose: kept once however often it is sent, and read back as histories in time order.

A choice is named by its client's key. The same key with the same body is a replay and changes nothing; with
another body it is refused. A body is the JSON of ``conversation``, ``responses``, ``chosen``, ``ratings``,
``reason`` and ``source``, as :class:`palate.serve.wire.feedback.ChoiceKept` has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from palate.core import History
from palate.serve.store import clock, jobs, people
from palate.serve.store import personas as beliefs
from palate.serve.store.faults import ConflictError
from palate.serve.store.observed import history_of
from palate.serve.store.packing import digest, pack, unpack
from palate.serve.store.schema import choices, personas, users
from palate.serve.store.sql import Prepared, chunks, upsert
from palate.serve.wire.feedback import ChoiceKept, ChoicesPage

__all__ = [
    "AHEAD",
    "SOON",
    "Added",
    "ConflictError",
    "Kept",
    "add",
    "histories",
    "history",
    "page",
    "quotes",
    "remove",
    "since",
]

AHEAD = 300.0
"""Seconds that a client's clock may be ahead of the server's; a later time is replaced by the receipt's."""
SOON = 2.0
"""Seconds until a user who chose is made anew from the whole history; choices in between are one job."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A choice to be kept; ``time`` is the client's, or None for the time of receipt."""

    user: str
    key: str
    body: Mapping[str, Any]
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A choice that is kept: its number among the user's, and whether it was kept before."""

    number: int
    replayed: bool = False


_HIS = and_(choices.c.tenant == bindparam("tenant"), choices.c.user == bindparam("user"))
_NEW = ("tenant", "user", "born", "head", "total", "created", "seen")
_HEAD = upsert(
    lambda insert: (
        (made := insert(users).values({name: bindparam(name) for name in _NEW}))
        .on_conflict_do_update(
            index_elements=["tenant", "user"],
            set_={
                "head": users.c.head + made.excluded.head,
                "total": users.c.total + made.excluded.total,
                "seen": made.excluded.seen,
            },
        )
        .returning(users.c.head)
    )
)
_KNOWN = select(choices.c.key, choices.c.number, choices.c.digest).where(
    _HIS, choices.c.key.in_(bindparam("keys", expanding=True))
)
_KNOWN_ONE = Prepared(
    select(choices.c.key, choices.c.number, choices.c.digest).where(_HIS, choices.c.key == bindparam("key"))
)
_INSERT = insert(choices)
_INSERT_ONE = Prepared(insert(choices).values({column.name: bindparam(column.name) for column in choices.c}))
_MORE = Prepared(_HEAD)
_ROWS = select(choices.c.user, choices.c.key, choices.c.time, choices.c.body).order_by(
    choices.c.user, choices.c.time, choices.c.number
)
_ROWS_OF_ONE = Prepared(_ROWS.where(_HIS, choices.c.number > bindparam("after")))
_ROWS_OF_MANY = _ROWS.where(
    choices.c.tenant == bindparam("tenant"), choices.c.user.in_(bindparam("users", expanding=True))
)
_PROFILES = select(users.c.user, users.c.profile).where(
    users.c.tenant == bindparam("tenant"), users.c.user.in_(bindparam("users", expanding=True))
)
_PAGE = (
    select(choices.c.key, choices.c.number, choices.c.time, choices.c.received, choices.c.body)
    .where(_HIS, choices.c.number < bindparam("before"))
    .order_by(choices.c.number.desc())
    .limit(bindparam("most"))
)
_QUOTES = select(choices.c.key, choices.c.body).where(
    _HIS, choices.c.key.in_(bindparam("keys", expanding=True))
)
_REMOVE = delete(choices).where(_HIS, choices.c.key == bindparam("key"))
_FEWER = (
    update(users)
    .where(users.c.tenant == bindparam("t"), users.c.user == bindparam("u"))
    .values(total=users.c.total - 1)
)
_STALE = (
    update(personas)
    .where(personas.c.tenant == bindparam("t"), personas.c.user == bindparam("u"))
    .values(upto=0, exact=False, rev=personas.c.rev + 1)
)


def add(c: Connection, tenant: str, rows: Sequence[Kept]) -> list[Added | ConflictError]:
    """Keep choices, each for itself, and have the personas of their users made anew soon.

    Args:
        c: Where to write.
        tenant: Whose users.
        rows: Of one user or of many; a key that comes twice is kept once.

    Returns:
        One a row, in the order of ``rows``; in the place of a row whose key is kept with another body the
        error that says so. The others are kept.

    Raises:
        DataError: If a row holds what cannot be kept; then none is kept.
    """
    told: dict[int, Added | ConflictError] = {}
    by_user: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        by_user.setdefault(row.user, []).append(i)
    for user, places in by_user.items():
        told.update(_add_of(c, tenant, user, {i: rows[i] for i in places}))
    return [told[i] for i in range(len(rows))]


def _add_of(
    c: Connection, tenant: str, user: str, rows: Mapping[int, Kept]
) -> dict[int, Added | ConflictError]:
    """Keep the rows of one user; return what became of each."""
    known = _known(c, tenant, user, [row.key for row in rows.values()])
    told: dict[int, Added | ConflictError] = {}
    new: list[tuple[int, Kept, bytes]] = []
    again: dict[int, int] = {}  # places that repeat a new row of this request
    firsts: dict[str, tuple[int, bytes]] = {}
    for i, row in rows.items():
        mark = digest(row.body)
        number, before = known.get(row.key) or firsts.get(row.key) or (0, None)
        if before is None:
            firsts[row.key] = (i, mark)
            new.append((i, row, mark))
        elif before != mark:
            told[i] = ConflictError(
                f"the key {row.key!r} of user {user!r} is kept with another body: give a new choice a new key"
            )
        elif row.key in known:
            told[i] = Added(number, replayed=True)
        else:
            again[i] = number
    if not new:
        return told
    first = _numbered(c, tenant, user, len(new)) + 1 - len(new)
    _insert(c, tenant, user, first, new)
    jobs.queue(c, tenant, user, clock.now() + SOON)
    numbers = {i: first + n for n, (i, _, _) in enumerate(new)}
    told.update({i: Added(number) for i, number in numbers.items()})
    told.update({i: Added(numbers[original], replayed=True) for i, original in again.items()})
    return told


def _known(c: Connection, tenant: str, user: str, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return number and digest of those keys that are kept."""
    whose: dict[str, Any] = {"tenant": tenant, "user": user}
    if len(keys) == 1:
        found: list[Any] = list(_KNOWN_ONE(c, {**whose, "key": keys[0]}).found)
    else:
        found = []
        for some in chunks(keys):
            found += c.execute(_KNOWN, {**whose, "keys": some}).all()
    return {row[0]: (row[1], bytes(row[2])) for row in found}


def _numbered(c: Connection, tenant: str, user: str, count: int) -> int:
    """Give a user ``count`` more choices, making them if need be; return the number of the last."""
    now = clock.now()
    values = {
        "tenant": tenant,
        "user": user,
        "born": people.new_born(),
        "head": count,
        "total": count,
        "created": now,
        "seen": now,
    }
    return int(_MORE(c, values).found[0][0])


def _insert(
    c: Connection, tenant: str, user: str, first: int, new: Sequence[tuple[int, Kept, bytes]]
) -> None:
    now = clock.now()
    values = [
        {
            "tenant": tenant,
            "user": user,
            "number": first + n,
            "key": row.key,
            "digest": mark,
            "time": now if row.time is None or not row.time <= now + AHEAD else row.time,
            "received": now,
            "body": pack(row.body),
        }
        for n, (_, row, mark) in enumerate(new)
    ]
    if len(values) == 1:
        _INSERT_ONE(c, values[0])
    else:
        c.execute(_INSERT, values)


def history(c: Connection, tenant: str, user: str) -> History:
    """Return a user's choices in time order; equal times in the order in which they came.

    Ratings become pairs by the rule of :func:`palate.serve.store.observed.pairs`.

    Args:
        c: Where to read.
        tenant: Whose user.
        user: Whose choices; an unknown user has none.
    """
    return replace(since(c, tenant, user, 0), profile=people.profile(c, tenant, user))


def since(c: Connection, tenant: str, user: str, after: int) -> History:
    """Return a user's choices with a greater number, as :func:`history` does but without the profile."""
    rows = _ROWS_OF_ONE(c, {"tenant": tenant, "user": user, "after": after}).found
    return history_of(user, rows, {})


def histories(c: Connection, tenant: str, users: Sequence[str]) -> list[History]:
    """Return the whole histories of several users, in the order of ``users``, by few queries."""
    rows: dict[str, list[Any]] = {user: [] for user in users}
    profiles: dict[str, dict[str, str]] = {}
    for some in chunks(list(rows)):
        asked = {"tenant": tenant, "users": some}
        for row in c.execute(_ROWS_OF_MANY, asked):
            rows[row[0]].append(row)
        profiles.update({user: unpack(text) or {} for user, text in c.execute(_PROFILES, asked)})
    return [history_of(user, rows[user], profiles.get(user, {})) for user in users]


def page(c: Connection, tenant: str, user: str, before: int | None = None, limit: int = 50) -> ChoicesPage:
    """Return some of a user's choices, latest first.

    Args:
        c: Where to read.
        tenant: Whose user.
        user: Whose choices.
        before: Only choices with a smaller number; None begins with the latest.
        limit: Most choices of a page.
    """
    asked = {"tenant": tenant, "user": user, "before": 2**62 if before is None else before, "most": limit + 1}
    rows = c.execute(_PAGE, asked).all()
    state = people.state(c, tenant, user)
    shown = [kept(*row) for row in rows[:limit]]
    more = len(rows) > limit and shown
    return ChoicesPage(
        total=state.total if state else 0, choices=shown, next=shown[-1].number if more else None
    )


def kept(key: str, number: int, time: float, received: float, body: str) -> ChoiceKept:
    """Return a row as the API shows it; it was checked when it came."""
    return ChoiceKept.model_construct(
        **{"ratings": None, "reason": None, "source": None, "chosen": None, **unpack(body)},
        key=key,
        number=number,
        time=time,
        received=received,
    )


def quotes(c: Connection, tenant: str, user: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the bodies of a user's choices by key; ids of pairs made from ratings name their choice too."""
    names = sorted({*keys, *(key.rpartition("#")[0] for key in keys if "#" in key)})
    found: dict[str, dict[str, Any]] = {}
    for some in chunks(names):
        asked = {"tenant": tenant, "user": user, "keys": some}
        found.update({key: unpack(body) for key, body in c.execute(_QUOTES, asked)})
    bodies = {key: found.get(key, found.get(key.rpartition("#")[0])) for key in keys}
    return {key: body for key, body in bodies.items() if body is not None}


def remove(c: Connection, tenant: str, user: str, key: str) -> bool:
    """Delete one choice, and its texts from the examples in the user's personas; have the persona made anew.

    Numbers of other choices stay. Returns False for a key that is not kept.
    """
    whose = {"t": tenant, "u": user}
    if not c.execute(_REMOVE, {"tenant": tenant, "user": user, "key": key}).rowcount:
        return False
    c.execute(_FEWER, whose)
    c.execute(_STALE, whose)
    beliefs.without_examples(c, tenant, user, key)
    jobs.queue(c, tenant, user, clock.now())
    return True
