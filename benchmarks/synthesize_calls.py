"""Calls of ``synthesizeme``: raced, asking everything, and as the released code asks; then time and accuracy.

    python benchmarks/synthesize_calls.py [--users 400] [--lm fake:world?error=0.2&bias=0.3] [--no-time]

The language model is a fake: a reader of the simulated world that errs to order. Its figures say how the
search behaves, and nothing of what a real model would reach. Users have ten past choices: T = 7 pairs are
reasoned about, V = 3 validate, C = 10 candidates. Tracing the statements to choices (``evidence``) is
switched off but for its own line: the released code has nothing like it.

released    counted as its algorithm asks: every candidate reasons anew, nothing is shared, and all candidates
            run; an upper bound, as a candidate may stop reasoning when it has what it wants
asked       requests a user;  distinct: those that differ;  rounds: calls that wait for each other
same        users whose persona and demonstrations are those of asking everything, which is to hold for all
time        all users at once at 16 concurrent calls of 200 ms, beside the floor
            max(rounds of the longest user x latency, distinct calls x latency / concurrency)
accuracy    share of a user's later pairs predicted, mean over users, both orders, torn verdicts a half
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from palate.core import History, Personas, Population, Queries
from palate.evaluate.metrics import Bootstrap
from palate.feedback.world import World
from palate.models.llm.session import Session, language_models
from palate.models.llm.wire import Asking
from palate.persona.base import ReadMethod, Written
from palate.persona.default import Default
from palate.persona.synthesizeme import SynthesizeMe

Floats = NDArray[np.float64]
CONCURRENCY, LATENCY, C = 16, 0.2, 10
WORLDS = {
    "the default world": World(pairs=10, targets=10, seed=1),
    "two tastes": replace(World.two_tastes(seed=1), pairs=10, targets=10),
}


class Asked(NamedTuple):
    """What was asked for one user."""

    asked: int
    distinct: int
    rounds: int


@dataclass(kw_only=True, eq=False)
class Counted(SynthesizeMe):
    """The method itself, with its requests counted on the way out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.counts: dict[str, Asked] = {}

    def _kept(self, history: History) -> Asking[Written]:
        asking, answers, made, rounds = super()._kept(history), None, [], 0
        while True:
            try:
                requests = asking.send(answers)  # type: ignore[arg-type]
            except StopIteration as stop:
                self.counts[history.user] = Asked(len(made), len(set(made)), rounds)
                return stop.value  # type: ignore[no-any-return]
            made += requests
            rounds += 1
            answers = yield requests


def released(training: int, validation: int, candidates: int) -> int:
    """Count the calls of the released algorithm for one user, at most."""
    reasoning = 2 * (candidates + 1) * training  # both searches, every candidate anew
    scoring = (2 * candidates + 5) * validation
    return reasoning + scoring + 1


def at_most(training: int, validation: int, candidates: int) -> int:
    """Count the distinct calls among them, at most."""
    return 2 * training + 2 * (candidates + 2) * validation + 1


@contextmanager
def fresh(concurrency: int = CONCURRENCY) -> Iterator[Session]:
    """Open a session whose answers are kept nowhere else."""
    with (
        tempfile.TemporaryDirectory() as folder,
        language_models(folder=Path(folder), concurrency=concurrency) as session,
    ):
        yield session


def made(lm: str, people: Population, **fields: Any) -> Counted:
    """Return a fitted method; nothing is asked to fit it."""
    return Counted(lm=lm, **{"calibrate": 0, "evidence": False, **fields}).fit(people)


def told(values: Sequence[float] | Floats, form: str = "{:.1f}") -> str:
    """Return a mean over users with its interval."""
    values = np.asarray(values, float)
    low, high = Bootstrap(len(values)).interval(values, np.ones(len(values)))
    return " ".join((form.format(values.mean()), f"\\[{form.format(low)}, {form.format(high)}]"))


def share(hits: int, n: int) -> str:
    """Return a share with its exact interval."""
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{hits / n:.1%} \\[{low:.1%}, {high:.1%}]"


def calls(lm: str, people: Population, readers: Population) -> Table:
    """Count the calls of each way to search, and compare what was kept with asking everything."""
    table = Table(
        "search",
        "asked",
        "distinct",
        "most",
        "rounds",
        "same",
        title=f"calls a user, {readers.n_users} users, {lm}",
    )
    size = (7, 3, C)
    table.add_row("released, at most", f"{released(*size)}", f"{at_most(*size)}", "", "", "")
    ways: dict[str, dict[str, Any]] = {
        "asking everything": {"race": False},
        "race": {},
        "race, stop 0.8": {"stop": 0.8},
        "race, with evidence": {"evidence": True},
        "race, personas": {"variant": "personas"},
        "race, demos": {"variant": "demos"},
    }
    reference: list[Any] = []
    for name, fields in ways.items():
        with fresh():
            method = made(lm, people, **fields)
            kept = [(p.text, p.examples) for p in method.adapt_batch(readers)]
        reference = reference or kept
        rows = np.array([method.counts[user] for user in readers.users])
        same = sum(a == b for a, b in zip(kept, reference, strict=True))
        table.add_row(
            name,
            *(told(rows[:, column]) for column in (0, 1)),
            str(rows[:, 1].max()),
            told(rows[:, 2]),
            share(same, len(kept)) if name in ("race", "race, stop 0.8") else "",
        )
    return table


def clock(lm: str, people: Population, readers: Population) -> Table:
    """Measure wall-clock time against the latency floor, for all users at once and for one alone."""
    slow = f"{lm}{'&' if '?' in lm else '?'}latency={LATENCY}"
    table = Table("search", "users", "distinct", "longest", "floor s", "seconds", "ratio")
    table.title = f"time at {CONCURRENCY} concurrent calls of {1000 * LATENCY:.0f} ms, {lm}"
    one = readers.take_users(np.arange(readers.n_users) == 0)
    for name, race, some in (
        ("race", True, readers),
        ("asking everything", False, readers),
        ("race", True, one),
        ("asking everything", False, one),
    ):
        with fresh() as session:
            method = made(slow, people, race=race)
            method.adapt_batch(Population.of([History("nobody")]))  # what is loaded once is no user's time
            began = time.perf_counter()
            method.adapt_batch(some)
            seconds = time.perf_counter() - began
            paid = session.ledger.total["paid"]
        longest = max(count.rounds for count in method.counts.values())
        floor = max(longest * LATENCY, paid * LATENCY / CONCURRENCY)
        table.add_row(
            name, f"{some.n_users}", f"{paid}", f"{longest}", f"{floor:.1f}", f"{seconds:.1f}",
            f"{seconds / floor:.2f}",
        )  # fmt: skip
    return table


def predicted(method: ReadMethod, personas: Personas, readers: Population) -> Floats:
    """Return float64 [users]: the share of each user's later pairs that is predicted."""
    pairs = readers.with_split("target").pairs
    scores = method.score_batch(Queries.of_pairs(personas, readers.corpus, pairs))
    gap = (scores[0::2] - scores[1::2]).round(9)
    return np.bincount(pairs.user, (gap > 0) + 0.5 * (gap == 0)) / np.bincount(pairs.user)


def accuracy(lm: str, name: str, people: Population) -> Table:
    """Measure how well each variant predicts, beside the judge alone."""
    readers = people.with_role("test")
    context = readers.with_split("context")
    table = Table("method", "accuracy", "over default, points")
    table.title = f"{name}, {readers.n_users} users, ten past choices, {lm}"
    with fresh():
        control = Default(lm=lm, calibrate=0).fit(people)
        alone = predicted(control, control.adapt_batch(context), readers)
        table.add_row("default", told(alone, "{:.3f}"), "")
        ways: dict[str, dict[str, Any]] = {
            **{variant: {"variant": variant} for variant in ("demos", "personas", "both")},
            "both, with evidence": {"evidence": True},
        }
        for way, fields in ways.items():
            method = made(lm, people, **fields)
            right = predicted(method, method.adapt_batch(context), readers)
            table.add_row(way, told(right, "{:.3f}"), told(100 * (right - alone), "{:+.1f}"))
        blind = f"{lm}{'&' if '?' in lm else '?'}blind=persona,example"
        method = made(blind, people)
        right = predicted(method, method.adapt_batch(context), readers)
        alone = predicted(Default(lm=blind, calibrate=0).fit(people), Personas.average(len(right)), readers)
        table.add_row("both, blind to it", told(right, "{:.3f}"), told(100 * (right - alone), "{:+.1f}"))
    return table


def main() -> None:
    """Run, and print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--users", type=int, default=400, help="half of them are read")
    options.add_argument("--lm", action="append")
    options.add_argument("--no-time", action="store_true")
    given = options.parse_args()
    models = given.lm or ["fake:world?error=0.2&bias=0.3", "fake:world?error=0.2&bias=0.3&logprobs=1"]
    console = Console(width=150)
    for lm in models:
        for number, (name, world) in enumerate(WORLDS.items()):
            people = replace(world, users=given.users).sample().population
            readers = people.with_role("test").with_split("context")
            if number == 0:
                console.print(calls(lm, people, readers))
                if not given.no_time and lm == models[0]:
                    console.print(clock(lm, people, readers))
            console.print(accuracy(lm, name, people))


if __name__ == "__main__":
    main()
