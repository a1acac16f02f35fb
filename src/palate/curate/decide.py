"""The steps, one after the other: which pairs stay, which go, and why."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, ModelError, Population
from palate.core.job import Tell
from palate.curate.judges import Scores, Votes, comparison_of, hear, name_of
from palate.curate.questions import Questions, questions_of
from palate.curate.recipe import CLOSE, FEW, FEW_LEFT, NO_TASTE, OBVIOUS, ODD, TIE, Recipe
from palate.curate.table import Table
from palate.curate.taste import ask_taste, taste_request
from palate.feedback import split_new_users
from palate.judge import Judge, Opinion
from palate.models.llm.client import Task
from palate.models.llm.session import connect
from palate.models.llm.wire import Answer, Fault, Reply

__all__ = ["Asks", "Count", "Decisions", "decide", "first_steps"]

T = TypeVar("T")
Mask = NDArray[np.bool_]
EVERY = 20  # questions between two words of progress
ROUNDING = 1e-9
ORIGINAL = "original"


class Asks(Protocol):
    """What drives conversations with language models: a client."""

    def run(self, tasks: Iterable[Task[T]]) -> Iterator[T]:
        """Yield what conversations end in, in order."""


class Count(NamedTuple):
    """What is left after a step: pairs, and the users who have any."""

    step: str
    pairs: int
    users: int


@dataclass(eq=False)
class Decisions:
    """Every decision about every pair.

    Attributes:
        table: The pairs.
        recipe: The parameters.
        reason: int8 [rows], why a pair goes, a place in ``REASONS``; -1 for a pair that stays.
        counts: What is left after each step that was taken.
        had: int64 [users], pairs of each user when users were first looked at.
        left: int64 [users], pairs of each user when it was last looked at.
        role: int8 [users], a code of ``ROLES``, drawn after the first look at users; -1 for who was gone.
        filter_lm: The model of the personalizable filter; empty where it was not taken.
        taste_of: The questions of the personalizable filter.
        tastes: Its answers, one a question.
        votes_of: The questions of the consensus filter.
        votes: What the judges said.
    """

    table: Table
    recipe: Recipe
    reason: NDArray[np.int8]
    counts: list[Count] = field(default_factory=list)
    had: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    left: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    role: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    filter_lm: str = ""
    taste_of: Questions | None = None
    tastes: Sequence[Answer] = ()
    votes_of: Questions | None = None
    votes: Votes = field(default_factory=lambda: Votes.none(0))

    @property
    def kept(self) -> Mask:
        """bool [rows]: the pairs that stay."""
        return self.reason < 0

    def of_users(self) -> NDArray[np.int64]:
        """Return int64 [users]: the pairs that each user has left."""
        people = self.table.people
        return np.bincount(people.row_user[self.kept], minlength=people.n_users)

    def drop(self, rows: Mask, reason: int) -> None:
        """Let pairs go, of those that are still there."""
        self.reason[rows & self.kept] = reason

    def drop_users(self, fewest: int, reason: int) -> None:
        """Let the pairs of users with too few of them go."""
        self.left = np.where(self.of_users() > 0, self.of_users(), self.left)
        self.drop((self.left < fewest)[self.table.people.row_user], reason)

    def count(self, step: str) -> None:
        """Take down what is left after a step."""
        self.counts.append(Count(step, int(self.kept.sum()), int((self.of_users() > 0).sum())))


def decide(
    table: Table,
    recipe: Recipe,
    filter_lm: str = "",
    judges: Sequence[Judge | Scores] = (),
    client: Asks | None = None,
    tell: Tell | None = None,
) -> Decisions:
    """Take the steps.

    Args:
        table: The pairs.
        recipe: The parameters.
        filter_lm: The model of the personalizable filter; empty leaves the step out.
        judges: The judges of the consensus filter; none leaves the step out.
        client: What asks the models; None connects to each by its name.
        tell: Told what is being done, how much of it is done, and how much there is.

    Raises:
        ConfigError: If the only judgment is one score.
        ModelError: If a model or a judge gave no answer that could be read to anything it was asked.
    """
    made = first_steps(table, recipe)
    say = tell or (lambda what, done, total: None)
    if filter_lm:
        made.filter_lm = filter_lm
        questions = made.taste_of = questions_of(table, made.kept)
        made.tastes = _tastes(questions, filter_lm, client, say)
        answered_no = np.array([isinstance(a, Reply) and not a.value.yes for a in made.tastes], dtype=bool)
        made.drop(_of_rows(answered_no, questions), NO_TASTE)
        made.count("personalizable")
        made.drop_users(recipe.least, FEW_LEFT)
        made.count("users left")
    if judges:
        questions = made.votes_of = questions_of(table, made.kept)
        made.votes = _votes(questions, judges, client, say)
        obvious, odd = _agreed(made, questions)
        made.drop(obvious, OBVIOUS)
        made.drop(odd, ODD)
        made.count("consensus")
    if judges or not filter_lm:
        made.drop_users(recipe.least, FEW_LEFT)
        made.count("users left")
    return made


def first_steps(table: Table, recipe: Recipe) -> Decisions:
    """Take the steps that need no model: pairs and users; draw the users' roles."""
    people, gap = table.people, table.gap
    made = Decisions(table, recipe, np.full(people.n_rows, -1, np.int8))
    made.count(ORIGINAL)
    made.drop(gap < recipe.min_gap - ROUNDING, CLOSE)
    made.drop(people.chosen < 0, TIE)
    made.count("pairs")
    made.had = made.left = made.of_users()
    made.drop_users(recipe.min_pairs, FEW)
    made.count("users")
    made.role = _roles(people, made, recipe)
    return made


def _roles(people: Population, made: Decisions, recipe: Recipe) -> NDArray[np.int8]:
    """Return int8 [users]: roles of the users who are left, stratified on the pairs that they have left."""
    stays = made.of_users() > 0
    role = np.full(people.n_users, -1, np.int8)
    if stays.any():
        rest = people.take_rows(made.kept).take_users(stays)
        role[stays] = split_new_users(rest, recipe.seed, recipe.fractions).role
    return role


def _of_rows(marked: Mask, questions: Questions) -> Mask:
    """Return bool [rows]: pairs whose question is marked."""
    padded = np.append(marked, False)  # -1, a pair that was not asked about, takes the last
    return np.asarray(padded[questions.of_row])


def _tastes(questions: Questions, lm: str, client: Asks | None, tell: Tell) -> list[Answer]:
    """Ask about every question once."""
    if not len(questions):
        return []
    asked = (
        ask_taste(taste_request(questions.conversation(q), questions.answers(q), lm))
        for q in range(len(questions))
    )
    tasks = map(Task, asked, questions.users, repeat("curate personalizable"))
    heard = (client or connect(lm)).run(tasks)
    answers = _told("asking what is a matter of taste", heard, len(questions), tell)
    faults = [answer for answer in answers if isinstance(answer, Fault)]
    if len(faults) == len(answers):
        raise _silent(f"{lm}, asked what is a matter of taste,", faults)
    return answers


def _votes(questions: Questions, judges: Sequence[Judge | Scores], client: Asks | None, tell: Tell) -> Votes:
    """Hear every judge on every question, in both orders."""
    spoken = [judge for judge in judges if isinstance(judge, Judge)]
    said: list[list[tuple[Opinion, ...]]] = []
    if spoken and len(questions):
        asked = (hear(spoken, comparison_of(questions, q)) for q in range(len(questions)))
        tasks = map(Task, asked, questions.users, repeat("curate consensus"))
        heard = (client or connect(spoken[0].lm)).run(tasks)
        said = _told("judging in both orders", heard, len(questions), tell)
    votes = Votes.none(len(questions))
    for judge in judges:
        if isinstance(judge, Scores):
            comparisons = [comparison_of(questions, q) for q in range(len(questions))]
            votes = votes.add_scores(judge.name, judge.score(comparisons) if comparisons else [])
        else:
            votes = votes.add(name_of(judge), [opinions[spoken.index(judge)] for opinions in said])
        faults = [o.fault for opinions in votes.opinions[-1] for o in opinions if o.fault is not None]
        if len(questions) and np.isnan(votes.toward[:, -1]).all():
            raise _silent(f"the judge {name_of(judge)}", faults)
    if votes.asked.sum() < 2:
        raise ConfigError(
            f"{votes.names[0]} gives one figure for both orders, and one judgment always agrees with itself, "
            "so that every pair would go: name a second judge"
        )
    return votes


def _told(what: str, heard: Iterable[T], total: int, tell: Tell) -> list[T]:
    """Collect results, and tell of them now and then."""
    done: list[T] = []
    tell(what, 0, total)
    for one in heard:
        done.append(one)
        if len(done) % EVERY == 0 or len(done) == total:
            tell(what, len(done), total)
    return done


def _agreed(made: Decisions, questions: Questions) -> tuple[Mask, Mask]:
    """Return bool [rows] twice: all judgments name the chosen answer, all name the rejected one."""
    rows = np.flatnonzero(questions.of_row >= 0)
    toward = made.votes.for_chosen(questions, rows)
    asked = made.votes.asked
    agreed = np.zeros((2, len(questions.of_row)), dtype=bool)
    for side, sign in enumerate((1, -1)):
        agreed[side, rows] = ((toward * sign > 0) | ~asked).all(axis=(1, 2))
    return agreed[0], agreed[1]


def _silent(who: str, faults: Sequence[Fault]) -> ModelError:
    """Return the error of a model that said nothing that could be read."""
    kinds = ", ".join(sorted({fault.kind for fault in faults}))
    return ModelError(
        f"{who} gave no answer that could be read to any of its {len(faults):,} calls ({kinds}; the first: "
        f"{faults[0].message}): try the model by itself, name another, or leave it out; answers are kept"
    )
