"""Pictures of words, in the manner of :mod:`palate.evaluate.facets._draw`.

bars      two-sided bars from a common zero, a word a row, with intervals
cloud     points in the plane, told apart by colour and shape
heat      a table whose cells are tinted by a signed figure
"""

from collections.abc import Sequence
from typing import NamedTuple

from palate.evaluate.charts import Axis, esc
from palate.evaluate.facets._draw import key, scale
from palate.evaluate.page_tables import table

__all__ = ["Bar", "Cell", "Group", "bars", "cloud", "heat"]

_ROW, _LONGEST = 24, 20
_SHAPES = (
    "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z",
    "M-3-3h6v6h-6z",
    "M0-4.2L4 3H-4z",
    "M0-4.6L4.6 0L0 4.6L-4.6 0z",
    "M0 4.2L4-3H-4z",
)
_TINT = 38  # per cent of colour in the strongest cell, so that its text stays readable


class Bar(NamedTuple):
    """A word, its signed length with an interval, what is written beside it, and what hovering says."""

    label: str
    length: float
    low: float | None
    high: float | None
    value: str
    text: str


class Group(NamedTuple):
    """Points of one kind: what the key calls them, their class and shape, and (x, y, what hovering says)."""

    label: str
    kind: str
    shape: int
    points: Sequence[tuple[float, float, str]]


class Cell(NamedTuple):
    """A cell of a heatmap: its figure, what is written small below, how it leans from -1 to 1, and more."""

    value: str
    below: str
    lean: float | None
    text: str


def bars(table_: Sequence[Bar], label: str, sides: tuple[str, str], x_name: str = "") -> str:
    """Draw one bar a row: above zero to the right as ``sides[0]``, below to the left as ``sides[1]``."""
    if not table_:
        return ""
    ends = [e for bar in table_ for e in (bar.length, bar.low, bar.high, 0.0) if e is not None]
    axis = scale(min(ends), max(ends), signed=True, factor=1.0, most=4)
    body = [_line(axis.at(v), 0, axis.at(v), "100%", "grid") for v, _ in axis.ticks]
    body += [_bar(axis, bar, number * _ROW + _ROW / 2) for number, bar in enumerate(table_)]
    body.append(_line(axis.at(0), 0, axis.at(0), "100%", "zero"))
    body += [_text("tick", f"{_n(axis.at(v))}%", "100%", 18, text, "middle") for v, text in axis.ticks]
    body.append(_text("axis", "50%", "100%", 38, x_name, "middle"))
    names = min(_LONGEST, max(len(bar.label) for bar in table_))
    room = 24 + 7 * max(len(bar.value) for bar in table_)
    frame = f"--names:{names};padding-right:{room}px;padding-bottom:{46 if x_name else 28}px"
    size = f"height:{_ROW * len(table_)}px"
    picture = (
        f'<div class="plot forest" style="{frame}"><svg role="img" aria-label="{esc(label)}" style="{size}">'
        f"{''.join(body)}</svg></div>"
    )
    return picture + key([(f"right: {sides[0]}", "s0", 1), (f"left: {sides[1]}", "s1", 1)])


def cloud(groups: Sequence[Group], label: str, names: tuple[str, str]) -> str:
    """Draw groups of points on common axes without numbers: only near and far mean something."""
    shown = [group for group in groups if group.points]
    if not shown:
        return ""
    spots = [(x, y) for group in shown for x, y, _ in group.points]
    across, up = (_padded([spot[i] for spot in spots]) for i in (0, 1))
    body = [_line(at, 0, at, "100%", "grid") for at in (0, 50, 100)]
    body += [f'<line class="grid" x1="0" x2="100%" y1="{at}%" y2="{at}%"/>' for at in (0, 50, 100)]
    body += [_spot(across, up, group, point) for group in shown for point in group.points]
    body.append(_text("axis", "50%", "100%", 22, names[0], "middle"))
    body.append(_text("axis", "0", "0", -10, names[1], "start"))
    picture = (
        f'<div class="plot square" style="padding-left:16px;padding-bottom:34px"><svg role="img" '
        f'aria-label="{esc(label)}">{"".join(body)}</svg></div>'
    )
    return picture + (key([(g.label, g.kind, g.shape) for g in shown]) if len(shown) > 1 else "")


def heat(rows: Sequence[tuple[str, Sequence[Cell]]], columns: Sequence[str], corner: str, label: str) -> str:
    """Return a table of cells, tinted blue where they lean up, orange where down."""
    head = [f"<th>{esc(corner)}</th>", *(f'<th class="n">{esc(name)}</th>' for name in columns)]
    body = "".join(
        f'<tr><th scope="row">{esc(name)}</th>{"".join(_tinted(cell) for cell in cells)}</tr>'
        for name, cells in rows
    )
    return table(label, head, f"<tbody>{body}</tbody>")


def _tinted(cell: Cell) -> str:
    lean = 0.0 if cell.lean is None else max(-1.0, min(1.0, cell.lean))
    colour = "better" if lean > 0 else "worse"
    share = round(abs(lean) * _TINT)
    look = f' style="background:color-mix(in srgb,var(--{colour}) {share}%,transparent)"' if share else ""
    below = f"<br><small>{esc(cell.below)}</small>" if cell.below else ""
    return f'<td class="n"{look} title="{esc(cell.text)}">{esc(cell.value)}{below}</td>'


def _bar(axis: Axis, bar: Bar, y: float) -> str:
    kind = "s0" if bar.length > 0 else "s1"
    left, right = sorted((axis.at(0), axis.at(bar.length)))
    whisker = ""
    if bar.low is not None and bar.high is not None:
        place = f'x1="{_n(axis.at(bar.low))}%" x2="{_n(axis.at(bar.high))}%" y1="{_n(y)}" y2="{_n(y)}"'
        whisker = f'<line class="whisker control" style="stroke-width:1.5" {place}/>'
    box = f'x="{_n(left)}%" y="{_n(y - 7)}" width="{_n(right - left)}%" height="14"'
    return (
        f'<g><title>{esc(bar.text)}</title><rect class="hit" y="{_n(y - _ROW / 2)}" width="100%" '
        f'height="{_ROW}"/><rect class="bar {kind}" style="fill:var(--c);fill-opacity:.7" {box}/>{whisker}'
        f'<text class="name" x="-12" y="{_n(y)}" dy=".35em" text-anchor="end">{esc(_short(bar.label))}</text>'
        f'<text class="value" x="100%" y="{_n(y)}" dx="12" dy=".35em">{esc(bar.value)}</text></g>'
    )


def _spot(across: Axis, up: Axis, group: Group, point: tuple[float, float, str]) -> str:
    x, y, told = point
    return (
        f'<g><title>{esc(told)}</title><svg class="dot {group.kind}" x="{_n(across.at(x))}%" '
        f'y="{_n(100 - up.at(y))}%"><path style="fill-opacity:.8" d="{_SHAPES[group.shape % 5]}"/></svg></g>'
    )


def _padded(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 1.0
    return Axis(low - room, high + room)


def _line(x1: float, y1: float, x2: float, y2: str, kind: str) -> str:
    return f'<line class="{kind}" x1="{_n(x1)}%" y1="{_n(y1)}" x2="{_n(x2)}%" y2="{y2}"/>'


def _text(kind: str, x: str, y: str, down: int, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" dy="{down}" text-anchor="{anchor}">{esc(text)}</text>'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
