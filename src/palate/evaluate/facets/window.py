"""Which part of a past tells most: the last choices, the first, or all (EpiPersona, 5.3, window size).

    last k    accuracy when a method sees only a user's last k choices
    first k   the same for their first k, from the curve
    all       the whole past

Users with k choices or fewer show the same window either way, so last and first are compared on the others
only. A past that counts equally gives no difference; where tastes drift, the last choices tell more.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, Personas
from palate.evaluate.charts import Series
from palate.evaluate.facets._draw import note, point, titled, trend
from palate.evaluate.facets._people import People, Values, figures, gap, level, place, shown, within
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import Task
from palate.gate import differences

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "window", "Whether the last choices tell more than the first", 1
WINDOWS = (1, 2, 4, 8, 16)


def probe(method: Method, personas: Personas, task: Task) -> dict[str, Floats]:
    """Return ``last_k`` float64 [targets] for every window shorter than the longest past.

    Args:
        method: The fitted method; a control is not asked, nor is a method that asks a language model: each
            window would cost as much as writing about everybody again.
        personas: Not needed.
        task: Test users with their context in time order.
    """
    if not method.personal or method.uses_lm:
        return {}
    context = task.context
    counts = np.diff(context.offsets)
    out = {}
    for k in (k for k in WINDOWS if k < counts.max(initial=0)):
        last = context.take_rows(context.rank >= counts[context.row_user] - k)
        out[f"last_{k}"] = differences(method, method.adapt_batch(last), context, task.targets)
    return out


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return accuracy by window of every personal method that was probed, for every section with one."""
    return [v for section in sections if (v := _section(section))["methods"]]


def _section(section: Measured) -> Values:
    people = People(section)
    methods = [found for name in people.personal if (found := _method(people, name))]
    return {**place(section), "methods": methods}


def _method(people: People, name: str) -> Values:
    outcome = people.section.outcomes[name]
    windows = [k for k in WINDOWS if f"{NAME}.last_{k}" in outcome.extra]
    if not windows:
        return {}
    last = [people.accuracy(outcome.extra[f"{NAME}.last_{k}"]) for k in windows]
    found = [people.accuracy(outcome.curve[k]) if k in outcome.curve else None for k in windows]
    missing = np.full(len(people), np.nan)
    first = [missing if f is None else f for f in found]
    whole = people.applied[name]
    pairs = list(zip(windows, last, first, strict=True))
    newer = np.column_stack([np.where(people.choices > k, a - b, np.nan) for k, a, b in pairs])
    table = figures(
        np.column_stack([*last, *first, newer, *(whole - a for a in last), whole, _row_mean(newer)])
    )
    n = len(windows)
    parts = {name: table[i * n : (i + 1) * n] for i, name in enumerate(("last", "first", "newer", "short"))}
    return {"method": name, "windows": windows, **parts, "all": table[-2], "recency": table[-1]}


def _row_mean(table: Floats) -> Floats:
    """Return float64 [users]: the mean of a user's values, NaN where all are."""
    some = np.isfinite(table)
    count = some.sum(axis=1)
    total = np.where(some, table, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def tell(values: Mapping[str, Any]) -> str:
    """Say whether the leading method does better on what is recent, and how much a few choices tell."""
    best = values["methods"][0]
    recency = best["recency"]
    number = next((i for i, k in enumerate(best["windows"]) if k >= 4), len(best["windows"]) - 1)
    k = best["windows"][number]
    few = f"the last {f'{k:,} choices alone give' if k > 1 else 'choice alone gives'} "
    few += level(best["last"][number])
    rest = f"{few}, {gap(best['short'][number])} short of all"
    if recency["value"] is None:
        return f"{within(values)}, last and first choices of {best['method']} were not compared; {rest}."
    side = {"up": "tell more than", "down": "tell less than"}.get(
        shown(recency), "are not shown to tell more or less than"
    )
    return (
        f"{within(values)}, people's last choices {side} their first: {best['method']} gives {gap(recency)} "
        f"with the last instead of the first, over windows of {_span(best['windows'])} "
        f"({recency['users']:,} users with a longer past); {rest}."
    )


def _span(windows: Sequence[int]) -> str:
    first, last = windows[0], windows[-1]
    return f"{first}" if first == last else f"{first} to {last}"


def draw(values: Mapping[str, Any]) -> str:
    """Draw, for the two best methods, accuracy with the last, the first and all choices."""
    panels = []
    for method in values["methods"][:2]:
        steps = [*(f"{k}" for k in method["windows"]), "all"]
        series = [
            _series(method, "last", "the last choices", "s0", 0),
            _series(method, "first", "the first choices", "s1", 1),
        ]
        label = f"Accuracy of {method['method']} on {values['dataset']} by choices shown"
        panels.append(titled(method["method"], trend(series, steps, label, x_name="choices shown")))
    remark = f"Accuracy in per cent with only so many of a user's choices; {values['users']:,} users."
    return "".join(panels) + note(remark)


def _series(method: Mapping[str, Any], which: str, words: str, kind: str, shape: int) -> Series:
    found = [*method[which], method["all"]]
    names = [f"{words} ({k})" for k in method["windows"]] + ["all choices"]
    spots = [point(i, f, f"{text}: {level(f)}") for i, (f, text) in enumerate(zip(found, names, strict=True))]
    return Series(words, [p for p in spots if p], kind, shape)
