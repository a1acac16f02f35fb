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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.catalogue import build
from palate.core import Method, Pairs, Personas, Population, StorageError
from palate.evaluate import facets
from palate.evaluate.memory import peak_memory
from palate.evaluate.protocol import Task
from palate.gate import Gate, differences
from palate.models.encoder import resolve
from palate.models.llm.ledger import Ledger
from palate.models.llm.session import current_session

__all__ = ["CURVE", "Cell", "Fitted", "Outcome", "Shelf", "fit", "run"]

Floats = NDArray[np.floating[Any]]
CURVE = (0, 1, 2, 4, 8, 16, 30, 100, 300)
"""Numbers of context choices at which accuracy is measured, up to the longest context."""


@dataclass(frozen=True, eq=False)
class Cell:
    """What to run.

    Attributes:
        task: The people.
        encoder: Encoder spec.
        method: Its name, with a variant after a colon where there are several.
        fields: The fields it runs with.
        seed: Its seed.
        control: Fields of the control that every method is compared with.
        common: Fields that are set where a method has them: the language models.
        asked_curve: Numbers of context choices at which a method that asks a language model is measured,
            beside none and all: each costs as much as adapting everybody once.
    """

    task: Task
    encoder: str
    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    control: Mapping[str, Any] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)
    asked_curve: tuple[int, ...] = ()

    def build(self) -> Method:
        """Make the method, unfitted."""
        return build(self.method, self.fields, encoder=self.encoder, seed=self.seed, **self.common)

    @property
    def key(self) -> str:
        """A hash of all that the outcome depends on.

        Data, protocol, encoder, method, version, fields, gate, seed, and what the facets probe.
        """
        method, task = self.build(), self.task
        parts = [
            task.people.digest,
            [task.protocol, task.size, None if task.suite is None else task.suite.digest],
            resolve(self.encoder).key,
            self.method,
            method.version,
            method.config,
            [Gate.version, sorted(self.control.items())] if method.personal else None,
            facets.versions(),
        ]
        if method.uses_lm:
            parts += [list(self.asked_curve), list(task.transfer)]
        if task.writing is not None and method.personal:
            parts.append(task.writing.key)
        return hashlib.blake2b(
            json.dumps([*parts, self.seed, 4], default=str).encode(), digest_size=10
        ).hexdigest()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a cell gave.

    Attributes:
        applied: Log-odds of each target pair's winner, personas always applied, float64 [pairs].
        gated: The same with personas applied as far as the evidence supports, or None for a control.
        weight: The gate's weight of each test user, or None.
        curve: Log-odds by number of context choices.
        costs: Seconds to ``fit``, ``adapt`` and ``score``; ``peak_mib``, the most memory that fitting,
            adapting and scoring held above what was held before, where the system tells it; of a method
            that asks language models ``lm_calls`` and what else was counted of them.
        gated_before: What the gated method answers before any choice of the user is seen, or None.
        extra: What facets' probes gave, by ``NAME.key``.
        faults: By facet, why its probe failed.
    """

    applied: Floats
    gated: Floats | None
    weight: Floats | None
    curve: Mapping[int, Floats]
    costs: Mapping[str, float]
    gated_before: Floats | None = None
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)


class Fitted(NamedTuple):
    """A method that has learned, the seconds it took, the most memory in MiB, where known, and its calls."""

    method: Method
    seconds: float
    peak_mib: float | None = None
    calls: Mapping[str, float] = {}


def fit(cell: Cell) -> Fitted:
    """Make a cell's method and let it learn."""
    method, started, before = cell.build(), time.perf_counter(), current_session().ledger.snapshot()
    with peak_memory() as peak:
        method.fit(cell.task.fit_on)
    return Fitted(method, time.perf_counter() - started, peak.mib, _calls(method, before))


def run(cell: Cell, fitted: Fitted, control: Method, probes: bool = True) -> Outcome:
    """Adapt and score a fitted method; the gate compares it with ``control``, the fitted pooled model.

    A method with a baseline of its own, as the judge without a persona, is gated by that. Without
    ``probes`` the facets ask nothing.
    """
    task, method, costs = cell.task, fitted.method, {"fit": fitted.seconds}
    ledger = current_session().ledger.snapshot()
    with peak_memory() as peak:
        started = time.perf_counter()
        personas = method.adapt_batch(task.context)
        costs["adapt"] = time.perf_counter() - started
        started = time.perf_counter()
        applied = _difference(method, personas, task)
        costs["score"] = time.perf_counter() - started
    if fitted.peak_mib is not None and peak.mib is not None:
        costs["peak_mib"] = max(fitted.peak_mib, peak.mib)
    gated = weight = before = None
    if method.personal:
        against = control if method.baseline == control.name else _baseline(method, task)
        gate = Gate(method=method, control=against, folds=method.gate_folds).fit(task.fit_on)
        tested = gate.adapt_batch(task.context)
        gated = _difference(gate, tested, task)
        weight = None if tested.verdicts is None else tested.verdicts.weight
        before = _difference(gate, gate.adapt_batch(task.context.head(0)), task)
    curve = {k: _difference(method, method.adapt_batch(part), task) for k, part in _contexts(cell, method)}
    asked, ledger = _calls(method, ledger), current_session().ledger.snapshot()
    costs |= {key: asked[key] + fitted.calls.get(key, 0.0) for key in asked}
    if "lm_money" not in fitted.calls:  # the price of a part is not known, so that of the whole is not
        costs.pop("lm_money", None)
    extra, faults = facets.probe_all(method, personas, task, cell.encoder) if probes else ({}, {})
    if method.uses_lm:  # the facets' own questions are told apart from the method's
        costs["lm_facets"] = float(current_session().ledger.since(ledger).total["requests"])
    return Outcome(applied, gated, weight, curve, costs, before, extra, faults)


def _calls(method: Method, before: Ledger) -> dict[str, float]:
    """Return what was asked of language models since a snapshot: ``lm_calls``, ``lm_money`` and so on."""
    if not method.uses_lm:
        return {}
    total = current_session().ledger.since(before).total
    told = {"calls": "paid", "kept": "kept", "shared": "shared", "seconds": "seconds"}
    told |= {key: key for key in ("tokens_in", "tokens_out", "shortened", "compared", "torn", "silent")}
    costs = {f"lm_{name}": float(total[key]) for name, key in told.items()}
    costs["lm_faults"] = float(sum(total["faults"].values()))
    if total["dollars"] is not None:
        costs["lm_money"] = float(total["dollars"])
    return costs


def _baseline(method: Method, task: Task) -> Method:
    """Return the fitted unpersonalized method that a persona of this one must beat."""
    return build(method.baseline, **method.config).fit(task.fit_on)


def _contexts(cell: Cell, method: Method) -> list[tuple[int, Population]]:
    context = cell.task.context
    longest = int(np.diff(context.offsets).max(initial=0))
    asked = (0, *cell.asked_curve) if method.uses_lm else CURVE
    wanted = [k for k in asked if k < longest] + [longest] if method.personal else [0]
    return [(k, context.head(k)) for k in wanted]


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
                arrays = {name: data[name] for name in data.files}
            applied = arrays["applied"]
            curve = {int(name[6:]): array for name, array in arrays.items() if name.startswith("curve_")}
            extra = {name[6:]: array for name, array in arrays.items() if name.startswith("extra_")}
            costs, faults = (json.loads(str(arrays[name])) for name in ("costs", "faults"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        if len(applied) != len(targets):
            return None
        gated, weight, before = (arrays.get(name) for name in ("gated", "weight", "gated_before"))
        return Outcome(applied, gated, weight, curve, costs, before, extra, faults)

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep a finished cell; it appears whole or not at all."""
        arrays: dict[str, Any] = {f"curve_{k}": d for k, d in outcome.curve.items()}
        arrays |= {f"extra_{name}": array for name, array in outcome.extra.items()}
        arrays |= {"applied": outcome.applied, "costs": json.dumps(dict(outcome.costs))}
        arrays["faults"] = json.dumps(dict(outcome.faults))
        for name in ("gated", "weight", "gated_before"):
            if (array := getattr(outcome, name)) is not None:
                arrays[name] = array
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
