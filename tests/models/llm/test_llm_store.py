"""The store: found again by content, read by people, erased on demand, shared, and never a key."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from llm_parts import COUNT, asking, count, say

from palate.core import ConfigError
from palate.models.llm.claims import Claims
from palate.models.llm.client import Task
from palate.models.llm.engine import Completion, RateLimited, identity
from palate.models.llm.program import Message
from palate.models.llm.records import Use, pack
from palate.models.llm.session import connect, language_models
from palate.models.llm.store import Store, store_folder
from palate.models.llm.wire import Token


def call(text, model="fake:a", fields=None, completion=None):
    """A packed call and its key."""
    request = say(text, **(fields or {}))
    messages = request.told(8192).messages
    key = request.key(identity(model), messages)
    found = completion or Completion(f"about {text}", "stop", 10, 5)
    return key, pack(key, model, request, messages, found, 0.5, time.time())


def filled(folder):
    """Two calls of ann, one of both, one of bob."""
    store = Store(folder, "run-1")
    for text, users in [("one", ["ann"]), ("two", ["ann"]), ("both", ["ann", "bob"]), ("three", ["bob"])]:
        _, packed = call(text)
        store.put(packed, [Use(user, "pi") for user in users])
    return store


# ---- what is kept -------------------------------------------------------------------------------------


def test_a_call_is_kept_whole(tmp_path):
    token = Token("a", -0.5, (("a", -0.5), ("b", -1.0)))
    completion = Completion("Ünïcode \U0001f600 \ud800", "length", 12, 3, (token,))
    with Store(tmp_path, "run-1") as store:
        key, packed = call("x", fields={"seed": 4, "temperature": 0.7, "logprobs": 2}, completion=completion)
        store.put(packed, [Use("ann", "pi")])
        kept = store.get([key, "0" * 32])
        assert list(kept) == [key]
        assert kept[key].completion == completion
        (found,) = store.calls()
    assert (found.key, found.model, found.text, found.finish) == (key, "fake:a", completion.text, "length")
    assert found.messages[1] == Message("user", "<text>\nx\n</text>\n\nWrite one line.")
    settings = {"temperature": 0.7, "seed": 4, "sample": 0, "logprobs": 2, "max_tokens": 40}
    assert found.settings == settings
    assert (found.tokens_in, found.tokens_out, found.seconds, found.logprobs) == (12, 3, 0.5, (token,))
    assert found.uses == (Use("ann", "pi", "run-1"),)
    assert abs(found.when - time.time()) < 60


def test_answers_are_there_for_the_next_process(tmp_path):
    key, packed = call("x")
    Store(tmp_path, "a").put(packed, [])  # not closed: as if killed
    assert key in Store(tmp_path, "b").get([key])


def test_only_its_owner_may_read_the_file(tmp_path):
    store = filled(tmp_path / "lm")
    if os.name == "posix":
        assert store.path.stat().st_mode & 0o077 == 0
        assert store.path.parent.stat().st_mode & 0o077 == 0


def test_the_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PALATE_LM_STORE", str(tmp_path / "mine"))
    assert store_folder() == tmp_path / "mine"
    monkeypatch.delenv("PALATE_LM_STORE")
    assert store_folder() == Path.home() / ".cache" / "palate" / "lm"


# ---- reading ------------------------------------------------------------------------------------------


def test_calls_are_found_by_user_method_program_and_key(engine, session):
    client = connect("fake:a")
    engine.does = lambda text, request, number: "Answer: 1" if request.program is COUNT else "fine"
    client.ask([say("x"), say("y")], user="ann", method="pi")
    client.ask([say("x"), count("z")], user="bob", method="memory")
    store = session.store

    def texts(**wanted):
        return [c.messages[1].content.split("\n")[1] for c in store.calls(**wanted)]

    assert sorted(texts()) == ["x", "y", "z"]
    assert texts()[0] == "z"  # the newest first
    assert sorted(texts(user="ann")) == ["x", "y"]
    assert sorted(texts(user="bob")) == ["x", "z"]
    assert sorted(texts(method="memory")) == ["x", "z"]
    assert texts(user="ann", method="memory") == []
    assert texts(program="count") == ["z"]
    assert texts(program=COUNT.key) == ["z"]
    assert texts(program="cou") == []
    (one,) = store.calls(program="count")
    for length in (1, 7, 32):
        assert one.key in {c.key for c in store.calls(key=one.key[:length])}
    assert len(list(store.calls(key=one.key[:12]))) == 1
    assert len(texts(limit=2)) == 2
    shared = next(c for c in store.calls() if "\nx\n" in c.messages[1].content)
    assert {(use.user, use.method) for use in shared.uses} == {("ann", "pi"), ("bob", "memory")}


def test_many_calls_are_read_page_by_page(tmp_path):
    with Store(tmp_path, "r") as store:
        for number in range(250):
            store.put(call(str(number))[1], [])
        read = [c.text for c in store.calls()]
        assert read == [f"about {number}" for number in reversed(range(250))]
        assert len(list(store.calls(limit=120))) == 120


def test_a_key_that_is_none_is_told(tmp_path):
    with Store(tmp_path, "r") as store, pytest.raises(ConfigError, match="palate trace"):
        list(store.calls(key="xyz"))


# ---- forgetting ---------------------------------------------------------------------------------------


def test_forgetting_erases_what_a_user_alone_holds(tmp_path):
    with Store(tmp_path, "r") as store:
        secret = "Ann's dark secret " * 30
        request = say(secret)
        messages = request.told(8192).messages
        key = request.key("m", messages)
        row = pack(key, "m", request, messages, Completion(secret), 0.1, 0.0)
        raw = row.prompt
        store.put(row, [Use("ann", "pi")])
    with filled(tmp_path) as store:
        assert raw in store.path.read_bytes() + Path(f"{store.path}-wal").read_bytes()
        assert store.forget("ann") == 3
        assert sorted(c.text for c in store.calls()) == ["about both", "about three"]
        assert {use.user for c in store.calls() for use in c.uses} == {"bob"}
        assert store.forget("nobody") == 0
        assert raw not in store.path.read_bytes()
        assert b"ann" not in store.path.read_bytes()


# ---- damage -------------------------------------------------------------------------------------------


def test_a_damaged_file_is_moved_aside_with_a_warning(tmp_path):
    with filled(tmp_path) as store:
        path = store.path
    path.write_bytes(b"this is no database" * 300)
    with pytest.warns(UserWarning, match=r"was damaged.*calls\.sqlite\.damaged"):
        store = Store(tmp_path, "r")
    assert list(store.calls()) == []
    key, packed = call("x")
    store.put(packed, [])
    assert key in store.get([key])
    assert path.with_name("calls.sqlite.damaged").read_bytes().startswith(b"this is no")


def test_damage_in_the_middle_of_a_run_is_mended(tmp_path):
    store = filled(tmp_path)
    with sqlite3.connect(store.path) as other:
        other.execute("DROP TABLE calls")
    key, packed = call("x")
    with pytest.warns(UserWarning, match="was damaged"):
        store.put(packed, [])
    assert key in store.get([key])


def test_a_damaged_row_is_asked_for_again(engine, tmp_path):
    with language_models(folder=tmp_path) as session:
        connect("fake:a").ask([say("x")])
        with sqlite3.connect(session.store.path) as other:
            other.execute("UPDATE calls SET answer = x'00'")
        assert connect("fake:a").ask([say("x")])[0].paid
        assert not connect("fake:a").ask([say("x")])[0].paid


# ---- claims -------------------------------------------------------------------------------------------

KEY = "ab" * 16


def test_a_claim_keeps_others_away_until_it_ends(tmp_path):
    one, two = Store(tmp_path, "one"), Store(tmp_path, "two")
    assert one.claim(KEY, 60).mine
    assert not two.claim(KEY, 60).mine
    one.drop(KEY)
    assert two.claim(KEY, 60) == (True, None, False)


def test_an_answer_ends_a_claim(tmp_path):
    one, two = Store(tmp_path, "one"), Store(tmp_path, "two")
    key, packed = call("x")
    one.claim(key, 60)
    one.put(packed, [])
    claim = two.claim(key, 60)
    assert not claim.mine
    assert claim.kept.completion.text == "about x"
    with sqlite3.connect(one.path) as file:
        assert file.execute("SELECT count(*) FROM claims").fetchone() == (0,)


def test_a_claim_ends_with_its_lease(tmp_path):
    one, two = Store(tmp_path, "one"), Store(tmp_path, "two")
    one.claim(KEY, 0.05)
    time.sleep(0.1)
    assert two.claim(KEY, 60) == (True, None, True)
    assert not one.extend(KEY, 60)  # too late: it is another's
    assert two.extend(KEY, 60)
    one.drop(KEY)
    assert not one.claim(KEY, 60).mine


def test_a_claim_ends_with_its_process(tmp_path):
    code = f"""
from pathlib import Path
from palate.models.llm.store import Store
store = Store(Path({str(tmp_path)!r}), "child")
assert store.claim({KEY!r}, 600).mine
import os
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert Store(tmp_path, "two").claim(KEY, 60) == (True, None, True)


def test_a_claim_ends_with_its_session(tmp_path):
    one, two = Store(tmp_path, "one"), Store(tmp_path, "two")
    one.claim(KEY, 600)
    one.close()
    assert two.claim(KEY, 60) == (True, None, False)


def test_the_same_number_of_a_process_is_not_the_same_process(tmp_path):
    """A container's processes may well get the numbers of those that died."""
    store = Store(tmp_path, "one")
    with sqlite3.connect(store.path) as file:
        row = (bytes.fromhex(KEY), "dead", Claims("x")._host, os.getpid(), time.time() + 600)
        file.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?)", row)
    assert store.claim(KEY, 60).interrupted


def test_another_machines_claim_is_left_to_its_lease(tmp_path):
    store = Store(tmp_path, "one")
    with sqlite3.connect(store.path) as file:
        row = (bytes.fromhex(KEY), "far", "another-host", 1, time.time() + 600)
        file.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?)", row)
    assert not store.claim(KEY, 60).mine


def test_two_sessions_share_a_call_on_its_way(engine, tmp_path):
    """What two processes do, in one: the second waits for the first one's answer."""
    engine.latency = 0.3
    replies = []

    def work():
        with language_models(folder=tmp_path, concurrency=2):
            replies.extend(connect("fake:a").ask([say("same"), say("other")]))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(engine.texts) == ["other", "same"]
    assert sum(reply.paid for reply in replies) == 2
    assert {reply.text for reply in replies} == {"about same", "about other"}


def test_waiting_for_another_process_does_not_stop_other_work(engine, tmp_path):
    held, done = Store(tmp_path, "another"), []
    with language_models(folder=tmp_path, concurrency=2):
        request = say("held")
        key = request.key(identity("fake:a"), request.told(8192).messages)
        held.claim(key, 20)

        def note(i):
            yield [say(f"free {i}")]
            done.append(i)
            if len(done) == 20:
                held.drop(key)

        began = time.monotonic()
        list(connect("fake:a").run([Task(asking("held")), *(Task(note(i)) for i in range(20))]))
        assert time.monotonic() - began < 15  # less than the lease
        assert engine.texts[-1] == "held"


def test_a_claim_that_is_lost_while_a_call_waits_is_not_called_again(engine, tmp_path):
    """A pause, after which another process turns out to have made the call: ours takes its answer."""
    other, request = Store(tmp_path, "other"), say("x")
    key = request.key(identity("fake:a"), request.told(8192).messages)

    def take_over():
        time.sleep(0.2)
        with sqlite3.connect(other.path) as file:
            file.execute("UPDATE claims SET until = 0")
        assert other.claim(key, 20).interrupted
        other.put(call("x")[1], [])

    def does(text, request, number):
        threading.Thread(target=take_over).start()
        return RateLimited("429", 1.0)

    engine.does = does
    with language_models(folder=tmp_path):
        (reply,) = connect("fake:a").ask([request])
    assert (reply.text, reply.paid, len(engine.seen)) == ("about x", False, 1)


def test_calls_of_a_dead_process_are_counted(engine, session):
    request = say("x")
    key = request.key(identity("fake:a"), request.told(8192).messages)
    session.store.get([])
    with sqlite3.connect(session.store.path) as file:
        row = (bytes.fromhex(key), "dead", Claims("y")._host, 2**22 + 11, time.time() + 600)
        file.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?)", row)
    connect("fake:a").ask([request], user="ann", method="pi")
    (row,) = session.ledger.table()
    assert (row["method"], row["interrupted"], row["paid"]) == ("pi", 1, 1)
