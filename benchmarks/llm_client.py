"""What the language-model client costs beside the calls themselves, and what a kill costs.

    python benchmarks/llm_client.py [--users 1000] [--kills 10] [--latency 0.2] [--concurrency 16]

An endpoint on loopback, in a process of its own, answers every call after the latency. It is no language
model: it shows what the client costs, not what answers are worth. Each user is four calls that depend on each
other, with prompts of about 5,000 characters; answers have 60 tokens, without and with the ten likeliest
tokens at each place. Printed are

- our own processor time a call (the process that asks, without its imports), and wall-clock time over the
  floor of calls x latency / concurrency;
- the most memory the process had (resident), for a tenth of the users and for all;
- for a run that is killed (SIGKILL) at random moments and begun again: calls, how many were sent again
  because they were on their way at a kill, and how many were charged twice by an endpoint that honours
  ``Idempotency-Key``, as ours here does; and how many were sent again although an answer was kept.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from palate.models.llm.client import Task
from palate.models.llm.program import Program, Section
from palate.models.llm.session import connect, language_models
from palate.models.llm.wire import Asking, Request

STEPS = 4
PROMPT = 5000
TOKENS = 60
TEXT = "plain short answer with an example and a reason for it that this user would like to read"
WORDS = TEXT.split()
PROGRAM = Program(
    "bench",
    "Compare two answers",
    "Say which is better, and why.",
    "End with Answer: First.",
    "Answer: First",
)


# ---- the endpoint -------------------------------------------------------------------------------------


def answer(body: dict[str, Any], number: int) -> bytes:
    """Return an answer of 60 tokens; with log-probabilities if they are asked for."""
    words = [WORDS[(number + place) % len(WORDS)] for place in range(TOKENS)]
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice["message"] = {"role": "assistant", "content": f"{number} " + " ".join(words)}
    if body.get("logprobs"):
        top = [{"token": f" {word}", "logprob": -0.3519 * n - 0.0107} for n, word in enumerate(WORDS[:10])]
        content = [{"token": f" {w}", "logprob": -0.10453, "top_logprobs": top} for w in words]
        choice["logprobs"] = {"content": content}
    usage = {"prompt_tokens": PROMPT // 4, "completion_tokens": TOKENS, "total_tokens": PROMPT // 4 + TOKENS}
    return json.dumps({"id": "x", "model": "bench", "choices": [choice], "usage": usage}).encode()


async def serve(latency: float) -> None:
    """Answer calls, count what is sent and what is charged, and tell on GET."""
    sent: Counter[str] = Counter()
    charged: dict[str, bytes] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if lines[0].startswith("GET"):
                    out = json.dumps(
                        {"sent": sum(sent.values()), "calls": len(sent), "charged": len(charged)}
                    )
                    reply = out.encode()
                else:
                    name = headers["idempotency-key"]
                    sent[name] += 1
                    if name not in charged:
                        await asyncio.sleep(latency)
                        charged.setdefault(name, answer(json.loads(body), len(charged)))
                    reply = charged[name]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(f"Content-Length: {len(reply)}\r\n\r\n".encode() + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ---- who asks -----------------------------------------------------------------------------------------


def conversation(user: int, logprobs: int) -> Asking[str]:
    """Ask four questions, each with the answer before in its prompt."""
    text = f"user {user}"
    rng = random.Random(user)
    for step in range(STEPS):
        filler = " ".join(rng.choices(WORDS, k=PROMPT // 6))[: PROMPT - 300]
        sections = (Section("persona", f"{text} step {step}"), Section("first", filler))
        (reply,) = yield [Request(PROGRAM, sections, logprobs=logprobs)]
        text = f"user {user} heard {reply.text[:100]}"
    return text


def work(url: str, folder: str, users: int, concurrency: int, logprobs: int) -> None:
    """Drive all users, and print what it took."""
    with language_models(folder=Path(folder), concurrency=concurrency) as session:
        client = connect(f"openai/bench@{url}")
        client.ask([Request(PROGRAM, (Section("first", "warm up"),), logprobs=logprobs)])
        cpu, began, done = time.process_time(), time.perf_counter(), 0
        for _ in client.run(Task(conversation(u, logprobs), f"u{u}", "bench") for u in range(users)):
            done += 1
        out = {
            "done": done,
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - began,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            **session.ledger.total,
        }
    print(json.dumps(out), flush=True)


# ---- the measurements ---------------------------------------------------------------------------------


class Bench:
    """An endpoint and a folder, and runs against them in processes of their own."""

    def __init__(self, latency: float, concurrency: int) -> None:
        self.latency, self.concurrency = latency, concurrency
        command = [sys.executable, __file__, "--serve", "--latency", str(latency)]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.server.stdout.readline())}/v1"
        self.folder = tempfile.mkdtemp(prefix="palate-lm-")

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *reason: Any) -> None:
        self.server.kill()
        self.server.wait()

    def begin(self, users: int, logprobs: int) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--work", self.url, "--folder", self.folder]
        command += ["--users", str(users), "--concurrency", str(self.concurrency)]
        return subprocess.Popen([*command, "--logprobs", str(logprobs)], stdout=subprocess.PIPE, text=True)

    def run(self, users: int, logprobs: int) -> dict[str, Any]:
        out, _ = self.begin(users, logprobs).communicate()
        found: dict[str, Any] = json.loads(out)
        return found

    def counts(self) -> dict[str, int]:
        with urllib.request.urlopen(self.url) as reply:
            found: dict[str, int] = json.loads(reply.read())
        return found


def costs(users: int, logprobs: int, latency: float, concurrency: int) -> None:
    """Print time and memory of one run with an empty store."""
    with Bench(latency, concurrency) as bench:
        found = bench.run(users, logprobs)
        calls = users * STEPS
        floor = calls * latency / concurrency
        again = bench.run(users, logprobs)
    own, kept = (1e3 * run["cpu"] / calls for run in (found, again))
    row = [f"{users:,}", logprobs or "-", f"{calls:,}", f"{own:.2f}", f"{found['wall']:.1f}"]
    row += [f"{found['wall'] / floor:.2f}", f"{found['peak']:.0f}", f"{kept:.2f}"]
    print(f"| {' | '.join(map(str, row))} |", flush=True)


def kills(users: int, times: int, latency: float, concurrency: int) -> None:
    """Kill a run at random moments, finish it, and print what was sent and charged."""
    rng, calls = random.Random(0), users * STEPS
    at = sorted(rng.randrange(calls // 50, calls) for _ in range(times))
    with Bench(latency, concurrency) as bench:
        interrupted = 0
        for moment in at:
            process = bench.begin(users, 10)
            while bench.counts()["charged"] < moment and process.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.random() * latency)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            interrupted += waiting(bench.folder)
        last = bench.run(users, 10)
        counts = bench.counts()
    print(f"\n{times} SIGKILLs, at {at} of {calls:,} calls; then finished: {last['done']:,} users")
    print(
        f"distinct calls {counts['calls']:,}, sent {counts['sent']:,}, on their way at a kill {interrupted}"
    )
    print(f"sent again {counts['sent'] - counts['calls']}, charged {counts['charged']:,}")
    extra = max(0, counts["sent"] - counts["calls"] - interrupted)
    print(f"sent again although kept {extra}, charged twice {counts['charged'] - counts['calls']}")


def waiting(folder: str) -> int:
    """Return how many calls are claimed: after a kill, those that were on their way."""
    import sqlite3

    with sqlite3.connect(Path(folder) / "calls.sqlite") as file:
        return int(file.execute("SELECT count(*) FROM claims").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Costs of the language-model client.")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=16)
    for hidden, kind in (("--work", str), ("--folder", str), ("--logprobs", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.latency))
    elif given.work:
        work(given.work, given.folder, given.users, given.concurrency, given.logprobs)
    else:
        print(f"{os.cpu_count()} processors, {given.latency * 1e3:.0f} ms, {given.concurrency} at a time\n")
        print("| users | likeliest | calls | own ms/call | wall s | over floor | peak MB | ms/kept call |")
        print("|---|---|---|---|---|---|---|---|")
        for users, logprobs in (
            (given.users // 10, 0),
            (given.users, 0),
            (given.users // 10, 10),
            (given.users, 10),
        ):
            costs(users, logprobs, given.latency, given.concurrency)
        if given.kills:
            kills(given.users, given.kills, given.latency, given.concurrency)


if __name__ == "__main__":
    main()
