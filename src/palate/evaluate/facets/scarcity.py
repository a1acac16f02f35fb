"""What methods give people with a short past (EpiPersona, 5.3, number of instances).

Users are put in buckets by how many past choices they have: 0, 1, 2 to 3, 4 to 7, 8 to 15 ... . Buckets with
fewer than twenty users join the next one up, the last the one before. In each bucket stand the accuracy of
every method and its gain over the control on the same users. Users of different buckets are different people,
so the difference between buckets may be theirs; the gain compares a user with themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.evaluate.charts import Series
from palate.evaluate.facets._draw import KINDS, note, point, trend
from palate.evaluate.facets._people import People, Values, contrast, figures, gap, place, shown, within
from palate.evaluate.measured import Measured

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "scarcity", "What people with a short past get", 1
LEAST = 20


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return accuracy and gain over the control by number of past choices, for every section."""
    return [_section(section) for section in sections]


def _section(section: Measured) -> Values:
    people, where = People(section), place(section)
    bucket, buckets = _buckets(people.choices)
    where |= {"buckets": buckets, "why": ""}
    if people.control is None:
        return {**where, "methods": [], "why": "the control failed"}
    if len(buckets) < 2:
        low, high = buckets[0]["from"], buckets[0]["to"]
        why = f"all {len(people):,} users have {low:,} past choices"
        if low < high:
            why = f"too few of {len(people):,} users differ in their past ({low:,} to {high:,} choices)"
        return {**where, "methods": [], "why": why}
    methods = []
    for name in people.personal:
        accuracy = _spread(people.applied[name], bucket, len(buckets))
        gain = _spread(people.applied[name] - people.control, bucket, len(buckets))
        found = {"method": name, "accuracy": figures(accuracy), "gain": figures(gain)}
        methods.append({**found, "more": contrast(gain[:, -1], gain[:, 0])})
    control = figures(_spread(people.control, bucket, len(buckets)))
    return {**where, "level": control, "methods": methods}


def _buckets(choices: Ints) -> tuple[Ints, list[dict[str, int]]]:
    """Return int64 [users] and from, to and number of users of each bucket, in order."""
    power = np.floor(np.log2(np.maximum(choices, 1))).astype(np.int64) + (choices > 0)
    count = np.bincount(power)
    joined, number, held = np.zeros(len(count), np.int64), 0, 0
    for step, users in enumerate(count.tolist()):
        joined[step] = number
        held += users
        if held >= LEAST:
            number, held = number + 1, 0
    if held and number:
        joined[joined == number] = number - 1
    bucket = joined[power]
    return bucket, [
        {"from": int(own.min()), "to": int(own.max()), "users": len(own)}
        for b in range(int(bucket.max(initial=-1)) + 1)
        if len(own := choices[bucket == b])
    ]


def _spread(values: Floats, bucket: Ints, n: int) -> Floats:
    """Return float64 [users, buckets]: each user's value in the column of their bucket, NaN elsewhere."""
    return np.where(bucket[:, None] == np.arange(n), values[:, None], np.nan)


def tell(values: Mapping[str, Any]) -> str:
    """Say what the leading method adds for those with the shortest past, and for those with the longest."""
    if values["why"]:
        return f"{within(values)}, what a short past costs cannot be told: {values['why']}."
    if not values["methods"]:
        return f"{within(values)}, no personal method was scored, so what a short past costs cannot be told."
    best = values["methods"][0]
    few, many = (_have(values["buckets"][i]) for i in (0, -1))
    least, most = best["gain"][0], best["gain"][-1]
    helps = {"up": "already helps", "down": "harms"}.get(shown(least), "is not shown to help")
    return (
        f"{within(values)}, {best['method']} {helps} people with {few}: {gap(least)} against one model for "
        f"all ({least['users']:,} users), and {gap(most)} for those with {many} ({most['users']:,} users), "
        f"{gap(best['more'])} apart."
    )


def _have(bucket: Mapping[str, int]) -> str:
    if bucket["from"] == bucket["to"]:
        n = bucket["from"]
        return "no past choice" if n == 0 else f"{n:,} past choice{'s' if n > 1 else ''}"
    return f"{bucket['from']:,} to {bucket['to']:,} past choices"


def draw(values: Mapping[str, Any]) -> str:
    """Draw the gain over the control by bucket: the four best personal methods."""
    if values["why"]:
        return ""
    steps = [f"{b['from']}" if b["from"] == b["to"] else f"{b['from']}–{b['to']}" for b in values["buckets"]]
    series = [_series(m, steps, KINDS[i], i) for i, m in enumerate(values["methods"][:4])]
    label = f"Gain over {values['control']} on {values['dataset']} by number of past choices"
    users = ", ".join(f"{b['users']:,}" for b in values["buckets"])
    remark = f"Gain in accuracy over {values['control']} (the line at 0), in points. Users: {users}."
    picture = trend(series, steps, label, x_name="past choices a user has", signed=True)
    return picture + note(remark) if picture else ""


def _series(method: Mapping[str, Any], steps: Sequence[str], kind: str, shape: int) -> Series:
    name = method["method"]
    found = enumerate(zip(steps, method["gain"], strict=True))
    spots = [point(i, gain, f"{name}, {step} past choices: {gap(gain)}") for i, (step, gain) in found]
    return Series(name, [p for p in spots if p], kind, shape)
