"""Reproducibility cards: what was published of a method, what it reached here, and what differs.

A card is made for every method of a report. Published figures stand beside the report's own on the data set
of the same name, with interval, n and seconds; figures on other data are listed as not run here. What
differs is the list under ``Departs from the paper:`` in the text of the method's file, its only source.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from palate.catalogue import find
from palate.core import Method, PalateError
from palate.evaluate.charts import Axis, Mark, esc, interval
from palate.evaluate.page_reading import percent
from palate.evaluate.page_tables import table
from palate.evaluate.published import Published, of_method

__all__ = ["cards", "departures", "draw"]

Values = dict[str, Any]
_HEAD = "Departs from the paper:"


# ---- what differs -------------------------------------------------------------------------------------


def departures(cls: type[Method]) -> list[str]:
    """Return how a method's code departs from its paper, one plain text a bullet.

    A bullet that begins with the name of another method of the same file, as in ``- conditional: ...``, is
    that method's alone. Text right after the heading counts as one bullet.

    >>> from palate.catalogue import find
    >>> departures(find("lore"))[0][:34]
    'Priors instead of early stopping: '
    >>> departures(find("random"))
    []
    """
    module = sys.modules[cls.__module__]
    told = _bullets(module.__doc__ or "")
    names = {str(c.__dict__["name"]) for c in vars(module).values() if _is_method(c, cls.__module__)}
    if not cls.paper and len(names) > 1:
        return []
    out = []
    for text in told:
        whose, colon, rest = text.partition(": ")
        if colon and whose in names:
            if whose == cls.name:
                out.append(rest[:1].upper() + rest[1:])
            continue
        out.append(text[:1].upper() + text[1:])
    return out


def _is_method(value: Any, module: str) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module
        and "name" in value.__dict__
    )


def _bullets(text: str) -> list[str]:
    """Return the bullets under the heading; a blank line or a new paragraph at the margin ends them."""
    _, found, rest = text.partition(_HEAD)
    if not found:
        return []
    first, *lines = rest.split("\n")
    bullets = [first.strip()] if first.strip() else []
    running = bool(bullets)
    for line in lines:
        if line.startswith("- "):
            bullets.append(line[2:].strip())
        elif not line.strip():
            if bullets:
                break
        elif bullets and (line.startswith(" ") or running):
            bullets[-1] += " " + line.strip()
        else:
            break
        running = running and not line.startswith("- ")
    return [re.sub(r"``?", "", bullet) for bullet in bullets]


# ---- figures side by side -----------------------------------------------------------------------------


def cards(report: Mapping[str, Any]) -> list[Values]:
    """Return a card for every method of a report, bounds and gated variants left out.

    Args:
        report: Plain values of the schema ``palate-report/1`` or ``/2``.

    Returns:
        For each ``method``: its ``label``, ``paper``, ``departs`` (texts), ``compared`` (a published figure
        and, in ``here``, ours on the same data set, one an encoder) and ``elsewhere`` (not run here).
    """
    methods = [m for m in report.get("methods") or [] if not m.get("bound") and not m.get("gated")]
    return [_card(report, method) for method in methods]


def _card(report: Mapping[str, Any], method: Mapping[str, Any]) -> Values:
    name = str(method["name"])
    ours = dict(_ours(report, name))
    compared, elsewhere = [], []
    for figure in of_method(name):
        plain = {key: value for key, value in figure._asdict().items() if key != "method"}
        here = ours.get(figure.dataset, []) if figure.metric == "accuracy" else []
        if here:
            compared.append({**plain, "here": [{**h, "differs": _differs(figure, h)} for h in here]})
        else:
            elsewhere.append(plain)
    departs, missing = _departs(name)
    return {
        "method": name,
        "label": str(method.get("label") or name),
        "paper": str(method.get("paper") or ""),
        "departs": departs,
        "unknown": missing,
        "compared": compared,
        "elsewhere": elsewhere,
    }


def _departs(name: str) -> tuple[list[str], str]:
    """Return the departures, and why they are unknown where the class cannot be had."""
    try:
        return departures(find(name)), ""
    except (PalateError, ImportError) as error:
        return [], str(error)


def _ours(report: Mapping[str, Any], name: str) -> Iterator[tuple[str, list[Values]]]:
    """Yield each data set with the method's accuracies on it under new-users, one an encoder."""
    found: dict[str, dict[str, Values]] = {}
    for row in report.get("rows") or []:
        if row["method"] != name or row.get("against") or row.get("protocol", "new-users") != "new-users":
            continue
        encoder = str(row.get("encoder") or "no encoder")
        here = found.setdefault(str(row["dataset"]), {}).setdefault(encoder, {"encoder": encoder})
        if row["metric"] == "accuracy":
            here |= {key: row.get(key) for key in ("value", "low", "high", "users", "pairs")}
        elif row["metric"] in _SECONDS:
            here[_SECONDS[row["metric"]]] = row.get("value")
    for dataset, encoders in found.items():
        yield dataset, [here for here in encoders.values() if here.get("value") is not None]


_SECONDS = {"fit_seconds": "fit_seconds", "adapt_seconds_per_1000": "adapt_seconds"}


def _differs(figure: Published, here: Mapping[str, Any]) -> list[str]:
    """Say what is not the same in two runs beside the method itself."""
    out = []
    wanted = "minilm+style" if "14 style features" in figure.setting else "minilm"
    if here["encoder"] != wanted:
        out.append(f"encoder {here['encoder']}, published with {wanted}")
    if None not in (figure.users, here.get("users")) and figure.users != here["users"]:
        out.append(f"{here['users']:,} users, published with {figure.users:,}")
    if None not in (figure.pairs, here.get("pairs")) and figure.pairs != here["pairs"]:
        out.append(f"{here['pairs']:,} pairs, published with {figure.pairs:,}")
    return out


# ---- drawing ------------------------------------------------------------------------------------------


def draw(found: Sequence[Mapping[str, Any]]) -> str:
    """Draw cards as HTML: one that opens for each method, "" where there is none."""
    return "".join(_drawn(card) for card in found if card["compared"] or card["elsewhere"] or card["departs"])


_OVER = '<h4 style="margin-top:20px">'


def _drawn(card: Mapping[str, Any]) -> str:
    inside = _figures(card["compared"]) if card["compared"] else ""
    departs = "".join(f"<li>{esc(text)}</li>" for text in card["departs"])
    if departs:
        inside += f"{_OVER}What differs from the paper</h4><ul>{departs}</ul>"
    if card["unknown"]:
        inside += f'<p class="note">What differs is not known here: {esc(card["unknown"])}</p>'
    if card["elsewhere"]:
        inside += f"{_OVER}Published, not run here</h4>{_elsewhere(card['elsewhere'])}"
    paper = f" <small>{esc(card['paper'])}</small>" if card["paper"] else ""
    return f"<details><summary>{esc(card['label'])}{paper}</summary>{inside}</details>"


def _figures(compared: Sequence[Mapping[str, Any]]) -> str:
    """Return the published figure over ours, data set by data set, on one scale."""
    pairs = [f for c in compared for f in (c, *c["here"])]
    ends = [f[key] for f in pairs for key in ("value", "low", "high") if f.get(key) is not None]
    axis = Axis(min(ends) - 0.005, max(ends) + 0.005)
    head = ["<th>Whose</th>", '<th class="wide">Accuracy</th>']
    head += [f'<th class="n">{name}</th>' for name in ("Users", "Pairs", "Fit, s", "Adapt, s")]
    body = []
    for dataset, group in _grouped(compared):
        lines = [_line(axis, c["variant"], c, "control") for c in group]
        lines += [_line(axis, "here", h, "s0", h["encoder"]) for h in group[0]["here"]]
        name = f'<tr class="control"><th scope="rowgroup" colspan="6">{esc(dataset)}</th></tr>'
        body.append(f"<tbody>{name}{''.join(lines)}</tbody>")
    return table("Published and here", head, "".join(body), "board") + _remarks(compared)


def _grouped(compared: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    names = dict.fromkeys(c["dataset"] for c in compared)
    return [(name, [c for c in compared if c["dataset"] == name]) for name in names]


def _line(axis: Axis, whose: str, figure: Mapping[str, Any], kind: str, encoder: str = "") -> str:
    ends = "" if figure.get("low") is None else f"[{figure['low'] * 100:.1f}, {figure['high'] * 100:.1f}]"
    words = f"{whose}: {percent(figure['value'])} {ends}".strip()
    mark = Mark("", figure["value"], figure.get("low"), figure.get("high"), kind, words)
    name = esc(whose) + (f" <small>{esc(encoder)}</small>" if encoder else "")
    bar = interval(axis, mark, None)
    level = f"<span><b>{percent(figure['value'])}</b> <small>{ends}</small></span>"
    numbers = [_count(figure.get(key)) for key in ("users", "pairs")]
    numbers += [_seconds(figure.get(key)) for key in ("fit_seconds", "adapt_seconds")]
    return (
        f'<tr><th scope="row">{name}</th><td class="wide"><div>{level}{bar}</div>'
        "</td>" + "".join(f'<td class="n">{number}</td>' for number in numbers) + "</tr>"
    )


def _remarks(compared: Sequence[Mapping[str, Any]]) -> str:
    """Tell remarks of the source, and what differs in the runs, each once with the data sets it holds on."""
    told: dict[str, dict[str, None]] = {}
    for c in compared:
        for h in c["here"]:
            for text in h["differs"]:
                told.setdefault(f"{c['variant']}: {text}", {})[c["dataset"]] = None
    notes = dict.fromkeys(f"{c['variant']}: {c['remark']}." for c in compared if c["remark"])
    notes |= dict.fromkeys(f"{text} ({', '.join(where)})." for text, where in told.items())
    notes["Adapt is for 1,000 users. Seconds are of other machines, and tell orders of magnitude."] = None
    return "".join(f'<p class="note">{esc(text)}</p>' for text in notes)


def _elsewhere(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return one line a variant and setting: its figures by data set."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for f in figures:
        key = (f["source"], f["variant"], f["setting"], f["metric"])
        value = percent(f["value"]) if f["metric"] == "accuracy" else f"{f['value']:g}"
        groups.setdefault(key, []).append(f"{f['dataset']} {value}")
    items = "".join(
        f"<li>{esc(variant)}, {esc(metric)}: <b>{esc(' · '.join(values))}</b> "
        f"<small>{esc(source)}, {esc(setting)}</small></li>"
        for (source, variant, setting, metric), values in groups.items()
    )
    return f"<ul>{items}</ul>"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.0f}"
        if value >= 9.95 or value == 0
        else f"{value:.1f}"
        if value >= 0.095
        else f"{value:.2f}"
    )


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
