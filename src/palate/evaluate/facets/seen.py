"""What more data of the same people gives ("When Personalization Meets Reality", 5, seen users).

Methods learn from N pairs of all users together and are scored on the same users' held-back choices, for
N of 1,000, 10,000, 100,000. A point is the mean over users of their accuracy. The held-back choices are the
same at every size, so growth, from the smallest to the largest size, is paired by user.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.evaluate.charts import Series
from palate.evaluate.facets._draw import KINDS, note, point, trend
from palate.evaluate.facets._people import People, Values, figure, gap, level, place, shown
from palate.evaluate.measured import Measured

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "seen", "What more data of the same people gives", 1


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Join the sizes of every data set and encoder; one picture each."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for section in sections:
        if section.task.protocol == "seen-users":
            groups.setdefault((section.task.name, section.encoder), []).append(section)
    return [_group(sorted(group, key=_size)) for group in groups.values()]


def _size(section: Measured) -> int:
    return len(section.task.context.pairs) if section.task.size is None else section.task.size


def _group(group: Sequence[Measured]) -> Values:
    users = dict.fromkeys(name for s in group for name in s.task.context.users.tolist())
    number = {name: i for i, name in enumerate(users)}
    accuracy = [_accuracy(section, number) for section in group]
    personal = {name for section in group for name in People(section).personal}
    names = dict.fromkeys(name for found in accuracy for name in found)
    methods = [
        {"method": name, "personal": name in personal, **_method(name, accuracy, group[-1].control)}
        for name in names
    ]
    methods.sort(key=lambda m: -1.0 if m["points"][-1] is None else m["points"][-1]["value"], reverse=True)
    where = {**place(group[-1]), "protocol": "seen-users"}
    return {**where, "sizes": [_size(section) for section in group], "methods": methods}


def _accuracy(section: Measured, number: Mapping[str, int]) -> dict[str, Floats]:
    """Return by method the accuracy float64 [users of the group] of each user, NaN without a target."""
    people = People(section)
    own = [number[name] for name in section.task.context.users[people.ids].tolist()]
    known = dict(people.applied)
    if people.control is not None:
        known[section.control] = people.control
    found = {name: np.full(len(number), np.nan) for name in known}
    for name, values in known.items():
        found[name][own] = values
    return found


def _method(name: str, accuracy: Sequence[Mapping[str, Floats]], control: str) -> Values:
    """Return accuracy by size, its growth, and the gain over the control by size; None where it failed."""
    runs = [found.get(name) for found in accuracy]
    some = [run for run in runs if run is not None]
    gains = [
        None if run is None or control not in found or name == control else figure(run - found[control])
        for run, found in zip(runs, accuracy, strict=True)
    ]
    return {
        "points": [None if run is None else figure(run) for run in runs],
        "growth": None if len(some) < 2 else figure(some[-1] - some[0]),
        "gains": gains,
    }


def tell(values: Mapping[str, Any]) -> str:
    """Say what the leading personal method gains from more data, and over one model for all."""
    best = next((m for m in values["methods"] if m["personal"]), None)
    where = f"On {values['dataset']} with {values['encoder']}"
    if best is None:
        return f"{where}, no personal method was scored on users it learned from."
    sizes = [(size, p) for size, p in zip(values["sizes"], best["points"], strict=True) if p is not None]
    (small, first), (large, last) = sizes[0], sizes[-1]
    gain = next((g for g in reversed(best["gains"]) if g is not None), None)
    over = "" if gain is None else f", {gap(gain)} against one model for all"
    reach = f"{level(last)} of the held-back choices of {last['users']:,} users it learned from"
    if best["growth"] is None:
        return (
            f"{where}, {best['method']} is right on {reach} with {large:,} training pairs{over}; only one "
            "size was run, so what more data gives cannot be told."
        )
    grows = {"up": "grows", "down": "falls"}.get(shown(best["growth"]), "is not shown to grow")
    return (
        f"{where}, {best['method']} {grows} with data: from {level(first)} with {small:,} training pairs "
        f"to {reach} with {large:,}, {gap(best['growth'])}{over}."
    )


def draw(values: Mapping[str, Any]) -> str:
    """Draw accuracy by number of training pairs: the control and the four best personal methods."""
    chosen = [m for m in values["methods"] if m["personal"]][:4]
    series = [_series(m, values["sizes"], KINDS[i], i) for i, m in enumerate(chosen)]
    control = [m for m in values["methods"] if m["method"] == values["control"]]
    series += [_series(m, values["sizes"], "control", 4) for m in control]
    steps = [_short(size) for size in values["sizes"]]
    label = f"Accuracy on {values['dataset']} by number of training pairs"
    remark = (
        f"Accuracy in per cent on held-back choices of {values['users']:,} users that methods learned from."
    )
    picture = trend(series, steps, label, x_name="training pairs of all users")
    return picture + note(remark) if picture else ""


def _series(method: Mapping[str, Any], sizes: Sequence[int], kind: str, shape: int) -> Series:
    spots = [
        point(i, p, f"{method['method']} with {size:,} training pairs: {level(p)}")
        for i, (size, p) in enumerate(zip(sizes, method["points"], strict=True))
        if p is not None
    ]
    return Series(method["method"], [p for p in spots if p], kind, shape)


def _short(size: int) -> str:
    """Say a size on an axis.

    >>> _short(1000), _short(1500), _short(250), _short(100_000)
    ('1k', '1.5k', '250', '100k')
    """
    return f"{size / 1000:g}k" if size >= 1000 else str(size)
