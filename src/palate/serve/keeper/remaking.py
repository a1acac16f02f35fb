"""Personas made anew from whole histories, many users at a time, and written down.

One user whose history a method cannot take must not keep others waiting: a batch that fails is halved until
the one at fault stands alone. A model that does not answer is nobody's fault: the batch waits whole.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection

from palate.core import History, ModelError, PalateError, Persona, StorageError
from palate.serve.keeper.edits import edited, with_said
from palate.serve.keeper.making import each_made, plain
from palate.serve.keeper.model import Served
from palate.serve.store import Store, choices, clock, people, personas
from palate.serve.store.people import UserState
from palate.serve.store.personas import KeptEdit, KeptPersona, KeptVersion

__all__ = ["remake", "version_of"]

_Row = tuple[str, UserState, KeptPersona, tuple[KeptEdit, ...], tuple[str, str]]
_AT_ONCE = 4  # users of one transaction: while it lasts no choice is kept
_log = logging.getLogger(__name__)


def remake(store: Store, served: Served, tenant: str, users: Sequence[str]) -> dict[str, str | None]:
    """Make users' personas from their whole histories and write them down.

    A user who was edited, or whose choices changed in what matters, while the persona was made keeps what
    they have; so does one who was erased.

    Args:
        store: What is kept.
        served: The model.
        tenant: Whose users.
        users: Each once.

    Returns:
        For each user None, or why there is no new persona: "changed" where it is to be tried again at once.
    """
    with store.read() as c:
        states = people.states(c, tenant, users)
        kept = personas.loads(c, tenant, users)
        edits = personas.edits_of(c, tenant, users)
        stale = [user for user in users if user in states and _stale(states[user], served)]
        histories = choices.histories(c, tenant, stale)
    out: dict[str, str | None] = dict.fromkeys(users)
    found = each_made(served.method, histories)
    good = [
        history for history, persona in zip(histories, found, strict=True) if isinstance(persona, Persona)
    ]
    bodies = {p.user or "": p for p in found if isinstance(p, Persona)}
    out |= {h.user: _fault(p) for h, p in zip(histories, found, strict=True) if not isinstance(p, Persona)}
    words = _words(served, good, bodies)
    rows = []
    for history in good:
        user = history.user
        standing = tuple(edits.get(user, ()))
        row = _row(served, bodies[user], words.get(user), standing, states[user], kept.get(user))
        rows.append((user, states[user], row, standing, _cause(kept.get(user), served, len(history))))

    for start in range(0, len(rows), _AT_ONCE):
        out |= _saved(store, tenant, rows[start : start + _AT_ONCE])
    return out


def _saved(store: Store, tenant: str, rows: Sequence[_Row]) -> dict[str, str | None]:
    def op(c: Connection) -> dict[str, bool]:
        return {row[0]: _save(c, tenant, *row) for row in rows}

    return {user: None if done else "changed" for user, done in store.write(op).items()}


def _stale(state: UserState, served: Served) -> bool:
    """Return whether there is anything to make anew."""
    fresh = state.exact and state.upto == state.head and state.model == served.fingerprint
    return not fresh


def _fault(error: object) -> str:
    """Return why a persona could not be made, without a word of the user's."""
    if isinstance(error, ModelError | StorageError):
        return str(error)
    _log.warning("a persona could not be made: %s", type(error).__name__)
    kind = type(error).__name__
    return f"{kind}: the method could not take the user's history" if isinstance(error, PalateError) else kind


def _words(served: Served, histories: Sequence[History], bodies: dict[str, Persona]) -> dict[str, Persona]:
    """Return the words that another method finds for users whose persona has none."""
    mute = [h for h in histories if not (bodies[h.user].claims or bodies[h.user].text)]
    if served.words is None or not mute:
        return {}
    found = each_made(served.words, mute)
    return {p.user or "": p for p in found if isinstance(p, Persona)}


def _row(
    served: Served,
    body: Persona,
    words: Persona | None,
    edits: tuple[KeptEdit, ...],
    state: UserState,
    kept: KeptPersona | None,
) -> KeptPersona:
    corrected = edited(served.method, body, edits)
    if words is not None and served.words is not None:
        words = with_said(edited(served.words, words, edits, own=False), edits)
    elif with_said(corrected, edits) != corrected:
        words = with_said(corrected, edits)
    return KeptPersona(
        rev=kept.rev if kept else 0,
        version=(kept.version if kept else 0) + 1,
        edited=kept.edited if kept else 0,
        model=served.fingerprint,
        upto=state.head,
        exact=True,
        made=plain(body),
        body=plain(corrected),
        words=None if words is None else plain(replace(words, verdict=corrected.verdict)),
        time=clock.now(),
    )


def _cause(kept: KeptPersona | None, served: Served, count: int) -> tuple[str, str]:
    choices_ = f"{count} choice{'' if count == 1 else 's'}"
    if kept is not None and kept.model != served.fingerprint:
        return "model", f"made anew from {choices_} by another model, {served.label}"
    return "adapted", f"made from {choices_}"


def _save(
    c: Connection,
    tenant: str,
    user: str,
    state: UserState,
    row: KeptPersona,
    edits: Sequence[KeptEdit],
    cause: tuple[str, str],
) -> bool:
    if not personas.save(c, tenant, user, row, born=state.born):
        return False
    if cause[0] == "adapted":  # of each hour the last is kept, besides those that an edit was made on
        personas.drop_adapted(c, tenant, user, row.edited, row.time - row.time % 3600)
    personas.add_version(c, tenant, user, version_of(row, edits, *cause))
    return True


def version_of(row: KeptPersona, edits: Sequence[KeptEdit], cause: str, told: str) -> KeptVersion:
    """Return what is written down of a persona's version."""
    stand = [asdict(edit) for edit in edits]
    return KeptVersion(row.version, cause, told, row.model, row.upto, row.body, row.words, stand, row.time)
