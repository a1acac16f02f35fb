"""What a search over settings tried, as sentences, pictures and a table, from ``report.json`` alone.

One value of ``tried`` is one data set with one encoder:

    dataset, protocol, encoder   where
    methods                      one object a method, as :meth:`~palate.evaluate.select.Selection.plain` gives
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate.charts import Axis, esc
from palate.evaluate.page_tables import table

__all__ = ["TITLE", "draw", "tell"]

TITLE = "What was tried before the test"
_DIAMOND = "M0-6L6 0L0 6L-6 0z"


def tell(value: Mapping[str, Any]) -> str:
    """How many settings of each method were tried, and what the search gave on validation users."""
    return " ".join(f"{one['method']}: {_told(one)}." for one in value.get("methods") or [])


def draw(value: Mapping[str, Any]) -> str:
    """One small picture a method and a table of every trial, as HTML; "" where nothing is told."""
    methods = value.get("methods") or []
    if not methods:
        return ""
    panels = "".join(_panel(one) for one in methods if one.get("tried"))
    still = [one for one in methods if not one.get("tried")]
    told = "".join(f'<p class="note">{esc(one["method"])}: {esc(_told(one))}.</p>' for one in still)
    users = max((one.get("users") or 0 for one in methods), default=0)
    caption = (
        "Validation log-loss of each trial, in order (lower is better). ○ the defaults, ◆ the setting that "
        f"was taken, × a trial that failed. n = {users:,} validation users; no test user takes part. The "
        "best of many trials looks better here than it is: the figures to trust are those of the test users."
    )
    body = "".join(_rows(one) for one in methods)
    head = ["<th>Method</th>", '<th class="n">Trial</th>', "<th>Settings</th>"]
    head += ['<th class="n">Log-loss</th>', '<th class="n">Seconds</th>', "<th>Outcome</th>"]
    where = f"Trials on {value.get('dataset', '')}, {value.get('encoder', '')}"
    listed = f"<details><summary>Every trial, in numbers</summary>{table(where, head, body)}</details>"
    picture = f'<div class="panels">{panels}</div>' if panels else ""
    return (
        f'<figure class="full"><h3>{TITLE}</h3>{picture}{told}<figcaption>{caption}</figcaption>'
        f"{listed if body else ''}</figure>"
    )


def _told(one: Mapping[str, Any]) -> str:
    """One method's search in words, without its name."""
    note = str(one.get("note") or "")
    if not one.get("tried"):
        return note or "not searched"
    words = f"{one['trials']} of {one['possible']} settings tried in {one['seconds']:.1f} s"
    words += f", {one['failed']} failed" if one.get("failed") else ""
    if one.get("difference") is not None and one.get("chosen"):
        taken = _fields(one["tried"][one["chosen"]]["fields"])
        ends = f"[{_signed(one['low'])}, {_signed(one['high'])}]"
        words += f"; {taken} taken, log-loss {_signed(one['difference'])} {ends} to the defaults"
    elif not note.startswith("every trial failed"):
        words += "; the defaults stayed" if not one.get("chosen") else "; the defaults failed"
    return f"{words}; {note}" if note else words


def _panel(one: Mapping[str, Any]) -> str:
    name = esc(one["method"])
    note = f"{one['trials']} of {one['possible']}"
    if one.get("best") is not None and one.get("default") is not None:
        note += f" · {one['default']:.3f} → {one['best']:.3f}" if one["chosen"] else f" · {one['best']:.3f}"
    return f'<div><h4 title="{name}">{name}</h4>{_picture(one)}<p>{note}</p></div>'


def _picture(one: Mapping[str, Any]) -> str:
    """Trials across, log-loss up; what lies far above the defaults is held at the upper edge."""
    tried = one["tried"]
    scale = _scale([t["log_loss"] for t in tried if t["log_loss"] is not None], one.get("default"))
    across = Axis(-0.5, len(tried) - 0.5)
    marks = [
        _mark(across.at(number), scale, trial, number, int(one["chosen"]))
        for number, trial in enumerate(tried)
    ]
    chosen = tried[one["chosen"]]["log_loss"]
    level = "" if chosen is None else _line(_up(scale, chosen), "diagonal")
    label = f"Validation log-loss of {one['method']}, trial by trial: {_told(one)}"
    drawn = "".join(sorted(marks, key=lambda mark: mark.startswith("<svg")))  # the taken one on top
    return (
        f'<div class="plot bars small"><svg role="img" aria-label="{esc(label)}">'
        f"{_line(100.0, 'base')}{level}{drawn}</svg></div>"
    )


def _mark(x: float, scale: Axis, trial: Mapping[str, Any], number: int, chosen: int) -> str:
    """One trial: a spot, an open spot for the defaults, a diamond for the one taken, × where it failed."""
    role = " (the defaults)" if number == 0 else ""
    role = f"{role} (taken)" if number == chosen and trial["log_loss"] is not None else role
    words = f"trial {number}{role}: "
    if trial["log_loss"] is None:
        words += f"failed: {str(trial['failure'])[:300]}"
        return (
            f'<text class="tick" x="{x:.2f}%" y="6" dy=".35em" text-anchor="middle">×'
            f"<title>{esc(words)}; {esc(_fields(trial['fields']))}</title></text>"
        )
    words += f"{trial['log_loss']:.4f}; {_fields(trial['fields'])}"
    y, title = _up(scale, trial["log_loss"]), f"<title>{esc(words)}</title>"
    if number == chosen:
        kind = "control" if number == 0 else "better"
        return f'<svg class="dot {kind}" x="{x:.2f}%" y="{y:.2f}%">{title}<path d="{_DIAMOND}"/></svg>'
    kind = "mark control" if number == 0 else "spot same"
    return f'<circle class="{kind}" cx="{x:.2f}%" cy="{y:.2f}%" r="3.5">{title}</circle>'


def _scale(losses: Sequence[float], default: float | None) -> Axis:
    """From the lowest log-loss to the highest, but no further above the lowest than the trials mostly are."""
    if not losses:
        return Axis(0.0, 1.0)
    low, middle = min(losses), sorted(losses)[len(losses) // 2]
    reach = max(3 * (middle - low), 1.5 * ((default or low) - low), 1e-4)
    return Axis(low, min(max(losses), low + reach))


def _up(scale: Axis, loss: float) -> float:
    """A log-loss as a height in per cent from the top, with room for marks below and above."""
    return 92.0 - 0.8 * scale.at(loss)


def _line(y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'


def _rows(one: Mapping[str, Any]) -> str:
    rows = []
    for number, trial in enumerate(one.get("tried") or []):
        loss = "–" if trial["log_loss"] is None else f"{trial['log_loss']:.4f}"
        words = ["defaults"] if number == 0 else []
        words += ["taken"] if number == one["chosen"] and trial["log_loss"] is not None else []
        words += [str(trial["failure"])[:300]] if trial["failure"] else []
        rows.append(
            f'<tr><th scope="row">{esc(one["method"])}</th><td class="n">{number}</td>'
            f'<td class="words">{esc(_fields(trial["fields"]))}</td><td class="n">{loss}</td>'
            f'<td class="n">{trial["seconds"]:.2f}</td><td>{esc(", ".join(words))}</td></tr>'
        )
    return f"<tbody>{''.join(rows)}</tbody>" if rows else ""


def _fields(fields: Mapping[str, Any]) -> str:
    """``ranks=4, ridge=0.3``: a setting as people write it; a tuple of one is its element."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in fields.items())


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        inside = ", ".join(_plain(each) for each in value)
        return inside if len(value) == 1 else f"({inside})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
