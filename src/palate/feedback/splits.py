"""The new-users split, leak-free by construction (evaluation.md, Splits).

Users are dealt into train, val and test, stratified on their number of choices. Within a user the
oldest rows are context and the latest are targets; rows that could tell about each other move together
as one *group*:

    a user with several conversations     all rows of a conversation, its later turns included
    a user with one conversation only     all rows that share a response, directly or through others
    (votes, say)

Roles and splits that were given are kept.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, Population
from palate.feedback.keys import dialogue_of_rows

__all__ = ["context_parts", "row_groups", "split_new_users"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
STRATUM = 20
CONTEXT_VALIDATION = 0.2 / 0.7


def split_new_users(
    population: Population,
    seed: int = 0,
    fractions: Sequence[float] = (0.4, 0.1, 0.5),
    target: float = 0.3,
    max_context: int | None = None,
) -> Population:
    """Give every user a role and every row a split.

    Args:
        population: Feedback; roles and splits in it are kept and obeyed.
        seed: Draws the users.
        fractions: Shares of users in train, val and test.
        target: Share of a user's rows, the latest, that become targets. Whole groups move, so a user
            with few groups has more or less; one with two or more groups has both context and target,
            one with a single group has context only.
        max_context: Most context rows of a validation or test user; earlier ones are left out.

    Returns:
        The population with ``role`` and ``split`` filled in; rows beyond ``max_context`` are gone.

    Raises:
        ConfigError: If a share cannot work.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ConfigError(f"fractions is {tuple(fractions)}; expected three shares that add up to 1")
    if not 0 <= target < 1:
        raise ConfigError(f"target is {target}; expected a share of a user's rows from 0 to below 1")
    if max_context is not None and max_context < 0:
        raise ConfigError(f"max_context is {max_context}; expected a number of rows, 0 or more")
    role = _roles(population, shares, np.random.default_rng(seed))
    split = _splits(population, target)
    done = replace(population, role=role, split=split)
    return done if max_context is None else done.take_rows(_recent(done, max_context))


def context_parts(population: Population, validation: float = CONTEXT_VALIDATION) -> Mask:
    """Mark the later part of every user's context, by groups, for context-validation.

    Args:
        population: Feedback with splits.
        validation: Share of the context rows; the default makes 50 / 20 of 50 / 20 / 30 %.

    Returns:
        bool [rows]: True for context-validation; the other context rows are context-train.
    """
    return _late(population, row_groups(population), population.split == 0, validation)


def row_groups(population: Population) -> Ints:
    """Return int64 [rows]: the group of each row, as the module's text tells; no group has two users."""
    talk = dialogue_of_rows(population) if population.n_rows else np.zeros(0, np.int64)
    n_talks = len(population.corpus.conversations) + 1
    group: Ints
    both, group = np.unique(population.row_user * n_talks + talk, return_inverse=True)
    owners = both // n_talks
    alone = (np.bincount(owners, minlength=population.n_users) == 1)[population.row_user]
    if alone.any():
        group = np.where(alone, len(both) + _components(population, alone), group)
    return group


def _components(population: Population, rows: Mask) -> Ints:
    """Return int64 [rows]: numbers of the rows, equal where a user's rows share a response."""
    number = np.arange(population.n_rows)
    row = np.repeat(number, np.diff(population.option_offsets))
    inside = rows[row]
    row, item = row[inside], population.options[inside]
    key = population.row_user[row] * (len(population.corpus) + 1) + item
    order = np.argsort(key, kind="stable")
    row, key = row[order], key[order]
    linked = np.flatnonzero(key[1:] == key[:-1])
    if not len(linked):
        return number
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array(
        (np.ones(len(linked), np.int8), (row[linked], row[linked + 1])), shape=(len(number),) * 2
    )
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def _roles(population: Population, shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int8]:
    """Return int8 [users]: roles, dealt in strata of users with like numbers of choices."""
    role = population.role.copy()
    free = np.flatnonzero(role < 0)
    if not len(free):
        return role
    counts = np.diff(population.offsets)[free]
    by_count = np.lexsort((rng.random(len(free)), counts))
    strata = np.arange(len(free)) // STRATUM
    dealt = by_count[np.lexsort((rng.random(len(free)), strata))]
    train = _every(len(free), shares[0], rng.random())
    rest = np.flatnonzero(~train)
    tail = shares[1] + shares[2]
    val = _every(len(rest), shares[1] / tail if tail else 0.0, rng.random())
    codes = np.full(len(free), 2, np.int8)
    codes[train] = 0
    codes[rest[val]] = 1
    role[free[dealt]] = _none_missing(codes, shares)
    return role


def _every(n: int, share: float, shift: float) -> Mask:
    """Return bool [n] with a share of True, evenly spread."""
    steps = np.floor(np.arange(n + 1) * share + shift + 1e-9)
    return np.asarray(np.diff(steps) > 0)


def _none_missing(codes: NDArray[np.int8], shares: NDArray[np.float64]) -> NDArray[np.int8]:
    """Give a role without a user one from the largest, where there are users enough."""
    for code in np.flatnonzero(shares > 0).tolist():
        counts = np.bincount(codes, minlength=3)
        if not counts[code] and counts.max() > 1:
            codes[np.flatnonzero(codes == counts.argmax())[-1]] = code
    return codes


def _splits(population: Population, target: float) -> NDArray[np.int8]:
    """Return int8 [rows]: splits that were given, and the rest by time, in groups."""
    given = population.split
    group = row_groups(population)
    late = _late(population, group, np.ones(population.n_rows, dtype=bool), target)
    if not (given >= 0).any():
        return late.astype(np.int8)
    user = population.row_user
    n_groups = int(group.max(initial=-1)) + 1
    has_target = np.bincount(user[given == 1], minlength=population.n_users) > 0
    in_target = np.bincount(group[given == 1], minlength=n_groups) > 0
    in_context = np.bincount(group[given == 0], minlength=n_groups) > 0
    split = np.where(has_target[user], 0, late)
    split = np.where(in_target[group], 1, split)
    split = np.where(in_context[group], 0, split)
    return np.where(given >= 0, given, split).astype(np.int8)


def _late(population: Population, group: Ints, rows: Mask, share: float) -> Mask:
    """Mark the groups with about the last ``share`` of each user's ``rows``; groups in time order.

    A group is late if its middle lies beyond the first 1 - share of the user's rows. The first group
    never is, the last of several always is.
    """
    late = np.zeros(population.n_rows, dtype=bool)
    index = np.flatnonzero(rows)
    if not len(index) or not share:
        return late
    _, first, group, sizes = np.unique(
        group[index], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    owner, size = population.row_user[index[first[order]]], sizes[order]
    starts = np.searchsorted(owner, owner, side="left")
    before = np.cumsum(size) - size
    before -= before[starts]
    total = np.bincount(owner, weights=size)[owner]
    chosen = (before + size / 2) > (1 - share) * total + 1e-9
    last = np.append(owner[1:] != owner[:-1], True)
    chosen = (chosen | last) & (before > 0)
    marks = np.empty(len(order), dtype=bool)
    marks[order] = chosen
    late[index] = marks[group]
    return late


def _recent(population: Population, most: int) -> Mask:
    """Return bool [rows]: all but the earlier context rows of val and test users beyond ``most``."""
    context = (population.split == 0) & (population.role[population.row_user] > 0)
    user = population.row_user[context]
    counts = np.bincount(user, minlength=population.n_users)
    rank = np.arange(len(user)) - (np.cumsum(counts) - counts)[user]
    kept = np.ones(population.n_rows, dtype=bool)
    kept[context] = rank >= counts[user] - most
    return kept
