"""How much the service carries, and how long an answer takes: server and load on the same machine.

    python benchmarks/serve_load.py [--seconds 20] [--database URL] [--workers 1] [--out load.json]

A real server process serves `mixed` with its gate over a database that really writes to disk. Measured are

    rank       4 short responses for one of the users, texts that were embedded and users that were asked for
               before; 500 a second
    choice     one choice, answered when it is durable; 200 a second. After every fifth (--read-every) the
               responses are ranked for that user, by a persona that must reflect it; the latency of both
               together is told beside
    chat       time to the first token through the proxy, less the same upstream's asked directly

Latencies count from when a request was due. ``cores`` are processor seconds a second.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from serve_common import Server, Took, fitted, free_port, load, table, world

from palate.fakes.server import Server as Upstream

PROMPTS = 64
"""Distinct questions with four responses each that are ranked over and over."""


def questions(count: int) -> list[dict[str, object]]:
    """Return bodies for `rank`, four short responses each."""
    endings = (
        "Yes.",
        "Yes, and here is why, step by step.",
        "Sure thing! 😊",
        "It depends; see the notes below.",
    )
    return [
        {
            "conversation": f"Should question {n} be answered in short?",
            "responses": [f"{ending} ({n})" for ending in endings],
        }
        for n in range(count)
    ]


async def seed(server: Server, users: int, choices: int) -> list[str]:
    """Send every user's choices, and read their personas once; return the users' names."""
    people = world(users, choices, seed=7)
    rows = [
        {
            "user": str(row.user),
            "conversation": row.conversation[-1].content,
            "responses": list(row.responses),
            "chosen": row.chosen,
            "key": row.id,
        }
        for row in map(people.row, range(people.n_rows))
    ]
    headers = {"Authorization": f"Bearer {server.key}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        for start in range(0, len(rows), 500):
            body = {"choices": rows[start : start + 500]}
            async with session.post("/v1/feedback", json=body) as answer:
                assert answer.status == 200, await answer.text()
        while True:
            async with session.get("/v1/state") as answer:
                if not (await answer.json())["waiting"]:
                    break
            await asyncio.sleep(0.5)
        for body in questions(PROMPTS):
            async with session.post("/v1/rank", json=body) as answer:
                assert answer.status == 200, await answer.text()
    return [str(name) for name in people.users]


async def ranks(server: Server, users: list[str], rate: float, seconds: float) -> Took:
    """Rank at a rate."""
    bodies = questions(PROMPTS)

    async def ask(session: aiohttp.ClientSession, n: int, due: float) -> str:
        body = {**bodies[(7 * n) % PROMPTS], "user": users[(13 * n) % len(users)]}
        async with session.post("/v1/rank", json=body) as answer:
            found = await answer.json()
            if answer.status != 200:
                return str(answer.status)
            return "" if found["persona"]["user"] == body["user"] else "another user's"

    return await load(server, ask, rate, seconds)


async def choose(
    server: Server, users: list[str], rate: float, seconds: float, every: int
) -> tuple[Took, Took]:
    """Send choices at a rate; after some, read the ranking of that user, which must reflect it."""
    bodies, acknowledged, read = questions(PROMPTS), Took(), Took()

    async def ask(session: aiohttp.ClientSession, n: int, due: float) -> str:
        user, body = users[(17 * n) % len(users)], bodies[n % PROMPTS]
        sent = {**body, "user": user, "chosen": n % 4, "key": f"load-{seconds}-{rate}-{n}"}
        async with session.post("/v1/feedback", json=sent) as answer:
            if answer.status != 200:
                return str(answer.status)
            number = (await answer.json())["accepted"][0]["number"]
        acknowledged.latencies.append(time.perf_counter() - due)
        if n % every:
            return ""
        async with session.post("/v1/rank", json={**body, "user": user}) as answer:
            if answer.status != 200:
                return str(answer.status)
            if (await answer.json())["persona"]["choices"] < number:
                return "not reflected"
        read.latencies.append(time.perf_counter() - due)
        return ""

    reflected = await load(server, ask, rate, seconds)
    for took in (acknowledged, read):
        took.seconds, took.faults = reflected.seconds, reflected.faults
        took.server, took.client = reflected.server, reflected.client
    return acknowledged, read


async def first_tokens(server: Server, upstream: str, user: str, calls: int) -> tuple[Took, Took]:
    """Time to the first streamed byte, directly and through the proxy, in turns."""
    direct, through = Took(), Took()
    body = {
        "model": "fake-world",
        "messages": [{"role": "user", "content": "What is rhubarb?"}],
        "stream": True,
        "max_tokens": 16,
    }
    ways = (
        (direct, f"{upstream}/chat/completions", {"Authorization": "Bearer secret"}),
        (
            through,
            f"{server.url}/v1/chat/completions",
            {"Authorization": f"Bearer {server.key}", "X-Palate-User": user},
        ),
    )
    async with aiohttp.ClientSession() as session:
        for _ in range(calls):
            for took, url, headers in ways:
                start = time.perf_counter()
                async with session.post(url, json=body, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.content.readany()
                    took.latencies.append(time.perf_counter() - start)
                    await answer.read()
    direct.seconds, through.seconds = sum(direct.latencies), sum(through.latencies)
    return direct, through


async def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--database", default="")
    parser.add_argument("--rank-rate", type=float, default=500.0)
    parser.add_argument("--choice-rate", type=float, default=200.0)
    parser.add_argument("--read-every", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="palate-load-"))
    with Upstream("fake:world", key="secret") as fake:
        upstream = fake.url if fake.url.endswith("/v1") else f"{fake.url}/v1"
        database = given.database or f"sqlite:///{folder / 'load.db'}"
        model = fitted(folder)
        with Server(database, model, free_port(), given.workers, log=folder / "server.log") as server:
            server.more = ("--upstream", upstream, "--rate", "0")
            server.environment = {"PALATE_SERVE_UPSTREAM_KEY": "secret"}
            server.make_key()
            print(f"ready after {server.start():.1f} s; seeding {given.users} users", flush=True)
            rows = await measured(server, upstream, given)
            print(table(rows))
            own, through = (
                rows[f"first token, {way}"]["p50_ms"] for way in ("upstream alone", "through the proxy")
            )
            print(f"the proxy adds {through - own:.2f} ms; {server.used()[1] / 2**20:.0f} MiB resident")
            print(f"stopped in {server.stop():.2f} s")
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1))


async def measured(server: Server, upstream: str, given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measure everything on a server that has started."""
    users, rows = await seed(server, given.users, 20), {}
    await ranks(
        server, users, 150.0, 4.0 + given.users * given.workers / 75
    )  # every user is known to each worker
    rows["rank, 4 responses, warm"] = (await ranks(server, users, given.rank_rate, given.seconds)).row()
    acknowledged, read = await choose(server, users, given.choice_rate, given.seconds, given.read_every)
    rows["choice acknowledged"] = acknowledged.row()
    rows["choice acknowledged, then ranked by it"] = read.row()
    direct, through = await first_tokens(server, upstream, users[0], 200)
    rows["first token, upstream alone"], rows["first token, through the proxy"] = direct.row(), through.row()
    return rows


if __name__ == "__main__":
    asyncio.run(main())
