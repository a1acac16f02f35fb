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

SCHEMA = "palate-report/1"
_NEEDED = {
    "rows": ("dataset", "method", "metric"),
    "methods": ("name",),
    "datasets": ("name",),
    "curves": ("dataset", "method", "points"),
    "calibration": ("dataset", "method", "bins"),
    "users": ("dataset", "method", "rows"),
    "failures": ("dataset", "method"),
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

    def lead(self) -> str | None:
        """The method to speak of: the most accurate that is shown better, else the most accurate."""
        personal = self.personal()
        shown = [m for m in personal if stance(self.get(m, "accuracy", paired=True)) == "better"]
        return next(iter(shown or personal), None)


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
    facts = {str(d["name"]): d for d in report.get("datasets") or []}
    control = _control(report)
    keys: dict[tuple[str, str, str], None] = {}
    protocols: dict[tuple[str, str], str] = {}
    for row in report.get("rows") or []:
        keys.setdefault((str(row["dataset"]), str(row.get("protocol") or ""), _encoder(row)))
        protocols.setdefault((str(row["dataset"]), _encoder(row)), str(row.get("protocol") or ""))
    for row in report.get("failures") or []:
        place = (str(row["dataset"]), _encoder(row))
        keys.setdefault((place[0], protocols.get(place, ""), place[1]))
    figures = _figures(report)
    parts: dict[str, Any] = {name: _by_place(report, name) for name in _PARTS}
    found = []
    for d, p, e in keys:
        extra: dict[str, Any] = {name: part.get((d, e), {}) for name, part in parts.items()}
        figure = figures.get((d, p, e), {})
        found.append(Section(d, p, e, control, info, facts.get(d, {}), figure, **extra))
    return found


def _check(report: Any) -> None:
    """Refuse what is not a report of this schema, naming the place."""
    if not isinstance(report, Mapping) or report.get("schema") != SCHEMA:
        seen = report.get("schema") if isinstance(report, Mapping) else type(report).__name__
        raise ConfigError(
            f"the report's schema is {seen!r}, expected {SCHEMA!r}: make it with `palate bench` of this "
            "version, or read it with the version of Palate that wrote it"
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


def _encoder(row: Mapping[str, Any]) -> str:
    return str(row.get("encoder") or "no encoder")


def _number(value: Any) -> float | None:
    """A finite number, or None for what is missing."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


_ByMethod = dict[tuple[str, str, bool], Figure]


def _figures(report: Mapping[str, Any]) -> dict[tuple[str, str, str], _ByMethod]:
    """Section to (method, metric, paired) to figure; rows without a finite value are left out."""
    out: dict[tuple[str, str, str], _ByMethod] = {}
    for row in report.get("rows") or []:
        value = _number(row.get("value"))
        if value is None:
            continue
        key = (str(row["dataset"]), str(row.get("protocol") or ""), _encoder(row))
        users, pairs = _number(row.get("users")), _number(row.get("pairs"))
        metric = str(row["metric"])
        paired = bool(row.get("against")) and metric in ("accuracy", "log_loss")
        out.setdefault(key, {})[str(row["method"]), metric, paired] = Figure(
            value,
            _number(row.get("low")),
            _number(row.get("high")),
            None if users is None else int(users),
            None if pairs is None else int(pairs),
        )
    return out


def _by_place(report: Mapping[str, Any], part: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(data set, encoder) to method to what that part of the report holds of it, cleaned."""
    inner, clean = _PARTS[part]
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in report.get(part) or []:
        place = (str(entry["dataset"]), _encoder(entry))
        out.setdefault(place, {})[str(entry["method"])] = clean(entry.get(inner))
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
    "failures": ("error", lambda text: str(text or "no reason was given")),
}
