"""A user's own choices, each predicted from the others: by the persona, and by the control beside it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, Pairs, Personas, Population, Queries, Verdict, Verdicts
from palate.numerics.design import log_loss, mean_by

__all__ = [
    "WEIGHTS",
    "Held",
    "Part",
    "differences",
    "evidence",
    "fold_rows",
    "hold_back",
    "tested",
    "verdicts_of",
    "without",
]

Floats = NDArray[np.floating[Any]]
WEIGHTS = np.linspace(0.0, 1.0, 5)
"""How far a persona may be applied."""
_AT_ONCE = 1 << 16  # rows that folds side by side may have


class Held(NamedTuple):
    """Held-back pairs and the log-odds of their winners: by the persona, and by the control."""

    pairs: Pairs
    personal: Floats
    control: Floats


def differences(method: Method, personas: Personas, population: Population, pairs: Pairs) -> Floats:
    """Return float64 [pairs]: the log-odds of each pair's winner over its loser."""
    scores = method.score_batch(Queries.of_pairs(personas, population.corpus, pairs))
    return np.asarray(scores[0::2] - scores[1::2])


def hold_back(method: Method, control: Method, population: Population, folds: int = 10) -> Held:
    """Predict every choice of every user from that user's other choices.

    Rows of a user that offer the same options always share a fold, so that no answer is known before.
    Users with up to ``folds`` distinct rows are left one out.
    """
    personal, plain = np.zeros((2, len(population.pairs)))
    for part in without(population, fold_rows(population, folds)):
        personal[part.place] = differences(method, method.adapt_batch(part.kept), population, part.asked)
        plain[part.place] = differences(control, control.adapt_batch(part.kept), population, part.asked)
    return Held(population.pairs, personal, plain)


class Part(NamedTuple):
    """Some folds: who is left when each is taken away, and what is asked of them.

    Attributes:
        kept: The population's users once for every fold, without the rows of that fold.
        asked: The pairs of these folds; ``asked.user`` counts over ``kept``.
        place: int64 [asked], which pairs of the population they are.
    """

    kept: Population
    asked: Pairs
    place: NDArray[np.int64]


def without(population: Population, fold: NDArray[np.int64]) -> Iterator[Part]:
    """Yield the folds, each taken away from all users at once.

    Folds stand side by side as users of their own, as many as are small together: no user matters to
    another, and one batch costs less than ten.

    Args:
        population: Users and their rows.
        fold: int64 [rows].
    """
    count, users, number = int(fold.max(initial=-1)) + 1, population.n_users, fold[population.pairs.row]
    step = max(1, _AT_ONCE // max(population.n_rows, 1))
    for first in range(0, count, step):
        numbers = range(first, min(first + step, count))
        rows = [np.flatnonzero(fold != one) for one in numbers]
        counts = [np.bincount(population.row_user[index], minlength=users) for index in rows]
        place = np.flatnonzero((number >= first) & (number < numbers.stop))
        held = population.pairs.take(place)
        asked = replace(held, user=held.user + users * (number[place] - first))
        yield Part(_repeated(population, np.concatenate(rows), np.concatenate(counts)), asked, place)


def _repeated(population: Population, rows: NDArray[np.int64], counts: NDArray[np.int64]) -> Population:
    """Return all users several times over, with these rows, ``counts`` of them each."""
    times = len(counts) // max(population.n_users, 1)
    return replace(
        population.take_rows(rows),  # in this order; whose they are is said below
        users=np.tile(population.users, times),
        role=np.tile(population.role, times),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
    )


def fold_rows(population: Population, folds: int) -> NDArray[np.int64]:
    """Return int64 [rows]: each row's fold; rows of a user that offer the same options share one."""
    if not population.n_rows:
        return np.zeros(0, np.int64)
    code = np.random.default_rng(0).integers(1 << 62, size=len(population.corpus))
    offer = np.add.reduceat(code[population.options], population.option_offsets[:-1])
    keys = np.stack([population.row_user, offer])  # sums of random codes: the order of options is no matter
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    leader = first[group.reshape(-1)]
    fresh = np.zeros(population.n_rows, np.int64)
    fresh[first] = 1
    distinct = np.cumsum(fresh)
    before = np.concatenate([[0], distinct])[population.offsets[population.row_user]]
    return np.asarray((distinct[leader] - before - 1) % folds)


def evidence(held: Held, n_users: int) -> Floats:
    """Return float64 [users, weights]: the log-likelihood of each user's pairs at each weight."""
    mixed = held.control[:, None] + WEIGHTS * (held.personal - held.control)[:, None]
    loss = log_loss(mixed, held.pairs.target[:, None])
    if n_users == 1:
        return np.asarray(-loss.sum(axis=0)[None])
    user = held.pairs.user
    return np.stack([-np.bincount(user, weights=column, minlength=n_users) for column in loss.T], axis=1)


def verdicts_of(held: Held, n_users: int, weight: Floats) -> Verdicts:
    """Return the users' verdicts; ``weight`` is float64 [users]."""
    user, decided = held.pairs.user, held.pairs.target == 1.0

    def accuracy(d: Floats) -> Floats:
        right = (d[decided] > 0) + 0.5 * (d[decided] == 0)
        share = mean_by(user[decided], right, n_users)
        return np.where(np.isnan(share), 0.5, share)

    def loss(d: Floats) -> Floats:
        return mean_by(user, log_loss(d, held.pairs.target), n_users)

    return Verdicts(
        np.bincount(user, minlength=n_users),
        accuracy(held.personal),
        accuracy(held.control),
        loss(held.personal),
        loss(held.control),
        weight,
    )


def tested(verdict: Verdict | None, held: Held, decided: int, weight: float) -> tuple[Verdict, int]:
    """Return a verdict with the pairs of one more choice, and on how many decided pairs it rests now."""
    decided_now = held.pairs.target == 1.0
    fresh, m = int(decided_now.sum()), len(held.pairs)
    old = verdict or Verdict(0, 0.5, 0.5, 0.0, 0.0, weight)
    n = old.choices

    def accuracy(before: float, odds: Floats) -> float:
        right = odds[decided_now]
        total = decided * before + float((right > 0).sum() + 0.5 * (right == 0).sum())
        return total / (decided + fresh) if decided + fresh else before

    def loss(before: float, odds: Floats) -> float:
        return (n * before + float(log_loss(odds, held.pairs.target).sum())) / (n + m)

    return Verdict(
        n + m,
        accuracy(old.accuracy, held.personal),
        accuracy(old.control_accuracy, held.control),
        loss(old.log_loss, held.personal),
        loss(old.control_log_loss, held.control),
        weight,
    ), decided + fresh
