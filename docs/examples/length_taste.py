"""length-taste: how much longer, in doublings, a person's chosen answers are than the others.

With g_i = log2(1 + characters chosen) - log2(1 + characters rejected) over a user's n pairs,

    t_u = (sum_i g_i + shrink * average) / (n + shrink),        r_u(y) = t_u * log2(1 + characters of y)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from palate.core import Corpus, Method, Population, Queries

__all__ = ["LengthTaste"]

Floats = NDArray[np.floating[Any]]


@dataclass(kw_only=True, eq=False)
class LengthTaste(Method):
    """Longer or shorter, as each person likes it.

    Args:
        shrink: How many pairs of the average user a person begins with.
        seed: Kept for the protocol; nothing here is random.
    """

    name: ClassVar[str] = "length-taste"
    paper: ClassVar[str] = "none: an example"
    shrink: float = 4.0
    seed: int = 0

    def _learn(self, population: Population) -> None:
        train = population.with_role("train")
        total, count = _gaps(train)
        self.average_ = float(total.sum() / max(count.sum(), 1))

    def _condense(self, population: Population) -> Floats:
        total, count = _gaps(population)
        return ((total + self.shrink * self.average_) / (count + self.shrink))[:, None]

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        taste = vectors[queries.who[queries.option_query], 0]
        return taste * _doublings(queries.corpus)[queries.options]


def _doublings(corpus: Corpus) -> Floats:
    """Return float64 [items]: log2(1 + characters)."""
    lengths = np.array([len(text) for text in corpus.responses], np.float64)
    return np.log2(1.0 + lengths)[corpus.item_response]


def _gaps(population: Population) -> tuple[Floats, Floats]:
    """Return, for every user, the sum of the gaps and the number of pairs; ties have no gap."""
    pairs, doublings = population.pairs, _doublings(population.corpus)
    gap = (2.0 * pairs.target - 1.0) * (doublings[pairs.winner] - doublings[pairs.loser])
    n = population.n_users
    return np.bincount(pairs.user, weights=gap, minlength=n), np.bincount(pairs.user, minlength=n)
