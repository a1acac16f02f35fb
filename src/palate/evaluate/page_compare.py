"""The page of a comparison: what differs between two runs, then every difference, in the report's look."""

from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate.charts import Mark, esc, forest
from palate.evaluate.compare import change
from palate.evaluate.page import document
from palate.evaluate.page_reading import percent
from palate.evaluate.page_tables import SIGNS, table

__all__ = ["render_compare"]

Row = Mapping[str, Any]


def render_compare(values: Mapping[str, Any]) -> str:
    """Return a comparison as one HTML page; ``values`` are those of ``compare_reports``.

    >>> heads = [{"name": n, "created": "", "palate": "1", "command": "", "schema": ""} for n in "AB"]
    >>> page = render_compare({"reports": heads, "different": [], "rows": [], "only": []})
    >>> "No method was scored" in page
    True
    """
    a, b = values["reports"]
    groups: dict[tuple[str, str, str], dict[str, dict[str, Row]]] = {}
    for row in values["rows"]:
        place = (row["dataset"], row["protocol"], row["encoder"])
        groups.setdefault(place, {}).setdefault(row["method"], {})[row["metric"]] = row
    parts = [
        _part(place, group, a["name"], b["name"], i) for i, (place, group) in enumerate(groups.items(), 1)
    ]
    none = '<p class="note">No method was scored on the same data set, protocol and encoder in both.</p>'
    main = (
        f"<main>{_answer(values, a['name'], b['name'])}{_different(values['different'], a, b)}"
        f"{''.join(parts) or none}{_only(values['only'], a['name'], b['name'])}{_again(a, b)}</main>"
    )
    top = (
        '<a class="skip" href="#answer">Skip to the answer</a><header class="top">'
        '<span class="mark">Palate</span>'
        f"{''.join(_when(head) for head in (a, b))}</header>"
    )
    foot = f"<footer>Drawn by Palate from two reports ({esc(a['schema'])}, {esc(b['schema'])}).</footer>"
    return document(f"Palate: {b['name']} against {a['name']}", f"{top}{main}{foot}")


def _when(head: Row) -> str:
    created = head["created"][:16].replace("T", " ")
    return f"<span>{esc(', '.join(part for part in (head['name'], created) if part))}</span>"


def _answer(values: Mapping[str, Any], a: str, b: str) -> str:
    """Count what is shown better, worse, and not told apart in accuracy."""
    rows = [row for row in values["rows"] if row["metric"] == "accuracy"]
    count = {kind: sum(row["stance"] == kind for row in rows) for kind in ("better", "worse", "same")}
    verdict = " · ".join(f"{SIGNS[kind]} {n}" for kind, n in count.items())
    told = (
        f"Of {len(rows)} accuracies that both hold, {esc(b)} is shown better on <b>{count['better']}</b>, "
        f"worse on <b>{count['worse']}</b>; <b>{count['same']}</b> cannot be told apart."
    )
    changed = len(values["different"])
    runs = f"The runs differ in {changed} setting{'s' * (changed != 1)}, told below." if changed else (
        "The runs differ in nothing that their reports tell."
    )  # fmt: skip
    return (
        f'<section id="answer" class="answer"><h1>{esc(b)} against {esc(a)}</h1><ul class="few">'
        f'<li><span class="verdict">{verdict}</span><p>{told} {runs}</p></li></ul></section>'
    )


def _different(found: Sequence[Row], a: Row, b: Row) -> str:
    if not found:
        return ""
    head = ["<th>What differs</th>", f"<th>{esc(a['name'])}</th>", f"<th>{esc(b['name'])}</th>"]
    body = "".join(
        f'<tr><th scope="row">{esc(d["what"])}</th><td class="words"><code>{esc(d["a"][:200])}</code></td>'
        f'<td class="words"><code>{esc(d["b"][:200])}</code></td></tr>'
        for d in found
    )
    return f"<h3>What differs between the runs</h3>{table('What differs', head, f'<tbody>{body}</tbody>')}"


def _part(
    place: tuple[str, str, str], methods: Mapping[str, Mapping[str, Row]], a: str, b: str, i: int
) -> str:
    """Draw one section: a forest of the paired differences, and all figures as a table."""
    dataset, protocol, encoder = place
    where = encoder if protocol == "new-users" else f"{encoder} · {protocol}"
    paired = [m["accuracy"] for m in methods.values() if m.get("accuracy", {}).get("paired")]
    paired.sort(key=lambda row: -row["difference"])
    picture = ""
    if paired:
        marks = [
            Mark(r["method"], r["difference"], r["low"], r["high"], r["stance"], _words(r)) for r in paired
        ]
        shown = forest(marks, [change(r["difference"]) for r in paired], "Differences in accuracy")
        picture = (
            f"<h3>Change in accuracy, points</h3><figure>{shown}<figcaption>{esc(b)} − {esc(a)} on the same "
            "users, with 95 % intervals over users.</figcaption></figure>"
        )
    return (
        f'<section id="part-{i}" class="part" aria-labelledby="part-{i}-name"><header><h2 id="part-{i}-name">'
        f"{esc(dataset)} <small>{esc(where)}</small></h2></header>{picture}<h3>Both in numbers</h3>"
        f"{_table(methods, a, b)}{_remarks(methods)}</section>"
    )


def _table(methods: Mapping[str, Mapping[str, Row]], a: str, b: str) -> str:
    titles = [f"Accuracy, {a}", b, "Difference, points", f"Log-loss, {a}", b, "Difference"]
    head = ["<th>Method</th>", *(f'<th class="n">{esc(title)}</th>' for title in titles)]
    body = []
    for name, metrics in methods.items():
        cells = _cells(metrics.get("accuracy"), True) + _cells(metrics.get("log_loss"), False)
        body.append(f'<tr><th scope="row">{esc(name)}</th>{cells}</tr>')
    return table("Both in numbers", head, f"<tbody>{''.join(body)}</tbody>")


def _cells(row: Row | None, share: bool) -> str:
    """Return both figures and their difference as three cells."""
    if row is None:
        return '<td class="n">–</td>' * 3
    sides = "".join(f'<td class="n">{_level(row[side], share)}</td>' for side in ("a", "b"))
    ends = f" <small>[{change(row['low'])}, {change(row['high'])}]</small>" if row["paired"] else ""
    sign = f'<span class="sign {row["stance"]}">{SIGNS[row["stance"]]}</span>'
    told = f'<b class="{row["stance"]}">{change(row["difference"], row["metric"])}</b> {sign}{ends}'
    return f'{sides}<td class="n" title="{esc(_words(row))}">{told}</td>'


def _level(figure: Row, share: bool) -> str:
    def write(x: float) -> str:
        return f"{x * 100:.1f}" if share else f"{x:.3f}"

    value = percent(figure["value"]) if share else write(figure["value"])
    ends = (
        "" if figure["low"] is None else f" <small>[{write(figure['low'])}, {write(figure['high'])}]</small>"
    )
    return value + ends


def _words(row: Row) -> str:
    how = f"paired over {row['users']:,} users" if row["paired"] else row["remark"]
    more = f"; {row['remark']}" if row["paired"] and row["remark"] else ""
    return f"{row['method']}: {how}{more}"


def _remarks(methods: Mapping[str, Mapping[str, Row]]) -> str:
    told: dict[str, list[str]] = {}
    for name, metrics in methods.items():
        for row in metrics.values():
            if row["remark"]:
                words = "Accuracy" if row["metric"] == "accuracy" else "Log-loss"
                told.setdefault(f"{words} {row['remark']}", []).append(name)
    key = (
        "▲ ▼ better, worse: a paired interval that excludes zero, or unpaired intervals that do not meet; "
        "○ neither."
    )
    notes = [
        f"{text} ({'all methods' if len(names) == len(methods) else ', '.join(names)})."
        for text, names in told.items()
    ]
    return "".join(f'<p class="note">{esc(text)}</p>' for text in (key, *notes))


def _only(found: Sequence[Row], a: str, b: str) -> str:
    if not found:
        return ""
    items = "".join(
        f"<li>Only in <b>{esc((a, b)[o['report']])}</b>: {esc(o['where'])}"
        f"{', the whole section' if o['section'] else ''}: {esc(', '.join(o['methods']))}</li>"
        for o in found
    )
    return f"<h3>What one report alone has</h3><ul>{items}</ul>"


def _again(a: Row, b: Row) -> str:
    told = "".join(
        f'<h4 style="margin-top:20px">{esc(head["name"])}, version {esc(head["palate"])}</h4>'
        f"<pre><code>{esc(head['command'])}</code></pre>"
        for head in (a, b)
        if head["command"]
    )
    return f'<section id="how"><h2>Run them again</h2>{told}</section>' if told else ""
