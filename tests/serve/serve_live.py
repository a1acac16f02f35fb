"""A server in this process over real HTTP, a store and a small model: what tests of the service share."""

import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from palate.feedback.world import World
from palate.feedback.write import write_jsonl
from palate.serve.http.app import create_app
from palate.serve.settings import Settings
from palate.serve.store import jobs, keys
from palate.serve.store.store import Store
from palate.serve.wire.rights import SCOPES
from palate.workshop import fit_model

_TLS = ssl.create_default_context()  # made once: it is what is slow in a client
USER_SCOPES = ("feedback", "read", "use", "edit", "erase")


@dataclass
class Live:
    """A running server: its address, its parts, and keys on demand."""

    url: str
    app: Any
    store: Store
    settings: Settings

    @property
    def server(self):
        return self.app.state.server

    def key(self, *scopes: str, tenant: str = "default", user: str | None = None, days: float | None = None):
        """Make a key (all scopes by default) or a user's token; return its secret."""
        wanted = scopes or (USER_SCOPES if user else SCOPES)
        return self.store.write(lambda c: keys.make(c, tenant, user, "test", wanted, days))[1]

    def store_dump(self) -> str:
        """Return all that is kept, but for the audit log."""
        from palate.serve.store.schema import METADATA

        with self.store.read() as c:
            tables = [t for t in METADATA.sorted_tables if t.name != "audit"]
            return "\n".join(repr(sorted(map(repr, c.execute(t.select()).all()))) for t in tables)

    def settle(self) -> None:
        """Wait until all personas were made from whole histories: then nothing is written by itself."""
        end = time.monotonic() + 30
        while True:
            with self.store.read() as c:
                if not jobs.counts(c)[0]:
                    return
            assert time.monotonic() < end, "personas still wait to be made"
            time.sleep(0.05)

    def head(self, asked: str, *headers: str) -> str:
        """Return the head of a request for a plain socket, such as of "GET /v1/whoami"."""
        lines = (f"{asked} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key()}", *headers)
        return "\r\n".join(lines) + "\r\n\r\n"

    def client(self, secret: str | None = None, **more: Any) -> httpx.Client:
        """Return a client that sends a key; "" sends none."""
        secret = self.key() if secret is None else secret
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=_TLS, **more)


def fit_small(folder: Path, seed: int = 3, method: str = "style") -> str:
    """Fit a gated method on a small world, and return the model's folder."""
    people = World(users=40, pairs=20, targets=5, seed=seed).sample().population
    write_jsonl(people, folder / "choices.jsonl")
    fit_model(str(folder / "choices.jsonl"), method, "lexical", 0, {}, {}, gate=True).save(folder / "model")
    return str(folder / "model")


@contextmanager
def serving(database: str, model: str, **settings: Any):
    """Serve a database with a model until the block ends."""
    given = Settings(
        **{"database": database, "model": model, "port": 0, "rate": 0, "rate_user": 0, "rate_refused": 0}
        | {"quiet": True}
        | settings
    )
    with Store.open(database) as store:
        app = create_app(given, store)
        with listening(app) as url:
            yield Live(url, app, store, given)


@contextmanager
def listening(app: Any, **more: Any):
    """Run an application in a thread; give its address."""
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5, **more)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server ended while it started"
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def choice(user: str = "ann", n: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the body of a choice, the short answer chosen, different for each number."""
    return {
        "user": user,
        "conversation": f"How do I cook dish {n}?",
        "responses": [
            f"Boil it for {n} minutes.",
            f"First take a pot. Then fill it with water. Then wait for {n} minutes until it is done, friend.",
        ],
        "chosen": 0,
        "key": f"{user}-{n}",
        **fields,
    }
