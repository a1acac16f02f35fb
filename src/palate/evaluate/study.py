"""A whole run from a few settings: data or a world in, a folder with the report out, and the way back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from palate.catalogue import names
from palate.core import ConfigError, DataError, StorageError
from palate.evaluate.bench import Bench, Progress, estimate
from palate.evaluate.cells import CURVE, Shelf
from palate.evaluate.protocol import Task, new_users
from palate.evaluate.report import BoundScores, make_report, write_report
from palate.feedback import PairRule, read
from palate.feedback.world import World, WorldSample

__all__ = ["Study", "StudyResult", "load_study", "sample_world"]


@dataclass(frozen=True)
class Study:
    """The settings of a run; a YAML file holds the same names.

    Attributes:
        data: Files, folders or ids; empty runs the embedded world.
        world: Fields of :class:`~palate.feedback.world.World`, and ``preset`` (default, two_tastes).
        methods: Names, or names with their fields; empty runs all that are registered.
        encoders: Encoder specs.
        seed: Seed of splits, methods and the world.
        fields: Which column of the data is what.
        min_gap: Smallest difference of ratings that makes a pair.
        cap: Most pairs a user from ratings.
    """

    data: tuple[str, ...] = ()
    world: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    encoders: tuple[str, ...] = ("lexical",)
    seed: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)
    min_gap: float = 1.0
    cap: int = 100

    def prepare(self, progress: Progress | None = None) -> "Prepared":
        """Read or sample the people and split them."""
        methods = dict(self.methods) or {name: {} for name in names()}
        if not self.data:
            sample = sample_world(self.world, self.seed)
            name = str(self.world.get("preset", "default")) + "-world"
            task = new_users(name, sample.population, seed=self.seed, simulated=True)
            bench = Bench([task], methods, self.encoders, self.seed)
            return Prepared(self, bench, {}, {name: sample})
        tasks: list[Task] = []
        facts: dict[str, dict[str, Any]] = {}
        for path in self.data:
            name = _name(path, {task.name for task in tasks})
            rule = PairRule(min_gap=self.min_gap, cap=self.cap, seed=self.seed)
            result = read(path, fields=self.fields, rule=rule, progress=_reading(name, progress))
            tasks.append(new_users(name, result.population, seed=self.seed))
            aside = {kind: int(n) for kind, n in result.report.set_aside.items()}
            facts[name] = {
                "path": Path(path).name,
                "rows_read": result.report.rows,
                "rows_set_aside": result.report.n_set_aside,
                "set_aside": aside,
                "rule": result.report.rule,
            }
        return Prepared(self, Bench(tasks, methods, self.encoders, self.seed), facts, {})

    def save(self, path: Path) -> None:
        """Write the settings, to run them again."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(_plain(asdict(self)), sort_keys=False), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error}") from error


@dataclass(frozen=True)
class StudyResult:
    """Where a run's report lies, and the report itself."""

    json: Path
    html: Path
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """People read and split, ready to run."""

    study: Study
    bench: Bench
    facts: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, WorldSample]

    def estimate(self, out: Path) -> str:
        """Say what the run will ask for, finished cells left out."""
        return str(estimate(self.bench, Shelf(out / "cells")))

    def run(self, out: Path, progress: Progress | None = None) -> StudyResult:
        """Run what is not finished, and write ``report.json``, ``report.html`` and ``run.yaml``."""
        self.study.save(out / "run.yaml")
        results = self.bench.run(Shelf(out / "cells"), progress)
        if progress and self.samples:
            progress("known bounds of the world", 0, 1)
        bounds = {task.name: _bounds(self.samples[task.name], task) for task in self.bench.tasks
                  if task.name in self.samples}  # fmt: skip
        report = make_report(
            results,
            command=f"palate bench --config {out / 'run.yaml'} --out {out}",
            bounds=bounds,
            facts=self.facts,
            notes=_notes(self),
        )
        return StudyResult(*write_report(report, out), report)


def sample_world(world: Mapping[str, Any], seed: int) -> WorldSample:
    """Make a world from its fields; ``preset`` names where to start.

    Raises:
        ConfigError: If a preset or field does not exist.
    """
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in world.items()}
    preset = given.pop("preset", "default")
    start = {"default": World.default, "two_tastes": World.two_tastes}.get(str(preset))
    if start is None:
        raise ConfigError(f"there is no world {preset!r}; there are 'default' and 'two_tastes'")
    unknown = set(given) - {f.name for f in fields(World)}
    if unknown:
        raise ConfigError(f"a world has no field {sorted(unknown)}; it has {[f.name for f in fields(World)]}")
    base = start(seed=seed)
    return World(**{**{f.name: getattr(base, f.name) for f in fields(World)}, **given}).sample()


def load_study(path: str | Path) -> Study:
    """Read the settings of a run from YAML.

    Raises:
        ConfigError: If the file cannot be read, or has a setting that does not exist.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as settings of a run: {error}") from error
    known = [f.name for f in fields(Study)]
    unknown = sorted(set(values) - set(known)) if isinstance(values, dict) else ["its form"]
    if unknown:
        raise ConfigError(f"{path}: {unknown} is not a setting of a run; there are {known}")
    if isinstance(values.get("methods"), list):
        values["methods"] = {name: {} for name in values["methods"]}
    values["methods"] = {name: dict(f or {}) for name, f in (values.get("methods") or {}).items()}
    for key in ("data", "encoders"):
        if key in values:
            values[key] = (values[key],) if isinstance(values[key], str) else tuple(values[key])
    return Study(**values)


def _bounds(sample: WorldSample, task: Task) -> BoundScores:
    """Return the oracle's, the ideal learner's and the best average's log-odds of the task's targets."""
    from palate.feedback.world_bounds import average_bound, ideal, oracle

    people = sample.population
    targets = people.with_split("target").pairs
    mine = people.role[targets.user] == 2
    if int(mine.sum()) != len(task.targets):
        raise DataError("the world's targets and the task's differ: run it with its own roles and splits")
    whole = int(np.diff(task.context.offsets).max(initial=0))
    known = {k: np.asarray(ideal(sample, k).log_odds)[mine] for k in CURVE if k < whole}
    seen = np.asarray(ideal(sample).log_odds)[mine]
    blind = np.asarray(average_bound(sample).log_odds)[mine]
    return {
        "oracle": ("knows each user's taste", {-1: np.asarray(oracle(sample).log_odds)[mine]}),
        "ideal": ("knows the axes and their spread, sees the same choices", {-1: seen, **known, whole: seen}),
        "average": ("the best without knowing who asks", {-1: blind}),
    }  # fmt: skip


def _notes(prepared: Prepared) -> Sequence[str]:
    notes = [
        f"{name} is simulated: written answers of known style, choices drawn from known tastes. Its "
        "figures check methods; they are no claim about people."
        for name in prepared.samples
    ]
    for name, fact in prepared.facts.items():
        if fact["rows_set_aside"]:
            notes.append(f"{name}: {fact['rows_set_aside']} of {fact['rows_read']} rows were set aside.")
    return notes


def _reading(name: str, progress: Progress | None) -> Callable[[int, float | None], None] | None:
    if progress is None:
        return None
    tell = progress
    return lambda rows, share: tell(f"reading {name}", rows, 0)


def _name(path: str, taken: set[str]) -> str:
    stem = Path(path).name.split(".")[0] if not path.startswith("hf:") else path[3:].replace("/", "-")
    name, number = stem or "feedback", 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
