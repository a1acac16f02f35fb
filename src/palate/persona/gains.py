"""What a prompt's personas are worth: how much better a judge who reads them predicts held-out choices.

For user u with targets t (chosen over rejected), prompt Theta and the reasoning R_u kept of u's past choices,

    p_u    = Theta(R_u)                                    the persona, one call
    right  = 1, 1/2, 0 as the judge's log-odds of a target, both orders, are above, at or below 0
    gain_u = mean_t [ right(t | p_u) - right(t | nothing) ]

over the targets on which the judge has an opinion with and without the persona. A persona that could not be
read is none, so that its gain is 0: so it is in use, where the judge then knows nothing of the user. Such
personas and comparisons without an opinion are counted.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from palate.core import History, MethodError, Population, with_roles
from palate.judge import Comparison, Judge
from palate.models.llm.client import Client, Task
from palate.models.llm.wire import Asking, Reply, Request
from palate.persona.theta import Theta

__all__ = ["LABEL", "Figure", "Gains", "Learner", "Worth", "figure", "with_targets"]

Floats = NDArray[np.float64]
LABEL = "optimize"
"""What traces and costs call these calls."""
_SILENT = 0.2  # a larger share of comparisons without an opinion is a failure, not a measurement


@dataclass(frozen=True, eq=False)
class Learner:
    """A user whose persona is written and judged.

    Attributes:
        name: Who it is.
        history: What the persona is written from.
        targets: Held-out choices, the chosen answer first; nothing is known of the user.
        reasoning: What is kept of the past choices: each with the reasoning about it.
        alone: float64 [targets], how right the judge is without a persona; NaN without an opinion.
    """

    name: str
    history: History
    targets: tuple[Comparison, ...]
    reasoning: tuple[str, ...] = ()
    alone: Floats = field(default_factory=lambda: np.zeros(0))


class Worth(NamedTuple):
    """What a prompt wrote about a user, "" where it could not be read, and what that gains."""

    persona: str
    gain: float


class Figure(NamedTuple):
    """A mean over users with its 95 % interval by Student's t; no interval with fewer than two users."""

    mean: float
    low: float | None
    high: float | None
    users: int

    def __str__(self) -> str:
        """Say it in percentage points."""
        if self.low is None or self.high is None:
            return f"{100 * self.mean:+.1f} points (no interval: {self.users} user)"
        return (
            f"{100 * self.mean:+.1f} points (95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f}, "
            f"{self.users} users)"
        )

    @property
    def points(self) -> dict[str, Any]:
        """The figure as plain values, in percentage points."""
        low, high = (None if x is None else round(100 * x, 2) for x in (self.low, self.high))
        return {"points": round(100 * self.mean, 2), "low": low, "high": high, "users": self.users}


def figure(values: Sequence[float]) -> Figure:
    """Return the mean of users' values with its interval.

    >>> print(figure([0.1, 0.2, 0.3]))
    +20.0 points (95 % interval -4.8 to +44.8, 3 users)
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Figure(mean, None, None, n)
    half = float(student_t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Figure(mean, mean - half, mean + half, n)


def with_targets(people: Population, most: int) -> list[Learner]:
    """Return the users who have past choices and targets, in order, each with their first ``most`` targets.

    A user without targets has the last two fifths of their rows made targets, as everywhere.
    """
    people = with_roles(replace(people, role=np.ones(people.n_users, np.int8)), 0)
    context, target = people.with_split("context"), people.with_split("target")
    found = []
    for user, held in enumerate(target):
        past = context.history(user)
        decided = tuple(row for row in past.feedback if row.chosen is not None)
        targets = tuple(pair for row in held.feedback for pair in _pairs(row.conversation, row))
        if decided and targets:
            found.append(Learner(held.user, replace(past, feedback=decided), targets[:most]))
    return found


def _pairs(conversation: Any, row: Any) -> Iterator[Comparison]:
    chosen = row.chosen_response
    if chosen is not None:
        for other in sorted(set(row.responses) - {chosen}):
            yield Comparison(conversation, (chosen, other))


@dataclass
class Gains:
    """Asks for personas and judges them; remembers what each prompt gained. Safe with many threads.

    Args:
        client: Whom to ask.
        judge: Who reads the personas.
        temperature: Of the writer.
        seed: Of the writer, where the temperature is above 0.

    Attributes:
        worth: By the words of a prompt and the name of a user, what came of it.
        counts: ``personas`` and ``comparisons`` asked for, those ``unread`` and ``silent``.
    """

    client: Client
    judge: Judge
    temperature: float = 0.0
    seed: int | None = None
    worth: dict[Any, dict[str, Worth]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "Gains":
        """DSPy copies programs; copies share what is known."""
        return self

    def settle(self, learners: Sequence[Learner]) -> list[Learner]:
        """Ask how right the judge is without personas.

        Raises:
            MethodError: If more than a fifth of the comparisons got no opinion.
        """
        tasks = (Task(self._right(learner, ""), learner.name, LABEL) for learner in learners)
        out = [
            replace(learner, alone=right)
            for learner, right in zip(learners, self.client.run(tasks), strict=True)
        ]
        if self.counts["silent"] > _SILENT * self.counts["comparisons"]:
            silent, asked = self.counts["silent"], self.counts["comparisons"]
            raise MethodError(
                f"{silent} of {asked} comparisons got no answer that could be read; look at them with "
                "`palate trace --faults`, and name a judge that keeps to the form"
            )
        return out

    def measure(self, theta: Theta, learners: Sequence[Learner]) -> list[float]:
        """Return each user's gain by a prompt; what is known is not asked again."""
        found = self.worth.setdefault(theta.words, {})
        missing = [learner for learner in learners if learner.name not in found]
        tasks = (Task(self._worth(theta, learner), learner.name, LABEL) for learner in missing)
        for learner, worth in zip(missing, self.client.run(tasks), strict=True):
            found[learner.name] = worth
        return [found[learner.name].gain for learner in learners]

    def known(self, theta: Theta, learners: Sequence[Learner]) -> list[float] | None:
        """Return each user's gain by a prompt, None unless all are known; asks nothing."""
        found = self.worth.get(theta.words, {})
        if any(learner.name not in found for learner in learners):
            return None
        return [found[learner.name].gain for learner in learners]

    def _worth(self, theta: Theta, learner: Learner) -> Asking[Worth]:
        request = Request(
            theta.program(),
            theta.sections(learner.reasoning),
            temperature=self.temperature,
            seed=self.seed if self.temperature else None,
        )
        (answer,) = yield [request]
        persona = "\n".join(answer.value) if isinstance(answer, Reply) else ""
        self._count(personas=1, unread=not persona)
        if not persona:
            return Worth("", 0.0)
        change = (yield from self._right(learner, persona)) - learner.alone
        both = ~np.isnan(change)
        return Worth(persona, float(change[both].mean()) if both.any() else 0.0)

    def _right(self, learner: Learner, persona: str) -> Asking[Floats]:
        judged = yield from self.judge.compare(
            [replace(target, persona=persona or None) for target in learner.targets]
        )
        self._count(comparisons=len(judged), silent=sum(j.silent for j in judged))
        return np.array([np.nan if j.silent else (np.sign(j.log_odds) + 1) / 2 for j in judged])

    def _count(self, **counts: int) -> None:
        with self._lock:
            self.counts.update(counts)
