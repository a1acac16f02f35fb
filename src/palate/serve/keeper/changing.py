"""A person's corrections, written down: all of them or none, and never over somebody else's.

Corrections name the version they were made on. If another edit made a later version they are refused; a new
adaptation in between is no conflict, for it changes nothing that a person said: the corrections are then
applied to the new persona, within the transaction that writes them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection

from palate.core import DataError, History, Persona, StorageError
from palate.serve.keeper.current import Current
from palate.serve.keeper.edits import edited, standing, told_of, used
from palate.serve.keeper.effect import effect
from palate.serve.keeper.held import Held
from palate.serve.keeper.making import made, plain
from palate.serve.keeper.remaking import version_of
from palate.serve.keeper.words import believed, teller
from palate.serve.store import ConflictError, Store, audit, choices, clock, people, personas
from palate.serve.store.people import UserState
from palate.serve.store.personas import KeptEdit, KeptPersona
from palate.serve.wire.persona import Edits, Effect, Reverted

__all__ = ["Changes"]

_TRIES = 8


class _Change(NamedTuple):
    """What is to stand, and what is said of it."""

    stand: list[KeptEdit]
    cause: str
    told: str
    action: str
    detail: str


class Changes:
    """Writes corrections down.

    Args:
        store: What is kept.
        current: Personas as of now.
    """

    def __init__(self, store: Store, current: Current) -> None:
        self._store, self._current = store, current

    def patch(self, tenant: str, user: str, body: Edits, actor: str) -> tuple[Held, Effect]:
        """Apply corrections, or with ``try`` tell what they would do; see :meth:`Keeper.patch`."""

        def change(held: Held) -> _Change:
            known = believed(held)
            stand = standing(held.edits, body.edits, known, clock.now())
            count = Counter(edit.do for edit in body.edits)
            detail = ", ".join(f"{do} {n}" for do, n in sorted(count.items()))
            return _Change(stand, "edited", told_of(body.edits, known), "edit", detail)

        return self._change(tenant, user, body.version, change, actor, dry=body.try_)

    def revert(self, tenant: str, user: str, body: Reverted, actor: str) -> tuple[Held, Effect]:
        """Let the corrections stand that stood at a version; see :meth:`Keeper.revert`."""
        with self._store.read() as c:
            then = personas.version(c, tenant, user, body.to)
        if then is None:
            raise DataError(f"there is no version {body.to} to go back to: see the list of versions")
        stand = [KeptEdit(**edit) for edit in then.edits]
        told = f"Went back to the corrections of version {body.to}"

        def change(_: Held) -> _Change:
            return _Change(stand, "reverted", told, "revert", f"to {body.to}")

        return self._change(tenant, user, body.version, change, actor, dry=False)

    def _change(
        self,
        tenant: str,
        user: str,
        version: int,
        change: Callable[[Held], _Change],
        actor: str,
        *,
        dry: bool,
    ) -> tuple[Held, Effect]:
        for _ in range(_TRIES):
            held = self._read(tenant, user, make=not dry)
            _agree(held.state, version)
            with self._store.read() as c:
                history = choices.history(c, tenant, user)
            wanted = change(held)
            after = _changed(held, wanted.stand, history)
            told = effect(held.served, history, (held.edits, held.weight), (after.edits, after.weight))
            if dry:
                return after, told
            if self._write(tenant, user, version, held, after, wanted, actor):
                return self._current.one(tenant, user), told
        raise StorageError("the persona kept changing while it was edited: send the request again")

    def _read(self, tenant: str, user: str, *, make: bool) -> Held:
        """Return the persona to be corrected; a user who is not known yet is made for it."""
        held = self._current.one(tenant, user)
        if held.state is None and make:
            self._store.write(lambda c: people.ensure(c, tenant, user))
            held = self._current.one(tenant, user)
        if held.state is None and held.served.cheap:
            nothing = made(held.served.method, [History(user)])[0]
            held = replace(held, persona=nothing, made=nothing, corrected=nothing, memo={})
        return held

    def _write(
        self,
        tenant: str,
        user: str,
        version: int,
        before: Held,
        after: Held,
        wanted: _Change,
        actor: str,
    ) -> bool:
        """Write corrections down; return False where another model's persona was saved meanwhile."""
        state = after.state
        assert state is not None
        first = None
        if state.rev is None and before.made.provenance is not None:
            first = version_of(
                replace(_row(before, state), edited=0), before.edits, "adapted", "before any edit"
            )
        row = _row(after, state, int(first is not None))

        def op(c: Connection) -> bool:
            now = people.state(c, tenant, user)
            if now is None or now.born != state.born:
                raise ConflictError("the user was erased while the persona was edited")
            _agree(now, version)
            written = row if now.rev == state.rev else _moved(row, after, personas.load(c, tenant, user))
            if written is None or not personas.save(c, tenant, user, written, born=state.born):
                return False
            if first is not None and now.rev is None:
                personas.add_version(c, tenant, user, first)
            personas.replace_edits(c, tenant, user, wanted.stand)
            then = replace(written, words=row.words)
            personas.add_version(c, tenant, user, version_of(then, wanted.stand, wanted.cause, wanted.told))
            audit.note(c, tenant, actor, wanted.action, user, f"{wanted.detail} (version {then.version})")
            return True

        return self._store.write(op)


def _agree(state: UserState | None, version: int) -> None:
    """Refuse corrections that were made on what somebody else edited since.

    Raises:
        ConflictError: If they were.
    """
    now, edited_ = (state.version or 0, state.edited or 0) if state is not None else (0, 0)
    if version < edited_:
        raise ConflictError(
            f"somebody edited this persona since version {version}: it is at version {now} now; "
            "read it again, then send your corrections with that version"
        )
    if version > now:
        raise ConflictError(
            f"there is no version {version} of this persona: it is at version {now}; read it again"
        )


def _changed(held: Held, stand: Sequence[KeptEdit], history: History) -> Held:
    """Return the persona with other corrections."""
    method, finds, edits = held.served.method, teller(held), tuple(stand)
    known = held.made.provenance is not None
    corrected = edited(method, held.made, edits) if known else held.made
    after = replace(
        held,
        persona=used(method, corrected, edits),
        corrected=corrected,
        edits=edits,
        kept_words=None,
        memo={},
    )
    if finds is not method:
        words = edited(finds, made(finds, [history])[0], edits, own=False)
        after = replace(after, kept_words=plain(words))
    return after


def _moved(row: KeptPersona, after: Held, kept: KeptPersona | None) -> KeptPersona | None:
    """Return the corrections applied to a persona that a job saved meanwhile; None for another model's.

    Its words are left to be found when they are read.
    """
    if kept is None or kept.model != after.served.fingerprint:
        return None
    body = Persona.from_json(kept.made)
    if body.provenance is not None:
        body = edited(after.served.method, body, after.edits)
    version = kept.version + 1
    return replace(kept, version=version, edited=version, body=plain(body), words=None, time=row.time)


def _row(after: Held, state: UserState, more: int = 0) -> KeptPersona:
    version = (state.version or 0) + 1 + more
    words, body = after.told_words, after.corrected
    same = (words.text, words.claims) == (body.text, body.claims)
    return KeptPersona(
        rev=state.rev or 0,
        version=version,
        edited=version,
        model=after.served.fingerprint,
        upto=after.upto,
        exact=after.exact,
        made=plain(after.made),
        body=plain(body),
        words=None if same else plain(words),
        time=clock.now(),
    )
