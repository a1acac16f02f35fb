"""Which pair teaches most about a user, and how settled their persona is.

With x the log-odds of an answer over the other and x ~ N(m, v) what a method believes of it (``Uncertain``),
an answer tells about the taste, in nats,

    gain = H(E sigmoid(x)) - E H(sigmoid(x)),      H(p) = -p log p - (1 - p) log(1 - p)

by Gauss-Hermite quadrature (Houlsby et al. 2011). Where a method does not say how sure it is, the gain is
H(p): the pair it can say least about. Several pairs are chosen one after another, each as if the one before
had been answered as expected: so the same axis is not asked twice where one answer would do. A conversation
that the user saw among their last few counts for half.

    settled = 1 - sum v / sum v of the average user, over the pool or the user's own texts
              n / (n + 20) after n choices, where a method does not say how sure it is
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit

from palate.core import Conversation, Feedback, Persona, Personas, Uncertain, Updates
from palate.gate import Gate
from palate.serve.keeper.held import Held
from palate.serve.keeper.texts import Offered
from palate.serve.wire.use import Pair

__all__ = ["Pool", "gains", "seen_code", "settled", "spread_of", "teaching", "yardstick"]

Floats = NDArray[np.floating[Any]]
MOST = 200
"""Pairs that are looked at for one answer."""
_HALF_WAY = 20  # choices after which a persona counts as half settled
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_YARD = 64  # rows by which it is measured how settled a persona is


class Pool(NamedTuple):
    """Pairs that may be asked.

    Attributes:
        ids: The name of each, None for one that was sent along.
        rows: Conversation and responses of each.
        codes: What each is recognised by; see :func:`seen_code`.
        texts: The same as columns.
        yard: The rows by which it is measured how settled personas are.
    """

    ids: Sequence[str | None]
    rows: Sequence[tuple[Conversation, tuple[str, ...]]]
    codes: NDArray[np.int64]
    texts: Offered
    yard: Offered


def seen_code(talk: Conversation, responses: Sequence[str]) -> int:
    """Return a number that is equal for the same offer, whatever the order of its responses."""
    return hash((talk, frozenset(responses)))


def gains(mean: Floats, variance: Floats | None) -> Floats:
    """Return float64 [pairs]: nats that each answer is expected to tell.

    Args:
        mean: float [pairs], expected log-odds.
        variance: float [pairs], how unsure the method is of them; None where it does not say.

    >>> gains(np.array([0.0, 3.0]), None).round(3), gains(np.array([0.0, 0.0]), np.array([0.0, 4.0])).round(3)
    (array([0.693, 0.191]), array([0.   , 0.231]))
    """
    if variance is None:
        return _entropy(expit(mean))
    p = expit(mean[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * _NODES)
    told = _entropy(p @ _WEIGHTS) - _entropy(p) @ _WEIGHTS
    return np.asarray(np.maximum(told, 0.0))


def _entropy(p: Floats) -> Floats:
    return np.asarray(entr(p) + entr(1.0 - p))


def unsure(method: Any, persona: Persona) -> tuple[Uncertain, Persona] | None:
    """Return what can say how sure it is of a persona, with the persona as its own; None where none can."""
    if isinstance(method, Gate):
        return unsure(method.method, method.inner_persona(persona))
    return (method, persona) if isinstance(method, Uncertain) else None


def teaching(
    held: Held, pool: Pool, seen: set[int], lately: Sequence[Conversation], count: int, seed: int
) -> list[Pair]:
    """Return the pairs that teach most, best first.

    Args:
        held: The user's persona.
        pool: What may be asked.
        seen: Codes of what the user saw before; it is not asked again.
        lately: Conversations of the user's last few choices.
        count: How many pairs.
        seed: Draws ``MOST`` of a large pool; the same seed draws the same.
    """
    fresh = np.array([i for i, code in enumerate(pool.codes.tolist()) if code not in seen], np.int64)
    if len(fresh) > MOST:
        fresh = np.sort(np.random.default_rng(seed).choice(fresh, MOST, replace=False))
    if not len(fresh) or not held.served.cheap:
        return [_pair(pool, i, 0.0) for i in fresh[:count].tolist()]
    texts = pool.texts.take(fresh)
    method, persona = unsure(held.served.method, held.made) or (held.served.method, held.made)
    weight = np.array([0.5 if pool.rows[i][0] in set(lately) else 1.0 for i in fresh.tolist()])
    out: list[Pair] = []
    open_ = np.ones(len(fresh), bool)
    for number in range(min(count, len(fresh))):
        told, best = _told(method, persona, texts)
        chance = np.where(open_, told * weight, -1.0)
        place = int(chance.argmax())
        open_[place] = False
        row = int(fresh[place])
        out.append(_pair(pool, row, float(told[place])))
        talk, responses = pool.rows[row]
        weight[[pool.rows[i][0] == talk for i in fresh.tolist()]] *= 0.5
        if number + 1 < count and isinstance(method, Updates):
            name = persona.user or ""
            answer = Feedback(name, talk, responses, int(best[place]), id=f"\x1fasked-{number}")
            persona = method.update(persona, answer)
    return out


def _told(method: Any, persona: Persona, texts: Offered) -> tuple[Floats, NDArray[np.int64]]:
    """Return what each row is expected to tell [rows], and the response that is likeliest chosen [rows]."""
    asked = texts.asked_of(Personas.of([persona]))
    scores = np.asarray(method.score_batch(asked))
    best, gap = np.zeros(len(asked), np.int64), np.zeros(len(asked))
    sizes = np.diff(asked.offsets)
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        table = scores[asked.offsets[rows][:, None] + np.arange(size)]
        best[rows] = table.argmax(axis=1)
        top = np.sort(table, axis=1)
        gap[rows] = top[:, -1] - top[:, -2]
    if not isinstance(method, Uncertain):
        return gains(gap, None), best
    variance = np.asarray(method.variance_batch(asked))
    mean = gap * np.sqrt(1.0 + np.pi / 8.0 * variance)  # scores are averaged over what is not known
    return gains(mean, variance), best


def _pair(pool: Pool, row: int, gain: float) -> Pair:
    talk, responses = pool.rows[row]
    return Pair(
        id=pool.ids[row],
        conversation=[{"role": turn.role, "content": turn.content} for turn in talk],
        responses=list(responses),
        gain=gain,
    )


def yardstick(texts: Offered) -> Offered:
    """Return the rows by which it is measured how settled personas are."""
    return texts.take(np.arange(min(_YARD, len(texts.offsets) - 1)))


def spread_of(held: Held, rows: Offered, persona: Persona | None = None) -> float | None:
    """Return how unsure a model is of a persona over some rows, the sum of variances.

    Args:
        held: A persona of the model.
        rows: What it is asked about.
        persona: Another to be asked about in its place.

    Returns:
        None where the method does not say how sure it is.
    """
    knows = unsure(held.served.method, held.made) if held.made.provenance is not None else None
    if knows is None or len(rows.offsets) < 2:
        return None
    asked = rows.asked_of(Personas.of([knows[1] if persona is None else persona]))
    return float(np.asarray(knows[0].variance_batch(asked)).sum())


def settled(choices: int, spread: float | None, average: float | None) -> float:
    """Return 0 to 1: how near a persona is to more choices changing nothing; see the module's text.

    Args:
        choices: How many it reflects.
        spread: How unsure the method is of it, or None.
        average: The same of the average user.

    >>> settled(0, None, None), settled(20, None, None), settled(20, 1.0, 4.0)
    (0.0, 0.5, 0.75)
    """
    if not choices:
        return 0.0
    if spread is None or not average:
        return choices / (choices + _HALF_WAY)
    return float(np.clip(1.0 - spread / average, 0.0, 1.0))
