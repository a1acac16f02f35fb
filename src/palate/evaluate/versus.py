"""Judges of two written answers: which suits a user whose true profile is known, and which is better as such.

A judge is asked about each pair in both orders. With v1 its verdict when the first answer stands first and v2
when it stands second,

    win    both say the first answer        loss   both say the second
    tie    the two contradict each other: the judge looked at the place; or the answers are equal word by
           word, of which nobody is asked
    fault  an order gave no answer that could be read: counted, never taken for a tie

Two aspects are kept apart: ``personalization`` (the judge reads the user's true profile, which no method ever
saw) and ``quality`` (it reads none).

Source: POPI, 5.1 and appendix G (a judge that reads the ground-truth persona); "Whose Boat Does it Float?"
(quality and personalization apart, by Prometheus). Departs: both orders of every pair, faults apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Literal, Protocol

from palate.core import ConfigError, Conversation
from palate.evaluate import prometheus
from palate.judge import JUDGE, QUICK, Verdict, as_text
from palate.models.llm.client import Task
from palate.models.llm.program import Program, Section
from palate.models.llm.session import connect
from palate.models.llm.wire import Answer, Asking, Fault, Request

__all__ = ["ASPECTS", "KnownJudge", "Outcome", "ProfileJudge", "Versus", "VersusJudge", "check_format"]

ASPECTS = ("personalization", "quality")
_SHARE = {"win": 1.0, "loss": 0.0, "tie": 0.5, "fault": nan}

_SUITS = (
    "You judge which of two answers suits a particular user. You are given a persona, which truly "
    "describes this user, the conversation so far, and two answers to its last turn, the first and the "
    "second. Judge by the persona: content, tone, length and form that this user would want. An answer "
    "that most people would call better loses where the other fits this user more. Neither the place of "
    "an answer nor its length by itself says anything."
)
_BETTER = (
    "You judge which of two answers is the better one, whoever asks. You are given the conversation so "
    "far, and two answers to its last turn, the first and the second. A better answer is correct, to the "
    "point, complete, clear and harmless. Nothing is known of the user: do not guess at special wishes. "
    "Neither the place of an answer nor its length by itself says anything."
)
_WORDS = {"personalization": _SUITS, "quality": _BETTER}


@dataclass(frozen=True, slots=True)
class Versus:
    """Two answers to one conversation, and what is known to be true of the user.

    Attributes:
        conversation: What both answer.
        first: The answer whose win is asked about.
        second: The one it stands against.
        profile: The user's true profile in words, "" for none.
        user: The user's name, for the ledger and for judges that know users.
    """

    conversation: Conversation
    first: str
    second: str
    profile: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both orders gave together.

    Attributes:
        result: Of the first answer.
        torn: Whether a tie comes from two orders that contradict each other.
        reason: The judge's words, of the first order.
        why: What was wrong, for a fault.

    >>> Outcome("win").share, Outcome("tie", torn=True).share
    (1.0, 0.5)
    """

    result: Literal["win", "loss", "tie", "fault"]
    torn: bool = False
    reason: str = ""
    why: str = ""

    @property
    def share(self) -> float:
        """1 for a win, 0 for a loss, 0.5 for a tie, NaN for a fault."""
        return _SHARE[self.result]


class VersusJudge(Protocol):
    """Whoever compares written answers."""

    @property
    def name(self) -> str:
        """What reports call it; figures depend on it."""

    @property
    def needs_profile(self) -> bool:
        """Whether it can say nothing of a user without a profile."""

    def compare(self, asked: Sequence[Versus]) -> list[Outcome]:
        """Return the outcome of each comparison, side by side."""


@dataclass(frozen=True)
class ProfileJudge:
    """A language model that judges, at any endpoint.

    Args:
        lm: Spec of the model.
        reason: Whether it reasons before it answers; Prometheus always does.
        aspect: ``personalization`` (it reads the profile) or ``quality`` (it reads none).
        format: ``palate`` (our own words) or ``prometheus`` (relative grading of Prometheus 2).

    Raises:
        ConfigError: If there is no such aspect or format, or no model is named.
    """

    lm: str
    reason: bool = True
    aspect: str = "personalization"
    format: str = "palate"

    def __post_init__(self) -> None:
        if not self.lm:
            raise ConfigError("no language model is named to judge written answers: set judge to its spec")
        if self.aspect not in ASPECTS:
            raise ConfigError(f"a judge's aspect is {self.aspect!r}; expected one of {list(ASPECTS)}")
        check_format(self.format)

    @property
    def name(self) -> str:
        """Model, aspect and format."""
        how = self.format if self.reason or self.format == "prometheus" else f"{self.format}, at once"
        return f"{self.lm} ({self.aspect}, {how})"

    @property
    def needs_profile(self) -> bool:
        """Whether it reads the profile."""
        return self.aspect == "personalization"

    @property
    def program(self) -> Program:
        """What it is asked, in which words."""
        if self.format == "prometheus":
            return prometheus.PERSONALIZATION if self.needs_profile else prometheus.QUALITY
        base = JUDGE if self.reason else QUICK
        who = "would suit this user better" if self.needs_profile else "is better"
        ask = (
            f"Reason in one to three sentences. Then say which answer {who}. End with a line of its own:\n"
            "Reason: ...\nAnswer: First   (or)   Answer: Second"
            if self.reason
            else f"Which answer {who}? Reply with one word: First or Second."
        )
        name = f"versus-{self.aspect}" + ("" if self.reason else "-quick")
        words = _WORDS[self.aspect]
        return Program(name, base.title, words, ask, base.example, base.read, base.max_tokens, base.version)

    def request(self, one: Versus, swapped: bool = False) -> Request:
        """Return the request for one order: the first answer first, or, swapped, the second."""
        answers = (one.second, one.first) if swapped else (one.first, one.second)
        who = [Section("persona", one.profile)] if self.needs_profile else []
        return Request(
            self.program,
            (
                *who,
                Section("conversation", as_text(one.conversation)),
                Section("first", answers[0]),
                Section("second", answers[1]),
            ),
            lm=self.lm,
        )

    def asking(self, one: Versus) -> Asking[Outcome]:
        """Ask about one comparison in both orders; equal answers are a tie that nobody is asked about."""
        if one.first == one.second:
            return Outcome("tie")
        return _together((yield [self.request(one), self.request(one, swapped=True)]))

    def compare(self, asked: Sequence[Versus]) -> list[Outcome]:
        """Ask about all comparisons at once.

        Raises:
            ModelError: If the model cannot be asked any more; what it answered is kept.
            ConfigError: If a comparison has no profile where the judge reads one.
        """
        if self.needs_profile and any(not one.profile for one in asked):
            nobody = sorted({one.user for one in asked if not one.profile})[:3]
            raise ConfigError(f"the judge reads the user's profile, and these users have none: {nobody}")
        work = (Task(self.asking(one), one.user, "facet writing") for one in asked)
        return list(connect(self.lm).run(work))


def _together(answers: Sequence[Answer]) -> Outcome:
    """Return the outcome of two orders; the second one's places are swapped."""
    for answer in answers:
        if isinstance(answer, Fault):
            return Outcome("fault", why=answer.kind)
    one, two = (answer.value for answer in answers if not isinstance(answer, Fault))
    return _of_verdicts(one, two)


def _of_verdicts(one: Verdict, two: Verdict) -> Outcome:
    if one.first == two.first:  # the same place twice: two answers
        return Outcome("tie", torn=True, reason=one.reason)
    return Outcome("win" if one.first else "loss", reason=one.reason)


@dataclass(frozen=True)
class KnownJudge:
    """A judge of a world whose truth is known: a function says how good an answer is.

    Args:
        worth: From whom it is for (their profile or their name), conversation and answer to a number; more is
            better.
        margin: Numbers that differ by no more are a tie.
        by: Whether ``worth`` is given the ``profile`` or the ``user``'s name.
        name: What reports call it; another function needs another name.

    >>> from palate.core import as_conversation
    >>> short = KnownJudge(lambda who, talk, answer: -len(answer), by="user")
    >>> [o.result for o in short.compare([Versus(as_conversation("Hi"), "Yo", "Hello"),
    ...                                   Versus(as_conversation("Hi"), "Yo", "Ey")])]
    ['win', 'tie']
    """

    worth: Callable[[str, Conversation, str], float]
    margin: float = 0.0
    by: Literal["profile", "user"] = "profile"
    name: str = "known truth"

    @property
    def needs_profile(self) -> bool:
        """Whether ``worth`` is given the profile."""
        return self.by == "profile"

    def compare(self, asked: Sequence[Versus]) -> list[Outcome]:
        """Return the outcomes; a number that is not finite is a fault."""
        return [self._one(one) for one in asked]

    def _one(self, one: Versus) -> Outcome:
        who = one.profile if self.needs_profile else one.user
        first, second = (float(self.worth(who, one.conversation, text)) for text in (one.first, one.second))
        if not (isfinite(first) and isfinite(second)):
            return Outcome("fault", why="not finite")
        if abs(first - second) <= self.margin:
            return Outcome("tie")
        return Outcome("win" if first > second else "loss")


def check_format(name: str) -> None:
    """Refuse a form of judging that does not exist.

    Raises:
        ConfigError: If it does not.
    """
    if name not in ("palate", "prometheus"):
        raise ConfigError(f"a judge's format is {name!r}; expected 'palate' or 'prometheus'")
