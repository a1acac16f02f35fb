"""What kind of disagreement a data set holds ("When Personalization Meets Reality", 4.2).

An *input* is a pair of responses to one conversation that at least two users compared. With y[u, x] in
[0, 1] user u's mean choice on input x (1 = the first item, ties left out):

    disagreement        some users of x stand on different sides
    highly divergent    at least 30 % of them stand off the majority
    MV-ACC of u         mean over u's inputs of how often the majority of the OTHER users is right
                        (0.5 where they are evenly divided); below 0.5 u is a minority
    consistency         share of repeated questions that the same user answered as before
    room                consistency - accuracy of the pooled model: no method can gain more

Departs from the paper: the majority leaves the user out (with few users each would else vote for
themselves), and consistency is measured where questions recur, not assumed.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Population
from palate.feedback.intervals import Figure, clustered_mean
from palate.feedback.keys import equal_rows

__all__ = ["Description", "describe"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
DIVERGENT = 0.3
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Description:
    """The characteristics; a figure that cannot be known has value None and says why in its note.

    Attributes:
        inputs: Item pairs that at least two users compared.
        disagreement: Share of inputs with users on both sides (interval over inputs).
        divergent: Share of inputs with at least 30 % off the majority (interval over inputs).
        mv_accuracy: Mean over users of how well the other users' majority predicts them.
        mv_accuracy_quantiles: Quantile to MV-ACC of a user; 0 and 1 are the range.
        minorities: Users with MV-ACC below 0.5, as a share of the users with shared inputs.
        n_minorities: How many they are.
        consistency: Share of repeated questions answered as before.
        room: Consistency minus the pooled model's accuracy.
    """

    inputs: int
    disagreement: Figure
    divergent: Figure
    mv_accuracy: Figure
    mv_accuracy_quantiles: dict[float, float]
    minorities: Figure
    n_minorities: int
    consistency: Figure
    room: Figure

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = asdict(self)
        plain["mv_accuracy_quantiles"] = {f"{q:g}": v for q, v in self.mv_accuracy_quantiles.items()}
        return plain

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what and value, for people, in reading order."""
        q = self.mv_accuracy_quantiles
        yield "inputs that two users or more compared", f"{self.inputs:,}"
        yield "inputs with any disagreement", str(self.disagreement)
        yield "inputs highly divergent (30 % or more off the majority)", str(self.divergent)
        yield "majority-vote accuracy of a user", str(self.mv_accuracy)
        if q:
            yield (
                "its range",
                f"{q[0.0]:.3f} to {q[1.0]:.3f}, median {q[0.5]:.3f}, tenths {q[0.1]:.3f} to {q[0.9]:.3f}",
            )
        yield "minorities (below 0.5)", f"{self.n_minorities:,} users; share {self.minorities}"
        yield "consistency on repeated questions", str(self.consistency)
        yield "room for personalization", str(self.room)


def describe(population: Population, *, pooled_accuracy: float | None = None, seed: int = 0) -> Description:
    """Return the characteristics of a population.

    Args:
        population: Feedback.
        pooled_accuracy: Accuracy of the unpersonalized model, from ``palate bench``.
        seed: Draws the intervals.
    """
    user, item_pair, side, row = _answers(population)
    stance = _stances(user, item_pair, side)
    consistency = _consistency(population, user, item_pair, side, row, seed)
    figures = _sharing(*stance, seed)
    return Description(**figures, consistency=consistency, room=_room(consistency, pooled_accuracy))


def _answers(population: Population) -> tuple[Ints, Ints, Floats, Ints]:
    """Return user, item pair, side (1 if its lower item won) and row of every pair that is no tie."""
    pairs = population.pairs
    pairs = pairs.take(pairs.target == 1)
    low, high = np.minimum(pairs.winner, pairs.loser), np.maximum(pairs.winner, pairs.loser)
    _, number = np.unique(low * (len(population.corpus) + 1) + high, return_inverse=True)
    return pairs.user, number, (pairs.winner == low).astype(float), pairs.row


def _stances(user: Ints, item_pair: Ints, side: Floats) -> tuple[Ints, Ints, Floats]:
    """Return user, input and mean side of each user on each input; inputs of two users or more."""
    n = int(item_pair.max(initial=-1)) + 1
    both, place = np.unique(user * n + item_pair, return_inverse=True)
    mean = np.bincount(place, weights=side, minlength=len(both)) / np.maximum(np.bincount(place), 1)
    who, what = (both // n, both % n) if n else (both, both)
    shared = (np.bincount(what, minlength=n) > 1)[what] if n else np.zeros(0, dtype=bool)
    _, number = np.unique(what[shared], return_inverse=True)
    return who[shared], number, mean[shared]


def _sharing(user: Ints, number: Ints, stance: Floats, seed: int) -> dict[str, Any]:
    """Return the figures that rest on inputs which several users compared."""
    n_inputs = int(number.max(initial=-1)) + 1
    if not n_inputs:
        none = Figure(None, note="no two users compared the same two responses")
        names = ("disagreement", "divergent", "mv_accuracy", "minorities")
        return {**dict.fromkeys(names, none), "inputs": 0, "mv_accuracy_quantiles": {}, "n_minorities": 0}
    vote = np.sign(stance - 0.5)
    users = np.bincount(number)
    first = np.bincount(number, weights=stance) / users
    off = np.minimum(first, 1 - first)
    inputs, note = np.arange(n_inputs), "interval over inputs"
    others = np.bincount(number, weights=vote)[number] - vote
    hit = np.where(others == 0, 0.5, np.where(others > 0, stance, 1 - stance))
    who, member, counts = np.unique(user, return_inverse=True, return_counts=True)
    accuracy = np.bincount(member, weights=hit) / counts
    return {
        "inputs": n_inputs,
        "disagreement": clustered_mean(off > 0, inputs, seed=seed, note=note),
        "divergent": clustered_mean(off >= DIVERGENT, inputs, seed=seed, note=note),
        "mv_accuracy": clustered_mean(accuracy, who, seed=seed),
        "mv_accuracy_quantiles": {q: float(np.quantile(accuracy, q)) for q in QUANTILES},
        "minorities": clustered_mean(accuracy < 0.5, who, seed=seed),
        "n_minorities": int((accuracy < 0.5).sum()),
    }


def _consistency(
    population: Population, user: Ints, item_pair: Ints, side: Floats, row: Ints, seed: int
) -> Figure:
    """Compare each answer with the same user's answer before; a row copied with its time is no answer."""
    copied = equal_rows(population) & ~np.isnan(population.times) if population.n_rows else np.zeros(0, bool)
    asked = ~copied[row]
    user, item_pair, side, row = user[asked], item_pair[asked], side[asked], row[asked]
    order = np.lexsort((row, item_pair, user))
    a, b = order[:-1], order[1:]
    again = (user[a] == user[b]) & (item_pair[a] == item_pair[b])
    if not again.any():
        return Figure(None, note="no user was asked the same question twice")
    return clustered_mean(side[a][again] == side[b][again], user[a][again], seed=seed)


def _room(consistency: Figure, pooled_accuracy: float | None) -> Figure:
    if pooled_accuracy is None:
        return Figure(None, note="needs the pooled model's accuracy: run palate bench")
    if consistency.value is None or consistency.low is None or consistency.high is None:
        bound = "consistency is unknown" if consistency.value is None else "one user repeated a question"
        return Figure(None, note=f"{bound}; with perfect consistency it were {1 - pooled_accuracy:.3f}")
    return Figure(
        consistency.value - pooled_accuracy,
        consistency.low - pooled_accuracy,
        consistency.high - pooled_accuracy,
        consistency.n,
        consistency.clusters,
        "pooled accuracy taken as exact",
    )
