"""What is kept, in SQLite or PostgreSQL, behind plain functions; only this folder knows SQL.

store       opens the database, hands out snapshots to read, and runs all writes through one thread
schema      the tables
migrate     brings the tables up to date; the revisions lie in migrations/
choices     what users chose, and their histories
people      users: how far each is, lists, profiles
personas    what is believed now and was before, and what the person corrected
jobs        users whose persona is to be made anew, taken by lease
keys        who may call
pool        pairs that may be shown
models      what was served
audit       who read or changed what
erase       deletion with a receipt, export
engines     connections and transactions; observed, packing, sql, clock, faults: small help

Functions take a connection first, so that several fit into one transaction:

    with store.read() as c:
        state = people.state(c, "default", "ann")
    added = store.write(lambda c: choices.add(c, "default", rows))
"""

from sqlalchemy import Connection

from palate.serve.store import audit, choices, erase, jobs, keys, models, people, personas, pool
from palate.serve.store.faults import ConflictError
from palate.serve.store.store import Store

__all__ = [
    "ConflictError",
    "Connection",
    "Store",
    "audit",
    "choices",
    "erase",
    "jobs",
    "keys",
    "models",
    "people",
    "personas",
    "pool",
]
