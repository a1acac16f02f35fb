"""One cell of a benchmark: a method fitted, adapted and scored on one task; kept on disk when finished."""

import hashlib
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.catalogue import build
from palate.core import Method, Pairs, Personas, Population, StorageError
from palate.evaluate.protocol import Task
from palate.gate import Gate, differences
from palate.models.encoder import resolve

__all__ = ["CURVE", "Cell", "Outcome", "Shelf", "run"]

Floats = NDArray[np.floating[Any]]
CURVE = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of context choices at which accuracy is measured, up to the longest context."""


@dataclass(frozen=True, eq=False)
class Cell:
    """What to run: a task, an encoder, a method with its fields, a seed; the fields of the gate's control."""

    task: Task
    encoder: str
    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    control: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Method:
        """Make the method, unfitted."""
        return build(self.method, self.fields, encoder=self.encoder, seed=self.seed)

    @property
    def key(self) -> str:
        """A hash of all that the outcome depends on: data, encoder, method, version, fields, gate, seed."""
        method = self.build()
        parts = [
            self.task.people.digest,
            resolve(self.encoder).key,
            self.method,
            method.version,
            method.config,
            [Gate.version, sorted(self.control.items())] if method.personal else None,
        ]
        return hashlib.blake2b(
            json.dumps([*parts, self.seed, 2], default=str).encode(), digest_size=10
        ).hexdigest()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a cell gave.

    Attributes:
        applied: Log-odds of each target pair's winner, personas always applied, float64 [pairs].
        gated: The same with personas applied as far as the evidence supports, or None for a control.
        weight: The gate's weight of each test user, or None.
        curve: Log-odds by number of context choices.
        seconds: fit, adapt, score.
    """

    applied: Floats
    gated: Floats | None
    weight: Floats | None
    curve: Mapping[int, Floats]
    seconds: Mapping[str, float]


def run(cell: Cell, control: Method) -> Outcome:
    """Fit, adapt and score; ``control`` is the fitted pooled model that the gate compares with."""
    task, method, seconds = cell.task, cell.build(), {}
    started = time.perf_counter()
    method.fit(task.fit_on)
    seconds["fit"] = time.perf_counter() - started
    started = time.perf_counter()
    personas = method.adapt_batch(task.context)
    seconds["adapt"] = time.perf_counter() - started
    started = time.perf_counter()
    applied = _difference(method, personas, task)
    seconds["score"] = time.perf_counter() - started
    gated = weight = None
    if method.personal:
        gate = Gate(method=method, control=control).fit(task.fit_on)
        tested = gate.adapt_batch(task.context)
        gated = _difference(gate, tested, task)
        weight = None if tested.verdicts is None else tested.verdicts.weight
    curve = {k: _difference(method, method.adapt_batch(part), task) for k, part in _contexts(task, method)}
    return Outcome(applied, gated, weight, curve, seconds)


def _contexts(task: Task, method: Method) -> list[tuple[int, Population]]:
    longest = int(np.diff(task.context.offsets).max(initial=0))
    wanted = [k for k in CURVE if k < longest] + [longest] if method.personal else [0]
    return [(k, task.context.head(k)) for k in wanted]


def _difference(method: Method, personas: Personas, task: Task) -> Floats:
    return differences(method, personas, task.context, task.targets)


class Shelf:
    """Finished cells in a folder; a cell that is there is not run again."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, key: str, targets: Pairs) -> Outcome | None:
        """Return a finished cell, or None where there is none (or a broken one)."""
        try:
            whole = io.BytesIO((self.folder / f"{key}.npz").read_bytes())
            with np.load(whole, allow_pickle=False) as data:
                curve = {int(name[6:]): data[name] for name in data.files if name.startswith("curve_")}
                applied = data["applied"]
                gated = data["gated"] if "gated" in data.files else None
                weight = data["weight"] if "weight" in data.files else None
                seconds = json.loads(str(data["seconds"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return Outcome(applied, gated, weight, curve, seconds) if len(applied) == len(targets) else None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep a finished cell; it appears whole or not at all."""
        arrays: dict[str, Any] = {f"curve_{k}": d for k, d in outcome.curve.items()}
        arrays |= {"applied": outcome.applied, "seconds": json.dumps(dict(outcome.seconds))}
        if outcome.gated is not None and outcome.weight is not None:
            arrays |= {"gated": outcome.gated, "weight": outcome.weight}
        draft = self.folder / f".{key}.{os.getpid()}.npz"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(draft, **arrays)
            draft.replace(self.folder / f"{key}.npz")
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise StorageError(
                f"cannot keep a finished cell in {self.folder}: {error}; free some room"
            ) from error
