"""A simulated world whose truth is known: users with tastes choose between written answers.

Every answer stands somewhere on eight readable axes (``world_answers``), and user u has a taste on them,
in log-odds per unit of an axis. With m_k the vector of taste k, c what all users share, e standard normal,

    theta_u   = shared * c + strength * m_k(u) + spread * e_u            the taste in the first episode
    theta_u,t = theta_u,t-1 + drift * e_u,t                              its walk from episode to episode
    P(i of options) = (1 - noise) * softmax(theta . axes)_i + noise / options

A user's rows are in time order: ``pairs`` context rows, then ``targets`` target rows, cut into ``episodes``
blocks on one topic each. Context and target of a user never share a prompt. Bounds: ``world_bounds``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import permutations
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from palate.core import Corpus, Population
from palate.feedback.world_answers import ANSWERS, AXES, VARIANTS, axis_vector, world_answers
from palate.feedback.world_checks import check_world, impossible

__all__ = ["COMMON", "TASTES", "Prior", "Ratings", "World", "WorldSample"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TASTES: dict[str, dict[str, float]] = {
    "brisk": {"length": -1, "hedging": -1, "warmth": -0.5},
    "thorough": {"length": 1, "structure": 1, "technical": 0.5},
    "friend": {"warmth": 1, "formality": -1, "examples": 0.5},
    "scholar": {"formality": 1, "technical": 1, "hedging": 0.5},
    "storyteller": {"examples": 1, "structure": -1, "technical": -0.5},
    "careful": {"leaning": -1, "hedging": 1, "structure": 0.5},
    "daring": {"leaning": 1, "hedging": -1, "formality": -0.5},
    "short": {"length": -1},
    "long": {"length": 1},
}
"""The named tastes: what each likes (above 0) and dislikes (below 0), by axis."""

COMMON: dict[str, float] = {"examples": 0.7, "structure": 0.5, "warmth": 0.5}
"""What all users share, scaled by ``World.shared``."""

_WIDTH = 3  # axes that a generated taste has a view on
_WALKS = 4096  # different ways in which users part the prompts of the topics
_CHUNK_ROWS = 400_000
_START, _EPISODE_GAP, _ROW_GAP = 1.7e9, 3 * 86_400.0, 90.0  # seconds


class Prior(NamedTuple):
    """How tastes are spread over users: a mixture of round normals.

    Attributes:
        weights: float64 [tastes], summing to one.
        means: float64 [tastes, 8], log-odds per unit of an axis.
        sd: Within-taste standard deviation on every axis, in the same unit.
    """

    weights: Floats
    means: Floats
    sd: float


class Ratings(NamedTuple):
    """Graded answers as columns, option after option of every row.

    Attributes:
        user: int64 [options].
        item: int64 [options], index into the corpus.
        rating: int8 [options], 1 to 5.
    """

    user: Ints
    item: Ints
    rating: NDArray[np.int8]


@dataclass(frozen=True)
class World:
    """A configuration of the world; equal fields give an equal sample.

    Args:
        users: How many.
        pairs: Context rows of a user.
        targets: Held-out rows of a user, later in time.
        tastes: Names from ``TASTES``, or a number of tastes to generate from the seed.
        mixture: Share of users of each taste, minorities last; empty means equal shares.
        strength: Scale of the tastes, log-odds per unit of an axis.
        spread: Standard deviation of users within a taste, same unit, on every axis.
        shared: Scale of ``COMMON``, same unit.
        noise: Share of choices made at random.
        drift: Standard deviation of the step from one episode to the next, same unit, on every axis.
        episodes: Topic blocks that a user's rows are cut into.
        kind: ``pairs``; ``nway`` (``options`` answers, one chosen); ``ratings`` (the same choices, the
            answers graded 1 to 5 beside them).
        options: Answers on offer in a row, all of different written answers.
        differ: Axes on which the written answers of a row always differ, by a whole unit or more.
        seed: Seed of everything.

    Raises:
        ConfigError: If a field is impossible.

    >>> sample = World(users=10, pairs=4, targets=2, episodes=2).sample()
    >>> sample.population.n_rows, sample.theta.shape, sample.episode[:6].tolist()
    (60, (10, 8), [0, 0, 0, 1, 1, 1])
    """

    users: int = 2000
    pairs: int = 30
    targets: int = 20
    tastes: int | tuple[str, ...] = ("brisk", "thorough", "friend", "scholar")
    mixture: tuple[float, ...] = (0.45, 0.3, 0.15, 0.1)
    strength: float = 2.0
    spread: float = 0.4
    shared: float = 0.8
    noise: float = 0.06
    drift: float = 0.0
    episodes: int = 10
    kind: Literal["pairs", "ratings", "nway"] = "pairs"
    options: int = 2
    differ: tuple[str, ...] = ()
    seed: int = 0

    ROLE_SHARES: ClassVar[tuple[float, ...]] = (0.4, 0.1, 0.5)
    """Shares of users that a method learns from, is chosen on, and is tested on."""

    def __post_init__(self) -> None:
        for name in ("tastes", "mixture", "differ"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check_world({field.name: getattr(self, field.name) for field in fields(self)}, list(TASTES))

    @classmethod
    def default(cls, users: int = 2000, seed: int = 0) -> Self:
        """Return the world of every demonstration: four tastes, the smallest held by a tenth."""
        return cls(users=users, seed=seed)

    @classmethod
    def two_tastes(cls, users: int = 200, seed: int = 0) -> Self:
        """Return the smallest world: half the users want short answers, half long ones."""
        return cls(
            users=users,
            tastes=("short", "long"),
            mixture=(0.5, 0.5),
            strength=6.0,
            spread=0.25,
            shared=0.0,
            noise=0.0,
            differ=("length",),
            seed=seed,
        )

    @property
    def rows(self) -> int:
        """Rows of every user."""
        return self.pairs + self.targets

    @property
    def taste_names(self) -> tuple[str, ...]:
        """The tastes by name; generated ones are numbered."""
        if isinstance(self.tastes, int):
            return tuple(f"taste-{number + 1}" for number in range(self.tastes))
        return self.tastes

    @property
    def episode_of_row(self) -> Ints:
        """int64 [rows]: the episode of each of a user's rows."""
        return np.arange(self.rows) * self.episodes // self.rows

    @cached_property
    def prior(self) -> Prior:
        """How tastes are spread over users, in the first episode."""
        if isinstance(self.tastes, int):
            rng = np.random.default_rng((self.seed, 1))
            tastes = rng.choice([-1.0, 1.0], (self.tastes, len(AXES)))
            tastes *= rng.random(tastes.shape).argsort(axis=1) < _WIDTH
        else:
            tastes = np.array([axis_vector(TASTES[name]) for name in self.tastes])
        weights = np.array(self.mixture or [1.0] * len(tastes), float)
        return Prior(
            weights / weights.sum(), self.shared * axis_vector(COMMON) + self.strength * tastes, self.spread
        )

    def sample(self) -> "WorldSample":
        """Draw the users and their choices.

        One million users with ten rows each take about seven seconds and 2 GiB, a good third of both for
        the names of the rows, which a population holds as Python strings.
        """
        return _sample(self)


@dataclass(frozen=True, eq=False)
class WorldSample:
    """People of a world, their choices, and the truth behind them.

    Attributes:
        world: The configuration.
        population: The choices, with roles (train, val, test) and splits (context, target).
        items_axes: float64 [items, 8], the axes of every item of the corpus.
        taste: int64 [users], the number of each user's taste.
        theta: float64 [users, 8], the taste in the first episode, log-odds per unit of an axis.
        walk: float32 [users, episodes, 8], what drift has added by each episode; None without drift.
        episode: int32 [rows], the episode of each row.
        grades: int8 [options], 1 to 5, in the order of ``population.options``; None except for ratings.
    """

    world: World
    population: Population
    items_axes: Floats
    taste: Ints
    theta: Floats
    walk: NDArray[np.float32] | None
    episode: NDArray[np.int32]
    grades: NDArray[np.int8] | None

    def theta_of(self, rows: Ints) -> Floats:
        """Return float64 [rows, 8]: the taste of the row's user at the time of the row."""
        user = self.population.row_user[rows]
        now = self.theta[user]
        return now if self.walk is None else now + self.walk[user, self.episode[rows]]

    def ratings(self) -> Ratings:
        """Return every option with its grade.

        A grade is the noisy utility behind the choice, cut into five: what was chosen has the highest
        grade of its row, possibly with others.

        Raises:
            ConfigError: If the world is not of the kind ``ratings``.
        """
        if self.grades is None:
            raise impossible("kind", self.world.kind, "'ratings'", "World(kind='ratings') has graded answers")
        people = self.population
        user = np.repeat(people.row_user, np.diff(people.option_offsets))
        return Ratings(user, people.options, self.grades)


class _Chunk(NamedTuple):
    """Rows of some users: [users, rows] or [users, rows, options]."""

    items: Ints
    chosen: Ints
    utility: Floats
    times: Floats


def _sample(world: World) -> WorldSample:
    rng = np.random.default_rng((world.seed, 2))
    prior = world.prior
    quota = _quota(prior.weights, world.users)
    taste = rng.permutation(np.repeat(np.arange(len(quota)), quota))
    theta = prior.means[taste] + prior.sd * rng.standard_normal((world.users, len(AXES)))
    role = rng.permutation(np.repeat(np.arange(3), _quota(np.array(world.ROLE_SHARES), world.users)))
    walk = _walk(world, rng)
    parts = list(_chunks(world, theta, walk, rng))
    grades = _grades(np.concatenate([part.utility for part in parts])) if world.kind == "ratings" else None
    population = _population(world, parts, role.astype(np.int8))
    episode = np.tile(world.episode_of_row.astype(np.int32), world.users)
    return WorldSample(world, population, world_answers().axes, taste, theta, walk, episode, grades)


def _quota(shares: Floats, users: int) -> Ints:
    """Return int64 [shares]: whole numbers of users as near as possible to their shares."""
    exact = shares / shares.sum() * users
    counts: Ints = np.floor(exact + 1e-9).astype(np.int64)
    missing = users - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


def _walk(world: World, rng: np.random.Generator) -> NDArray[np.float32] | None:
    if world.drift == 0:
        return None
    steps = rng.standard_normal((world.users, world.episodes, len(AXES)), dtype=np.float32)
    steps[:, 0] = 0
    return np.cumsum(steps * np.float32(world.drift), axis=1)


def _chunks(
    world: World, theta: Floats, walk: NDArray[np.float32] | None, rng: np.random.Generator
) -> Iterator[_Chunk]:
    """Let the users choose, some hundred thousand rows at a time."""
    axes, table = world_answers().axes, _choices(world)
    size = max(1, _CHUNK_ROWS // world.rows)
    for start in range(0, world.users, size):
        tastes = theta[start : start + size, None]
        if walk is not None:
            tastes = tastes + walk[start : start + size, world.episode_of_row]
        items = _offer(world, len(tastes), table, rng)
        shape = items.shape
        per_row = np.broadcast_to(tastes, (*shape[:2], len(AXES)))
        liking = np.einsum("uroa,ura->uro", axes[items], per_row)
        liking[rng.random(shape[:2]) < world.noise] = 0
        liking += rng.gumbel(size=shape)
        gaps = rng.uniform(0.5, 1.5, shape[:2]) * _ROW_GAP
        gaps[:, 1:] += _EPISODE_GAP * np.diff(world.episode_of_row)
        gaps[:, 0] += _EPISODE_GAP * 10 * rng.random(len(items))
        kept = liking if world.kind == "ratings" else liking[:0]
        yield _Chunk(items, liking.argmax(axis=2), kept, _START + np.cumsum(gaps, axis=1))


def _choices(world: World) -> tuple[Ints, Ints]:
    """Return the ordered sets of written answers that a row may offer.

    Returns:
        int64 [prompts, most, options] and how many of them are allowed, int64 [prompts].
    """
    orders = np.array(list(permutations(range(ANSWERS), world.options)))
    answers = world_answers()
    on = [number for number, axis in enumerate(AXES) if axis.name in world.differ]
    labels = answers.labels[:, orders][..., on]  # [prompts, orders, options, axes]
    left, right = np.triu_indices(world.options, k=1)
    allowed = (np.abs(labels[:, :, left] - labels[:, :, right]) >= 1).all(axis=(2, 3))
    counts = allowed.sum(axis=1)
    if not counts.all():
        expected = f"axes on which some {world.options} answers of every prompt differ"
        raise impossible("differ", world.differ, expected, "name fewer axes, or offer fewer options")
    return orders[np.argsort(~allowed, axis=1, kind="stable")], counts


def _offer(world: World, users: int, table: tuple[Ints, Ints], rng: np.random.Generator) -> Ints:
    """Return int64 [users, rows, options]: the items on offer."""
    prompts = _prompts(world, users, rng)
    orders, counts = table
    pick = (rng.random(prompts.shape) * counts[prompts]).astype(np.int64)
    answer = prompts[..., None] * ANSWERS + orders[prompts, pick]
    return answer * VARIANTS + rng.integers(VARIANTS, size=answer.shape)


def _prompts(world: World, users: int, rng: np.random.Generator) -> Ints:
    """Return int64 [users, rows]: prompts of one topic an episode, none in both context and target."""
    topic_prompts = world_answers().topic_prompts
    topics, each = topic_prompts.shape
    steps = rng.integers(1, topics, (users, world.episodes))
    topic = (np.cumsum(steps, axis=1) % topics)[:, world.episode_of_row]
    share = world.pairs / world.rows
    cut = int(np.clip(round(each * share), 1, each - 1)) if 0 < share < 1 else round(each * share)
    is_target = np.arange(world.rows) >= world.pairs
    place = rng.random((users, world.rows)) * np.where(is_target, each - cut, cut) + is_target * cut
    orders = rng.permuted(np.broadcast_to(np.arange(each), (_WALKS, topics, each)), axis=2)
    order = orders[rng.integers(_WALKS, size=users)[:, None], topic, place.astype(np.int64)]
    prompts: Ints = topic_prompts[topic, order]
    return prompts


def _grades(utility: Floats) -> NDArray[np.int8]:
    """Cut noisy utilities, standardised over the world, into five grades."""
    flat = utility.reshape(-1)
    standard = (flat - flat.mean()) / flat.std()
    grades: NDArray[np.int8] = (1 + np.searchsorted([-1.2, -0.4, 0.4, 1.2], standard)).astype(np.int8)
    return grades


def _population(world: World, parts: list[_Chunk], role: NDArray[np.int8]) -> Population:
    n_rows = world.users * world.rows
    width = max(6, len(str(world.users - 1)))
    users = [f"u{number:0{width}d}" for number in range(world.users)]
    ends = [f"-{number}" for number in range(world.rows)]
    split = (np.arange(world.rows) >= world.pairs).astype(np.int8)
    corpus: Corpus = world_answers().corpus
    return Population(
        corpus=corpus,
        users=_objects(users),
        offsets=np.arange(world.users + 1) * world.rows,
        options=np.concatenate([part.items.reshape(-1) for part in parts]),
        option_offsets=np.arange(n_rows + 1) * world.options,
        chosen=np.concatenate([part.chosen.reshape(-1) for part in parts]),
        times=np.concatenate([part.times.reshape(-1) for part in parts]),
        ids=_objects([user + end for user in users for end in ends]),
        role=role,
        split=np.tile(split, world.users),
    )


def _objects(values: list[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
