"""What a facet of the evaluation looks at: one section of a run, and what every method gave on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.evaluate.bench import CONTROL, Results
from palate.evaluate.cells import Cell, Outcome
from palate.evaluate.protocol import Task

__all__ = ["Measured", "gather"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Measured:
    """One task with one encoder, and the outcomes of all methods that did not fail on it.

    Attributes:
        task: The people, their contexts and targets.
        encoder: Encoder spec.
        outcomes: By method name, of the first seed; the control is among them if it did not fail.
        control: Name of the unpersonalized control.
        seeds: By method name, the outcomes of every seed, the first included.
        bounds: For a simulated task, name of a bound to log-odds of the targets, float64 [pairs].
    """

    task: Task
    encoder: str
    outcomes: Mapping[str, Outcome]
    control: str = "pooled"
    seeds: Mapping[str, Sequence[Outcome]] = field(default_factory=dict)
    bounds: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def place(self) -> dict[str, str]:
        """Where in a report this stands: ``dataset``, ``protocol`` with its size, ``encoder``."""
        return {"dataset": self.task.name, "protocol": self.task.setting, "encoder": self.encoder}


def gather(results: Results, bounds: Mapping[tuple[str, str], Mapping[str, Floats]]) -> list[Measured]:
    """Return the sections of a run that have an outcome, in its order.

    Args:
        results: What the cells gave.
        bounds: By a task's name and setting, name of a bound to log-odds of the targets.
    """
    first = results.bench.seeds[0]
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in results.outcomes:
        groups.setdefault((cell.task.name, cell.task.setting, cell.encoder), []).append(cell)
    found = []
    for (name, setting, encoder), cells in groups.items():
        outcomes = {cell.method: results.outcomes[cell] for cell in cells if cell.seed == first}
        seeds = {m: [results.outcomes[c] for c in cells if c.method == m] for m in outcomes}
        known = bounds.get((name, setting), {})
        found.append(Measured(cells[0].task, encoder, outcomes, CONTROL, seeds, known))
    return found
