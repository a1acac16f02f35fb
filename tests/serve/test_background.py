"""The process that makes personas anew: started, started again, ended with its server or by itself."""

import signal
import time

import psutil
import pytest
from serve_live import choice
from test_cli_serve import client_of, secret_in, started

from palate.serve.keeper import Shelf
from palate.serve.keeper.model import Served, announce
from palate.serve.store.store import Store


def background(process):
    """Return the process beside a server, once it is there."""
    return wait(
        lambda: next(
            (
                child
                for child in psutil.Process(process.pid).children()
                if "palate.serve.background" in child.cmdline()
            ),
            None,
        )
    )


def wait(found, seconds=60.0):
    """Return what a function finds as soon as it finds anything."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def made_anew(client, user, n):
    """Send a choice, and wait until the persona was made anew with it and written down."""
    assert client.post("/v1/feedback", json=choice(user, n)).status_code == 200
    wait(lambda: client.get("/v1/state").json()["waiting"] == 0)
    return client.get(f"/v1/users/{user}/persona").json()["version"]


@pytest.mark.parametrize(("workers", "ended"), [("1", signal.SIGKILL), ("2", signal.SIGTERM)])
def test_personas_are_made_anew_beside_the_server_and_so_again_after_that_ended(
    model, tmp_path, workers, ended
):
    with started(tmp_path, "--model", model, "--workers", workers) as (process, url, told, log):
        with client_of(url, secret_in(told)) as client:
            first = background(process)
            assert made_anew(client, "ann", 0) == 1
            first.send_signal(ended)
            assert made_anew(client, "ann", 1) >= 2
        second = background(process)
        assert second.pid != first.pid
        assert "it is started again" in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not second.is_running()


def test_it_ends_by_itself_when_its_server_was_killed(model, tmp_path):
    with started(tmp_path, "--model", model) as (process, *_):
        beside = background(process)
        process.kill()
        process.wait()
        wait(lambda: not psutil.pid_exists(beside.pid))


def test_a_process_that_comes_later_serves_what_was_swapped_in_meanwhile(model, tmp_path):
    other = Served(Served.load(model).method, folder=str(tmp_path / "other"))
    other.method.save(other.folder)
    with Store.open("sqlite://") as store:
        before = time.time()
        assert Shelf.open(store, model, before).active.folder == model
        announce(store, other)
        assert Shelf.open(store, model, before).active.folder == other.folder
        assert Shelf.open(store, model, time.time()).active.folder == model
