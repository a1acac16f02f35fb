"""What the checks stand on: a method under test, made-up people, and how a check fails."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Feedback, History, Method, PalateError, Persona, Population, Query, as_conversation

__all__ = [
    "ODD",
    "TOLERANCE",
    "Check",
    "CheckFailed",
    "Subject",
    "WrongError",
    "ask",
    "check_of",
    "close",
    "gap",
    "people",
    "raises",
    "same_scores",
    "snapshot",
    "that",
]

Floats = NDArray[np.floating[Any]]
TOLERANCE = 1e-3
"""Log-odds that are nearer than this (absolute and relative) count as equal."""

_TOPICS = (
    "a weekend in Lisbon", "my first garden", "a quiet bedroom", "learning to swim", "a job interview",
    "cooking lentils", "a bicycle that squeaks", "better sleep", "a thank-you note", "saving money",
)  # fmt: skip
_SHORT = (
    "Start early.", "Ask a friend.", "Keep it simple.", "Begin with one step.", "Try it today.",
)  # fmt: skip
_LONG = (
    "It helps to write down what you hope for before you decide anything at all.",
    "Most people find that a small and regular effort carries them further than a heroic one.",
    "Look at what others have done, compare two or three ways, and keep notes about what worked.",
    "Once the first week is over, go back to your plan and change whatever felt like a burden.",
    "There is rarely a single right answer, and a mistake made early is cheap to mend.",
)
ODD = (
    "🦜🌶️ 👩‍👩‍👧", "مرحبا، كيف الحال؟ שלום", "", " \n\t ", "?", "日本語の答え", "word " * 10_000, "a\x00b",
)  # fmt: skip


class CheckFailed(PalateError, AssertionError):
    """A method broke its contract. The message names the check, what was seen, and the cure."""


class WrongError(Exception):
    """What a check saw; its wrapper adds the name and the cure."""


def people(users: int = 24, rows: int = 8, seed: int = 0) -> Population:
    """Make up readers of two tastes: even ones choose short answers, odd ones long, nine times in ten.

    Every sixth row offers three answers, every eleventh is a tie, and one user has no row.

    >>> made = people(users=4, rows=6)
    >>> made.n_users, made.n_rows, made.users[-1]
    (5, 24, 'silent-0')
    """
    rng = np.random.default_rng(seed)
    histories = [History(f"reader-{seed}-{n}", _choices(rng, n, rows, seed)) for n in range(users)]
    return Population.of([*histories, History(f"silent-{seed}")])


def _choices(rng: np.random.Generator, user: int, rows: int, seed: int) -> tuple[Feedback, ...]:
    made = []
    for row in range(rows):
        short = str(rng.choice(_SHORT))
        longs = [" ".join(rng.permutation(_LONG)[:n]) for n in (2, 4)]
        shown = [short, longs[0], longs[1]] if row % 6 == 5 else [short, longs[row % 2]]
        order = rng.permutation(len(shown))
        likes_short = (user % 2 == 0) == (rng.random() < 0.9)
        wanted = 0 if likes_short else int(rng.integers(1, len(shown)))
        made.append(
            Feedback(
                user=f"reader-{seed}-{user}",
                conversation=as_conversation(f"Tell me about {rng.choice(_TOPICS)}."),
                responses=tuple(shown[i] for i in order),
                chosen=None if (user * rows + row) % 11 == 10 else int(np.flatnonzero(order == wanted)[0]),
                id=f"choice-{seed}-{user}-{row}",
                time=1.7e9 + 3600.0 * row,
            )
        )
    return tuple(made)


class Subject:
    """A method under test: how to make one, and a fitted one that the checks share."""

    def __init__(self, make: Callable[[], Method]) -> None:
        self.make = make

    @cached_property
    def population(self) -> Population:
        """Whom the shared method is fitted on."""
        return people()

    @cached_property
    def readers(self) -> Population:
        """Other users, to adapt to: the last one has no choices."""
        return people(users=6, rows=9, seed=1)

    @cached_property
    def fitted(self) -> Method:
        """The shared method, fitted once."""
        return self.make().fit(self.population)

    @cached_property
    def personas(self) -> list[Persona]:
        """The readers' personas."""
        return list(self.fitted.adapt_batch(self.readers))

    @cached_property
    def questions(self) -> list[Query]:
        """Every reader is asked about two, three and five answers."""
        talks, texts = self.readers.corpus.conversations, self.readers.corpus.responses
        return [
            Query(persona, talks[number % len(talks)], tuple(texts[number : number + size]))
            for number, persona in enumerate(self.personas)
            for size in (2, 3, 5)
        ]


Check = Callable[[Subject], None]


def check_of(cure: str) -> Callable[[Check], Check]:
    """Make whatever a check raises a :class:`CheckFailed` with the check's name and the cure."""

    def register(check: Check) -> Check:
        @wraps(check)
        def run(subject: Subject) -> None:
            try:
                check(subject)
            except Exception as error:
                saw = str(error) if isinstance(error, WrongError) else f"{type(error).__name__}: {error}"
                raise CheckFailed(f"{check.__name__}: {saw}. Cure: {cure}") from error

        return run

    return register


def that(holds: bool, otherwise: str) -> None:
    """Demand that something holds."""
    if not holds:
        raise WrongError(otherwise)


def raises(expected: type[Exception], action: Callable[[], Any], what: str) -> None:
    """Demand that an action raises an error of a class."""
    try:
        action()
    except expected:
        return
    except Exception as error:
        raise WrongError(
            f"{what} raised {type(error).__name__} ({error}), not {expected.__name__}"
        ) from error
    raise WrongError(f"{what} was accepted; {expected.__name__} was expected")


def ask(method: Method, subject: Subject) -> list[Query]:
    """Return the subject's questions, about the readers as this method adapts to them."""
    personas = list(method.adapt_batch(subject.readers))
    return [replace(q, persona=personas[i // 3]) for i, q in enumerate(subject.questions)]


def same_scores(subject: Subject, personas: Sequence[Persona], what: str, exact: bool = False) -> None:
    """Demand that the readers score as before with these personas in the place of their own."""
    expected = subject.fitted.score_batch(subject.questions)
    asked = [replace(q, persona=personas[i // 3]) for i, q in enumerate(subject.questions)]
    scores = subject.fitted.score_batch(asked)
    same = np.array_equal(scores, expected) if exact else close(scores, expected)
    that(same, f"{what} changes scores by {gap(scores, expected)} log-odds")


def close(a: Floats, b: Floats) -> bool:
    """Say whether log-odds are equal within ``TOLERANCE``."""
    return bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE))


def gap(a: Floats, b: Floats) -> float:
    """Return the largest difference, rounded for people."""
    return float(f"{np.abs(a - b).max(initial=0.0):.3g}")


def snapshot(thing: Any) -> dict[str, Any]:
    """Return the public state of a method (its own methods' too) or of a population, to compare later."""
    seen: dict[str, Any] = {}
    for key, value in vars(thing).items():
        if isinstance(value, np.ndarray):
            seen[key] = value.tolist()
        elif isinstance(value, Method):
            seen[key] = snapshot(value)
        elif isinstance(value, Mapping) or key.endswith("_"):
            seen[key] = repr(value)
    return {key: value for key, value in seen.items() if key[0] != "_"}
