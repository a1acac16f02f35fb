"""The study's results as files: ``study.json``, ``study.md`` with tables, ``study.html`` with a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palate.evaluate.charts import Mark, esc, forest
from palate.evaluate.page import document
from palate.small.arms import paper_name
from palate.small.tables import Claim, Table, claims, estimate, markdown, shifts, table, tailoring

__all__ = ["write_study"]

_TITLE = "Trained-in methods in the small language"
_NOTE = (
    "Models of about a hundred thousand weights that know eighty words, on made-up people whose taste is "
    "known. No figure here is one of a real language model."
)


def write_study(out: Path, cells: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    """Write the tables of a study and return them, by title.

    Args:
        out: The study's folder.
        cells: What was measured.
    """
    found = Table(cells)
    held = claims(found)
    tables = {"arms": table(found), "seeds": _by_seed(found), "claims": _claims(held)}
    more = {"personas": tailoring(found), "episodes": shifts(found)}
    tables |= {title: rows for title, rows in more.items() if len(rows) > 1}
    told = [f"# {_TITLE}", _NOTE, _size(found)]
    for title, rows in tables.items():
        told += [f"## {title.capitalize()}", markdown(rows)]
    told += ["## Bounds", markdown(_bounds(found)), "## Summaries", _examples(found)]
    (out / "study.md").write_text("\n\n".join(told) + "\n", encoding="utf-8")
    (out / "study.json").write_text(json.dumps(_plain(held, found), indent=1), encoding="utf-8")
    (out / "study.html").write_text(_page(found, held), encoding="utf-8")
    return tables


def _size(found: Table) -> str:
    first = next(iter(found.cells.values()))
    tested = len(next(value for value in first.values() if isinstance(value, list)))
    seconds = sum(cell["seconds"] for cell in found.cells.values())
    return (
        f"{len(found.seeds)} seeds, {first['users']:,} people each, {tested:,} of them unseen and measured; "
        f"{len(found.cells):,} cells, {seconds / 60:,.0f} minutes of one core. Intervals are 95 % over users."
    )


def _by_seed(found: Table) -> list[list[str]]:
    """Return accuracy of each arm with each seed."""
    body = []
    for arm in found.arms:
        each = found.each(arm)
        body.append([arm, *(f"{100 * each[seed]:.1f}" if seed in each else "-" for seed in found.seeds)])
    return [["arm", *(f"seed {seed}" for seed in found.seeds)], *body]


def _claims(held: Sequence[Claim]) -> list[list[str]]:
    rows = [["to be reached", "bound", "found", "holds"]]
    for claim in held:
        sign = "at most" if claim.at_most else "at least"
        bound = f"{sign} {claim.scale * claim.bound:g}"
        rows.append([claim.text, bound, claim.found.told(claim.scale), claim.holds])
    return rows


def _bounds(found: Table) -> list[list[str]]:
    """Return what nobody can beat, the mean over seeds."""
    told = [cell["bounds"] for cell in found.cells.values() if cell.get("bounds")]
    names = {"oracle": "knows the taste", "ideal": "knows the prior and the context choices"}
    rows = [["bound", "accuracy, %"]]
    for name, words in names.items():
        values = [bounds[name] for bounds in told if name in bounds]
        if values:
            rows.append([words, f"{100 * sum(values) / len(values):.1f}"])
    return rows


def _examples(found: Table) -> str:
    lines = []
    for arm in found.arms:
        shown = found.cells.get((arm, found.seeds[0]), {}).get("examples", [])[:2]
        lines += [f"- {arm}: {text}" for text in shown]
    return "\n".join(lines)


def _plain(held: Sequence[Claim], found: Table) -> dict[str, Any]:
    arms = {
        arm: {"accuracy": estimate(found.column(arm))._asdict(), "seeds": found.each(arm)}
        for arm in found.arms
    }
    told = [{"text": c.text, "bound": c.bound, "found": c.found._asdict(), "holds": c.holds} for c in held]
    return {"arms": arms, "claims": told, "seeds": found.seeds}


def _page(found: Table, held: Sequence[Claim]) -> str:
    """Return a page with a picture of every arm over telling nothing, and the tables."""
    marks, values = [], []
    for arm in found.arms:
        gain = estimate(found.column(arm) - 0.5)
        kind = "better" if gain.low > 0 else "worse" if gain.high < 0 else "same"
        words = f"{arm} ({paper_name(arm)}): {gain.told()} points over telling nothing"
        marks.append(Mark(arm, gain.mean, gain.low, gain.high, kind, words))
        values.append(f"{100 * gain.mean:+.1f}")
    picture = forest(marks, values, "accuracy over telling nothing, points")
    parts = [f"<h1>{esc(_TITLE)}</h1><p>{esc(_NOTE)}</p><p>{esc(_size(found))}</p>", picture]
    for rows in (table(found), _claims(held)):
        head, *body = rows
        cells = "".join(f"<th>{esc(c)}</th>" for c in head)
        lines = "".join("<tr>" + "".join(f"<td>{esc(c)}</td>" for c in row) + "</tr>" for row in body)
        parts.append(f'<div class="wide"><table><tr>{cells}</tr>{lines}</table></div>')
    return document(_TITLE, f"<main>{''.join(parts)}</main>")
