"""How much nearer texts lie to their own partners than to others': an AUC with an interval over users."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.evaluate.facets._people import Values, plain
from palate.evaluate.metrics import Bootstrap

__all__ = ["nearer", "partners"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
DRAWS = 1000


def partners(owner: Ints, same: Ints | None = None) -> Ints:
    """Return int64 [n]: for each text the number of another owner's, drawn by seed.

    Args:
        owner: int64 [n], whose each is; there are two owners or more.
        same: int64 [n]; partners are drawn among those of equal value, where another owner has one.

    >>> bool((partners(np.arange(5)) != np.arange(5)).all())
    True
    >>> partners(np.array([0, 0, 1, 2]), np.array([7, 8, 7, 9])).tolist()[0]
    2
    """
    rng = np.random.default_rng(2)
    out = np.zeros(len(owner), np.int64)
    for i in range(len(owner)):
        others = np.flatnonzero(owner != owner[i])
        alike = others if same is None else others[same[others] == same[i]]
        out[i] = rng.choice(alike if len(alike) else others)
    return out


def nearer(left: Floats, right: Floats, owner: Ints, same: Ints | None = None) -> Values:
    """Return the share of other owners' partners that lie farther from a text than its own; 0.5 is chance.

    Users are drawn for both sides, so that what is shared by all others counts as it should.

    Args:
        left: float64 [n, k], vectors of the texts.
        right: float64 [n, k], those of their partners.
        owner: int64 [n], the user of each.
        same: int64 [n]; only partners of equal value are compared.

    >>> x = np.eye(4)
    >>> nearer(x, x, np.arange(4))["value"], nearer(x, x[::-1], np.arange(4))["value"]
    (1.0, 0.333333)
    """
    users, local = np.unique(owner, return_inverse=True)
    n = len(users)
    scores = _centred(left) @ _centred(right).T
    own = np.diag(scores)[:, None]
    wins = np.where(np.isclose(scores, own, atol=1e-9), 0.5, (scores < own).astype(float))
    counts = (owner[:, None] != owner[None, :]).astype(float)
    if same is not None:
        counts *= same[:, None] == same[None, :]
    member = np.eye(n)[local]
    top, bottom = (member.T @ m @ member for m in (wins * counts, counts))
    nothing = {"value": None, "low": None, "high": None, "users": int((bottom.sum(axis=1) > 0).sum())}
    if not bottom.sum():
        return nothing
    value = float(top.sum() / bottom.sum())
    weights = Bootstrap(n, DRAWS, seed=1).weights.astype(np.float64)
    above, below = (((weights @ m) * weights).sum(axis=1) for m in (top, bottom))
    good = below > 0
    low, high = Bootstrap.percentiles(above[good] / below[good]) if n > 1 else (np.nan, np.nan)
    return {**nothing, "value": plain(value), "low": plain(low), "high": plain(high)}


def _centred(x: Floats) -> Floats:
    """Return vectors less their mean, of norm 1 or 0."""
    gap = x - x.mean(axis=0)
    norms = np.linalg.norm(gap, axis=1, keepdims=True)
    return np.asarray(gap / np.where(norms > 1e-12, norms, 1.0))
