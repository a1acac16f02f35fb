"""Any source of feedback to raw rows: ``(line, row)``, the row an object or why it is none.

file, "-"     jsonl, json (an array), csv, tsv: plain, .gz or .zst;  parquet
folder        saved by ``datasets``, or holding files of these formats; with data/train.* and its like
              (the hub's layout), those only
hf:ID         a data set of the Hugging Face hub, hf:ID:SPLIT or hf:ID:CONFIG:SPLIT
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palate.core import ConfigError, DataError
from palate.feedback.hub import is_saved, saved_rows, saved_splits, stored_rows, stored_splits
from palate.feedback.report import BadRow
from palate.feedback.streams import Stream
from palate.feedback.tables import parquet_rows
from palate.feedback.texts import array_rows, csv_rows, jsonl_rows

__all__ = ["FORMATS", "Part", "RawRow", "Source", "files_source", "format_of", "open_source"]

RawRow = tuple[int, dict[str, Any] | BadRow]
FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "parquet")
SUFFIXES = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"},
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"},
}
PACKED = (".gz", ".zst", ".zstd")
SPLIT_NAME = re.compile(r"(train|validation|valid|val|dev|test)(?=[-_.]|$)")


class Part(NamedTuple):
    """Some rows of a source: one file, or one split of a data set.

    Attributes:
        file: What messages call it.
        rows: Gives the rows, once.
        split: The name of the split, where it is known; else empty.
    """

    file: str
    rows: Callable[[], Iterator[RawRow]]
    split: str = ""


class Source:
    """Raw rows of one source, read once from front to back.

    Attributes:
        name: The path or id, as it was given.
        format: One of ``FORMATS``, or hf.
        parts: What is read, in this order.
        files: The files begun so far; the last is the one being read.
        warnings: What was mended while reading, counted.
        hint: What is likely wrong with a source that gives no good row.
        adapter: The published data set that it was read as; empty for plain rows.
        notes: What its adapter did, in sentences.
        left_out: What the rules of the data set leave out, counted.
    """

    def __init__(self, name: str, format: str, parts: Sequence[Part]) -> None:
        self.name, self.format, self.parts = name, format, list(parts)
        self.files: list[str] = []
        self.warnings: Counter[str] = Counter()
        self.hint = ""
        self.stream: Stream | None = None
        self.adapter = ""
        self.notes: list[str] = []
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[RawRow]:
        for part in self.parts:
            self.files.append(part.file)
            yield from part.rows()

    @property
    def share(self) -> float | None:
        """How much was read, 0 to 1; None where that is unknown."""
        within = self.stream.share if self.stream else None
        if within is None and len(self.parts) == 1:
            return None
        return (max(len(self.files), 1) - 1 + (within or 0.0)) / len(self.parts)


def open_source(path_or_id: str | Path, format: str = "auto", every_split: bool = False) -> Source:
    """Find out what a source is and return its raw rows.

    Args:
        path_or_id: A file, a folder, "-" or hf:ID.
        format: What it is, where its name and first bytes do not say.
        every_split: Read all splits of a Hugging Face data set one after the other, each a part, where
            none is named; without it several splits are an error.

    Raises:
        ConfigError: If the format is unknown.
        DataError: If there is no such file, or it is empty, or nothing that can be read.
        MissingExtra: If a Hugging Face data set is asked for without ``datasets``.
    """
    name = str(path_or_id)
    if format not in FORMATS:
        near = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"format is {format!r}: {hint}expected {', '.join(FORMATS)}")
    if name.startswith("hf:"):
        folder, _, split = name[3:].partition(":")
        if Path(folder).is_dir():
            return _folder(name, Path(folder), split, format, every_split)
        if every_split:
            return Source(name, "hf", [Part(name, rows, one) for one, rows in stored_splits(name[3:])])
        return Source(name, "hf", [Part(name, lambda: stored_rows(name[3:]))])
    if name != "-" and Path(name).is_dir():
        return _folder(name, Path(name), "", format, every_split)
    return _file(name, format)


def files_source(name: str, files: Sequence[Path], format: str = "auto") -> Source:
    """Return the rows of files one after the other; each is opened when its turn comes."""
    source = Source(name, format_of(files[0].name) or format, [])
    source.parts = [Part(str(f), _later(source, str(f), format), _split_of(f)) for f in files]
    return source


def _file(name: str, format: str) -> Source:
    source = Source(name, "", [])
    rows, source.format = _rows_of(source, name, format)
    source.parts = [Part(name, rows, _split_of(Path(name)))]
    return source


def _folder(name: str, folder: Path, split: str, format: str, every_split: bool) -> Source:
    """Return the rows of a folder: one that ``datasets`` saved, or all its files of a known format.

    A folder as the hub keeps a data set has its rows in ``data/``, in files named by their splits; what
    stands beside them is not rows.
    """
    if is_saved(folder):
        if every_split:
            return Source(name, "hf", [Part(name, rows, one) for one, rows in saved_splits(folder, split)])
        return Source(name, "hf", [Part(name, lambda: saved_rows(folder, split))])
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and format_of(path.name) in (FORMATS[1:] if format == "auto" else (format,))
    )
    files = [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
    stored = [f for f in files if f.parent == folder / "data" and SPLIT_NAME.match(f.name.lower())]
    files = stored or files
    if split:
        files = [f for f in files if f.name.startswith(split) or f.parent.name == split]
    if not files:
        wanted = f" whose name begins with {split!r}" if split else ""
        raise DataError(
            f"{name} is a folder without a file{wanted} that can be read: expected {', '.join(SUFFIXES)}, "
            "or a folder saved by datasets"
        )
    return files_source(name, files, format)


def _later(source: Source, name: str, format: str) -> Callable[[], Iterator[RawRow]]:
    def rows() -> Iterator[RawRow]:
        try:
            opened, _ = _rows_of(source, name, format)
        except DataError as error:
            yield 1, BadRow("cut off", "", str(error))
            return
        yield from opened()

    return rows


def _split_of(file: Path) -> str:
    """Return the split that a file's name begins with, or its folder is called; else nothing."""
    found = SPLIT_NAME.match(file.name.lower()) or SPLIT_NAME.fullmatch(file.parent.name.lower())
    return found[1] if found else ""


def format_of(name: str) -> str | None:
    """Return the format that a file's name speaks for, or None."""
    path = Path(name.lower())
    return SUFFIXES.get(Path(path.stem).suffix if path.suffix in PACKED else path.suffix)


def _rows_of(source: Source, name: str, format: str) -> tuple[Callable[[], Iterator[RawRow]], str]:
    """Return the reader of one file, and its format."""
    if format == "auto":
        format = format_of(name) or "auto"
    if format == "parquet":
        return (lambda: parquet_rows(name)), format
    stream = source.stream = Stream(name)
    if stream.head.startswith(b"PAR1") and name != "-":
        stream.close()
        return (lambda: parquet_rows(name)), "parquet"
    if format == "auto" or (format == "json" and not stream.head.lstrip().startswith(b"[")):
        format = "jsonl" if format == "json" else _sniffed(stream)
    if stream.looks_binary:
        source.hint = "it looks like a binary file; expected text (UTF-8) or Parquet"
    if format in ("csv", "tsv"):
        return (lambda: csv_rows(stream, tab=format == "tsv")), format
    reader = array_rows if format == "json" else jsonl_rows
    return (lambda: reader(stream, source.warnings)), format


def _sniffed(stream: Stream) -> str:
    """Return the format that the first bytes speak for."""
    head = stream.head.lstrip()
    if head[:1] in (b"[", b"{"):
        return "json" if head[:1] == b"[" else "jsonl"
    if stream.name == "standard input":
        return "jsonl"
    first = head.split(b"\n", 1)[0]
    if not stream.looks_binary and (b"," in first or b"\t" in first):
        return "tsv" if b"\t" in first else "csv"
    stream.close()
    what = "looks binary" if stream.looks_binary else "begins like no format that is known"
    raise DataError(f"{stream.name} {what}: expected {', '.join(FORMATS[1:])}; say which with format=")
