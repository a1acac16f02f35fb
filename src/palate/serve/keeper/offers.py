"""What may be asked of a user: the tenant's pool, less what the user saw."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from palate.core import Conversation, Persona, Turn
from palate.serve.keeper.asking import Pool, seen_code, settled, spread_of, teaching, yardstick
from palate.serve.keeper.held import Held
from palate.serve.keeper.lru import Lru
from palate.serve.keeper.texts import Offered, offered, talk_of
from palate.serve.store import Store, choices, pool
from palate.serve.wire.use import Asked, Next

__all__ = ["Offers"]

POOLED = 1000
"""Pairs of a tenant's pool that are kept in memory."""
_OWN = 20  # of the user's latest choices, by which it is measured how settled they are where there is no pool
_LATELY = 5
_PAGE = 500


class _Seen(NamedTuple):
    """What a user saw: codes of the offers by number, and the latest conversations."""

    born: int
    head: int
    total: int
    codes: set[int]
    rows: Sequence[tuple[Conversation, tuple[str, ...]]]  # the latest, last first


class Offers:
    """Pairs to ask, and how settled users are.

    Args:
        store: What is kept.
        size: Of how many users it is remembered what they saw.
    """

    def __init__(self, store: Store, size: int = 5000) -> None:
        self._store = store
        self._pools: Lru[str, tuple[tuple[int, float], Pool]] = Lru(200)
        self._averages: Lru[tuple[str, int], tuple[Offered, float | None]] = Lru(200)
        self._seen: Lru[tuple[str, str], _Seen] = Lru(size)

    def drop(self, tenant: str, user: str) -> int:
        """Let go of what a user saw; return how many entries."""
        return int(self._seen.drop((tenant, user)))

    def drop_gone(self) -> int:
        """Let go of what users saw, of all; what is still wanted is read anew. Returns how many entries."""
        return self._seen.drop_where(lambda _: True)

    def next(self, tenant: str, user: str, held: Held, body: Next) -> Asked:
        """Return the pairs that teach most about a user."""
        mine = self._of_request(body) if body.candidates else self._of(tenant)
        seen = self._seen_by(tenant, user, held)
        seed = zlib.crc32(f"{user} {seen.head}".encode())
        lately = [talk for talk, _ in seen.rows[:_LATELY]]
        pairs = teaching(held, mine, seen.codes, lately, body.count, seed)
        return Asked(pairs=pairs, settled=self.settled(tenant, user, held))

    def settled(self, tenant: str, user: str, held: Held) -> float:
        """Return how near a user's persona is to more choices changing nothing, 0 to 1."""
        if not held.choices or not held.served.cheap:
            return settled(held.choices, None, None)
        mine = self._of(tenant)
        if mine.rows:
            return self._by(mine.yard, held)
        if "own" not in held.memo:
            rows = self._seen_by(tenant, user, held).rows
            own = yardstick(offered(rows))
            held.memo["own"] = (
                None,
                settled(held.choices, spread_of(held, own), spread_of(held, own, Persona())),
            )
        return held.memo["own"][1]

    def _by(self, yard: Offered, held: Held) -> float:
        """Measure a persona by a pool's rows; what was measured before is remembered."""
        known = held.memo.get("settled")
        if known is not None and known[0] is yard:
            return float(known[1])
        average = self._averages.get((held.served.fingerprint, id(yard)))
        if average is None:
            average = (yard, spread_of(held, yard, Persona()))
            self._averages.put((held.served.fingerprint, id(yard)), average)
        found = settled(held.choices, spread_of(held, yard), average[1])
        held.memo["settled"] = (yard, found)
        return found

    def _of(self, tenant: str) -> Pool:
        """Return the tenant's pool, as it is now."""
        with self._store.read() as c:
            stamp = pool.stamp(c, tenant)
            found = self._pools.get(tenant)
            if found is not None and found[0] == stamp:
                return found[1]
            rows = pool.sampled(c, tenant, POOLED) if stamp[0] else []
        talks = [
            (tuple(Turn(t["role"], t["content"]) for t in body["conversation"]), tuple(body["responses"]))
            for _, body in rows
        ]
        mine = _pool([id for id, _ in rows], talks)
        self._pools.put(tenant, (stamp, mine))
        return mine

    def _of_request(self, body: Next) -> Pool:
        rows = [(talk_of(each.conversation), tuple(each.responses)) for each in body.candidates]
        return _pool([each.id for each in body.candidates], rows)

    def _seen_by(self, tenant: str, user: str, held: Held) -> _Seen:
        """Return what a user saw; what came since it was asked last is read alone."""
        state = held.state
        if state is None:
            return _Seen(0, 0, 0, set(), ())
        old = self._seen.get((tenant, user))
        new = state.head - old.head if old else 0
        if old is None or old.born != state.born or old.total + new != state.total:
            old = _Seen(state.born, 0, 0, set(), ())
        elif not new:
            return old
        rows = self._read(tenant, user, old.head)
        codes = old.codes | {seen_code(*row) for row in rows}
        found = _Seen(state.born, state.head, state.total, codes, (*rows, *old.rows)[:_OWN])
        self._seen.put((tenant, user), found)
        return found

    def _read(self, tenant: str, user: str, after: int) -> list[tuple[Conversation, tuple[str, ...]]]:
        """Return what was on offer in choices with a greater number, latest first."""
        out: list[tuple[Conversation, tuple[str, ...]]] = []
        before: int | None = None
        with self._store.read() as c:
            while True:
                page = choices.page(c, tenant, user, before, _PAGE)
                for row in page.choices:
                    if row.number <= after:
                        return out
                    talk = tuple(Turn(t["role"], t["content"]) for t in row.conversation)
                    out.append((talk, tuple(row.responses)))
                if page.next is None:
                    return out
                before = page.next


def _pool(ids: Sequence[str | None], rows: Sequence[tuple[Conversation, tuple[str, ...]]]) -> Pool:
    codes = np.array([seen_code(*row) for row in rows], np.int64)
    texts = offered(rows)
    return Pool(ids, rows, codes, texts, yardstick(texts))
