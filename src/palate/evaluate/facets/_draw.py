"""Pictures that the facets share, in the manner of :mod:`palate.evaluate.charts`: inline SVG, no script.

    rows     one row a method or a fact: dots with their intervals on one scale
    trend    lines over named steps (bins, buckets, window sizes), each point with its interval
    parts    bars of the users helped, left alone and harmed
    key      what the marks mean, as a line of text that wraps on a phone

Names stand left of a row and its value right of it; lines are told apart by colour, shape and the key.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palate.evaluate.charts import Axis, Point, Series, esc, shares
from palate.evaluate.page_reading import percent

__all__ = [
    "GLYPHS",
    "KINDS",
    "Dot",
    "Row",
    "key",
    "note",
    "parts",
    "point",
    "rows",
    "scale",
    "titled",
    "trend",
]

KINDS = ("s0", "s1", "s2", "s3", "s4")
"""Classes of the lines of a picture, in their order."""
GLYPHS = "●■▲◆▼"
"""The same shapes as letters, for the key."""
_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-4.6L4.4 3.4H-4.4z",
    "M0-5L5 0L0 5L-5 0z",
    "M0 4.6L4.4-3.4H-4.4z",
)
_ROW, _TREND = 28, 230


class Dot(NamedTuple):
    """A mark in a row; ``inner`` is a second, thicker range; ``shape`` None draws the ranges alone."""

    value: float
    text: str
    kind: str = "s0"
    shape: int | None = 0
    low: float | None = None
    high: float | None = None
    inner: tuple[float, float] | None = None


class Row(NamedTuple):
    """A name, its marks on the common scale, and what is written to their right."""

    label: str
    dots: Sequence[Dot]
    value: str = ""


def scale(low: float, high: float, *, signed: bool = False, factor: float = 100.0, most: int = 5) -> Axis:
    """Return an axis whose ends and at most ``most`` gaps fall on round numbers of value times factor.

    >>> [text for _, text in scale(0.512, 0.78).ticks]
    ['50', '60', '70', '80']
    >>> [text for _, text in scale(-0.02, 0.05, signed=True).ticks]
    ['−2', '0', '+2', '+4', '+6']
    """
    low, high = low * factor, high * factor
    pad = max(0.0, 0.005 * factor - (high - low)) / 2  # at least half a per cent across
    low, high = low - pad, high + pad
    span = high - low
    unit = 10 ** math.floor(math.log10(span / most))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m * most >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple(
        (i * step / factor, f"{i * step:{'+' if signed and i else ''}.{digits}f}".replace("-", "−"))
        for i in range(first, last + 1)
    )
    return Axis(first * step / factor, last * step / factor, ticks)


def rows(
    table: Sequence[Row], label: str, *, signed: bool = False, factor: float = 100.0, x_name: str = ""
) -> str:
    """Draw one row a name; with ``signed``, zero is drawn as a line."""
    ends = [e for row in table for d in row.dots for e in (d.value, d.low, d.high) if e is not None]
    if not ends:
        return ""
    if signed:
        ends.append(0.0)
    axis = scale(min(ends), max(ends), signed=signed, factor=factor, most=4)
    body = [_line(axis.at(v), 0, axis.at(v), 100, "grid") for v, _ in axis.ticks]
    if signed:
        body.append(_line(axis.at(0), 0, axis.at(0), 100, "zero"))
    for number, row in enumerate(table):
        y = number * _ROW + _ROW // 2
        told = "; ".join(dot.text for dot in row.dots)
        body.append(
            f'<g><title>{esc(told)}</title><rect class="hit" y="{y - _ROW // 2}" width="100%" '
            f'height="{_ROW}"/>{_text("name", "-12", y, _short(row.label), "end")}'
            f"{''.join(_across(axis, dot, y) for dot in row.dots)}"
            f"{_text('value', '100%', y, row.value, 'start', 12)}</g>"
        )
    body += [_tick(f"{_n(axis.at(v))}%", text) for v, text in axis.ticks]
    body.append(_tick("50%", x_name, 38, "axis"))
    names = min(_LONGEST, max(len(row.label) for row in table))
    room = 24 + 7 * max(len(row.value) for row in table)
    frame = f"--names:{names};padding-right:{room}px;padding-bottom:{46 if x_name else 28}px"
    return _plot("forest", frame, f"height:{_ROW * len(table)}px", label, "".join(body))


def trend(
    series: Sequence[Series], steps: Sequence[str], label: str, *, x_name: str, signed: bool = False
) -> str:
    """Draw lines over named steps; a point's ``x`` is the number of its step."""
    drawn = [one for one in series if one.points]
    ends = [e for one in drawn for p in one.points for e in (p.y, p.low, p.high) if e is not None]
    if not ends:
        return ""
    y = scale(min([*ends, 0.0] if signed else ends), max([*ends, 0.0] if signed else ends), signed=signed)
    x = Axis(-0.5, len(steps) - 0.5)
    body = [_line(0, 100 - y.at(v), 100, 100 - y.at(v), "grid") for v, _ in y.ticks]
    if signed:
        body.append(_line(0, 100 - y.at(0), 100, 100 - y.at(0), "zero"))
    body += [_text("tick", "-8", f"{_n(100 - y.at(v))}%", text, "end") for v, text in y.ticks]
    body += [_tick(f"{_n(x.at(i))}%", text) for i, text in enumerate(steps)]
    body.append(_tick("50%", x_name, 38, "axis"))
    wide = min(0.014 * len(steps), 0.5 / len(drawn))  # so that intervals stand beside each other
    lines, marks = [], []
    for number, one in enumerate(drawn):
        shift = (number - (len(drawn) - 1) / 2) * wide
        spots = [(x.at(p.x + shift), 100 - y.at(p.y), p) for p in one.points]
        path = " ".join(f"{_n(a)},{_n(b)}" for a, b, _ in spots)
        lines.append(f'<polyline class="path {one.kind}" points="{path}"/>')
        marks += [_upright(y, one, *spot) for spot in spots]
    body.append(f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{"".join(lines)}</svg>')
    frame = "padding-right:12px"
    return _plot("lines", frame, f"height:{_TREND}px", label, "".join([*body, *marks])) + key(
        [(one.label, one.kind, one.shape) for one in drawn]
    )


def point(x: float, found: Mapping[str, Any], text: str) -> Point | None:
    """Make a point of a figure at step ``x``, or None where it has no value."""
    if found["value"] is None:
        return None
    return Point(x, found["value"], found["low"], found["high"], f"{text} ({found['users']:,} users)")


def parts(table: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Draw, a name a row, the shares of users helped, left alone and harmed as one bar, with its numbers."""
    body = []
    for name, shared in table:
        triple = [(kind, shared[word]["value"], word) for kind, word in _SIDES]
        bar = shares([(kind, share, f"{word} {percent(share, 0)}") for kind, share, word in triple])
        up, _, down = (percent(share, 0) for _, share, _ in triple)
        said = f'<span class="nums">▲ {up} · ▼ {down}</span>'
        body.append(f'<dt>{esc(name)}</dt><dd><div class="harm" style="{_BAR}">{bar}{said}</div></dd>')
    return f'<dl class="touched">{"".join(body)}</dl>'


_BAR = "grid-template-columns:1fr 108px"
_SIDES = (("better", "helped"), ("same", "left alone"), ("worse", "harmed"))


def key(marks: Sequence[tuple[str, str, int | None]]) -> str:
    """Tell what marks mean: (words, class, shape) each; a shape of None is a bar."""
    if not marks:
        return ""
    told = "".join(
        f'<span><i style="color:var(--{esc(kind)})">{"━" if shape is None else GLYPHS[shape % 5]}</i> '
        f"{esc(words)}</span> "
        for words, kind, shape in marks
    )
    return f'<p class="key">{told}</p>'


def titled(title: str, picture: str) -> str:
    """Put a small heading over a picture, "" where there is none."""
    return f'<h4 style="margin-top:18px">{esc(title)}</h4>{picture}' if picture else ""


def note(text: str) -> str:
    """Set a remark under a picture."""
    return f'<p class="note">{esc(text)}</p>'


def _across(axis: Axis, dot: Dot, y: float) -> str:
    """Draw a dot and its ranges lying in a row."""
    body = ""
    if dot.low is not None and dot.high is not None:
        body += _whisker(dot.kind, axis.at(dot.low), axis.at(dot.high), y)
    if dot.inner is not None:
        body += _whisker(dot.kind, axis.at(dot.inner[0]), axis.at(dot.inner[1]), y, "stroke-width:9")
    return body + ("" if dot.shape is None else _mark(f"{_n(axis.at(dot.value))}%", y, dot.kind, dot.shape))


def _upright(axis: Axis, one: Series, x: float, y: float, at: Point) -> str:
    """Draw a point of a line with its interval standing."""
    bar = ""
    if at.low is not None and at.high is not None:
        ends = f'y1="{_n(100 - axis.at(at.low))}%" y2="{_n(100 - axis.at(at.high))}%"'
        bar = f'<line class="whisker {one.kind}" x1="{_n(x)}%" x2="{_n(x)}%" {ends}/>'
    mark = _mark(f"{_n(x)}%", f"{_n(y)}%", one.kind, one.shape)
    return f"<g><title>{esc(at.text)}</title>{bar}{mark}</g>"


def _mark(x: str, y: float | str, kind: str, shape: int) -> str:
    return f'<svg class="dot {kind}" x="{x}" y="{y}"><path d="{_SHAPES[shape % len(_SHAPES)]}"/></svg>'


def _whisker(kind: str, left: float, right: float, y: float, style: str = "") -> str:
    look = f' style="{style};stroke-linecap:butt"' if style else ""
    return f'<line class="whisker {kind}"{look} x1="{_n(left)}%" x2="{_n(right)}%" y1="{y}" y2="{y}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_n(x1)}%" y1="{_n(y1)}%" x2="{_n(x2)}%" y2="{_n(y2)}%"/>'


def _tick(x: str, text: str, down: int = 18, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x}" y="100%" dy="{down}" text-anchor="middle">{esc(text)}</text>'


def _text(kind: str, x: str, y: float | str, text: str, anchor: str, shift: int = 0) -> str:
    place = f'x="{x}" y="{y}" dx="{shift}" dy=".35em" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{esc(text)}</text>'


def _plot(kind: str, frame: str, size: str, label: str, body: str) -> str:
    return (
        f'<div class="plot {kind}" style="{frame}"><svg role="img" aria-label="{esc(label)}" style="{size}">'
        f"{body}</svg></div>"
    )


_LONGEST = 20


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
