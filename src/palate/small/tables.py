"""Tables of the study: every arm with its interval, beside the papers' orderings, and what was to be reached.

Intervals are 95 %, by resampling users (those of all seeds together); a difference of two arms is paired on
the same users, of the seeds that both were run with. A claim holds on average where the figure reaches its
bound, and clearly where the whole interval does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.small.arms import paper_name

__all__ = [
    "Claim",
    "Estimate",
    "Table",
    "claims",
    "delta_pq",
    "estimate",
    "markdown",
    "shifts",
    "table",
    "tailoring",
]

Floats = NDArray[np.float64]
_DRAWS = 2000


class Estimate(NamedTuple):
    """A mean over users with its 95 % interval, in the measure's own units, and n."""

    mean: float
    low: float
    high: float
    users: int

    def told(self, scale: float = 100.0, digits: int = 1) -> str:
        """Return it in words.

        >>> Estimate(0.5, 0.4, 0.6, 9).told()
        '50.0 [40.0, 60.0]'
        """
        mean, low, high = (f"{scale * v:.{digits}f}" for v in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def estimate(values: Floats, of: Callable[[Floats], Floats] | None = None, seed: int = 0) -> Estimate:
    """Return the mean of values [users] with its interval, or a function of the means of [users, k].

    Args:
        values: float64 [users] or [users, k].
        of: Takes means [..., k] to figures [...]; None is the mean itself.
        seed: Of the resampling.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    draws = np.stack([values[rng.integers(n, size=n)].mean(0) for _ in range(_DRAWS)])
    mean = values.mean(0)
    if of is not None:
        draws, mean = of(draws), of(mean)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(float(mean), float(low), float(high), n)


def _apart(cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a cell and those that went on from it, each as a cell of its own; its time stays with it."""
    later = [
        {**cell, **values, "arm": arm, "seconds": 0.0, "also": {}}
        for arm, values in cell.get("also", {}).items()
    ]
    return [cell, *later]


class Table:
    """The cells of a study by arm, each measure as one column of all seeds' users."""

    def __init__(self, cells: Sequence[Mapping[str, Any]]) -> None:
        cells = [each for cell in cells for each in _apart(cell)]
        self.arms = list(dict.fromkeys(cell["arm"] for cell in cells))
        self.cells = {(cell["arm"], cell["seed"]): cell for cell in cells}
        self.seeds = sorted({cell["seed"] for cell in cells})

    def run(self, arm: str, measure: str = "accuracy") -> list[int]:
        """Return the seeds with which an arm was run and has a measure."""
        return [seed for seed in self.seeds if measure in self.cells.get((arm, seed), {})]

    def has(self, *columns: tuple[str, str]) -> bool:
        """Whether arms have their measures with some seeds in common."""
        return bool(set.intersection(*(set(self.run(*column)) for column in columns)))

    def column(self, arm: str, measure: str = "accuracy") -> Floats:
        """Return float64 [users of all its seeds]."""
        return self.together((arm, measure))[:, 0]

    def together(self, *columns: tuple[str, str]) -> Floats:
        """Return float64 [users, columns], arms and measures, of the seeds that all of them were run with."""
        seeds = [seed for seed in self.seeds if all(seed in self.run(*column) for column in columns)]
        return np.stack(
            [np.concatenate([np.asarray(self.cells[a, s][m], float) for s in seeds]) for a, m in columns], 1
        )

    def each(self, arm: str, measure: str = "accuracy") -> dict[int, float]:
        """Return the mean of each seed."""
        return {seed: float(np.mean(self.cells[arm, seed][measure])) for seed in self.run(arm, measure)}

    def between(self, first: str, second: str, measure: str = "accuracy") -> Estimate:
        """Return the first arm less the second, paired on users."""
        both = self.together((first, measure), (second, measure))
        return estimate(both[:, 0] - both[:, 1])


@dataclass(frozen=True)
class Claim:
    """Something that was to be reached.

    Attributes:
        text: What.
        found: What was found.
        bound: What it must reach.
        at_most: Whether it must stay below.
        scale: 100 for points, 1 for shares.
    """

    text: str
    found: Estimate
    bound: float
    at_most: bool = False
    scale: float = 100.0

    @property
    def holds(self) -> str:
        """``yes`` where the whole interval reaches it, ``on average`` where the mean does, else ``no``.

        At least is more than: to be beaten takes a difference.
        """
        mean, low, high = self.found[:3]
        if self.at_most:
            return "yes" if high <= self.bound else "on average" if mean <= self.bound else "no"
        return "yes" if low > self.bound else "on average" if mean > self.bound else "no"


def claims(found: Table) -> list[Claim]:
    """Return what was to be reached beside what was found, for the arms that were run."""
    out: list[Claim] = []

    def lead(text: str, first: str, second: str, bound: float) -> None:
        if found.has((first, "accuracy"), (second, "accuracy")):
            out.append(Claim(text, found.between(first, second), bound))

    lead("popi over raw prompting, points", "popi", "raw", 0.10)
    lead("popi over untuned summaries, points", "popi", "summary", 0.10)
    told = (("popi", "tokens"), ("raw", "tokens"))
    if found.has(*told):
        both = found.together(*told)
        ratio = estimate(both, lambda m: np.asarray(m[..., 0] / m[..., 1]))
        out.append(Claim("added tokens of popi, share of raw prompting's", ratio, 0.10, True))
    lead("popi-full over summary-aligned, points", "popi-full", "summary-aligned", 0.0)
    lead("popi-full over raw-aligned, points", "popi-full", "raw-aligned", -0.02)
    read = (("popi", "accuracy_other"), ("popi", "accuracy"))
    if found.has(*read):
        both = found.together(*read) - 0.5
        kept = estimate(both, lambda m: np.asarray(m[..., 0] / m[..., 1]))
        out.append(Claim("gain kept where another frozen model reads the summaries, share", kept, 0.70))
    for first, second in (("popi-ipo", "popi"), ("popi-full-ipo", "popi-full")):
        lead(f"{first} over {second}, points (at least -2)", first, second, -0.02)
    out += _tailored(found) + _shifted(found)
    return out


def _tailored(found: Table) -> list[Claim]:
    """Return what PT was to reach beside plain DPO that is told the same personas."""
    sides = ("chosen", "rejected")
    if not found.has(*(("pt", f"p_lead_{of}") for of in sides)):
        return []
    lead = found.together(*(("pt", f"p_lead_{of}") for of in sides))
    told = "PT-DPO over plain DPO, lead in fit to the persona, % of answers"
    out = [Claim(f"{told}, {of} personas", estimate(lead[:, n]), 0.0) for n, of in enumerate(sides)]
    out.append(Claim("the same, rejected less chosen", estimate(lead[:, 1] - lead[:, 0]), 0.0))
    names = [("pt", f"{key}_{of}") for of in reversed(sides) for key in ("heeded", "heeded_plain")]
    right = found.together(*names) @ np.array([1.0, -1.0, -1.0, 1.0])
    text = "PT-DPO over plain DPO, choices that the told persona makes, rejected less chosen, points"
    out.append(Claim(text, estimate(right), 0.0))
    for of in sides:
        both = estimate(_counts(found, of), delta_pq)
        out.append(Claim(f"PT-DPO over plain DPO, Delta-PQ, {of} personas", both, 0.0))
    return out


def _counts(found: Table, of: str) -> Floats:
    """Return float64 [users, 4]: wins and losses in fit to a persona, and in quality."""
    return found.together(*(("pt", f"{key}_{side}_{of}") for key in "pq" for side in ("won", "lost")))


def delta_pq(m: Floats) -> Floats:
    """Return Delta-PQ from means [..., 4]: won and lost, of persona and of quality; none of either is 1/2.

    >>> round(float(delta_pq(np.array([3.0, 1.0, 0.0, 0.0]))), 6)
    0.25
    """
    shares = [(m[..., i] + 1e-12) / (m[..., i] + m[..., i + 1] + 2e-12) for i in (0, 2)]
    return np.asarray(shares[0] + shares[1] - 1.0)


def tailoring(found: Table) -> list[list[str]]:
    """Return PT beside plain DPO by whose persona both are told, the header first."""
    heads = ("lead in fit, %", "lead in quality, %", "Delta-PQ", "choices right, PT, %", "plain, %")
    rows = [["persona", *heads]]
    for of in ("chosen", "rejected"):
        if found.run("pt", f"p_lead_{of}"):
            parts = [estimate(found.column("pt", f"{key}_lead_{of}")).told() for key in "pq"]
            parts.append(estimate(_counts(found, of), delta_pq).told())
            parts += [
                estimate(found.column("pt", f"{key}_{of}")).told() for key in ("heeded", "heeded_plain")
            ]
            rows.append([of, *parts])
    return rows


def _shifted(found: Table) -> list[Claim]:
    """Return how far accuracy falls from similar to dissimilar episodes, codes beside text personas."""
    out = []
    for text in ("summary", "survey"):
        if not found.has(("epipersona-a", f"{text}_similar")):
            continue
        names = [
            ("epipersona-a", f"{of}_{shift}") for of in ("codes", text) for shift in ("similar", "dissimilar")
        ]
        four = found.together(*names)
        less = estimate((four[:, 0] - four[:, 1]) - 0.5 * (four[:, 2] - four[:, 3]))
        out.append(Claim(f"drop of EpiPersona-A less half of that of {text}, points", less, 0.0, True))
    return out


def shifts(found: Table) -> list[list[str]]:
    """Return accuracies in similar and dissimilar episodes and the drop between them, the header first."""
    rows = [["persona", "similar, %", "dissimilar, %", "drop, points"]]
    for name in ("codes", "summary", "survey"):
        if found.run("epipersona-a", f"{name}_similar"):
            near, far = (found.column("epipersona-a", f"{name}_{s}") for s in ("similar", "dissimilar"))
            rows.append([name, estimate(near).told(), estimate(far).told(), estimate(near - far).told()])
    return rows


def table(found: Table) -> list[list[str]]:
    """Return the leaderboard: a row an arm, the header first."""
    measures = {"accuracy": 100.0, "tokens": 1.0, "win": 100.0, "accuracy_other": 100.0, "quality": 100.0}
    heads = ("accuracy, %", "added tokens", "win rate, %", "other model, %", "quality, %")
    rows = [["arm", "in the paper", "seeds", *heads]]
    for arm in found.arms:
        cells = [arm, paper_name(arm), str(len(found.run(arm)))]
        for measure, scale in measures.items():
            told = estimate(found.column(arm, measure)) if found.run(arm, measure) else None
            exact = told is None or measure == "tokens"
            cells.append("-" if told is None else f"{told.mean:.1f}" if exact else told.told(scale))
        rows.append(cells)
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown.

    >>> print(markdown([["a", "b"], ["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
