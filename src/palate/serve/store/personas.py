"""What is believed of each user now and was before, and what the person corrected.

A persona is saved by compare and swap: only if it is still the one that was read (``rev``), and the user is
still the one of whom it was read (``born``). So a slow job never overwrites a newer edit, and never brings a
deleted user back. Versions and edits are kept for users who are there, and for nobody else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, exists, func, insert, select, update

from palate.serve.store import clock
from palate.serve.store.packing import pack, unpack
from palate.serve.store.schema import edits as _edits
from palate.serve.store.schema import personas, users
from palate.serve.store.schema import versions as _versions
from palate.serve.store.sql import changed, chunks, upsert

__all__ = [
    "KeptEdit",
    "KeptPersona",
    "KeptVersion",
    "Sampled",
    "add_version",
    "drop_adapted",
    "edits",
    "edits_of",
    "load",
    "loads",
    "progress",
    "remove_edit",
    "replace_edits",
    "sample",
    "save",
    "set_edit",
    "version",
    "versions",
    "without_examples",
]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptPersona:
    """A persona as it is kept: see the table's columns in :mod:`palate.serve.store.schema`.

    ``rev`` is what :func:`load` found; :func:`save` compares with it and writes the next.
    """

    rev: int
    version: int
    edited: int
    model: str
    upto: int
    exact: bool
    made: Json
    body: Json
    words: Json | None
    time: float


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """What was believed at some time; ``edits`` are those that stood then."""

    version: int
    cause: str
    told: str
    model: str
    upto: int
    body: Json
    words: Json | None
    edits: list[Json]
    time: float


@dataclass(frozen=True, slots=True)
class KeptEdit:
    """A correction that stands."""

    about: str
    do: str
    shift: float | None = None
    own: float | None = None
    text: str | None = None
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Sampled:
    """A user's persona for the map of the people."""

    user: str
    total: int
    model: str
    body: Json
    words: Json | None


_MINE = and_(personas.c.tenant == bindparam("tenant"), personas.c.user == bindparam("user"))
_FIELDS = ("rev", "version", "edited", "model", "upto", "exact", "made", "body", "words", "time")
_LOAD = select(*(personas.c[name] for name in _FIELDS)).where(_MINE)
_LOADS = select(personas.c.user, *(personas.c[name] for name in _FIELDS)).where(
    personas.c.tenant == bindparam("tenant"), personas.c.user.in_(bindparam("users", expanding=True))
)
_THERE = and_(users.c.tenant == bindparam("t"), users.c.user == bindparam("u"))
_SAME = and_(_THERE, users.c.born == bindparam("b"))
_AGAIN = (
    update(personas)
    .where(
        personas.c.tenant == bindparam("t"),
        personas.c.user == bindparam("u"),
        personas.c.rev == bindparam("r"),
        exists().where(_SAME),
    )
    .values({name: bindparam("v_" + name) for name in _FIELDS})
)
_FIRST = upsert(
    lambda insert: (
        insert(personas)
        .from_select(
            ["tenant", "user", *_FIELDS],
            select(
                users.c.tenant,
                users.c.user,
                *(bindparam("v_" + name, type_=personas.c[name].type) for name in _FIELDS),
            ).where(_SAME),
        )
        .on_conflict_do_nothing(index_elements=["tenant", "user"])
    )
)
_VERSION_FIELDS = ("version", "cause", "told", "model", "upto", "body", "words", "edits", "time")
_HIS = and_(_versions.c.tenant == bindparam("tenant"), _versions.c.user == bindparam("user"))
_VERSION = select(*(_versions.c[name] for name in _VERSION_FIELDS)).where(_HIS)
_VERSION_ONE = _VERSION.where(_versions.c.version == bindparam("number"))
_VERSIONS = (
    _VERSION.where(_versions.c.version < bindparam("before"))
    .order_by(_versions.c.version.desc())
    .limit(bindparam("most"))
)
_ADD_VERSION = insert(_versions).from_select(
    ["tenant", "user", *_VERSION_FIELDS],
    select(
        users.c.tenant,
        users.c.user,
        *(bindparam("v_" + name, type_=_versions.c[name].type) for name in _VERSION_FIELDS),
    ).where(_THERE),
)
_DROP_ADAPTED = delete(_versions).where(
    _HIS,
    _versions.c.cause == "adapted",
    _versions.c.version > bindparam("edited"),
    _versions.c.time >= bindparam("since"),
)
_EDIT_FIELDS = ("about", "do", "shift", "own", "text", "time")
_EDITS = (
    select(*(_edits.c[name] for name in _EDIT_FIELDS))
    .where(_edits.c.tenant == bindparam("tenant"), _edits.c.user == bindparam("user"))
    .order_by(_edits.c.time, _edits.c.about)
)
_EDITS_OF = (
    select(_edits.c.user, *(_edits.c[name] for name in _EDIT_FIELDS))
    .where(_edits.c.tenant == bindparam("tenant"), _edits.c.user.in_(bindparam("users", expanding=True)))
    .order_by(_edits.c.user, _edits.c.time, _edits.c.about)
)
_SET_EDIT = upsert(
    lambda insert: (
        made := insert(_edits).from_select(
            ["tenant", "user", *_EDIT_FIELDS],
            select(
                users.c.tenant,
                users.c.user,
                *(bindparam("v_" + name, type_=_edits.c[name].type) for name in _EDIT_FIELDS),
            ).where(_THERE),
        )
    ).on_conflict_do_update(
        index_elements=["tenant", "user", "about"],
        set_={name: made.excluded[name] for name in _EDIT_FIELDS[1:]},
    )
)
_NO_EDITS = delete(_edits).where(_edits.c.tenant == bindparam("tenant"), _edits.c.user == bindparam("user"))
_NO_EDIT = _NO_EDITS.where(_edits.c.about == bindparam("about_"))
_SAMPLE = (
    select(users.c.user, users.c.total, personas.c.model, personas.c.body, personas.c.words)
    .join(personas, and_(personas.c.tenant == users.c.tenant, personas.c.user == users.c.user))
    .where(users.c.tenant == bindparam("tenant"))
    .order_by(users.c.born)
    .limit(bindparam("most"))
)
_CURRENT = and_(personas.c.model == bindparam("model"), personas.c.upto >= users.c.head)
_PROGRESS = (
    select(func.coalesce(func.sum(case((_CURRENT, 1), else_=0)), 0), func.count())
    .select_from(
        users.outerjoin(personas, and_(personas.c.tenant == users.c.tenant, personas.c.user == users.c.user))
    )
    .where(users.c.total > 0)
)
_PROGRESS_OF = _PROGRESS.where(users.c.tenant == bindparam("tenant"))


def load(c: Connection, tenant: str, user: str) -> KeptPersona | None:
    """Return a user's persona, or None."""
    row = c.execute(_LOAD, {"tenant": tenant, "user": user}).first()
    return None if row is None else _persona(row)


def loads(c: Connection, tenant: str, users: Sequence[str]) -> dict[str, KeptPersona]:
    """Return the personas of several users; those who have none are left out."""
    found: dict[str, KeptPersona] = {}
    for some in chunks(users):
        for row in c.execute(_LOADS, {"tenant": tenant, "users": some}):
            found[row.user] = _persona(row)
    return found


def _persona(row: Any) -> KeptPersona:
    kept = {name: getattr(row, name) for name in _FIELDS}
    return KeptPersona(**{**kept, **{name: unpack(kept[name]) for name in ("made", "body", "words")}})


def save(c: Connection, tenant: str, user: str, persona: KeptPersona, *, born: int) -> bool:
    """Save a persona if nothing came in between.

    Args:
        c: Where to write.
        tenant: Whose user.
        user: Whose persona.
        persona: With the ``rev`` that was read, or 0 where there was none; ``rev + 1`` is written.
        born: Of the user when the choices were read.

    Returns:
        False, with nothing written, if the persona was changed since or the user was deleted.
    """
    values: Json = {
        "t": tenant,
        "u": user,
        "b": born,
        "v_rev": persona.rev + 1,
        "v_version": persona.version,
        "v_edited": persona.edited,
        "v_model": persona.model,
        "v_upto": persona.upto,
        "v_exact": persona.exact,
        "v_made": pack(persona.made),
        "v_body": pack(persona.body),
        "v_words": None if persona.words is None else pack(persona.words),
        "v_time": persona.time,
    }
    if persona.rev:
        return bool(c.execute(_AGAIN, {**values, "r": persona.rev}).rowcount)
    return bool(changed(c, _FIRST[c.dialect.name], values))


def progress(c: Connection, tenant: str | None, model: str) -> tuple[int, int]:
    """Return how many users' personas are of this model and reflect every choice, and how many lag behind.

    A user without choices counts as neither. ``tenant`` None counts all tenants.
    """
    asked = {"model": model} if tenant is None else {"model": model, "tenant": tenant}
    row = c.execute(_PROGRESS if tenant is None else _PROGRESS_OF, asked).one()
    return int(row[0]), int(row[1]) - int(row[0])


def sample(c: Connection, tenant: str, limit: int = 5000) -> Iterator[Sampled]:
    """Yield personas of users drawn at random, the same users as long as none comes or goes."""
    rows = c.execution_options(yield_per=500).execute(_SAMPLE, {"tenant": tenant, "most": limit})
    for user, total, model, body, words in rows:
        yield Sampled(user, total, model, unpack(body), unpack(words))


# ---- versions -----------------------------------------------------------------------------------------


def add_version(c: Connection, tenant: str, user: str, version: KeptVersion) -> bool:
    """Keep a version. Returns False for a user who is not there."""
    values: Json = {
        "t": tenant,
        "u": user,
        "v_version": version.version,
        "v_cause": version.cause,
        "v_told": version.told,
        "v_model": version.model,
        "v_upto": version.upto,
        "v_body": pack(version.body),
        "v_words": None if version.words is None else pack(version.words),
        "v_edits": pack(version.edits),
        "v_time": version.time,
    }
    return bool(changed(c, _ADD_VERSION, values))


def drop_adapted(c: Connection, tenant: str, user: str, edited: int, since: float) -> None:
    """Let go of versions that adaptations made since then, after the version of the last edit."""
    c.execute(_DROP_ADAPTED, {"tenant": tenant, "user": user, "edited": edited, "since": since})


def versions(
    c: Connection, tenant: str, user: str, before: int | None = None, limit: int = 50
) -> list[KeptVersion]:
    """Return a user's versions, latest first; ``before`` is the version to go on before."""
    asked = {"tenant": tenant, "user": user, "before": 2**62 if before is None else before, "most": limit}
    return [_version(row) for row in c.execute(_VERSIONS, asked)]


def version(c: Connection, tenant: str, user: str, number: int) -> KeptVersion | None:
    """Return one version of a user's persona, or None."""
    row = c.execute(_VERSION_ONE, {"tenant": tenant, "user": user, "number": number}).first()
    return None if row is None else _version(row)


def _version(row: Any) -> KeptVersion:
    kept = {**row._mapping, "body": unpack(row.body), "words": unpack(row.words), "edits": unpack(row.edits)}
    return KeptVersion(**kept)


# ---- edits --------------------------------------------------------------------------------------------


def edits(c: Connection, tenant: str, user: str) -> list[KeptEdit]:
    """Return the corrections that stand, oldest first."""
    return [KeptEdit(*row) for row in c.execute(_EDITS, {"tenant": tenant, "user": user})]


def edits_of(c: Connection, tenant: str, users: Sequence[str]) -> dict[str, list[KeptEdit]]:
    """Return the corrections of several users; a user without any has an empty list."""
    found: dict[str, list[KeptEdit]] = {user: [] for user in users}
    for some in chunks(users):
        for user, *rest in c.execute(_EDITS_OF, {"tenant": tenant, "users": some}):
            found[user].append(KeptEdit(*rest))
    return found


def set_edit(c: Connection, tenant: str, user: str, edit: KeptEdit) -> bool:
    """Keep a correction in the place of one about the same. Returns False for a user who is not there."""
    values: Json = {f"v_{name}": getattr(edit, name) for name in _EDIT_FIELDS}
    values |= {"t": tenant, "u": user, "v_time": edit.time or clock.now()}
    return bool(changed(c, _SET_EDIT[c.dialect.name], values))


def remove_edit(c: Connection, tenant: str, user: str, about: str) -> bool:
    """Take a correction back; returns whether there was one."""
    return bool(c.execute(_NO_EDIT, {"tenant": tenant, "user": user, "about_": about}).rowcount)


def replace_edits(c: Connection, tenant: str, user: str, stand: Iterable[KeptEdit]) -> None:
    """Let these corrections stand, and no others."""
    c.execute(_NO_EDITS, {"tenant": tenant, "user": user})
    for edit in stand:
        set_edit(c, tenant, user, edit)


# ---- one choice deleted -------------------------------------------------------------------------------

_TEXTS = select(personas.c.made, personas.c.body, personas.c.words).where(_MINE)
_CLEAN = (
    update(personas)
    .where(personas.c.tenant == bindparam("t"), personas.c.user == bindparam("u"))
    .values(made=bindparam("v_made"), body=bindparam("v_body"), words=bindparam("v_words"))
)
_OLD_TEXTS = select(_versions.c.version, _versions.c.body, _versions.c.words).where(_HIS)
_OLD_CLEAN = (
    update(_versions)
    .where(
        _versions.c.tenant == bindparam("t"),
        _versions.c.user == bindparam("u"),
        _versions.c.version == bindparam("n"),
    )
    .values(body=bindparam("v_body"), words=bindparam("v_words"))
)


def without_examples(c: Connection, tenant: str, user: str, key: str) -> None:
    """Take a choice out of the examples that a user's personas and versions remember word for word."""
    mine = {"tenant": tenant, "user": user}
    for row in c.execute(_TEXTS, mine).all():
        clean = [_without(text, key) for text in row]
        if clean != list(row):
            values = dict(zip(("v_made", "v_body", "v_words"), clean, strict=True))
            c.execute(_CLEAN, {"t": tenant, "u": user, **values})
    for number, body, words in c.execute(_OLD_TEXTS, mine).all():
        clean = [_without(body, key), _without(words, key)]
        if clean != [body, words]:
            values = {"t": tenant, "u": user, "n": number, "v_body": clean[0], "v_words": clean[1]}
            c.execute(_OLD_CLEAN, values)


def _without(text: str | None, key: str) -> str | None:
    """Return a persona's JSON without one choice among its examples."""
    persona: Mapping[str, Any] | None = unpack(text)
    shown: Sequence[Mapping[str, Any]] = (persona or {}).get("examples") or ()
    stay = [each for each in shown if each.get("id") != key and not str(each.get("id")).startswith(key + "#")]
    return text if persona is None or len(stay) == len(shown) else pack({**persona, "examples": stay})
