"""Is this feedback fit for use? Counts, biases of position and length, conflicts, near-copies."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Population
from palate.feedback.copies import near_copies, shingle
from palate.feedback.intervals import Figure, clustered_mean
from palate.feedback.keys import chosen_item, question_keys
from palate.feedback.read import ReadResult
from palate.feedback.report import ReadReport
from palate.feedback.splits import split_new_users

__all__ = ["CheckReport", "Copies", "check"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Copies:
    """Texts of test users' targets that stand elsewhere too.

    Attributes:
        texts: Texts that were looked at.
        exact: Of them, the same text.
        near: Of them, not the same but nearly (see ``palate.feedback.copies``).
    """

    texts: int
    exact: int
    near: int


@dataclass(frozen=True)
class CheckReport:
    """What is in a population, and what may be wrong with it.

    Attributes:
        read: What reading found.
        users: Users, those without a choice included.
        idle_users: Users without a choice.
        choices: Choices.
        ties: Choices that are ties.
        nway: Choices among more than two responses.
        conversations: Distinct conversations.
        responses: Distinct responses.
        pairs_per_user: Quantile (0 is the least, 1 the most) to number of pairs.
        conflicts: Questions that a user answered in two ways.
        longer_wins: Share of pairs in which the longer response, in characters, won.
        first_wins: Share of choices in which the response that was shown first won; its note tells what
            chance would give.
        roles: Users by role, and where the roles come from.
        copies_in_training: Target texts of test users that stand in training users' rows.
        copies_in_context: Target texts of test users that stand in the same user's context.
    """

    read: ReadReport
    users: int
    idle_users: int
    choices: int
    ties: int
    nway: int
    conversations: int
    responses: int
    pairs_per_user: dict[float, float]
    conflicts: int
    longer_wins: Figure
    first_wins: Figure
    roles: dict[str, int]
    roles_from: str
    copies_in_training: Copies
    copies_in_context: Copies

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["read"] = self.read.to_json()
        plain["pairs_per_user"] = {f"{q:g}": n for q, n in self.pairs_per_user.items()}
        return {k: asdict(v) if isinstance(v, (Figure, Copies)) else v for k, v in plain.items()}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what and value, for people, in reading order."""
        r, q = self.read, self.pairs_per_user
        yield "rows", f"{r.rows:,} read, {r.rows - r.n_set_aside:,} kept, {r.n_set_aside:,} set aside"
        if r.adapter:
            yield "read as", "; ".join((r.adapter, *r.notes))
        for why, count in r.left_out.most_common():
            yield "  left out by its rules", f"{count:,}: {why}"
        for kind, count in r.set_aside.most_common():
            example = next((str(d) for d in r.details if d.kind == kind), "")
            yield f"  {kind}", f"{count:,}, such as {example}" if example else f"{count:,}"
        for what, count in r.warnings.most_common():
            yield "  warning", f"{count:,}: {what}"
        if r.unused:
            yield "columns not used", ", ".join(f"{c} ({n:,})" for c, n in r.unused.most_common())
        if r.rule:
            yield "ratings", f"{r.ratings:,}: {r.ratings_used:,} used, {r.ratings_unused:,} unused; {r.rule}"
        yield "users", f"{self.users:,}, {self.idle_users:,} without a choice"
        yield "choices", f"{self.choices:,}: {self.ties:,} ties, {self.nway:,} among more than two"
        yield "texts", f"{self.responses:,} responses to {self.conversations:,} conversations"
        if q:
            yield (
                "pairs a user",
                f"{q[0.0]:g} to {q[1.0]:g}, median {q[0.5]:g}, most within {q[0.1]:g} to {q[0.9]:g}",
            )
        yield "repeated rows", f"{r.duplicates:,} equal to an earlier one (kept)"
        yield "conflicts", f"{self.conflicts:,} questions that a user answered in two ways"
        yield "longer wins", str(self.longer_wins)
        yield "first position wins", str(self.first_wins)
        yield "roles", ", ".join(f"{n:,} {role}" for role, n in self.roles.items()) + f" ({self.roles_from})"
        for what, copies in (
            ("training rows", self.copies_in_training),
            ("own context", self.copies_in_context),
        ):
            yield (
                f"target texts in {what}",
                f"{copies.exact:,} the same and {copies.near:,} nearly the same, of {copies.texts:,}",
            )


def check(result: ReadResult, *, seed: int = 0) -> CheckReport:
    """Look at what was read.

    Args:
        result: What :func:`palate.feedback.read` returned.
        seed: Draws the intervals; and the split, for feedback that brings no roles.
    """
    population = result.population
    pairs = np.bincount(population.pairs.user, minlength=population.n_users)
    given = bool((population.role == 2).any() and (population.split == 1).any())
    split = population if given else split_new_users(population, seed)
    names = ("train", "val", "test")
    return CheckReport(
        read=result.report,
        users=population.n_users,
        idle_users=int((np.diff(population.offsets) == 0).sum()),
        choices=population.n_rows,
        ties=int((population.chosen < 0).sum()),
        nway=int((np.diff(population.option_offsets) > 2).sum()),
        conversations=len(population.corpus.conversations),
        responses=len(population.corpus.responses),
        pairs_per_user={q: float(np.quantile(pairs, q)) for q in QUANTILES} if len(pairs) else {},
        conflicts=_conflicts(population),
        longer_wins=_longer_wins(population, seed),
        first_wins=_first_wins(population, result.shown, seed),
        roles={name: int((split.role == code).sum()) for code, name in enumerate(names)},
        roles_from="as given" if given else f"none given, split by seed {seed}",
        copies_in_training=_copies_in_training(split),
        copies_in_context=_copies_in_context(split),
    )


def _conflicts(population: Population) -> int:
    """Count questions to which one user gave two answers; a tie is no answer."""
    if not population.n_rows:
        return 0
    answered = population.chosen >= 0
    key, item = question_keys(population)[answered], chosen_item(population)[answered]
    order = np.lexsort((item, key))
    key, item = key[order], item[order]
    differ = (key[1:] == key[:-1]) & (item[1:] != item[:-1])
    return len(np.unique(key[1:][differ]))


def _longer_wins(population: Population, seed: int) -> Figure:
    pairs = population.pairs
    pairs = pairs.take(pairs.target == 1)
    lengths = np.fromiter(map(len, population.corpus.responses), np.int64, len(population.corpus.responses))
    of_item = lengths[population.corpus.item_response]
    gap = of_item[pairs.winner] - of_item[pairs.loser]
    return clustered_mean(gap[gap != 0] > 0, pairs.user[gap != 0], seed=seed, note="pairs of unequal length")


def _first_wins(population: Population, shown: Mask, seed: int) -> Figure:
    counted = shown & (population.chosen >= 0)
    if not counted.any():
        return Figure(None, note="rows with chosen and rejected do not say which was shown first")
    chance = float((1 / np.diff(population.option_offsets)[counted]).mean())
    return clustered_mean(
        population.chosen[counted] == 0, population.row_user[counted], seed=seed, note=f"chance {chance:.3f}"
    )


def _texts_of(population: Population, rows: Mask) -> tuple[Ints, Ints]:
    """Return the distinct (user, response) of some rows."""
    row = np.repeat(np.arange(population.n_rows), np.diff(population.option_offsets))
    inside = rows[row]
    text = population.corpus.item_response[population.options[inside]]
    n = len(population.corpus.responses) + 1
    both = np.unique(population.row_user[row[inside]] * n + text)
    return both // n, both % n


def _copies_in_training(population: Population) -> Copies:
    """Compare test users' targets with everything that training users saw."""
    role = population.role[population.row_user]
    left = np.unique(_texts_of(population, (role == 2) & (population.split == 1))[1])
    right = np.unique(_texts_of(population, role == 0)[1])
    zero = np.zeros(max(len(left), len(right)), np.int64)
    return _compared(population, left, right, zero[: len(left)], zero[: len(right)])


def _copies_in_context(population: Population) -> Copies:
    """Compare test users' targets with the same users' contexts."""
    test = population.role[population.row_user] == 2
    user, left = _texts_of(population, test & (population.split == 1))
    owner, right = _texts_of(population, test & (population.split == 0))
    return _compared(population, left, right, user, owner)


def _compared(population: Population, left: Ints, right: Ints, user: Ints, owner: Ints) -> Copies:
    n = len(population.corpus.responses) + 1
    same = np.isin(user * n + left, owner * n + right)
    used, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    shingles = shingle([population.corpus.responses[i] for i in used.tolist()])
    a, b = place[: len(left)][~same], place[len(left) :]
    near = near_copies(shingles, a, b, user[~same], owner)
    return Copies(len(left), int(same.sum()), int(near.sum()))
