"""palate data: look at feedback before anything is learned from it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from palate.cli.shared import Fields, File, Seed, Settings, data, pairs, read_settings

__all__ = ["check", "describe", "write_world"]


@data.command()
def check(
    file: File,
    field: Fields = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    details: Annotated[int, typer.Option(help="How many rows set aside are listed.")] = 20,
) -> None:
    """Say what is in a file and what may be wrong with it: rows set aside, duplicates, biases, leaks."""
    from palate.feedback import check as examine
    from palate.feedback import read
    from palate.terminal import console, pairs_table

    result = read(file, fields=pairs(field or [], "--field"))
    report = examine(result)
    if as_json:
        print(json.dumps(report.to_json(), indent=1, default=str))
        return
    console.print(pairs_table(file, report.lines()))
    for detail in result.report.details[:details]:
        console.print(str(detail), highlight=False, markup=False)


@data.command()
def describe(
    file: File,
    field: Fields = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pooled: Annotated[float | None, typer.Option(help="Accuracy of the pooled model, from a report.")] = None,
) -> None:
    """Say how much people disagree, and how much room that leaves for personalization."""
    from palate.feedback import describe as characterise
    from palate.feedback import read
    from palate.terminal import console, pairs_table

    result = read(file, fields=pairs(field or [], "--field"))
    report = characterise(result.population, pooled_accuracy=pooled)
    if as_json:
        print(json.dumps(report.to_json(), indent=1, default=str))
        return
    console.print(pairs_table(file, report.lines()))


@data.command("world")
def write_world(
    out: Annotated[Path, typer.Argument(help="File to write: .jsonl, .jsonl.gz or .jsonl.zst.")],
    preset: Annotated[str, typer.Option(help="default or two_tastes.")] = "default",
    settings: Settings = None,
    seed: Seed = 0,
) -> None:
    """Write the people of a simulated world to a file."""
    from palate.evaluate.study import sample_world
    from palate.feedback import write_jsonl

    fields = read_settings([s if s.startswith("world.") else f"world.{s}" for s in settings or []])
    sample = sample_world({"preset": preset, **fields.get("world", {})}, seed)
    write_jsonl(sample.population, out)
    print(f"{sample.population.n_users:,} users, {sample.population.n_rows:,} choices")
    print(out)
