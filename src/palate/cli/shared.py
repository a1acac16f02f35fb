"""What the verbs share: the applications, options that mean the same everywhere, and how values are read."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from palate.core.errors import ConfigError

__all__ = [
    "Encoder",
    "Fields",
    "File",
    "Seed",
    "Settings",
    "app",
    "data",
    "pairs",
    "read_settings",
    "write_out",
]

app = typer.Typer(
    help="Learn each person's taste from the choices they make between answers, and test what was learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="Look at feedback before anything is learned from it.", no_args_is_help=True)
app.add_typer(data, name="data")

File = Annotated[
    str,
    typer.Argument(help="JSONL, CSV or Parquet file, folder, hf:ID, NAME:SOURCE (prism:FOLDER), -: stdin."),
]
Encoder = Annotated[str, typer.Option("--encoder", "-e", help="lexical, minilm, st:NAME, hf:NAME; +style.")]
Fields = Annotated[list[str] | None, typer.Option("--field", help="user=annotator_id: which column is what.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same numbers.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="mixed.rank=2 sets a field of a method; world.users=500.")
]


_POWER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def pairs(
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


def read_settings(given: list[str]) -> dict[str, dict[str, Any]]:
    """Read method.field=value options; values are read as YAML."""
    import yaml

    out: dict[str, dict[str, Any]] = {}
    form = "METHOD.FIELD=VALUE, such as mixed.rank=2"
    for key, text in pairs(given, "--set", form).items():
        owner, dot, name = key.partition(".")
        if not dot:
            raise ConfigError(f"--set {key}={text}: expected {form}")
        try:
            power = _POWER.fullmatch(text.strip())  # YAML takes 1e-3 for a word
            out.setdefault(owner, {})[name] = float(text) if power else yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}={text}: the value cannot be read: {error}") from error
    return out


def write_out(lines: Iterable[str], out: Path | None) -> None:
    """Write lines to a file, and say how many and where, or print them."""
    from palate.workshop import write_lines

    if out is None:
        for line in lines:
            print(line)
        return
    print(f"{write_lines(lines, out):,} personas")
    print(out)
