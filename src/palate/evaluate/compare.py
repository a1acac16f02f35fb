"""Two reports side by side: what differs between the runs, and by how much their figures do.

A difference is B - A. Where both reports hold a method's users, they are matched by name, and the accuracy's
difference is paired: its 95 % interval is over the matched users. Where they do not, and for the log-loss, of
which reports hold no user's own, both figures stand with their own intervals, and the difference has none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palate.core import ConfigError, StorageError
from palate.evaluate.facets._people import figure

__all__ = ["change", "compare_reports", "lines", "load_report", "write_compare"]

Values = dict[str, Any]
Place = tuple[str, str, str]
"""Data set, protocol, encoder."""
SCHEMA = "palate-comparison/1"
READS = ("palate-report/1", "palate-report/2")
METRICS = ("accuracy", "log_loss")


# ---- reading ------------------------------------------------------------------------------------------


def load_report(path: str | Path) -> Values:
    """Read ``report.json``, from its path or its folder.

    Raises:
        StorageError: If there is no such file, or it is no JSON.
        ConfigError: If it is no report that can be compared.
    """
    file = Path(path)
    file = file / "report.json" if file.is_dir() else file
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(
            f"{file} cannot be read: {error.strerror or error}; give a report.json, or the folder of a run"
        ) from error
    except ValueError as error:
        raise StorageError(f"{file} is no JSON: {error}; make the report again") from error
    _check(report, str(file))
    return dict(report)


def _check(report: Any, name: str) -> None:
    seen = report.get("schema") if isinstance(report, Mapping) else type(report).__name__
    if seen not in READS:
        raise ConfigError(
            f"the schema of {name} is {seen!r}, expected {' or '.join(map(repr, READS))}: give a report that "
            "`palate bench` wrote, or compare with the version of Palate that wrote it"
        )


# ---- comparing ----------------------------------------------------------------------------------------


def compare_reports(
    a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, str] = ("A", "B")
) -> Values:
    """Return what differs between two reports, as plain values.

    Args:
        a: The report to compare with, of schema ``palate-report/1`` or ``/2``.
        b: The report that is compared.
        names: What people call them.

    Returns:
        ``reports`` (name, created, palate, command of each), ``different`` (what, a, b), ``rows`` (one a
        section, method and metric that both have: both figures, ``difference``, ``low``, ``high``, ``users``,
        ``paired``, ``stance``, ``remark``) and ``only`` (what one report alone has: where, which).

    Raises:
        ConfigError: If one is no report that can be compared.
    """
    for report, name in zip((a, b), names, strict=True):
        _check(report, name)
    both = (_index(a), _index(b))
    people = (_people(a), _people(b))
    rows = [
        _row(place, method, metric, both, people)
        for place, method in both[0]
        if (place, method) in both[1]
        for metric in METRICS
        if metric in both[0][place, method] and metric in both[1][place, method]
    ]
    return {
        "schema": SCHEMA,
        "reports": [_head(report, name) for report, name in zip((a, b), names, strict=True)],
        "different": list(_different(a, b)),
        "rows": rows,
        "only": list(_only(both)),
    }


def _head(report: Mapping[str, Any], name: str) -> Values:
    return {
        "name": name,
        **{key: str(report.get(key) or "") for key in ("created", "palate", "command", "schema")},
    }


def _place(entry: Mapping[str, Any]) -> Place:
    protocol, encoder = entry.get("protocol") or "new-users", entry.get("encoder") or "no encoder"
    return str(entry["dataset"]), str(protocol), str(encoder)


_Figures = dict[tuple[Place, str], dict[str, Values]]


def _index(report: Mapping[str, Any]) -> _Figures:
    """Place and method to metric to figure; differences to a control are left out."""
    out: _Figures = {}
    for row in report.get("rows") or []:
        if row["metric"] in METRICS and not row.get("against") and row.get("value") is not None:
            found = {key: row.get(key) for key in ("value", "low", "high", "users", "pairs")}
            out.setdefault((_place(row), str(row["method"])), {})[row["metric"]] = found
    return out


_People = dict[tuple[Place, str], dict[str, tuple[int, float]]]


def _people(report: Mapping[str, Any]) -> _People:
    """Place and method to user to (pairs, accuracy); the control's stands in the rows of any other method."""
    out: _People = {}
    control = next((str(m["name"]) for m in report.get("methods") or [] if m.get("control")), "pooled")
    for entry in report.get("users") or []:
        place = _place(entry)
        mine = out.setdefault((place, str(entry["method"])), {})
        theirs = out.setdefault((place, control), {})
        for user, pairs, accuracy, base, *_ in entry["rows"]:
            mine[str(user)] = int(pairs), float(accuracy)
            if base is not None:
                theirs[str(user)] = int(pairs), float(base)
    return out


def _row(
    place: Place,
    method: str,
    metric: str,
    both: tuple[_Figures, _Figures],
    people: tuple[_People, _People],
) -> Values:
    """Return one method's figures of one metric in both reports, and their difference."""
    a, b = (found[place, method][metric] for found in both)
    head = {**dict(zip(("dataset", "protocol", "encoder"), place, strict=True)), "method": method}
    row = {**head, "metric": metric, "a": a, "b": b}
    if metric == "accuracy":
        first, second = (found.get((place, method), {}) for found in people)
        shared = [user for user in first if user in second]
        if len(shared) > 1:
            return {**row, **_paired(shared, first, second)}
        why = "no users to match in both" if not (first and second) else "no user is in both"
    else:
        why = "reports hold no user's own log-loss"
    apart = None not in (a["low"], a["high"], b["low"], b["high"]) and (
        a["high"] < b["low"] or b["high"] < a["low"]
    )
    by = b["value"] - a["value"]
    return {**row, "difference": by, "low": None, "high": None, "users": None, "paired": False,
            "stance": _stance(by if apart else 0.0, metric), "remark": f"unpaired: {why}"}  # fmt: skip


def _paired(
    shared: Sequence[str],
    first: Mapping[str, tuple[int, float]],
    second: Mapping[str, tuple[int, float]],
) -> Values:
    """Return the difference over users that both reports hold."""
    found = figure(np.array([second[user][1] - first[user][1] for user in shared]))
    low, high = found["low"], found["high"]
    remarks = []
    if len(shared) < max(len(first), len(second)):
        remarks.append(f"over {len(shared):,} users in both, of {len(first):,} and {len(second):,}")
    other = sum(first[user][0] != second[user][0] for user in shared)
    if other:
        remarks.append(f"{other:,} of them have another number of target pairs")
    return {
        "difference": found["value"],
        "low": low,
        "high": high,
        "users": found["users"],
        "paired": True,
        "stance": _stance(low if low > 0 else min(high, 0.0), "accuracy"),
        "remark": "; ".join(remarks),
    }


def _stance(change: float, metric: str) -> str:
    """Return better, worse or same; ``change`` is 0 where nothing is shown. A lower log-loss is better."""
    up = change if metric == "accuracy" else -change
    return "better" if up > 0 else "worse" if up < 0 else "same"


def _only(both: tuple[_Figures, _Figures]) -> Iterator[Values]:
    """Yield what one report alone has: a whole section, or methods of a section that both have."""
    places = [list(dict.fromkeys(place for place, _ in found)) for found in both]
    for mine, other in ((0, 1), (1, 0)):
        for place in places[mine]:
            methods = [m for p, m in both[mine] if p == place and (p, m) not in both[other]]
            if methods:
                yield {
                    "report": mine,
                    "where": " · ".join(place),
                    "section": place not in places[other],
                    "methods": methods,
                }


# ---- what differs between the runs --------------------------------------------------------------------


def _different(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Values]:
    """Yield what differs: data first, then encoders, seeds, versions, and every other setting."""
    first, second = _facts(a, _named(b)), _facts(b, _named(a))
    for what in dict.fromkeys([*first, *second]):
        if first.get(what) != second.get(what):
            yield {"what": what, "a": _said(first.get(what)), "b": _said(second.get(what))}


_DATA = {
    "digest": "data",
    "scored_users": "users scored",
    "target_pairs": "target pairs",
    "rows_set_aside": "rows set aside",
}


def _named(report: Mapping[str, Any]) -> set[str]:
    """Return the data sets and methods of a report."""
    return {str(e["name"]) for part in ("datasets", "methods") for e in report.get(part) or []}


def _facts(report: Mapping[str, Any], others: set[str]) -> dict[str, Any]:
    """Return everything that a run depends on and its report tells, by name.

    Data sets and methods that are not among the ``others`` are left out: that they are missing is told.
    """
    out: dict[str, Any] = {}
    for entry in (e for e in report.get("datasets") or [] if str(e["name"]) in others):
        where = f"{entry['name']}, {entry.get('protocol') or 'new-users'}"
        out |= {f"{words} of {where}": entry[k] for k, words in _DATA.items() if entry.get(k) is not None}
    config = dict(report.get("config") or {})
    methods = config.pop("methods", {})
    protocol = config.pop("protocol", None)
    config.setdefault("protocols", [protocol] if protocol else None)
    seed = config.get("seed")
    config.setdefault("seeds", None if seed is None else [seed])
    for key in ("encoders", "seed", "seeds"):
        out[key] = config.pop(key, None)
    out["version of Palate"] = report.get("palate")
    out["schema"] = report.get("schema")
    out |= dict(_flat(config))
    given = methods.items() if isinstance(methods, Mapping) else ((name, {}) for name in methods)
    for name, fields in ((name, fields) for name, fields in given if name in others):
        out |= {f"{name}: {key}": value for key, value in _flat(fields or {})}
    return out


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _said(value: Any) -> str:
    if value is None:
        return "not told"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def change(value: float, metric: str = "accuracy") -> str:
    """Write a difference: points with two decimals, or nats with three.

    >>> change(-0.00061), change(0.0), change(-0.0101, "log_loss")
    ('−0.06', '0.00', '−0.010')
    """
    text = f"{100 * value:+.2f}" if metric == "accuracy" else f"{value:+.3f}"
    return (text[1:] if not float(text) else text).replace("-", "−")


# ---- telling ------------------------------------------------------------------------------------------


def lines(values: Mapping[str, Any]) -> list[str]:
    """Return the comparison as lines for a terminal: what differs, each difference, what one alone has."""
    a, b = (head["name"] for head in values["reports"])
    out = [f"{b} against {a}: a difference is {b} - {a}"]
    out += [f"differs: {d['what']}: {d['a']} -> {d['b']}" for d in values["different"]]
    if not values["different"]:
        out.append("the runs differ in nothing that their reports tell")
    for row in values["rows"]:
        where = " · ".join(row[key] for key in ("dataset", "protocol", "encoder"))
        out.append(f"{where} · {row['method']}: {_told(row)}")
    if not values["rows"]:
        out.append("no method was scored on the same data set, protocol and encoder in both")
    for only in values["only"]:
        what = "the whole section with " if only["section"] else ""
        out.append(f"only in {(a, b)[only['report']]}: {only['where']}: {what}{', '.join(only['methods'])}")
    return out


def _told(row: Mapping[str, Any]) -> str:
    metric = row["metric"]
    a, b = (_level(metric, row[side]["value"]) for side in ("a", "b"))
    unit = "points" if metric == "accuracy" else "nats"
    by = f"{change(row['difference'], metric)} {unit}"
    if row["paired"]:
        ends = f"[{change(row['low'], metric)}, {change(row['high'], metric)}]"
        why = f", {row['remark']}" if row["remark"] else ""
        return f"{metric} {a} -> {b}, {by} {ends}, paired over {row['users']:,} users{why}"
    first, second = (_ends(metric, row[side]) for side in ("a", "b"))
    return f"{metric} {a}{first} -> {b}{second}, {by}, {row['remark']}"


def _level(metric: str, value: float) -> str:
    return f"{value * 100:.1f}" if metric == "accuracy" else f"{value:.3f}"


def _ends(metric: str, found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return ""
    return f" [{_level(metric, found['low'])}, {_level(metric, found['high'])}]"


# ---- writing ------------------------------------------------------------------------------------------


def write_compare(a: str | Path, b: str | Path, folder: str | Path) -> tuple[Path, Path, Values]:
    """Compare two reports, write ``compare.json`` and ``compare.html``; return their paths and the values.

    Raises:
        StorageError: If a report cannot be read, or the folder not be written.
        ConfigError: If one is no report that can be compared.
    """
    from palate.evaluate.page_compare import render_compare

    values = compare_reports(load_report(a), load_report(b), _names(Path(a), Path(b)))
    out = Path(folder)
    texts = {"compare.json": json.dumps(values, indent=1), "compare.html": render_compare(values)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write the comparison in {out}: {error}; free some room") from error
    return out / "compare.json", out / "compare.html", values


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Return what tells two paths apart: the last part in which they differ, ``report.json`` left out."""
    first, second = (path.absolute() for path in (a, b))
    parts = [(p.parent if p.name == "report.json" else p).parts for p in (first, second)]
    for one, other in zip(*(reversed(each) for each in parts), strict=False):
        if one != other:
            return one.removesuffix(".json"), other.removesuffix(".json")
    return "A", "B"
