"""What every adapter shares: columns, options, what it tells, and a row at a time to rows of Palate's kinds.

An adapter knows one published data set. It turns a row of it into rows of the kinds that
``palate.feedback.fields`` knows; checking, setting aside and the ratings' rule come after it and are the
same as for any other file.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from palate.core import ConfigError, DataError
from palate.feedback.report import BadRow, shorten
from palate.feedback.sources import RawRow
from palate.feedback.values import decoded

__all__ = ["Adapter", "Options", "Place", "Row", "Table", "pick", "records", "reply", "side", "talk"]

Row = Mapping[str, Any]
Options = Mapping[str, tuple[Callable[[str], Any], Any]]
"""Option to its type and default."""
ROLES = {"model": "assistant", "gpt": "assistant", "bot": "assistant", "human": "user", "prompter": "user"}


class Table(NamedTuple):
    """One table of a data set.

    Attributes:
        name: Its name: the config on the hub, the file's name or its ending (``x-votes.csv``) on disk.
        needs: The columns without which its rows mean nothing; of each, the names it may have.
        optional: Whether the data set can be read without it.
    """

    name: str
    needs: tuple[tuple[str, ...], ...]
    optional: bool = False

    def missing(self, columns: Iterable[str]) -> list[tuple[str, ...]]:
        """Return the needed columns that are not there."""
        seen = set(columns)
        return [names for names in self.needs if seen.isdisjoint(names)]


class Place(NamedTuple):
    """Where a row stands: its table, file, split (empty where unknown) and line."""

    table: str
    file: str
    split: str
    line: int


class Adapter:
    """Reads one published data set. A subclass says what it is and turns one row into rows.

    Attributes:
        name: Its name in ``NAME:SOURCE``.
        title: What messages call it.
        ids: Patterns of its ids on the hub, in lower case, for a full match.
        config: The config on the hub that is read where none is named.
        tables: The tables in the order of reading; of each, the alternatives, the best first.
        marks: Sets of columns that only this data set has.
        options: Option to its type and default.
        uses_splits: Whether the data set's own splits mean something to it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    ids: ClassVar[tuple[str, ...]] = ()
    config: ClassVar[str] = ""
    tables: ClassVar[tuple[tuple[Table, ...], ...]]
    marks: ClassVar[tuple[frozenset[str], ...]] = ()
    options: ClassVar[Options] = {}
    uses_splits: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, str], notes: list[str], left_out: Counter[str]) -> None:
        self.set = _parsed(type(self), options)
        self.notes, self.left_out = notes, left_out
        self.misfit = ""
        self.fits = False
        self.start()

    def start(self) -> None:
        """Check the options and say what will be done; called once."""

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the rows that one row becomes; ``BadRow`` where it cannot be used."""
        raise TypeError(f"{type(self).__name__} says nothing about its rows")

    def rows(self, table: Table, raw: Iterable[RawRow], file: str, split: str) -> Iterator[RawRow]:
        """Yield the rows that the rows of one part of a table become."""
        for line, row in self.checked(table, raw, file):
            if isinstance(row, BadRow):
                yield line, row
                continue
            try:
                for made in self.take(row, Place(table.name, file, split, line)):
                    yield line, made
            except BadRow as bad:
                yield line, bad

    def checked(self, table: Table, raw: Iterable[RawRow], file: str) -> Iterator[RawRow]:
        """Yield the rows; those without the needed columns as bad rows."""
        known: dict[tuple[str, ...], str] = {}
        main = table in self.tables[-1]
        for line, row in raw:
            if isinstance(row, BadRow):
                yield line, row
                continue
            columns = tuple(row)
            if columns not in known:
                known[columns] = _misfit(self, table, columns)
                if main:
                    self.misfit = self.misfit or (known[columns] and f"{file}: {known[columns]}")
                    self.fits = self.fits or not known[columns]
            yield line, BadRow("missing field", "", known[columns]) if known[columns] else row

    def finish(self) -> None:
        """Refuse a source of which no row had the needed columns.

        Raises:
            DataError: With the columns seen and expected.
        """
        if self.misfit and not self.fits:
            raise DataError(f"{self.misfit}; another layout can be read without an adapter, with fields")


def _misfit(adapter: Adapter, table: Table, columns: Sequence[str]) -> str:
    """Return what a row lacks, or nothing."""
    missing = table.missing(columns)
    if not missing:
        return ""
    of = f" ({table.name})" if table.name else ""
    lacks = " and ".join(" or ".join(names) for names in missing)
    expected = ", ".join(" or ".join(names) for names in table.needs)
    return (
        f"not {adapter.title}{of}: no column {lacks}; seen: {', '.join(columns[:20]) or 'none'}; "
        f"expected: {expected}"
    )


def _parsed(adapter: type[Adapter], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the options' values.

    Raises:
        ConfigError: If there is no such option, or its value is none.
    """
    values = {name: default for name, (_, default) in adapter.options.items()}
    for name, text in given.items():
        if name not in adapter.options:
            near = difflib.get_close_matches(name, adapter.options, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(adapter.options) or "none"
            raise ConfigError(f"{adapter.name} has no option {name!r}: {hint}its options are: {known}")
        try:
            values[name] = adapter.options[name][0](text)
        except ValueError:
            kind = {"int": "a whole number", "float": "a number"}.get(adapter.options[name][0].__name__)
            raise ConfigError(f"{adapter.name},{name}={text}: expected {kind or 'another value'}") from None
    return values


# ---- values ---------------------------------------------------------------------------------------


def pick(row: Row, *names: str) -> Any:
    """Return the value of the first of these columns that is there and not empty, else None.

    >>> pick({"level": "", "user": 3}, "level", "user")
    3
    """
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return value
    return None


def records(value: Any) -> list[dict[str, Any]]:
    """Return objects in any of the ways they are stored: a list, JSON, or columns of equal length.

    >>> records({"text": ["a", "b"], "policy": [1, 2]})
    [{'text': 'a', 'policy': 1}, {'text': 'b', 'policy': 2}]
    """
    value = decoded(value)
    if value is None or value == "":
        return []
    if isinstance(value, dict) and value and all(isinstance(v, (list, tuple)) for v in value.values()):
        cells = list(zip(*value.values(), strict=False))
        if all(len(v) == len(cells) for v in value.values()):
            return [dict(zip(value, row, strict=True)) for row in cells]
    if isinstance(value, (list, tuple)) and all(isinstance(item, dict) for item in value):
        return list(value)
    raise BadRow("wrong type", "", f"{shorten(value)}: expected a list of objects")


def side(value: Any, first: tuple[str, ...], second: tuple[str, ...]) -> str:
    """Return "a" or "b" for a label, or "tie" as it is.

    >>> side(0, ("0", "x"), ("1", "y")), side("Y", ("0", "x"), ("1", "y"))
    ('a', 'b')
    """
    word = str(value).strip().lower().removesuffix(".0")
    if word in first or word in second:
        return "a" if word in first else "b"
    if word == "tie":
        return word
    expected = ", ".join((*first, *second))
    raise BadRow("bad winner", "winner", f"{shorten(value)}: expected one of {expected}, tie")


def talk(value: Any) -> Any:
    """Return a conversation with the roles user and assistant; a text as it is.

    >>> talk([{"role": "user", "content": "Hi"}, {"role": "model", "content": "Hello"}])[1]
    {'role': 'assistant', 'content': 'Hello'}
    """
    value = decoded(value)
    if isinstance(value, str):
        return value
    return [{**turn, "role": ROLES.get(str(turn.get("role")), turn.get("role"))} for turn in records(value)]


def reply(value: Any) -> Any:
    """Return a response: the text of a message, or of the last of a list that holds only one."""
    value = decoded(value)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return value.get("content", value) if isinstance(value, dict) else value
