"""The figures of the report page: each takes a section and gives a ``figure``, or "" without its data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate import charts
from palate.evaluate import page_tables as tables
from palate.evaluate.charts import esc
from palate.evaluate.facets import draw
from palate.evaluate.faults import explain
from palate.evaluate.page_reading import Section, percent, points, stance

__all__ = ["ALL", "calibration", "change", "changes", "facets", "forest", "lines", "scatter"]


def _n(section: Section, method: str | None) -> str:
    """``430 users, 6,777 pairs``: what a picture rests on."""
    figure = section.get(method, "accuracy") if method else None
    counts = ((figure.users, "users"), (figure.pairs, "pairs")) if figure else ()
    parts = [f"{n:,} {name}" for n, name in counts if n]
    return ", ".join(parts) or "n not given"


def _figure(title: str, picture: str, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}"><h3>{title}</h3>{picture}<figcaption>{caption}</figcaption></figure>'


def forest(section: Section) -> str:
    """Differences to the control."""
    marks, values = [], []
    for method in section.scored():
        figure = section.get(method, "accuracy", paired=True)
        if figure is None or section.flag(method, "bound"):
            continue
        words = tables.told(section, method, paired=True)
        kind = tables.kind_of(section, method)
        marks.append(charts.Mark(section.label(method), figure.value, figure.low, figure.high, kind, words))
        values.append(f"{points(figure.value)} {tables.SIGNS[stance(figure)]}")
    if not marks:
        return ""
    control = section.label(section.control)
    label = f"Accuracy over {control}, in points: " + "; ".join(mark.text for mark in marks)
    caption = (
        f"Difference in accuracy to {esc(control)} (the line at 0) in points, on the same users and pairs, "
        f"with its 95 % interval; one that touches the line shows nothing, ◀ lies beyond the picture. "
        f"{_n(section, section.lead())}."
    )
    return _figure(f"What each method adds to {esc(control)}", charts.forest(marks, values, label), caption)


def lines(section: Section) -> str:
    """Accuracy by number of context pairs: the control, the bounds and the four best personal methods."""
    known = [*section.scored(), *section.curves]
    rank = [m for m in dict.fromkeys(known) if section.curves.get(m)]
    bounds = [m for m in rank if section.flag(m, "bound")]
    chosen = [m for m in rank if m not in [*bounds, section.control] and section.flag(m, "personal")][:4]
    series = [_series(section, m, "bound") for m in bounds]
    series += [_series(section, m, f"s{i}", i) for i, m in enumerate(chosen)]
    if not series:
        return ""
    xs = sorted({p.x for one in series for p in one.points})
    series += _control_line(section, xs)
    label = "Accuracy by number of context pairs: " + "; ".join(one.points[-1].text for one in series)
    left = len([m for m in rank if not section.flag(m, "control")]) - len(bounds) - len(chosen)
    bands = " and ".join(esc(one.label) for one in series if one.band)
    caption = (
        "Accuracy on target pairs when a method sees so many of a user's own choices"
        + (f"; shaded: 95 % intervals of {bands}" if bands else "")
        + f". {_at_points(section, [*chosen, *bounds])}."
        + (f" The most accurate personal methods; {left} more in the table below." if left else "")
    )
    picture = charts.lines(series, xs, label, "context pairs seen")
    return _figure("How many choices it takes", picture, caption)


def _control_line(section: Section, xs: Sequence[float]) -> list[charts.Series]:
    """The control's curve; level where it has none, for it sees no context."""
    if section.curves.get(section.control):
        return [_series(section, section.control, "control")]
    figure = section.get(section.control, "accuracy")
    if figure is None:
        return []
    told, name = tables.told(section, section.control), section.label(section.control)
    ends = [charts.Point(x, figure.value, figure.low, figure.high, told) for x in sorted({xs[0], xs[-1]})]
    return [charts.Series(name, ends, "control", band=True)]


def _at_points(section: Section, methods: Sequence[str]) -> str:
    """How many users the points of the drawn lines rest on."""
    users = [int(p["users"]) for m in methods for p in section.curves[m] if p.get("users")]
    if not users:
        return "n not given"
    few, many = min(users), max(users)
    return f"{many:,} users" if few == many else f"{few:,} to {many:,} users a point"


def _series(section: Section, method: str, kind: str, shape: int = 0) -> charts.Series:
    """One method's line; the leading method and the control are drawn with their intervals."""
    spots = []
    for p in sorted(section.curves[method], key=lambda p: p["pairs"]):
        low, high = p.get("low"), p.get("high")
        ends = f" [{low * 100:.1f}, {high * 100:.1f}]" if low is not None and high is not None else ""
        users = f" ({p['users']:,.0f} users)" if p.get("users") else ""
        words = f"{section.label(method)} after {p['pairs']:g} pairs: {percent(p['value'])}{ends}{users}"
        spots.append(charts.Point(p["pairs"], p["value"], low, high, words))
    return charts.Series(section.label(method), spots, kind, shape, kind in ("s0", "control"))


def _pairs(section: Section, method: str) -> list[tuple[float, float]]:
    """(control accuracy, method accuracy) of every user that has both."""
    return [
        (control, accuracy) for _, _, accuracy, control, _ in section.users[method] if control is not None
    ]


def _subject(section: Section) -> str | None:
    """The method whose users are drawn large."""
    order = [m for m in (section.lead(), *section.personal()) if m is not None and m in section.users]
    return next((m for m in order if _pairs(section, m)), None)


def scatter(section: Section) -> str:
    """Each user's accuracy under the control and under the leading method."""
    method = _subject(section)
    if method is None:
        return ""
    pairs, name, control = _pairs(section, method), section.label(method), section.label(section.control)
    up, down = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
    words = f"{up:,} above the diagonal, {down:,} below, {len(pairs) - up - down:,} on it"
    caption = (
        f"Each dot is a user (a larger one several): accuracy under {esc(control)} across, under {esc(name)} "
        f"up, in per cent of the user's own target pairs. {len(pairs):,} users: {words}."
    )
    return _figure(
        f"User by user: {esc(name)} against {esc(control)}",
        charts.scatter(pairs, f"Accuracy of each user under {control} and {name}: {words}", (control, name)),
        caption,
    )


def change(section: Section) -> str:
    """How much users gained or lost, and the shares helped and harmed under every personal method."""
    method = _subject(section)
    rows = [(m, tables.harm(section, m)) for m in section.personal()]
    bars = "".join(f"<dt>{esc(section.label(m))}</dt><dd>{cell}</dd>" for m, cell in rows if cell != "–")
    shares = f'<dl class="touched">{bars}</dl>' if bars else ""
    if method is None:
        note = f"Shares of users, in per cent. {_n(section, section.lead())}."
        return _figure("Helped, left alone, harmed", shares, note) if bars else ""
    gaps = [b - a for a, b in _pairs(section, method)]
    name = section.label(method)
    picture = charts.change(gaps, f"Change in users' accuracy under {name}, {len(gaps)} users")
    caption = f"Users by the change in their accuracy under {esc(name)}; those without any stand at 0."
    if bars:
        caption += " Below: shares of users helped, left alone and harmed by each method, in per cent."
    return _figure("Who gains, who loses", picture + shares, f"{caption} {len(gaps):,} users.")


def calibration(section: Section) -> str:
    """One small picture a method, all on one scale."""
    order = [m for m in section.scored() if m in section.calibration]
    order += [m for m in section.calibration if m not in order]
    found = {
        m: [(b["confidence"], b["accuracy"], int(b.get("pairs") or 0)) for b in section.calibration[m]]
        for m in order
        if section.calibration[m]
    }
    if not found:
        return ""
    low = min([0.5, *(math.floor(10 * min(b[:2]) + 1e-9) / 10 for bins in found.values() for b in bins)])
    panels = []
    for method, bins in found.items():
        error, name = section.get(method, "calibration_error"), section.label(method)
        pairs = f"{sum(b[2] for b in bins):,} pairs"
        note = f"error {error.value:.3f}, {pairs}" if error else pairs
        kind = next((kind for kind in ("control", "bound") if section.flag(method, kind)), "s0")
        picture = charts.calibration(bins, low, f"Calibration of {name}: {note}", kind)
        panels.append(f'<div><h4 title="{esc(name)}">{esc(name)}</h4>{picture}<p>{note}</p></div>')
    caption = (
        "Across: how sure the method was of its pick, in per cent; up: how often it was right. On the "
        "diagonal it knows what it knows; below it, it is too sure. A dot's area is its number of pairs."
    )
    body = f'<div class="panels">{"".join(panels)}</div>'
    return _figure("Is it as sure as it should be?", body, caption, "full")


def changes(section: Section) -> str:
    """The change pictures of the methods that are not drawn large."""
    panels = []
    for method in section.personal():
        if method == _subject(section) or method not in section.users:
            continue
        gaps = [b - a for a, b in _pairs(section, method)]
        name = section.label(method)
        picture = charts.change(gaps, f"Change in users' accuracy under {name}", small=True)
        panels.append(
            f'<div><h4 title="{esc(name)}">{esc(name)}</h4>{picture}<p>{len(gaps):,} users, points</p></div>'
        )
    if not panels:
        return ""
    return (
        f"<details><summary>Who gains, who loses under the other {len(panels)} personal methods</summary>"
        f'<div class="panels">{"".join(panels)}</div></details>'
    )


def facets(section: Section) -> str:
    """Every facet's picture with its title, and below it in a sentence what it means."""
    return "".join(
        _figure(esc(value.get("title") or value["facet"]), _drawn(value), tables.prose(value["sentence"]))
        for value in section.facets
    )


def _drawn(value: Mapping[str, Any]) -> str:
    """A facet's picture; one that cannot be drawn is said to be so, and the page goes on."""
    try:
        return draw(value)
    except Exception as error:  # values may come from another version
        return f'<p class="note">The picture cannot be drawn: {esc(explain(error))}</p>'


ALL = (forest, lines, scatter, change, calibration)
