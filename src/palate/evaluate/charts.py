"""Small pictures as inline SVG that fit any width without a script.

Horizontal places are percentages of the plot and vertical ones too, so a picture stretches with its column
while its text, dots and lines keep their size: 12 px is 12 px on a phone and on a wall. Colours come from
the page's CSS variables through classes (``better`` ``worse`` ``same`` ``control`` ``bound`` ``s0`` ..
``s4``), so that dark mode is one place; no meaning rests on colour alone (signs, shapes, dashes, words).
Every mark tells its values on hover through ``<title>``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

__all__ = [
    "Axis",
    "Mark",
    "Point",
    "Series",
    "calibration",
    "change",
    "clipped",
    "esc",
    "forest",
    "interval",
    "lines",
    "scatter",
    "shares",
]

_ROW = 28  # px between the rows of a forest
_LINES = 280  # px height of the line chart
_SHAPES = (
    "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "M-3.3-3.3h6.6v6.6h-6.6z",
    "M0-4.4L4.2 3.2H-4.2z",
    "M0-4.8L4.8 0L0 4.8L-4.8 0z",
    "M0 4.4L4.2-3.2H-4.2z",
)
_OPEN = '<svg viewBox="0 0 100 100" preserveAspectRatio="none">'


def esc(text: object) -> str:
    """Any value as text that is safe between tags and in a quoted attribute.

    >>> esc('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    return escape(str(text), quote=True)


class Axis(NamedTuple):
    """A scale from ``low`` to ``high`` with labelled ticks; ``log`` places v at log2(1 + v)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...] = ()
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value, 0 to 100, held inside the axis."""
        low, high, value = (math.log2(1 + v) if self.log else v for v in (self.low, self.high, value))
        return min(100.0, max(0.0, 100 * (value - low) / ((high - low) or 1)))


class Mark(NamedTuple):
    """One row of a forest: a dot, its interval, and what hovering says."""

    label: str
    value: float
    low: float | None
    high: float | None
    kind: str
    text: str


class Point(NamedTuple):
    """One point of a line with its interval."""

    x: float
    y: float
    low: float | None
    high: float | None
    text: str


class Series(NamedTuple):
    """One line; ``kind`` is its CSS class, ``shape`` its marker, ``band`` whether its intervals are drawn."""

    label: str
    points: Sequence[Point]
    kind: str
    shape: int = 0
    band: bool = False


def clipped(values: Sequence[float], middle: float, least: float = 0.05) -> tuple[float, float]:
    """The range to draw so that a few hopeless methods do not flatten the rest.

    From the lowest to the highest of ``values``, but no further below ``middle`` (the control) than 1.5 times
    the rise above it, or twice the median distance; what lies lower is drawn as an arrow at the edge.

    >>> clipped([-0.23, -0.01, 0.02, 0.04], 0.0)
    (-0.08, 0.04)
    """
    far = sorted(abs(v - middle) for v in values)
    median = far[len(far) // 2] if far else 0.0
    top = max([middle, *values])
    reach = max(least, 1.5 * (top - middle), 2 * median)
    return round(max(min([middle, *values]), middle - reach), 6), top


def interval(axis: Axis, mark: Mark, reference: float | None) -> str:
    """The bar of one table row: interval, dot, and a line where the control stands."""
    line = "" if reference is None else _line(axis.at(reference), 0, axis.at(reference), 100, "ref")
    return (
        f'<svg class="ivl" role="img" aria-label="{esc(mark.text)}"><title>{esc(mark.text)}</title>{line}'
        f"{_whisker(axis, mark, '50%')}</svg>"
    )


def shares(parts: Sequence[tuple[str, float, str]]) -> str:
    """One bar cut into (class, share, words) parts that sum to 1."""
    text = ", ".join(words for _, _, words in parts)
    body, left = [], 0.0
    for kind, share, words in parts:
        body.append(
            f'<rect class="{kind}" x="{_n(left)}%" width="{_n(100 * share)}%" height="100%">'
            f"<title>{esc(words)}</title></rect>"
        )
        left += 100 * share
    return f'<svg class="shares" role="img" aria-label="{esc(text)}">{"".join(body)}</svg>'


def forest(marks: Sequence[Mark], values: Sequence[str], label: str) -> str:
    """Differences to the control, one row a method, zero drawn as the control's own line."""
    low, high = clipped([e for m in marks for e in (m.value, m.low, m.high) if e is not None], 0.0)
    axis = _nice(low, high, 5, signed=True)
    body = [_line(axis.at(v), 0, axis.at(v), 100, "grid") for v, _ in axis.ticks]
    body.append(_line(axis.at(0), 0, axis.at(0), 100, "zero"))
    for row, (mark, value) in enumerate(zip(marks, values, strict=True)):
        y = row * _ROW + _ROW // 2
        told = _text("value", "100%", str(y), value, 'dx="12" dy=".35em"')
        name = _text("name", "-12", str(y), _short(mark.label, 18), 'dy=".35em" text-anchor="end"')
        body.append(
            f'<g><title>{esc(mark.text)}</title><rect class="hit" y="{y - _ROW // 2}" width="100%" '
            f'height="{_ROW}"/>{name}{_whisker(axis, mark, str(y))}'
            f"{told}</g>"
        )
    body += [_tick_x(axis, v, text) for v, text in axis.ticks]
    names = min(18, max(len(m.label) for m in marks))
    return _plot("forest", "".join(body), label, f"height:{_ROW * len(marks)}px", f"--names:{names}")


def lines(series: Sequence[Series], xs: Sequence[float], label: str, x_name: str) -> str:
    """Lines with interval bands over a log2(1 + x) axis, each named at its end."""
    ends = [p.y for s in series for p in s.points]
    ends += [e for s in series if s.band for p in s.points for e in (p.low, p.high) if e is not None]
    y = _nice(min(ends), max(ends), 5, percent=True)
    x = Axis(min(xs), max(xs), _thin(xs), log=True)
    body = [_line(0, 100 - y.at(v), 100, 100 - y.at(v), "grid") for v, _ in y.ticks]
    body += [_tick_y(y, v, text) for v, text in y.ticks] + [_tick_x(x, v, text) for v, text in x.ticks]
    shapes = [_band(s, x, y) for s in series if s.band] + [_path(s, x, y) for s in series]
    body.append(f"{_OPEN}{''.join(shapes)}</svg>")
    for one in series:
        shape = f'<path d="{_SHAPES[one.shape % len(_SHAPES)]}"/></svg>'
        body += [
            f'<svg class="dot {one.kind}" x="{_n(x.at(p.x))}%" y="{_n(100 - y.at(p.y))}%">'
            f"<title>{esc(p.text)}</title>{shape}"
            for p in one.points
        ]
    body += _end_names(series, y)
    body.append(_text("axis", "50%", "100%", x_name, 'dy="38" text-anchor="middle"'))
    return _plot("lines", "".join(body), label, f"height:{_LINES}px")


def calibration(bins: Sequence[tuple[float, float, int]], low: float, label: str, kind: str) -> str:
    """Stated confidence against what came true, from ``low`` to 1; a dot's area is its pairs."""
    axis = Axis(low, 1.0, tuple((v, f"{v * 100:.0f}") for v in (low, (low + 1) / 2, 1.0)))
    most = max((b[2] for b in bins), default=0) or 1
    body = [*_square(axis, axis), _line(0, 100, 100, 0, "diagonal")]
    spots = [(axis.at(c), 100 - axis.at(a)) for c, a, _ in bins]
    body.append(
        f'{_OPEN}<polyline class="path {kind}" '
        f'points="{" ".join(f"{_n(x)},{_n(y)}" for x, y in spots)}"/></svg>'
    )
    for (x, y), (said, true, pairs) in zip(spots, bins, strict=True):
        words = f"said {said * 100:.0f} %, came true {true * 100:.1f} % ({pairs:,} pairs)"
        body.append(_circle(x, y, 2 + 4.5 * math.sqrt(pairs / most), kind, words))
    return _plot("square small", "".join(body), label)


def scatter(pairs: Sequence[tuple[float, float]], label: str, names: tuple[str, str]) -> str:
    """Users by their accuracy under the control (across) and the method (up); equal users share a dot."""
    grid = 50 if len(pairs) <= 600 else 20
    spots = Counter((round(a * grid) / grid, round(b * grid) / grid) for a, b in pairs)
    most = max(spots.values(), default=1)
    axis = Axis(0.0, 1.0, tuple((v / 4, f"{25 * v}") for v in range(5)))
    body = [
        f'{_OPEN}<polygon class="tint better" points="0,0 100,0 0,100"/>'
        '<polygon class="tint worse" points="100,0 100,100 0,100"/></svg>',
        *_square(axis, axis),
        _line(0, 100, 100, 0, "diagonal"),
    ]
    for (a, b), count in sorted(spots.items(), key=lambda item: -item[1]):
        kind = "better" if b > a else "worse" if b < a else "same"
        people = f"{count} user{'s' if count > 1 else ''}"
        words = f"{people}: {names[0]} {a * 100:.0f} %, {names[1]} {b * 100:.0f} %"
        radius = 2.2 + 5 * math.sqrt((count - 1) / most)
        body.append(_circle(axis.at(a), 100 - axis.at(b), radius, kind, words))
    up, down = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
    body += [
        _text("corner better", "3%", "6%", f"{up:,} helped"),
        _text("corner worse", "97%", "96%", f"{down:,} harmed", 'text-anchor="end"'),
        _text("axis", "0", "0", f"{_short(names[1], 30)}, %", 'dx="-30" dy="-14"'),
        _text("axis", "50%", "100%", f"{_short(names[0], 30)}, %", 'dy="38" text-anchor="middle"'),
    ]
    return _plot("square", "".join(body), label)


def change(differences: Sequence[float], label: str, *, small: bool = False) -> str:
    """How many users changed by how much: bars of ten points, those who did not change apart at zero."""
    counts = Counter(_step(d) for d in differences)
    reach = max([4, *(abs(step) for step in counts)])
    reach += reach % 2
    top, most = max(counts.items(), key=lambda item: item[1], default=(0, 1))
    axis = Axis(-reach - 0.5, reach + 0.5)
    steps = (-reach, 0, reach) if small else (-reach, -reach // 2, 0, reach // 2, reach)
    ticks = [(step, f"{10 * step:+}".replace("-", "−") if step else "0") for step in steps]
    body = [_line(0, 100, 100, 100, "base")]
    for step in range(-reach, reach + 1):
        count = counts.get(step, 0)
        if count:
            kind = "better" if step > 0 else "worse" if step < 0 else "same"
            words = f"{count:,} user{'s' if count > 1 else ''} {_span(step)}"
            body.append(_bar(axis, step, 100 * count / most, kind, words))
    body += [_tick_x(axis, v, text) for v, text in ticks]
    body.append(_text("tick", f"{_n(axis.at(top))}%", "0", f"{most:,} users", 'dy="-6" text-anchor="middle"'))
    if not small:
        body.append(
            _text("axis", "50%", "100%", "change in accuracy, points", 'dy="38" text-anchor="middle"')
        )
    return _plot("bars small" if small else "bars", "".join(body), label)


def _step(difference: float) -> int:
    """The bar of a difference: 0 for none, else its tens of points, rounded away from zero."""
    tens = math.ceil(abs(difference) * 10 - 1e-9) if abs(difference) > 1e-9 else 0
    return tens if difference > 0 else -tens


def _span(step: int) -> str:
    """The words for a bar of the change picture."""
    if step == 0:
        return "unchanged"
    side = "gained" if step > 0 else "lost"
    return f"{side} {10 * (abs(step) - 1)} to {10 * abs(step)} points"


def _bar(axis: Axis, step: int, height: float, kind: str, words: str) -> str:
    left, right = axis.at(step - 0.46), axis.at(step + 0.46)
    return (
        f'<rect class="bar {kind}" x="{_n(left)}%" width="{_n(right - left)}%" y="{_n(100 - height)}%" '
        f'height="{_n(height)}%"><title>{esc(words)}</title></rect>'
    )


def _whisker(axis: Axis, mark: Mark, y: str) -> str:
    """A dot with its interval at height ``y``; an arrow at the edge if the dot lies off the picture."""
    if mark.value < axis.low:
        return f'<svg class="dot {mark.kind}" x="0" y="{y}"><path d="M0 0L9-4.5V4.5z"/></svg>'
    bar = ""
    if mark.low is not None and mark.high is not None:
        ends = f'x1="{_n(axis.at(mark.low))}%" x2="{_n(axis.at(mark.high))}%"'
        bar = f'<line class="whisker {mark.kind}" {ends} y1="{y}" y2="{y}"/>'
    return f'{bar}<circle class="mark {mark.kind}" cx="{_n(axis.at(mark.value))}%" cy="{y}" r="4.5"/>'


def _plot(kind: str, body: str, label: str, size: str = "", frame: str = "") -> str:
    """The frame: CSS gives it room for its texts, which overflow the drawing on purpose."""
    outer, inner = (f' style="{style}"' if style else "" for style in (frame, size))
    return (
        f'<div class="plot {kind}"{outer}><svg role="img" aria-label="{esc(label)}"{inner}>{body}</svg></div>'
    )


def _text(kind: str, x: str, y: str, text: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" {more}>{esc(text)}</text>'


def _square(x: Axis, y: Axis) -> list[str]:
    """The grid and ticks of a square picture."""
    grid = [_line(x.at(v), 0, x.at(v), 100, "grid") for v, _ in x.ticks]
    grid += [_line(0, 100 - y.at(v), 100, 100 - y.at(v), "grid") for v, _ in y.ticks]
    return grid + [_tick_x(x, v, t) for v, t in x.ticks] + [_tick_y(y, v, t) for v, t in y.ticks]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_n(x1)}%" y1="{_n(y1)}%" x2="{_n(x2)}%" y2="{_n(y2)}%"/>'


def _circle(x: float, y: float, radius: float, kind: str, words: str) -> str:
    place = f'cx="{_n(x)}%" cy="{_n(y)}%" r="{_n(radius)}"'
    return f'<circle class="spot {kind}" {place}><title>{esc(words)}</title></circle>'


def _tick_x(axis: Axis, value: float, text: str) -> str:
    return _text("tick", f"{_n(axis.at(value))}%", "100%", text, 'dy="18" text-anchor="middle"')


def _tick_y(axis: Axis, value: float, text: str) -> str:
    return _text("tick", "-8", f"{_n(100 - axis.at(value))}%", text, 'dy=".35em" text-anchor="end"')


def _band(series: Series, x: Axis, y: Axis) -> str:
    ranged = [(x.at(p.x), p.low, p.high) for p in series.points if p.low is not None and p.high is not None]
    top = [f"{_n(at)},{_n(100 - y.at(high))}" for at, _, high in ranged]
    bottom = [f"{_n(at)},{_n(100 - y.at(low))}" for at, low, _ in reversed(ranged)]
    return f'<polygon class="band {series.kind}" points="{" ".join(top + bottom)}"/>'


def _path(series: Series, x: Axis, y: Axis) -> str:
    spots = " ".join(f"{_n(x.at(p.x))},{_n(100 - y.at(p.y))}" for p in series.points)
    return f'<polyline class="path {series.kind}" points="{spots}"/>'


def _end_names(series: Sequence[Series], y: Axis) -> list[str]:
    """Names beside the lines' ends, moved apart where they would lie on each other."""
    wanted = sorted((((100 - y.at(s.points[-1].y)) / 100 * _LINES, s) for s in series), key=lambda w: w[0])
    placed: list[float] = []
    for want, _ in wanted:
        placed.append(max(want, placed[-1] + 16) if placed else want)
    over = max(0.0, placed[-1] - _LINES) if placed else 0.0
    for i in reversed(range(len(placed))):
        limit = placed[i + 1] - 16 if i + 1 < len(placed) else _LINES
        placed[i] = min(placed[i], limit) if over else placed[i]
    return [
        _text(f"end {s.kind}", "100%", _n(at), _short(s.label, 13), 'dx="12" dy=".35em"')
        for at, (_, s) in zip(placed, wanted, strict=True)
    ]


def _nice(low: float, high: float, most: int, *, signed: bool = False, percent: bool = False) -> Axis:
    """An axis in per cent whose ends and at most ``most`` gaps fall on round numbers."""
    low, high = 100 * low, 100 * high
    span = max(high - low, 0.5)
    unit = 10 ** math.floor(math.log10(span / most))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m * most >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 0 if step >= 1 else 1
    unit_name = " %" if percent else ""
    ticks = []
    for i in range(first, last + 1):
        text = f"{i * step:{'+' if signed and i else ''}.{digits}f}".replace("-", "−")
        ticks.append((i * step / 100, text + unit_name))
    return Axis(first * step / 100, last * step / 100, tuple(ticks))


def _thin(xs: Iterable[float]) -> tuple[tuple[float, str], ...]:
    """At most eight tick labels on a log axis, the ends always among them."""
    values = sorted(set(xs))
    every = max(1, math.ceil((len(values) - 1) / 7))
    kept = [v for i, v in enumerate(values) if (len(values) - 1 - i) % every == 0 or i == 0]
    return tuple((v, f"{v:g}") for v in kept)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _n(value: float) -> str:
    """A number with at most two decimals and no more characters than needed."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
