"""What the located methods share: features of items, validation users, and choosing between settings."""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from palate.core import Corpus, Method, Pairs, Population, Queries
from palate.models.features import embed
from palate.numerics.design import log_loss, mean_by

__all__ = ["EmbeddingMethod", "Validation", "best", "evident", "option_dot", "sharpen"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
_memory = threading.Lock()


@dataclass(frozen=True, eq=False)
class Validation:
    """Users that only choose settings: what a method may adapt on, and what it is scored on.

    Attributes:
        context: The validation users with their context rows.
        target: Their target pairs; ``target.user`` counts over ``context.users``.
    """

    context: Population
    target: Pairs

    @classmethod
    def of(cls, population: Population) -> "Validation":
        """Take the validation users out of a population with roles and splits."""
        users = population.with_role("val")
        return cls(users.with_split("context"), users.with_split("target").pairs)

    def __len__(self) -> int:
        return len(self.target)

    def losses(self, scores: Floats) -> Floats:
        """Return float64 [users with targets]: mean log-loss a user, for scores [items] all users share."""
        return self.losses_of(scores[self.target.winner] - scores[self.target.loser])

    def losses_of(self, differences: Floats) -> Floats:
        """Return float64 [users with targets]: mean log-loss a user, for log-odds [target pairs]."""
        means = mean_by(self.target.user, log_loss(differences, self.target.target), self.context.n_users)
        return means[np.isfinite(means)]


def best(losses: Sequence[Floats]) -> int:
    """Return the candidate with the lowest mean loss over users; the first where none can be measured."""
    means = [float(x.mean()) if len(x) else 0.0 for x in losses]
    return int(np.argmin(means))


def evident(with_directions: Floats, without: Floats) -> bool:
    """Say whether the users' paired log-losses fell by more than one standard error."""
    gain = without - with_directions
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def sharpen(validation: Validation, differences: Floats) -> float:
    """Return the factor of the log-odds that serves validation users best; 1 where there are few."""
    users = len(validation.losses_of(differences))
    if not users:
        return 1.0

    def cost(log_factor: float) -> float:
        loss = float(validation.losses_of(np.exp(log_factor) * differences).mean())
        return users * loss + 0.5 * (log_factor / 0.2) ** 2

    return float(np.exp(minimize_scalar(cost, bounds=(-1.0, 1.0), method="bounded").x))


@dataclass(kw_only=True, eq=False)
class EmbeddingMethod(Method):
    """A method on frozen embeddings of items.

    Args:
        encoder: Which encoder, e.g. ``lexical``, ``minilm+style``, ``hf:NAME``.
        seed: Seed of everything random.
    """

    encoder: str = "lexical"
    seed: int = 0
    _memo: "weakref.WeakKeyDictionary[Corpus, Any]" = field(
        default_factory=weakref.WeakKeyDictionary, init=False, repr=False
    )

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's fields and their values."""
        return {key: value for key, value in super().config.items() if not key.startswith("_")}

    def _features(self, corpus: Corpus) -> Floats:
        """Return float32 [items, d], shared by all methods and read-only."""
        return np.asarray(embed(corpus, self.encoder))

    def _remember(self, corpus: Corpus, make: Any) -> Any:
        """Return ``make()``, computed once a corpus and fit. Threads that ask at once may make it twice."""
        with _memory:
            of, value = self._memo.get(corpus, ("", None))
        if of != self.fingerprint:
            value = make()
            with _memory:
                self._memo[corpus] = (self.fingerprint, value)
        return value


def option_dot(table: Floats, vectors: Floats, queries: Queries, block: int = 1 << 24) -> Floats:
    """Return float64 [options]: each option's row of ``table`` [items, k] times its persona's vector."""
    who = queries.who[queries.option_query]
    out = np.empty(len(queries.options))
    step = max(1, block // max(table.shape[1], 1))
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        out[part] = np.einsum("ij,ij->i", table[queries.options[part]], vectors[who[part]])
    return out
