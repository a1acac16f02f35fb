"""Personas brought up to date when they are asked for.

What is in memory is used only if one look at the tables shows that nothing changed since: the user's choices,
the persona's revision, the model. Otherwise, in this order:

    kept      the persona in the store reflects the last choice
    steps     up to ``STEPS`` choices are new: the method takes them in one by one (``Updates``)
    whole     the persona is made from the whole history, where no language model is asked for that
    behind    it is served as it was, by the model that made it, until a job has made it anew

So several processes over one store never serve what another of them has made obsolete.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from palate.core import Feedback, History, Persona
from palate.serve.keeper.edits import edited, used
from palate.serve.keeper.held import Held
from palate.serve.keeper.lru import Lru
from palate.serve.keeper.making import each_made
from palate.serve.keeper.model import Served, Shelf
from palate.serve.store import Store, choices, people, personas
from palate.serve.store.people import UserState
from palate.serve.store.personas import KeptEdit, KeptPersona

__all__ = ["STEPS", "Current"]

STEPS = 16
"""Most choices that are taken in one by one; after more the whole history is read."""
Whose = tuple[str, str]
_log = logging.getLogger(__name__)


class _Plan(NamedTuple):
    """How one user's persona is brought up to date."""

    state: UserState
    served: Served
    edits: tuple[KeptEdit, ...]
    base: Persona | None  # to begin with; None makes it from the whole history
    upto: int
    exact: bool
    rows: tuple[Feedback, ...] = ()
    body: Persona | None = None  # with corrections, where that is kept too
    words: dict[str, Any] | None = None


class Current:
    """Personas of users, current as of the moment of asking. Threads share one.

    Args:
        store: What is kept.
        shelf: The model that is served.
        find_words: Finds the words of a persona of a tenant.
        size: How many personas are held in memory.
    """

    def __init__(
        self, store: Store, shelf: Shelf, find_words: Callable[[str, Held], Persona], size: int = 20_000
    ) -> None:
        self._store, self._shelf, self._find_words = store, shelf, find_words
        self._held: Lru[Whose, Held] = Lru(size)
        self._locks = [threading.Lock() for _ in range(64)]  # a user's persona is made once at a time

    def one(self, tenant: str, user: str | None) -> Held:
        """Return what is believed of a user now; None and users who are not known are people on average."""
        if user is None:
            return self._average(None)
        held = self._fitting(tenant, user, people.state_now(self._store, tenant, user))
        if held is not None:
            return held
        with self._locks[hash((tenant, user)) % len(self._locks)]:
            held = self._stepped(tenant, user)
            return held or self._fresh(tenant, [user])[user]

    def at_hand(self, tenant: str, user: str | None) -> Held | None:
        """Return :meth:`one` if that is in memory and takes microseconds to find current, else None."""
        if not (self._store.near and self._shelf.active.cheap):
            return None
        if user is None:
            return self._average(None)
        return self._fitting(tenant, user, people.state_now(self._store, tenant, user))

    def many(self, tenant: str, users: Sequence[str]) -> list[Held]:
        """Return what is believed of each of several users, those that need it made in one batch."""
        with self._store.read() as c:
            states = people.states(c, tenant, users)
        found = {user: self._fitting(tenant, user, states.get(user)) for user in users}
        missing = [user for user, held in found.items() if held is None]
        fresh = self._fresh(tenant, missing) if missing else {}
        return [found[user] or fresh[user] for user in users]

    def drop(self, tenant: str, user: str) -> int:
        """Let go of a user's persona; return how many were held."""
        return int(self._held.drop((tenant, user)))

    def drop_gone(self) -> int:
        """Let go of the personas of users whom the store no longer knows; return how many."""
        gone = 0
        by_tenant: dict[str, list[str]] = {}
        for tenant, user in self._held.known():
            by_tenant.setdefault(tenant, []).append(user)
        for tenant, users in by_tenant.items():
            for start in range(0, len(users), 500):
                some = users[start : start + 500]
                with self._store.read() as c:
                    known = people.states(c, tenant, some)
                gone += sum(self.drop(tenant, user) for user in some if user not in known)
        return gone

    def _average(self, user: str | None) -> Held:
        nobody = Persona(user=user)
        return Held(
            user,
            self._shelf.active,
            nobody,
            nobody,
            nobody,
            find_words=lambda held: self._find_words("", held),
        )

    def _stepped(self, tenant: str, user: str) -> Held | None:
        """Return what is in memory, if it is current or can be brought there by steps."""
        with self._store.read() as c:
            state = people.state(c, tenant, user)
            held = self._fitting(tenant, user, state)
            if held is not None or state is None:
                return held
            before = self._held.get((tenant, user))
            base = self._in_memory(before, state, self._shelf.active)
            if before is None or base is None or not self._few(base[1], state, before.served):
                return None
            rows = choices.since(c, tenant, user, base[1]).feedback
        plan = _Plan(state, before.served, before.edits, base[0], state.head, False, rows)
        return self._hold(tenant, user, plan, None)

    def _few(self, upto: int, state: UserState, served: Served) -> bool:
        """Return whether what is new can be taken in one by one."""
        return served.updates is not None and state.head - upto <= STEPS

    def _fitting(self, tenant: str, user: str, state: UserState | None) -> Held | None:
        """Return what is in memory, if nothing changed since it was made."""
        if state is None:
            self._held.drop((tenant, user))
            return self._average(user)
        held = self._held.get((tenant, user))
        if held is None or held.state != state:
            return None
        active = self._shelf.active
        fits = held.served is active or (not active.cheap and held.served is self._shelf.previous)
        return held if fits else None

    def _fresh(self, tenant: str, users: Sequence[str]) -> dict[str, Held]:
        """Bring users' personas up to date, and hold them."""
        out, whole, plans = {}, list[History](), dict[str, _Plan]()
        with self._store.read() as c:
            states = people.states(c, tenant, users)
            kept = personas.loads(c, tenant, users)
            edits = personas.edits_of(c, tenant, users)
            for user in users:
                state = states.get(user)
                if state is None:
                    out[user] = self._average(user)
                    continue
                plan = self._plan(c, tenant, user, state, kept.get(user), tuple(edits.get(user, ())))
                plans[user] = plan
            wanted = [user for user, plan in plans.items() if plan.base is None]
            if wanted:
                whole = choices.histories(c, tenant, wanted)
        served = {id(plan.served): plan.served for plan in plans.values() if plan.base is None}
        bases: dict[str, Persona | Exception] = {}
        for each in served.values():
            mine = [h for h in whole if plans[h.user].served is each]
            bases |= {h.user: p for h, p in zip(mine, each_made(each.method, mine), strict=True)}
        for user, plan in plans.items():
            base = bases.get(user)
            if isinstance(base, Exception):  # nobody is kept waiting: the job that tries again tells why
                _log.warning("a persona could not be made: %s", type(base).__name__)
                base, plan = Persona(user=user), plan._replace(upto=0, exact=False)
            out[user] = self._hold(tenant, user, plan, base)
        return out

    def _plan(
        self,
        c: Connection,
        tenant: str,
        user: str,
        state: UserState,
        kept: KeptPersona | None,
        edits: tuple[KeptEdit, ...],
    ) -> _Plan:
        served = self._shelf.active
        head, fingerprint = state.head, served.fingerprint
        mine = kept is not None and kept.model == fingerprint and (kept.upto > 0 or not head)
        if mine and kept is not None and kept.upto >= head:
            body = Persona.from_json(kept.body)
            return _Plan(
                state,
                served,
                edits,
                Persona.from_json(kept.made),
                kept.upto,
                kept.exact,
                (),
                body,
                kept.words,
            )
        base = self._in_memory(self._held.get((tenant, user)), state, served)
        if base is None and mine and kept is not None:
            base = Persona.from_json(kept.made), kept.upto
        if base is not None and self._few(base[1], state, served):
            rows = choices.since(c, tenant, user, base[1]).feedback
            return _Plan(state, served, edits, base[0], head, False, rows)
        if served.cheap:
            return _Plan(state, served, edits, None, head, True)
        if base is not None:
            return _Plan(state, served, edits, base[0], base[1], False)
        before = self._shelf.known(kept.model) if kept is not None and kept.upto > 0 else None
        if kept is not None and before is not None:
            return _Plan(state, before, edits, Persona.from_json(kept.made), kept.upto, False)
        return _Plan(state, served, edits, Persona(user=user), 0, False)

    def _in_memory(self, held: Held | None, state: UserState, served: Served) -> tuple[Persona, int] | None:
        """Return a persona in memory to take new choices into, and the number of the last it reflects.

        It serves if none of its choices was removed since: then all that came are in the total.
        """
        if (
            held is not None
            and held.state is not None
            and held.served is served
            and held.upto == held.state.head > 0
            and (held.state.born, held.state.rev) == (state.born, state.rev)
            and held.state.total + state.head - held.state.head == state.total
        ):
            return held.made, held.upto
        return None

    def _hold(self, tenant: str, user: str, plan: _Plan, whole: Persona | None) -> Held:
        served, base = plan.served, plan.base if whole is None else whole
        assert base is not None
        if served.updates is not None:
            for row in plan.rows:
                base = served.updates.update(base, row)
        corrected = plan.body
        if corrected is None:
            corrected = edited(served.method, base, plan.edits) if base.provenance else base
        held = Held(
            user, served, used(served.method, corrected, plan.edits), base, corrected,
            plan.state, plan.upto, plan.exact, plan.edits, plan.words, lambda h: self._find_words(tenant, h),
        )  # fmt: skip
        self._held.put((tenant, user), held)
        return held
