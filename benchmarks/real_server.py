"""Every method that asks a language model, against a real server on loopback, with a model made here.

    python benchmarks/real_server.py [--users 24] [--steps 300]

`transformers serve` loads a tiny Mistral that was trained for half a minute to answer in the right forms
(tiny_model.py). Requests go through DSPy over real HTTP, a real chat template and a real tokenizer. It shows
that the path works, what fails on it and what it costs; the model understands nothing, so accuracies are a
coin's and say nothing about a method. Needs the extras llm, offline and test.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from palate import World, new_users
from palate.catalogue import build, find, names
from palate.core import PalateError
from palate.evaluate.cells import Cell, fit, run
from palate.models.llm.program import Program
from palate.models.llm.session import language_models

sys.path.insert(0, str(Path(__file__).parent))
from tiny_model import make

HOLD = ("judge", "persona.evidence", "persona.memory", "persona.pi", "evaluate.facets._asked")


def programs() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return what every program asks for last, and answers in its form."""
    from palate.persona.theta import STARTING

    found = [value for name in HOLD for value in vars(import_module(f"palate.{name}")).values()]
    asked = [p for p in [*found, STARTING.program()] if isinstance(p, Program)]
    out = {}
    for program in asked:
        text = program.example
        out[program.key] = (program.ask, tuple(sorted({text, text.replace("Second", "First")})))
    return out


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Serve a model folder with transformers; yield the model's spec."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [shutil.which("transformers", path=str(Path(sys.executable).parent)) or "transformers", "serve"]
    command += [str(folder), "--device", "cpu", "--port", str(port)]
    log = (folder / "server.log").open("wb")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit((folder / "server.log").read_text()) from None
                time.sleep(0.5)
        yield f"openai/{folder}@http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    """Make the model, serve it, run every method, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--methods", default="")
    parser.add_argument("--no-facets", action="store_true", help="leave out what the facets ask")
    given = parser.parse_args()
    sample = World(users=given.users, pairs=6, targets=3, episodes=3).sample()
    task = new_users("world", sample.population, simulated=True)
    asked = given.methods.split(",") if given.methods else [n for n in names() if find(n).uses_lm]
    with tempfile.TemporaryDirectory() as folder, language_models(folder=Path(folder) / "store") as session:
        started = time.perf_counter()
        made = make(Path(folder) / "tiny", programs(), given.steps)
        print(f"a tiny Mistral made in {time.perf_counter() - started:.0f} s; it understands nothing")
        with server(made) as lm:
            print(f"{'method':14} {'accuracy':>8} {'calls':>6} {'kept':>6} {'seconds':>8}  trouble")
            for name in asked:
                before, started = session.ledger.snapshot(), time.perf_counter()
                cell = Cell(task, "lexical", name, common={"lm": lm})
                try:
                    fitted = fit(cell)
                    control = build("random").fit(task.fit_on)
                    outcome = run(cell, fitted, control, probes=not given.no_facets)
                    right = f"{((outcome.applied > 0) + 0.5 * (outcome.applied == 0)).mean():8.3f}"
                    faults = list(outcome.faults.items())
                except PalateError as error:
                    right, faults = "  failed", [(type(error).__name__, str(error))]
                total = session.ledger.since(before).total
                trouble = [f"{n} {kind}" for kind, n in total["faults"].items()]
                trouble += [f"{total[k]} {k}" for k in ("repairs", "retries", "shortened") if total[k]]
                trouble += [f"{what}: {why}" for what, why in faults]
                seconds = time.perf_counter() - started
                counts = f"{total['paid']:6} {total['kept']:6} {seconds:8.1f}"
                print(f"{name:14} {right} {counts}  {'; '.join(trouble)}", flush=True)


if __name__ == "__main__":
    main()
