"""Fill a store with many users in seconds: for the service's load, scale and deletion tests.

    python benchmarks/serve_seed.py sqlite:///many.db --users 100000 --choices 20

Users are called user-000000, user-000001, ...; their choices are plain generated sentences of 200 to 300
characters a response. Rows are written by the statement, past the checks of the API, and no jobs are queued.
"""

import argparse
import random
import time
from functools import partial
from typing import Any

from palate.serve.store import Connection, Store
from palate.serve.store.packing import digest, pack

__all__ = ["seed_many"]

_AT_ONCE = 1000  # users in one transaction
_USERS = ("tenant", "user", "born", "head", "total", "created", "seen")
_CHOICES = ("tenant", "user", "number", "key", "digest", "time", "received", "body")
_TOPICS = ("bread", "rivers", "chess", "tax", "gardens", "engines", "poems", "sleep", "maps", "tea")
_TEXT = """begin with the simple case and check it then add one thing at a time until it holds keep notes of
what was tried since memory is short prefer tools that are at hand and ask someone who has done it before"""
_WORDS = _TEXT.split()


def seed_many(store: Store, users: int, choices: int, tenant: str = "default", seed: int = 0) -> list[str]:
    """Write users with as many choices each, and return the users' names.

    Args:
        store: Where; users of these names must not be there.
        users: How many.
        choices: Of each.
        tenant: Whose users.
        seed: Of the texts.
    """
    rng = random.Random(seed)
    kept = [(digest(body), pack(body)) for body in (_body(rng) for _ in range(2000))]
    names = [f"user-{i:06d}" for i in range(users)]
    for start in range(0, users, _AT_ONCE):
        some, now = names[start : start + _AT_ONCE], time.time()
        people = [(tenant, name, rng.getrandbits(62), choices, choices, now, now) for name in some]
        rows = [
            (tenant, name, n, f"k{n}", mark, now - 60 * (choices - n), now, body)
            for name in some
            for n in range(1, choices + 1)
            for mark, body in (rng.choice(kept),)
        ]
        store.write(partial(_write, people=people, rows=rows))
    return names


def _write(c: Connection, people: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> None:
    """Write rows by the driver's quickest way."""
    driver: Any = c.connection.driver_connection
    for table, columns, values in (("users", _USERS, people), ("choices", _CHOICES, rows)):
        named = ", ".join(f'"{name}"' for name in columns)
        if c.dialect.name == "sqlite":
            driver.executemany(
                f"INSERT INTO {table} ({named}) VALUES ({', '.join('?' * len(columns))})", values
            )
            continue
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({named}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)


def _body(rng: random.Random) -> dict[str, object]:
    topic = rng.choice(_TOPICS)
    return {
        "conversation": [{"role": "user", "content": f"What should I know about {topic}?"}],
        "responses": [_answer(rng, topic), _answer(rng, topic)],
        "chosen": rng.choice((0, 1, 1, None)),
        "ratings": None,
        "reason": None,
        "source": None,
    }


def _answer(rng: random.Random, topic: str) -> str:
    words = [topic.capitalize(), *rng.choices(_WORDS, k=rng.randint(40, 55))]
    return " ".join(words)[:300] + "."


def main() -> None:
    """Fill a database and print how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--choices", type=int, default=20)
    asked = parser.parse_args()
    start = time.perf_counter()
    with Store.open(asked.url) as store:
        seed_many(store, asked.users, asked.choices)
    print(f"{asked.users} users x {asked.choices} choices in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
