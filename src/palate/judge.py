"""Compare two answers for a person described in words: both orders, log-odds, reasons kept.

A model is shown the conversation, the two answers, the persona and past choices, if any, and says which
answer this user would prefer. Models favour a place, so every comparison is made in both orders. With l_1
the log-odds of answer A over B when A stands first, l_2 when B stands first,

    l = (l_1 + l_2) / 2            log-odds of A over B; scaled by what validation users teach

where an order's log-odds come from the probabilities of the answer's token (log P(First) - log P(Second))
where the endpoint gives them, and are +1 or -1 by the verdict alone elsewhere. An order that gave no answer
that can be read counts nothing, so l is halved; if both did, the comparison has no opinion, and whoever
asked is told so: it is never a tie in silence.

Source: "SynthesizeMe!", 5.1 and appendix F (a judge that reasons before it answers); "Whose Boat Does it
Float?" (both orders). Departs: log-odds in the place of a vote, from token probabilities where there are any.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from palate.core import Conversation, Feedback
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Answer, Asking, Fault, Reply, Request, Token

__all__ = [
    "JUDGE",
    "QUICK",
    "Comparison",
    "Judge",
    "Judgement",
    "Opinion",
    "Verdict",
    "as_example",
    "as_text",
    "choice_sections",
    "combine",
    "pairs_to_ask",
]

Floats = NDArray[np.float64]
_SURE = 8.0  # token log-odds beyond this say no more
_ROUND_ROBIN = 6  # up to so many answers every pair is compared
_NEIGHBOURS = 3  # beyond it, each answer is compared with so many on either side of a ring

_TASK = (
    "You predict which of two answers a particular user would prefer. You are given the conversation so far "
    "and two answers to it, the first and the second. You may also be given a persona, which describes what "
    "this user likes, and examples of choices that this user made before. Where a persona or examples are "
    "given, they count for more than your own taste: a user may well prefer the answer that most people "
    "would not. Where neither is given, say which answer people would more likely prefer. The place of an "
    "answer says nothing about it."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said: whether the first answer is preferred, and why."""

    first: bool
    reason: str = ""


def read_verdict(text: str) -> Verdict:
    """Read a judge's answer.

    Raises:
        Malformed: If it names neither answer.

    >>> read_verdict("Reason: It is shorter.\\n**Answer:** Second")
    Verdict(first=False, reason='It is shorter.')
    """
    found = list(re.finditer(r"\banswer\b\W{0,8}(?:is\W+)?(?:the\s+)?(first|second)\b", text, re.IGNORECASE))
    if not found:
        bare = re.fullmatch(r"\W*(?:the\s+)?(first|second)(?:\s+answer)?\W*", text, re.IGNORECASE)
        if bare is None:
            raise Malformed('the last line must be "Answer: First" or "Answer: Second"')
        found = [bare]
    last = found[-1]
    reason = re.sub(r"^\W*reason\w*\W+", "", text[: last.start()].strip(), flags=re.IGNORECASE)
    return Verdict(last.group(1).lower() == "first", reason.strip(' \n*"{},'))


JUDGE = Program(
    "judge",
    "Compare two answers",
    _TASK,
    "Reason in one to three sentences about what this user would value here. Then say which answer they "
    "would prefer. End with a line of its own:\nReason: ...\nAnswer: First   (or)   Answer: Second",
    "Reason: The user wants short and plain answers, and the second one is both.\nAnswer: Second",
    read_verdict,
    max_tokens=400,
)
"""Reasons, then answers."""
QUICK = Program(
    "judge-quick",
    "Compare two answers",
    _TASK,
    "Which answer would this user prefer? Reply with one word: First or Second.",
    "Second",
    read_verdict,
    max_tokens=8,
)
"""Answers at once: a tenth of the tokens, and token probabilities that are not yet settled by a reason."""


def as_text(conversation: Conversation) -> str:
    """Return a conversation as text; a single turn stands without its role."""
    if len(conversation) == 1:
        return conversation[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in conversation)


def as_example(feedback: Feedback, why: str = "") -> str:
    """Return a past choice as text: the conversation, what was chosen, what was rejected, and why.

    The order on offer is no part of it: what was rejected stands in the order of the texts.
    """
    chosen = feedback.chosen_response or ""
    others = sorted(text for i, text in enumerate(feedback.responses) if i != feedback.chosen)
    lines = [f"Conversation: {as_text(feedback.conversation)}", f"Chosen: {chosen}"]
    lines += [f"Rejected: {text}" for text in others]
    return "\n".join([*lines, f"Why: {why}"] if why else lines)


def choice_sections(
    text: str | None, examples: Sequence[Feedback], reasons: Mapping[str, str]
) -> list[Section]:
    """Return the sections that describe a user: the persona, then past choices as given, which are spare."""
    persona = [Section("persona", text)] if text else []
    shown = [Section("example", as_example(e, reasons.get(e.id, "")), spare=True) for e in examples]
    return persona + shown


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one conversation, and what is known of the user."""

    conversation: Conversation
    answers: tuple[str, str]
    persona: str | None = None
    examples: tuple[Feedback, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one order gave.

    Attributes:
        log_odds: Of answer 0 over answer 1; 0 where there is no opinion.
        reason: The judge's words.
        fault: Why there is no opinion, or None.
        key: The name under which the call is kept.
    """

    log_odds: float
    reason: str = ""
    fault: Fault | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What both orders gave together.

    Attributes:
        log_odds: Of answer 0 over answer 1, not scaled.
        opinions: One an order that was asked: answer 0 first, then answer 1 first.
    """

    log_odds: float
    opinions: tuple[Opinion, ...]

    @property
    def silent(self) -> bool:
        """Whether no order gave an opinion."""
        return all(opinion.fault is not None for opinion in self.opinions)

    @property
    def torn(self) -> bool:
        """Whether the two orders contradict each other: the judge looked at the place."""
        signs = {opinion.log_odds > 0 for opinion in self.opinions if opinion.fault is None}
        return len(signs) > 1


@dataclass(frozen=True)
class Judge:
    """A judge by words.

    Attributes:
        lm: The model that judges; "" is that of the client that drives.
        reason: Whether it reasons before it answers.
        logprobs: How many likeliest tokens are asked for; 0 goes by verdicts alone.
    """

    lm: str = ""
    reason: bool = True
    logprobs: int = 10

    def request(self, comparison: Comparison, swapped: bool = False) -> Request:
        """Return the request for one order: answer 0 first, or, swapped, answer 1 first."""
        first, second = comparison.answers[::-1] if swapped else comparison.answers
        sections = (
            *choice_sections(comparison.persona, comparison.examples, comparison.reasons),
            Section("conversation", as_text(comparison.conversation)),
            Section("first", first),
            Section("second", second),
        )
        return Request(JUDGE if self.reason else QUICK, sections, logprobs=self.logprobs, lm=self.lm)

    def opinion(self, answer: Answer, swapped: bool = False) -> Opinion:
        """Read the answer to :meth:`request`."""
        if isinstance(answer, Fault):
            return Opinion(0.0, fault=answer, key=answer.key)
        verdict: Verdict = answer.value
        log_odds = _token_log_odds(answer, verdict) if answer.logprobs else None
        if log_odds is None:
            log_odds = 1.0 if verdict.first else -1.0
        return Opinion(-log_odds if swapped else log_odds, verdict.reason, key=answer.key)

    def compare(self, comparisons: Sequence[Comparison]) -> Asking[list[Judgement]]:
        """Ask about every comparison in both orders, all at once."""
        orders = (False, True)
        answers = yield [self.request(c, swapped) for c in comparisons for swapped in orders]
        read = [self.opinion(a, orders[i % 2]) for i, a in enumerate(answers)]
        return [
            Judgement((one.log_odds + two.log_odds) / 2, (one, two))
            for one, two in zip(read[0::2], read[1::2], strict=True)
        ]


def _token_log_odds(reply: Reply, verdict: Verdict) -> float | None:
    """Return log P(First) - log P(Second) at the place of the answer, or None where it is not found."""
    wanted = "first" if verdict.first else "second"
    for token in reversed(reply.logprobs):
        if _begins(wanted, token.text):
            return _between(token)
    return None


def _begins(word: str, token: str) -> bool:
    """Whether a word may begin with a token."""
    bare = token.strip().strip('*"').lower()
    return bool(bare) and word.startswith(bare)


def _between(token: Token) -> float:
    """Return the log-odds of the two words among a place's likeliest tokens."""
    top = dict(token.top) | {token.text: token.logprob}
    floor = min(top.values())  # a word that is not among the likeliest is no likelier than the last of them

    def mass(word: str) -> float:
        found = [
            p for text, p in top.items() if (t := text.strip().strip('*"').lower()) and word.startswith(t)
        ]
        return float(logsumexp(found)) if found else floor

    return float(np.clip(mass("first") - mass("second"), -_SURE, _SURE))


def pairs_to_ask(answers: int) -> list[tuple[int, int]]:
    """Return which of n distinct answers are compared: all pairs of few, a ring of neighbours of many.

    >>> pairs_to_ask(3)
    [(0, 1), (0, 2), (1, 2)]
    >>> len(pairs_to_ask(20))
    60
    """
    if answers <= _ROUND_ROBIN:
        return list(combinations(range(answers), 2))
    ring = [(i, (i + step) % answers) for i in range(answers) for step in range(1, _NEIGHBOURS + 1)]
    return sorted({(min(pair), max(pair)) for pair in ring})


def combine(answers: int, pairs: Sequence[tuple[int, int]], log_odds: Sequence[float]) -> Floats:
    """Return float64 [answers]: the scores of mean zero whose differences come nearest to the log-odds.

    Least squares over the compared pairs; for two answers the difference is the log-odds itself.

    >>> combine(2, [(0, 1)], [3.0]).tolist()
    [1.5, -1.5]
    """
    if answers < 2:
        return np.zeros(answers)
    design = np.zeros((len(pairs), answers))
    left, right = np.array(pairs).T
    design[np.arange(len(pairs)), left], design[np.arange(len(pairs)), right] = 1.0, -1.0
    laplacian: NDArray[Any] = design.T @ design + 1.0 / answers
    return np.asarray(np.linalg.solve(laplacian, design.T @ np.asarray(log_odds, np.float64)))
