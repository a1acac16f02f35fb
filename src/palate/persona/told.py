"""What is told of a persona: its statements with the choices behind them, what was dropped, how it did.

Plain data, filled from a persona and its user's choices; :meth:`Explanation.lines` puts it into words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from palate.core import Claim, Persona, Population, Verdict
from palate.models.llm.engine import is_fake
from palate.persona.evidence import fate

__all__ = ["Explanation", "Quote", "Told", "explanation", "short"]

SHOWN = 2
"""Choices that are quoted for a statement, and as many against it."""
QUOTED = 8
"""Statements with quotes; those that follow have figures alone."""
EXAMPLES = 5
"""Past choices shown beside a persona that are quoted: the latest."""
_ALIKE = 12  # characters of a common beginning from which on it is left out of a quote


@dataclass(frozen=True, slots=True)
class Quote:
    """A choice in short: what was chosen, and over what."""

    chosen: str
    other: str

    def __str__(self) -> str:
        return f"chose “{self.chosen}” over “{self.other}”"


@dataclass(frozen=True, slots=True)
class Told:
    """One statement with what is behind it.

    Attributes:
        claim: The statement, its strength and its interval, and the ids of the choices.
        supports: The first choices for it, in short.
        contradicts: The first choices against it.
        why: Why it was dropped or not tested; "" for a statement that the choices bear out.
    """

    claim: Claim
    supports: tuple[Quote, ...] = ()
    contradicts: tuple[Quote, ...] = ()
    why: str = ""

    @property
    def figures(self) -> str:
        """Strength, interval, choices for and against, in words; "" where it tells them or has none."""
        c = self.claim
        if " log-odds [" in c.text or c.low == c.high or not (c.supports or c.contradicts or c.unread):
            return ""
        figures = f"{c.strength:+.2f} log-odds [{c.low:+.2f}, {c.high:+.2f}]"
        figures += f", {len(c.supports)} for, {len(c.contradicts)} against"
        if c.unread:
            figures += f", {c.unread} unread"
        return figures

    @property
    def lost(self) -> str:
        """What is lost without it, in words; "" where that was not tested, or is why it was dropped."""
        share = self.claim.lost
        if share is None or (share < 0 and not self.claim.kept):
            return ""
        if share == 0:
            return "no held-out accuracy lost without it"
        return (
            f"{abs(100 * share):.0f} points of held-out accuracy {'lost' if share > 0 else 'won'} without it"
        )

    def lines(self) -> Iterator[str]:
        """Yield the statement, its figures and the quotes."""
        yield self.claim.text
        behind = "; ".join(part for part in (self.figures, self.lost, self.why) if part)
        if behind:
            yield f"  {behind}"
        for title, quotes in (("for", self.supports), ("against", self.contradicts)):
            for quote in quotes:
                yield f"  {title}: {quote}"


@dataclass(frozen=True)
class Explanation:
    """All that is told of one user.

    Attributes:
        user: Whose persona it is.
        choices: How many choices it was made from.
        label: The method that made it.
        lm: The language model that wrote it, "" for none.
        judge_lm: The one that judges.
        text: The persona as it is applied, or None.
        kept: Statements that stand in it, those that the choices bear out most surely first.
        dropped: Statements that do not, with why.
        style: What ``style`` finds in the same choices, without a language model.
        examples: Past choices that are shown beside the text, in short.
        verdict: How it did on choices that were held back, or None.
        control: What it was compared with.
        cost: What was asked of language models for this, in words, a line each.
    """

    user: str
    choices: int
    label: str
    lm: str = ""
    judge_lm: str = ""
    text: str | None = None
    kept: tuple[Told, ...] = ()
    dropped: tuple[Told, ...] = ()
    style: tuple[Told, ...] = ()
    examples: tuple[Quote, ...] = ()
    verdict: Verdict | None = None
    control: str = ""
    cost: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Who wrote and judged; a fake is called one."""
        if not self.lm:
            return ""
        if is_fake(self.lm):
            told = (
                f"a fake language model wrote this ({self.lm}): it shows the path, not what a real one says"
            )
        else:
            told = f"written by {self.lm}"
        judge = self.judge_lm or self.lm
        if judge == self.lm:
            return told
        return f"{told}; judged by {'a fake language model, ' if is_fake(judge) else ''}{judge}"

    @property
    def shown(self) -> list[str]:
        """The latest examples, a line each, and how many there are besides."""
        more = len(self.examples) - EXAMPLES
        return [*map(str, self.examples[-EXAMPLES:]), *([f"and {more} more, earlier"] if more > 0 else [])]

    @property
    def tested(self) -> str:
        """The verdict in words."""
        if self.verdict is None:
            return f"{self.label}: not tested: there is no choice to hold back"
        return f"{self.label}: {self.verdict}{f' ({self.control})' if self.control else ''}"

    @property
    def applied(self) -> str:
        """What answers are ranked by, in words; "" where nothing was tested."""
        if self.verdict is None or not self.control:
            return ""
        weight = self.verdict.weight
        if weight > 0.75:
            return "Answers are ranked by this persona."
        if weight < 0.05:
            return f"The persona stands aside: answers are ranked by {self.control} alone."
        return (
            f"Answers are ranked by {self.control}, moved {weight:.0%} of the way to what the persona says."
        )

    def __iter__(self) -> Iterator[str]:
        return self.lines()

    def lines(self) -> Iterator[str]:
        """Yield it all as plain lines."""
        yield f"{self.user}: {self.choices} choices"
        if self.source:
            yield self.source
        for title, told in (("", self.kept), ("Dropped:", self.dropped), (self._style_title, self.style)):
            if title and told:
                yield ""
                yield title
            for one in told:
                yield ""
                yield from one.lines()
        if not self.kept and not self.style:
            yield ""
            yield self.text or "No preference is evident."
        if self.examples:
            yield ""
            yield "Shown beside it:"
            yield from (f"  {line}" for line in self.shown)
        yield ""
        yield self.tested
        yield from filter(None, (self.applied, *self.cost))

    @property
    def _style_title(self) -> str:
        return "Found in the same choices by style, without a language model:" if self.lm else ""


def explanation(
    persona: Persona,
    people: Population,
    label: str,
    *,
    style: Persona | None = None,
    lm: str = "",
    judge_lm: str = "",
    control: str = "",
    cost: Sequence[str] = (),
) -> Explanation:
    """Put together what is told of a user.

    Args:
        persona: The persona as it is applied.
        people: The user's choices: one user.
        label: The method that made it.
        style: What ``style`` says of the same user.
        lm: The model that wrote the persona.
        judge_lm: The model that judges; "" is the same.
        control: Name of the method that it was compared with.
        cost: What was asked, in words.
    """
    rows = {str(name): number for number, name in enumerate(people.ids)}
    claims = sorted(persona.claims, key=lambda claim: -claim.low)
    told = [_told(claim, people, rows, SHOWN if n < QUOTED else 0) for n, claim in enumerate(claims)]
    return Explanation(
        user=str(persona.user or people.users[0]),
        choices=people.n_rows,
        label=label,
        lm=lm,
        judge_lm=judge_lm,
        text=persona.text,
        kept=tuple(one for one in told if one.claim.kept),
        dropped=tuple(one for one in told if not one.claim.kept),
        style=tuple(_told(claim, people, rows, SHOWN) for claim in (style.claims if style else ())),
        examples=tuple(_quote(e.responses, e.chosen) for e in persona.examples if e.chosen is not None),
        verdict=persona.verdict,
        control=control,
        cost=tuple(cost),
    )


def _told(claim: Claim, people: Population, rows: Mapping[str, int], quoted: int) -> Told:
    def quotes(ids: Sequence[str]) -> tuple[Quote, ...]:
        known = [rows[name] for name in ids if name in rows][: quoted * (claim.low < claim.high)]
        found = []
        for row in map(people.row, known):
            chosen = row.chosen if row.chosen is not None else 0
            found.append(_quote(row.responses, chosen))
        return tuple(found)

    return Told(claim, quotes(claim.supports), quotes(claim.contradicts), fate(claim))


def _quote(responses: Sequence[str], chosen: int) -> Quote:
    """Return a choice in short: over the answer of the most different length, from where the two part."""
    taken = responses[chosen].split()
    others = [text.split() for i, text in enumerate(responses) if i != chosen]
    other = max(others, key=lambda words: abs(len(words) - len(taken)))
    alike = next((n for n, (a, b) in enumerate(zip(taken, other, strict=False)) if a != b), 0)
    skip = alike if sum(map(len, taken[:alike])) >= _ALIKE else 0
    return Quote(*(short(("…" if skip else "") + " ".join(words[skip:])) for words in (taken, other)))


def short(text: str, most: int = 36) -> str:
    """Return a text on one line, cut to ``most`` characters.

    >>> short("Well,\\n so it is.", 9)
    'Well, so…'
    """
    one = " ".join(text.split())
    return one if len(one) <= most else one[: most - 1].rstrip() + "…"
