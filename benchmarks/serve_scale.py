"""A hundred thousand users with twenty choices each: memory, start, a user's page, a user's deletion.

    python benchmarks/serve_scale.py [--users 100000] [--choices 20] [--calls 200] [--database URL]

The choices are written straight into the store; everything else goes over HTTP to a real server process. A
page is what the page of a user asks for: persona, versions, latest choices. First: nobody asked for this
user before, so the persona is made from the history now. Again: it is kept.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import aiohttp
from serve_common import Server, Took, fitted, free_port, table
from serve_seed import seed_many

from palate.serve.store.store import Store


async def timed(session: aiohttp.ClientSession, took: Took, method: str, paths: list[str]) -> None:
    """Ask for several paths one after the other; the latency is that of all."""
    start = time.perf_counter()
    for path in paths:
        async with session.request(method, path) as answer:
            text = await answer.text()
            if answer.status != 200:
                took.faults[str(answer.status)] = took.faults.get(str(answer.status), 0) + 1
                print(text[:300])
                return
    took.latencies.append(time.perf_counter() - start)


async def measure(server: Server, names: list[str], calls: int) -> dict[str, Took]:
    """Measure pages and deletions of users spread over all."""
    step = max(1, len(names) // (2 * calls))
    asked, erased = names[::step][:calls], names[1::step][:calls]
    rows = {name: Took() for name in ("page, first", "page, again", "rank, first", "deletion")}
    rank = {"conversation": "hi", "responses": ["one", "two, a longer one"]}
    async with aiohttp.ClientSession(
        server.url, headers={"Authorization": f"Bearer {server.key}"}
    ) as session:
        for row in ("page, first", "page, again"):
            for user in asked:
                parts = ("persona", "persona/versions", "choices?limit=20")
                await timed(session, rows[row], "GET", [f"/v1/users/{user}/{part}" for part in parts])
        for user in erased:
            start = time.perf_counter()
            async with session.post("/v1/rank", json={**rank, "user": user}) as answer:
                assert answer.status == 200, await answer.text()
            rows["rank, first"].latencies.append(time.perf_counter() - start)
        for user in erased:
            await timed(session, rows["deletion"], "DELETE", [f"/v1/users/{user}"])
    for took in rows.values():
        took.seconds = sum(took.latencies)
    return rows


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--choices", type=int, default=20)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--database", default="")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="palate-scale-"))
    database = given.database or f"sqlite:///{folder / 'scale.db'}"
    start = time.perf_counter()
    store = Store.open(database)
    names = seed_many(store, given.users, given.choices)
    store.close()
    size = sum(f.stat().st_size for f in folder.glob("scale.db*")) / 2**20
    print(
        f"{given.users:,} users, {given.choices} choices each, written in {time.perf_counter() - start:.0f} s"
    )
    with Server(database, fitted(folder), free_port(), log=folder / "server.log") as server:
        server.more = ("--rate", "0")
        server.make_key()
        ready = server.start()
        resident = server.used()[1] / 2**20
        rows = {name: took.row() for name, took in asyncio.run(measure(server, names, given.calls)).items()}
        after = server.used()[1] / 2**20
    print(f"ready after {ready:.2f} s; {size:,.0f} MiB of files")
    print(f"resident: {resident:.0f} MiB when ready, {after:.0f} MiB after all calls")
    print(table(rows))
    if given.out:
        facts = {"ready_s": ready, "resident_mib": resident, "after_mib": after, "files_mib": size}
        given.out.write_text(json.dumps({**facts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
