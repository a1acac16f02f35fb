"""How a persona is shown in a terminal: statements with the choices behind them, then the verdict."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from palate.persona.told import Explanation, Quote, Told

__all__ = ["diff_view", "explanation_view"]

_BAR = 10
_TONES = {"+": "green", "-": "red", "~": "yellow", "=": "dim"}


def explanation_view(told: "Explanation") -> RenderableType:
    """Return all that is told of a user, for a console of 80 columns or more."""
    return Group(*_parts(told))


def diff_view(lines: Sequence[str]) -> RenderableType:
    """Return what :func:`palate.persona.diff.persona_diff` says, in colour."""
    head, *rest = lines
    return Group(_title(head), *(Text(line, _TONES.get(line[:1], "")) for line in rest))


def _parts(told: "Explanation") -> Iterator[RenderableType]:
    yield _title(f"{told.user} · {told.label} · {told.choices} choices")
    if told.source:
        yield Text(told.source, "bold yellow" if "fake" in told.source else "dim")
    for number, statement in enumerate(told.kept, 1):
        yield from _statement(str(number), statement)
    if not told.kept:
        yield Padding(Text(told.text or "No preference is evident."), (1, 0, 0, 0))
    if told.dropped:
        yield _heading("Dropped from the persona")
        for statement in told.dropped:
            yield from _statement("–", statement)
    if told.style:
        yield _heading("Found in the same choices by style, without a language model")
        for statement in told.style:
            yield from _statement("·", statement)
    if told.examples:
        yield _heading("Past choices shown beside it")
        yield from (Padding(Text(line, "dim"), (0, 0, 0, 4)) for line in told.shown)
    yield _heading("Does it hold?")
    yield Text(told.tested)
    if told.applied:
        yield Text(told.applied, "bold")
    yield from (Text(line, "dim") for line in told.cost)


def _title(words: str) -> Rule:
    return Rule(Text(words, "bold"), align="left", style="dim")


def _heading(words: str) -> RenderableType:
    return Padding(Text(words, "bold underline"), (1, 0, 0, 0))


def _statement(mark: str, told: "Told") -> Iterator[RenderableType]:
    """Yield a statement, its figures, and the choices that are quoted."""
    dropped = not told.claim.kept
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(width=3, justify="right")
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(mark, Text(told.claim.text, "dim" if dropped else "bold"), _bar(told))
    yield Padding(line, (1, 0, 0, 0))
    behind = "; ".join(part for part in (told.figures, told.lost) if part)
    if behind:
        yield Padding(Text(behind), (0, 0, 0, 4))
    if told.why:
        yield Padding(Text(told.why, "red" if dropped else "yellow"), (0, 0, 0, 4))
    yield from _quotes("for", told.supports, "green")
    yield from _quotes("against", told.contradicts, "red")


def _bar(told: "Told") -> Text:
    """Return the choices for and against as a bar."""
    good, bad = len(told.claim.supports), len(told.claim.contradicts)
    if not good + bad:
        return Text("")
    green = round(_BAR * good / (good + bad))
    return Text.assemble(("█" * green, "green"), ("░" * (_BAR - green), "red"))


def _quotes(title: str, quotes: Sequence["Quote"], tone: str) -> Iterator[RenderableType]:
    for quote in quotes:
        line = Table.grid(padding=(0, 1))
        line.add_column(width=7, justify="right")
        line.add_column()
        line.add_row(Text(title, tone), Text(str(quote), "dim"))
        yield Padding(line, (0, 0, 0, 4))
