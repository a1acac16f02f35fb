"""palate data: look at feedback before anything is learned from it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from palate.cli.asking import Agreed, agree, asks
from palate.cli.shared import Fields, File, Seed, Settings, data, pairs, read_settings

__all__ = ["check", "curate", "describe", "write_world"]


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


@data.command()
@asks
def curate(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the curated set.")],
    judges: Annotated[
        list[str] | None, typer.Option("--judge", help="Model of the consensus filter; may be repeated.")
    ] = None,
    filter_lm: Annotated[str, typer.Option(help="Model of the personalizable filter; none: left out.")] = "",
    min_pairs: Annotated[int, typer.Option(help="Fewest pairs of a user.")] = 5,
    min_gap: Annotated[float, typer.Option(help="Smallest gap of ratings, as a share of the scale.")] = 0.1,
    form: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    seed: Seed = 0,
    field: Fields = None,
    yes: Agreed = False,
) -> None:
    """Make a data set like PersonalRewardBench: users, matters of taste, and no consensus."""
    from palate.curate import curate as make
    from palate.curate import plan
    from palate.models.llm.engine import is_fake
    from palate.terminal import console, pairs_table, progress_bar

    fields, heard = pairs(field or [], "--field"), judges or []
    told = plan(file, heard, filter_lm, min_pairs, min_gap, seed, fields=fields)
    for line in told.lines():
        console.print(line, highlight=False, markup=False)
    paid = sum(step.calls for step in told.asked if not is_fake(step.lm))
    agree(" ".join(told.lines()), paid, yes)
    with progress_bar() as tell:
        summary = make(
            file, out, heard, filter_lm, min_pairs, min_gap, seed, tell, fields=fields, format=form
        )
    console.print(str(summary), highlight=False, markup=False)
    console.print(pairs_table("", summary.lines()))
    print(out)
