"""All methods on the fixed rows of real people's choices, beside what published codes reached on them.

    python benchmarks/bench_rows.py [--encoder minilm] [--methods mixed,lore] [--select 8] [--out FOLDER]

The rows are read from $PALATE_DATA/bench, or from ../shared/data/bench beside the project. Roles and
splits are part of them, so every code met the same training, validation and test users. Published codes
ran on MiniLM embeddings of the responses, with settings chosen by validation users' log-loss.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from palate.evaluate.published import PUBLISHED
from palate.evaluate.study import Study
from palate.terminal import leaderboard, progress_bar

FILES = ("bowling-green", "bowling-green-new", "arguments", "arguments-new", "tulu", "ai-values")


def folder() -> Path:
    """Return where the fixed rows are, or stop with what to do."""
    home = os.environ.get("PALATE_DATA")
    rows = Path(home) if home else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (rows / "bench").is_dir():
        sys.exit(f"no fixed rows in {rows / 'bench'}: set PALATE_DATA to the folder that holds bench/")
    return rows / "bench"


def beside(report: dict[str, Any], encoder: str) -> Table:
    """Return our accuracies and the published ones, side by side."""
    table = Table("system", *FILES[:4], title=f"user-averaged accuracy on unseen users, {encoder}")
    cells = {
        (r["method"], r["dataset"]): r
        for r in report["rows"]
        if r["metric"] == "accuracy" and r["against"] is None and r["encoder"] == encoder
    }
    for method in dict.fromkeys(method for method, _ in cells):
        found = [cells.get((method, name)) for name in FILES[:4]]
        texts = [f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" if r else "" for r in found]
        table.add_row(method, *(text.replace("[", "\\[") for text in texts))
    table.add_section()
    theirs = {(p.variant, p.dataset): p for p in PUBLISHED if p.dataset in FILES and p.metric == "accuracy"}
    for variant in dict.fromkeys(variant for variant, _ in theirs):
        values = [theirs.get((variant, name)) for name in FILES[:4]]
        texts = [f"{p.value:.3f} \\[{p.low:.3f}, {p.high:.3f}]" if p else "" for p in values]
        table.add_row(f"published: {variant}", *texts, style="dim")
    return table


def costs(report: dict[str, Any], encoder: str) -> Table:
    """Return what every method cost on each file: seconds to fit, to adapt 1,000 users, and memory."""
    table = Table("system", *FILES, title=f"fit s / adapt s per 1,000 users / MiB, {encoder}")
    found = {
        (r["method"], r["dataset"], r["metric"]): r["value"]
        for r in report["rows"]
        if r["encoder"] == encoder
    }
    for method in dict.fromkeys(method for method, _, metric in found if metric == "fit_seconds"):
        row = []
        for name in FILES:
            fit, adapt, peak = (
                found.get((method, name, metric))
                for metric in ("fit_seconds", "adapt_seconds_per_1000", "peak_mib")
            )
            row.append("" if fit is None else f"{fit:.1f} / {adapt:.2f} / {peak or 0:.0f}")
        table.add_row(method, *row)
    return table


def main() -> None:
    """Run, and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--encoder", action="append")
    options.add_argument("--methods", default="")
    options.add_argument("--files", default=",".join(FILES))
    options.add_argument("--out", type=Path, default=Path("palate-out/rows"))
    options.add_argument("--select", type=int, default=0, help="settings of each method tried first")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--seeds", type=int, default=1)
    given = options.parse_args()
    encoders = tuple(given.encoder or ["minilm"])
    data = tuple(str(folder() / f"{name}.jsonl.gz") for name in given.files.split(","))
    methods: dict[str, dict[str, Any]] = {name: {} for name in given.methods.split(",") if name}
    with progress_bar() as tell:
        study = Study(
            data=data,
            methods=methods,
            encoders=encoders,
            seeds=given.seeds,
            select=given.select,
            jobs=given.jobs,
        )
        done = study.prepare(tell).run(given.out, tell)
    console = Console(width=150)
    for table in leaderboard(done.report):
        console.print(table)
    for encoder in encoders:
        console.print(beside(dict(done.report), encoder))
        console.print(costs(dict(done.report), encoder))
    print(done.html)


if __name__ == "__main__":
    main()
