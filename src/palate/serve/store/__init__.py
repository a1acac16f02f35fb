"""What is kept, in SQLite or PostgreSQL, behind plain functions; only this folder knows SQL.

store       opens the database, hands out snapshots to read, and runs all writes through one thread
schema      the tables
migrations/ how the tables came to be, run when the store is opened
choices     what users chose, and their histories
people      users: how far each is, lists, profiles
personas    what is believed now and was before, and what the person corrected
jobs        users whose persona is to be made anew, taken by lease
keys        who may call
pool        pairs that may be shown
models      what was served
audit       who read or changed what
erase       deletion with a receipt, export
clock       the time, in one place
packing     JSON in and out
sql         the little in which the two dialects differ
faults      errors of their own

Functions take a connection first, so that several fit into one transaction:

    with store.read() as c:
        state = people.state(c, "default", "ann")
    added = store.write(lambda c: choices.add(c, "default", rows))
"""
