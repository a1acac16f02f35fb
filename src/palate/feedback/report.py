"""What reading found: rows read, kept and set aside, each with where and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from palate.core import DataError

__all__ = ["KINDS", "BadRow", "ReadReport", "SetAside", "shorten"]

MAX_DETAILS = 1000

KINDS: Mapping[str, str] = {
    "not JSON": "the line (or cell) does not parse",
    "invalid UTF-8": "bytes that are no text",
    "wrong type": "a value of a type that the field cannot have, or a row that is no object",
    "bad quotes": "a CSV row whose quotes do not close",
    "wrong number of cells": "a CSV row with more or fewer cells than the header",
    "missing field": "a field that this kind of row needs is absent or null",
    "empty text": "a user, prompt or response of nothing but white space",
    "one response": "fewer than two different responses",
    "chosen not among responses": "the choice names no response on offer",
    "chosen equals rejected": "the same text won and lost",
    "bad rating": "a rating that is no finite number and no vote",
    "bad winner": "a winner that names neither response nor a tie",
    "bad role": "a user_split or split that is none of the known words",
    "duplicate id": "an id that an earlier row has; the earlier one is kept",
    "two roles": "a row that puts its user in a second role; the first is kept",
    "target in context": "a target whose options the same user already answered in the context",
    "cut off": "the file ends or breaks before its end; the rows before it are kept",
}
"""Every reason for which a row is set aside."""


def shorten(value: object, limit: int = 60) -> str:
    """Return a value as a message may show it.

    >>> shorten("a" * 100, limit=12)
    "'aaaaaaaa...'"
    """
    shown = repr(value[: limit + 1] if isinstance(value, (str, bytes)) else value)
    return (
        shown if len(shown) <= limit else shown[: limit - 3] + "..." + (shown[0] if shown[0] in "'\"" else "")
    )


class BadRow(Exception):
    """A row that cannot be used: which of ``KINDS``, in which field, and why."""

    def __init__(self, kind: str, field: str, why: str) -> None:
        super().__init__(kind, field, why)
        self.kind, self.field, self.why = kind, field, why


class SetAside(NamedTuple):
    """One row that was set aside; ``line`` counts from 1 (the row number in Parquet and JSON arrays)."""

    file: str
    line: int
    field: str
    kind: str
    why: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.field}: {self.why}" if self.field else f"{where}: {self.why}"


@dataclass
class ReadReport:
    """What reading a source found.

    Attributes:
        source: The path or id that was read.
        format: How it was read: jsonl, json, csv, tsv, parquet, hf.
        rows: Rows read, the ones set aside included.
        choices: Choices in the population, pairs drawn from ratings included.
        users: Users in the population, those without a choice included.
        set_aside: Rows set aside, by kind (see ``KINDS``).
        details: The first 1,000 of them.
        warnings: Rows kept although something in them could not be used, by what it was.
        columns: Which column was read as which field.
        unused: Columns that were not used, and in how many rows they stood.
        sources: Rows by their field ``source``, where there is one.
        duplicates: Rows equal to an earlier one in all but their id; they are kept.
        ratings: Ratings read.
        ratings_used: Ratings that stand in at least one pair.
        ratings_replaced: Ratings that the same user gave again later.
        rule: The rule that made pairs of them, in a sentence; None without ratings.
        adapter: The published data set that the source was read as; empty for plain rows. ``rows`` then
            counts the rows that its adapter made.
        notes: What the adapter did, in sentences.
        left_out: What the rules of the data set leave out, by why.
    """

    source: str
    format: str = ""
    rows: int = 0
    choices: int = 0
    users: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    details: list[SetAside] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    ratings: int = 0
    ratings_used: int = 0
    ratings_replaced: int = 0
    rule: str | None = None
    adapter: str = ""
    notes: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, where: SetAside) -> None:
        """Count a row that was set aside, and keep its details while there is room."""
        self.set_aside[where.kind] += 1
        if len(self.details) < MAX_DETAILS:
            self.details.append(where)

    @property
    def n_set_aside(self) -> int:
        """Rows set aside, of every kind."""
        return self.set_aside.total()

    @property
    def ratings_unused(self) -> int:
        """Ratings that stand in no pair."""
        return self.ratings - self.ratings_used

    def refuse(self, hint: str = "") -> DataError:
        """Return the error of a source without one good row: the first reasons and all counts."""
        if not self.rows:
            return DataError(f"{self.source} holds no row: expected one choice, vote or rating a row")
        reasons = "\n".join(f"  {detail}" for detail in self.details[:3])
        counts = _counts(self.set_aside) + (f"; {hint}" if hint else "")
        return DataError(
            f"{self.source}: none of its {self.rows:,} row(s) can be used ({counts}):\n{reasons}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: dict(v) if isinstance(v, dict) else v for name, v in plain.items()}
        return {**plain, "details": [detail._asdict() for detail in self.details]}

    def lines(self) -> list[str]:
        """Return the report in sentences, for people."""
        text = [f"{self.source}: {self.rows:,} rows read, {self.choices:,} choices of {self.users:,} users"]
        text += [f"{self.adapter}: {note}" for note in self.notes]
        if self.left_out:
            text.append(f"left out by the rules of {self.adapter}: {_counts(self.left_out)}")
        if self.n_set_aside:
            text.append(f"set aside: {self.n_set_aside:,} ({_counts(self.set_aside)})")
        if self.rule:
            text.append(
                f"pairs: {self.rule}; {self.ratings_used:,} ratings used, {self.ratings_unused:,} unused"
                + (f" ({self.ratings_replaced:,} of them given again later)" if self.ratings_replaced else "")
            )
        if self.warnings:
            text.append(f"kept with a warning: {_counts(self.warnings)}")
        if self.duplicates:
            text.append(f"rows that repeat an earlier one (kept): {self.duplicates:,}")
        if self.unused:
            text.append(f"columns not used: {_counts(self.unused)}")
        return text


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
