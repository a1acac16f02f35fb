"""A copy made while others write is the database at one moment, and serves as one."""

import threading

import pytest

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


def test_a_copy_holds_what_was_acknowledged_before_it_began(tmp_path):
    told, stop = [], threading.Event()
    with Store.open(f"sqlite:///{tmp_path / 'palate.db'}") as store:

        def writing():
            while not stop.is_set():
                add(store, f"k{len(told)}")
                told.append(f"k{len(told)}")

        thread = threading.Thread(target=writing)
        thread.start()
        while len(told) < 50:
            stop.wait(0.01)
        before = list(told)
        size = back_up(store, tmp_path / "copy.db")
        stop.set()
        thread.join()
        later = keys_of(store)
    assert size == (tmp_path / "copy.db").stat().st_size > 0
    with Store.open(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        there = keys_of(copy)
        assert set(before) <= set(there) <= set(later)
        assert sorted(there, key=lambda k: int(k[1:])) == [f"k{n}" for n in range(len(there))]  # one moment
        add(copy, "after")  # it goes on as a database
        assert len(keys_of(copy)) == len(there) + 1


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
