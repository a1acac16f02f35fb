"""The application: its routes and layers, what it opens when it starts and closes when it ends.

Edge        request id, log, figures, headers, the last resort
CORS        only where origins are named
Guard       sizes, who calls, rates, times
routes      checked by pydantic, answered by the keeper and the store
"""

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from palate import __version__
from palate.core import PalateError
from palate.serve.http.audit import Audit
from palate.serve.http.caller import Keyring
from palate.serve.http.edge import Edge
from palate.serve.http.faults import install_faults
from palate.serve.http.limits import Guard
from palate.serve.http.logs import log
from palate.serve.http.metrics import Metrics
from palate.serve.http.openapi import describe
from palate.serve.http.routes import chat, feedback, health, operate, pages, personas, rewards, rights, use
from palate.serve.http.server import Server
from palate.serve.keeper import Keeper, Shelf
from palate.serve.settings import Settings
from palate.serve.store.store import Store
from palate.serve.upstream import Upstream

__all__ = ["create_app"]

ROUTERS: tuple[APIRouter, ...] = (
    use.router,  # what is called most comes first: routes are tried in their order
    feedback.router,
    feedback.kept,
    personas.router,
    use.asking,
    chat.router,
    rewards.router,
    rights.router,
    operate.router,
    health.router,
    pages.router,
)

_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": ["Authorization", "Content-Type", "X-Palate-User", "X-Request-Id"],
    "expose_headers": ["X-Request-Id", "X-Palate-Persona", "Retry-After"],
}


def create_app(
    settings: Settings,
    store: Store | None = None,
    keeper: Keeper | None = None,
    jobs: bool = True,
    ready: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Return the application.

    Args:
        settings: Limits, and what is opened at the start where it is not given.
        store: An open store, which the caller closes; None opens the settings' one.
        keeper: A keeper, which the caller stops; None loads the settings' model.
        jobs: Whether personas are made anew in a thread here, or by another process.
        ready: Called once all is open.
    """
    metrics = Metrics()
    app = FastAPI(
        title="Palate",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(settings, metrics, store, keeper, jobs, ready),
    )
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    install_faults(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.add_middleware(Guard, settings=settings)
    if settings.cors:
        origins = [origin.strip() for origin in settings.cors.split(",")]
        app.add_middleware(CORSMiddleware, allow_origins=origins, **_CORS)
    app.add_middleware(Edge, metrics=metrics, quiet=settings.quiet)
    return app


def _lifespan(
    settings: Settings,
    metrics: Metrics,
    store: Store | None,
    keeper: Keeper | None,
    jobs: bool,
    ready: Callable[[], None],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.threads
        kept = store or Store.open(settings.database)
        try:
            kept_by = keeper or _keeper(settings, kept, jobs)
        except PalateError as error:
            log("error", message=f"cannot start: {error}")
            if store is None:
                kept.close()
            raise
        upstream = Upstream.of(settings)
        upstream.note = metrics.upstream
        app.state.server = _server(settings, kept, kept_by, metrics, upstream)
        log("start", database=kept.backend, version=__version__)
        ready()
        try:
            yield
        finally:
            await upstream.close()
            app.state.server.pool.shutdown()
            if keeper is None:
                await anyio.to_thread.run_sync(kept_by.stop)
            if store is None:
                await anyio.to_thread.run_sync(kept.close)
            metrics.close()
            log("stop")

    return lifespan


def _server(settings: Settings, store: Store, keeper: Keeper, metrics: Metrics, upstream: Upstream) -> Server:
    return Server(
        settings=settings,
        store=store,
        keeper=keeper,
        keys=Keyring(store, settings.key_s),
        metrics=metrics,
        audit=Audit(store),
        upstream=upstream,
        pool=ThreadPoolExecutor(settings.threads, "palate"),
        started=time.time(),
    )


def _keeper(settings: Settings, store: Store, jobs: bool) -> Keeper:
    keeper = Keeper(store, Shelf.open(store, settings.model or None, settings.since), settings.report)
    keeper.start(jobs)
    return keeper
