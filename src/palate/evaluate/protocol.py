"""The new-users protocol: fit on some people, choose on others, and be tested on people never seen.

A method is handed objects that do not hold the test users' target labels: ``fit_on`` has no test user,
``context`` has their context rows alone, and ``targets`` goes to the metrics only.
"""

from dataclasses import dataclass

import numpy as np

from palate.core import DataError, Pairs, Population
from palate.feedback.splits import split_new_users

__all__ = ["Task", "new_users"]


@dataclass(frozen=True, eq=False)
class Task:
    """One data set, ready to be run.

    Attributes:
        name: What reports call it.
        people: All users with roles and splits.
        fit_on: Training and validation users.
        context: Test users with their context rows.
        targets: The test users' target pairs; ``targets.user`` counts over ``context.users``.
        simulated: Whether the people come from the world.
    """

    name: str
    people: Population
    fit_on: Population
    context: Population
    targets: Pairs
    simulated: bool = False

    @property
    def scored_users(self) -> int:
        """Number of test users that have a target."""
        return len(np.unique(self.targets.user))


def new_users(name: str, population: Population, *, seed: int = 0, simulated: bool = False) -> Task:
    """Split people by the new-users protocol; roles and splits that are given are obeyed.

    Raises:
        DataError: If no user is left to train on or none to test on, or the targets are all ties.
    """
    people = split_new_users(population, seed)
    fit_on = people.take_users((people.role == 0) | (people.role == 1))
    test = people.with_role("test")
    task = Task(name, people, fit_on, test.with_split("context"), test.with_split("target").pairs, simulated)
    if not len(fit_on.with_role("train").pairs):
        raise DataError(
            f"{name}: no training user has a choice; give more users, or user_split=train to some"
        )
    if not len(task.targets):
        raise DataError(
            f"{name}: no test user has a target choice; a user needs two choices or more, and "
            f"{people.n_users} users with {people.n_rows} choices are too few to split: give more, or "
            "user_split=test and split=target to some"
        )
    if not (task.targets.target == 1.0).any():
        raise DataError(
            f"{name}: all {len(task.targets)} target pairs are ties, which no accuracy can be measured on; "
            "give test users target choices that prefer something"
        )
    return task
