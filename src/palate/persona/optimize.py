"""Find a better prompt for writing personas, once, from training users; test it on users that had no say.

    1. Reasoning: what ``synthesizeme`` keeps of every user's past choices (its step 1).
    2. The judge without personas, and with those of the starting prompt, on everybody's targets.
    3. MIPROv2 (:mod:`palate.persona.mipro`): demonstrations from training users, instructions from a model,
       their combinations by mean gain (:mod:`palate.persona.gains`) on the validation users that *choose*.
    4. The best prompt against the starting prompt on the validation users that were *held out*: the mean
       difference with Student's 95 % interval over users, paired by user.

The best of many prompts looks better than it is on the users it was chosen by; the figure of step 4 does not.
The new prompt is kept if that interval lies above zero. Otherwise nothing was shown to be gained, that is
said, and the starting prompt stays. Test users are never looked at.

All calls go through the client: they are budgeted, kept and shared. A budget that runs out, or Ctrl-C, ends
the search with the best prompt so far; the same command goes on from there and asks nothing twice.

Source: "SynthesizeMe!", 3.2 "Optimizing", 6.3 and appendix F. Departs: half of the validation users are held
out for the final figure; a prompt that is not shown to gain is not taken.
"""

import queue
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np

from palate.core import BudgetSpent, ConfigError, DataError, MissingExtra, Population, with_roles
from palate.judge import Judge
from palate.models.llm.client import Task
from palate.models.llm.engine import is_fake
from palate.models.llm.session import connect
from palate.persona.bootstrap import split
from palate.persona.gains import LABEL, Gains, Learner, figure, with_targets
from palate.persona.outcome import Outcome
from palate.persona.synthesizeme import SynthesizeMe
from palate.persona.theta import STARTING, Theta, path_of, save_theta

__all__ = ["Optimisation", "Outcome", "optimise", "optimise_and_save", "optimise_step_by_step"]

_BEAT = 0.1  # seconds between looks at what the search has to tell
_THREADS = 16  # users that are asked about at the same time; the client's limit on calls holds besides


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How a prompt is searched for. The defaults are those of "SynthesizeMe!", except where said.

    Args:
        candidates: Instructions, and sets of demonstrations: so many of each.
        trials: Combinations of them that are tried.
        bootstrapped: Most demonstrations of a set that a shown prompt wrote.
        labelled: Most demonstrations of a set, the former included, that are filled up with personas of the
            starting prompt.
        minibatch: Choosing users that a trial is judged on, where there are more (DSPy's default).
        full_every: Trials between judgements on all choosing users.
        users: Most training users, drawn by the seed (ours).
        validation: Most validation users (ours).
        targets: Most held-out choices of a user (ours).
        held_out: Share of validation users that have no say (ours).
        proposer: The model that proposes instructions; "" is the one that writes.
        start: Where the search begins.
        keep: ``gained`` keeps a new prompt only if it was shown to gain; ``best`` keeps the best one found.
        seed: Of every draw.

    Raises:
        ConfigError: If a field is impossible.
    """

    candidates: int = 20
    trials: int = 30
    bootstrapped: int = 10
    labelled: int = 6
    minibatch: int = 35
    full_every: int = 3
    users: int = 40
    validation: int = 60
    targets: int = 8
    held_out: float = 0.5
    proposer: str = ""
    start: Theta = STARTING
    keep: Literal["gained", "best"] = "gained"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"candidates": 3, "labelled": 0, "validation": 2}
        for name in ("trials", "bootstrapped", "minibatch", "full_every", "users", "targets"):
            least[name] = 1
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"an optimisation has {name}={getattr(self, name)}, expected {low} or more")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out is {self.held_out}, expected a share from 0 up to, not including, 1")
        if self.keep not in ("gained", "best"):
            raise ConfigError(f"keep is {self.keep!r}, expected gained or best")


class _People(NamedTuple):
    """Users by what they are for."""

    train: list[Learner]
    choose: list[Learner]
    held: list[Learner]

    @property
    def everyone(self) -> list[Learner]:
        """All of them."""
        return [*self.train, *self.choose, *self.held]


@dataclass
class _Run:
    """One search, as far as it has come."""

    how: Optimisation
    method: SynthesizeMe
    gains: Gains
    people: _People
    proposer: str
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    spent: BudgetSpent | None = None


Steps = Generator[str, None, Outcome]


def optimise(population: Population, method: SynthesizeMe | None = None, **fields: Any) -> Theta:
    """Return a prompt for writing personas; see :class:`Optimisation` for the fields.

    Args:
        population: Training and validation users; others are not looked at.
        method: Whose models, judge and reasoning are used.
        **fields: Of :class:`Optimisation`.

    Raises:
        DataError: If no training user or no validation user has past choices and targets.
        ModelError: If the model cannot be asked. A budget that runs out is no error.
    """
    steps = optimise_step_by_step(population, method, Optimisation(**fields))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome.theta


def optimise_and_save(
    population: Population, method: SynthesizeMe | None, how: Optimisation, out: str
) -> Iterator[str]:
    """Yield lines about the search for people to read, and save what is kept under a name or path.

    Raises:
        ConfigError: If ``out`` cannot name a prompt; nothing has been asked then.
    """
    path = path_of(out)
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("._-") or "optimised"
    outcome = yield from optimise_step_by_step(population, method, how)
    save_theta(replace(outcome.theta, name=name), out)
    yield f"Saved as {path}"


def optimise_step_by_step(
    population: Population, method: SynthesizeMe | None = None, how: Optimisation | None = None
) -> Steps:
    """Yield lines about the search for people to read, and return what came of it."""
    for module in ("dspy", "optuna"):
        if find_spec(module) is None:
            raise MissingExtra(what="optimising a prompt", extra="llm", module=module)
    run = _open(population, method or SynthesizeMe(), how or Optimisation())
    if is_fake(run.method.lm_) or is_fake(run.gains.judge.lm):
        yield "A fake language model answers: these figures say nothing of a real one."
    try:
        yield from _prepare(run)
        yield from _search(run)
    except BudgetSpent as error:
        run.spent = error
    finally:
        run.stop.set()
    outcome = _verdict(run)
    yield from outcome.lines()
    return replace(outcome, theta=replace(outcome.theta, made_with=_record(run, outcome, population)))


def _open(population: Population, method: SynthesizeMe, how: Optimisation) -> _Run:
    """Draw the users, and make ready to ask."""
    people = with_roles(population, how.seed)
    fitted = method.clone(theta=STARTING.name, calibrate=0).fit(people)  # asks nothing
    train = with_targets(_some(people.with_role("train"), how.users, how.seed), how.targets)
    asked = with_targets(_some(people.with_role("val"), how.validation, how.seed), how.targets)
    if not train or not asked:
        raise DataError(
            f"{len(train)} training and {len(asked)} validation users have past choices and others to be "
            "judged by; a search needs one of each at least: give it users with two choices or more"
        )
    order = np.random.default_rng([how.seed, 1]).permutation(len(asked)).tolist()
    held = int(how.held_out * len(asked))
    parts = [[asked[n] for n in sorted(order[at:to])] for at, to in ((held, None), (0, held))]
    judge = Judge(fitted.judge_lm_, fitted.reason)
    gains = Gains(connect(fitted.lm_), judge, fitted.temperature, fitted.seed)
    proposer = connect(how.proposer).spec if how.proposer else ""
    return _Run(how, fitted, gains, _People(train, *parts), proposer)


def _some(people: Population, most: int, seed: int) -> Population:
    drawn = np.random.default_rng([seed, 2]).permutation(people.n_users)[:most]
    return people.take_users(np.sort(drawn))


def _prepare(run: _Run) -> Iterator[str]:
    """Reason about everybody's past choices; judge their targets without a persona and with the start's."""
    people, gains = run.people, run.gains
    yield (
        f"{len(people.train)} training users; of the validation users {len(people.choose)} choose and "
        f"{len(people.held)} are held out. At most {_most_calls(run):,} calls, equal ones made once, answers "
        "that have to be asked for again aside"
    )
    tasks = (Task(run.method.reasoning(learner.history), learner.name, LABEL) for learner in people.everyone)
    kept = list(gains.client.run(tasks))
    reasoned = {u.name: replace(u, reasoning=tuple(r)) for u, r in zip(people.everyone, kept, strict=True)}
    settled = {u.name: u for u in gains.settle(list(reasoned.values()))}
    run.people = people = _People(*([settled[u.name] for u in part] for part in people))
    alone = [float(np.nanmean(u.alone)) for u in people.choose if not np.isnan(u.alone).all()]
    yield f"Without a persona the judge predicts {np.mean(alone):.1%} of the choosing users' targets"
    worth = gains.measure(run.how.start, people.everyone)
    chosen = worth[len(people.train) :][: len(people.choose)]
    yield f"The starting prompt: {figure(chosen)}, on the users that choose"
    yield f"{sum(g > 0 for g in worth[: len(people.train)])} training users gain by it"


def _most_calls(run: _Run) -> int:
    """Return a bound on the calls."""
    how, people = run.how, run.people
    sizes = [tuple(map(len, split(u.history.feedback, run.method.share))) for u in people.everyone]
    reasoning = sum(train + run.method.candidates * val for train, val in sizes)
    judging = max(1 + 2 * len(u.targets) for u in people.everyone)
    trials = how.trials * len(people.choose)
    if len(people.choose) > how.minibatch:
        trials = how.trials * how.minibatch + (how.trials // how.full_every + 2) * len(people.choose)
    drawn = (how.candidates - 2) * len(people.train)
    personas = 2 * len(people.everyone) + drawn + trials + len(people.held)
    return reasoning + personas * judging + 3 * how.candidates + 11


def _search(run: _Run) -> Iterator[str]:
    """Run MIPROv2 in a thread and yield what it tells."""
    from palate.persona.mipro import Search, Stopped, search

    told: queue.Queue[str] = queue.Queue()
    failed: list[BaseException] = []
    found = Search(
        run.gains, run.how.start, run.people.train, run.people.choose, run.how, told.put, run.stop, run.notes
    )

    def work() -> None:
        try:
            search(found, run.proposer, min(_THREADS, len(run.people.choose)))
        except Stopped as stopped:
            failed.extend([stopped.__cause__] if stopped.__cause__ else [])
        except BaseException as error:  # raised below, in the thread that asked
            failed.append(error)

    thread = threading.Thread(target=work, name="palate-optimize", daemon=True)
    thread.start()
    try:
        while thread.is_alive() or not told.empty():
            try:
                yield told.get(timeout=_BEAT)
            except queue.Empty:
                continue
    finally:
        run.stop.set()  # an interrupted search ends with the calls that are on their way
        thread.join()
    if failed:
        raise failed[0]


def _verdict(run: _Run) -> Outcome:
    """Find the best prompt by the users that choose; compare it on those held out."""
    how, gains, people = run.how, run.gains, run.people
    best, start = _best(run), how.start
    judges = people.held or people.choose
    try:
        if run.spent is None:
            gains.measure(best, judges)
    except BudgetSpent as error:
        run.spent = error
    old, new = gains.known(start, judges), gains.known(best, judges)
    before, after, difference = (None if v is None else figure(v) for v in (old, new, _less(new, old)))
    gained = bool(people.held and difference and difference.low is not None and difference.low > 0)
    return Outcome(
        theta=best if gained or how.keep == "best" else start,
        best=best,
        start=start,
        gained=gained,
        before=before,
        after=after,
        difference=difference,
        held_out=bool(people.held),
        ended=str(run.spent or ""),
        tried=sum(gains.known(Theta("optimised", *w), people.choose) is not None for w in gains.worth),
        notes=tuple(run.notes),
        counts=dict(gains.counts),
    )


def _less(new: Sequence[float] | None, old: Sequence[float] | None) -> list[float] | None:
    return None if new is None or old is None else [a - b for a, b in zip(new, old, strict=True)]


def _best(run: _Run) -> Theta:
    """Return the prompt with the highest mean gain on all users that choose; the start before its equals."""
    best, most = run.how.start, -np.inf
    measured = [run.how.start, *(Theta("optimised", *words) for words in run.gains.worth)]
    for theta in measured:
        gains = run.gains.known(theta, run.people.choose)
        if gains is not None and np.mean(gains) > most + 1e-9:
            best, most = theta, float(np.mean(gains))
    return best


def _record(run: _Run, outcome: Outcome, population: Population) -> dict[str, Any]:
    """Return how a prompt came about, in plain values."""
    how, people = run.how, run.people
    figures = {"before": outcome.before, "after": outcome.after, "difference": outcome.difference}
    models = [connect(spec or run.method.lm_) for spec in ("", run.gains.judge.lm, run.proposer)]
    return {
        "by": "MIPROv2",
        "kept": "starting" if outcome.theta is how.start else "best",
        "gained": outcome.gained,
        "finished": outcome.finished,
        "start": how.start.name,
        "metric": "gain over the judge without a persona, percentage points of a user's targets",
        **{name: None if value is None else value.points for name, value in figures.items()},
        "held_out": outcome.held_out,
        "users": {"train": len(people.train), "choose": len(people.choose), "held_out": len(people.held)},
        "targets": sum(len(u.targets) for u in people.held or people.choose),
        "models": dict(zip(("writer", "judge", "proposer"), (m.name for m in models), strict=True)),
        "fake": any(model.fake for model in models),
        "reason": run.method.reason,
        "candidates": how.candidates,
        "trials": how.trials,
        "data": population.digest,
        "seed": how.seed,
        "versions": {name: version(name) for name in ("palate", "dspy", "optuna")},
        "date": datetime.now(UTC).date().isoformat(),
    }
