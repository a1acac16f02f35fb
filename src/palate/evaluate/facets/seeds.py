"""Whether a figure is the method or its seed.

Two things move a method's mean accuracy. Which users happen to be in the data: the interval over users. And
chance in the method itself, its starts and its draws: the spread over seeds, all else equal,

    sd = sqrt(sum_s (a_s - mean)^2 / (S - 1))        range = max_s a_s - min_s a_s

with a_s the mean accuracy over users with seed s. The two are told apart, and never mixed into one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from palate.evaluate.facets._draw import Dot, Row, key, note, rows
from palate.evaluate.facets._people import People, Values, figure, level, place, plain, within
from palate.evaluate.measured import Measured

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

NAME, TITLE, VERSION = "seeds", "The method or its seed", 1


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return the spread over seeds of every section that has a method with two seeds or more."""
    found = [{**place(section), "methods": _methods(section)} for section in sections]
    return [values for values in found if values["methods"]]


def _methods(section: Measured) -> list[Values]:
    people, n = People(section), len(section.task.targets)
    control = [float(people.accuracy(o.applied).mean()) for o in section.seeds.get(section.control, ())]
    out = []
    for name, outcomes in section.seeds.items():
        means = [float(people.accuracy(o.applied).mean()) for o in outcomes if len(o.applied) == n]
        if len(means) < 2:
            continue
        first = figure(people.accuracy(outcomes[0].applied))
        paired = len(control) == len(means) and name != section.control
        out.append(
            {
                "method": name,
                "seeds": [plain(mean) for mean in means],
                "mean": plain(float(np.mean(means))),
                "sd": plain(float(np.std(means, ddof=1))),
                "range": plain(float(np.ptp(means))),
                "first": first,
                "above": sum(a > b for a, b in zip(means, control, strict=True)) if paired else None,
            }
        )
    return sorted(out, key=lambda m: -m["mean"])


def tell(values: Mapping[str, Any]) -> str:
    """Say how far the seed moves the best method that it moves most, beside the interval over users."""
    moved = max(values["methods"], key=lambda m: m["sd"])
    best = next((m for m in values["methods"] if m["method"] != values["control"]), values["methods"][0])
    if moved["range"] < 1e-9:
        seeds = max(len(m["seeds"]) for m in values["methods"])
        return f"{within(values)}, the seed moves no method: all {seeds} seeds gave the same accuracy."
    told = _told(best)
    if moved is not best:
        told += f"; the seed moves {moved['method']} most, by {100 * moved['range']:.1f} points"
    return f"{within(values)}, {told}."


def _told(method: Mapping[str, Any]) -> str:
    first, n = method["first"], len(method["seeds"])
    above = users = ""
    if first["low"] is not None:
        width = 100 * (first["high"] - first["low"])
        users = f", while the interval over {first['users']:,} users is {width:.1f} points wide"
    if method["above"] is not None:
        above = f"; it is above one model for all with {method['above']} of {n} seeds"
    return (
        f"{method['method']} is right on {100 * method['mean']:.1f} % over {n} seeds, which differ by "
        f"{100 * method['range']:.1f} points at most (standard deviation "
        f"{100 * method['sd']:.1f}){users}{above}"
    )


def draw(values: Mapping[str, Any]) -> str:
    """Draw each method's interval over users with a mark for every seed."""
    table = [_row(method) for method in values["methods"]]
    marks = key([("interval over users, first seed", "s0", None), ("one seed each", "s1", 3)])
    remark = f"Accuracy in per cent; right: standard deviation of seeds, points. {values['users']:,} users."
    return rows(table, f"Accuracy by seed on {values['dataset']}") + marks + note(remark)


def _row(method: Mapping[str, Any]) -> Row:
    first = method["first"]
    text = f"{method['method']}: {level(first)} over users with the first seed"
    dots = [Dot(first["value"], text, "s0", None, first["low"], first["high"])]
    dots += [
        Dot(mean, f"seed {i + 1}: {100 * mean:.1f} %", "s1", 3) for i, mean in enumerate(method["seeds"])
    ]
    return Row(method["method"], dots, f"± {100 * method['sd']:.1f}")
