"""Measure the store by itself: choices a second, the state of a user, a page, a deletion, sizes.

    python benchmarks/serve_store.py sqlite:///many.db --users 100000 --choices 20

Fills the database first if it is empty. Every choice is durable before it counts. PostgreSQL: give its URL.
"""

import argparse
import random
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from serve_seed import seed_many
from sqlalchemy import make_url

from palate.serve.store import Connection, Store, choices, erase, people
from palate.serve.store.choices import Kept

SECONDS = 4.0


def times(name: str, many: int, call: Callable[[int], object]) -> None:
    """Print how long single calls take, one after the other."""
    took = []
    for n in range(many):
        start = time.perf_counter()
        call(n)
        took.append(1e3 * (time.perf_counter() - start))
    p50, p99 = np.percentile(took, (50, 99))
    print(f"{name:32s} p50 {p50:8.3f} ms   p99 {p99:8.3f} ms   worst {max(took):8.3f} ms")


def added(store: Store, threads: int, names: list[str]) -> None:
    """Print how many choices a second are durably added by some threads."""
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    talk = [{"role": "user", "content": "What should I know about tea?"}]

    def work(thread: int) -> None:
        rng, n = random.Random(thread), 0
        while time.perf_counter() < end:
            n += 1
            body = {"conversation": talk, "responses": ["Short. " * 30, "Long. " * 40], "chosen": n % 2}
            rows = [Kept(rng.choice(names), f"{time.time_ns()}-{thread}-{n}", body)]
            start = time.perf_counter()
            store.write(lambda c, rows=rows: choices.add(c, "default", rows))  # type: ignore[misc]
            took.append(1e3 * (time.perf_counter() - start))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    cpu = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cpu = time.process_time() - cpu
    p50, p99 = np.percentile(took, (50, 99))
    print(
        f"choices added by {threads:2d} threads: {len(took) / SECONDS:8.0f} a second   p50 {p50:7.2f} ms   "
        f"p99 {p99:7.2f} ms   {1e3 * cpu / len(took):.3f} ms of CPU each"
    )


def main() -> None:
    """Measure one database."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--choices", type=int, default=20)
    asked = parser.parse_args()
    start = time.perf_counter()
    store = Store.open(asked.url)
    print(f"opened in {time.perf_counter() - start:.3f} s")
    with store.read() as c:
        names = [each.user for each in people.listed(c, "default", limit=10**7)]
    if not names:
        start = time.perf_counter()
        names = seed_many(store, asked.users, asked.choices)
        print(f"filled with {asked.users} users in {time.perf_counter() - start:.1f} s")
    rng = random.Random(0)

    def reading(call: Callable[[Connection, str], object]) -> Callable[[int], object]:
        def one(_: int) -> object:
            with store.read() as c:
                return call(c, rng.choice(names))

        return one

    for threads in (1, 8, 32):
        added(store, threads, names)
    times("state of a user", 2000, reading(lambda c, user: people.state(c, "default", user)))
    times("page of 50 choices", 500, reading(lambda c, user: choices.page(c, "default", user)))
    times("history", 500, reading(lambda c, user: choices.history(c, "default", user)))
    times("list of 100 users", 100, reading(lambda c, user: people.listed(c, "default", after=user)))
    times("count of users and choices", 10, reading(lambda c, _: people.totals(c)))
    gone = rng.sample(names, 50)
    times("deletion of a user", 50, lambda n: erase.erase(store, "default", gone[n]))
    store.close()
    print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")
    if make_url(asked.url).get_backend_name() == "sqlite":
        print(f"file {Path(make_url(asked.url).database or '').stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
