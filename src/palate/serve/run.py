"""The processes: what is made at the first start, workers that share one socket, and an orderly end.

SIGTERM: no new connections; requests in flight go on for at most ``grace_s`` seconds; then the background
work stops, what was accepted is written, and the process ends with 0.
"""

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from palate import __version__
from palate.core import ConfigError
from palate.serve.http.app import create_app
from palate.serve.http.logs import log_as_json
from palate.serve.http.metrics import SHARED
from palate.serve.settings import PREFIX, Settings
from palate.serve.store import Store, keys, models
from palate.serve.wire.rights import SCOPES

__all__ = ["TENANT", "first_key", "serve", "worker_app"]

TENANT = "default"
_SETTINGS = PREFIX + "SETTINGS"


def serve(settings: Settings, told: Sequence[str] = ()) -> None:
    """Serve until a signal ends it.

    Args:
        settings: What to serve, and where.
        told: Lines to print once it listens.

    Raises:
        ConfigError: If no model was given and none was served before, or the port is taken.
        StorageError: If the database cannot be opened.
    """
    secret = _prepare(settings)
    listening = _socket(settings)
    url = _url(listening)
    lines = [f"Palate {__version__} serves {url}", *told, *(_welcome(url, secret) if secret else ())]
    threading.Thread(target=_print_when_up, args=(listening.getsockname(), lines), daemon=True).start()
    config = _config(settings)
    with _shared_figures(settings.workers), listening:
        if settings.workers == 1:
            signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when all is done
            uvicorn.Server(config).run(sockets=[listening])
        else:
            os.environ[_SETTINGS] = settings.to_json()
            Multiprocess(config, target=uvicorn.Server(config).run, sockets=[listening]).run()


def worker_app() -> FastAPI:
    """Return the application of one process, by the settings that :func:`serve` left in the environment."""
    log_as_json()
    return create_app(Settings.from_json(os.environ[_SETTINGS]))


def first_key(store: Store) -> str | None:
    """Make a key that may do everything where there is none yet; return its secret, or None."""
    with store.read() as c:
        if keys.tenants(c):
            return None
    made = store.write(lambda c: keys.make(c, TENANT, None, "first key", SCOPES, None))
    return str(made.secret)


def _prepare(settings: Settings) -> str | None:
    """Bring the database up to date, once for all workers, and see that there is a model."""
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


def _config(settings: Settings) -> uvicorn.Config:
    """Return uvicorn's settings; of one process with its application, of several with how to make it."""
    several = settings.workers > 1
    if not several:
        log_as_json()
    return uvicorn.Config(
        "palate.serve.run:worker_app" if several else create_app(settings),
        factory=several,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=65,
        timeout_graceful_shutdown=int(settings.grace_s) or None,
    )


def _socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): choose another --port"
        ) from error
    listening.set_inheritable(True)
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)
    return f"http://{shown}:{port}"


def _welcome(url: str, secret: str) -> Iterator[str]:
    yield ""
    yield f'The first key, of the tenant "{TENANT}"; it may do everything, and is shown this once:'
    yield f"  {secret}"
    yield ""
    yield "Keep a choice:"
    yield f"  curl {url}/v1/feedback -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\"
    yield (
        '    -d \'{"user": "ann", "conversation": "Hi", "responses": ["Hello, how are you?", "Yo."], '
        '"chosen": 1}\''
    )
    yield f"See what is believed of ann:   curl {url}/v1/users/ann/persona -H 'Authorization: Bearer {secret}'"
    yield f"Keys of less power:            palate serve keys make --label app --scopes 'feedback read use'"
    yield f"The API: {url}/docs   The operator's page: {url}/operator#token={secret}"


def _print_when_up(address: tuple[str, int], lines: Sequence[str], longest: float = 300.0) -> None:
    """Print once a process listens: until then connections are refused."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    end = time.monotonic() + longest
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection((host, address[1]), 1).close()
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
