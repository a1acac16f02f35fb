"""What a persona is used for: ranking, rewards, comparing two, a jury.

All scores are log-odds, which compare inside one query only. A reward is one response's score less the mean
of what it stands beside: ``among``, else the batch. A response all alone is put beside ``BESIDE``, the same
neutral answer each time, so that its reward compares for one user, conversation and persona version.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import Conversation, Personas
from palate.serve.keeper.held import Held
from palate.serve.keeper.lru import Lru
from palate.serve.keeper.texts import Offered, offered, talk_of
from palate.serve.wire.use import (
    Judge,
    Judged,
    Jury,
    JuryAnswer,
    PersonaUsed,
    Rank,
    Ranked,
    Rankings,
    Reward,
    Rewards,
    Vote,
)

__all__ = ["BESIDE", "Rewarded", "Row", "Scores"]

Floats = NDArray[np.floating[Any]]
BESIDE = "I am not sure."
"""The answer that a response without company is put beside."""
EVEN = 0.01
"""A probability so near to a half prefers neither."""


class Row(NamedTuple):
    """One response to be rewarded, with what it stands beside, if anything."""

    user: str | None
    conversation: Conversation
    response: str
    among: tuple[str, ...] = ()


class Rewarded(NamedTuple):
    """A reward in log-odds, and the persona it rests on."""

    reward: float
    persona: PersonaUsed


class Scores:
    """Scores of texts; those that are asked about again are not read again.

    Args:
        size: How many requests' texts are kept in memory.
    """

    def __init__(self, size: int = 4096) -> None:
        self._texts: Lru[tuple[Conversation, tuple[str, ...]], Offered] = Lru(size)

    def forget(self) -> int:
        """Let go of all texts; return how many requests' there were."""
        return self._texts.drop_where(lambda _: True)

    def known(self, body: Rank | Reward | Judge) -> bool:
        """Return whether a request's texts are in memory."""
        return self._texts.get(_asked(body)) is not None

    def of(self, held: Held, body: Rank | Reward | Judge) -> Floats:
        """Return float64 [responses]: log-odds of each response of a request for one persona."""
        asked = self._offered(*_asked(body)).asked_of(held.columns)
        return np.asarray(held.served.method.score_batch(asked))

    def rank(self, held: Held, body: Rank) -> Rankings:
        """Order responses, best first."""
        scores = self.of(held, body)
        return Rankings(ranking=_ranking(scores, _shares(scores)), persona=held.used)

    def judge(self, held: Held, body: Judge) -> Judged:
        """Compare two responses."""
        scores = self.of(held, body)
        log_odds = float(scores[0] - scores[1])
        p = float(_shares(scores)[0])
        prefers = "neither" if abs(p - 0.5) < EVEN else "first" if p > 0.5 else "second"
        return Judged(prefers=prefers, probability=p, log_odds=log_odds, persona=held.used)  # type: ignore[arg-type]

    def reward(self, held: Held, body: Reward) -> Rewards:
        """Reward responses to one conversation."""
        scores = self.of(held, body)
        mine, others = np.split(scores, [len(body.responses)])
        mean = others.mean() if len(others) else mine.mean()
        return Rewards(rewards=(mine - mean).tolist(), persona=held.used)

    def rows(self, held: Sequence[Held], rows: Sequence[Row]) -> list[Rewarded]:
        """Reward single responses, each for its own persona, in one batch a model."""
        out = np.zeros(len(rows))
        for served, places in _by_model(held):
            texts = [
                (rows[i].conversation, [rows[i].response, *(rows[i].among or (BESIDE,))]) for i in places
            ]
            asked = offered(texts).asked_of(
                Personas.of([held[i].persona for i in places]), np.arange(len(places))
            )
            scores = served.method.score_batch(asked)
            starts, sizes = asked.offsets[:-1], np.diff(asked.offsets)
            first = scores[starts]
            others = np.add.reduceat(scores, starts) - first
            out[places] = first - others / (sizes - 1)
        return [Rewarded(float(reward), each.used) for reward, each in zip(out, held, strict=True)]

    def jury(self, held: Sequence[Held], body: Jury) -> JuryAnswer:
        """Order responses as several users together would."""
        once = self._offered(talk_of(body.conversation), tuple(body.responses))
        n = len(body.responses)
        scores = np.zeros((len(held), n))
        for served, places in _by_model(held):
            personas = Personas.of([held[i].persona for i in places])
            asked = once.times(len(places)).asked_of(personas, np.arange(len(places)))
            scores[places] = asked.centred(served.method.score_batch(asked)).reshape(-1, n)
        shares = _shares(scores)
        firsts = np.bincount(scores.argmax(axis=1), minlength=n)
        jurors = len(held)
        apart = jurors * (jurors - 1)
        alike = (firsts * (firsts - 1)).sum() / apart if apart else 1.0
        return JuryAnswer(
            ranking=_ranking(*_together(body.rule, scores, firsts)),
            votes=[
                Vote(user=user, probabilities=row)
                for user, row in zip(body.users, shares.tolist(), strict=True)
            ],
            disagreement=float(1.0 - alike),
        )

    def _offered(self, talk: Conversation, responses: tuple[str, ...]) -> Offered:
        key = (talk, responses)
        found = self._texts.get(key)
        if found is None:
            found = offered([(talk, responses)])
            if sum(map(len, responses)) < 1 << 15:
                self._texts.put(key, found)
        return found


def _asked(body: Rank | Reward | Judge) -> tuple[Conversation, tuple[str, ...]]:
    """Return the conversation and all responses that are scored, those beside which a reward stands last."""
    if isinstance(body, Judge):
        responses = [body.first, body.second]
    elif isinstance(body, Reward):
        beside = body.among or ([BESIDE] if len(body.responses) == 1 else [])
        responses = [*body.responses, *beside]
    else:
        responses = body.responses
    return talk_of(body.conversation), tuple(responses)


def _shares(scores: Floats) -> Floats:
    """Return the probability that each response is chosen, over the last axis."""
    odds = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def _by_model(held: Sequence[Held]) -> list[tuple[Any, list[int]]]:
    """Return each model with the places of its personas."""
    found: dict[int, tuple[Any, list[int]]] = {}
    for place, each in enumerate(held):
        found.setdefault(id(each.served), (each.served, []))[1].append(place)
    return list(found.values())


def _together(rule: str, scores: Floats, firsts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return scores and probabilities of a whole jury; ``scores`` is [jurors, responses], means taken off."""
    if rule == "mean":
        mean = scores.mean(axis=0)
        return mean, _shares(mean)
    if rule == "worst":
        least = (scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)).min(axis=0)
        return least, _shares(least)
    share = firsts / len(scores)
    smoothed = (firsts + 0.5) / (len(scores) + 1.0)
    return np.log(smoothed / (1.0 - smoothed)), share


def _ranking(scores: Floats, shares: Floats) -> list[Ranked]:
    order = np.argsort(-scores, kind="stable").tolist()
    score, share = scores.tolist(), shares.tolist()
    return [Ranked(index=i, score=score[i], probability=share[i]) for i in order]
