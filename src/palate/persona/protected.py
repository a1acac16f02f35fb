"""Statements that name a protected attribute of the user: found by word lists and places, and left out.

A persona says what somebody likes, not what they are by birth, body, faith or family. A sentence is left out
where it gives the user such an attribute,

    the user is ... TERM            is Muslim; is a busy single mother; seems to be in her thirties
    as / being a TERM               as a Canadian, prefers metric units
    a TERM who, the TERM user       a young man who prefers jokes; the dyslexic user prefers audio
    has / lives with CONDITION      has two children; was diagnosed with cancer
    their THING                     because of their faith; her pregnancy

and not where a word of the lists tells of something else: black tea, a race condition, American spelling,
stories about single mothers, a liking for Islamic art. A term counts in one of these places alone, where its
phrase ends or a word for people follows. From "The user is A and prefers B" where B names none, "The user
prefers B" is kept.

Politics is looked for where it is asked for. Words and places are English. A gendered pronoun by itself, and
what may be guessed from an interest, are not counted.

Ours, for the rule of "Whose Boat Does it Float?" that a persona names high-level characteristics alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from palate.core import Claim
from palate.persona.protected_words import OTHERS, PEOPLE, WORDS, Words

__all__ = ["KINDS", "Cleaned", "Finding", "clean", "find", "is_told", "left_out", "told"]

KINDS: tuple[str, ...] = tuple(WORDS)
"""Every kind that is looked for; the last, politics, only where it is asked for."""

_SUBJECT = (
    r"\b(?:user|person|individual|someone|somebody|they|he|she|(?:user|person|someone|somebody),?\s+who)"
)
_MODAL = (
    r"(?:(?:may|might|could|must|can|would|will|also|probably|likely|perhaps|possibly|apparently|evidently"
    r"|clearly|currently|recently|now|still|often|really|seems?|appears?|to)\s+)*"
)
_IS = (
    r"(?:is|are|was|were|be|been|being|becomes?|became|seems?|appears?|identif(?:y|ies|ied) as|was raised"
    r"|describes? (?:themsel(?:f|ves)|himself|herself) as)\s+"
)
_STOP = (
    r"(?:in|about|on|for|with|to|of|by|at|from|into|like|who|that|which|whose|prefers?|values?|likes?|wants?"
    r"|dislikes?|enjoys?|loves?|hates?|avoids?|needs?|chooses?|than|over|when|because|if|learning|studying"
    r"|teaching|speaking|translating|reading|writing|cooking|playing|collecting)\b"
)
_FILLER = rf"(?:(?!{_STOP})[\w'’/+-]+,?\s+)"
_HAVE = (
    r"(?:(?:is|was|are|were|has been|have been)\s+)?(?:has|have|having|had|suffer(?:s|ing|ed)?(?: from)?"
    r"|(?:has|had) an?\s+(?:[\w-]+\s+)?history of|liv(?:es?|ing) with|go(?:es|ing) through|diagnosed with"
    r"|(?:struggl|cop)(?:es?|ing) with|manag(?:es?|ing)|recover(?:s|ing|ed) from|deal(?:s|ing)? with"
    r"|underwent|undergo(?:es|ing)|battl(?:es|ing)|survived)\s+"
)
_GOES_ON = (
    r"\s*(?:[.,;:!?)]|$)|\s+(?:and|or|but|who|whose|because|so|in|from|with|for|since|at|on|to|after|during|while|when"
    r"|that|can|could|is|are|was|has|have|will|would|may|might|must|should|does|matters?|likes?|loves?|needs?|wants?"
    r"|enjoys?|prefers?|joins?|[a-z]{3,}ing)\b"
)
_MIDDLE = r"(?:young|small|software|[a-z]+ed)"  # may stand between an adjective and a word for people
_WHO = r"(?:someone|somebody|user|person|individual|reader|man|woman)"
_DOES = rf"(?:{_SUBJECT}|\band|^)\s*{_MODAL}"
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z])")
_OTHERS = re.compile(OTHERS, re.IGNORECASE)
_FORM = re.compile(
    r"(?P<user>(?:the\s+)?user)\s+(?:is|seems|appears)\s.+?,?\s+(?:and|who)\s+"
    r"(?P<taste>(?:also\s+)?(?:prefers?|values?|likes?|wants?|dislikes?|enjoys?|favou?rs?)\b.+)",
    re.IGNORECASE | re.DOTALL,
)


class Finding(NamedTuple):
    """A protected attribute that a sentence gives the user.

    Attributes:
        kind: One of :data:`KINDS`.
        words: The words that give it.
        sentence: The sentence that they stand in.
    """

    kind: str
    words: str
    sentence: str


class Cleaned(NamedTuple):
    """A text without the sentences that name protected attributes, and what was found in them."""

    text: str
    removed: tuple[Finding, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind was found."""
        return dict(Counter(finding.kind for finding in self.removed))


def find(text: str, *, politics: bool = False) -> tuple[Finding, ...]:
    """Return what a text says of the user's protected attributes, at most once a sentence and kind.

    >>> [f.kind for f in find("The user is a Muslim woman and prefers short answers.")]
    ['religion', 'sex']
    >>> find("Prefers a fix for the race condition, and black tea.")
    ()
    """
    sentences = [sentence for line in text.splitlines() for sentence in _SENTENCES.split(line.strip())]
    return tuple(finding for sentence in sentences for finding in _found(sentence, politics))


def clean(text: str, *, politics: bool = False) -> Cleaned:
    """Leave out the sentences that name a protected attribute; lines stay lines.

    Args:
        text: Statements about a user.
        politics: Whether political leaning is one.

    >>> clean("The user is a widow and prefers calm answers.\\nThe user has asthma. Prefers lists.").text
    'The user prefers calm answers.\\nPrefers lists.'
    """
    removed: list[Finding] = []
    lines = []
    for line in text.splitlines():
        kept = []
        for sentence in _SENTENCES.split(line.strip()):
            found = _found(sentence, politics)
            removed += found
            rest = _taste_alone(sentence, politics) if found else sentence
            kept += [rest] if rest else []
        lines += [" ".join(kept)] if kept else []
    return Cleaned("\n".join(lines), tuple(removed))


def told(removed: Iterable[Finding], choices: Sequence[str] = ()) -> tuple[Claim, ...]:
    """Return claims that say which kinds were left out, and nothing of what was said.

    Args:
        removed: What was found.
        choices: Ids of the choices that the sentences were written from.

    >>> told(clean("The user is gay and prefers wit.").removed)[0].text
    'Left out, because it names sexual orientation.'
    """
    return tuple(
        Claim(f"{_LEFT_OUT}{finding.kind}.", 0.0, 0.0, 0.0, tuple(choices), kept=False) for finding in removed
    )


def left_out(claims: Iterable[Claim]) -> dict[str, int]:
    """Return how often each kind was left out of a persona, from its claims.

    >>> left_out(told(clean("The user is 34 years old. Prefers lists. The user is 34.").removed))
    {'age': 2}
    """
    named = (claim.text.removeprefix(_LEFT_OUT).rstrip(".") for claim in claims if is_told(claim))
    return dict(Counter(named))


_LEFT_OUT = "Left out, because it names "


def is_told(claim: Claim) -> bool:
    """Whether a claim is one of :func:`told`, and no statement about the user."""
    return not claim.kept and claim.text.startswith(_LEFT_OUT)


def _found(sentence: str, politics: bool) -> list[Finding]:
    return [
        Finding(kind, words, sentence)
        for kind in (KINDS if politics else KINDS[:-1])
        if (words := _words_of(kind, sentence))
    ]


def _words_of(kind: str, sentence: str) -> str:
    """Return the words that give the user an attribute of a kind, "" where none do."""
    words, places, phrases, theirs = _patterns(kind)
    named = words.search(sentence)
    match = (named and places.search(sentence)) or phrases.search(sentence)
    if match is None and named:
        owned = theirs.search(sentence)
        match = None if owned and _OTHERS.search(sentence[: owned.start()]) else owned
    return match.group().strip(" ,;") if match else ""


def _taste_alone(sentence: str, politics: bool) -> str:
    """Return "The user prefers B" of "The user is A and prefers B" if that names nothing, else ""."""
    form = _FORM.match(sentence)
    if form is None:
        return ""
    rest = f"{form['user']} {form['taste']}"
    return "" if _found(rest, politics) else rest


class _Patterns(NamedTuple):
    """How a kind is found: any of its words, then the places; phrases stand by themselves."""

    words: re.Pattern[str]
    places: re.Pattern[str]
    phrases: re.Pattern[str]
    theirs: re.Pattern[str]


@lru_cache(maxsize=len(KINDS))
def _patterns(kind: str) -> _Patterns:
    words = WORDS[kind]
    phrases = [
        phrase.replace("<subject>", _SUBJECT).replace("<does>", _DOES).replace("<has>", _DOES + _HAVE)
        for phrase in words.phrases
    ]
    return _Patterns(
        *map(_any, (map(_whole, filter(None, words[:4])), _places(kind, words), phrases, _owned(words)))
    )


def _any(parts: Iterable[str]) -> re.Pattern[str]:
    whole = "|".join(f"(?:{part})" for part in parts)
    return re.compile(whole or r"(?!)", re.IGNORECASE)


def _whole(words: str) -> str:
    """Match one of the words, not a part of a longer or of a compound word."""
    return rf"(?<![\w-])(?:{words})(?![\w-]|['’]\w)"


def _places(kind: str, words: Words) -> Iterator[str]:
    """Yield the places in which the words of a kind give the user an attribute."""
    people, middle = PEOPLE, _MIDDLE
    if kind != "nationality":  # a French student may learn French, a Thai slow-cooking fan is a cook
        people, middle = rf"(?:{PEOPLE}|student)", rf"(?:{_MIDDLE}|[a-z]+-[a-z]+)"
    over = r"\s*(?:[.,;:!?)]|$)|\s+(?:and|or|but|who|whose|because|so)\b"
    terms = []
    if words.adjectives:
        terms.append(
            rf"{_whole(words.adjectives)}(?={over}|(?:,?\s+{middle})?\s+{people}(?={over}|{_GOES_ON}))"
        )
    if words.nouns:
        terms.append(rf"{_whole(words.nouns)}(?={over}|\s+(?:{people}|in|from|with|living|[a-z]{{3,}}ing)\b)")
    if terms:
        yield from _given("|".join(terms), "|".join(filter(None, (words.adjectives, words.nouns))))
    start = r"^(?:(?:likely|probably|possibly|perhaps|apparently)\s+)?"
    if words.adjectives:
        before = rf"(?=(?:,?\s+[\w-]+){{0,2}}\s+{people}(?={over}|{_GOES_ON}))"
        yield rf"{start}an?\s+{_FILLER}{{0,3}}?{_whole(words.adjectives)}{before}"
    if words.nouns:
        yield rf"{start}an?\s+{_FILLER}{{0,3}}?{terms[-1]}"
        yield rf"{start}{_whole(words.nouns)}(?=\s*,|\s+(?:who|in|from|living)\b)"
    if words.conditions:
        ill = rf"{_FILLER}{{0,3}}?{_whole(words.conditions)}(?={over}|{_GOES_ON})"
        yield rf"{_DOES}{_HAVE}{ill}"
        yield rf"(?:^|\b(?:as|being|is|are)\s+)(?:(?:an?|the|this)\s+)?(?:[\w-]+\s+)?{_WHO}\s+with\s+{ill}"


def _given(term: str, words: str) -> Iterator[str]:
    """Yield the places in which a term says what the user is."""
    term = f"(?:{term})"
    yield rf"{_SUBJECT}\s+{_MODAL}{_IS}{_FILLER}{{0,5}}?{term}"
    yield rf"^{_MODAL}{_IS}{_FILLER}{{0,5}}?{term}"
    yield rf"(?:^|[,;(]\s*|{_DOES})(?:(?:(?:speak|writ|work)\w+\s+)?as|being)\s+{_FILLER}{{0,4}}?{term}"
    yield rf"\b(?:mention(?:s|ed)?|sa(?:ys|id)|note(?:s|d)|despite|of|from)\s+being\s+{_FILLER}{{0,4}}?{term}"
    yield rf"\b(?:the|this|an?)\s+{_FILLER}{{0,3}}?{_whole(words)}(?:,?\s+[\w-]+){{0,2}}\s+user\b(?!['’])"
    yield rf",\s+(?:and\s+)?is\s+{_FILLER}{{0,3}}?{term}"
    yield rf"\buser,\s+{_FILLER}{{0,4}}?{term}"


def _owned(words: Words) -> Iterator[str]:
    """Yield the places in which the user is said to have something of their own."""
    things = "|".join(filter(None, (words.conditions, words.own)))
    if things:
        whose = r"\b(?:their|his|her|own|whose|user['’]s)\s+(?:[\w-]+\s+){0,2}?"
        yield rf"{whose}{_whole(things)}(?={_GOES_ON})"
