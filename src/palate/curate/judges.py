"""The consensus filter: what a set of judges says of each question, in both orders, and whether all agree.

A judge that is a language model is asked twice, once with either answer first. Anything else that scores
answers, such as a reward model, is a :class:`Scores`: it gives log-odds, one figure for both orders or one an
order.

    a pair goes     if every judgment that was asked for could be read and all name the same answer
    a pair stays    if two judgments differ, one is undecided (log-odds of 0), or one could not be read

So there must be two judgments at least: one model in both orders, or two scores.

Source: "SynthesizeMe!", appendix C, step 3, which takes five judges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palate.core import ConfigError, DataError
from palate.curate.questions import Questions
from palate.judge import Comparison, Judge, Opinion
from palate.models.llm.wire import Asking, Fault

__all__ = ["NO_SCORE", "AnyJudge", "Scores", "Votes", "as_judges", "comparison_of", "hear", "name_of"]

Floats = NDArray[np.float64]
NO_SCORE = "no score"
"""The kind of a judgment that scores did not give."""


@dataclass(frozen=True)
class Scores:
    """A judge that is no language model.

    Attributes:
        name: What it is called in the outputs.
        score: Takes comparisons, and returns the log-odds of answer 0 over answer 1: float [comparisons], or
            [comparisons, 2] with a column an order (answer 0 first, answer 1 first). NaN is no opinion. The
            order of the two answers says nothing about which was chosen.
    """

    name: str
    score: Callable[[Sequence[Comparison]], ArrayLike]


AnyJudge = str | Judge | Scores
"""A model's spec, a judge by words, or scores."""


def as_judges(judges: Sequence[AnyJudge]) -> tuple[Judge | Scores, ...]:
    """Return judges, model specs as :class:`~palate.judge.Judge`.

    Raises:
        ConfigError: If one is none, or two have one name.
    """
    made = tuple(Judge(lm=judge) if isinstance(judge, str) else judge for judge in judges)
    names: set[str] = set()
    for judge in made:
        if not isinstance(judge, (Judge, Scores)):
            raise ConfigError(
                f"{judge!r} is no judge: expected a model such as openai/gpt-4o-mini, a palate.judge.Judge, "
                "or palate.curate.Scores(name, function)"
            )
        name = name_of(judge)
        if name in names:
            raise ConfigError(f"two judges are called {name!r}: name each once, to tell their votes apart")
        names.add(name)
    return made


def name_of(judge: Judge | Scores) -> str:
    """Return what a judge is called; one that answers without a reason says so."""
    if isinstance(judge, Scores):
        return judge.name
    return (judge.lm or "judge") + ("" if judge.reason else " (quick)")


def comparison_of(questions: Questions, question: int) -> Comparison:
    """Return a question as a comparison, without persona and examples."""
    return Comparison(questions.conversation(question), questions.answers(question))


def hear(judges: Sequence[Judge], comparison: Comparison) -> Asking[list[tuple[Opinion, ...]]]:
    """Ask judges about a comparison in both orders, all at once; return two opinions a judge."""
    orders = (False, True)
    asked = [(judge, swapped) for judge in judges for swapped in orders]
    answers = yield [judge.request(comparison, swapped) for judge, swapped in asked]
    said = [judge.opinion(a, swapped) for (judge, swapped), a in zip(asked, answers, strict=True)]
    return list(zip(said[0::2], said[1::2], strict=True))


@dataclass(frozen=True, eq=False)
class Votes:
    """What judges said of questions.

    Attributes:
        names: The judges.
        toward: float64 [questions, judges, 2], log-odds of the question's first answer, by order (first
            answer first, second answer first); NaN where no opinion could be read.
        asked: bool [judges, 2]: False in the second column of scores that give one figure for both orders.
        opinions: For each judge an opinion for each question and order, with reason, fault and key.
    """

    names: tuple[str, ...]
    toward: Floats
    asked: NDArray[np.bool_]
    opinions: tuple[Sequence[tuple[Opinion, ...]], ...]

    @classmethod
    def none(cls, questions: int) -> "Votes":
        """Return the votes of no judge."""
        return cls((), np.zeros((questions, 0, 2)), np.zeros((0, 2), dtype=bool), ())

    def for_chosen(self, questions: Questions, rows: NDArray[np.int64]) -> Floats:
        """Return float64 [rows, judges, 2]: log-odds of the chosen answer; with it first, with it second."""
        of, swapped = questions.of_row[rows], questions.swapped[rows]
        found = self.toward[of]
        return np.where(swapped[:, None, None], -found[:, :, ::-1], found)

    def add(self, name: str, said: Sequence[tuple[Opinion, ...]]) -> "Votes":
        """Return the votes with those of one more language model: two opinions a question."""
        toward = [[np.nan if o.fault is not None else o.log_odds for o in opinions] for opinions in said]
        return self._with(name, np.array(toward).reshape(-1, 2), (True, True), said)

    def add_scores(self, name: str, scores: ArrayLike) -> "Votes":
        """Return the votes with scores.

        Raises:
            DataError: If there is not one a question, or one a question and order.
        """
        found, n = np.asarray(scores, dtype=np.float64), len(self.toward)
        if found.shape not in ((n,), (n, 2)):
            raise DataError(
                f"the scores {name!r} have the shape {found.shape} for {n} comparisons; expected ({n},), or "
                f"({n}, 2) for both orders"
            )
        both = found.ndim == 2
        toward = found if both else np.stack([found, found], axis=1)
        lacking = Fault(NO_SCORE, "NaN")
        opinions = [
            tuple(Opinion(0.0, fault=lacking) if np.isnan(v) else Opinion(float(v)) for v in line)
            for line in (toward if both else toward[:, :1])
        ]
        return self._with(name, toward, (True, both), opinions)

    def _with(
        self, name: str, toward: Floats, asked: tuple[bool, bool], opinions: Sequence[tuple[Opinion, ...]]
    ) -> "Votes":
        return Votes(
            (*self.names, name),
            np.concatenate([self.toward, toward[:, None]], axis=1),
            np.concatenate([self.asked, [asked]]),
            (*self.opinions, opinions),
        )
