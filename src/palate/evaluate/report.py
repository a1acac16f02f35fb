"""``report.json``: every figure of a run, by one documented and versioned schema (``palate-report/2``)."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from palate import __version__
from palate.catalogue import find
from palate.core import StorageError
from palate.evaluate import facets
from palate.evaluate.bench import CONTROL, Results
from palate.evaluate.cards import cards
from palate.evaluate.cells import Cell, Outcome
from palate.evaluate.measured import gather
from palate.evaluate.metrics import (
    Bootstrap,
    Figure,
    Scored,
    calibration,
    compare,
    from_choices,
    summarise,
    user_table,
)
from palate.evaluate.page import render
from palate.evaluate.page_reading import SCHEMA
from palate.evaluate.protocol import Task

__all__ = ["SCHEMA", "BoundScores", "make_report", "write_report"]

DRAWS = 2000
BoundScores = Mapping[str, tuple[str, Mapping[int, Any]]]
"""Name of a bound to (summary, log-odds of the task's targets by number of context choices, -1: all)."""
Place = tuple[str, str]
"""A task's name and its setting."""


def make_report(
    results: Results,
    *,
    command: str = "",
    seed: int = 0,
    bounds: Mapping[Place, BoundScores] | None = None,
    notes: Sequence[str] = (),
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    tried: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the report as plain values.

    Args:
        results: What the cells gave.
        command: The command that makes it again.
        seed: Seed of the splits.
        bounds: For a simulated task, by its name and setting, the known bounds.
        notes: Sentences for the reader.
        facts: By task name, what else is known of the data (rows set aside, rule, path).
        tried: Settings that were tried before these were chosen, a value a data set and encoder.
    """
    known, bench = bounds or {}, results.bench
    values, faults = facets.measure_all(gather(results, _levels(known)))
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "palate": __version__,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "config": {
            "methods": {name: dict(fields) for name, fields in bench.methods.items()},
            "encoders": list(bench.encoders),
            "seed": seed,
            "seeds": list(bench.seeds),
            "bootstrap": DRAWS,
            "protocols": list(dict.fromkeys(task.setting for task in bench.tasks)),
        },
        "datasets": [_dataset(task, (facts or {}).get(task.name, {})) for task in bench.tasks],
        "methods": _methods(results, known),
        "rows": [],
        "curves": [],
        "calibration": [],
        "users": [],
        "facets": values,
        "failures": _failures(results),
        "cards": [],
        "tried": list(tried),
        "notes": [*notes, *(f"The part {name} could not be measured: {why}" for name, why in faults.items())],
    }
    _add_sections(report, results, known)
    report["cards"] = cards(report)
    return report


def write_report(report: Mapping[str, Any], folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder and return their paths."""
    path = Path(folder)
    written = []
    for name, text in (("report.json", json.dumps(report, indent=1)), ("report.html", render(report))):
        draft = path / f".{name}.{os.getpid()}"
        try:
            path.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(path / name)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise StorageError(f"cannot write {path / name}: {error}") from error
        written.append(path / name)
    return written[0], written[1]


def _levels(bounds: Mapping[Place, BoundScores]) -> dict[Place, dict[str, Any]]:
    """Return every bound's log-odds with the whole context."""
    return {
        place: {name: scores[-1] for name, (_, scores) in found.items()} for place, found in bounds.items()
    }


def _dataset(task: Task, facts: Mapping[str, Any]) -> dict[str, Any]:
    roles = np.bincount(task.fit_on.role[task.fit_on.role >= 0], minlength=3)
    return {
        "name": task.name,
        "protocol": task.setting,
        "digest": task.people.digest,
        "users": task.people.n_users,
        "train_users": int(roles[0]),
        "val_users": int(roles[1]),
        "test_users": task.context.n_users,
        "scored_users": task.scored_users,
        "choices": task.people.n_rows,
        "context_pairs": len(task.context.pairs),
        "target_pairs": len(task.targets),
        "simulated": task.simulated,
        "rows_set_aside": 0,
        "rule": None,
        **facts,
    }


def _methods(results: Results, bounds: Mapping[Place, BoundScores]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for cell in {cell.method: cell for cell in results.bench.cells()}.values():
        cls = find(cell.method)
        entry = {
            "name": cell.method,
            "label": cell.method,
            "paper": cls.paper,
            "summary": (cls.__doc__ or "").strip().split("\n")[0],
            "personal": cls.personal,
            "control": cell.method == CONTROL,
            "gated": False,
            "bound": False,
            "fields": dict(results.bench.methods.get(cell.method, {})),
        }
        out.append(entry)
        if cls.personal:
            summary = f"{cell.method}, applied only as far as each user's held-back choices support it."
            gated = {"gated": True, "base": cell.method, "summary": summary}
            name = f"{cell.method}+gate"
            out.append({**entry, "name": name, "label": name, **gated})
    for name, summary in {n: s for b in bounds.values() for n, (s, _) in b.items()}.items():
        out.append({"name": name, "label": name, "paper": "", "summary": summary, "personal": False,
                    "control": False, "gated": False, "bound": True, "fields": {}})  # fmt: skip
    return out


def _failures(results: Results) -> list[dict[str, Any]]:
    """Return what failed: methods, and facets' probes of methods that went well."""
    why: list[tuple[Cell, str | None, str]]
    why = [(cell, None, text) for cell, text in results.failures.items()]
    why += [(cell, facet, text) for cell, o in results.outcomes.items() for facet, text in o.faults.items()]
    return [
        {**_place(c.task, c.encoder), "method": c.method, "seed": c.seed, "facet": facet, "error": text}
        for c, facet, text in why
    ]


def _place(task: Task, encoder: str) -> dict[str, Any]:
    return {"dataset": task.name, "protocol": task.setting, "encoder": encoder}


def _add_sections(report: dict[str, Any], results: Results, bounds: Mapping[Place, BoundScores]) -> None:
    """Add every method's and every bound's figures, of the first seed."""
    first = {cell: o for cell, o in results.outcomes.items() if cell.seed == results.bench.seeds[0]}
    controls = {(c.task, c.encoder): o.applied for c, o in first.items() if c.method == CONTROL}
    for cell, outcome in first.items():
        _add_cell(report, cell, outcome, controls.get((cell.task, cell.encoder)))
    for task, encoder in product(results.bench.tasks, results.bench.encoders):
        for name, (_, scores) in bounds.get((task.name, task.setting), {}).items():
            place = {**_place(task, encoder), "method": name}
            _add_scored(report, place, task, scores[-1], controls.get((task, encoder)), scores.get(0))
            _add_curve(report, place, task, {k: d for k, d in scores.items() if k >= 0})


def _add_cell(report: dict[str, Any], cell: Cell, outcome: Outcome, control: Any) -> None:
    task = cell.task
    place = {**_place(task, cell.encoder), "method": cell.method}
    base = None if cell.method == CONTROL else control
    personal = outcome.gated is not None
    _add_scored(report, place, task, outcome.applied, base, outcome.curve.get(0) if personal else None)
    if outcome.gated is not None:
        gated = {**place, "method": f"{cell.method}+gate"}
        _add_scored(report, gated, task, outcome.gated, base, outcome.gated_before, outcome.weight)
    per_thousand = 1000.0 / max(1, task.context.n_users)
    for metric, value in (
        ("fit_seconds", outcome.costs["fit"]),
        ("adapt_seconds_per_1000", outcome.costs["adapt"] * per_thousand),
        ("score_seconds_per_1000", outcome.costs["score"] * 1000.0 / max(1, len(task.targets))),
        ("peak_mib", outcome.costs.get("peak_mib")),
    ):
        if value is None:
            continue
        figure = Figure(metric, value, None, None, task.context.n_users, len(task.targets))
        report["rows"].append({**place, **figure._asdict()})
    _add_curve(report, place, task, outcome.curve)


def _add_scored(
    report: dict[str, Any],
    place: Mapping[str, Any],
    task: Task,
    difference: Any,
    control: Any = None,
    before: Any = None,
    weight: Any = None,
) -> None:
    """Add a method's figures: alone, against the control, and against itself before any choice was seen."""
    scored, bootstrap = _scored(task, difference)
    figures = summarise(scored, bootstrap)
    if control is not None:
        base = Scored(task.targets, control)
        figures += compare(scored, base, CONTROL, bootstrap)
        report["users"].append({**place, "rows": _people(task, user_table(scored, base), weight)})
    if before is not None:
        figures += from_choices(scored, Scored(task.targets, before), bootstrap)
    report["rows"] += [{**place, **figure._asdict()} for figure in figures]
    bins = calibration(scored)
    report["calibration"].append(
        {**place, "bins": [
            {"confidence": _round(c), "accuracy": _round(a), "pairs": int(n)}
            for c, a, n in zip(*bins, strict=True)
        ]}
    )  # fmt: skip


def _scored(task: Task, difference: Any) -> tuple[Scored, Bootstrap]:
    scored = Scored(task.targets, difference)
    return scored, Bootstrap(len(np.unique(scored.pairs.user[scored.decided])), DRAWS, seed=1)


def _people(task: Task, table: Any, weight: Any) -> list[list[Any]]:
    """Return name, pairs, accuracy, the control's, and the gate's weight of every such user."""
    users, pairs, mine, theirs = table
    trust = np.full(len(users), np.nan) if weight is None else weight[users]
    return [
        [str(n), int(c), _round(a), _round(b), None if np.isnan(w) else _round(w)]
        for n, c, a, b, w in zip(task.context.users[users], pairs, mine, theirs, trust, strict=True)
    ]


def _add_curve(
    report: dict[str, Any], place: Mapping[str, Any], task: Task, curve: Mapping[int, Any]
) -> None:
    if len(curve) < 2:
        return
    points = []
    for k, difference in sorted(curve.items()):
        figure = summarise(*_scored(task, difference))[0]
        points.append(
            {"pairs": k, "value": figure.value, "low": figure.low, "high": figure.high, "users": figure.users}
        )
    report["curves"].append({**place, "points": points})


def _round(value: float, digits: int = 6) -> float:
    return round(float(value), digits)
