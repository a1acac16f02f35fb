"""All methods on the fixed rows of real people's choices, beside what published codes reached on them.

    python benchmarks/bench_rows.py [--encoder minilm] [--out palate-out/rows] [--methods mixed,lore]

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

from palate.evaluate.study import Study
from palate.terminal import leaderboard, progress_bar

FILES = ("bowling-green", "bowling-green-new", "arguments", "arguments-new", "tulu", "ai-values")
PUBLISHED = {
    "pooled Bradley-Terry": (0.732, 0.693, 0.748, 0.784),
    "pooled with style": (0.736, 0.691, 0.760, 0.788),
    "individual Bradley-Terry": (0.618, 0.597, 0.585, 0.596),
    "LoRe, its own code": (0.764, 0.724, 0.721, 0.775),
    "GPO, public code": (0.738, 0.726, 0.756, 0.798),
    "VPL, public code's model": (0.713, 0.696, 0.738, 0.778),
    "crowdGPPL, public code": (0.749, 0.715, 0.753, 0.800),
    "a first trial of mixed": (0.794, 0.775, 0.769, 0.814),
}


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
    for name, values in PUBLISHED.items():
        table.add_row(name, *(f"{value:.3f}" for value in values), style="dim")
    return table


def main() -> None:
    """Run, and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--encoder", action="append")
    options.add_argument("--methods", default="")
    options.add_argument("--files", default=",".join(FILES))
    options.add_argument("--out", type=Path, default=Path("palate-out/rows"))
    given = options.parse_args()
    encoders = tuple(given.encoder or ["minilm"])
    data = tuple(str(folder() / f"{name}.jsonl.gz") for name in given.files.split(","))
    methods: dict[str, dict[str, Any]] = {name: {} for name in given.methods.split(",") if name}
    with progress_bar() as tell:
        done = Study(data=data, methods=methods, encoders=encoders).prepare(tell).run(given.out, tell)
    console = Console(width=150)
    for table in leaderboard(done.report):
        console.print(table)
    for encoder in encoders:
        console.print(beside(dict(done.report), encoder))
    print(done.html)


if __name__ == "__main__":
    main()
