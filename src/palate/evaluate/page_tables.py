"""The tables of the report page: leaderboard, all data sets at a glance, people, splits, curves, methods."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from palate.evaluate import charts
from palate.evaluate.charts import esc
from palate.evaluate.page_reading import Figure, Section, percent, points, stance

__all__ = [
    "SIGNS",
    "about_methods",
    "curve_numbers",
    "harm",
    "kind_of",
    "leaderboard",
    "matrix",
    "people",
    "prose",
    "splits",
    "table",
    "told",
]

SIGNS = {"better": "▲", "worse": "▼", "same": "○", "unknown": ""}
_WORDS = {"better": "better than", "worse": "worse than", "same": "not told apart from", "unknown": ""}


def table(label: str, head: Iterable[str], body: str, kind: str = "") -> str:
    """A table in a frame that scrolls sideways by touch and by keyboard; ``head`` holds the ``th`` cells."""
    return (
        f'<div class="scroll {kind}" role="region" aria-label="{esc(label)}" tabindex="0">'
        f"<table><thead><tr>{''.join(head)}</tr></thead>{body}</table></div>"
    )


def prose(sentence: str) -> str:
    """A sentence with its figures set off: numbers strong, intervals quiet, neither broken over lines."""
    text = esc(sentence)
    quiet = re.compile(r"\[[+−\d., ]+\]")
    text = quiet.sub(lambda m: f'<span class="ci">{m[0].replace(" ", chr(160))}</span>', text)
    return re.sub(r"(?<![\w.])([+−]?\d[\d.,]*) (%|points)", "<b>\\1\u00a0\\2</b>", text)


def kind_of(section: Section, method: str) -> str:
    """The CSS class of a method's marks: what it is, or what was shown of it."""
    for name in ("control", "bound"):
        if section.flag(method, name):
            return name
    seen = stance(section.get(method, "accuracy", paired=True))
    return "same" if seen == "unknown" else seen


def told(section: Section, method: str, *, paired: bool = False) -> str:
    """What hovering over a method's accuracy (or its difference to the control) says."""
    figure = section.get(method, "accuracy", paired=paired)
    name = section.label(method)
    if figure is None:
        return name
    value = f"{points(figure.value)} points" if paired else percent(figure.value)
    against = f" against {section.label(section.control)}" if paired else ""
    return f"{name}: {value}{_interval(figure, paired)}{against}{_counts(figure)}"


def leaderboard(section: Section) -> str:
    """Methods by accuracy; gated variants under their base, the control as a waterline, bounds apart."""
    ordered = _order(section)
    scale = _scale(section, ordered)
    low, high = (f"{v * 100:.0f}" for v in (scale.low, scale.high))
    control = esc(section.label(section.control))
    head = [
        "<th>Method</th>",
        '<th class="wide"><div><span>Accuracy</span><span class="scale" aria-hidden="true">'
        f"<i>{low}</i><i>{high} %</i></span></div></th>",
        f'<th class="n">Points over {control}</th>',
        '<th class="n">Points from their choices</th>',
        *(f'<th class="n">{name}</th>' for name in ("Log-loss", "Calibration error", "Worst tenth")),
        "<th>Helped · left alone · harmed</th>",
        '<th class="n">Seconds: fit · adapt · score; memory</th>',
    ]
    bounds = [m for m in ordered if section.flag(m, "bound")]
    others = [m for m in ordered if m not in bounds]
    rows = "".join(_row(section, m, scale) for m in others)
    rows += "".join(_failed_row(section, m) for m in section.failures if m not in ordered)
    body = f"<tbody>{rows}</tbody>"
    if bounds:
        body = f'<tbody class="bounds">{"".join(_row(section, m, scale) for m in bounds)}</tbody>{body}'
    return table(f"Leaderboard of {section.dataset}", head, body, "board")


def matrix(found: Sequence[Section], anchors: Sequence[str]) -> str:
    """Every method on every data set: accuracy and whether it is shown better or worse than the control."""
    methods = list(dict.fromkeys(m for s in found for m in [*_order(s), *s.failures]))
    head = ["<th>Method</th>"] + [
        f'<th class="n"><a href="#{a}">{esc(s.dataset)}<small>{esc(s.encoder)}</small>'
        f"{f'<small>{esc(s.setting)}</small>' if s.setting else ''}</a></th>"
        for s, a in zip(found, anchors, strict=True)
    ]
    rows = []
    for method in methods:
        owner = next(s for s in found if method in s.failures or s.get(method, "accuracy"))
        cells = "".join(_matrix_cell(s, method) for s in found)
        kind = "control" if owner.flag(method, "control") else "bound" if owner.flag(method, "bound") else ""
        rows.append(f'<tr class="{kind}"><th scope="row">{esc(owner.label(method))}</th>{cells}</tr>')
    return table("All data sets", head, f"<tbody>{''.join(rows)}</tbody>", "matrix")


def people(section: Section, method: str, most: int) -> str:
    """One method's users, the least well predicted first, ``most`` of them."""
    rows = sorted(
        section.users[method],
        key=lambda r: (r[2], 0.0 if r[3] is None else r[2] - r[3], r[0]),
    )
    control = esc(section.label(section.control))
    weighted = any(r[4] is not None for r in rows)
    names = ["Pairs", "Accuracy, %", f"{control}, %", "Difference, points", *(["Weight"] if weighted else [])]
    head = ['<th data-sort="text">User</th>']
    head += [f'<th class="n" data-sort="number">{name}</th>' for name in names]
    body = "".join(_person(row, weighted) for row in rows[:most])
    several = len(rows) > most
    shown = f"the {most:,} least well predicted of {len(rows):,}" if several else f"all {len(rows):,}"
    note = "; the weight is how far the persona was applied (0 = the average answer)" if weighted else ""
    return (
        f"<details><summary>{esc(section.label(method))} <small>{shown} users</small></summary>"
        f"{table(f'Users under {section.label(method)}', head, f'<tbody>{body}</tbody>', 'people')}"
        f'<p class="note">Showing {shown} users, by accuracy on their own target pairs{note}.</p></details>'
    )


def splits(report: Mapping[str, Any]) -> str:
    """How each data set was divided."""
    columns = {
        "users": "Users",
        "train_users": "learned from",
        "val_users": "chosen on",
        "test_users": "tested",
        "scored_users": "scored",
        "context_pairs": "Context pairs",
        "target_pairs": "Target pairs",
        "rows_set_aside": "Rows set aside",
    }
    numbers = [f'<th class="n">{name}</th>' for name in columns.values()]
    several = len({entry.get("protocol") for entry in report.get("datasets") or []}) > 1
    head = ["<th>Data set</th>", *(["<th>Protocol</th>"] if several else []), *numbers, "<th>Pairs by</th>"]
    rows = []
    for entry in report.get("datasets") or []:
        cells = "".join(f'<td class="n">{_count(entry.get(key))}</td>' for key in columns)
        world = ' <span class="tag">simulated</span>' if entry.get("simulated") else ""
        rule = esc(entry.get("rule") or "given choices")
        name = f'<th scope="row">{esc(entry["name"])}{world}</th>'
        protocol = f"<td>{esc(entry.get('protocol') or '–')}</td>" if several else ""
        rows.append(f'<tr>{name}{protocol}{cells}<td class="words">{rule}</td></tr>')
    return table("How the data sets were split", head, f"<tbody>{''.join(rows)}</tbody>") if rows else ""


def curve_numbers(section: Section) -> str:
    """The numbers behind the curves, every method's."""
    at = sorted({p["pairs"] for curve in section.curves.values() for p in curve})
    head = ["<th>Context pairs</th>", *(f'<th class="n">{x:g}</th>' for x in at)]
    rows = []
    for method in dict.fromkeys(m for m in [*section.scored(), *section.curves] if section.curves.get(m)):
        by = {p["pairs"]: p for p in section.curves[method]}
        cells = "".join(f'<td class="n">{_curve_cell(by[x]) if x in by else "–"}</td>' for x in at)
        rows.append(f'<tr><th scope="row">{esc(section.label(method))}</th>{cells}</tr>')
    return table("Accuracy by number of context pairs, %", head, f"<tbody>{''.join(rows)}</tbody>")


def about_methods(report: Mapping[str, Any]) -> str:
    """Every method in a sentence, with its paper and its settings."""
    entries = []
    for method in report.get("methods") or []:
        paper = re.sub(r"\bhttps?://", "", str(method.get("paper") or ""))
        fields = method.get("fields") or {}
        settings = ", ".join(f"{key}={value}" for key, value in dict(fields).items())
        entries.append(
            f"<dt>{esc(method.get('label') or method['name'])}</dt><dd>{esc(method.get('summary') or '')}"
            + (f' <span class="paper">{esc(paper)}</span>' if paper else "")
            + (f"<code>{esc(settings)}</code>" if settings else "")
            + "</dd>"
        )
    return f'<dl class="methods">{"".join(entries)}</dl>' if entries else ""


def _order(section: Section) -> list[str]:
    """Scored methods by accuracy, each gated variant right under its base."""
    scored = section.scored()
    base = {m: str(section.info.get(m, {}).get("base")) for m in scored if section.flag(m, "gated")}
    children = {m for m, parent in base.items() if parent in scored and parent not in base}
    families = [
        (m, *(c for c in scored if c in children and base[c] == m)) for m in scored if m not in children
    ]
    return [method for family in families for method in family]


def _scale(section: Section, methods: Sequence[str]) -> charts.Axis:
    """One scale for all the bars of a leaderboard, in whole per cents."""
    figures = [f for f in (section.get(m, "accuracy") for m in methods) if f]
    ends = [e for f in figures for e in (f.value, f.low, f.high) if e is not None] or [0.0, 1.0]
    control = section.get(section.control, "accuracy")
    low, high = charts.clipped(ends, control.value) if control else (min(ends), max(ends))
    return charts.Axis(math.floor(100 * low) / 100, math.ceil(100 * high) / 100)


def _row(section: Section, method: str, scale: charts.Axis) -> str:
    """One scored method."""
    figure = section.get(method, "accuracy") or Figure(0.0)
    control = section.get(section.control, "accuracy")
    kind = kind_of(section, method)
    nested = section.flag(method, "gated") and str(section.info[method].get("base")) in section.scored()
    mark = charts.Mark("", figure.value, figure.low, figure.high, kind, told(section, method))
    bar = charts.interval(scale, mark, control.value if control else None)
    tags = [tag for tag in ("control", "bound") if section.flag(method, tag)]
    if not tags and not section.flag(method, "personal"):
        tags = ["not personal"]
    name = esc(section.label(method)) + "".join(f' <span class="tag">{tag}</span>' for tag in tags)
    classes = " ".join([*(t for t in tags if " " not in t), *(["nested"] if nested else [])])
    number = f"<span><b>{percent(figure.value)}</b> <small>{_interval(figure)}</small></span>"
    return (
        f'<tr class="{classes}"><th scope="row">{name}</th><td class="wide"><div>{number}{bar}</div></td>'
        f'<td class="n">{_difference(section, method)}</td>'
        f'<td class="n">{_from_choices(section, method)}</td><td class="n">{_log_loss(section, method)}</td>'
        f'<td class="n">{_plain(section.get(method, "calibration_error"))}</td>'
        f'<td class="n">{_share(section.get(method, "worst_tenth"))}</td><td>{harm(section, method)}</td>'
        f'<td class="n">{_seconds(section, method)}</td></tr>'
    )


def _failed_row(section: Section, method: str) -> str:
    name = f'{esc(section.label(method))} <span class="tag">failed</span>'
    return (
        f'<tr class="failed"><th scope="row">{name}</th>'
        f'<td colspan="8" class="words"><code>{esc(section.failures[method][:300])}</code></td></tr>'
    )


_TOUCHED = (
    ("better", "helped", "helped"),
    ("same", "left alone", "unchanged"),
    ("worse", "harmed", "harmed"),
)


def harm(section: Section, method: str) -> str:
    """Shares of users helped, left alone and harmed, as numbers over a bar."""
    seen = [(kind, words, section.get(method, metric)) for kind, words, metric in _TOUCHED]
    found = [(kind, words, figure) for kind, words, figure in seen if figure is not None]
    if len(found) < len(seen) or section.flag(method, "control"):
        return "–"
    parts = [
        (kind, f.value, f"{words} {percent(f.value)}{_interval(f)}{_counts(f)}") for kind, words, f in found
    ]
    numbers = " · ".join(f'<span class="{kind}">{f.value * 100:.0f}</span>' for kind, _, f in found)
    return f'<div class="harm"><span class="nums">{numbers} %</span>{charts.shares(parts)}</div>'


def _matrix_cell(section: Section, method: str) -> str:
    if method in section.failures:
        return f'<td class="n failed" title="{esc(section.failures[method][:200])}">failed</td>'
    figure = section.get(method, "accuracy")
    if figure is None:
        return '<td class="n">–</td>'
    bound = section.flag(method, "bound")
    seen = "unknown" if bound else stance(section.get(method, "accuracy", paired=True))
    sign = _sign(seen, section.label(section.control))
    hover = esc(told(section, method, paired=not bound and method != section.control))
    return f'<td class="n" title="{hover}">{percent(figure.value)} {sign}</td>'


def _sign(seen: str, against: str) -> str:
    if seen == "unknown":
        return '<span class="sign"></span>'
    words = esc(f"{_WORDS[seen]} {against}")
    return f'<span class="sign {seen}" role="img" aria-label="{words}" title="{words}">{SIGNS[seen]}</span>'


def _difference(section: Section, method: str) -> str:
    return _signed(section.get(method, "accuracy", paired=True), section.label(section.control))


def _from_choices(section: Section, method: str) -> str:
    """What the users' own choices add to a method, with the shares helped and harmed on hover."""
    cell = _signed(section.get(method, "from_choices"), f"{section.label(method)} before any choice")
    touched = [(words, section.get(method, f"choices_{words}")) for words in ("helped", "harmed")]
    told = ", ".join(f"{words} {percent(f.value, 0)} of users" for words, f in touched if f)
    return f'<span title="{esc(told)}">{cell}</span>' if told else cell


def _signed(figure: Figure | None, against: str) -> str:
    """A paired difference in points, with its sign and interval."""
    if figure is None:
        return "–"
    seen = stance(figure)
    return (
        f'<b class="{seen}">{points(figure.value)}</b> {_sign(seen, against)}<br>'
        f"<small>{_interval(figure, True)}</small>"
    )


def _log_loss(section: Section, method: str) -> str:
    seen = stance(section.get(method, "log_loss", paired=True), lower_is_better=True)
    return f"{_plain(section.get(method, 'log_loss'))} {_sign(seen, section.label(section.control))}"


def _plain(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    ends = "" if figure.low is None or figure.high is None else f"[{figure.low:.3f}, {figure.high:.3f}]"
    return f'<span title="{esc(ends)}">{figure.value:.3f}</span>'


def _share(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f'<span title="{esc(_interval(figure).strip())}">{percent(figure.value)}</span>'


def _seconds(section: Section, method: str) -> str:
    names = ("fit_seconds", "adapt_seconds_per_1000", "score_seconds_per_1000")
    found = [section.get(method, name) for name in names]
    if not any(found):
        return "–"
    memory = section.get(method, "peak_mib")
    held = f"<br><small>{memory.value:,.0f} MiB</small>" if memory and memory.value >= 1 else ""
    return " · ".join("–" if f is None else _brief(f.value) for f in found) + held


def _brief(seconds: float) -> str:
    """Seconds in two figures: 0.04, 0.4, 4.2, 42."""
    return f"{seconds:.0f}" if seconds >= 9.95 else f"{seconds:.1f}" if seconds >= 0.095 else f"{seconds:.2f}"


def _interval(figure: Figure, paired: bool = False) -> str:
    if figure.low is None or figure.high is None:
        return ""
    write: Callable[[float], str] = points if paired else (lambda share: f"{share * 100:.1f}")
    return f" [{write(figure.low)}, {write(figure.high)}]"


def _counts(figure: Figure) -> str:
    parts = [f"{n:,} {name}" for n, name in ((figure.users, "users"), (figure.pairs, "pairs")) if n]
    return f" ({', '.join(parts)})" if parts else ""


def _person(row: Sequence[Any], weighted: bool) -> str:
    user, pairs, accuracy, control, weight = row
    gap = None if control is None else accuracy - control
    kind = "" if not gap else ' class="better"' if gap > 0 else ' class="worse"'
    cells = [f"{pairs:,}", f"{accuracy * 100:.1f}", "–" if control is None else f"{control * 100:.1f}"]
    last = f"<td>{'–' if weight is None else format(weight, '.2f')}</td>" if weighted else ""
    return (
        f"<tr><th>{esc(user[:80])}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}"
        f"<td{kind}>{points(gap)}</td>{last}</tr>"
    )


def _curve_cell(point: Mapping[str, Any]) -> str:
    low, high = point.get("low"), point.get("high")
    ends = "" if low is None or high is None else f"<small>[{low * 100:.1f}, {high * 100:.1f}]</small>"
    return f"{point['value'] * 100:.1f} {ends}"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–" if value is None else esc(value)
