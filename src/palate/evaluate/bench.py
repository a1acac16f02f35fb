"""Run methods on tasks, cell by cell, and keep what is finished."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from palate.catalogue import find
from palate.core import Method, PalateError, StorageError
from palate.evaluate.cells import Cell, Outcome, Shelf, run
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
        seed: Seed of splits and methods.
    """

    tasks: Sequence[Task]
    methods: Mapping[str, Mapping[str, Any]]
    encoders: Sequence[str] = ("lexical",)
    seed: int = 0

    def cells(self) -> list[Cell]:
        """Return every cell, the control first in each group."""
        names = [CONTROL, *(name for name in self.methods if name != CONTROL)]
        return [
            Cell(task, encoder, name, self.methods.get(name, {}), self.seed, self.methods.get(CONTROL, {}))
            for task in self.tasks
            for encoder in self.encoders
            for name in names
        ]

    def run(self, shelf: Shelf, progress: Progress | None = None) -> "Results":
        """Run what is not finished and return everything.

        A method that fails is reported in its cell and the others go on. Ctrl-C leaves finished cells
        on the shelf; the same call goes on from there.
        """
        tell = progress or (lambda what, done, total: None)
        results, cells = Results(self), self.cells()
        control: Method | None = None
        for number, cell in enumerate(cells):
            what = f"{cell.task.name} · {cell.encoder} · {cell.method}"
            tell(what, number, len(cells))
            if cell.method == CONTROL:
                control = None
            try:
                outcome = shelf.get(cell.key, cell.task.targets)
                if outcome is None:
                    control = control or self._control(cell, tell)
                    outcome = run(cell, control)
                    shelf.put(cell.key, outcome)
                results.outcomes[cell] = outcome
            except StorageError:
                raise
            except PalateError as error:
                results.failures[cell] = str(error)
            except Exception as error:  # another's method may raise anything; the run goes on
                where = traceback.extract_tb(error.__traceback__)[-1]
                results.failures[cell] = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"
        tell("done", len(cells), len(cells))
        return results

    def _control(self, cell: Cell, tell: Progress) -> Method:
        """Encode the task's texts, with progress, and fit the control."""
        task, what = cell.task, f"{cell.task.name} · encoding with {cell.encoder}"
        embed(task.people.corpus, cell.encoder, progress=lambda done, total: tell(what, done, total))
        fields = self.methods.get(CONTROL, {})
        return Cell(task, cell.encoder, CONTROL, fields, cell.seed).build().fit(task.fit_on)


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
