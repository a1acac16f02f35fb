"""`palate serve` as a process, and its subcommands: first start, workers, an orderly end, keys, erasure."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from serve_live import choice
from typer.testing import CliRunner

from palate.cli import app
from palate.core import ConfigError
from palate.serve import run
from palate.serve.run import first_key
from palate.serve.settings import Settings
from palate.serve.store import choices, keys, people
from palate.serve.store.store import Store

ASKED = {"conversation": "Hi", "responses": ["a", "b b b"]}


@contextmanager
def started(tmp_path, *options, database=None):
    """Run `palate serve` and wait until it says where; kill it at the end if it is still there."""
    url = database or f"sqlite:///{tmp_path}/palate.db"
    told, errors = tmp_path / "told.txt", tmp_path / "log.txt"
    with told.open("w") as out, errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "palate.cli", "serve", "--database", url, "--port", "0", *options],
            stdout=out,
            stderr=log,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PALATE_SERVE_GRACE_S": "10",
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": str(
                    tmp_path.parent / "compiled"
                ),  # each process need not compile anew
            },
        )
    try:
        end = time.monotonic() + 90
        while not (found := re.search(r"serves (http://\S+)", told.read_text())):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < end, errors.read_text()
            time.sleep(0.05)
        yield process, found[1], told, errors
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def client_of(url, secret):
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)


def secret_in(told):
    return re.search(r"pk_[\w-]+", told.read_text())[0]


def test_the_first_start_tells_a_key_once_and_what_to_do_with_it(model, tmp_path):
    with started(tmp_path, "--model", model) as (process, url, told, _):
        secret = secret_in(told)
        text = told.read_text()
        assert "curl" in text
        assert f"{url}/docs" in text
        with client_of(url, secret) as client:
            command = re.search(r"-d '(.*)'", text)[1]
            assert client.post("/v1/feedback", json=json.loads(command)).status_code == 200
            assert client.get("/v1/users/ann/persona").json()["choices"] == 1
            assert "operator" in client.get("/v1/whoami").json()["scopes"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with started(tmp_path) as (process, url, told, errors):  # the model that was served last
        assert "pk_" not in told.read_text()
        with client_of(url, secret) as client:
            assert client.get("/v1/users/ann/persona").json()["choices"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        events = [json.loads(line)["event"] for line in errors.read_text().splitlines()]
        assert events[0] == "start"
        assert events[-1] == "stop"
        assert secret not in errors.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_under_load_loses_nothing(model, tmp_path, workers):
    """What was acknowledged before the end is kept, once; the process ends by itself, with 0."""
    acknowledged, failed = [], []
    with started(tmp_path, "--model", model, "--quiet", "--workers", str(workers), "--rate", "0") as (
        process,
        url,
        told,
        errors,
    ):
        secret, stop = secret_in(told), threading.Event()

        def send(n):
            with client_of(url, secret) as client:
                for i in range(100_000):
                    if stop.is_set():
                        return
                    try:
                        answer = client.post("/v1/feedback", json=choice(f"user{n}", i))
                    except httpx.HTTPError as error:
                        failed.append(error)
                        return
                    if answer.status_code == 200:
                        acknowledged.append((f"user{n}", f"user{n}-{i}"))
                    else:
                        failed.append(answer.status_code)
                        return

        threads = [threading.Thread(target=send, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 150:
            assert all(thread.is_alive() for thread in threads), failed
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, errors.read_text()
        stop.set()
        for thread in threads:
            thread.join()
        assert all(isinstance(each, httpx.HTTPError) or each == 503 for each in failed), failed
        assert '"event":"error"' not in errors.read_text()
    with Store.open(f"sqlite:///{tmp_path}/palate.db") as store, store.read() as c:
        kept = {
            (user, row.id)
            for user in {user for user, _ in acknowledged}
            for row in choices.history(c, "default", user).feedback
        }
        assert set(acknowledged) <= kept
        assert people.totals(c)[1] == len(kept)


def test_workers_agree_and_their_figures_are_summed(model, tmp_path):
    with started(tmp_path, "--model", model, "--workers", "2", "--rate", "0") as (process, url, told, errors):
        secret = secret_in(told)
        end = time.monotonic() + 60
        while errors.read_text().count('"event":"start"') < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        for n in range(30):  # each by a connection of its own, so that both processes serve some
            with client_of(url, secret) as client:
                assert client.post("/v1/feedback", json=choice("ann", n)).status_code == 200
            with client_of(url, secret) as client:
                used = client.post("/v1/rank", json={"user": "ann", **ASKED}).json()["persona"]
                assert used["choices"] == n + 1  # never a stale persona, whoever answers
        served = {
            line["id"][:12] for line in map(json.loads, errors.read_text().splitlines()) if "id" in line
        }
        assert len(served) == 2
        for _ in range(4):
            with client_of(url, secret) as client:
                text = client.get("/metrics").text
                found = re.search(r'palate_choices_total\{kind="accepted"\} (\S+)', text)
                assert float(found[1]) == 30
                assert client.get("/v1/state").json()["requests"]["total"] >= 60
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


# ---- what cannot be ----------------------------------------------------------------------------------------


def command(*words, fails=False):
    done = CliRunner().invoke(app, ["serve", *words])
    if fails:
        assert isinstance(done.exception, fails), done.output
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_without_a_model_it_says_how_to_make_one(tmp_path):
    text = command("--database", f"sqlite:///{tmp_path}/a.db", "--port", "0", fails=ConfigError)
    assert "palate fit" in text
    assert "--demo" in text


def test_a_database_in_memory_would_be_another_one_in_each_process():
    assert "sqlite:///palate.db" in command("--database", "sqlite://", "--port", "0", fails=ConfigError)


@pytest.mark.parametrize(("grace_s", "seconds"), [(0.0, 0), (0.5, 1), (20.0, 20)])
def test_requests_in_flight_go_on_for_as_long_as_was_said(grace_s, seconds):
    assert run._options(Settings(grace_s=grace_s))["timeout_graceful_shutdown"] == seconds  # None is for ever


def test_a_port_that_is_taken(tmp_path, model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        url = f"sqlite:///{tmp_path}/a.db"
        text = command("--database", url, "--model", model, "--port", str(port), fails=ConfigError)
    assert f"127.0.0.1:{port}" in text
    assert "--port" in text


def test_a_model_that_is_none(tmp_path):
    at = ("--database", f"sqlite:///{tmp_path}/a.db", "--port", "0")
    assert "palate fit" in command(*at, "--model", str(tmp_path), fails=ConfigError)


# ---- keys, erasure, migrations -----------------------------------------------------------------------------


def test_keys_are_made_listed_and_revoked(tmp_path):
    at = ("--database", f"sqlite:///{tmp_path}/a.db")
    secret = command("keys", "make", *at, "--label", "app", "--scopes", "feedback read,use").strip()
    assert re.fullmatch(r"pk_[\w-]{43}", secret)
    token = command("keys", "make", *at, "--user", "ann", "--days", "2").strip()
    assert token.startswith("pu_")
    listed = command("keys", "list", *at)
    assert "feedback read use  app" in listed
    assert secret not in listed
    assert "user ann" in command("keys", "list", *at, "--user", "ann")
    with Store.open(at[1]) as store, store.read() as c:
        assert keys.find(c, secret).scopes == {"feedback", "read", "use"}
        assert keys.find(c, token).user == "ann"
        assert first_key(store) is None
    assert command("keys", "revoke", listed.split()[0], *at) == "revoked\n"
    with Store.open(at[1]) as store, store.read() as c:
        assert keys.find(c, secret) is None
    assert "no key" in command("keys", "revoke", "none", *at, fails=ConfigError)


@pytest.mark.parametrize(
    "words",
    [
        ("--scopes", "everything"),
        ("--scopes", ""),
        ("--scopes", "use", "--days", "-1"),
        ("--user", "ann", "--days", "0"),
        ("--user", "ann", "--scopes", "operator"),
        ("--user", " ann "),
    ],
)
def test_keys_that_cannot_be(tmp_path, words):
    command("keys", "make", "--database", f"sqlite:///{tmp_path}/a.db", *words, fails=ConfigError)


def test_a_user_is_erased_with_a_receipt(tmp_path):
    at = ("--database", f"sqlite:///{tmp_path}/a.db")
    with Store.open(at[1]) as store:
        rows = [choices.Kept("ann", f"k{n}", {"conversation": [], "responses": ["a", "b"]}) for n in range(3)]
        store.write(lambda c: choices.add(c, "default", rows))
    receipt = json.loads(command("erase", "--user", "ann", *at))
    assert receipt["erased"]["choices"] == 3
    assert "'ann'" in command("erase", "--user", "ann", *at, fails=ConfigError)


def test_migrations_run_by_hand(tmp_path):
    assert command("migrate", "--database", f"sqlite:///{tmp_path}/a.db") == "sqlite: up to date\n"
    assert (tmp_path / "a.db").exists()


def test_a_database_is_written_anew_by_hand(tmp_path):
    assert command("compact", "--database", f"sqlite:///{tmp_path}/a.db") == "compacted\n"


def test_the_environment_names_the_database(tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_SERVE_DATABASE", f"sqlite:///{tmp_path}/b.db")
    command("migrate")
    assert (tmp_path / "b.db").exists()
