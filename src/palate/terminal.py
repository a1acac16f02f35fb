"""What people see in a terminal: progress, tables, and errors that say what to do."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

__all__ = ["console", "errors", "leaderboard", "pairs_table", "progress_bar"]

console = Console(width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True)
_COLUMNS = (
    "accuracy [95 %]",
    "over pooled [95 %]",
    "helped / harmed",
    "log-loss",
    "calib. err.",
    "worst 10 %",
    "fit s",
)
Tell = Callable[[str, int, int], None]


@contextmanager
def progress_bar() -> Iterator[Tell]:
    """Show long work on standard error; a total of 0 means that the end is not known."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        outer, inner = bar.add_task("starting", total=None), bar.add_task("", total=None, visible=False)

        def tell(what: str, done: int, total: int) -> None:
            if "encoding" in what or "reading" in what:
                bar.update(inner, description=escape(what), completed=done, total=total or None, visible=True)
            else:
                bar.update(inner, visible=False)
                bar.update(outer, description=escape(what), completed=done, total=total or None)

        yield tell


def leaderboard(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield one table for each data set and encoder, best first."""
    rows = report["rows"]
    groups = dict.fromkeys((row["dataset"], row["encoder"]) for row in rows)
    for dataset, encoder in groups:
        mine = [r for r in rows if (r["dataset"], r["encoder"]) == (dataset, encoder)]
        cells = {(r["method"], r["metric"], r["against"]): r for r in mine}
        first = next(r for r in mine if r["metric"] == "accuracy")
        table = Table(
            title=f"{escape(dataset)} · {escape(encoder)} · {first['users']:,} unseen users, "
            f"{first['pairs']:,} pairs",
            title_justify="left",
        )
        table.add_column("method", no_wrap=True)
        columns = _COLUMNS if console.width >= 120 else _COLUMNS[:3]
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        methods = sorted(
            dict.fromkeys(r["method"] for r in mine),
            key=lambda m: -cells[(m, "accuracy", None)]["value"] if (m, "accuracy", None) in cells else 0,
        )
        for method in methods:
            table.add_row(
                *_line(cells, method)[: 1 + len(columns)],
                style="dim" if method in ("oracle", "ideal", "average") else "",
            )
        yield table
    for failure in report["failures"]:
        table = Table(title=f"failed: {escape(failure['method'])} on {escape(failure['dataset'])}")
        table.add_column("why")
        table.add_row(escape(failure["error"]))
        yield table


def _line(cells: Mapping[Any, Any], method: str) -> list[str]:
    def figure(metric: str, against: str | None = None, sign: str = "", points: bool = True) -> str:
        row = cells.get((method, metric, against))
        if row is None:
            return ""
        scale, digits = (100, 1) if points else (1, 3)
        text = f"{row['value'] * scale:{sign}.{digits}f}"
        if row["low"] is None:
            return text
        return f"{text} \\[{row['low'] * scale:{sign}.{digits}f}, {row['high'] * scale:{sign}.{digits}f}]"

    def plain(metric: str, against: str | None = None, scale: float = 1, digits: int = 3) -> str:
        row = cells.get((method, metric, against))
        return "" if row is None else f"{row['value'] * scale:.{digits}f}"

    helped = plain("helped", "pooled", 100, 0)
    return [
        escape(method),
        figure("accuracy"),
        figure("accuracy", "pooled", "+"),
        f"{helped} / {plain('harmed', 'pooled', 100, 0)} %" if helped else "",
        plain("log_loss"),
        plain("calibration_error"),
        plain("worst_tenth", None, 100, 1),
        plain("fit_seconds", None, 1, 1),
    ]


def pairs_table(title: str, pairs: Iterator[tuple[str, str]]) -> Table:
    """Return a table of what and value."""
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for what, value in pairs:
        table.add_row(escape(what), escape(value))
    return table
