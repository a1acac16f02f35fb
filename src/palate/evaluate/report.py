"""``report.json``: every figure of a run, by one documented and versioned schema (``palate-report/1``)."""

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
from palate.evaluate.bench import CONTROL, Results
from palate.evaluate.cells import Cell, Outcome
from palate.evaluate.metrics import Bootstrap, Figure, Scored, calibration, compare, summarise, user_table
from palate.evaluate.page import render
from palate.evaluate.protocol import Task

__all__ = ["SCHEMA", "BoundScores", "make_report", "write_report"]

SCHEMA = "palate-report/1"
DRAWS = 2000
BoundScores = Mapping[str, tuple[str, Mapping[int, Any]]]
"""Name of a bound to (summary, log-odds of the task's targets by number of context choices, -1: all)."""


def make_report(
    results: Results,
    *,
    command: str = "",
    bounds: Mapping[str, BoundScores] | None = None,
    notes: Sequence[str] = (),
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the report as plain values.

    Args:
        results: What the cells gave.
        command: The command that makes it again.
        bounds: For a simulated task, by its name, the known bounds.
        notes: Sentences for the reader.
        facts: By task name, what else is known of the data (rows set aside, rule, path).
    """
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "palate": __version__,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "config": {
            "methods": {name: dict(fields) for name, fields in results.bench.methods.items()},
            "encoders": list(results.bench.encoders),
            "seed": results.bench.seed,
            "bootstrap": DRAWS,
            "protocol": "new-users",
        },
        "datasets": [_dataset(task, (facts or {}).get(task.name, {})) for task in results.bench.tasks],
        "methods": _methods(results, bounds or {}),
        "rows": [],
        "curves": [],
        "calibration": [],
        "users": [],
        "failures": [
            {"dataset": c.task.name, "encoder": c.encoder, "method": c.method, "error": error}
            for c, error in results.failures.items()
        ],
        "notes": list(notes),
    }
    controls = {
        (c.task.name, c.encoder): o.applied for c, o in results.outcomes.items() if c.method == CONTROL
    }
    for cell, outcome in results.outcomes.items():
        _add_cell(report, cell, outcome, controls.get((cell.task.name, cell.encoder)))
    for task in results.bench.tasks:
        for encoder, (name, (_, scores)) in product(
            results.bench.encoders, (bounds or {}).get(task.name, {}).items()
        ):
            control = controls.get((task.name, encoder))
            _add_scored(report, task, encoder, name, Scored(task.targets, scores[-1]), control, None)
            _add_curve(report, task, encoder, name, {k: d for k, d in scores.items() if k >= 0})
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


def _dataset(task: Task, facts: Mapping[str, Any]) -> dict[str, Any]:
    roles = np.bincount(task.people.role[task.people.role >= 0], minlength=3)
    return {
        "name": task.name,
        "digest": task.people.digest,
        "users": task.people.n_users,
        "train_users": int(roles[0]),
        "val_users": int(roles[1]),
        "test_users": int(roles[2]),
        "scored_users": task.scored_users,
        "choices": task.people.n_rows,
        "context_pairs": len(task.context.pairs),
        "target_pairs": len(task.targets),
        "simulated": task.simulated,
        "rows_set_aside": 0,
        "rule": None,
        **facts,
    }


def _methods(results: Results, bounds: Mapping[str, BoundScores]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    seen: set[str] = set()
    for cell in [*results.outcomes, *results.failures]:
        if cell.method in seen:
            continue
        seen.add(cell.method)
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
            "fields": dict(cell.fields),
        }
        out.append(entry)
        if cls.personal:
            summary = f"{cell.method}, applied only as far as each user's held-back choices support it."
            label = f"{cell.method}+gate"
            out.append(
                {
                    **entry,
                    "name": label,
                    "label": label,
                    "gated": True,
                    "base": cell.method,
                    "summary": summary,
                }
            )
    for name, summary in {n: s for b in bounds.values() for n, (s, _) in b.items()}.items():
        out.append({"name": name, "label": name, "paper": "", "summary": summary, "personal": False,
                    "control": False, "gated": False, "bound": True, "fields": {}})  # fmt: skip
    return out


def _add_cell(report: dict[str, Any], cell: Cell, outcome: Outcome, control: Any) -> None:
    task = cell.task
    seen = {"applied": outcome.applied} | ({"gated": outcome.gated} if outcome.gated is not None else {})
    for kind, difference in seen.items():
        name = cell.method if kind == "applied" else f"{cell.method}+gate"
        weight = outcome.weight if kind == "gated" else None
        base = None if cell.method == CONTROL else control
        _add_scored(report, task, cell.encoder, name, Scored(task.targets, difference), base, weight)
    per_thousand = 1000.0 / max(1, task.context.n_users)
    for metric, value in (
        ("fit_seconds", outcome.seconds["fit"]),
        ("adapt_seconds_per_1000", outcome.seconds["adapt"] * per_thousand),
        ("score_seconds_per_1000", outcome.seconds["score"] * 1000.0 / max(1, len(task.targets))),
    ):
        figure = Figure(metric, value, None, None, task.context.n_users, len(task.targets))
        report["rows"].append(_row(task, cell.encoder, cell.method, figure))
    _add_curve(report, task, cell.encoder, cell.method, outcome.curve)


def _add_scored(
    report: dict[str, Any],
    task: Task,
    encoder: str,
    name: str,
    scored: Scored,
    control: Any,
    weight: Any,
) -> None:
    where = {"dataset": task.name, "encoder": encoder, "method": name}
    bootstrap = Bootstrap(len(np.unique(scored.pairs.user[scored.decided])), DRAWS, seed=1)
    figures = summarise(scored, bootstrap)
    if control is not None:
        base = Scored(scored.pairs, control)
        figures += compare(scored, base, CONTROL, bootstrap)
        users, pairs, mine, theirs = user_table(scored, base)
        names = task.context.users[users]
        trust = np.full(len(users), np.nan) if weight is None else weight[users]
        report["users"].append(
            {**where, "rows": [
                [str(n), int(c), _round(a), _round(b), None if np.isnan(w) else _round(w)]
                for n, c, a, b, w in zip(names, pairs, mine, theirs, trust, strict=True)
            ]}
        )  # fmt: skip
    report["rows"] += [_row(task, encoder, name, figure) for figure in figures]
    bins = calibration(scored)
    report["calibration"].append(
        {**where, "bins": [
            {"confidence": _round(c), "accuracy": _round(a), "pairs": int(n)}
            for c, a, n in zip(*bins, strict=True)
        ]}
    )  # fmt: skip


def _add_curve(report: dict[str, Any], task: Task, encoder: str, name: str, curve: Mapping[int, Any]) -> None:
    if len(curve) < 2:
        return
    points = []
    for k, difference in sorted(curve.items()):
        scored = Scored(task.targets, difference)
        bootstrap = Bootstrap(len(np.unique(scored.pairs.user[scored.decided])), DRAWS, seed=1)
        figure = summarise(scored, bootstrap)[0]
        points.append(
            {"pairs": k, "value": figure.value, "low": figure.low, "high": figure.high, "users": figure.users}
        )
    report["curves"].append({"dataset": task.name, "encoder": encoder, "method": name, "points": points})


def _row(task: Task, encoder: str, method: str, figure: Figure) -> dict[str, Any]:
    head = {"dataset": task.name, "protocol": "new-users", "encoder": encoder, "method": method}
    return {**head, **figure._asdict()}


def _round(value: float, digits: int = 6) -> float:
    return round(float(value), digits)
