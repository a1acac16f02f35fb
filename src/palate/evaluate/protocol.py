"""Who is learned from and who is tested: the protocols, leak-free by construction.

new-users    fit on some people, choose on others, and be tested on people never seen
seen-users   fit on N pairs of all people together, and be tested on the same people's held-back choices

A method is handed objects that do not hold the tested choices: ``fit_on`` and ``context`` have no target
row of a scored user, and ``targets`` goes to the metrics only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, DataError, Pairs, Population
from palate.feedback.splits import split_new_users

__all__ = [
    "SIZES",
    "Task",
    "fewer_users",
    "held_back",
    "make_tasks",
    "new_users",
    "read_protocol",
    "seen_users",
]

SIZES = (1_000, 10_000, 100_000)
"""Numbers of training pairs of the seen-users protocol ("When Personalization Meets Reality", section 5)."""


@dataclass(frozen=True, eq=False)
class Task:
    """One data set under one protocol, ready to be run.

    Attributes:
        name: What reports call it.
        people: All users with roles and splits. Under seen-users nobody has the role test.
        fit_on: Training and validation users.
        context: The scored users with what a method may see of them when it adapts.
        targets: The scored users' target pairs; ``targets.user`` counts over ``context.users``.
        simulated: Whether the people come from the world.
        protocol: ``new-users`` or ``seen-users``.
        size: Number of training pairs of all users together, under seen-users.
        suite: The :class:`~palate.evaluate.suite.Suite` that every method is asked, or None.
        transfer: Specs of language models that write for each other to judge; see the facet ``transfer``.
        writing: :class:`~palate.evaluate.writing.Writing`, or None, where nobody writes; see the facet
            ``writing``.
    """

    name: str
    people: Population
    fit_on: Population
    context: Population
    targets: Pairs
    simulated: bool = False
    protocol: str = "new-users"
    size: int | None = None
    suite: Any = None
    transfer: tuple[str, ...] = ()
    writing: Any = None

    @property
    def setting(self) -> str:
        """The protocol with its size: ``new-users``, ``seen-users:1000``."""
        return self.protocol if self.size is None else f"{self.protocol}:{self.size}"

    @property
    def scored_users(self) -> int:
        """Number of users that have a target."""
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
    return _checked(task)


def fewer_users(task: Task, most: int, *, seed: int = 0) -> Task:
    """Keep at most ``most`` test users and a quarter as many validation users, drawn by ``seed``.

    All training users stay. It is for methods that cost by the user; equal seeds keep equal users.

    Raises:
        ConfigError: If ``most`` is below 1, or the task is not of new users.

    >>> from palate.feedback.world import World
    >>> task = new_users("world", World(users=100).sample().population)
    >>> few = fewer_users(task, 12)
    >>> [int((few.people.role == role).sum()) for role in range(3)]
    [40, 3, 12]
    """
    if most < 1 or task.protocol != "new-users":
        raise ConfigError(
            f"users={most} with the protocol {task.protocol}: expected 1 or more users, and new-users; under "
            "seen-users every user is both learned from and tested"
        )
    people, rng = task.people, np.random.default_rng(seed)
    keep = people.role == 0
    for role, limit in ((1, -(-most // 4)), (2, most)):
        keep[rng.permutation(np.flatnonzero(people.role == role))[:limit]] = True
    fewer = new_users(task.name, people.take_users(keep), simulated=task.simulated)
    return replace(fewer, suite=task.suite, transfer=task.transfer, writing=task.writing)


def seen_users(
    name: str, population: Population, pairs: int, *, seed: int = 0, simulated: bool = False
) -> Task:
    """Learn from ``pairs`` pairs of all users together, be tested on the same users' latest choices.

    The held-back choices do not depend on ``pairs`` or ``seed``, so sizes can be compared. Training pairs
    are dealt in turns, one row a user a turn, so that users are balanced as far as they have rows; a
    smaller size is a part of a larger one. What was dealt is also what a method adapts on. A fifth of the
    users is set apart to choose settings on, by their own training pairs.

    Args:
        name: What reports call it.
        population: Feedback; roles and splits in it are left out of account, see :func:`held_back`.
        pairs: Number of training pairs; rows are dealt whole, so with several options a few less.
        seed: Draws the training rows and the validation users.
        simulated: Whether the people come from the world.

    Raises:
        DataError: If there are fewer training pairs than asked for, or nothing to test on.
        ConfigError: If ``pairs`` is below 1.

    >>> from palate.feedback.world import World
    >>> task = seen_users("world", World(users=40).sample().population, 400)
    >>> task.setting, len(task.context.pairs), task.context.n_users == task.fit_on.n_users
    ('seen-users:400', 400, True)
    """
    if pairs < 1:
        raise ConfigError(f"seen-users was asked for {pairs} training pairs; expected 1 or more")
    people = held_back(population)
    train = people.with_split("context")
    if len(train.pairs) < pairs:
        raise DataError(
            f"{name}: {len(train.pairs):,} training pairs are fewer than the {pairs:,} asked for; "
            "give more choices, or a smaller size"
        )
    kept = np.ones(people.n_rows, dtype=bool)
    kept[people.split == 0] = _dealt(train, pairs, seed)
    people = people.take_rows(kept)
    context = people.with_split("context")
    heard = context.take_users(np.diff(context.offsets) > 0)
    free = replace(heard, role=np.full(heard.n_users, -1, np.int8), split=np.full(heard.n_rows, -1, np.int8))
    fit_on = split_new_users(free, seed, fractions=(0.8, 0.2, 0.0))
    targets = people.with_split("target").pairs
    return _checked(Task(name, people, fit_on, context, targets, simulated, "seen-users", pairs))


def held_back(population: Population) -> Population:
    """Return all users as training users, their latest choices, about 30 %, as targets, the rest as context.

    Roles and splits that were given are replaced: they are made for new users. Rows of one conversation,
    or with a response in common, stay together (see :mod:`palate.feedback.splits`).
    """
    nobody, nothing = np.full(population.n_users, -1, np.int8), np.full(population.n_rows, -1, np.int8)
    dealt = split_new_users(replace(population, role=nobody, split=nothing))
    return replace(dealt, role=np.zeros(population.n_users, np.int8))


def read_protocol(text: str) -> tuple[str, tuple[int, ...]]:
    """Read a protocol and its sizes.

    Raises:
        ConfigError: If there is no such protocol, or a size is no number.

    >>> read_protocol("seen-users:1000,10000"), read_protocol("new-users")
    (('seen-users', (1000, 10000)), ('new-users', ()))
    """
    name, colon, sizes = text.strip().partition(":")
    if name == "new-users" and not colon:
        return name, ()
    if name == "seen-users":
        try:
            numbers = (
                tuple(dict.fromkeys(int(n.replace("_", "")) for n in sizes.split(","))) if colon else SIZES
            )
        except ValueError:
            numbers = ()
        if numbers and min(numbers) > 0:
            return name, numbers
    raise ConfigError(
        f"protocol is {text!r}; expected new-users, seen-users, or seen-users:SIZES such as "
        "seen-users:1000,10000"
    )


def make_tasks(
    name: str,
    population: Population,
    protocols: Sequence[str] = ("new-users",),
    *,
    seed: int = 0,
    simulated: bool = False,
) -> tuple[list[Task], list[str]]:
    """Return a task for every protocol and size, and what was left out, in words.

    Raises:
        ConfigError: If there is no such protocol.
        DataError: If a protocol cannot work on these people.
    """
    tasks, notes = [], []
    for protocol, sizes in map(read_protocol, dict.fromkeys(protocols)):
        if protocol == "new-users":
            tasks.append(new_users(name, population, seed=seed, simulated=simulated))
            continue
        most = len(held_back(population).with_split("context").pairs)
        beyond = [size for size in sizes if size > most]
        tasks += [
            seen_users(name, population, size, seed=seed, simulated=simulated)
            for size in sizes
            if size <= most
        ]
        if beyond:
            told = ", ".join(f"{size:,}" for size in beyond)
            notes.append(f"{name} has {most:,} training pairs of seen users: without the size of {told}.")
    return tasks, notes


def _dealt(population: Population, pairs: int, seed: int) -> NDArray[np.bool_]:
    """Mark the rows that are dealt, one a user a turn, until ``pairs`` pairs are reached."""
    rng = np.random.default_rng(seed)
    number = np.arange(population.n_rows)
    shuffled = np.lexsort((rng.random(len(number)), population.row_user))
    turn = np.empty_like(number)
    turn[shuffled] = population.rank
    order = np.lexsort((rng.random(len(number)), turn))
    size = np.bincount(population.pairs.row, minlength=len(number))
    marks = np.zeros(len(number), dtype=bool)
    marks[order[np.cumsum(size[order]) <= pairs]] = True
    return marks


def _checked(task: Task) -> Task:
    """Refuse a task that cannot be learned from or measured on."""
    name, people = task.name, task.people
    if not len(task.fit_on.with_role("train").pairs):
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
