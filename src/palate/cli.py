"""The command line: thin verbs over the library. Heavy modules load only when a verb needs them."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate import __version__
from palate.core.errors import ConfigError, PalateError

if TYPE_CHECKING:
    from palate.evaluate.study import Study

__all__ = ["app", "main"]

app = typer.Typer(
    help="Learn each person's taste from the choices they make between answers, and test what was learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="Look at feedback before anything is learned from it.", no_args_is_help=True)
app.add_typer(data, name="data")

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer carries its own copy of click
File = Annotated[
    str,
    typer.Argument(help="JSONL, CSV or Parquet file, folder, hf:ID, NAME:SOURCE (prism:FOLDER), -: stdin."),
]
Encoder = Annotated[str, typer.Option("--encoder", "-e", help="lexical, minilm, st:NAME, hf:NAME; +style.")]
Fields = Annotated[list[str] | None, typer.Option("--field", help="user=annotator_id: which column is what.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same numbers.")]
Protocols = Annotated[
    list[str] | None,
    typer.Option(help="new-users, seen-users, seen-users:1000,10000 (pairs); may be repeated."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="mixed.rank=2 sets a field of a method; world.users=500.")
]


def main() -> None:
    """Run the command line; errors end with their message and exit code."""
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # newer typer turns Ctrl-C into this code itself
            raise KeyboardInterrupt
        sys.exit(code)
    except UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    except PalateError as error:
        print(f"palate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("palate: stopped; what was finished is kept, and the same command goes on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Say the version, or nothing."""
    if version:
        print(f"palate {__version__}")
        raise typer.Exit


@app.command()
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
    config: Annotated[Path | None, typer.Option(help="run.yaml of an earlier run.")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print the estimate and stop.")] = False,
) -> None:
    """Fit, adapt and score methods on people they have never seen; write report.json and report.html."""
    from palate.evaluate.study import Study, load_study

    if config:
        said = (files, methods, encoder, settings, field, protocol, select, select_seconds, seed, jobs)
        told = (seeds != 1, suite != "palate", world != "default", min_gap != 1.0, cap != 100)
        study = load_study(_alone(config, any(said + told)))
    else:
        chosen = _settings(settings or [])
        study = Study(
            data=tuple(files or ()),
            world={} if files else {"preset": world, **chosen.get("world", {})},
            methods=_methods(methods, chosen),
            encoders=tuple(encoder or ("lexical",)),
            seed=seed,
            seeds=seeds,
            protocols=tuple(protocol or ("new-users",)),
            suite=suite,
            select=select,
            select_seconds=select_seconds,
            jobs=jobs or os.cpu_count() or 1,
            fields=_pairs(field or [], "--field"),
            min_gap=min_gap,
            cap=cap,
        )
    _bench(study, out, dry)


def _alone(config: Path, said: bool) -> Path:
    """Return the file of settings, refusing options that it would contradict."""
    if said:
        raise ConfigError(f"--config {config} already says what to run: change the file, or leave it out")
    return config


def _methods(listed: str, chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the listed methods, and those that a field was set of, with their fields."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    return {name: chosen.get(name, {}) for name in dict.fromkeys([*names, *chosen]) if name != "world"}


def _bench(study: "Study", out: Path, dry: bool) -> None:
    """Read, estimate, run, and print what came of it."""
    from palate.evaluate.page import headline
    from palate.evaluate.page_tried import tell as tell_tried
    from palate.terminal import console, facet_lines, leaderboard, progress_bar

    with progress_bar() as tell:
        prepared = study.prepare(tell)
    console.print(prepared.estimate(out), highlight=False)
    if dry:
        return
    with progress_bar() as tell:
        done = prepared.run(out, tell)
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

    result = read(file, fields=_pairs(field or [], "--field"))
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

    result = read(file, fields=_pairs(field or [], "--field"))
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

    fields = _settings([s if s.startswith("world.") else f"world.{s}" for s in settings or []])
    sample = sample_world({"preset": preset, **fields.get("world", {})}, seed)
    write_jsonl(sample.population, out)
    print(f"{sample.population.n_users:,} users, {sample.population.n_rows:,} choices")
    print(out)


@app.command()
def fit(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    method: Annotated[str, typer.Option("--method", "-m")] = "mixed",
    encoder: Encoder = "lexical",
    seed: Seed = 0,
    settings: Settings = None,
    field: Fields = None,
    gate: Annotated[bool, typer.Option(help="Apply personas only as far as they prove right.")] = True,
) -> None:
    """Learn from feedback and save a model (with the words of `style` beside it)."""
    from palate.workshop import fit_model

    model = fit_model(
        file,
        method,
        encoder,
        seed,
        _settings(settings or []).get(method, {}),
        _pairs(field or [], "--field"),
        gate,
    )
    model.save(out)
    print(f"{model.summary}")
    print(out)


@app.command()
def adapt(
    model: Annotated[Path, typer.Argument(help="Folder that `palate fit` wrote.")],
    file: File,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; default stdout.")] = None,
    field: Fields = None,
) -> None:
    """Turn users' feedback into personas, one JSON object a line."""
    from palate.workshop import Workshop

    personas = Workshop.load(model).personas(file, _pairs(field or [], "--field"))
    _write_lines((json.dumps(p.to_json(), ensure_ascii=False) for p in personas), out)


@app.command()
def rank(
    model: Annotated[Path, typer.Argument(help="Folder that `palate fit` wrote.")],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The conversation so far.")],
    response: Annotated[list[str], typer.Option("--response", "-r", help="An answer; give two or more.")],
    user: Annotated[str, typer.Option("--user", "-u", help="Whose; the average user by default.")] = "",
    personas: Annotated[Path | None, typer.Option(help="File that `palate adapt` wrote.")] = None,
    history: Annotated[str | None, typer.Option(help="Or feedback, to adapt the user from.")] = None,
) -> None:
    """Put answers in the order in which this user would prefer them."""
    from palate.terminal import console
    from palate.workshop import Workshop

    shop = Workshop.load(model)
    persona = shop.persona_of(user, personas, history)
    for place, (text, probability) in enumerate(shop.rank(persona, prompt, response), 1):
        console.print(f"{place}. {probability:6.1%}  {text}", highlight=False, markup=False)


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="Folder that `palate fit` wrote.")],
    history: Annotated[str, typer.Argument(help="Feedback that holds the user's choices.")],
    user: Annotated[str, typer.Option("--user", "-u")],
    field: Fields = None,
) -> None:
    """Say what is believed about a user, on which choices it rests, and whether it holds."""
    from palate.terminal import console
    from palate.workshop import Workshop

    for line in Workshop.load(model).explain(user, history, _pairs(field or [], "--field")):
        console.print(line, highlight=False, markup=False)


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


def _pairs(
    given: list[str], option: str, form: str = "NAME=VALUE, such as user=annotator_id"
) -> dict[str, str]:
    """Read name=value options."""
    out = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"{option} {text!r}: expected {form}")
        out[name.strip()] = value.strip()
    return out


def _settings(given: list[str]) -> dict[str, dict[str, Any]]:
    """Read method.field=value options; values are read as YAML."""
    import yaml

    out: dict[str, dict[str, Any]] = {}
    form = "METHOD.FIELD=VALUE, such as mixed.rank=2"
    for key, text in _pairs(given, "--set", form).items():
        owner, dot, name = key.partition(".")
        if not dot:
            raise ConfigError(f"--set {key}={text}: expected {form}")
        try:
            out.setdefault(owner, {})[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}={text}: the value cannot be read: {error}") from error
    return out


def _write_lines(lines: Iterable[str], out: Path | None) -> None:
    from palate.workshop import write_lines

    if out is None:
        for line in lines:
            print(line)
        return
    print(f"{write_lines(lines, out):,} personas")
    print(out)


if __name__ == "__main__":
    main()
