"""Run methods on tasks, cell by cell, and keep what is finished."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from palate.catalogue import find
from palate.core import MethodError, ModelError, StorageError, job
from palate.evaluate.cells import Cell, Fitted, Outcome, Shelf, fit, run
from palate.evaluate.faults import explain
from palate.evaluate.protocol import Task
from palate.models.features import embed

__all__ = ["CONTROL", "Bench", "Estimate", "Progress", "Results", "estimate"]

CONTROL = "pooled"
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Bench:
    """What to run.

    Attributes:
        tasks: The data sets.
        methods: Names with their fields, in the order of the report; the control is always run.
        encoders: Encoder specs.
        seeds: Seeds of the methods; each method runs with every one, and tables show the first.
        chosen: Fields that a search took, by method, for a task's name, its setting and an encoder.
        common: Fields that are set where a method has them: the language models.
        asked_curve: Numbers of context choices at which methods that ask a language model are measured.
    """

    tasks: Sequence[Task]
    methods: Mapping[str, Mapping[str, Any]]
    encoders: Sequence[str] = ("lexical",)
    seeds: Sequence[int] = (0,)
    chosen: Mapping[tuple[str, str, str], Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)
    asked_curve: tuple[int, ...] = ()

    def fields(self, task: Task, encoder: str, method: str) -> Mapping[str, Any]:
        """Return the fields that a method runs with: those a search took, else the user's."""
        found = self.chosen.get((task.name, task.setting, encoder), {})
        return found.get(method, self.methods.get(method, {}))

    def cells(self) -> list[Cell]:
        """Return every cell, the control first in each group of a task, an encoder and a seed."""
        names = [CONTROL, *(name for name in self.methods if name != CONTROL)]
        return [
            Cell(
                task,
                encoder,
                name,
                self.fields(task, encoder, name),
                seed,
                self.fields(task, encoder, CONTROL),
                self.common,
                self.asked_curve,
            )
            for task in self.tasks
            for encoder in self.encoders
            for seed in self.seeds
            for name in names
        ]

    def run(
        self, shelf: Shelf, progress: Progress | None = None, checkpoints: Path | None = None
    ) -> "Results":
        """Run what is not finished and return everything.

        A method that fails is reported in its cell and the others go on. Ctrl-C leaves finished cells
        on the shelf; the same call goes on from there, and with a folder of ``checkpoints`` a long fit
        goes on from its last. A language model that cannot be asked any more (no key, nothing answers, the
        budget is spent) ends the run: what it answered is kept, and the same call goes on from there.
        """
        tell = progress or (lambda what, done, total: None)
        results, cells, controls = Results(self), self.cells(), _Controls(tell, checkpoints)
        for number, cell in enumerate(cells):
            tell(_name(cell), number, len(cells))
            try:
                outcome = shelf.get(cell.key, cell.task.targets)
                if outcome is None:
                    control = controls.of(cell)
                    mine = control if cell.method == CONTROL else _fit(cell, tell, checkpoints)
                    outcome = run(cell, mine, control.method)
                    shelf.put(cell.key, outcome)
                results.outcomes[cell] = outcome
            except (StorageError, ModelError):
                raise
            except Exception as error:  # another's method may raise anything; the run goes on
                results.failures[cell] = explain(error)
        tell("done", len(cells), len(cells))
        return results


class _Controls:
    """The control of the group of cells at hand, fitted once, when a cell first needs it."""

    def __init__(self, tell: Progress, checkpoints: Path | None) -> None:
        self.tell, self.checkpoints = tell, checkpoints
        self.group: tuple[Any, ...] = ()
        self.found: Fitted | Exception | None = None

    def of(self, cell: Cell) -> Fitted:
        """Return the fitted control of a cell's group; where it failed, fail again without trying."""
        if self.group != (group := (cell.task, cell.encoder, cell.seed)):
            self.group, self.found = group, None
        if self.found is None:
            try:
                self.found = self._fitted(cell)
            except (StorageError, ModelError):
                raise
            except Exception as error:
                self.found = error
        if isinstance(self.found, Exception):
            if cell.method == CONTROL:
                raise self.found
            raise MethodError(
                f"{CONTROL}, which every method is compared with, failed: {explain(self.found)}"
            ) from self.found
        return self.found

    def _fitted(self, cell: Cell) -> Fitted:
        """Encode the task's texts, with progress, and fit the control."""
        task, what = cell.task, f"{cell.task.name} · encoding with {cell.encoder}"
        embed(task.people.corpus, cell.encoder, progress=lambda done, total: self.tell(what, done, total))
        control = Cell(task, cell.encoder, CONTROL, cell.control, cell.seed, cell.control)
        return _fit(control, self.tell, self.checkpoints)


def _fit(cell: Cell, tell: Progress, checkpoints: Path | None) -> Fitted:
    """Fit inside a job, so that long fits keep checkpoints and say how far they are."""
    name = _name(cell)
    with job(checkpoints, lambda what, done, total: tell(f"{name} · fitting: {what}", done, total)):
        return fit(cell)


def _name(cell: Cell) -> str:
    """What progress calls a cell."""
    return " · ".join([cell.task.name, *_unusual(cell), cell.encoder, cell.method])


def _unusual(cell: Cell) -> list[str]:
    setting = [cell.task.setting] if cell.task.protocol != "new-users" else []
    return setting + ([f"seed {cell.seed}"] if cell.seed else [])


@dataclass
class Results:
    """Outcomes and failures of a run, by cell."""

    bench: Bench
    outcomes: dict[Cell, Outcome] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """What a run will ask for: cells to run and finished, texts, and a rough number of seconds."""

    cells: int
    finished: int
    texts: int
    pairs: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.cells - self.finished} of {self.cells} cells to run ({self.finished} finished before), "
            f"{self.pairs:,} pairs, {self.texts:,} texts; about {max(1, round(self.seconds)):,} s on two "
            "cores, encoding left out"
        )


def estimate(bench: Bench, shelf: Shelf) -> Estimate:
    """Say what a run will ask for; seconds by each method's ``seconds_per_10k`` (training pairs)."""
    cells = bench.cells()
    todo = [cell for cell in cells if shelf.get(cell.key, cell.task.targets) is None]
    seconds = 0.0
    for cell in todo:
        pairs = len(cell.task.fit_on.pairs)
        seconds += float(find(cell.method).seconds_per_10k) * (0.1 + pairs / 10_000)
    return Estimate(
        len(cells),
        len(cells) - len(todo),
        int(np.sum([len(task.people.corpus.responses) for task in bench.tasks])),
        int(np.sum([task.people.n_rows for task in bench.tasks])),
        seconds,
    )
