"""What a process has open, as routes see it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, TypeVar, TypeVarTuple

from fastapi import Depends
from starlette.requests import Request

from palate.serve.http.audit import Audit
from palate.serve.http.caller import Keyring
from palate.serve.http.metrics import Metrics
from palate.serve.keeper import Keeper
from palate.serve.settings import Settings
from palate.serve.store.store import Store
from palate.serve.upstream import Upstream

__all__ = ["Here", "Server"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(kw_only=True)
class Server:
    """What a process has open.

    Attributes:
        settings: What it was told.
        store: What is kept.
        keeper: What is believed.
        keys: Who may call.
        metrics: Its figures.
        audit: Writes down who read what.
        upstream: The endpoint behind the chat proxy; it refuses calls where none is set.
        pool: Threads of the routes that are called most.
        started: When it started.
    """

    settings: Settings
    store: Store
    keeper: Keeper
    keys: Keyring
    metrics: Metrics
    audit: Audit
    upstream: Upstream
    pool: ThreadPoolExecutor
    started: float

    async def aside(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Do work in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *args)


async def _here(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


Here = Annotated[Server, Depends(_here)]
"""A route's argument: the process that serves it."""
