"""From what a user names to the parts of a published data set, each read by its adapter."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from palate.core import ConfigError, DataError
from palate.feedback.adapters.base import Adapter, Table
from palate.feedback.hub import is_saved, saved_columns
from palate.feedback.report import BadRow
from palate.feedback.sources import Part, RawRow, Source, files_source, format_of, open_source

__all__ = ["adapted", "guessed", "holds", "marked", "named"]

Found = list[tuple[Table | None, Source]]
NOT_VOTES = ("participant", "participants")


def adapted(kind: type[Adapter], options: dict[str, str], spec: str, where: str, format: str) -> Source:
    """Return the rows of a data set as one adapter makes them.

    Args:
        kind: The adapter.
        options: Its options.
        spec: What the user named, for messages.
        where: A file, a folder, "-", hf:ID or an id that the adapter knows.
        format: The format of files whose names do not say.

    Raises:
        ConfigError: If an option is none.
        DataError: If there is nothing to read.
    """
    outer = Source(spec, "", [])
    outer.adapter = kind.name
    adapter = kind(options, outer.notes, outer.left_out)
    found = _tables(kind, where, format, outer.notes)
    outer.format = found[-1][1].format
    splits = list(dict.fromkeys(part.split for _, inner in found for part in inner.parts if part.split))
    if len(splits) > 1 and not kind.uses_splits:
        outer.notes.append(f"its splits {', '.join(splits)} are read one after the other, not as splits")
    for table, inner in found:
        inner.warnings = outer.warnings
        outer.parts += [_part(outer, inner, part, adapter, table) for part in inner.parts]
    last = outer.parts.pop()
    outer.parts.append(Part(last.file, lambda: _finished(adapter, last.rows()), last.split))
    return outer


def guessed(inner: Source, kinds: tuple[type[Adapter], ...]) -> Source:
    """Return a source whose parts are read by the adapter whose columns their first row has, if any."""
    made: dict[type[Adapter], Adapter] = {}

    def rows(part: Part) -> Iterator[RawRow]:
        raw = part.rows()
        head: list[RawRow] = []
        for item in raw:
            head.append(item)
            if isinstance(item[1], dict):
                break
        raw = chain(head, raw)
        kind = next((k for k in kinds if head and k.marks and marked(k, head[-1][1])), None)
        if kind is None:
            return raw
        if kind not in made:
            made[kind] = kind({}, inner.notes, inner.left_out)
            inner.adapter = " and ".join(k.name for k in made)
            inner.notes.append(f"recognised by its columns as {kind.title}; with fields it is read as it is")
        return _by_table(made[kind], None, raw, part)

    parts = list(inner.parts)
    inner.parts = [Part(p.file, lambda p=p: rows(p), p.split) for p in parts]  # type: ignore[misc]
    return inner


def marked(kind: type[Adapter], row: dict[str, object] | BadRow) -> bool:
    """Tell whether a row has columns that only this data set has."""
    return isinstance(row, dict) and any(mark <= row.keys() for mark in kind.marks)


def _part(outer: Source, inner: Source, part: Part, adapter: Adapter, table: Table | None) -> Part:
    def rows() -> Iterator[RawRow]:
        outer.stream = inner.stream
        yield from _by_table(adapter, table, part.rows(), part)
        outer.hint = outer.hint or inner.hint

    return Part(part.file, rows, part.split)


def _by_table(adapter: Adapter, table: Table | None, raw: Iterator[RawRow], part: Part) -> Iterator[RawRow]:
    """Yield what an adapter makes of the rows; the table, where it is not known, by the first row."""
    if table is None:
        head: list[RawRow] = []
        for item in raw:
            head.append(item)
            if isinstance(item[1], dict):
                break
        columns = head[-1][1] if head and isinstance(head[-1][1], dict) else {}
        every = [one for step in reversed(adapter.tables) for one in step]
        table = next((one for one in every if not one.missing(columns)), adapter.tables[-1][0])
        raw = chain(head, raw)
    yield from adapter.rows(table, raw, part.file, part.split)


def _finished(adapter: Adapter, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    yield from rows
    adapter.finish()


# ---- where the tables are -------------------------------------------------------------------------


def _tables(kind: type[Adapter], where: str, format: str, notes: list[str]) -> Found:
    """Return the tables of a data set, each with its rows; notes which are not there."""
    path = Path(where.removeprefix("hf:").partition(":")[0] if where.startswith("hf:") else where)
    several = len(kind.tables) > 1
    if where == "-" or (path.is_file() and not several):
        return [(None if several else kind.tables[0][0], open_source(where, format, every_split=True))]
    if path.is_dir() and several and not is_saved(path):
        return _on_disk(kind, path, None, format, notes)
    if path.is_file():
        return _on_disk(kind, path.parent, path, format, notes)
    if path.exists():
        one = None if several else kind.tables[0][0]
        return [(one, open_source(where, format, every_split=True))]
    if where.startswith("hf:"):
        return _on_hub(kind, where[3:], notes)
    if any(re.fullmatch(pattern, where.lower().partition(":")[0]) for pattern in kind.ids):
        return _on_hub(kind, where, notes)
    raise DataError(
        f"there is no file or folder {where}: check the path; a data set of the hub is "
        f"{kind.name}:hf:OWNER/NAME"
    )


def _on_hub(kind: type[Adapter], spec: str, notes: list[str]) -> Found:
    """Return the tables on the hub; ID, ID:SPLIT, ID:TABLE, ID:CONFIG:SPLIT."""
    name, *rest = spec.split(":")
    config, split = (rest[0], rest[1]) if len(rest) > 1 else ("", rest[0] if rest else "")
    names = [table.name for step in kind.tables for table in step if table.name]
    if split in names and not config:
        config, split = split, ""
    if not names:
        config = config or kind.config
        source = open_source(f"hf:{name}:{config}:{split}", every_split=True)
        return [(kind.tables[0][0], source)]
    found: Found = []
    for step in kind.tables:
        table = next((one for one in step if one.name == config), step[0])
        try:
            found.append((table, open_source(f"hf:{name}:{table.name}:{split}", every_split=True)))
        except DataError as error:
            if not table.optional:
                raise
            notes.append(f"read without its {table.name}: {error}")
    return found


def _on_disk(kind: type[Adapter], folder: Path, given: Path | None, format: str, notes: list[str]) -> Found:
    """Return the tables in a folder; ``given`` is the file that was named, and its siblings go with it."""
    prefix = None
    if given is not None:
        step = next((s for s in kind.tables for t in s if _prefix(given, t) is not None), None)
        if step is None:
            return [(None, open_source(given, format, every_split=True))]
        prefix = next(p for t in step if (p := _prefix(given, t)) is not None)
    found: Found = []
    for step in kind.tables:
        named = [t for t in step if given is not None and _prefix(given, t) is not None]
        place = next(((t, f) for t in named or step if (f := _files_of(folder, t, prefix))), None)
        if place is not None:
            table, files = place
            found.append((table, _source_of(files, format)))
        elif step[0].optional:
            notes.append(f"read without its {step[0].name}, which is not in {folder}")
        else:
            names = " or ".join(table.name for table in step)
            seen = ", ".join(sorted(p.name for p in folder.iterdir())[:20]) or "nothing"
            raise DataError(f"{folder} holds no {names} of {kind.title}; it holds {seen}")
    return found


def holds(folder: Path, kind: type[Adapter]) -> bool:
    """Tell whether a folder has several tables of a data set, the main one with the columns of no other."""
    try:
        steps = [next((f for t in step if (f := _files_of(folder, t))), []) for step in kind.tables]
    except DataError:
        return False
    if not steps[-1] or sum(map(bool, steps)) < 2:
        return False
    main = steps[-1][0]
    if main.is_dir() and is_saved(main):
        return marked(kind, dict.fromkeys(saved_columns(main)))
    for part in _source_of(steps[-1], "auto").parts:
        return marked(kind, next((row for _, row in part.rows() if isinstance(row, dict)), {}))
    return False


def _source_of(files: list[Path], format: str) -> Source:
    if files[0].is_dir():
        return open_source(files[0], format, every_split=True)
    return files_source(str(files[0]), files, format)


def _files_of(folder: Path, table: Table, prefix: str | None = None) -> list[Path]:
    """Return the files of a table: NAME.csv, PREFIX-NAME.csv or a folder NAME.

    Raises:
        DataError: If the files begin with several prefixes, that is belong to several data sets.
    """
    if (folder / table.name).is_dir():
        return [folder / table.name]
    files = {f: _prefix(f, table) for f in sorted(folder.iterdir()) if f.is_file() and format_of(f.name)}
    found = {f: p for f, p in files.items() if p is not None and prefix in (None, p)}
    if len(set(found.values())) > 1:
        names = ", ".join(f.name for f in found)
        raise DataError(f"{folder} holds several data sets: {names}; name one of these files")
    return list(found)


def _prefix(file: Path, table: Table) -> str | None:
    """Return what stands before the table's name in a file's name, or None where it is another table's."""
    stem = file.name.split(".")[0]
    found = re.fullmatch(rf"(?:(.*)[-_])?{table.name}", stem, re.IGNORECASE) if table.name else None
    if found is None:
        return None
    prefix = found[1] or ""
    return None if re.split("[-_]", prefix.lower())[-1] in NOT_VOTES else prefix


def named(spec: str, kinds: dict[str, type[Adapter]]) -> tuple[type[Adapter], dict[str, str], str] | None:
    """Return adapter, options and source of NAME:SOURCE or NAME,key=value:SOURCE; None where it is none.

    Raises:
        ConfigError: If an option is not written key=value.
    """
    head, colon, where = spec.partition(":")
    name, *texts = head.lower().split(",")
    if not colon or name not in kinds or not where:
        return None
    options: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"{spec}: {text!r} is no option; expected {name},key=value:SOURCE")
        options[key.strip()] = value.strip()
    return kinds[name], options, where
