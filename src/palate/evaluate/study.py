"""A whole run from a few settings: data or a world in, a folder with the report out, and the way back."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from palate.catalogue import available, find
from palate.core import ConfigError, DataError, Population, StorageError
from palate.evaluate.bench import CONTROL, Bench, Progress, estimate
from palate.evaluate.bounds import known_bounds
from palate.evaluate.cells import Shelf
from palate.evaluate.expected import Expected, expect
from palate.evaluate.protocol import Task, fewer_users, make_tasks
from palate.evaluate.report import make_report, write_report
from palate.evaluate.select import Search, as_values, choose, planned
from palate.evaluate.suite import read_suite
from palate.evaluate.writing import Writing, taste_words
from palate.feedback import PairRule, read
from palate.feedback.world import World, WorldSample
from palate.models.llm.engine import is_fake

__all__ = ["Study", "StudyResult", "load_study", "sample_world"]


@dataclass(frozen=True)
class Study:
    """The settings of a run; a YAML file holds the same names.

    Attributes:
        data: Files, folders or ids; empty runs the embedded world.
        world: Fields of :class:`~palate.feedback.world.World`, and ``preset`` (default, two_tastes).
        methods: Names, or names with their fields; empty runs all that are registered.
        encoders: Encoder specs.
        seed: Seed of splits and the world.
        seeds: Seeds of the methods, or how many from ``seed`` on; empty runs ``seed`` alone.
        protocols: ``new-users``, ``seen-users`` or ``seen-users:SIZES``.
        suite: The general suite that every method is asked: ``palate`` (the embedded one), ``none``, a
            file or an id.
        select: Settings of each method that are tried on validation users before the test; 0 tries none.
        select_seconds: No trial of a method is begun after so many seconds of its trials.
        jobs: Trials made at a time.
        fields: Which column of the data is what.
        min_gap: Smallest difference of ratings that makes a pair.
        cap: Most pairs a user from ratings.
        lm: The language model that methods write and judge with; "" leaves out methods that need one.
        judge_lm: The one that judges; "" is the same.
        model: The causal model that trained-in methods tune: a folder or a name on the hub; "" leaves them
            out.
        curve: Numbers of past choices at which methods that ask a model are measured, beside none and all.
        users: Most test users, and a quarter as many validation users, that are kept, drawn by ``seed``;
            None keeps all. Methods that ask a model cost by the user.
        transfer: Two language models or more that write personas for each other to judge.
        writing: Settings of :class:`~palate.evaluate.writing.Writing`; empty writes nothing. Its judge is
            ``judge_lm`` or ``lm`` where it names none.
    """

    data: tuple[str, ...] = ()
    world: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    encoders: tuple[str, ...] = ("lexical",)
    seed: int = 0
    seeds: tuple[int, ...] | int = ()
    protocols: tuple[str, ...] = ("new-users",)
    suite: str = "palate"
    select: int = 0
    select_seconds: float | None = None
    jobs: int = 1
    fields: Mapping[str, str] = field(default_factory=dict)
    min_gap: float = 1.0
    cap: int = 100
    lm: str = ""
    judge_lm: str = ""
    model: str = ""
    curve: tuple[int, ...] = ()
    users: int | None = None
    transfer: tuple[str, ...] = ()
    writing: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, progress: Progress | None = None) -> "Prepared":
        """Read or sample the people and split them.

        Raises:
            DataError: If no protocol can work on what was given.
            ConfigError: If a setting cannot work.
        """
        tasks: list[Task] = []
        notes: list[str] = []
        facts: dict[str, dict[str, Any]] = {}
        samples: dict[str, WorldSample] = {}
        for name, population in self._people(facts, samples, progress):
            simulated = name in samples or facts[name]["adapter"] == "personalllm"
            found, left_out = make_tasks(
                name, population, self.protocols, seed=self.seed, simulated=simulated
            )
            tasks += found
            notes += left_out
        if not tasks:
            raise DataError(
                " ".join([*notes, "Nothing is left to run: give more choices, or smaller sizes."])
            )
        suite = None if self.suite == "none" else read_suite(self.suite)
        tasks = [replace(task, suite=suite, transfer=tuple(self.transfer)) for task in tasks]
        tasks = [replace(task, writing=self._writing(samples.get(task.name))) for task in tasks]
        if self.users is not None:
            tasks = [fewer_users(task, self.users, seed=self.seed) for task in tasks]
        methods, left_out = self._methods()
        common = {"lm": self.lm, "judge_lm": self.judge_lm} if self.lm else {}
        common |= {"model": self.model} if self.model else {}
        bench = Bench(
            tasks, methods, self.encoders, self._seeds(), common=common, asked_curve=tuple(self.curve)
        )
        return Prepared(self, bench, facts, samples, tuple(notes + left_out))

    def _writing(self, sample: WorldSample | None) -> Writing | None:
        """Return the settings for writing; of a world the true profiles are its tastes in words."""
        if not self.writing:
            return None
        given = {"judge": self.judge_lm or self.lm, **self.writing}
        if sample is not None and not given.get("profiles"):
            names = map(str, sample.population.users)
            given["profiles"] = {n: taste_words(t) for n, t in zip(names, sample.theta, strict=True)}
        return Writing.of(given)

    def _methods(self) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
        """Return the methods to run with their fields, and what was left out, in words."""
        if self.methods:
            return dict(self.methods), []
        needs = available()
        able = [name for name, missing in needs.items() if not missing]
        silent = [name for name in able if find(name).uses_lm and not self.lm]
        untuned = [name for name in able if find(name).tunes and not self.model]
        notes = [f"Left out: {missing}." for missing in needs.values() if missing]
        if silent:
            notes.append(f"Left out, for they ask a language model and none was named: {', '.join(silent)}.")
        if untuned:
            notes.append(f"Left out, for they tune a model and none was named: {', '.join(untuned)}.")
        return {name: {} for name in able if name not in silent + untuned}, notes

    def _people(
        self, facts: dict[str, dict[str, Any]], samples: dict[str, WorldSample], progress: Progress | None
    ) -> Iterator[tuple[str, Population]]:
        """Yield every data set with its name, and note what is known of it."""
        if not self.data:
            name = str(self.world.get("preset", "default")) + "-world"
            samples[name] = sample_world(self.world, self.seed)
            yield name, samples[name].population
        for path in self.data:
            name = _name(path, set(facts))
            rule = PairRule(min_gap=self.min_gap, cap=self.cap, seed=self.seed)
            result = read(path, fields=self.fields, rule=rule, progress=_reading(name, progress))
            facts[name] = {
                "path": Path(path).name,
                "rows_read": result.report.rows,
                "rows_set_aside": result.report.n_set_aside,
                "set_aside": {kind: int(n) for kind, n in result.report.set_aside.items()},
                "rule": result.report.rule,
                "adapter": result.report.adapter,
                "notes": list(result.report.notes),
                "left_out": {why: int(n) for why, n in result.report.left_out.items()},
            }
            yield name, result.population

    def _seeds(self) -> tuple[int, ...]:
        seeds = self.seeds
        if isinstance(seeds, int):
            if seeds < 1:
                raise ConfigError(
                    f"seeds is {seeds}; expected how many seeds to run, 1 or more, or a list of them"
                )
            return tuple(range(self.seed, self.seed + seeds))
        return tuple(dict.fromkeys(int(seed) for seed in seeds)) or (self.seed,)

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
    left_out: tuple[str, ...] = ()

    def estimate(self, out: Path) -> str:
        """Say what the run will ask for, finished cells left out."""
        told = str(estimate(self.bench, Shelf(out / "cells")))
        if not self.study.select:
            return told
        search = Search(self.study.select, self.study.select_seconds, self.study.jobs)
        each = sum(planned(name, values, search) for name, values in self.bench.methods.items())
        trials = each * len(self.bench.tasks) * len(self.bench.encoders)
        return f"{told}; before it up to {trials} trials of settings, {self.study.jobs} at a time"

    def expected(self, out: Path) -> Expected:
        """Say what the methods that ask language models will ask, by rehearsing them on a few users."""
        return expect(self.bench, Shelf(out / "cells"))

    def run(self, out: Path, progress: Progress | None = None) -> StudyResult:
        """Run what is not finished, and write ``report.json``, ``report.html`` and ``run.yaml``."""
        self.study.save(out / "run.yaml")
        bench, tried = self._tuned(out, progress)
        results = bench.run(Shelf(out / "cells"), progress, out / "checkpoints")
        bounds = {}
        for task in self.bench.tasks:
            if task.name in self.samples:
                if progress:
                    progress(f"known bounds of {task.name}", 0, 1)
                bounds[task.name, task.setting] = known_bounds(self.samples[task.name], task)
        report = make_report(
            results,
            command=f"palate bench --config {out / 'run.yaml'} --out {out}",
            seed=self.study.seed,
            bounds=bounds,
            facts=self.facts,
            notes=_notes(self),
            tried=tried,
        )
        report["fakes"] = list(_fakes(self))
        report["config"] |= {"select": self.study.select, "select_seconds": self.study.select_seconds}
        return StudyResult(*write_report(report, out), report)

    def _tuned(self, out: Path, progress: Progress | None) -> tuple[Bench, list[dict[str, Any]]]:
        """Return the bench with the settings that validation users preferred, and what was tried."""
        study, bench = self.study, self.bench
        if not study.select:
            return bench, []
        search = Search(study.select, study.select_seconds, study.jobs, bench.seeds[0], out / "trials")
        people = {(task.name, task.setting): task.fit_on for task in bench.tasks}
        made = choose(people, {CONTROL: {}, **bench.methods}, bench.encoders, search, progress)
        chosen = {place: {name: one.fields for name, one in found.items()} for place, found in made.items()}
        return replace(bench, chosen=chosen), as_values(made)


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
    for key in ("data", "encoders", "protocols", "seeds", "transfer"):
        if isinstance(values.get(key), str | list):
            values[key] = (values[key],) if isinstance(values[key], str) else tuple(values[key])
    return Study(**values)


def _notes(prepared: Prepared) -> Sequence[str]:
    notes = [*prepared.left_out]
    notes += [
        f"{name} is simulated: written answers of known style, choices drawn from known tastes. Its "
        "figures check methods; they are no claim about people."
        for name in prepared.samples
    ]
    for name, fact in prepared.facts.items():
        notes += [f"{name}: {note}" for note in fact["notes"]]
        if fact["rows_set_aside"]:
            notes.append(f"{name}: {fact['rows_set_aside']} of {fact['rows_read']} rows were set aside.")
    return notes


def _fakes(prepared: Prepared) -> Iterator[str]:
    """Say where no language model was asked, but a stand-in."""
    study = prepared.study
    named = {study.lm, study.judge_lm, *study.transfer}
    named |= {str(study.writing.get(key, "")) for key in ("judge", "lm")}
    named |= {str(f.get(key, "")) for f in study.methods.values() for key in ("lm", "judge_lm")}
    fakes = sorted(spec for spec in named if is_fake(spec))
    if fakes:
        yield (
            f"{' and '.join(fakes)}: a fake, no language model, but a stand-in that reads the simulated "
            "world's axes in texts, with errors that were set. Figures of the methods that asked it check "
            "the methods; they are no claim about language models."
        )


def _reading(name: str, progress: Progress | None) -> Callable[[int, float | None], None] | None:
    if progress is None:
        return None
    tell = progress
    return lambda rows, share: tell(f"reading {name}", rows, 0)


def _name(path: str, taken: set[str]) -> str:
    path = path if path.startswith("hf:") else re.sub(r"^\w{2,}(,[^:]*)?:(?=.)", "", path)
    stem = Path(path).name.split(".")[0] if not path.startswith("hf:") else path[3:].replace("/", "-")
    name, number = stem or "feedback", 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
