"""What is curated: every choice as pairs of two answers, the chosen one first, with ratings if there are any.

A choice among n answers is n - 1 pairs, the chosen one with each other. Ratings make a pair of every two
answers that a user rated in one conversation (the rule ``all`` of ``palate.feedback.ratings``), equal ones a
tie; PRISM is read so.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palate.core import Conversation, Population
from palate.curate.recipe import Recipe
from palate.feedback import PairRule, ReadReport, ReadResult, read

__all__ = ["Table", "as_table", "read_table"]


@dataclass(frozen=True, eq=False)
class Table:
    """Pairs before any decision.

    Attributes:
        people: The pairs; every row has two options, the chosen one first; ``chosen`` is 0, or -1 for a tie.
        grades: float64 [rows, 2], ratings of the chosen and the rejected answer; NaN where there are none.
        source: What was read.
        report: What reading found; None for a population that was not read here.
    """

    people: Population
    grades: NDArray[np.float64]
    source: str = ""
    report: ReadReport | None = None

    @property
    def adapter(self) -> str:
        """The published data set that was read, or nothing."""
        return self.report.adapter if self.report else ""

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """The lowest and the highest rating that stand in a pair; None without ratings."""
        seen = self.grades[~np.isnan(self.grades)]
        return (float(seen.min()), float(seen.max())) if len(seen) else None

    @cached_property
    def gap(self) -> NDArray[np.float64]:
        """float64 [rows]: how far apart the two ratings are, as a share of the scale; NaN without ratings."""
        low, high = self.scale or (0.0, 0.0)
        if high == low:
            return np.where(np.isnan(self.grades[:, 0]), np.nan, 0.0)
        return np.asarray((self.grades[:, 0] - self.grades[:, 1]) / (high - low))

    def conversation(self, row: int) -> Conversation:
        """Return the conversation of a pair."""
        return self.people.corpus.conversation(int(self.people.options[2 * row]))

    def answers(self, row: int) -> tuple[str, str]:
        """Return the chosen and the rejected answer of a pair."""
        response, options = self.people.corpus.response, self.people.options
        return response(int(options[2 * row])), response(int(options[2 * row + 1]))


def read_table(
    source: str | Path | Population | ReadResult,
    recipe: Recipe,
    fields: Mapping[str, str] | None = None,
    progress: Callable[[int, float | None], None] | None = None,
) -> Table:
    """Read a source as pairs.

    Args:
        source: What :func:`palate.feedback.read` reads, or feedback that was read already.
        recipe: Says how many pairs of a user are made of ratings.
        fields: Field to column.
        progress: Told of the rows read.

    Raises:
        DataError: If there is nothing to read.
    """
    if isinstance(source, Population):
        return as_table(source)
    if isinstance(source, ReadResult):
        return as_table(source.population, source)
    rule = PairRule("all", min_gap=0.0, cap=recipe.cap, seed=recipe.seed)
    spec, asked = str(source), re.match(r"prism([,:])", str(source), re.IGNORECASE)
    if asked and asked[1] == ":":  # with options, the caller has said what to read
        spec = f"prism,turns=graded:{spec[asked.end() :]}"
    result = read(spec, fields=fields, rule=rule, progress=progress)
    if result.report.adapter == "prism" and not asked:
        result = read(f"prism,turns=graded:{spec}", rule=rule, progress=progress)
    result.report.source = str(source)
    return as_table(result.population, result)


def as_table(people: Population, result: ReadResult | None = None) -> Table:
    """Return a population's choices as pairs."""
    pairs = people.pairs
    report = result.report if result else None
    graded = result is not None and len(result.grades) == people.n_rows
    grades = result.grades[pairs.row] if result is not None and graded else np.full((len(pairs), 2), np.nan)
    ids = _names(people, pairs.row)
    words = people.reasons
    old = people.ids[pairs.row]
    made = replace(
        people,
        offsets=np.concatenate([[0], np.cumsum(np.bincount(pairs.user, minlength=people.n_users))]),
        options=np.stack([pairs.winner, pairs.loser], axis=1).reshape(-1),
        option_offsets=2 * np.arange(len(pairs) + 1),
        chosen=np.where(pairs.target == 0.5, -1, 0),
        times=people.times[pairs.row],
        split=people.split[pairs.row],
        ids=ids,
        reasons={new: words[was] for new, was in zip(ids, old, strict=True) if was in words} if words else {},
    )
    return Table(made, grades, report.source if report else "", report)


def _names(people: Population, row: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return object [pairs]: names of the pairs: the choice's, with a number where it makes several."""
    several = (np.bincount(row, minlength=people.n_rows) > 1)[row]
    names = people.ids[row].copy()
    if not several.any():
        return names
    taken = set(people.ids)
    place = np.arange(len(row)) - np.searchsorted(row, row)
    for pair in np.flatnonzero(several).tolist():
        name = f"{names[pair]}/{place[pair] + 1}"
        while name in taken:
            name += "'"
        taken.add(name)
        names[pair] = name
    return names
