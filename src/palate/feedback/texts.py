"""Raw rows of text files: JSON lines, JSON arrays, CSV and TSV."""

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import orjson

from palate.core import DataError
from palate.feedback.report import BadRow, shorten
from palate.feedback.streams import Stream

__all__ = ["array_rows", "csv_rows", "jsonl_rows"]

Raw = tuple[int, dict[str, Any] | BadRow]
MAX_CELL = 1 << 24
REPLACED = "lone surrogate replaced by U+FFFD"
LONE = re.compile("[\ud800-\udfff]")
NO_UTF8 = re.compile("[\udc80-\udcff]")
BETWEEN = re.compile(r"[\s,]*")
NEXT_OBJECT = re.compile(r"\}\s*,\s*\{")


# ---- JSON lines -----------------------------------------------------------------------------------


def jsonl_rows(stream: Stream, warnings: Counter[str]) -> Iterator[Raw]:
    """Yield an object a line; blank lines are skipped."""
    number = 0
    for number, line in enumerate(stream.lines(), 1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            if not line.strip():
                continue
            row = _second_try(line, warnings)
        yield number, row if type(row) is dict else _no_object(row)
    yield from _damage(stream, number + 1)


def _damage(stream: Stream, line: int) -> Iterator[Raw]:
    if stream.damage:
        yield line, BadRow("cut off", "", stream.damage + "; the rows before it are kept")


def _no_object(row: object) -> BadRow:
    if isinstance(row, BadRow):
        return row
    return BadRow("wrong type", "", f"{shorten(row)}: expected an object, {{...}}")


def _second_try(line: bytes, warnings: Counter[str]) -> Any:
    """Read what strict JSON refuses and Python's writer makes: NaN, lone surrogates; else say why not."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRow("invalid UTF-8", "", f"byte {line[error.start]:#04x} at {error.start} is no UTF-8")
    try:
        return _mended(json.loads(text), warnings)
    except (ValueError, RecursionError) as error:
        return BadRow("not JSON", "", f"{shorten(text)}: {str(error) or 'nested too deeply'}")


def _mended(value: Any, warnings: Counter[str]) -> Any:
    """Return a row without lone surrogates, which no file could hold."""
    mended, count = _replaced(value)
    if count:
        warnings[REPLACED] += 1
    return mended


def _replaced(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        return LONE.subn("\ufffd", value)
    if isinstance(value, list):
        pairs = [_replaced(item) for item in value]
        return [item for item, _ in pairs], sum(count for _, count in pairs)
    if isinstance(value, dict):
        flat, count = _replaced([part for item in value.items() for part in item])
        return dict(zip(flat[::2], flat[1::2], strict=True)), count
    return value, 0


# ---- JSON arrays ----------------------------------------------------------------------------------


def array_rows(stream: Stream, warnings: Counter[str]) -> Iterator[Raw]:
    """Yield the objects of an array; ``line`` is the place in the array, from 1."""
    data = b"".join(stream.chunks())
    rows: Iterator[Any]
    try:
        rows = iter(orjson.loads(data))
    except orjson.JSONDecodeError:
        rows = _salvaged(data, warnings)
    number = 0
    for number, row in enumerate(rows, 1):
        yield number, row if type(row) is dict else _no_object(row)
    yield from _damage(stream, number + 1)


def _salvaged(data: bytes, warnings: Counter[str]) -> Iterator[Any]:
    """Yield the values of a broken array one by one, going on at the next object after a broken one."""
    text = data.decode("utf-8", "surrogateescape")
    broken_utf8 = NO_UTF8.search(text) is not None
    decoder = json.JSONDecoder()
    place = text.index("[") + 1
    while True:
        place = BETWEEN.match(text, place).end()  # type: ignore[union-attr]
        if text[place : place + 1] in ("]", ""):
            if not text[place:]:
                yield BadRow("cut off", "", "the array ends without ]; the rows before it are kept")
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            yield BadRow("not JSON", "", f"{shorten(text[place : place + 80])}: {error}")
            following = NEXT_OBJECT.search(text, place)
            if following is None:
                return
            place = following.end() - 1
            continue
        if broken_utf8 and NO_UTF8.search(text, place, end):
            yield BadRow("invalid UTF-8", "", f"{shorten(text[place:end])} holds bytes that are no UTF-8")
        else:
            yield _mended(value, warnings)
        place = end


# ---- CSV and TSV ----------------------------------------------------------------------------------


class _Lines:
    """Lines of text that can be given back, so that a broken record costs one line only."""

    def __init__(self, stream: Stream) -> None:
        self._lines = stream.lines()
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = next(self._lines).decode("utf-8", "surrogateescape") + "\n"
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self) -> None:
        """Give back all lines of the record but its first."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


def csv_rows(stream: Stream, tab: bool = False) -> Iterator[Raw]:
    """Yield an object a record; the first record names the columns.

    Raises:
        DataError: If two columns have the same name.
    """
    limit = csv.field_size_limit(MAX_CELL)
    try:
        lines = _Lines(stream)
        first = stream.head.split(b"\n", 1)[0]
        mark = "\t" if tab else ";" if b";" in first and b"," not in first else ","
        records = _records(csv.reader(lines, delimiter=mark, strict=True), lines)
        _, header = next(records, (1, []))
        if isinstance(header, BadRow) or len(set(header)) < len(header):
            raise DataError(f"{stream.name}: the header {shorten(header)} must name every column once")
        for line, cells in records:
            yield line, _record(header, cells)
        yield from _damage(stream, lines.number + 1)
    finally:
        csv.field_size_limit(limit)


def _records(reader: Any, lines: _Lines) -> Iterator[tuple[int, Any]]:
    while True:
        lines.taken.clear()
        start = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back()
            yield start, BadRow("bad quotes", "", f"{shorten(lines.taken[0].rstrip())}: {error}")
            continue
        if cells:
            yield start, cells


def _record(header: list[str], cells: list[str] | BadRow) -> dict[str, Any] | BadRow:
    if isinstance(cells, BadRow):
        return cells
    if len(cells) != len(header):
        return BadRow(
            "wrong number of cells",
            "",
            f"{len(cells)} cells, but the header names {len(header)}; quote cells that hold the separator",
        )
    if any(not cell.isascii() and NO_UTF8.search(cell) for cell in cells):
        return BadRow("invalid UTF-8", "", "bytes that are no UTF-8")
    return dict(zip(header, map(_cell, cells), strict=True))


def _cell(cell: str) -> Any:
    """Return messages that stand in a cell as JSON as a list; every other cell as it is."""
    if cell.startswith("[{"):
        try:
            value = orjson.loads(cell)
        except orjson.JSONDecodeError:
            return cell
        if isinstance(value, list) and all(
            isinstance(m, dict) and ("role" in m or "from" in m) for m in value
        ):
            return value
    return cell
