"""Pictures and tables of what methods write: win rates, Delta-PQ, figures, lengths, templates, sides."""

from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate.charts import esc
from palate.evaluate.facets._draw import Dot, Row, key, note, rows, titled
from palate.evaluate.facets._people import gap, level, shown
from palate.evaluate.page_reading import percent, points
from palate.evaluate.page_tables import table

__all__ = ["picture"]

Found = Mapping[str, Any]
_ASPECTS = (("personalization", "s0", 0), ("quality", "s1", 2))


def picture(values: Found) -> str:
    """Return the facet as HTML: what is seen at a glance first, then the tables."""
    methods = values["methods"]
    return "".join(
        [
            titled("How often the persona's answer wins", _wins(values)),
            note(_about(values)),
            titled("Personalization and quality together: Delta-PQ", _delta(values)),
            titled("Figures", _figures(methods)),
            note(_FIGURES),
            titled("Length of answers, and wins by length", _lengths(methods)),
            note(_LENGTHS),
            titled(f"With the templates {values['templates']}", _second(methods)),
            titled(f"Against {values['control']}, given the same persona", _sides(methods)),
        ]
    )


def _wins(values: Found) -> str:
    body = []
    for m in values["methods"]:
        dots, numbers = [], []
        for aspect, kind, shape in _ASPECTS:
            f = m[aspect]["win_rate"]
            if f["value"] is not None:
                text = f"{m['method']}, {aspect}: {level(f)} ({f['users']:,} users)"
                dots.append(Dot(f["value"] - 0.5, text, kind, shape, _less(f["low"]), _less(f["high"])))
                numbers.append(f"{100 * f['value']:.0f}")
        body.append(Row(m["method"], dots, " / ".join(numbers)))
    drawn = rows(
        [row for row in body if row.dots],
        f"Win rate over the base on {values['dataset']}",
        signed=True,
        x_name="win rate over a half, points",
    )
    return drawn + key([(aspect, kind, shape) for aspect, kind, shape in _ASPECTS])


def _less(end: float | None) -> float | None:
    return None if end is None else end - 0.5


def _about(values: Found) -> str:
    judges = "; ".join(f"{aspect}: {name}" for aspect, name in values["judges"].items())
    m = values["methods"][0]
    base = (
        "the untuned model's answer" if values["base"] == "model" else "the same method's answer for nobody"
    )
    by = [f"{each['method']} by {each['by']}" for each in values["methods"] if each["by"] != "method"]
    written = f" Written from the persona's words: {', '.join(by)}." if by else ""
    left = f" {values['left_out']:,} users without a true profile are left out." if values["left_out"] else ""
    return (
        f"{m['answers']:,} target prompts of {m['users']:,} users, dealt one a user a turn, temperature "
        f"{values['temperature']:g}. The judge compares the answer for the user's persona with "
        f"{base}, in both orders; two orders that contradict each other are a tie, ties "
        "count a half, and 95 % intervals are over users. Right of the middle: the persona's answer wins "
        "more often. "
        f"Judges, {judges}.{written}{left}"
    )


def _delta(values: Found) -> str:
    body = [
        Row(m["method"], [_dot(m["method"], m["delta_pq"])], points(m["delta_pq"]["value"]))
        for m in values["methods"]
        if m["delta_pq"]["value"] is not None
    ]
    return rows(body, f"Delta-PQ on {values['dataset']}", signed=True, x_name="Delta-PQ, %")


def _dot(name: str, found: Found) -> Dot:
    kind = {"up": "better", "down": "worse", "": "same"}[shown(found)]
    text = f"{name}: {gap(found)} ({found['users']:,} users)"
    return Dot(found["value"], text, kind, 0, found["low"], found["high"])


# ---- tables -------------------------------------------------------------------------------------------

_FIGURES = (
    "P is personalization, Q quality; without ties: wins among wins and losses. Reward accuracy: how "
    "often the persona widens the margin of the chosen over the rejected answer (a half by chance). "
    "Added: what the persona adds to a prompt. Torn: the judge's two orders contradict each other. "
    "Faults: no answer that could be read, not counted as ties. Empty: the method wrote nothing (in "
    "brackets the base); not judged. Tax: change in accuracy on general questions. Agrees: share of picks "
    "that agree with a mistaken user, and its change with the persona."
)
_LENGTHS = (
    "Words, mean over users. Correlation: of winning for personalization with the log of the ratio of "
    "words, answer over base; near zero, length does not buy wins. Win rates (personalization) in bins of "
    "that ratio: a gain that is there in the middle bin too is none of length."
)


def _figures(methods: Sequence[Found]) -> str:
    names = ["P", "P without ties", "Q", "Q without ties", "Delta-PQ", "Reward accuracy", "Added"]
    names += ["Ties P · Q", "Torn P · Q", "Faults P · Q", "Empty", "Tax", "Agrees"]
    body = [[m["method"], *_cells(m)] for m in methods]
    return _table("Figures of written answers", names, body)


def _cells(m: Found) -> list[str]:
    p, q = m["personalization"], m["quality"]
    return [
        *(_share(f) for side in (p, q) for f in (side["win_rate"], side["without_ties"])),
        _gap(m["delta_pq"]),
        _share(m["reward_accuracy"]),
        f"{_number(m['added'])} {m['added_unit']}",
        *(f"{p[k]:,} · {q[k]:,}" for k in ("ties", "torn", "faults")),
        f"{m['empty']['method']:,} ({m['empty']['base']:,})",
        "–" if m["tax"] is None else _gap(m["tax"]),
        "–" if m["agrees"] is None else f"{percent(m['agrees']['mean'])} {_gap(m['agrees']['change'])}",
    ]


def _lengths(methods: Sequence[Found]) -> str:
    bins = [each["bin"] for each in methods[0]["length"]["bins"]]
    names = [
        "Answer",
        "Base",
        "Difference",
        "Chosen",
        "Rejected",
        "Correlation",
        *(f"Wins, {b}" for b in bins),
    ]
    body = []
    for m in methods:
        found = m["length"]
        words = found["words"]
        cells = [_number(words["method"]), _number(words["base"]), _number(found["longer"], True)]
        cells += [
            _number(words["chosen"]),
            _number(words["rejected"]),
            _number(found["correlation"], True, 2),
        ]
        cells += [f"{_share(b['win_rate'])} of {b['answers']:,}" for b in found["bins"]]
        body.append([m["method"], *cells])
    return _table("Length of written answers", names, body)


def _second(methods: Sequence[Found]) -> str:
    body = [
        [
            m["method"],
            *(_share(m["second"][aspect]["win_rate"]) for aspect, _, _ in _ASPECTS),
            _gap(m["second"]["delta_pq"]),
            _gap(m["second"]["change"]),
        ]
        for m in methods
        if m["second"]
    ]
    return _table("Second templates", ["P", "Q", "Delta-PQ", "Change of P"], body) if body else ""


def _sides(methods: Sequence[Found]) -> str:
    body = []
    for m in (m for m in methods if m["sides"]):
        for side in ("chosen", "rejected"):
            f = m["sides"][side]
            name = f"{m['method']}, personas of {side} answers"
            cells = ["–"] * 4 if f is None else [
                *(_share(f[aspect]["without_ties"]) for aspect, _, _ in _ASPECTS),
                _gap(f["delta_pq"]),
                f"{f['answers']:,} ({f['users']:,})",
            ]  # fmt: skip
            body.append([name, *cells])
    names = ["P without ties", "Q without ties", "Delta-PQ", "Answers (users)"]
    return _table("Chosen and rejected personas", names, body) if body else ""


def _table(label: str, names: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    head = ["<th>Method</th>", *(f'<th class="n">{esc(name)}</th>' for name in names)]
    lines = []
    for first, *rest in body:
        cells = "".join(f'<td class="n">{esc(cell)}</td>' for cell in rest)
        lines.append(f'<tr><th scope="row">{esc(first)}</th>{cells}</tr>')
    return table(label, head, f"<tbody>{''.join(lines)}</tbody>")


def _share(found: Found) -> str:
    return "–" if found["value"] is None else level(found)


def _gap(found: Found) -> str:
    if found["value"] is None:
        return "–"
    ends = "" if found["low"] is None else f" [{points(found['low'])}, {points(found['high'])}]"
    return f"{points(found['value'])}{ends}"


def _number(found: Found, signed: bool = False, digits: int = 1) -> str:
    """Write a number with its interval."""
    if found["value"] is None:
        return "–"
    low, high = found["low"], found["high"]
    told = [
        f"{v:{'+' if signed else ''},.{digits}f}".replace("-", "−")
        for v in (found["value"], low, high)
        if v is not None
    ]
    return told[0] if low is None else f"{told[0]} [{told[1]}, {told[2]}]"
