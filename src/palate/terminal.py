"""What people see in a terminal: progress, tables, and errors that say what to do."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from palate.evaluate.attacks import Attacked
    from palate.models.llm.records import Call

__all__ = [
    "attack_table",
    "calls_table",
    "console",
    "cost_table",
    "errors",
    "facet_lines",
    "leaderboard",
    "pairs_table",
    "progress_bar",
    "table_of",
]

console = Console(width=None if sys.stdout.isatty() else 150)
errors = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
_COLUMNS = (
    "accuracy",
    "over pooled",
    "from their choices",
    "helped/harmed",
    "log-loss",
    "calib.",
    "worst",
    "fit s",
)
_WIDE = 146  # what a table of all columns needs
_ACCURACY = ("accuracy", None)
_INNER = ("encoding", "reading", "fitting")
Tell = Callable[[str, int, int], None]


def table_of(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """Return rows of text as a table, the header first."""
    head, *body = rows
    table = Table(*map(escape, head), title=escape(title), title_justify="left")
    for row in body:
        table.add_row(*map(escape, row))
    return table


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
            if any(word in what for word in _INNER):
                bar.update(inner, description=escape(what), completed=done, total=total or None, visible=True)
            else:
                bar.update(inner, visible=False)
                bar.update(outer, description=escape(what), completed=done, total=total or None)

        yield tell


def leaderboard(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield one table for each data set, protocol and encoder, best first; then why methods failed."""
    for place in dict.fromkeys(_place(entry) for entry in [*report["rows"], *report["failures"]]):
        rows = [row for row in report["rows"] if _place(row) == place]
        failed = dict.fromkeys(
            f["method"] for f in report["failures"] if _place(f) == place and not f.get("facet")
        )
        yield _board(report, place, rows, list(failed))
    if report["failures"]:
        table = Table("method", "where", "why", title="What failed", title_justify="left")
        for failure in report["failures"]:
            part = f", the part {failure['facet']}" if failure.get("facet") else ""
            several = len(report.get("config", {}).get("seeds", ())) > 1
            seed = [f"seed {failure['seed']}"] if several else []
            where = " · ".join([*_place(failure), *seed])
            table.add_row(*map(escape, (failure["method"] + part, where, failure["error"])))
        yield table


def _place(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["dataset"], entry["protocol"], entry["encoder"]


def _board(
    report: Mapping[str, Any], place: tuple[str, str, str], rows: list[Any], failed: list[str]
) -> Table:
    """One table: methods by accuracy, then those that failed."""
    cells = {(r["method"], r["metric"], r["against"]): r for r in rows}
    first = next((r for r in rows if r["metric"] == "accuracy"), None)
    whose = "unseen users" if place[1] == "new-users" else "users"
    n = f" · {first['users']:,} {whose}, {first['pairs']:,} pairs, 95 % intervals" if first else ""
    table = Table(title=escape(" · ".join(place)) + n, title_justify="left")
    table.add_column("method", no_wrap=True)
    columns = _COLUMNS if console.width >= _WIDE else _COLUMNS[:3]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=console.width >= _WIDE)
    scored = {
        method: r["value"] for (method, metric, base), r in cells.items() if (metric, base) == _ACCURACY
    }
    bounds = {m["name"] for m in report["methods"] if m.get("bound")}
    for method in sorted(scored, key=lambda m: -scored[m]):
        table.add_row(*_line(cells, method)[: 1 + len(columns)], style="dim" if method in bounds else "")
    for method in failed:
        if method not in scored:
            table.add_row(escape(method), "failed, see below", style="red")
    return table


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
        figure("from_choices", None, "+"),
        f"{helped} / {plain('harmed', 'pooled', 100, 0)} %" if helped else "",
        plain("log_loss"),
        plain("calibration_error"),
        plain("worst_tenth", None, 100, 1),
        plain("fit_seconds", None, 1, 1),
    ]


def cost_table(rows: Sequence[Mapping[str, Any]], by: str = "method") -> Table:
    """Return what was asked of language models: a row a method, user or program, as a ledger gives them."""
    table = Table(title="language models", title_justify="left")
    table.add_column(by, style="bold")
    for name in ("calls paid", "kept", "shared", "tokens in", "tokens out", "dollars", "seconds", "trouble"):
        table.add_column(name, justify="right" if name != "trouble" else "left")
    for row in rows:
        if not row["requests"]:
            continue
        counts = [f"{row[key]:,}" for key in ("paid", "kept", "shared", "tokens_in", "tokens_out")]
        money = "no price known" if row["dollars"] is None else f"{row['dollars']:,.4f}"
        trouble = [f"{n:,} {what}" for what, n in row["faults"].items()]
        trouble += [
            f"{row[key]:,} {key}" for key in ("retries", "repairs", "shortened", "interrupted") if row[key]
        ]
        table.add_row(
            escape(str(row[by])), *counts, money, f"{row['seconds']:,.1f}", escape(", ".join(trouble))
        )
    return table


def calls_table(calls: Sequence["Call"]) -> Table:
    """Return kept calls, the newest first: a line each."""
    table = Table(title="calls, the newest first; `palate trace KEY` shows one whole", title_justify="left")
    for name in ("key", "when", "program", "model", "served", "tokens", "answer"):
        table.add_column(name, no_wrap=name != "answer", overflow="ellipsis")
    for call in calls:
        when = datetime.fromtimestamp(call.when).strftime("%m-%d %H:%M:%S")
        served = sorted({use.user or use.method for use in call.uses}) or ["-"]
        more = f" +{len(served) - 1}" if len(served) > 1 else ""
        answer = f"[{call.fault}] {call.text}" if call.fault else call.text
        table.add_row(
            call.key[:10],
            when,
            call.program.partition("/")[0],
            escape(call.model),
            escape(served[0] + more),
            f"{call.tokens_in:,}+{call.tokens_out:,}",
            escape(" ".join(answer.split())[:80]),
        )
    return table


def attack_table(found: Sequence["Attacked"], lm: str, *, fake: bool = False) -> Table:
    """Return what every attack won over."""
    kind = "a fake, no language model" if fake else "shares of comparisons"
    table = Table(title=escape(f"attacks on the judge {lm} ({kind})"), title_justify="left")
    for name in ("where", "attack", "comparisons", "without", "with it", "won over, points [95 %]", "silent"):
        table.add_column(escape(name), justify="left" if name in ("where", "attack") else "right")
    for one in found:
        won, low, high = (f"{share * 100:+.1f}" for share in (one.won, one.low, one.high))
        cells = [one.attack.place, one.attack.name, f"{one.comparisons:,}"]
        cells += [f"{one.before:.1%}", f"{one.after:.1%}", f"{won} [{low}, {high}]", str(one.silent)]
        table.add_row(*map(escape, cells), style="red" if one.low > 0 else "")
    return table


def pairs_table(title: str, pairs: Iterator[tuple[str, str]]) -> Table:
    """Return a table of what and value."""
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for what, value in pairs:
        table.add_row(escape(what), escape(value))
    return table


def facet_lines(report: Mapping[str, Any], most: int = 12) -> Iterator[str]:
    """Yield the facets' sentences, those about unseen users first; the page has them all, with pictures."""
    first = {"new-users": 0, "seen-users": 1}  # the second is what several sizes tell together
    values = sorted(report["facets"], key=lambda value: first.get(value["protocol"], 2))
    for value in values[:most]:
        yield f"- {value['title']}. {value['sentence']}"
    if len(values) > most:
        yield f"- and {len(values) - most} more on the page"
