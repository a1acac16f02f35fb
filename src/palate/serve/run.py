"""The processes: what is made at the first start, workers that share one socket, and an orderly end.

SIGTERM: no new connections; requests in flight go on for at most ``grace_s`` seconds; then the background
work stops, what was accepted is written, and the process ends with 0.
"""

import contextlib
import gc
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection

from palate import __version__
from palate.core import ConfigError
from palate.serve.background import Background
from palate.serve.http.app import create_app
from palate.serve.http.logs import log_as_json
from palate.serve.http.metrics import SHARED
from palate.serve.settings import SETTINGS, Settings
from palate.serve.store import keys, models
from palate.serve.store.store import Store
from palate.serve.wire.rights import SCOPES

__all__ = ["TENANT", "first_key", "serve", "worker_app"]

TENANT = "default"
_COLLECT = (10_000, 50, 50)  # containers made and kept until the young, older and oldest are looked at


def serve(settings: Settings, told: Sequence[str] = ()) -> None:
    """Serve until a signal ends it.

    Args:
        settings: What to serve, and where.
        told: Lines to print once it listens; ``{url}`` in them is where.

    Raises:
        ConfigError: If there is no model, or the port is taken.
        StorageError: If the database cannot be opened.
    """
    settings = replace(settings, port=_free_port(settings), since=time.time())
    secret = _prepare(settings)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    lines = [
        f"Palate {__version__} serves {url}",
        *(line.replace("{url}", url) for line in told),
        *(_welcome(url, secret) if secret else ()),
    ]
    threading.Thread(target=_print_when_up, args=((host, settings.port), lines), daemon=True).start()
    _set_up()
    with Background(settings), _shared_figures(settings.workers):
        if settings.workers == 1:
            signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when all is done
            uvicorn.run(_app(settings), **_options(settings))
        else:
            os.environ[SETTINGS] = settings.to_json()
            uvicorn.run("palate.serve.run:worker_app", factory=True, **_options(settings))


def worker_app() -> FastAPI:
    """Return the application of one process, by the settings that :func:`serve` left in the environment."""
    _set_up()
    return _app(Settings.from_json(os.environ[SETTINGS]))


def _app(settings: Settings) -> FastAPI:
    return create_app(settings, jobs=False, ready=_spare_collector)


def _spare_collector() -> None:
    """Have the garbage collector look at what a request makes, not at modules and model at every turn.

    A pass over all that is loaded holds every request for 100 to 200 ms; what lives as long as the process
    is left out of it for good, and passes over the rest come seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def _set_up() -> None:
    """Set what holds for a whole process: the log's form, and that threads take turns often."""
    log_as_json()
    os.environ.setdefault("PALATE_CACHE", "off")  # vectors of users' texts lie on disk only where asked for
    sys.setswitchinterval(0.001)  # a thread that makes a persona lets requests through sooner


def first_key(store: Store) -> str | None:
    """Make a key that may do everything where there is none yet; return its secret, or None."""

    def make(c: Connection) -> str | None:  # at once, as another server may start on the same database
        return None if keys.tenants(c) else keys.make(c, TENANT, None, "first key", SCOPES)[1]

    return store.write(make)


def _prepare(settings: Settings) -> str | None:
    """Bring the database up to date, once for all processes, and see that there is a model."""
    if settings.database in ("sqlite://", "sqlite:///:memory:"):
        raise ConfigError(
            f"the database {settings.database} would be another one in each process: name a file, "
            "as sqlite:///palate.db"
        )
    if settings.model and not (Path(settings.model) / "model.json").is_file():
        raise ConfigError(f"{settings.model} holds no model: name a folder that `palate fit` wrote")
    store = Store.open(settings.database)
    try:
        with store.read() as c:
            known = models.active(c) is not None
        if not settings.model and not known:
            raise ConfigError(
                "there is no model to serve: name a folder that `palate fit FILE --out FOLDER` wrote, as "
                "`palate serve --model FOLDER`; or look at a living example with `palate serve --demo`"
            )
        return first_key(store)
    finally:
        store.close()


def _options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options."""
    return {
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "ws": "none",
        "timeout_keep_alive": 65,
        "timeout_graceful_shutdown": math.ceil(settings.grace_s),
    }


def _free_port(settings: Settings) -> int:
    """Return the port, or a free one for 0.

    Raises:
        ConfigError: If it is taken, or may not be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): choose another --port"
            ) from error
        return int(trial.getsockname()[1])


def _welcome(url: str, secret: str) -> Iterator[str]:
    yield ""
    yield f'The first key, of the tenant "{TENANT}"; it may do everything, and is shown this once:'
    yield f"  {secret}"
    yield ""
    yield "Keep a choice:"
    yield f"  curl {url}/v1/feedback -H 'Authorization: Bearer {secret}' \\"
    yield "    -H 'Content-Type: application/json' \\"
    yield """    -d '{"user": "ann", "conversation": "Hi", "responses": ["Hello!", "Yo."], "chosen": 1}'"""
    yield "See what is believed of ann:"
    yield f"  curl {url}/v1/users/ann/persona -H 'Authorization: Bearer {secret}'"
    yield "Make keys that may do less:  palate serve keys make --label app --scopes 'feedback read use'"
    yield f"The API: {url}/docs   The operator's page: {url}/operator#token={secret}"


def _print_when_up(address: tuple[str, int], lines: Sequence[str], longest: float = 300.0) -> None:
    """Print once a process listens: until then connections are refused."""
    end = time.monotonic() + longest
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(address, 1).close()
            print("\n".join(lines), flush=True)
            return
        time.sleep(0.05)
    print(f"palate: not up after {longest:g} s", file=sys.stderr)


@contextlib.contextmanager
def _shared_figures(workers: int) -> Iterator[None]:
    """Give several processes a folder in which their figures are summed; it is gone at the end."""
    if workers == 1:
        yield
        return
    folder = tempfile.mkdtemp(prefix="palate-metrics-")
    os.environ[SHARED] = folder
    try:
        yield
    finally:
        os.environ.pop(SHARED, None)
        shutil.rmtree(folder, ignore_errors=True)
