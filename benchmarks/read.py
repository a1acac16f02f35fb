"""Read and split a file of one million choices: seconds and peak memory.

    python benchmarks/read.py [--choices 1000000] [--keep FOLDER]

The file has 20,000 users of 50 choices each over 40,000 prompts of five answers (about 200 characters):
200,000 distinct answers. Reading and splitting run in a process of their own, on one core, so that the
peak is theirs alone.
"""

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

WORDS = re.findall(
    "[a-z]+",
    """
the a of and to in that it with as for was on are by be this from or which one had not but what all
were when we there can an your said each she do how their if will up other about out many then them
these so some her would make like him into time has look two more write go see number no way could
people my than first water been call who oil its now find long down day did get come made may part
""",
)
PER_USER = 50


def make(path: Path, choices: int) -> None:
    """Write the file."""
    rng = random.Random(0)

    def prose(n: int) -> str:
        return " ".join(rng.choices(WORDS, k=n))

    n_prompts = max(1, choices // 25)
    prompts = [f"{prose(12)} ({i})?" for i in range(n_prompts)]
    answers = [[f"{prose(45)} [{i}.{k}]" for k in range(5)] for i in range(n_prompts)]
    users = max(1, choices // PER_USER)
    with path.open("wb") as file:
        for start in range(0, choices, 10_000):
            lines = []
            for i in range(start, min(start + 10_000, choices)):
                number = rng.randrange(n_prompts)
                chosen, rejected = rng.sample(answers[number], 2)
                row = {
                    "user": f"user-{i % users}",
                    "prompt": prompts[number],
                    "chosen": chosen,
                    "rejected": rejected,
                    "time": 1_700_000_000 + i,
                }
                lines.append(orjson.dumps(row))
            file.write(b"\n".join(lines) + b"\n")


def measure(path: str) -> dict[str, float]:
    """Read and split, and return seconds and MiB."""
    from palate.feedback import read, split_new_users

    start = time.perf_counter()
    population = read(path).population
    read_s = time.perf_counter() - start
    split = split_new_users(population, seed=0)
    split_s = time.perf_counter() - start - read_s
    assert (split.split >= 0).all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "choices": population.n_rows,
        "users": population.n_users,
        "responses": len(population.corpus.responses),
        "read_s": round(read_s, 2),
        "split_s": round(split_s, 2),
        "cpu_s": round(time.process_time(), 2),
        "peak_mib": round(peak),
    }


def main() -> None:
    """Make the file, measure in a fresh process, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--choices", type=int, default=1_000_000)
    options.add_argument("--keep", type=Path, help="folder for the file, which then stays")
    options.add_argument("--measure", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = (args.keep or Path(folder)) / "choices.jsonl"
        if not path.exists():
            make(path, args.choices)
        print(f"{path.stat().st_size / 2**20:,.0f} MiB in {path}")
        subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()
