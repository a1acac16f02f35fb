"""The outputs of a curation: rows in the published columns, the account of every decision, a summary.

    data/train.jsonl        pairs of the users of a role; also validation.jsonl and test.jsonl; or .parquet
    decisions.jsonl         every pair of the input, with every decision
    summary.json            written last: a folder without it is unfinished

Everything is written beside and then put in its place, so a run that stops leaves an earlier one whole.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from palate.core import ConfigError, StorageError
from palate.curate.account import account
from palate.curate.result import Result
from palate.curate.summary import Summary, summarise

__all__ = ["FORMATS", "check_folder", "write_outputs"]

FORMATS = ("jsonl", "parquet")
FILES = ("train", "validation", "test")
"""Names of the files of the roles train, val and test: those of the published data set."""
_SUMMARY, _DECISIONS = "summary.json", "decisions.jsonl"
_MESSAGE = "STRUCT(role VARCHAR, content VARCHAR)"
_KINDS = {
    "context": f"{_MESSAGE}[]",
    "chosen": _MESSAGE,
    "rejected": _MESSAGE,
    "flip": "BOOLEAN",
    "personalizable_query": "BOOLEAN",
    "turns": "BIGINT",
    **dict.fromkeys(("chosen_score", "rejected_score", "agreement", "time"), "DOUBLE"),
}


def check_folder(out: str | Path, format: str = "jsonl") -> Path:
    """Return the folder of the outputs, before anything is paid for.

    Raises:
        ConfigError: If it holds rows that no curation wrote, or the format does not exist.
    """
    folder = Path(out)
    if format not in FORMATS:
        raise ConfigError(f"format is {format!r}; expected {' or '.join(FORMATS)}")
    rows = folder / "data"
    if rows.is_dir() and any(rows.iterdir()) and not (folder / _DECISIONS).is_file():
        raise ConfigError(f"{rows} holds files that no curation wrote: name another folder with --out")
    return folder


def write_outputs(result: Result, out: str | Path, format: str = "jsonl") -> Summary:
    """Write all outputs into a folder, each whole or not at all.

    Raises:
        ConfigError: If the folder holds rows that no curation wrote, or the format does not exist.
        StorageError: If it cannot be written; an earlier curation is left as it was.
    """
    folder = check_folder(out, format)
    draft = folder / f".draft-{os.getpid()}"
    try:
        (draft / "data").mkdir(parents=True)
        files: dict[str, str] = {}
        for role, name in enumerate(FILES):
            path = draft / "data" / f"{name}.jsonl"
            if not _write_lines(result.rows(role), path):
                path.unlink()  # no user has this role
                continue
            if format == "parquet":
                path = _as_parquet(path)
            files[name] = f"data/{path.name}"
        _write_lines(account(result), draft / _DECISIONS)
        files["decisions"] = _DECISIONS
        summary = summarise(result, files)
        (draft / _SUMMARY).write_bytes(orjson.dumps(summary.to_json(), option=orjson.OPT_INDENT_2) + b"\n")
        _move(draft, folder)
    except OSError as error:
        raise StorageError(
            f"cannot write into {folder}: {error.strerror or error}; free some room or name another folder"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return summary


def _move(draft: Path, folder: Path) -> None:
    """Put what was written in its place; the summary goes first and comes last."""
    (folder / _SUMMARY).unlink(missing_ok=True)
    os.replace(draft / _DECISIONS, folder / _DECISIONS)  # from here on the folder is known as a curation's
    rows = folder / "data"
    rows.mkdir(exist_ok=True)
    for old in rows.iterdir():
        if old.stem in FILES and old.suffix[1:] in FORMATS:
            old.unlink()
    for new in (draft / "data").iterdir():
        os.replace(new, rows / new.name)
    os.replace(draft / _SUMMARY, folder / _SUMMARY)


def _write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write rows as JSON lines; return how many."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(_dumped(row) + b"\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _dumped(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # half a character, which only JSON's own escapes can tell
        return json.dumps(row).encode()


def _as_parquet(path: Path) -> Path:
    """Turn JSON lines in the published columns into Parquet, and return its path.

    Raises:
        StorageError: If a value cannot be written so.
    """
    import duckdb

    target = path.with_suffix(".parquet")
    with path.open("rb") as file:
        columns = {name: _KINDS.get(name, "VARCHAR") for name in orjson.loads(file.readline())}
    pattern = re.sub(r"([*?\[])", r"[\1]", str(path))
    try:
        with duckdb.connect() as link:
            rows = link.read_json(pattern, columns=columns, format="newline_delimited")
            rows.write_parquet(str(target))
    except (duckdb.Error, orjson.JSONDecodeError) as error:
        first = str(error).splitlines()[0]
        raise StorageError(
            f"the rows cannot be written as Parquet: {first}; choose the format jsonl"
        ) from error
    path.unlink()
    return target
