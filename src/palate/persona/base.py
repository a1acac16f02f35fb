"""The base of read methods: a persona is words and remembered choices, and a judge reads them.

An author writes one hook as a conversation with a model (:mod:`palate.models.llm.wire`):

    _write(history)     what is kept of one user: words, examples, claims

The base drives it for all users at once, scores by the judge in both orders, and learns on validation users
how far the judge's log-odds can be trusted,

    scale = argmax_s sum_v log sigmoid(s l_v) - (log s)^2 / 2        l_v the judge's log-odds of their targets

so that read methods are calibrated like any other. An empty history has no words and no examples, so that
the average user is the judge without a persona: the control that a persona must beat.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from palate.core import (
    Conversation,
    History,
    Method,
    MethodError,
    Persona,
    Personas,
    Population,
    Queries,
    corrected,
    standing,
)
from palate.judge import Comparison, Judge, Judgement, combine, pairs_to_ask
from palate.models.llm.client import Client, Task
from palate.models.llm.ledger import Who
from palate.models.llm.session import connect, current_session
from palate.models.llm.wire import Asking
from palate.persona.evidence import grounded, statements_of
from palate.persona.written import Shown, Written

__all__ = ["ReadMethod", "Shown", "Written"]

Floats = NDArray[np.floating[Any]]
_SILENT = 0.2  # a larger share of comparisons without an opinion is a failure, not a measurement


class _Question(NamedTuple):
    """One query as the judge is asked it: distinct answers, in the order of their texts."""

    shown: Shown
    conversation: Conversation
    answers: tuple[str, ...]
    place: NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class ReadMethod(Method):
    """A persona in words and examples, read by a judge.

    Args:
        lm: The model that writes: any LiteLLM name, or ``openai/NAME@http://HOST/v1``; "" is $PALATE_LM.
        judge_lm: The model that judges; "" is the same.
        reason: Whether the judge reasons before it answers.
        calibrate: Target pairs of validation users that the judge's scale is learned on; 0 leaves it at 1.
        evidence: Whether every statement of a text is traced to the choices, and dropped where they do not
            bear it out (:mod:`palate.persona.evidence`).
        seed: Of every draw.
    """

    uses_lm: ClassVar[bool] = True
    baseline: ClassVar[str] = "default"
    gate_folds: ClassVar[int] = 2
    needs: ClassVar[str] = "a language model: --lm, extra llm"
    seconds_per_10k: ClassVar[float] = 1.0  # our own; what calls take is told by rehearsal
    states: ClassVar[bool] = True
    """Whether its texts state what choices show; False for what was known without them."""
    lm: str = ""
    judge_lm: str = ""
    reason: bool = True
    calibrate: int = 200
    evidence: bool = True
    seed: int = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.personal:  # a control's judge is shown no persona: what a person said would not be heeded
            cls.revise = cls.shift_of = None  # type: ignore[assignment, method-assign]

    def __post_init__(self) -> None:
        self.lm = self.lm or os.environ.get("PALATE_LM", "")

    # ---- what authors write -------------------------------------------------------------------

    def _write(self, history: History) -> Asking[Written]:
        """Ask what is to be kept of one user who has a choice; the default keeps nothing."""
        return Written()
        yield []  # a generator without a question

    def _shown(self, persona: Persona, conversation: Conversation) -> Shown:
        """Return what the judge is shown of a user for a conversation."""
        return Shown(persona.text, persona.examples)

    def _study(self, population: Population) -> None:
        """Learn what users share beyond the judge's scale; the default learns nothing."""

    # ---- the hooks of Method --------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        self.lm_ = connect(self.lm).spec
        self.judge_lm_ = connect(self.judge_lm).spec if self.judge_lm else ""
        self.scale_ = 1.0
        self._study(population)
        if self.calibrate:
            self.fitted_ = True  # adapts and scores below, with the scale of 1
            self.scale_ = self._scale(population.with_role("val"))

    def _condense(self, population: Population) -> Floats:
        return np.zeros((population.n_users, 0))

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        questions = list(self._questions(queries))
        users = [queries.personas.users[who] for who in queries.who]
        tasks = (
            Task(self._ask(question), str(user or ""), self.label)
            for question, user in zip(questions, users, strict=True)
        )
        scores = np.zeros(len(queries.options))
        asked = silent = 0
        for number, (found, judged) in enumerate(self._client.run(tasks)):
            asked, silent = asked + len(judged), silent + sum(j.silent for j in judged)
            self._count(users[number], judged)
            place = questions[number].place
            scores[queries.offsets[number] : queries.offsets[number + 1]] = found[place]
        if silent > _SILENT * max(asked, 1):
            raise MethodError(
                f"{self.label}: {silent} of {asked} comparisons got no answer that could be read from "
                f"{self.judge_lm_ or self.lm_}; look at them with `palate trace --faults`, and name a model "
                "that follows the form, or a longer answer"
            )
        return self.scale_ * scores

    # ---- what the base does ---------------------------------------------------------------------

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Write the personas of many users at once."""
        self._check_fitted()
        people = histories if isinstance(histories, Population) else Population.of(histories)
        tasks = (Task(self._kept(history), history.user, self.label) for history in people)
        written = list(self._client.run(tasks))
        return Personas(
            self.label,
            self.fingerprint,
            people.users,
            None,
            np.ones(people.n_users, dtype=bool),
            people,
            texts=[w.text for w in written],
            examples=[w.examples for w in written],
            claims=[w.claims for w in written],
        )

    def revise(self, persona: Persona, shifts: Mapping[str, float]) -> Persona:
        """Return the persona with sentences forgotten, restored or added; :class:`palate.core.Revises`.

        Nothing is asked of a model. Past choices that are shown beside the text stay.
        """
        own = self._resume(persona)
        return corrected(own, shifts, statements_of(own.text))

    def shift_of(self, persona: Persona, about: str) -> float | None:
        """Return 1 for a sentence that stands, 0 for one that does not, None for one that is not known."""
        own = self._resume(persona)
        return standing(own, about, statements_of(own.text))

    def _count(self, user: str | None, judged: Sequence[Judgement]) -> None:
        """Tell the session's ledger how many comparisons were torn, and how many had no opinion."""
        current_session().ledger.add(
            Who(self.label, str(user or ""), "judge"),
            compared=len(judged),
            torn=sum(j.torn for j in judged),
            silent=sum(j.silent for j in judged),
        )

    @property
    def _client(self) -> Client:
        return connect(self.lm_)

    @property
    def _judge(self) -> Judge:
        return Judge(self.judge_lm_, self.reason)

    def _kept(self, history: History) -> Asking[Written]:
        """Write about a user from their choices; ties teach a reader nothing and are left out."""
        decided = replace(history, feedback=tuple(f for f in history.feedback if f.chosen is not None))
        if not decided.feedback and not history.profile:
            return Written()
        written = yield from self._write(decided)
        statements = statements_of(written.text) if self.evidence and self.states else []
        if not statements or not decided.feedback:
            return written

        def shown(text: str | None, conversation: Conversation) -> Shown:
            return self._shown(Persona(history.user, text, written.examples), conversation)

        found = yield from grounded(statements, decided, self._judge, held=written.held, shown=shown)
        return written._replace(text=found.text, claims=(*found.claims, *written.claims))

    def _ask(self, question: _Question) -> Asking[tuple[Floats, list[Judgement]]]:
        """Compare a query's answers; return their scores and what was judged."""
        shown, n = question.shown, len(question.answers)
        pairs = pairs_to_ask(n)
        comparisons = [
            Comparison(
                question.conversation,
                (question.answers[a], question.answers[b]),
                shown.text,
                shown.examples,
                shown.reasons,
            )
            for a, b in pairs
        ]
        if not comparisons:
            return np.zeros(n), []
        judged = yield from self._judge.compare(comparisons)
        return combine(n, pairs, [j.log_odds for j in judged]), judged

    def _questions(self, queries: Queries) -> Iterator[_Question]:
        """Yield every query with its distinct answers; the order on offer is no matter."""
        views: dict[int, Persona] = {}
        for number, who in enumerate(queries.who.tolist()):
            items = queries.options[queries.offsets[number] : queries.offsets[number + 1]]
            texts = [queries.corpus.response(item) for item in items]
            answers, place = np.unique(np.array(texts, dtype=object), return_inverse=True)
            conversation = queries.corpus.conversation(items[0])
            persona = views.setdefault(who, queries.personas[who])
            yield _Question(
                self._shown(persona, conversation), conversation, tuple(answers), place.reshape(-1)
            )

    def _scale(self, people: Population) -> float:
        """Return what the judge's log-odds are to be multiplied by, learned on validation users' targets."""
        targets = people.with_split("target").pairs
        targets = targets.take(np.flatnonzero(targets.target == 1.0)[: self.calibrate])
        if not len(targets):
            return 1.0
        heard = np.unique(targets.user)
        context = people.with_split("context").take_users(heard)
        asked = replace(targets, user=np.searchsorted(heard, targets.user))
        scores = self.score_batch(Queries.of_pairs(self.adapt_batch(context), people.corpus, asked))
        log_odds = scores[0::2] - scores[1::2]

        def loss(log_scale: float) -> float:
            return float(0.5 * log_scale**2 - log_expit(np.exp(log_scale) * log_odds).sum())

        return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 3.0), method="bounded").x))
