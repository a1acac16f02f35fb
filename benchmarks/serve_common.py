"""What the benchmarks of the service share: a fitted model, a real server process, load at a fixed rate.

Load is open: requests start when they are due, whether earlier ones have ended or not, and a latency counts
from when the request was due. A server that cannot keep up shows it.
"""

import asyncio
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import numpy as np
import psutil

from palate.core import Population
from palate.feedback import write_jsonl
from palate.feedback.world import World
from palate.workshop import fit_model

PALATE = [sys.executable, "-m", "palate.cli"]


def world(users: int, pairs: int, seed: int = 0) -> Population:
    """Return people of the simulated world, ``pairs`` choices each."""
    return World(users=users, pairs=pairs, targets=2, seed=seed).sample().population


def fitted(folder: Path, users: int = 300) -> Path:
    """Fit what `palate serve` serves by default, mixed with its gate, on the world; return its folder."""
    file, model = folder / "people.jsonl", folder / "model"
    if not (model / "model.json").exists():
        write_jsonl(world(users, 12), file)
        fit_model(str(file), "mixed", "lexical+style", 0, {}, {}, gate=True).save(model)
    return model


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A `palate serve` process, and its children.

    Attributes:
        url: Where it listens.
        key: An API key with every scope.
    """

    database: str
    model: Path
    port: int
    workers: int = 1
    more: tuple[str, ...] = ()
    key: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    log: Path = Path(os.devnull)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def make_key(self) -> None:
        """Make a key by the command line, as an operator would."""
        command = [*PALATE, "serve", "keys", "make", "--database", self.database, "--label", "bench"]
        scopes = ["--scopes", "feedback read use edit erase admin operator"]
        done = subprocess.run([*command, *scopes], capture_output=True, text=True, check=True)
        self.key = next(word for word in done.stdout.split() if word.startswith("pk_"))

    def start(self) -> float:
        """Start it; return seconds until it is ready."""
        command = [*PALATE, "serve", "--database", self.database, "--model", str(self.model)]
        command += ["--port", str(self.port), "--workers", str(self.workers), *self.more]
        start = time.perf_counter()
        with self.log.open("ab") as out:
            around = {**os.environ, **self.environment}
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True, env=around
            )
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: see {self.log}")
            if time.perf_counter() - start > 120:
                raise RuntimeError(f"the server was not ready within two minutes: see {self.log}")
            time.sleep(0.02)
        return time.perf_counter() - start

    def ready(self) -> bool:
        """Say whether it can serve."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of it: nothing is told, nothing is flushed."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; return seconds until it ended."""
        assert self.process is not None
        start = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.perf_counter() - start

    def used(self) -> tuple[float, int]:
        """Return processor seconds so far and bytes resident now, of all its processes."""
        assert self.process is not None
        seconds, resident = 0.0, 0
        top = psutil.Process(self.process.pid)
        for one in [top, *top.children(recursive=True)]:
            times = one.cpu_times()
            seconds += times.user + times.system
            resident += one.memory_info().rss
        return seconds, resident


@dataclass
class Took:
    """Latencies of one kind of request, in seconds, and what did not succeed."""

    latencies: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    server: float = 0.0
    client: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return what is reported: rate, quantiles in milliseconds, cores used by each side."""
        ms = 1000 * np.array(self.latencies or [np.nan])
        p50, p95, p99 = np.quantile(ms, [0.5, 0.95, 0.99])
        return {
            "n": len(self.latencies),
            "rate": round(len(self.latencies) / max(self.seconds, 1e-9), 1),
            "p50_ms": round(float(p50), 2),
            "p95_ms": round(float(p95), 2),
            "p99_ms": round(float(p99), 2),
            "max_ms": round(float(ms.max()), 2),
            "server_cores": round(self.server / max(self.seconds, 1e-9), 2),
            "load_cores": round(self.client / max(self.seconds, 1e-9), 2),
            "faults": self.faults,
        }


Ask = Callable[[aiohttp.ClientSession, int, float], Awaitable[str]]
"""Sends request number n, which was due at a moment, and returns "" or what was wrong."""


async def load(server: Server, ask: Ask, rate: float, seconds: float, seed: int = 0) -> Took:
    """Send requests at random moments, ``rate`` a second on average, for ``seconds``."""
    took, draw, running = Took(), random.Random(seed), set()
    gc.collect()
    gc.freeze()  # a pass over all that is loaded here would count as the server's time
    headers = {"Authorization": f"Bearer {server.key}"}
    connector = aiohttp.TCPConnector(limit=64)

    async def one(session: aiohttp.ClientSession, number: int, due: float) -> None:
        try:
            wrong = await ask(session, number, due)
        except (TimeoutError, aiohttp.ClientError) as error:
            wrong = type(error).__name__
        if wrong:
            took.faults[wrong] = took.faults.get(wrong, 0) + 1
        else:
            took.latencies.append(time.perf_counter() - due)

    async with aiohttp.ClientSession(server.url, headers=headers, connector=connector) as session:
        start, own, theirs = time.perf_counter(), time.process_time(), server.used()[0]
        due, number = start, 0
        while due - start < seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(one(session, number, due))
            running.add(task)
            task.add_done_callback(running.discard)
            number, due = number + 1, due + draw.expovariate(rate)
        await asyncio.gather(*running)
        took.seconds = time.perf_counter() - start
        took.client, took.server = time.process_time() - own, server.used()[0] - theirs
    return took


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return rows as a plain table."""
    columns = list(next(iter(rows.values())))
    lines = ["  ".join(["what".ljust(44), *(c.rjust(12) for c in columns)])]
    for name, row in rows.items():
        cells = (json.dumps(v) if isinstance(v, dict) else str(v) for v in row.values())
        lines.append("  ".join([name.ljust(44), *(c.rjust(12) for c in cells)]))
    return "\n".join(lines)
