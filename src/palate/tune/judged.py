"""Answers judged at an endpoint by a description of what a user wants, and how far log-odds can be trusted.

scale = argmax_s sum_v log sigmoid(s l_v) - (log s)^2 / 2      l_v the log-odds of validation users' choices
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from palate.core import MethodError, Queries
from palate.harm import screen
from palate.judge import Comparison, Judge, Judgement, combine, pairs_to_ask
from palate.models.llm.client import Task
from palate.models.llm.ledger import Who
from palate.models.llm.session import connect, current_session
from palate.models.llm.wire import Asking

__all__ = ["judged", "trusted"]

Floats = NDArray[np.floating[Any]]
_SILENT = 0.2  # a larger share of comparisons without an opinion is a failure, not a measurement


def judged(
    queries: Queries, told: Sequence[str], lm: str, *, reason: bool = True, method: str = ""
) -> Floats:
    """Return float64 [options]: log-odds by a judge that reads a description of each query's user.

    Args:
        queries: The questions.
        told: The description for each; "" for none. What asks for harm in it is not shown.
        lm: The model that judges.
        reason: Whether it reasons before it answers.
        method: What costs are told as.

    Raises:
        MethodError: If too many comparisons got no answer that can be read.
        ModelError: If the model cannot be asked.
    """
    client, judge = connect(lm), Judge(reason=reason)
    spans = [slice(a, b) for a, b in zip(queries.offsets[:-1], queries.offsets[1:], strict=True)]
    users = [str(queries.personas.users[who] or "") for who in queries.who.tolist()]
    tasks = (
        Task(_ask(judge, queries, span, screen(text).kept), user, method)
        for span, text, user in zip(spans, told, users, strict=True)
    )
    scores = np.zeros(len(queries.options))
    asked = silent = 0
    for span, user, (found, opinions) in zip(spans, users, client.run(tasks), strict=True):
        scores[span] = found
        mute = sum(one.silent for one in opinions)
        asked, silent = asked + len(opinions), silent + mute
        current_session().ledger.add(
            Who(method, user, "judge"),
            compared=len(opinions),
            torn=sum(one.torn for one in opinions),
            silent=mute,
        )
    if silent > _SILENT * max(asked, 1):
        raise MethodError(
            f"{method}: {silent} of {asked} comparisons got no answer that could be read from {lm}; look at "
            "them with `palate trace --faults`, and name a model that follows the form"
        )
    return scores


def _ask(judge: Judge, queries: Queries, span: slice, told: str) -> Asking[tuple[Floats, list[Judgement]]]:
    """Compare a query's distinct answers, in the order of their texts."""
    items = queries.options[span]
    texts = np.array([queries.corpus.response(item) for item in items], dtype=object)
    answers, place = np.unique(texts, return_inverse=True)
    pairs = pairs_to_ask(len(answers)) if len(answers) > 1 else []
    talk = queries.corpus.conversation(items[0])
    comparisons = [Comparison(talk, (answers[a], answers[b]), told or None) for a, b in pairs]
    if not comparisons:
        return np.zeros(len(items)), []
    opinions = yield from judge.compare(comparisons)
    return combine(len(answers), pairs, [one.log_odds for one in opinions])[place.reshape(-1)], opinions


def trusted(log_odds: Floats) -> float:
    """Return what log-odds of choices that were made are to be multiplied by.

    >>> trusted(np.tile([4.0, 4.0, -4.0], 20)) < 0.3 < 3 < trusted(np.full(50, 0.2))
    True
    """
    if not len(log_odds):
        return 1.0

    def loss(log_scale: float) -> float:
        return float(0.5 * log_scale**2 - log_expit(np.exp(log_scale) * log_odds).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 3.0), method="bounded").x))
