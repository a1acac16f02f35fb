"""Each statement of a text persona, with the choices that support it and those that speak against it.

A reader is shown a past choice, which answer was taken left out, and the numbered statements; it says which
answer each statement favours. For every pair (answer chosen, answer rejected) both orders are asked. A
statement favours an answer where every order could be read and they do not contradict each other: a reader
that goes by the place favours nothing. With s the choices that a statement supports and c those that speak
against it (Jeffreys' prior on their share),

    strength      log((s + 1/2) / (c + 1/2))               log-odds that a choice it speaks of goes its way
    interval      logit of the 2.5 % and 97.5 % points of Beta(s + 1/2, c + 1/2)

A statement is dropped

    1. as unsupported, if no choice supports it;
    2. as contradicted, if the whole interval lies below zero;
    3. as a burden, if held-out choices are predicted better without it, and the interval does not lie
       above zero: one choice that goes by chance does not undo what the choices plainly say.

The third needs two statements or more that passed the first two, and held-out choices: the judge is asked
about these by all that passed and by all but one, and ``Claim.lost`` is the accuracy that is lost without it.
If fewer than half of the choices could be read for a statement it was not tested: it stays, and
``Claim.unread`` says why. A dropped statement leaves the text and stays among the claims.

Cost: with n pairs of past choices, m distinct statements, k of them past the first two rules, and h
held-out pairs, n ceil(m / 20) calls of the reader an order, and h (k + 1) of the judge where 2 <= k <= 12.
Both ask in two orders unless told otherwise. What was asked before is not paid again.

Ours. The personas of "SynthesizeMe!" (3.2) are written from choices and not traced back to them.
"""

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, logit

from palate.core import Claim, ConfigError, Conversation, Feedback, History
from palate.judge import Comparison, Judge, as_text
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Answer, Asking, Reply, Request
from palate.persona.written import Shown, Written

__all__ = ["EVIDENCE", "fate", "grounded", "log_odds_of", "statements_of"]

Floats = NDArray[np.floating[Any]]
Showing = Callable[[str | None, Conversation], Shown]
AT_ONCE = 20
"""Most statements that one call asks about."""
MOST_LEFT_OUT = 12
"""Most statements that are left out one by one."""
_SIDES = {"first": 1, "neither": 0, "second": -1}
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Prof|St|No|[A-Z])\.$")
_HEAD = 40  # a longer line that ends with a colon announces; a shorter one belongs to what is listed below it


def read_sides(text: str) -> dict[int, int]:
    """Read which answer each numbered statement favours: 1 the first, -1 the second, 0 neither.

    A number that is given two different sides is left out, as if it had not been answered.

    Raises:
        Malformed: If no line gives a side.

    >>> read_sides("1: First\\n2. **Neither**\\n3 - the second answer")
    {1: 1, 2: 0, 3: -1}
    """
    side = r"\W{1,8}(?:the\s+)?(first|second|neither)\b"
    found = re.findall(rf"(?<![\d.])(\d{{1,4}}){side}", text, re.IGNORECASE)
    if not found:
        bare = re.fullmatch(r"\W*(first|second|neither)\W*", text, re.IGNORECASE)
        if bare is None:
            raise Malformed('every line must read like "1: First", "2: Neither" or "3: Second"')
        found = [("1", bare.group(1))]
    said: dict[int, set[int]] = {}
    for number, word in found:
        said.setdefault(int(number), set()).add(_SIDES[word.lower()])
    return {number: sides.pop() for number, sides in said.items() if len(sides) == 1}


EVIDENCE = Program(
    "evidence",
    "Say which answer each statement favours",
    "You are given numbered statements about what some user likes, a conversation, and two answers to it, "
    "the first and the second. Take each statement by itself. If it were true of a user, which of the two "
    "answers would that user prefer because of it? Say First or Second only where the answers differ in what "
    "the statement speaks of; say Neither where they do not, or where the statement says nothing about it. "
    "Your own taste, and the place of an answer, say nothing.",
    "Write one line for each statement, with its number, and nothing else, such as:\n"
    "1: First\n2: Neither\n3: Second",
    "1: First\n2: Neither\n3: Second\n4: First",
    read_sides,
    max_tokens=64,
)
"""Asks which of two answers each statement favours; it is not told which was chosen."""


def statements_of(text: str | None) -> list[str]:
    """Return the statements of a text: its lines, list items and sentences, each once, in order.

    Headings and lines without a letter are no statements. A short line that ends with a colon is said again
    with each item listed below it; a long one only announces, and is left out.

    >>> statements_of("## Taste\\n- Likes lists. Dislikes jargon, e.g. in law.\\n\\nTone:\\n* warm\\n* Warm!")
    ['Likes lists.', 'Dislikes jargon, e.g. in law.', 'Tone: warm']
    """
    found: dict[str, str] = {}
    head = ""
    for line in (text or "").splitlines():
        item = re.match(r"\s*(?:[-*+•–]|\(?\d{1,3}[.)])\s+", line)
        words = re.sub(r"[*_]{2,}", "", line[item.end() :] if item else line).strip()
        if words.startswith("#") or not re.search(r"[^\W\d_]", words):
            continue
        if words.endswith(":"):
            head = words if len(words) <= _HEAD else ""
            continue
        head = head if item else ""
        for sentence in _sentences(words):
            whole = f"{head} {sentence}" if head else sentence
            found.setdefault(_same(sentence if head else whole, head), whole)
    return list(found.values())


def _sentences(line: str) -> Iterable[str]:
    """Cut a line after each full stop, question or exclamation mark that ends a sentence."""
    ends = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*(?:\s+(?=[\"'“‘(\[]?[^\W\da-z_])|(?<=[。！？])(?=\S))")
    start = 0
    for end in ends.finditer(line):
        if _ABBREVIATION.search(line[start : end.start()]):
            continue
        yield line[start : end.end()].strip()
        start = end.end()
    if re.search(r"[^\W\d_]", line[start:]):
        yield line[start:].strip()


def _same(statement: str, head: str = "") -> str:
    """Return what equal statements share: the words, whatever their case and punctuation."""
    return " ".join(re.findall(r"\w+", f"{head} {statement}".casefold()))


def _alone(text: str | None, conversation: Conversation) -> Shown:
    return Shown(text)


class _Pair(NamedTuple):
    """Two answers that a user had, in the order of their texts, and which was taken."""

    feedback: Feedback
    answers: tuple[str, str]
    taken: int


def grounded(
    statements: Sequence[str],
    history: History,
    judge: Judge,
    *,
    held: Collection[str] = (),
    shown: Showing | None = None,
    orders: int = 2,
) -> Asking[Written]:
    """Ask which choices support each statement, and keep those that the choices bear out.

    Args:
        statements: The sentences of a persona; equal ones are one.
        history: The user's choices; ties say nothing and are not asked about.
        judge: Who judges held-out choices; its model reads the statements too.
        held: Ids of choices of the history that the statements were not written from.
        shown: What the judge is shown for a persona's text and a conversation; by default the text alone.
        orders: 2 asks in both orders; 1 in one, drawn by a hash of what is asked.

    Returns:
        The statements that are kept, a line each, as text (None where none is), and all of them as claims.

    Raises:
        ConfigError: If ``orders`` is neither 1 nor 2.
    """
    if orders not in (1, 2):
        raise ConfigError(f"orders={orders}: expected 2, both orders, or 1, drawn by content")
    named: dict[str, str] = {}
    for statement in statements:
        named.setdefault(_same(statement), statement.strip())
    distinct = [statement for same, statement in named.items() if same]
    pairs = [pair for row in history.feedback for pair in _pairs(row)]
    sides = yield from _sides(distinct, pairs, judge, orders)
    claims = [_claim(text, pairs, sides[:, n]) for n, text in enumerate(distinct)]
    testing = [pair for pair in pairs if pair.feedback.id in set(held)]
    passed = [n for n, claim in enumerate(claims) if claim.kept]
    if 2 <= len(passed) <= MOST_LEFT_OUT and testing:
        lost = yield from _lost([distinct[n] for n in passed], testing, judge, shown or _alone)
        for n, share in zip(passed, lost, strict=True):
            burden = share is not None and share < 0 and claims[n].low <= 0
            claims[n] = replace(claims[n], lost=share, kept=not burden)
    text = "\n".join(claim.text for claim in claims if claim.kept)
    return Written(text or None, claims=tuple(claims), held=tuple(held))


def _pairs(row: Feedback) -> Iterable[_Pair]:
    """Return a choice as pairs of its chosen answer with each other one; the order tells nothing."""
    chosen = row.chosen_response
    if chosen is None:
        return
    for other in dict.fromkeys(row.responses):
        if other != chosen:
            first, second = sorted((chosen, other))
            yield _Pair(row, (first, second), 0 if first == chosen else 1)


def _sides(statements: Sequence[str], pairs: Sequence[_Pair], judge: Judge, orders: int) -> Asking[Floats]:
    """Return float64 [pairs, statements]: 1 for the chosen, -1 for the rejected, 0 neither, NaN unread."""
    groups = [range(s, min(s + AT_ONCE, len(statements))) for s in range(0, len(statements), AT_ONCE)]
    asked: list[tuple[int, range, bool]] = []
    requests: list[Request] = []
    for (number, pair), group in product(enumerate(pairs), groups):
        both = (False, True) if orders == 2 else (_drawn(pair, [statements[n] for n in group]),)
        for swapped in both:
            asked.append((number, group, swapped))
            requests.append(_request(pair, [statements[n] for n in group], swapped, judge))
    answers = yield requests
    total, size = np.zeros((2, len(pairs), len(statements)))
    for (number, group, swapped), answer in zip(asked, answers, strict=True):
        toward = (-1.0 if swapped else 1.0) * (1.0 if pairs[number].taken == 0 else -1.0)
        said = _read(answer, len(group)) * toward
        total[number, group] += said
        size[number, group] += np.abs(said)
    return np.where(np.abs(total) == size, np.sign(total), np.where(np.isnan(total), np.nan, 0.0))


def _request(pair: _Pair, statements: Sequence[str], swapped: bool, judge: Judge) -> Request:
    first, second = pair.answers[::-1] if swapped else pair.answers
    sections = (
        Section("statements", "\n".join(f"{n}. {s}" for n, s in enumerate(statements, 1))),
        Section("conversation", as_text(pair.feedback.conversation)),
        Section("first", first),
        Section("second", second),
    )
    return Request(EVIDENCE, sections, max_tokens=EVIDENCE.max_tokens + 8 * len(statements), lm=judge.lm)


def _drawn(pair: _Pair, statements: Sequence[str]) -> bool:
    """Return whether the one order is the swapped one, by a hash of what is asked."""
    whole = "\0".join([as_text(pair.feedback.conversation), *pair.answers, *statements])
    return bool(hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] & 1)


def _read(answer: Answer, count: int) -> Floats:
    """Return float64 [count]: the side of each statement, NaN where the answer gives none."""
    said = answer.value if isinstance(answer, Reply) else {}
    return np.array([said.get(number, np.nan) for number in range(1, count + 1)], np.float64)


def _lost(
    statements: Sequence[str], pairs: Sequence[_Pair], judge: Judge, shown: Showing
) -> Asking[list[float | None]]:
    """Return the held-out accuracy that is lost without each statement; None where nobody could say."""
    texts = ["\n".join(statements)]
    texts += [
        "\n".join(s for other, s in enumerate(statements) if other != n) for n in range(len(statements))
    ]
    comparisons = [_comparison(text, pair, shown) for text, pair in product(texts, pairs)]
    judged = yield from judge.compare(comparisons)
    silent = np.array([j.silent for j in judged]).reshape(len(texts), -1)
    toward = np.array([1.0 if pair.taken == 0 else -1.0 for pair in pairs])
    odds = np.array([j.log_odds for j in judged]).reshape(len(texts), -1) * toward
    right = np.where(odds == 0, 0.5, odds > 0)
    out: list[float | None] = []
    for n in range(1, len(texts)):
        heard = ~(silent[0] | silent[n])
        out.append(float((right[0] - right[n])[heard].mean()) if heard.any() else None)
    return out


def _comparison(text: str, pair: _Pair, shown: Showing) -> Comparison:
    """Return a held-out pair as the judge is asked it; the choice itself is never among the examples."""
    talk = pair.feedback.conversation
    seen = shown(text, talk)
    examples = tuple(e for e in seen.examples if e.id != pair.feedback.id)
    return Comparison(talk, pair.answers, seen.text, examples, seen.reasons)


def _claim(text: str, pairs: Sequence[_Pair], sides: Floats) -> Claim:
    """Return a statement with its evidence; a choice among several answers speaks once, by majority."""
    votes: dict[str, float] = {}  # NaN where any of a choice's pairs was not read
    for pair, side in zip(pairs, sides.tolist(), strict=True):
        votes[pair.feedback.id] = votes.get(pair.feedback.id, 0.0) + side
    supports = tuple(name for name, vote in votes.items() if vote > 0)
    contradicts = tuple(name for name, vote in votes.items() if vote < 0)
    unread = sum(math.isnan(vote) for vote in votes.values())
    strength, low, high = log_odds_of(len(supports), len(contradicts))
    tested = bool(votes) and 2 * unread <= len(votes)
    kept = not tested or (bool(supports) and high >= 0)
    return Claim(text, strength, low, high, supports, contradicts, kept=kept, unread=unread)


def log_odds_of(supports: int, contradicts: int) -> tuple[float, float, float]:
    """Return strength, lower and upper end of its 95 % interval, in log-odds; see the module's text.

    >>> [round(x, 2) for x in log_odds_of(7, 1)]
    [1.61, 0.19, 4.27]
    """
    a, b = supports + 0.5, contradicts + 0.5
    low, high = (float(logit(betaincinv(a, b, 0.025))), -float(logit(betaincinv(b, a, 0.025))))
    return math.log(a / b), low, high


def fate(claim: Claim) -> str:
    """Return why a statement was dropped, or that it was not tested; "" for one that the choices bear out.

    A claim without an interval is not about choices: what it says is the reason itself, and "" is returned.

    >>> fate(Claim("Likes lists.", -3.0, -9.0, -1.0, (), ("c1", "c2"), kept=False))
    'no choice supports it'
    """
    if claim.low == claim.high or (claim.kept and claim.supports):
        return ""
    if claim.kept:
        return (
            f"not tested: {claim.unread} of its answers could not be read" if claim.unread else "not tested"
        )
    if not claim.supports:
        return "no choice supports it"
    if claim.high < 0:
        return "more choices speak against it than for it"
    if claim.lost is not None and claim.lost < 0:
        return f"held-out choices are predicted better without it, by {-100 * claim.lost:.0f} points"
    return "the choices do not bear it out"
