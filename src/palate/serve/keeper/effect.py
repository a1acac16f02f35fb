"""What corrections change, told on choices that the persona did not see.

The user's history is cut into folds as the gate cuts it. For each fold a persona is made from the other
choices, all folds in one batch, with the corrections before and with those after; each then predicts the
choices that were held back from it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Feedback, History, Method, Persona, Personas, Population, Queries
from palate.gate import Gate, fold_rows
from palate.serve.keeper.edits import edited, used
from palate.serve.keeper.making import made
from palate.serve.keeper.model import Served
from palate.serve.store.personas import KeptEdit
from palate.serve.wire.persona import Effect

__all__ = ["effect"]

Floats = NDArray[np.floating[Any]]
LATEST = 200
"""Choices that corrections are tried on, at most."""


def effect(
    served: Served,
    history: History,
    before: tuple[Sequence[KeptEdit], float | None],
    after: tuple[Sequence[KeptEdit], float | None],
) -> Effect:
    """Return how many held-back choices would be predicted differently.

    Args:
        served: The model.
        history: All that the user chose; the latest choices are tried.
        before: The corrections that stood, and the weight at which the persona was applied (None: whole).
        after: Those that stand then, and the weight then.

    Returns:
        Counts of choices; ties are left out, for no prediction of them is right or wrong.
    """
    if not served.cheap:
        return Effect(
            choices=0, differ=0, better=0, worse=0,
            told="Not tried on choices: that would ask a language model many times.",
        )  # fmt: skip
    rows = [row for row in history.feedback[-LATEST:] if row.chosen is not None]
    if len(rows) < 2:
        return Effect(choices=0, differ=0, better=0, worse=0, told="There are no choices to try it on yet.")
    people = Population.of([_named(history, rows, 0)])
    first, then = _predictions(served.method, history, rows, people, before, after)
    differ = first != then
    right, now = first == people.chosen, then == people.chosen
    better, worse = int((now & ~right).sum()), int((right & ~now).sum())
    changed = int(differ.sum())
    told = f"{changed or 'None'} of {len(rows)} would now be predicted differently"
    told += f": {better} better, {worse} worse." if changed else "."
    return Effect(choices=len(rows), differ=changed, better=better, worse=worse, told=told)


def _named(history: History, rows: Sequence[Feedback], number: int) -> History:
    """Return choices as if another user's, with names of their own: a batch wants both distinct."""
    user = f"{history.user}\x1f{number}"
    return History(
        user,
        tuple(
            Feedback(user, row.conversation, row.responses, row.chosen, f"{number}.{n}", row.time, row.reason)
            for n, row in enumerate(rows)
        ),
        history.profile,
    )


def _predictions(
    method: Method,
    history: History,
    rows: Sequence[Feedback],
    people: Population,
    *ways: tuple[Sequence[KeptEdit], float | None],
) -> list[NDArray[np.int64]]:
    """Return for each way int64 [rows]: the option that would be predicted, as its position."""
    gate = method if isinstance(method, Gate) else None
    ranks = method if gate is None else gate.method
    fold = fold_rows(people, ranks.gate_folds if gate is None else gate.folds)
    parts = range(int(fold.max()) + 1)
    kept = [[row for row, own in zip(rows, fold.tolist(), strict=True) if own != part] for part in parts]
    histories = [_named(history, some, part) for part, some in zip(parts, kept, strict=True)]
    personas = made(ranks, histories)
    plain = None
    if gate is not None:
        plain = _scores(gate.control, made(gate.control, histories), people, fold)
    out = []
    for edits, weight in ways:
        corrected = [used(method, edited(ranks, persona, edits), edits) for persona in personas]
        scores = _scores(ranks, corrected, people, fold)
        if plain is not None:
            scores = plain + (1.0 if weight is None else weight) * (scores - plain)
        out.append(_best(people, scores))
    return out


def _scores(
    method: Method, personas: Sequence[Persona], people: Population, fold: NDArray[np.int64]
) -> Floats:
    """Return float64 [options]: each row scored by the persona that did not see it, its mean taken off."""
    asked = Queries(Personas.of(personas), people.corpus, fold, people.options, people.option_offsets)
    return asked.centred(method.score_batch(asked))


def _best(people: Population, scores: Floats) -> NDArray[np.int64]:
    starts = people.option_offsets[:-1]
    top = np.maximum.reduceat(scores, starts)
    row = np.repeat(np.arange(people.n_rows), np.diff(people.option_offsets))
    first = np.full(people.n_rows, len(scores))
    is_top = np.flatnonzero(scores == top[row])
    np.minimum.at(first, row[is_top], is_top)
    return np.asarray(first - starts)
