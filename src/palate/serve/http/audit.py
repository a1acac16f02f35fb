"""Writes down who read what of whom. Changes are written down where they are made, in one transaction.

The same reading by the same key within a minute is one entry. Where an entry cannot be written, nothing is
read either: the database is away, and the answer is 503.
"""

import time
from collections import OrderedDict

from palate.serve.http.caller import Caller
from palate.serve.store import audit
from palate.serve.store.store import Store

__all__ = ["Audit"]

_MINUTE = 60.0
_MOST = 10_000


class Audit:
    """The audit log's readings, of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: OrderedDict[tuple[str, str, str | None], float] = OrderedDict()

    def read(self, caller: Caller, action: str, user: str | None = None) -> None:
        """Write that a caller reads something, unless that stands there already.

        Raises:
            StorageError: If it cannot be written.
        """
        what = caller.key_id, action, user
        now = time.monotonic()
        if now - self._seen.get(what, -_MINUTE) < _MINUTE:
            return
        self._store.write(lambda c: audit.note(c, caller.tenant, caller.key_id, action, user, ""))
        self._seen[what] = now
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)

    def forget(self, user: str) -> None:
        """Forget that anybody read of a user: they were erased."""
        for what in [what for what in self._seen if what[2] == user]:
            del self._seen[what]
