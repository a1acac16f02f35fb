"""pi: from every choice, who would prefer the chosen answer; the sentences condensed into one persona.

For a conversation x and two answers r_1, r_2 a model abduces the persona that would prefer r_1:

    P_1 = "The user is [attribute] and prefers [explanation of preference]"      one sentence, 5-shot

with r_1 the chosen answer this is the chosen persona P_C, with r_1 the rejected one the rejected persona P_R
(:func:`infer`, both sides). A user's persona is made of P_C of their pairs in time order: condensed by one
more call into 1 to 6 statements, or, without ``condense``, all sentences, one a line. A choice among n
answers gives a pair with each other answer, at most ``rivals`` of them, in the order of their texts.

A sentence that names a protected attribute loses it, or goes (:mod:`palate.persona.protected`), before and
after condensing; the persona's claims say how many of which kind.

Calls: one a pair, and one a user with two sentences or more. Tracing the statements to choices
(``evidence``) comes on top.

Source: "Whose Boat Does it Float?" (PI); condensed for a user as in "EpiPersona", A.4. Departs: the five
demonstrations and the prompt for condensing are ours; one sentence alone is not condensed; where the
condensing call fails the sentences stand as they are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from palate.core import Claim, ConfigError, Conversation, Feedback, History
from palate.judge import as_text
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Answer, Asking, Fault, Reply, Request
from palate.persona.base import ReadMethod, Written
from palate.persona.demonstrations import DEMONSTRATIONS
from palate.persona.protected import Finding, clean, told
from palate.persona.statements import read_lines

__all__ = ["CONDENSE", "INFER", "PI", "Abduced", "infer", "infer_request"]

Side = Literal["chosen", "rejected"]
_SENTENCE = re.compile(r"\W*(?:persona\W+)?the\s+(user\b.*\bprefer.*)", re.IGNORECASE)
MOST_STATEMENTS = 6
"""Most statements of a condensed persona."""


def read_sentence(text: str) -> str:
    """Read the sentence about the user.

    Raises:
        Malformed: If no line begins with "The user" and says what they prefer.

    >>> read_sentence('Persona: "The user is busy and prefers short answers."')
    'The user is busy and prefers short answers.'
    """
    for line in text.splitlines():
        match = _SENTENCE.match(line)
        if match:
            return "The " + match.group(1).replace("**", "").strip(" \t\"'“”*")
    raise Malformed('the sentence must read "The user is ... and prefers ..."')


INFER = Program(
    "pi",
    "Infer who would prefer this answer",
    "You are given a conversation and two answers to it, one that a user preferred and the other one. Say "
    "what kind of user would prefer the first over the second: the most plausible account of what they "
    "need, what interests them, or how they think, that explains this preference. It may be an uncommon "
    "kind of user. Do not say that one answer is better; say for whom it is better. Keep to high-level "
    "characteristics, such as information needs, interests and personality, that would matter in other "
    "conversations too. Never name race, ethnicity, nationality, religion, caste, sex, gender, sexual "
    "orientation, age, disability, health, pregnancy, family, military service or politics. Do not quote "
    "the answers.",
    'Write one sentence of the form "The user is [attribute] and prefers [explanation of preference]", and '
    "nothing else.",
    "The user is short of time and prefers answers that give the next step without an introduction.",
    read_sentence,
    max_tokens=96,
)
"""Asks for the persona that would prefer one answer over another."""


def read_statements(text: str) -> tuple[str, ...]:
    """Read one to six statements; what comes after the sixth is left out.

    Raises:
        Malformed: If there is none.
    """
    return read_lines(text, MOST_STATEMENTS)


CONDENSE = Program(
    "pi-condense",
    "Condense personas",
    "You are given sentences about one user, each inferred from a single choice between two answers, oldest "
    "first. Any of them may be wrong, and they may contradict each other. Write down what they say together "
    "about which answers this user prefers, as one to six statements, the surest first. What many sentences "
    "say counts for more than what one says; where they contradict each other, go by the greater number, and "
    "by the later ones where the numbers are equal. Add nothing that no sentence says, and name no protected "
    "attributes.",
    'Write one to six lines, one statement a line, each beginning with "Prefers" or "Dislikes". Write '
    "nothing else.",
    "Prefers answers that begin with the conclusion.\nPrefers concrete examples over general rules.\n"
    "Dislikes long lists of warnings.",
    read_statements,
    max_tokens=256,
)
"""Asks for what the sentences of one user say together."""


class Abduced(NamedTuple):
    """The persona of one side of a pair.

    Attributes:
        row: Which of the rows the pair comes from.
        preferred: The answer that the persona would prefer.
        other: The answer that it was compared with.
        sentence: The persona; None where the call failed, or nothing of it may be said.
        removed: What it named of protected attributes.
        fault: Why the call failed, or None.
    """

    row: int
    preferred: str
    other: str
    sentence: str | None = None
    removed: tuple[Finding, ...] = ()
    fault: Fault | None = None


def infer_request(conversation: Conversation, preferred: str, other: str) -> Request:
    """Return the request for the persona that would prefer one answer over the other."""
    pair = (
        Section("conversation", as_text(conversation)),
        Section("preferred", preferred),
        Section("other", other),
    )
    examples = (Section("example", text, spare=True) for text in DEMONSTRATIONS)
    return Request(INFER, (*examples, *pair))


def infer(
    rows: Sequence[Feedback], side: Side = "chosen", *, rivals: int = 3, politics: bool = False
) -> Asking[list[Abduced]]:
    """Abduce the persona of every pair, all at once.

    Args:
        rows: Choices; ties are passed over.
        side: ``chosen``: who would prefer the chosen answer over each other one. ``rejected``: who would
            prefer the other one.
        rivals: With how many other answers the chosen one of a row is compared, in the order of their texts.
        politics: Whether political leaning is a protected attribute.

    Returns:
        One for each pair, in the order of the rows.
    """
    pairs = [(n, *pair) for n, row in enumerate(rows) for pair in _pairs(row, side, rivals)]
    answers = yield [infer_request(rows[n].conversation, first, second) for n, first, second in pairs]
    return [_abduced(*pair, answer, politics) for pair, answer in zip(pairs, answers, strict=True)]


def _pairs(row: Feedback, side: Side, rivals: int) -> list[tuple[str, str]]:
    """Return (preferred, other) of a choice: what was on offer counts, not in which order."""
    chosen = row.chosen_response
    if chosen is None:
        return []
    others = sorted(set(row.responses) - {chosen})[:rivals]
    return [(chosen, other) if side == "chosen" else (other, chosen) for other in others]


def _abduced(row: int, preferred: str, other: str, answer: Answer, politics: bool) -> Abduced:
    if not isinstance(answer, Reply):
        return Abduced(row, preferred, other, fault=answer)
    cleaned = clean(answer.value, politics=politics)
    return Abduced(row, preferred, other, cleaned.text or None, cleaned.removed)


@dataclass(kw_only=True, eq=False)
class PI(ReadMethod):
    """The personas that would make the user's choices, condensed.

    Args:
        condense: Whether the sentences are condensed into a few statements.
        rivals: With how many other answers a chosen one is compared, where more than two were on offer.
        politics: Whether political leaning is a protected attribute too.

    Raises:
        ConfigError: If ``rivals`` is less than 1.
    """

    name: ClassVar[str] = "pi"
    paper: ClassVar[str] = "Whose Boat Does it Float?"
    condense: bool = True
    rivals: int = 3
    politics: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rivals < 1:
            raise ConfigError(f"pi: rivals={self.rivals}; expected 1 or more answers to compare with")

    def _write(self, history: History) -> Asking[Written]:
        """Infer the chosen side of every pair, then condense."""
        abduced = yield from infer(history.feedback, rivals=self.rivals, politics=self.politics)
        claims: list[Claim] = []
        for one in abduced:
            claims += told(one.removed, (history.feedback[one.row].id,))
        sentences = [one.sentence for one in abduced if one.sentence]
        if self.condense and len(sentences) > 1:
            (answer,) = yield [Request(CONDENSE, tuple(Section("persona", s, spare=True) for s in sentences))]
            if isinstance(answer, Reply):
                cleaned = clean("\n".join(answer.value), politics=self.politics)
                claims += told(cleaned.removed, [row.id for row in history.feedback])
                sentences = cleaned.text.splitlines()
        return Written("\n".join(sentences) or None, claims=tuple(claims))
