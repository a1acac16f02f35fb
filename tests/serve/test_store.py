"""The store itself: durable once answered, one failing write spoils no other, faults that pass."""

import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import serve_stores
from serve_stores import BACKENDS, add, fresh, kept, start_server, stop_server, writing
from serve_writer import THREADS, body
from sqlalchemy import event, text

from palate.core import ConfigError, StorageError
from palate.serve.store import Store, choices, engines, people
from palate.serve.store.choices import Kept

url, store = serve_stores.url, serve_stores.store


def numbers(store):
    with store.read() as c:
        return [row[0] for row in c.execute(text("SELECT number FROM choices ORDER BY number"))]


def keys(store):
    with store.read() as c:
        return [row[0] for row in c.execute(text("SELECT key FROM choices"))]


def test_a_killed_process_loses_nothing_that_it_acknowledged(url):
    process = writing(url, 100_000, "a")
    acknowledged = [process.stdout.readline().strip() for _ in range(120)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    acknowledged += [line for line in rest.split("\n")[:-1] if line]
    with Store.open(url) as store:
        found = keys(store)
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found)) <= len(acknowledged) + THREADS  # killed before they were printed
        assert numbers(store) == list(range(1, len(found) + 1))
        again = [Kept("ann", key, body(int(key.split("-")[2]))) for key in acknowledged]
        assert all(added.replayed for added in add(store, *again))


def test_processes_open_one_new_database_and_write_at_once(url):
    process = writing(url, 30, "a", "b", "c")
    with Store.open(url) as store:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: add(store, kept(key=f"here-{n}")), range(100)))
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert len(set(out.split())) == 3 * 30 * THREADS
        assert numbers(store) == list(range(1, 461))
        assert len(set(keys(store))) == 460
        with store.read() as c:
            assert people.state(c, "t", "ann").head == people.state(c, "t", "ann").total == 460


# ---- groups -------------------------------------------------------------------------------------------


def stalled(store):
    """Let writes gather behind one that waits; returns what lets go."""
    inside, go = threading.Event(), threading.Event()

    def op(c):
        inside.set()
        go.wait(10)

    first = store.submit(op)
    assert inside.wait(10)
    return go, first


def test_one_failing_write_in_a_group_spoils_no_other(store):
    go, first = stalled(store)

    def bad(c):
        choices.add(c, "t", [kept(key="undone")])
        raise ValueError("mine alone")

    def broken(c):
        choices.add(c, "t", [kept(key="undone too")])
        c.execute(text("INSERT INTO users (tenant) VALUES ('t')"))

    good = [store.submit(lambda c, n=n: choices.add(c, "t", [kept(key=f"k{n}")])) for n in range(3)]
    wrong = store.submit(bad)
    worse = store.submit(broken)
    good += [store.submit(lambda c, n=n: choices.add(c, "t", [kept(key=f"k{n}")])) for n in range(3, 6)]
    go.set()
    assert first.result() is None
    assert [future.result()[0].number for future in good] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="mine alone"):
        wrong.result()
    with pytest.raises(StorageError, match="IntegrityError") as told:
        worse.result()
    assert "INSERT" not in str(told.value)
    assert sorted(keys(store)) == [f"k{n}" for n in range(6)]


def test_writes_that_wait_share_one_commit(store, monkeypatch):
    commits, end = [], engines.end

    def counted(c, how):
        if how == "COMMIT":
            commits.append(how)
        end(c, how)

    monkeypatch.setattr(engines, "end", counted)
    go, first = stalled(store)
    rest = [store.submit(lambda c, n=n: choices.add(c, "t", [kept(key=f"k{n}")])) for n in range(100)]
    go.set()
    first.result()
    assert [f.result()[0].number for f in rest] == list(range(1, 101))
    assert len(commits) == 2


def test_a_reader_sees_one_state_and_never_half_a_group(store):
    add(store, kept(key="k1"))
    with store.read() as c:
        assert choices.page(c, "t", "ann").total == 1
        add(store, kept(key="k2"))
        page = choices.page(c, "t", "ann")
        assert (page.total, len(page.choices)) == (1, 1)
    with store.read() as c:
        assert choices.page(c, "t", "ann").total == 2


def test_closing_finishes_what_was_accepted(url):
    store = Store.open(url)
    go, _ = stalled(store)
    rest = [store.submit(lambda c, n=n: choices.add(c, "t", [kept(key=f"k{n}")])) for n in range(20)]
    threading.Timer(0.1, go.set).start()
    store.close()
    assert all(future.done() and future.result() for future in rest)
    store.close()
    for use in (store.ready, lambda: store.write(lambda c: None)):
        with pytest.raises(StorageError, match="is closed"):
            use()
    with Store.open(url) as again:
        assert len(keys(again)) == 20


def test_a_write_inside_a_write_is_refused_rather_than_waited_for_forever(store):
    with pytest.raises(RuntimeError, match="use its connection"):
        store.write(lambda c: store.write(lambda c: None))


# ---- faults -------------------------------------------------------------------------------------------


def test_a_database_that_goes_away_and_comes_back(tmp_path):
    with Store.open(fresh("postgresql", tmp_path)) as store:
        add(store, kept(key="before"))
        store.ready()
        stop_server()
        try:
            for use in (store.ready, lambda: add(store, kept(key="while")), lambda: keys(store)):
                with pytest.raises(StorageError, match="does not answer"):
                    use()
        finally:
            start_server()
        store.ready()
        assert add(store, kept(key="after"))[0].number == 2
        assert sorted(keys(store)) == ["after", "before"]


def test_a_connection_cut_between_two_writes_is_not_noticed(tmp_path):
    with Store.open(fresh("postgresql", tmp_path)) as store:
        for n in range(3):
            add(store, kept(key=f"k{n}"))
            assert len(keys(store)) == n + 1
            cut(store)
        store.ready()


def cut(store):
    """End all other connections to the store's database, as a restart of the server would."""
    import psycopg

    uri = store._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(uri, autocommit=True) as c:
        c.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        ).fetchall()
    time.sleep(0.05)


def test_a_transaction_lost_in_the_middle_is_run_again(tmp_path):
    with Store.open(fresh("postgresql", tmp_path)) as store:
        go, first = stalled(store)
        tries = []

        def op(c):
            tries.append(1)
            if len(tries) == 1:
                cut(store)
            return choices.add(c, "t", [kept(key="once")])

        rest = [store.submit(lambda c: choices.add(c, "t", [kept(key="other")])), store.submit(op)]
        go.set()
        first.result()
        assert [future.result()[0].replayed for future in rest] == [False, False]
        assert len(tries) == 2
        assert sorted(keys(store)) == ["once", "other"]


@pytest.fixture(params=["pages", "disk"])
def small(request, tmp_path):
    """A SQLite store with little room; returns it and what makes room."""
    if request.param == "pages":
        room = {"pages": 60}
        with Store.open(f"sqlite:///{tmp_path}/small.db") as store:

            @event.listens_for(store._engine, "checkout")
            def _limit(connection, *_):
                connection.execute(f"PRAGMA max_page_count = {room['pages']}").close()

            yield store, lambda: room.update(pages=100_000)
        return
    mount = tmp_path / "disk"
    mount.mkdir()
    asked = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "palate", mount], capture_output=True)
    if asked.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with Store.open(f"sqlite:///{mount}/small.db") as store:
            (mount / "ballast").write_bytes(b"x" * 2_000_000)
            yield store, (mount / "ballast").unlink
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_full_disk_is_told_and_nothing_half_written(small):
    store, make_room = small
    done, long = [], "long " * 3000

    def fill():
        for n in range(1000):
            rows = [kept(key=f"k{n}-{m}", said=long) for m in range(3)]
            add(store, *rows)
            done.extend(row.key for row in rows)

    with pytest.raises(StorageError, match="disk is full") as told:
        fill()
    assert long not in str(told.value)
    assert done
    assert sorted(keys(store)) == sorted(done)
    with store.read() as c:
        assert people.state(c, "t", "ann").total == len(done)
    make_room()
    assert add(store, kept(key="after", said=long))[0].number == len(done) + 1
    with store.read() as c:
        assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("mysql://host/x", "expected sqlite"),
        ("nonsense", "cannot be read"),
        ("oracle+what://", "expected sqlite"),
    ],
)
def test_a_wrong_url_is_told(bad, told):
    with pytest.raises(ConfigError, match=told):
        Store.open(bad)


def test_a_database_that_is_not_there_is_told_without_its_password(tmp_path):
    for bad in (f"sqlite:///{tmp_path}/no/such/folder.db", "postgresql://me:hunter2@localhost:1/x"):
        with pytest.raises(StorageError) as told:
            Store.open(bad)
        assert "hunter2" not in str(told.value)
        assert told.value.__cause__ is None


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "x.db").write_text("hello " * 1000)
    with pytest.raises(StorageError):
        Store.open(f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize("backend", BACKENDS)
def test_readers_and_writers_at_once(backend, tmp_path):
    with Store.open(fresh(backend, tmp_path)) as store, ThreadPoolExecutor(16) as pool:
        written = pool.map(lambda n: add(store, kept(user=f"u{n % 5}", key=f"k{n}")), range(200))

        def look(n):
            with store.read() as c:
                state = people.state(c, "t", f"u{n % 5}")
                return state is None or state.total == len(choices.history(c, "t", f"u{n % 5}"))

        assert all(pool.map(look, range(200)))
        assert len(list(written)) == 200
