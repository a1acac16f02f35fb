"""The study of trained-in methods in the small language: arms by seeds, resumable, each on people of its own.

A cell is one arm with one seed. The seed draws the people, their choices, the order of training and every
word that is drawn; the base models are made once and shared, as the papers share one Llama. A finished cell
is a file; a cell that was cut goes on from its checkpoints. Cells run side by side, one thread each.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from palate.core import ConfigError
from palate.core.job import job
from palate.small.arms import ARMS

__all__ = ["Cell", "Plan", "base_folder", "cells_of", "run_cell", "run_study"]

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What a study runs.

    Attributes:
        out: Its folder: base models, cells, tables.
        arms: Names of arms; empty runs all.
        seeds: Seeds of people and draws.
        users: People of a seed: 60 % train, 10 % validation, 30 % test.
        base_steps: Steps of pretraining of the base models; 0 is their default.
        workers: Cells that run side by side.
    """

    out: Path
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    users: int = 600
    base_steps: int = 0
    workers: int = 2


@dataclass(frozen=True)
class Cell:
    """One arm with one seed."""

    arm: str
    seed: int

    @property
    def file(self) -> str:
        """Where it is kept, below the study's folder."""
        return f"cells/{self.arm}-{self.seed}.json"


def cells_of(plan: Plan) -> list[Cell]:
    """Return the cells of a plan, all arms of a seed before the next.

    A plan that names its arms runs each with every seed; one of all arms runs some with the first seed only.

    Raises:
        ConfigError: If an arm does not exist.
    """
    unknown = set(plan.arms) - set(ARMS)
    if unknown:
        raise ConfigError(f"there is no arm {sorted(unknown)}; there are {', '.join(ARMS)}")
    if plan.arms:
        return [Cell(arm, seed) for seed in plan.seeds for arm in plan.arms]
    some = {name: plan.seeds[: arm.seeds] for name, arm in ARMS.items()}
    return [Cell(name, seed) for seed in plan.seeds for name in ARMS if seed in some[name]]


def run_study(plan: Plan, tell: Told) -> list[dict[str, Any]]:
    """Make what base models are missing, run what cells are missing, and return all cells.

    Args:
        plan: What is run.
        tell: Called with what is done, how much of it, and how much there is.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    (plan.out / "cells").mkdir(exist_ok=True)
    cells = cells_of(plan)
    missing = [cell for cell in cells if not (plan.out / cell.file).exists()]
    done = len(cells) - len(missing)
    for _ in _each(_make_base, [(plan, size, dialects) for size, dialects in _bases(plan)], plan.workers):
        tell("base models", 0, 0)
    tell("cells", done, len(cells))
    for _ in _each(_run_quietly, [(plan, cell) for cell in missing], plan.workers):
        done += 1
        tell("cells", done, len(cells))
    return [json.loads((plan.out / cell.file).read_text(encoding="utf-8")) for cell in cells]


def _bases(plan: Plan) -> list[tuple[str, int]]:
    """Return size and dialects of the base models that a plan needs."""
    dialects = {ARMS[name].dialects for name in plan.arms or ARMS}
    return [("small", d) for d in sorted(dialects)] + [("other", 1)]


def base_folder(plan: Plan, size: str, dialects: int = 1) -> Path:
    """Return where a base model of the study lies."""
    return plan.out / "base" / (size if dialects == 1 else f"{size}-{dialects}")


def _each(work: Callable[..., Any], given: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    """Do work for each of some arguments, side by side, in processes of one thread."""
    if not given:
        return
    kept = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")}
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(work, *one) for one in given]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _make_base(plan: Plan, size: str, dialects: int) -> None:
    from palate.small.base import FOLLOWING, STEPS, make_base

    folder = base_folder(plan, size, dialects)
    folder.parent.mkdir(parents=True, exist_ok=True)
    steps = plan.base_steps or (STEPS if size == "small" else STEPS // 2)
    mix = FOLLOWING if size == "other" else None
    make_base(folder, size=size, steps=steps, dialects=dialects, mix=mix)  # type: ignore[arg-type]


def _run_quietly(plan: Plan, cell: Cell) -> None:
    import torch

    torch.set_num_threads(1)
    run_cell(plan, cell)


def run_cell(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Run one cell and keep what it measured."""
    from palate.small.kinds import KINDS

    begun = time.perf_counter()
    running = plan.out / "running" / f"{cell.arm}-{cell.seed}"
    with job(running):
        found = KINDS[ARMS[cell.arm].kind](plan, cell)
    shutil.rmtree(running, ignore_errors=True)
    values = {**asdict(cell), "users": plan.users, "seconds": round(time.perf_counter() - begun, 1), **found}
    path = plan.out / cell.file
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(values), encoding="utf-8")
    draft.replace(path)
    return values
