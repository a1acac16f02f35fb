"""What can be known of a simulated task: the world's bounds on exactly the task's targets."""

from dataclasses import replace
from typing import Any

import numpy as np

from palate.core import DataError
from palate.evaluate.cells import CURVE
from palate.evaluate.protocol import Task, held_back
from palate.feedback.world import WorldSample
from palate.feedback.world_bounds import average_bound, ideal, oracle, predict

__all__ = ["known_bounds"]

Scores = dict[str, tuple[str, dict[int, Any]]]
_ORACLE, _AVERAGE = "knows each user's taste", "the best without knowing who asks"
_IDEAL = "knows the axes and their spread, sees the same choices"


def known_bounds(sample: WorldSample, task: Task) -> Scores:
    """Return the oracle's, the ideal learner's and the best average's log-odds of the task's targets.

    Under seen-users there is no ideal learner: it knows only contexts that are a user's first rows.

    Raises:
        DataError: If the task was not made from this world.
    """
    bounds = _new_users(sample, task) if task.protocol == "new-users" else _seen_users(sample)
    if any(len(scores[-1]) != len(task.targets) for _, scores in bounds.values()):
        raise DataError("the world's targets and the task's differ: run it with its own roles and splits")
    return bounds


def _new_users(sample: WorldSample, task: Task) -> Scores:
    people = sample.population
    targets = people.with_split("target").pairs
    mine = np.isin(people.users, task.context.users)[targets.user]
    whole = int(np.diff(task.context.offsets).max(initial=0))
    known = {k: ideal(sample, k).log_odds[mine] for k in CURVE if k < whole}
    seen = ideal(sample).log_odds[mine]
    return {
        "oracle": (_ORACLE, {-1: oracle(sample).log_odds[mine]}),
        "ideal": (_IDEAL, {-1: seen, **known, whole: seen}),
        "average": (_AVERAGE, {-1: average_bound(sample).log_odds[mine]}),
    }


def _seen_users(sample: WorldSample) -> Scores:
    people = held_back(sample.population)
    targets = people.split == 1
    pairs = people.pairs
    gap = sample.items_axes[pairs.winner] - sample.items_axes[pairs.loser]
    rows = gap.reshape(people.n_users, -1, sample.world.options - 1, gap.shape[1])
    unheard = replace(sample.world, pairs=0, targets=sample.world.rows)
    blind = predict(unheard, rows[:, :0], rows, samples=0).reshape(-1)
    return {
        "oracle": (_ORACLE, {-1: oracle(replace(sample, population=people)).log_odds}),
        "average": (_AVERAGE, {-1: blind[targets[pairs.row]]}),
    }
