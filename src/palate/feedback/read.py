"""Read feedback: sources -> raw rows -> parsed rows -> columns, with a report of what was set aside."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import ROLES, ConfigError, Conversation, DataError, Population, PopulationBuilder
from palate.feedback.adapters import open_feedback
from palate.feedback.fields import Layout, check_fields, missing_columns, recognise
from palate.feedback.keys import equal_rows, question_keys
from palate.feedback.ratings import PairRule, Ratings, draw_pairs
from palate.feedback.report import BadRow, ReadReport, SetAside
from palate.feedback.rows import NO_EXTRAS, Choice, Extras, Parsed, Rated, parse
from palate.feedback.sources import Source

__all__ = ["Progress", "ReadResult", "read"]

Progress = Callable[[int, float | None], None]
"""Called now and then with the rows read so far and the share of the source, None where unknown."""
EVERY = 20_000
MANY_LAYOUTS = 4096


@dataclass(frozen=True, eq=False)
class ReadResult:
    """Feedback and what was found while reading it.

    Attributes:
        population: The choices as columns.
        report: Rows read, kept and set aside.
        shown: bool [rows]: whether the order of a row's options is the order in which they were shown
            (rows with chosen and rejected do not say).
        grades: float64 [rows, 2]: how the user rated the two options of a row that was made of ratings;
            NaN elsewhere.
    """

    population: Population
    report: ReadReport
    shown: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    grades: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))


def read(
    path_or_id: str | Path,
    *,
    format: str = "auto",
    fields: Mapping[str, str] | None = None,
    rule: PairRule = PairRule(),  # noqa: B008 - frozen
    strict: bool = False,
    progress: Progress | None = None,
) -> ReadResult:
    """Read choices, n-way choices, ties, ratings and votes.

    A row that cannot be used never costs the others: it is set aside, counted, and told with its line,
    field and why.

    Args:
        path_or_id: A file (.jsonl, .json, .csv, .tsv, .parquet; also .gz, .zst), a folder, "-" for JSON
            lines on standard input, or hf:OWNER/NAME[:SPLIT]. Published data sets are known by their hub
            id and by their columns (not where ``fields`` are given), and by name, as in prism:FOLDER;
            ``palate.feedback.adapters`` has the list.
        format: What it is, where its name and first bytes do not say.
        fields: Field to column, such as ``{"user": "annotator_id", "profile.age": "age"}``; an empty
            column switches a field off. ``palate.feedback.fields`` has the table of recognised names.
        rule: How ratings become pairs.
        strict: Raise on the first row that cannot be used.
        progress: Told of the rows read.

    Raises:
        ConfigError: If ``fields`` or ``format`` names what does not exist.
        DataError: If there is no such file, or no row of it can be used.
        MissingExtra: If a Hugging Face data set is asked for without ``datasets``.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "choices.jsonl"
    >>> size = file.write_text('{"user": "ann", "prompt": "Hi", "chosen": "Hello!", "rejected": "Yo."}')
    >>> result = read(file)
    >>> result.population.n_rows, result.report.n_set_aside
    (1, 0)
    """
    fields = dict(fields or {})
    check_fields(fields)
    source = open_feedback(path_or_id, format, recognise=not fields)
    desk = _Desk(source, fields, strict)
    for line, raw in source:
        desk.take(line, raw)
        if progress and desk.report.rows % EVERY == 0:
            progress(desk.report.rows, source.share)
    result = desk.finish(rule)
    if progress:
        progress(result.report.rows, 1.0)
    return result


class _Desk:
    """Takes raw rows in, sorts them into choices, ratings and rows set aside, and builds the columns."""

    def __init__(self, source: Source, fields: Mapping[str, str], strict: bool) -> None:
        self.source, self.fields, self.strict = source, fields, strict
        self.report = ReadReport(
            source.name,
            source.format,
            warnings=source.warnings,
            notes=source.notes,
            left_out=source.left_out,
        )
        self.layouts: dict[tuple[str, ...], Layout] = {}
        self.columns_seen: dict[str, None] = {}
        self.builder = PopulationBuilder()
        self.ratings = _RatingColumns()
        self.ids: set[str] = set()
        self.places = array("q")
        self.shown = array("b")
        self.grades: NDArray[np.float64] = np.zeros((0, 2))

    def take(self, line: int, raw: dict[str, Any] | BadRow) -> None:
        """Take one raw row."""
        self.report.rows += 1
        place = (len(self.source.files) - 1) << 40 | line
        try:
            if isinstance(raw, BadRow):
                raise raw
            columns = tuple(raw)
            layout = self.layouts.get(columns) or self._new_layout(columns)
            layout.rows += 1
            self._accept(place, parse(raw, layout))
        except BadRow as bad:
            self._set_aside(place, bad)

    def _accept(self, place: int, row: Parsed) -> None:
        extras = row.extras
        if extras is not NO_EXTRAS:
            self._check(row.user, extras)
        if isinstance(row, Choice):
            self.places.append(place)
            self.shown.append(row.shown)
            self.builder.add(
                row.user,
                row.conversation,
                row.responses,
                row.chosen,
                id=extras.id,
                time=extras.time.seconds,
                split=extras.split,
                reason=extras.reason,
            )
            return
        self.builder.add_user(row.user)
        if isinstance(row, Rated):
            self.ratings.add(row, place)

    def _check(self, user: str, extras: Extras) -> None:
        """Refuse a second role and a second use of an id; take note of the rest."""
        known = -1 if extras.role < 0 else self.builder.role_of(user)
        if known not in (-1, extras.role):
            raise BadRow(
                "two roles",
                "user_split",
                f"user {user!r} is in {ROLES[known]} by an earlier row, here in {ROLES[extras.role]}; "
                "a user has one role",
            )
        if extras.id:
            if extras.id in self.ids:
                raise BadRow("duplicate id", "id", f"the id {extras.id!r} stands in an earlier row")
            self.ids.add(extras.id)
        if extras.role >= 0 or extras.profile:
            self.builder.add_user(user, extras.profile, extras.role)
        if extras.time.bad:
            self.report.warnings["time that does not parse, taken as unknown"] += 1
        if extras.source is not None:
            self.report.sources[extras.source] += 1

    def _new_layout(self, columns: tuple[str, ...]) -> Layout:
        if len(self.layouts) >= MANY_LAYOUTS:
            self._count_layouts()
        layout = self.layouts[columns] = recognise(columns, self.fields)
        self.columns_seen.update(dict.fromkeys(columns))
        return layout

    def _count_layouts(self) -> None:
        """Move what the layouts counted into the report, and forget them."""
        for layout in self.layouts.values():
            for column in layout.unused:
                self.report.unused[column] += layout.rows
            read = {name for kind in layout.kinds for name in (*kind.needs, *kind.reads)}
            self.report.columns |= {f: c for f, c in layout.at.items() if f in read or "." in f}
        self.layouts.clear()

    def _set_aside(self, place: int, bad: BadRow) -> None:
        where = SetAside(self.source.files[place >> 40], place & (1 << 40) - 1, bad.field, bad.kind, bad.why)
        if self.strict:
            raise DataError(f"{where} (strict: without it the row is set aside and the others are read)")
        self.report.add(where)

    # ---- the end --------------------------------------------------------------------------------

    def finish(self, rule: PairRule) -> ReadResult:
        """Make pairs of the ratings, build the columns, and look at rows side by side."""
        self._count_layouts()
        self.report.adapter = self.source.adapter
        wrong = missing_columns(self.fields, list(self.columns_seen)) if self.columns_seen else None
        if wrong:
            raise ConfigError(wrong)
        if not self.builder.n_users:
            raise self.report.refuse(self.source.hint)
        self._rated(rule)
        population = self.builder.build()
        order = self.builder.order
        places = np.frombuffer(self.places, np.int64)[order]
        shown = np.frombuffer(self.shown, np.int8)[order].astype(bool)
        ungraded = np.full((len(order) - len(self.grades), 2), np.nan)  # the pairs of ratings came last
        grades = np.concatenate([ungraded, self.grades])[order]
        leaks = target_in_context(population)
        for row in np.flatnonzero(leaks).tolist():
            why = f"user {population.users[population.row_user[row]]!r} answered these options in the context"
            self._set_aside(int(places[row]), BadRow("target in context", "split", why))
        if leaks.any():
            population = population.take_rows(~leaks).compact()
            shown, grades = shown[~leaks], grades[~leaks]
        self.report.duplicates = int(equal_rows(population).sum())
        self.report.choices, self.report.users = population.n_rows, population.n_users
        return ReadResult(population, self.report, shown, grades)

    def _rated(self, rule: PairRule) -> None:
        """Draw pairs from the ratings and add them as choices."""
        ratings = self.ratings.columns()
        if not len(ratings):
            return
        drawn = draw_pairs(ratings, rule)
        self.report.ratings, self.report.ratings_replaced = len(ratings), drawn.replaced
        self.report.ratings_used = len(np.union1d(drawn.winner, drawn.loser))
        self.report.rule = str(rule)
        if not len(drawn.winner) and not len(self.builder):
            low, high = float(ratings.value.min()), float(ratings.value.max())
            raise DataError(
                f"{self.source.name}: no pair can be drawn from its {len(ratings):,} ratings "
                f"({low:g} to {high:g}): no user rated two responses to one conversation at least "
                f"{rule.min_gap:g} apart; "
                "give a rule with a smaller min_gap"
            )
        later = np.maximum(drawn.winner, drawn.loser)
        times = np.fmax(ratings.time[drawn.winner], ratings.time[drawn.loser])
        value, names = ratings.value, self.ratings
        self.grades = np.stack([value[drawn.winner], value[drawn.loser]], axis=1)
        users, talks, texts = list(names.users), list(names.talks), list(names.texts)
        for win, lose, last, time in zip(
            drawn.winner.tolist(), drawn.loser.tolist(), later.tolist(), times.tolist(), strict=True
        ):
            self.places.append(names.place[last])
            self.shown.append(False)
            self.builder.add(
                users[names.user[win]],
                talks[names.talk[win]],
                (texts[names.text[win]], texts[names.text[lose]]),
                0 if value[win] > value[lose] else -1,
                time=time,
                split=names.split[win],
            )


class _RatingColumns:
    """Collects ratings; texts once."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.talks: dict[str | Conversation, int] = {}
        self.texts: dict[str, int] = {}
        self.user, self.talk, self.text = array("q"), array("q"), array("q")
        self.value, self.time = array("d"), array("d")
        self.split, self.place = array("q"), array("q")

    def add(self, row: Rated, place: int) -> None:
        """Add the ratings of one row."""
        user = self.users.setdefault(row.user, len(self.users))
        talk = self.talks.setdefault(row.conversation, len(self.talks))
        for response, rating in zip(row.responses, row.ratings, strict=True):
            self.user.append(user)
            self.talk.append(talk)
            self.text.append(self.texts.setdefault(response, len(self.texts)))
            self.value.append(rating)
            self.time.append(row.extras.time.seconds)
            self.split.append(row.extras.split)
            self.place.append(place)

    def columns(self) -> Ratings:
        """Return the ratings as arrays."""
        user, talk, text, split = (
            np.frombuffer(c, np.int64) for c in (self.user, self.talk, self.text, self.split)
        )
        value, time = (np.frombuffer(c, np.float64) for c in (self.value, self.time))
        return Ratings(user, talk, text, value, time, split)


def target_in_context(population: Population) -> NDArray[np.bool_]:
    """Return bool [rows]: targets whose options the same user was offered in the context too."""
    split = population.split
    if not ((split == 1).any() and (split == 0).any()):
        return np.zeros(population.n_rows, dtype=bool)
    keys = question_keys(population)
    leaks: NDArray[np.bool_] = (split == 1) & np.isin(keys, np.unique(keys[split == 0]))
    return leaks
