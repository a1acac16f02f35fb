"""Choosing settings: every method, the control too, is tried at as many settings as every other.

Trial 0 is the method's defaults, with the fields that the user set, which are never varied. Further settings
are drawn by the seed from ``Method.space`` (``space.py``). The setting with the lowest mean log-loss over
validation users is taken; the defaults stay where nothing is lower, and an earlier trial where two are equal.

Test users take no part: what chooses is handed training and validation users, and refuses others.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from palate.catalogue import build
from palate.core import ConfigError, DataError, Method, Population, StorageError, with_roles
from palate.evaluate.faults import explain
from palate.evaluate.metrics import Bootstrap
from palate.evaluate.space import possible, settings
from palate.evaluate.trials import Result, Trial, TrialShelf, trial_key
from palate.evaluate.workers import Workers

__all__ = ["Search", "Selection", "Tried", "as_values", "choose", "planned", "select"]

Tell = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
Place = tuple[str, str, str]
"""A task's name and its setting, and an encoder."""


@dataclass(frozen=True)
class Search:
    """How long to search; the same for every method.

    Attributes:
        trials: Most settings of a method, the defaults among them.
        seconds: No trial of a method is begun once its trials took so many seconds together; None: no limit.
        jobs: Trials made at a time, each in a process of its own; 1 makes them in this one.
        seed: Seed of methods and of the draw.
        folder: Where finished trials are kept; None keeps none.

    Raises:
        ConfigError: If a number is too small.
    """

    trials: int = 16
    seconds: float | None = None
    jobs: int = 1
    seed: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.trials < 1 or self.jobs < 1 or (self.seconds is not None and not self.seconds > 0):
            raise ConfigError(
                f"trials={self.trials}, seconds={self.seconds}, jobs={self.jobs} cannot search: give one "
                "trial and one job or more, and more than 0 seconds (or none)"
            )


@dataclass(frozen=True, eq=False)
class Tried:
    """One setting that was tried: the fields of the space, and what the trial gave."""

    fields: Mapping[str, Any]
    result: Result


@dataclass(frozen=True, eq=False)
class Selection:
    """What was tried of one method, and what was taken.

    Attributes:
        method: Its name.
        fields: The fields to run it with: the user's own, and those that were found better than the defaults.
        tried: Trials in order; empty where there is nothing to tune.
        possible: How many settings there are.
        chosen: Index of the trial taken.
        search: How long the search could be.
        note: Why nothing was tried or found, or "".
    """

    method: str
    fields: Mapping[str, Any]
    tried: Sequence[Tried] = ()
    possible: int = 1
    chosen: int = 0
    search: Search = field(default_factory=Search)
    note: str = ""

    def difference(self) -> tuple[float, float, float, int] | None:
        """Return mean log-loss of the taken setting less the defaults', its 95 % interval, and users.

        The interval is over users, paired. It is None where either was not measured.
        """
        if not self.tried or any(self.tried[i].result.failure is not None for i in (0, self.chosen)):
            return None
        gaps = self.tried[self.chosen].result.losses - self.tried[0].result.losses
        interval = Bootstrap(len(gaps)).interval(gaps, np.ones(len(gaps)))
        return float(gaps.mean()), *interval, len(gaps)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, for ``report.json``."""
        value, low, high, users = self.difference() or (None, None, None, 0)
        return {
            "method": self.method,
            "trials": len(self.tried),
            "possible": self.possible,
            "budget": {"trials": self.search.trials, "seconds": self.search.seconds},
            "failed": sum(one.result.failure is not None for one in self.tried),
            "seconds": sum(one.result.seconds for one in self.tried),
            "chosen": self.chosen,
            "fields": dict(self.fields),
            "default": _finite(self.tried[0].result.loss) if self.tried else None,
            "best": _finite(self.tried[self.chosen].result.loss) if self.tried else None,
            "difference": value,
            "low": low,
            "high": high,
            "users": users,
            "note": self.note,
            "tried": [
                {
                    "fields": dict(one.fields),
                    "log_loss": _finite(one.result.loss),
                    "seconds": one.result.seconds,
                    "failure": one.result.failure,
                }
                for one in self.tried
            ],
        }


def select(
    fit_on: Population,
    method: str,
    fields: Mapping[str, Any] | None = None,
    *,
    encoder: str = "lexical",
    search: Search | None = None,
    tell: Tell | None = None,
) -> Selection:
    """Choose one method's settings on validation users.

    Args:
        fit_on: Training and validation users, as ``Task.fit_on``.
        method: Its name.
        fields: Fields to keep as they are.
        encoder: Encoder spec.
        search: How long to search.
        tell: Told of progress.

    Raises:
        ConfigError: If the method, a field or its space is wrong.
        DataError: If test users are among the people.
        StorageError: If a finished trial cannot be kept.
    """
    people, methods = {("", ""): fit_on}, {method: fields or {}}
    return choose(people, methods, [encoder], search or Search(), tell, strict=True)["", "", encoder][method]


def choose(
    people: Mapping[tuple[str, str], Population],
    methods: Mapping[str, Mapping[str, Any]],
    encoders: Sequence[str],
    search: Search,
    tell: Tell | None = None,
    *,
    strict: bool = False,
) -> dict[Place, dict[str, Selection]]:
    """Choose the settings of all methods, with the same search for each, on every data set and encoder.

    A method that cannot be searched keeps its fields, with the reason as its note, and the others go on;
    with ``strict`` the error is raised. Ctrl-C leaves finished trials in the folder; the same call goes on.

    Args:
        people: By a task's name and setting, its training and validation users: ``Task.fit_on``.
        methods: Names with the fields that stay as they are; the control belongs among them.
        encoders: Encoder specs.
        search: How long to search.
        tell: Told of progress.
        strict: Raise at the first method that cannot be searched.

    Returns:
        By name, setting and encoder, then by method.
    """
    report, made = tell or (lambda what, done, total: None), {}
    for (name, setting), fit_on in people.items():
        learners = _without_others(fit_on, name, search.seed)
        for encoder in encoders:
            where = " · ".join(part for part in (name, setting, encoder) if part)
            checkpoints = None if search.folder is None else search.folder / "unfinished"

            def inside(what: str, done: int, total: int, where: str = where) -> None:
                report(f"{where} · {what}", done, total)

            found: dict[str, Selection] = {}
            with Workers(learners, encoder, search.jobs, checkpoints, inside) as workers:
                for method, fields in methods.items():
                    try:
                        found[method] = _Run(workers, method, fields, search, inside).selection()
                    except Exception as error:  # another's method may raise anything; the others go on
                        if strict or isinstance(error, StorageError):
                            raise
                        found[method] = Selection(method, fields, search=search, note=explain(error))
            made[name, setting, encoder] = found
    return made


def as_values(made: Mapping[Place, Mapping[str, Selection]]) -> list[dict[str, Any]]:
    """Return what :func:`choose` gave as plain values: ``tried`` of ``report.json``."""
    return [
        {
            "dataset": name,
            "protocol": setting,
            "encoder": encoder,
            "methods": [selection.plain() for selection in found.values()],
        }
        for (name, setting, encoder), found in made.items()
    ]


def planned(method: str, fields: Mapping[str, Any], search: Search) -> int:
    """Return how many trials a search makes of a method at most; 0 where there is nothing to tune.

    >>> planned("lore", {}, Search(trials=16)), planned("random", {}, Search(trials=16))
    (16, 0)
    """
    start = build(method, fields)
    space = _space(start, fields)
    return min(search.trials, possible(space, start.config)) if space else 0


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _without_others(fit_on: Population, name: str, seed: int) -> Population:
    """Return the people with roles, with only the texts of their own rows."""
    others = int((fit_on.role == 2).sum())
    if others:
        raise DataError(
            f"{name or 'the people'}: {others} test users are among those on whom settings are chosen; "
            "give Task.fit_on, which holds training and validation users alone"
        )
    return with_roles(fit_on.compact(), seed)


class _Run:
    """The search over one method's settings."""

    def __init__(
        self, workers: Workers, method: str, fields: Mapping[str, Any], search: Search, tell: Tell
    ) -> None:
        self.workers, self.name, self.given, self.search = workers, method, fields, search
        self.start = build(method, fields, encoder=workers.encoder, seed=search.seed)
        self.space = _space(self.start, fields)
        self.possible = possible(self.space, self.start.config) if self.space else 1
        self.total = min(search.trials, self.possible)
        self.shelf, self.tell = TrialShelf(search.folder), tell
        targets = workers.people.with_role("val").with_split("target").pairs
        self.users = len(np.unique(targets.user))
        self.drawn: list[dict[str, Any]] = []
        self.results: dict[int, Result] = {}

    def selection(self) -> Selection:
        """Make what is not kept, and choose."""
        if not self.space:
            whole = type(self.start).space
            note = "nothing to tune" + (": every field of its space was set" if whole else "")
            return self._kept(note)
        if not self.users:
            return self._kept("no validation user has a target choice, so there is nothing to choose by")
        for trial, result in self.workers.run(self._wanted()):
            self.shelf.put(self._key(trial), trial, result)
            self._note(trial.number, result)
        return self._chosen()

    def _kept(self, note: str) -> Selection:
        return Selection(self.name, self.given, possible=self.possible, search=self.search, note=note)

    def _wanted(self) -> Iterator[Trial]:
        """Yield the trials that are to be made, while there are seconds left; take up those that are kept."""
        config = self.start.config
        for number, setting in enumerate(islice(settings(self.space, config, self.search.seed), self.total)):
            if self._spent(self.results.values()):
                return
            self.drawn.append(setting)
            trial = Trial(number, type(self.start), {**config, **setting})
            kept = self.shelf.get(self._key(trial), self.users)
            if kept is None:
                self.tell(f"choosing {self.name}", len(self.results), self.total)
                yield trial
            else:
                self._note(number, kept)

    def _key(self, trial: Trial) -> str:
        return trial_key(trial, self.workers.people.digest, self.workers.encoder, self.search.seed)

    def _note(self, number: int, result: Result) -> None:
        self.results[number] = result
        self.tell(f"choosing {self.name}", len(self.results), self.total)

    def _spent(self, results: Any) -> bool:
        """Say whether the trials took all the seconds there are."""
        most = self.search.seconds
        return most is not None and sum(result.seconds for result in results) >= most

    def _chosen(self) -> Selection:
        """Choose among the trials, in order, that the seconds allowed."""
        tried: list[Tried] = []
        for number, setting in enumerate(self.drawn):
            if self._spent([one.result for one in tried]):
                break  # with several jobs some were begun before the seconds were known to be spent
            tried.append(Tried(setting, self.results[number]))
        losses = [one.result.loss for one in tried]
        chosen = int(np.argmin(losses))
        note = (
            ""
            if math.isfinite(losses[chosen])
            else f"every trial failed; the first: {tried[0].result.failure}"
        )
        if not note and len(tried) < self.total:
            note = f"the seconds were spent after {len(tried)} of {self.total} trials"
        fields = {**self.given, **(tried[chosen].fields if chosen else {})}
        return Selection(self.name, fields, tried, self.possible, chosen, self.search, note)


def _space(method: Method, given: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the method's space without the fields that are given."""
    space = {name: tuple(values) for name, values in type(method).space.items()}
    wrong = sorted(set(space) - set(method.config) | {name for name, values in space.items() if not values})
    if wrong:
        raise ConfigError(
            f"{method.name}: its space names {wrong}, which is no field or has no values; its fields are "
            f"{sorted(method.config)}"
        )
    if type(method).uses_lm:  # every trial would cost as much as the run; name variants to compare instead
        return {}
    return {name: values for name, values in space.items() if name not in given}
