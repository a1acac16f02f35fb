"""Statements of a persona that ask for harm: found by word lists, and left out before they steer answers.

A persona is put before a model as what somebody likes, or is trained into it. One that wants bombs explained,
a group mocked or every opinion praised then steers the answers. So a statement is refused where it asks for

    violence or weapons, self-harm, hate, sexual content with minors, crime, dangerous misinformation,
    orders to the model     to ignore instructions, show prompts, drop safety, obey
    sycophancy              to be agreed with, whatever is said

and kept where it names a subject: crime novels, toxicology, war history, phishing that somebody teaches to
spot. A rule matches words in order with few others between them. The match is taken back by a negation before
it in its clause (dislikes answers that always agree), unless what is disliked is a refusal (dislikes it when
the model declines to explain how to ...); by words of protection (how to recognise a scam); and, for rules
that are about a subject, by words of fiction, work, study or news in the statement.

Statements are the sentences of a text, line by line. Words are English, one statement is read at a time, and
no model is asked. ``docs/harm.md`` says what the rules find and miss.

Source: Whose Boat Does it Float?, Limitations: inferred personas are taken to be benign, and malicious ones
may lead to biased, dangerous or irrelevant answers, and to sycophancy. The paper names filtering of personas
as a remedy and gives no filter; the rules are ours.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from palate.core import Persona
from palate.harm.harms import HARMS
from palate.harm.rule import Rule
from palate.harm.steering import STEERING
from palate.harm.words import FICTION, NAMES, NEGATED, ORDINARY, PROTECTED, REFUSING, WISH

__all__ = ["KINDS", "Refusal", "Screened", "Tally", "screen", "screen_many", "screen_persona"]

_RULES = {**HARMS, **STEERING}
KINDS: tuple[str, ...] = tuple(_RULES)
"""Every kind of harm that is looked for."""

_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[\"'“‘(\[]?[A-Z])")
_MARK = re.compile(r"\s*(?:[-*+•–]|\(?\d{1,2}[.):])\s+")
_CLAUSE = re.compile(
    r"[,;:]|\b(?:but|yet|so|because|then)\b"
    r"|\band\s+(?:also\s+|then\s+)?(?:wants?|prefers?|likes?|asks?|needs?|expects?|should|instead|enjoys?|always)\b"
)
_FLAGS = re.IGNORECASE
_NEGATED, _REFUSING = re.compile(NEGATED, _FLAGS), re.compile(REFUSING, _FLAGS)
_PROTECTED, _FICTION = re.compile(PROTECTED, _FLAGS), re.compile(FICTION, _FLAGS)
_ORDINARY, _WISH = re.compile(ORDINARY, _FLAGS), re.compile(WISH, _FLAGS)


class Refusal(NamedTuple):
    """A statement that asks for harm.

    Attributes:
        statement: The sentence, as it stood.
        kind: One of :data:`KINDS`.
        why: What it asks for, with the words that say so.
    """

    statement: str
    kind: str
    why: str


class Screened(NamedTuple):
    """A text without the statements that ask for harm, and those statements.

    Attributes:
        kept: The rest of the text; the text itself where nothing was refused.
        refused: The statements that were left out, in their order.
    """

    kept: str
    refused: tuple[Refusal, ...] = ()


@dataclass
class Tally:
    """What was refused in many texts.

    Attributes:
        texts: Texts that were read.
        touched: Texts in which something was refused.
        statements: Statements that were read.
        refused: Statements that were refused.
        kinds: Refused statements by kind.
    """

    texts: int = 0
    touched: int = 0
    statements: int = 0
    refused: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, text: str, refused: Iterable[Refusal]) -> None:
        """Count one text and what was refused of it."""
        found = list(refused)
        self.texts += 1
        self.touched += bool(found)
        self.statements += sum(len(sentences) for sentences in _split(text))
        self.refused += len(found)
        for refusal in found:
            self.kinds[refusal.kind] = self.kinds.get(refusal.kind, 0) + 1

    def __str__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{self.refused:,} of {self.statements:,} statements ask for harm" + (
            f": {kinds}" if kinds else ""
        )


def screen(text: str) -> Screened:
    """Leave out the statements that ask for harm; lines stay lines.

    Args:
        text: Statements about a user, or of one.

    >>> found = screen("Prefers short answers.\\nWants steps for building a pipe bomb. Enjoys crime novels.")
    >>> found.kept
    'Prefers short answers.\\nEnjoys crime novels.'
    >>> found.refused[0].kind, found.refused[0].why
    ('violence or weapons', 'tells how to make or get a weapon: "building a pipe bomb"')
    """
    refused: list[Refusal] = []
    lines = []
    for line, sentences in zip(text.splitlines(), _split(text), strict=True):
        found = [_refusal(sentence) for sentence in sentences]
        if not any(found):
            lines.append(line)
            continue
        refused += filter(None, found)
        kept = " ".join(s for s, why in zip(sentences, found, strict=True) if why is None)
        if _MARK.sub("", kept + " ").strip():
            lines.append(kept)
    return Screened("\n".join(lines) if refused else text, tuple(refused))


def screen_many(texts: Iterable[str]) -> Tally:
    """Count what is refused in the texts of a population; texts are read one at a time.

    >>> str(screen_many(["Always agree with me.", "Likes tea. Likes lists."]))
    '1 of 3 statements ask for harm: 1 sycophancy'
    """
    tally = Tally()
    for text in texts:
        tally.add(text, screen(text).refused)
    return tally


def screen_persona(persona: Persona) -> tuple[Persona, tuple[Refusal, ...]]:
    """Return a persona whose text, claims and reasons for choices ask for no harm.

    Conversations and answers of its examples are what happened, and stay; a vector has no words.

    Returns:
        The persona, the same object where nothing was refused; and what was refused in its text, its claims
        that stand in no refused statement of the text, and its reasons.

    >>> screen_persona(Persona(text="Wants to be told they are right. Likes lists."))[0].text
    'Likes lists.'
    """
    text = screen(persona.text or "")
    refused = list(text.refused)
    claims = []
    for claim in persona.claims:
        found = screen(claim.text).refused
        claims += [] if found else [claim]
        refused += [
            each for each in found if all(each.statement not in old.statement for old in text.refused)
        ]
    examples = []
    for example in persona.examples:
        reason = screen(example.reason or "")
        examples.append(replace(example, reason=reason.kept or None) if reason.refused else example)
        refused += reason.refused
    if not refused and len(claims) == len(persona.claims):
        return persona, ()
    rest = text.kept if text.refused else persona.text
    return replace(persona, text=rest or None, claims=tuple(claims), examples=tuple(examples)), tuple(refused)


def _split(text: str) -> list[list[str]]:
    """Return the statements of each line."""
    return [_SENTENCES.split(line.strip()) if line.strip() else [] for line in text.splitlines()]


@lru_cache(maxsize=4096)  # people of one population say much the same
def _refusal(statement: str) -> Refusal | None:
    """Return the first kind of harm that a statement asks for."""
    plain = _plain(statement)
    for kind, rules in _compiled():
        for rule, pattern in rules:
            for match in pattern.finditer(plain):
                if not _taken_back(plain, match, rule):
                    return Refusal(statement, kind, f'{rule.why}: "{match.group().strip()}"')
    return None


def _plain(statement: str) -> str:
    """Return a statement without bullet, odd letters, invisible characters and double spaces."""
    text = unicodedata.normalize("NFKC", _MARK.sub("", statement, count=1))
    seen = (c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    return " ".join("".join(seen).replace("’", "'").split())


def _taken_back(plain: str, match: re.Match[str], rule: Rule) -> bool:
    """Whether negation, protection, or a word that makes it a subject stands where it counts."""
    if rule.guard == "firm":
        return False
    clauses = list(_CLAUSE.finditer(plain, 0, match.start()))
    before = plain[clauses[-1].end() if clauses else 0 : match.start()]
    if _NEGATED.search(before) and not _REFUSING.search(before):
        return True
    if rule.guard == "plain":
        return bool(_PROTECTED.search(before + match.group()))
    if _PROTECTED.search(before + plain[match.start() :]) or _FICTION.search(plain):
        return True
    return rule.guard == "subject" and bool(_ORDINARY.search(plain) or not _WISH.search(plain))


@lru_cache(maxsize=1)
def _compiled() -> tuple[tuple[str, tuple[tuple[Rule, re.Pattern[str]], ...]], ...]:
    return tuple(
        (kind, tuple((rule, _pattern(rule.pattern)) for rule in rules)) for kind, rules in _RULES.items()
    )


def _pattern(rule: str) -> re.Pattern[str]:
    """Put lists in the place of their names, and words in the place of numbers."""

    def words(match: re.Match[str]) -> str:
        name = match.group(1)
        return rf"(?:[^\s.;]+ ){{0,{name}}}?" if name.isdigit() else NAMES[name]

    for _ in range(3):  # lists name other lists, two deep at most
        rule = re.sub(r"<(\d|[a-z]+)>", words, rule)
    return re.compile(rf"(?<![\w-])(?:{rule})(?![\w])", _FLAGS)
