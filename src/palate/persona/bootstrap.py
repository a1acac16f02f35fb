"""Demonstrations of a user's taste: reasoning that proved right, and the set of them that predicts best.

A judge is asked about a user's training pairs and reasons before it answers. Reasoning that led to the answer
the user chose is a trace; the rest is rejected. A candidate is a random subset of the traces, each a past
choice with the reasoning about it, and up to ``labelled`` other training pairs without reasoning, the latest
ones. Candidates are scored by the judge, who is shown them, on the user's validation pairs. Better is

    1. more validation pairs right;
    2. where token probabilities are given, a higher mean probability of the user's choice, in tenths a pair;
    3. more traces, then more labelled pairs;
    4. drawn earlier.

A call that failed is not right and has probability 0; the client counts it as failed. The four rules are one
whole number a candidate and a rank, so that no two candidates are level.

Calls: every pair is asked about in one order, drawn by a hash of its content: all candidates share its
position bias, which is balanced over pairs. Equal candidates are one. The race finds the candidate that
asking everything would find: with s_i the points so far, u_i the pairs not asked and m most points of a pair,

    i is out  if  s_i + u_i m < max_j s_j,  or level with it and of lower rank

The first in rank is asked about all pairs, which often ends it; then those with the highest s_i + u_i m, a
few at a time, on the pairs that most candidates fail.

Source: "SynthesizeMe!", 3.2, Algorithm 1. Departs: the best candidate is kept and not the first over a
threshold; labelled pairs are shown; calls are shared and raced; a candidate stands in time order.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from palate.core import Feedback
from palate.judge import Comparison, Judge, as_text
from palate.models.llm.wire import Answer, Asking, Reply, Request

__all__ = [
    "Candidate",
    "Pair",
    "best",
    "draw",
    "labelled_only",
    "no_demonstrations",
    "pairs_of",
    "reason",
    "split",
    "with_reasons",
]

_TENTHS = 10
_WIDE = 4  # candidates that are asked about in one round: fewer save calls, more save rounds
_BLOCKS = 4  # a candidate is asked about its pairs in at most so many rounds
_ANSWERS = "answer|one|response|reply|option"
_VERBS = "is|are|was|has|does|gives|offers|keeps|uses|would|seems|feels|reads|because|since|for|over|than"
_PLACE = re.compile(rf"\b(first|second)(?=\s+(?:{_ANSWERS})\b)", re.IGNORECASE)
_PLACE_ALONE = re.compile(rf"\b(the\s+)(first|second)\b(?=\s*(?:[.,;:)]|$)|\s+(?:{_VERBS})\b)", re.IGNORECASE)


class Pair(NamedTuple):
    """A choice between two answers, as the judge is asked about it.

    Attributes:
        feedback: The choice; its two responses stand in the order of their texts, without the user's reason.
        swapped: Whether the judge is shown them the other way round.
    """

    feedback: Feedback
    swapped: bool


class Candidate(NamedTuple):
    """A set of demonstrations.

    Attributes:
        examples: Choices in time order; ``reason`` is the reasoning about one, None for a labelled pair.
        traces: How many have reasoning that proved right.
    """

    examples: tuple[Feedback, ...] = ()
    traces: int = 0


def pairs_of(choice: Feedback) -> list[Pair]:
    """Return a decided choice as pairs: the chosen answer against each other one; equal answers say nothing.

    The order of the answers on offer makes no difference.
    """
    chosen = choice.chosen_response
    pairs = []
    for other in sorted(set(choice.responses) - {chosen}):
        if chosen is None:
            break
        responses = (chosen, other) if chosen < other else (other, chosen)
        feedback = replace(choice, responses=responses, chosen=responses.index(chosen), reason=None)
        pairs.append(Pair(feedback, bool(_digest(as_text(choice.conversation), *responses)[0] & 1)))
    return pairs


def split(choices: Sequence[Feedback], share: float) -> tuple[list[Pair], list[Pair]]:
    """Part choices, oldest first, into training and validation pairs; no choice stands in both.

    Training takes at most ``share`` of the choices, but one at least. With fewer than three choices there is
    no validation.

    >>> from palate.core import as_conversation
    >>> rows = [Feedback("ann", as_conversation(f"Question {n}?"), ("Yes.", "No."), n % 2) for n in range(10)]
    >>> [tuple(map(len, split(rows[:n], 0.7))) for n in (1, 2, 3, 5, 10)]
    [(1, 0), (2, 0), (2, 1), (3, 2), (7, 3)]
    """
    asked = [pairs for pairs in map(pairs_of, choices) if pairs]
    cut = max(1, int(share * len(asked) + 1e-9)) if len(asked) > 2 else len(asked)
    return [p for pairs in asked[:cut] for p in pairs], [p for pairs in asked[cut:] for p in pairs]


def with_reasons(examples: Sequence[Feedback]) -> tuple[tuple[Feedback, ...], Mapping[str, str]]:
    """Return demonstrations as a judge takes them: no two share an id, and the reasoning by id."""
    numbered = tuple(replace(example, id=f"{example.id}#{n}") for n, example in enumerate(examples))
    return numbered, {example.id: example.reason for example in numbered if example.reason}


def reason(
    judge: Judge, pairs: Sequence[Pair], text: str | None, temperature: float = 0.0, seed: int | None = None
) -> Asking[list[str | None]]:
    """Ask a judge who knows a persona, or nothing, to reason about training pairs.

    Returns:
        The reasoning about each pair, None where it led to the other answer or could not be read.
    """
    judge = replace(judge, reason=True)
    requests = [_request(judge, pair, text, Candidate()) for pair in pairs]
    answers = yield [request.but(temperature=temperature, seed=seed) for request in requests]
    return [_trace(judge, pair, answer) for pair, answer in zip(pairs, answers, strict=True)]


def _trace(judge: Judge, pair: Pair, answer: Answer) -> str | None:
    """Return the reasoning if it led to the user's choice, in words that hold in any order of the answers."""
    opinion = judge.opinion(answer, pair.swapped)
    if opinion.fault is not None or _toward(opinion.log_odds, pair) <= 0:
        return None
    first = pair.feedback.chosen == int(pair.swapped)
    return without_places(opinion.reason, first)


def without_places(words: str, first: bool) -> str:
    """Return reasoning with answers called by their fate in the place of their number.

    >>> without_places("First, they like lists; the second answer has one, unlike the first.", first=False)
    'First, they like lists; the chosen answer has one, unlike the rejected one.'
    """
    fates = {"first": "chosen", "second": "rejected"} if first else {"first": "rejected", "second": "chosen"}
    words = _PLACE.sub(lambda found: fates[found[1].lower()], words)
    return _PLACE_ALONE.sub(lambda found: f"{found[1]}{fates[found[2].lower()]} one", words)


def draw(
    pairs: Sequence[Pair],
    reasons: Sequence[str | None],
    *,
    candidates: int,
    labelled: int,
    most: int | None,
    seed: int,
) -> list[Candidate]:
    """Draw distinct candidates: all traces, then random subsets; none where no reasoning proved right.

    Args:
        pairs: Training pairs, oldest first.
        reasons: What reasoning about them gave.
        candidates: How many are drawn; equal ones are one.
        labelled: Most pairs without reasoning in a candidate.
        most: Most traces in a candidate, None for no limit.
        seed: Of the draws, with the content of the pairs.
    """
    kept = np.array([n for n, words in enumerate(reasons) if words is not None], dtype=np.int64)
    most = len(kept) if most is None else min(most, len(kept))
    if most < 1:
        return []
    rng = np.random.default_rng([seed, *_digest(*(_whole(pair) for pair in pairs))])
    sets = [kept[len(kept) - most :]]
    sets += [
        rng.choice(kept, rng.integers(1, most, endpoint=True), replace=False) for _ in range(candidates - 1)
    ]
    drawn = [_candidate(pairs, reasons, set(traces.tolist()), labelled) for traces in sets]
    return list(dict.fromkeys(drawn))


def labelled_only(pairs: Sequence[Pair], labelled: int) -> Candidate:
    """Return the candidate without reasoning: the latest training pairs, and who chose what."""
    return _candidate(pairs, [None] * len(pairs), set(), labelled)


def no_demonstrations() -> Candidate:
    """Return the candidate that shows nothing."""
    return Candidate()


def _candidate(
    pairs: Sequence[Pair], reasons: Sequence[str | None], traces: set[int], labelled: int
) -> Candidate:
    others = [n for n in range(len(pairs)) if n not in traces]
    shown = sorted({*traces, *others[max(0, len(others) - labelled) :]})
    examples = [
        replace(pairs[n].feedback, reason=(reasons[n] or None) if n in traces else None) for n in shown
    ]
    return Candidate(tuple(examples), len(traces))


def best(
    candidates: Sequence[Candidate],
    pairs: Sequence[Pair],
    judge: Judge,
    text: str | None,
    *,
    race: bool = True,
    stop: float | None = None,
) -> Asking[Candidate]:
    """Ask the judge about validation pairs until it is decided which candidate predicts them best.

    Args:
        candidates: At least one; without validation pairs the first in rank is taken.
        pairs: Validation pairs.
        judge: Who is shown a candidate.
        text: The persona that is shown beside it.
        race: Whether candidates that cannot win are no longer asked about; the result is the same.
        stop: Share of right answers with which a leader ends the race at once, at the risk that a better
            candidate is missed. None waits until the winner is certain.
    """
    ranked = sorted(candidates, key=lambda c: (-c.traces, -len(c.examples)))
    if len(ranked) == 1 or not pairs:
        return ranked[0]
    board = None
    cells = [(n, p) for n in range(1 if race else len(ranked)) for p in range(len(pairs))]
    while cells:
        answers = yield [_request(judge, pairs[p], text, ranked[n]) for n, p in cells]
        if board is None:  # the first in rank has been asked about everything: it tells what the model gives
            graded = any(isinstance(a, Reply) and a.logprobs for a in answers[: len(pairs)])
            board = _Board(len(ranked), len(pairs), graded)
        for (n, p), answer in zip(cells, answers, strict=True):
            board.note(n, p, *_mark(judge, pairs[p], answer))
        cells = board.next(stop)
    return ranked[board.leader if board else 0]


class _Board:
    """Points of the candidates, int64 [candidates, pairs], in rank order; -1 where not yet asked.

    A right answer is worth more than all probabilities together, so a sum orders by rules 1 and 2.
    """

    def __init__(self, candidates: int, pairs: int, graded: bool) -> None:
        self.tenths = _TENTHS if graded else 0
        self.right = pairs * self.tenths + 1
        self.points = np.full((candidates, pairs), -1)
        self.hits = np.zeros((candidates, pairs), dtype=bool)

    def note(self, candidate: int, pair: int, right: bool, probability: float) -> None:
        """Write an answer down."""
        self.hits[candidate, pair] = right
        self.points[candidate, pair] = right * self.right + round(probability * self.tenths)

    @property
    def least(self) -> np.ndarray:
        """int64 [candidates]: points so far."""
        return np.asarray(self.points.clip(0).sum(axis=1))

    @property
    def leader(self) -> int:
        """The candidate with most points so far; of those the first in rank."""
        return int(self.least.argmax())

    def open(self, stop: float | None) -> list[int]:
        """Return the leader and whoever may yet take its place, those who may yet get most points first."""
        least, leader = self.least, self.leader
        most = least + (self.points < 0).sum(axis=1) * (self.right + self.tenths)
        able = most > least[leader]
        able[:leader] |= most[:leader] == least[leader]
        if stop is not None and self.hits[leader].mean() >= stop - 1e-9:
            able[:] = False
        able[leader] = True
        return [int(n) for n in np.argsort(-most, kind="stable") if able[n]]

    def next(self, stop: float | None) -> list[tuple[int, int]]:
        """Return what is asked next; nothing where the winner is decided."""
        runners = self.open(stop)
        if len(runners) == 1:
            return []
        asked = self.points >= 0
        ease = (self.hits.sum(axis=0) + 1) / (asked.sum(axis=0) + 1.5)
        hardest = np.argsort(ease, kind="stable")
        block = -(-len(ease) // _BLOCKS)
        cells: list[tuple[int, int]] = []
        for n in [n for n in runners if not asked[n].all()][:_WIDE]:
            cells += [(n, int(p)) for p in hardest if not asked[n, p]][:block]
        return cells


def _request(judge: Judge, pair: Pair, text: str | None, shown: Candidate) -> Request:
    first, second = pair.feedback.responses
    examples, reasons = with_reasons(shown.examples)
    comparison = Comparison(pair.feedback.conversation, (first, second), text, examples, reasons)
    return judge.request(comparison, pair.swapped)


def _mark(judge: Judge, pair: Pair, answer: Answer) -> tuple[bool, float]:
    """Return whether an answer is right, and the probability that it gives the user's choice."""
    opinion = judge.opinion(answer, pair.swapped)
    if opinion.fault is not None:
        return False, 0.0
    toward = _toward(opinion.log_odds, pair)
    return toward > 0, float(expit(toward))


def _toward(log_odds: float, pair: Pair) -> float:
    """Turn the log-odds of answer 0 over answer 1 into those of the user's choice."""
    return log_odds if pair.feedback.chosen == 0 else -log_odds


def _whole(pair: Pair) -> str:
    return "\0".join(
        (as_text(pair.feedback.conversation), *pair.feedback.responses, str(pair.feedback.chosen))
    )


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
