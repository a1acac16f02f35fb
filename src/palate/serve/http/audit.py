"""Writes down who read what of whom. Changes are written down where they are made, in one transaction.

The same reading by the same key within a minute is one entry. Where an entry cannot be written, nothing is
read either: the database is away, and the answer is 503.
"""

import time

from palate.serve.http.caller import Caller
from palate.serve.keeper.lru import Lru
from palate.serve.store import audit
from palate.serve.store.store import Store

__all__ = ["Audit"]

_MINUTE = 60.0
_MOST = 10_000


class Audit:
    """The audit log's readings, of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = Lru[tuple[str, str, str | None], float](_MOST)

    def read(self, caller: Caller, action: str, user: str | None = None) -> None:
        """Write that a caller reads something, unless that stands there already.

        Raises:
            StorageError: If it cannot be written.
        """
        what = caller.key_id, action, user
        now, written = time.monotonic(), self._seen.get(what)
        if written is not None and now - written < _MINUTE:
            return
        self._store.write(lambda c: audit.note(c, caller.tenant, caller.key_id, action, user, ""))
        self._seen.put(what, now)

    def forget(self, user: str) -> None:
        """Forget that anybody read of a user: they were erased."""
        self._seen.drop_where(lambda what: what[2] == user)
