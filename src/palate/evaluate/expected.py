"""What a run will ask of language models, told before it is run, by rehearsing it on a few users.

Nothing is sent: the code that will run is run on a few users of each role, every call answered at once by
its program's example, and the calls that were made are counted and scaled to all users. What the facets ask
is bounded, and scaled no further than their bounds. Calls whose answers are kept already cost nothing, and
are told apart. Real answers lead to other calls than examples do (a race
may be decided sooner, an answer may have to be asked for again), so figures are expectations, not promises;
a budget is a promise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from palate.catalogue import build
from palate.core import Generates, Method
from palate.evaluate.bench import Bench
from palate.evaluate.cells import Cell, Fitted, Shelf, run
from palate.evaluate.facets import probe_all, writing
from palate.evaluate.protocol import Task, new_users
from palate.models.llm.session import connect, current_session

__all__ = ["Expected", "Line", "expect"]

SAMPLE = (7, 2, 8)
"""Users of the roles train, val and test that are rehearsed."""
FACETS = 6.0
"""What the facets ask of the few is scaled by no more: they ask about a hundred pairs or so at most."""
LATENCY = 1.5
"""Seconds a call of a model of which fewer than five calls are kept; else the median of the latest."""


@dataclass(frozen=True)
class Line:
    """What one method is expected to ask in one section of a run.

    Attributes:
        where: The section and the method.
        model: Spec of the model.
        calls: Calls to be paid for.
        kept: Share of all its calls whose answers are kept already.
        tokens_in: Tokens of their prompts.
        tokens_out: Tokens of their answers.
        money: Dollars, or None where no price is known.
        seconds: At the concurrency allowed.
    """

    where: str
    model: str
    calls: int
    kept: float
    tokens_in: int
    tokens_out: int
    money: float | None
    seconds: float

    def __str__(self) -> str:
        money = "no price known (--price)" if self.money is None else f"${self.money:,.2f}"
        return (
            f"{self.where} · {self.model}: about {self.calls:,} calls, {self.tokens_in / 1e3:,.0f} + "
            f"{self.tokens_out / 1e3:,.0f} thousand tokens, {money}, {max(1, round(self.seconds)):,} s"
            + (f"; {self.kept:.0%} of its calls are kept from before" if self.kept >= 0.005 else "")
        )


@dataclass(frozen=True)
class Expected:
    """What a run is expected to ask, a line a method."""

    rows: Sequence[Line]

    @property
    def paid(self) -> int:
        """Calls of models that are not fakes."""
        return sum(row.calls for row in self.rows if not row.model.startswith("fake:"))

    @property
    def told(self) -> str:
        """The sum in a sentence."""
        known = [row.money for row in self.rows if row.money is not None]
        money = f"${sum(known):,.2f}" if len(known) == len(self.rows) else "at prices not all known"
        calls = sum(row.calls for row in self.rows)
        return f"This run is expected to make about {calls:,} calls of language models, {money}."

    def lines(self) -> Iterator[str]:
        """Yield a line a method, and the sum."""
        yield from map(str, self.rows)
        if self.rows:
            yield self.told


def expect(bench: Bench, shelf: Shelf) -> Expected:
    """Rehearse every unfinished cell that asks a language model."""
    rows = []
    for cell in bench.cells():
        method = cell.build()
        if shelf.get(cell.key, cell.task.targets) is not None:
            continue
        if method.uses_lm:
            rows.append(_rehearse(cell))
        elif _writes(cell, method):
            rows.append(_judging(cell, not isinstance(method, Generates)))
    return Expected(rows)


def _writes(cell: Cell, method: Method) -> bool:
    """Whether the facet ``writing`` will ask about a method that asks no language model itself."""
    settings = cell.task.writing
    if settings is None or not method.personal:
        return False
    words = type(method)._words is not Method._words
    return isinstance(method, Generates) or bool(settings.lm and words)


def _judging(cell: Cell, by_lm: bool) -> Line:
    """Count what the judge of written answers is asked, and the model that writes them, if one does."""
    session, lm = current_session(), connect(cell.task.writing.judge).spec
    with session.rehearsal() as plan:
        times = writing.rehearse(cell.task, by_lm)
    money = plan.money()
    return Line(
        " · ".join([cell.task.name, cell.method, "writing"]),
        lm,
        plan.calls * times,
        plan.kept / max(1, plan.calls + plan.kept),
        plan.tokens_in * times,
        plan.tokens_out * times,
        None if money is None else money * times,
        plan.seconds(_latency(lm), session.settings.concurrency) * times,
    )


def _rehearse(cell: Cell) -> Line:
    session = current_session()
    few, factor = _few(cell.task)
    small, control = replace(cell, task=few), build("random").fit(few.fit_on)
    with session.rehearsal() as plan:
        fitted = small.build().fit(few.fit_on)
        run(small, Fitted(fitted, 0.0), control, probes=False)
        personas = fitted.adapt_batch(few.context)
    with session.rehearsal() as looks:
        probe_all(fitted, personas, few, cell.encoder)
    lm = connect(str(cell.fields.get("lm") or small.build().config["lm"])).spec
    parts = ((plan, factor), (looks, min(factor, FACETS)))
    money = [p.money() for p, _ in parts]
    calls, kept = sum(p.calls for p, _ in parts), sum(p.kept for p, _ in parts)
    return Line(
        " · ".join([cell.task.name, cell.method]),
        lm,
        round(sum(p.calls * by for p, by in parts)),
        kept / max(1, calls + kept),
        round(sum(p.tokens_in * by for p, by in parts)),
        round(sum(p.tokens_out * by for p, by in parts)),
        sum(m * by for m, (_, by) in zip(money, parts, strict=True) if m) if None not in money else None,
        sum(p.seconds(_latency(lm), session.settings.concurrency) * by for p, by in parts),
    )


def _latency(lm: str) -> float:
    """Return seconds a call, by the latest kept calls of a model."""
    seconds = [call.seconds for call in current_session().store.calls(limit=200) if call.model == lm]
    return float(np.median(seconds)) if len(seconds) >= 5 else LATENCY


def _few(task: Task) -> tuple[Task, float]:
    """Return the task with a few users of each role, and by how much it is smaller.

    The suite is left out of the smaller one: its calls do not grow with users.
    """
    people, keep = task.people, np.zeros(task.people.n_users, dtype=bool)
    for role, most in enumerate(SAMPLE):
        found = np.flatnonzero(people.role == role)
        keep[found[:: max(1, len(found) // most)][:most]] = True
    factor = people.n_users / int(keep.sum())
    if task.protocol != "new-users" or factor <= 1.0:
        return task, 1.0
    return replace(
        new_users(task.name, people.take_users(keep)),
        simulated=task.simulated,
        suite=None,
        writing=task.writing,
    ), factor
