"""What a report holds, section by section: its figures, curves, bins and people, checked and cleaned.

A section is one data set under one protocol with one encoder. A method is called better (worse) than the
control only if the 95 % interval of its paired difference lies wholly above (below) zero; everything else
cannot be told apart, and is said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from palate.core.errors import ConfigError

__all__ = ["SCHEMA", "Figure", "Section", "percent", "points", "sections", "stance"]

SCHEMA = "palate-report/2"
_NEEDED = {
    "rows": ("dataset", "method", "metric"),
    "methods": ("name",),
    "datasets": ("name",),
    "curves": ("dataset", "method", "points"),
    "calibration": ("dataset", "method", "bins"),
    "users": ("dataset", "method", "rows"),
    "failures": ("dataset", "method"),
    "facets": ("facet", "dataset", "sentence"),
    "tried": ("dataset", "methods"),
}


class Figure(NamedTuple):
    """One number with its 95 % interval and what it rests on."""

    value: float
    low: float | None = None
    high: float | None = None
    users: int | None = None
    pairs: int | None = None


@dataclass(frozen=True)
class Section:
    """One data set under one protocol with one encoder, ready to be told."""

    dataset: str
    protocol: str
    encoder: str
    control: str
    info: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    figures: Mapping[tuple[str, str, bool], Figure] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    calibration: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    users: Mapping[str, Sequence[tuple[Any, ...]]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    facets: Sequence[Mapping[str, Any]] = ()
    faults: Sequence[str] = ()
    tried: Sequence[Mapping[str, Any]] = ()

    @property
    def kind(self) -> str:
        """The protocol without its size."""
        return self.protocol.partition(":")[0]

    @property
    def size(self) -> int | None:
        """Training pairs of all users together, where the protocol has such a size."""
        size = self.protocol.partition(":")[2]
        return int(size) if size.isdecimal() else None

    @property
    def setting(self) -> str:
        """The protocol in words, where it is not that of new users."""
        if self.kind in ("", "new-users"):
            return ""
        told = self.kind.replace("-", " ")
        return told if self.size is None else f"{told}, {self.size:,} training pairs"

    def get(self, method: str, metric: str, *, paired: bool = False) -> Figure | None:
        """One figure; ``paired`` asks for the method's difference to the control (method - control)."""
        return self.figures.get((method, metric, paired))

    def flag(self, method: str, name: str) -> bool:
        """Whether a method is ``personal``, ``control``, ``gated`` or a ``bound``."""
        if name == "control":
            return method == self.control
        return bool(self.info.get(method, {}).get(name, False))

    def label(self, method: str) -> str:
        """The name that people read."""
        return str(self.info.get(method, {}).get("label") or method)

    def scored(self) -> list[str]:
        """Every method with an accuracy, the most accurate first."""
        found = {
            method: fig.value
            for (method, metric, paired), fig in self.figures.items()
            if metric == "accuracy" and not paired
        }
        return sorted(found, key=lambda method: (-found[method], method))

    def personal(self) -> list[str]:
        """The personal methods that were scored (no control, no bound), the most accurate first."""
        return [
            m
            for m in self.scored()
            if self.flag(m, "personal") and not self.flag(m, "control") and not self.flag(m, "bound")
        ]

    def helped(self, method: str) -> bool:
        """Whether a method is shown better than the control."""
        return stance(self.get(method, "accuracy", paired=True)) == "better"

    def learned(self, method: str) -> str:
        """The stance on what the users' own choices add to a method."""
        return stance(self.get(method, "from_choices"))

    def lead(self) -> str | None:
        """The method to speak of, the most accurate of the first kind there is.

        Shown better than the control and by the users' own choices; shown better; any personal one.
        """
        personal = self.personal()
        shown = [m for m in personal if self.helped(m)]
        both = [m for m in shown if self.learned(m) == "better"]
        return next(iter(both or shown or personal), None)


def percent(share: float | None, digits: int = 1) -> str:
    """A share as people read it.

    >>> percent(0.798), percent(None)
    ('79.8 %', '–')
    """
    return "–" if share is None else f"{share * 100:.{digits}f} %".replace("-", "−")


def points(share: float | None, *, sign: bool = True) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.066), points(-0.004), points(-0.0001)
    ('+6.6', '−0.4', '0.0')
    """
    if share is None:
        return "–"
    text = f"{share * 100:+.1f}" if sign else f"{share * 100:.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def stance(difference: Figure | None, *, lower_is_better: bool = False) -> str:
    """Whether a paired difference shows a method ``better``, ``worse``, ``same`` (not shown) or ``unknown``.

    >>> stance(Figure(0.02, 0.01, 0.03)), stance(Figure(0.02, -0.01, 0.05)), stance(None)
    ('better', 'same', 'unknown')
    """
    if difference is None or difference.low is None or difference.high is None:
        return "unknown"
    low, high = difference.low, difference.high
    if lower_is_better:
        low, high = -high, -low
    return "better" if low > 0 else "worse" if high < 0 else "same"


def sections(report: Mapping[str, Any]) -> list[Section]:
    """The report's sections in the order it lists them.

    Raises ``ConfigError`` for an unknown schema or a part that is not what the schema says.
    """
    _check(report)
    info = {str(m["name"]): m for m in report.get("methods") or []}
    facts = {(str(d["name"]), str(d.get("protocol") or "")): d for d in report.get("datasets") or []}
    control = _control(report)
    places = dict.fromkeys(
        _place(entry)
        for part in ("rows", "failures")
        for entry in report.get(part) or []
        if _of_method(entry)
    )
    figures = _figures(report)
    failures, faults = _failures(report)
    parts: dict[str, Any] = {name: _by_place(report, name) for name in _PARTS}
    shown, tried = (_values(report, part, list(places)) for part in ("facets", "tried"))
    found = []
    for place in places:
        extra: dict[str, Any] = {name: part.get(place, {}) for name, part in parts.items()}
        extra |= {"failures": failures.get(place, {}), "faults": faults.get(place, [])}
        known, figure = facts.get(place[:2], {}), figures.get(place, {})
        extra |= {"facets": shown.get(place, []), "tried": tried.get(place, [])}
        found.append(Section(*place, control, info, known, figure, **extra))
    return found


def _check(report: Any) -> None:
    """Refuse what is not a report of this schema, naming the place."""
    if not isinstance(report, Mapping) or report.get("schema") != SCHEMA:
        seen = report.get("schema") if isinstance(report, Mapping) else type(report).__name__
        older = seen == "palate-report/1"
        cure = "`palate bench --config FOLDER/run.yaml --out FOLDER` runs it again"
        why = (
            f"it does not say what users' own choices add; {cure}" if older else "make it with `palate bench`"
        )
        raise ConfigError(
            f"the report's schema is {seen!r}, expected {SCHEMA!r}: {why}, or read it with the version of "
            "Palate that wrote it"
        )
    for part, needed in _NEEDED.items():
        entries = report.get(part) or []
        if not isinstance(entries, list | tuple):
            raise ConfigError(f"report: {part} is {type(entries).__name__}, expected a list of objects")
        for index, entry in enumerate(entries):
            missing = [k for k in needed if k not in entry] if isinstance(entry, Mapping) else list(needed)
            if missing:
                raise ConfigError(
                    f"report: {part}[{index}] has no {', '.join(missing)}: {str(entry)[:80]!r}; "
                    f"expected an object with {', '.join(needed)}"
                )


def _control(report: Mapping[str, Any]) -> str:
    """The method that differences are taken against."""
    against = [str(row["against"]) for row in report.get("rows") or [] if row.get("against")]
    marked = [str(m["name"]) for m in report.get("methods") or [] if m.get("control")]
    return max(against, key=against.count) if against else (marked or ["pooled"])[0]


_Place = tuple[str, str, str]


def _place(entry: Mapping[str, Any]) -> _Place:
    """Data set, protocol with its size, encoder."""
    return (
        str(entry["dataset"]),
        str(entry.get("protocol") or ""),
        str(entry.get("encoder") or "no encoder"),
    )


def _of_method(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is of a method itself, not of a facet that looked at it."""
    return not entry.get("facet")


def _failures(
    report: Mapping[str, Any],
) -> tuple[dict[_Place, dict[str, str]], dict[_Place, list[str]]]:
    """By place: methods without figures and why; and in words what else failed."""
    methods: dict[_Place, dict[str, str]] = {}
    others: dict[_Place, list[str]] = {}
    scored = {(_place(row), str(row["method"])) for row in report.get("rows") or []}
    for entry in report.get("failures") or []:
        place, method, text = (
            _place(entry),
            str(entry["method"]),
            str(entry.get("error") or "no reason given"),
        )
        if _of_method(entry) and (place, method) not in scored:
            methods.setdefault(place, {})[method] = text
            continue
        what = f"the part {entry['facet']}" if entry.get("facet") else "a run"
        seed = "" if entry.get("seed") is None else f" with seed {entry['seed']}"
        others.setdefault(place, []).append(f"{method}, {what}{seed}: {text}")
    return methods, others


def _values(
    report: Mapping[str, Any], part: str, places: Sequence[_Place]
) -> dict[_Place, list[Mapping[str, Any]]]:
    """By place the values of a part; one over several sizes stands with the largest."""
    out: dict[_Place, list[Mapping[str, Any]]] = {}
    for value in report.get(part) or []:
        name, protocol, encoder = place = _place(value)
        sizes = [p for p in places if (p[0], p[2]) == (name, encoder) and p[1].startswith(f"{protocol}:")]
        sizes.sort(key=lambda other: int("0" + other[1].partition(":")[2]))
        out.setdefault(sizes[-1] if sizes and place not in places else place, []).append(value)
    return out


def _number(value: Any) -> float | None:
    """A finite number, or None for what is missing."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


_ByMethod = dict[tuple[str, str, bool], Figure]


def _figures(report: Mapping[str, Any]) -> dict[_Place, _ByMethod]:
    """Section to (method, metric, paired) to figure; rows without a finite value are left out."""
    out: dict[_Place, _ByMethod] = {}
    for row in report.get("rows") or []:
        value = _number(row.get("value"))
        if value is None:
            continue
        users, pairs = _number(row.get("users")), _number(row.get("pairs"))
        metric = str(row["metric"])
        paired = bool(row.get("against")) and metric in ("accuracy", "log_loss")
        out.setdefault(_place(row), {})[str(row["method"]), metric, paired] = Figure(
            value,
            _number(row.get("low")),
            _number(row.get("high")),
            None if users is None else int(users),
            None if pairs is None else int(pairs),
        )
    return out


def _by_place(report: Mapping[str, Any], part: str) -> dict[_Place, dict[str, Any]]:
    """Place to method to what that part of the report holds of it, cleaned."""
    inner, clean = _PARTS[part]
    out: dict[_Place, dict[str, Any]] = {}
    for entry in report.get(part) or []:
        out.setdefault(_place(entry), {})[str(entry["method"])] = clean(entry.get(inner))
    return out


def _numbers(*needed: str) -> Callable[[Any], list[dict[str, float | None]]]:
    """Keep the objects whose ``needed`` values are numbers; every other value that is none becomes None."""

    def clean(entries: Any) -> list[dict[str, float | None]]:
        kept = [{key: _number(value) for key, value in entry.items()} for entry in entries or []]
        return [entry for entry in kept if all(entry.get(key) is not None for key in needed)]

    return clean


def _people(rows: Any) -> list[tuple[str, int, float, float | None, float | None]]:
    """(user, pairs, accuracy, the control's accuracy, weight) of every user with an accuracy."""
    out = []
    for row in rows or []:
        user, pairs, accuracy, control, weight = (*row, *[None] * 5)[:5]
        value = _number(accuracy)
        if value is not None:
            out.append((str(user), int(_number(pairs) or 0), value, _number(control), _number(weight)))
    return out


_PARTS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "curves": ("points", _numbers("pairs", "value")),
    "calibration": ("bins", _numbers("confidence", "accuracy")),
    "users": ("rows", _people),
}
