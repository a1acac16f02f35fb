"""palate bench, compare, report and methods: measure, and read what was measured."""

import inspect
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate.cli.asking import LM, Agreed, Judge, Tuned, agree, asks
from palate.cli.shared import Fields, Seed, Settings, app, pairs, read_settings
from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.evaluate.study import Study

__all__ = ["bench", "compare", "methods", "report"]

Protocols = Annotated[
    list[str] | None,
    typer.Option(help="new-users, seen-users, seen-users:1000,10000 (pairs); may be repeated."),
]


@app.command()
@asks
def bench(
    files: Annotated[list[str] | None, typer.Argument(help="FILEs; without any, the world.")] = None,
    methods: Annotated[str, typer.Option("--methods", "-m", help="Comma-separated; all by default.")] = "",
    encoder: Annotated[list[str] | None, typer.Option("--encoder", "-e", help="May be repeated.")] = None,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds methods run with, from --seed on.")] = 1,
    protocol: Protocols = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")] = Path("palate-out"),
    world: Annotated[str, typer.Option(help="default or two_tastes, when no file is given.")] = "default",
    settings: Settings = None,
    field: Fields = None,
    min_gap: Annotated[float, typer.Option(help="Smallest difference of ratings that makes a pair.")] = 1.0,
    cap: Annotated[int, typer.Option(help="Most pairs a user from ratings.")] = 100,
    suite: Annotated[str, typer.Option(help="General suite: palate, none, a file or hf:ID.")] = "palate",
    select: Annotated[int, typer.Option(help="Settings of each method to try first; 0 tries none.")] = 0,
    select_seconds: Annotated[float | None, typer.Option(help="Most seconds of a method's trials.")] = None,
    jobs: Annotated[int, typer.Option(help="Trials at a time; 0: one a core.")] = 0,
    lm: LM = "",
    judge_lm: Judge = "",
    model: Tuned = "",
    users: Annotated[int, typer.Option(help="Most test users; 0 keeps all.")] = 0,
    curve: Annotated[str, typer.Option(help="Past choices at which --lm methods are measured: 1,2,4.")] = "",
    transfer: Annotated[str, typer.Option(help="Models that write for each other to judge: A,B.")] = "",
    config: Annotated[Path | None, typer.Option(help="run.yaml of an earlier run.")] = None,
    yes: Agreed = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print the estimate and stop.")] = False,
) -> None:
    """Fit, adapt and score methods on people they have never seen; write report.json and report.html."""
    given = dict(locals())
    for name in ("out", "config", "yes", "dry"):
        given.pop(name)
    _bench(_study(given, config), out, dry, yes)


def _study(given: dict[str, Any], config: Path | None) -> "Study":
    """Return the settings of a run: a file's, or what the options say; both at once are refused."""
    from palate.evaluate.study import Study, load_study

    if config is not None:
        usual = {name: p.default for name, p in inspect.signature(bench).parameters.items()}
        from_outside = ("lm", "model")  # the environment may say these
        said = sorted(n for n, value in given.items() if value != usual[n] and n not in from_outside)
        if said:
            raise ConfigError(
                f"--config {config} already says what to run, and so does --{said[0].replace('_', '-')}: "
                "change the file, or leave one of them out"
            )
        return load_study(config)
    files, chosen = given.pop("files"), read_settings(given.pop("settings") or [])
    world, listed, jobs = given.pop("world"), given.pop("methods"), given.pop("jobs")
    return Study(
        data=tuple(files or ()),
        world={} if files else {"preset": world, **chosen.get("world", {})},
        methods=_methods(listed, chosen),
        encoders=tuple(given.pop("encoder") or ("lexical",)),
        protocols=tuple(given.pop("protocol") or ("new-users",)),
        fields=pairs(given.pop("field") or [], "--field"),
        jobs=jobs or os.cpu_count() or 1,
        users=given.pop("users") or None,
        curve=_numbers(given.pop("curve")),
        transfer=tuple(spec.strip() for spec in given.pop("transfer").split(",") if spec.strip()),
        **given,
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Read numbers between commas."""
    try:
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError as error:
        raise ConfigError(f"--curve {text}: expected numbers such as 1,2,4,8") from error


def _methods(listed: str, chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the listed methods, and those that a field was set of, with their fields."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    return {name: chosen.get(name, {}) for name in dict.fromkeys([*names, *chosen]) if name != "world"}


def _bench(study: "Study", out: Path, dry: bool, agreed: bool) -> None:
    """Read, estimate, run, and print what came of it."""
    from palate.evaluate.page import headline
    from palate.evaluate.page_tried import tell as tell_tried
    from palate.terminal import console, facet_lines, leaderboard, progress_bar

    with progress_bar() as tell:
        prepared = study.prepare(tell)
    console.print(prepared.estimate(out), highlight=False)
    expected = prepared.expected(out)
    for line in expected.lines():
        console.print(line, highlight=False, markup=False)
    if dry:
        return
    agree(expected.told, expected.paid, agreed)
    with progress_bar() as tell:
        done = prepared.run(out, tell)
    for sentence in done.report["fakes"]:
        console.print(sentence, style="red", highlight=False, markup=False)
    for table in leaderboard(done.report):
        console.print(table)
    for sentence in headline(done.report):
        console.print(sentence, highlight=False, markup=False)
    for value in done.report["tried"]:
        console.print(tell_tried(value), highlight=False, markup=False)
    for line in facet_lines(done.report):
        console.print(line, highlight=False, markup=False)
    for failure in done.report["failures"]:
        what = f"{failure['facet']} of {failure['method']}" if failure["facet"] else failure["method"]
        print(f"palate: {what} failed: {failure['error']}", file=sys.stderr)
    print(done.json)
    print(done.html)


@app.command()
def methods() -> None:
    """List every registered method, where it comes from and what it needs."""
    from rich.markup import escape
    from rich.table import Table

    from palate.catalogue import describe
    from palate.terminal import console

    table = Table("method", "what it does", "source", "needs", title="methods", title_justify="left")
    for line in describe():
        table.add_row(*map(escape, line))
    console.print(table)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder with a report.json, or the file.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder.")] = Path("palate-compare"),
) -> None:
    """Compare two reports: what differs, and by how much, paired over the users that are in both."""
    from palate.evaluate.compare import lines, write_compare

    _, page, values = write_compare(first, second, out)
    for line in lines(values):
        print(line)
    print(page)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder with a report.json.")]) -> None:
    """Draw report.html again from report.json."""
    from palate.evaluate.report import write_report

    try:
        values = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} has no report.json to read ({error}); run `palate bench`") from error
    print(write_report(values, folder)[1])
