"""A user who is deleted is gone: from every table, from the bytes of the files, and nobody else is."""

import random
import threading

import orjson
import pytest
import serve_stores
from serve_stores import BACKENDS, add, fresh, kept
from sqlalchemy import text

from palate.core import StorageError
from palate.serve.store import Store, audit, choices, erase, jobs, keys, people, personas, traces
from palate.serve.store.personas import KeptEdit, KeptPersona, KeptVersion
from palate.serve.store.schema import METADATA, OF_USERS

url, store = serve_stores.url, serve_stores.store


def fill(store, users, rng, rows=6):
    """Write users in random order, with texts of their own, grown and overwritten."""
    for step in rng.sample([(user, n) for user in users for n in range(rows)], len(users) * rows):
        user, n = step
        mark = f"~{user}~"
        add(store, kept(user=user, key=f"{mark}{n}", said=mark * rng.randint(1, 200), reason=mark))
        persona = {"text": mark * rng.randint(1, 300), "examples": []}

        def believe(c, user=user, mark=mark, persona=persona, n=n):
            state = people.state(c, "t", user)
            held = KeptPersona(state.rev or 0, n, 0, "m", 1, True, persona, persona, persona, 1.0)
            assert personas.save(c, "t", user, held, born=state.born)
            version = KeptVersion(state.head, "adapted", mark, "m", 1, persona, None, [persona], 1.0)
            personas.add_version(c, "t", user, version)
            personas.set_edit(c, "t", user, KeptEdit(f"{mark}{n % 2}", "say", text=mark * 3))
            people.set_profile(c, "t", user, {mark: mark * rng.randint(1, 20)})
            audit.note(c, "t", "key_1", "read persona", user)
            if not n:
                keys.make(c, "t", user, mark, ["read"])

        store.write(believe)


def all_bytes(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def dump(store):
    """Return every row of every table."""
    with store.read() as c:
        return {
            name: [tuple(row) for row in c.execute(text(f'SELECT * FROM "{name}"'))]
            for name in METADATA.tables
        }


def test_the_files_hold_no_byte_of_a_deleted_user(tmp_path):
    """Every file that SQLite keeps, read while the store is open and again after it is closed."""
    users = [f"U{n:03}Q" for n in range(60)]
    rng = random.Random(0)
    with Store.open(f"sqlite:///{tmp_path}/palate.db") as store:
        fill(store, users, rng)
        assert all(any(user.encode() in held for held in all_bytes(tmp_path).values()) for user in users)
        gone = rng.sample(users, 20)
        for user in gone:
            assert erase.erase(store, "t", user)
            for name, held in all_bytes(tmp_path).items():
                assert user.encode() not in held, (user, name)
        assert {file.name for file in tmp_path.iterdir()} >= {"palate.db", "palate.db-wal", "palate.db-shm"}
        with store.read() as c:
            assert {each.user for each in people.listed(c, "t")} == set(users) - set(gone)
            assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert not [user for user in gone for held in all_bytes(tmp_path).values() if user.encode() in held]


def test_without_writing_the_file_anew_some_would_stay(tmp_path, monkeypatch):
    """Why a small file is written anew and a large one compacted; and the search finds what is left."""
    monkeypatch.setattr(traces, "SMALL", 0)
    monkeypatch.setattr(traces, "MIDDLE", 0)
    users = [f"U{n:03}Q" for n in range(150)]
    rng = random.Random(1)
    with Store.open(f"sqlite:///{tmp_path}/palate.db") as store:
        fill(store, users, rng, rows=3)
        receipts = [erase.erase(store, "t", user) for user in users[:100]]
        assert all("compact" in " ".join(receipt.remains) for receipt in receipts)
        assert left_of(users[:100], tmp_path)
        traces.compact(store)
        assert left_of(users[:100], tmp_path) == []
        assert left_of(users[100:], tmp_path) == users[100:]
        assert add(store, kept())[0].number == 1


def left_of(users, folder):
    held = b"".join(all_bytes(folder).values())
    return [user for user in users if user.encode() in held]


def test_no_table_holds_a_deleted_user_and_the_others_are_untouched(store):
    fill(store, ["U1Q", "U2Q", "U3Q"], random.Random(0), rows=3)
    add(store, kept(user="U1Q", key="another tenant's"), tenant="other")
    before = dump(store)
    receipt = erase.erase(store, "t", "U1Q", actor="key_1", beside={"texts": 4})
    after = dump(store)
    for name in {table.name for table in OF_USERS} - {"keys"}:
        assert after[name] == [row for row in before[name] if row[:2] != ("t", "U1Q")]
    assert len(after["keys"]) == len(before["keys"]) - 1
    assert "U1Q" not in str([row for rows in after.values() for row in rows if row[0] != "other"])
    assert receipt.erased == {
        "users": 1,
        "choices": 3,
        "personas": 1,
        "versions": 3,
        "edits": 2,
        "jobs": 1,
        "keys": 1,
        "texts": 4,
    }
    assert set(receipt.erased) == {table.name for table in OF_USERS} | {"texts"}
    with store.read() as c:
        assert erase.receipt(c, "t", receipt.id) == receipt
        assert erase.receipt(c, "other", receipt.id) is None
        assert erase.last(c) == 1
        log = audit.page(c, "t", user=receipt.id).rows
        assert [row.action for row in log] == ["erase"] + ["read persona"] * 3
    assert "3 entries of the audit log" in " ".join(receipt.remains)
    assert "U1Q" not in receipt.model_dump_json()
    assert erase.erase(store, "t", "U1Q") is None
    assert add(store, kept(user="U1Q")) == [choices.Added(1)]


def test_an_export_holds_all_that_is_kept(store):
    fill(store, ["U1Q", "U2Q"], random.Random(0), rows=3)
    with store.read() as c:
        told = erase.export(c, "t", "U1Q")
        assert erase.export(c, "t", "nobody") is None
    assert len(told.choices) == len(told.versions) == len(told.audit) == 3
    assert (len(told.edits), len(told.tokens)) == (2, 1)
    assert told.persona["body"]["text"].startswith("~U1Q~")
    assert list(told.profile) == ["~U1Q~"]
    written = orjson.dumps(told.model_dump()).decode()
    assert "U2Q" not in written
    assert "hash" not in told.tokens[0]
    for name, rows in dump(store).items():  # every text of every row of the user's is in it
        for row in rows:
            if name in ("choices", "personas", "versions", "edits", "users") and row[1] == "U1Q":
                marks = [value for value in row if isinstance(value, str) and value.startswith("~U1Q~")]
                assert all(mark in written for mark in marks)


def test_a_choice_that_comes_while_its_user_is_deleted(store):
    """Either it was before, and is gone, or after, and is the first of a new user's."""
    stop = threading.Event()
    last = []

    def choose():
        n = 0
        while not stop.is_set():
            n += 1
            last[:] = add(store, kept(key=f"k{n}"))

    writer = threading.Thread(target=choose)
    writer.start()
    try:
        for _ in range(8):
            erase.erase(store, "t", "ann")
    finally:
        stop.set()
        writer.join()
    with store.read() as c:
        state = people.state(c, "t", "ann")
        numbers = [row.number for row in choices.page(c, "t", "ann", limit=10_000).choices]
        assert numbers == list(range(state.head, 0, -1))
        assert jobs.counts(c)[0] == 1
        assert last[0].number == state.head


def test_a_reader_that_stays_does_not_stop_a_deletion(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/palate.db") as store:
        add(store, kept(user="U1Q", said="~U1Q~"))
        with store.read() as c:
            assert people.state(c, "t", "U1Q")
            assert erase.erase(store, "t", "U1Q")
            assert people.state(c, "t", "U1Q")  # it sees what was when it began
        for _ in range(200):
            if not left_of(["U1Q"], tmp_path):
                break
            threading.Event().wait(0.05)
        assert left_of(["U1Q"], tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_compacting_keeps_all_rows(backend, tmp_path):
    with Store.open(fresh(backend, tmp_path)) as store:
        fill(store, ["U1Q", "U2Q"], random.Random(0), rows=2)
        before = dump(store)
        traces.compact(store)
        assert dump(store) == before


def test_postgresql_tells_what_it_keeps(tmp_path):
    with Store.open(fresh("postgresql", tmp_path)) as store:
        add(store, kept())
        assert "write-ahead log" in " ".join(erase.erase(store, "t", "ann").remains)
        store.close()
        with pytest.raises(StorageError):
            erase.erase(store, "t", "ann")
