"""How fast a new user is understood ("When Personalization Meets Reality", 4.3 and 5, Adaptation).

    curve   mean over users of the accuracy on their targets when a method sees their first k choices
    area    mean of the curve over log2(1 + k), from k = 0 to the longest history K, by trapezoids,
            divided by log2(1 + K): an accuracy, in which each doubling of what is known counts the same

A user with fewer than k choices counts at k with all they have; ``reach`` says how many have k.

The individual model on all of a user's data is the paper's upper bound. Each group of a user's targets
(a conversation is never cut) is predicted by the individual model trained on all of that user's other
choices, targets among them, in at most ten folds: no target is predicted from itself. With few choices a
user it lies below methods that learn from others too, and is told to be no bound then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, Personas, Population
from palate.evaluate.charts import Series, lines
from palate.evaluate.facets._draw import KINDS, Dot, Row, note, point, rows, titled
from palate.evaluate.facets._people import People, Values, figure, figures, gap, level, place, shown, within
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import Task
from palate.feedback.splits import row_groups
from palate.gate import differences

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "adaptation", "How fast a new user is understood", 1
FOLDS = 10


def probe(method: Method, personas: Personas, task: Task) -> dict[str, Floats]:
    """Return ``bound`` float64 [targets]: log-odds by the individual model on all of a user's other data.

    Args:
        method: The fitted method; only ``individual`` is asked.
        personas: Not needed.
        task: Test users, with all their rows in ``task.people``.
    """
    if method.name != "individual" or task.protocol != "new-users":
        return {}
    whole = task.people.with_role("test")
    pairs = whole.pairs
    targets = pairs.take(whole.split[pairs.row] == 1)
    fold = _folds(whole)
    out: Floats = np.zeros(len(targets))
    for number in range(int(fold.max(initial=-1)) + 1):
        held = fold[targets.row] == number
        rest = method.adapt_batch(whole.take_rows(fold != number))
        out[held] = differences(method, rest, whole, targets.take(held))
    return {"bound": out}


def _folds(people: Population) -> NDArray[np.int64]:
    """Return int64 [rows]: the fold of each target row, -1 for context; a group is never cut."""
    target = people.split == 1
    group = row_groups(people)
    used, first, place_of = np.unique(group[target], return_index=True, return_inverse=True)
    owner = people.row_user[target][first]
    order = np.lexsort((used, owner))
    number = np.empty(len(used), np.int64)
    number[order] = np.arange(len(used)) - np.searchsorted(owner[order], owner[order])
    fold = np.full(people.n_rows, -1, np.int64)
    fold[target] = number[place_of] % FOLDS
    return fold


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return curves and areas of all personal methods in every section of new users."""
    return [v for s in sections if s.task.protocol == "new-users" and (v := _section(s))]


def _section(section: Measured) -> Values:
    people = People(section)
    curves = {m: section.outcomes[m].curve for m in people.personal if len(section.outcomes[m].curve) > 1}
    seen = sorted(set.intersection(*(set(c) for c in curves.values()))) if curves else []
    if len(seen) < 2:
        return {}
    weight = _weights(seen)
    control = people.control
    methods = []
    for name, curve in curves.items():
        table = np.column_stack([people.accuracy(curve[k]) for k in seen])
        area = table @ weight
        columns = [area, table[:, -1] - table[:, 0], *([] if control is None else [area - control])]
        found = figures(np.column_stack([table, *columns]))
        area_, learned, *gain = found[len(seen) :]
        methods.append(
            {
                "method": name,
                "curve": found[: len(seen)],
                "area": area_,
                "learned": learned,
                "gain": gain[0] if gain else None,
            }
        )
    return {
        **place(section),
        "seen": seen,
        "reach": [int((people.choices >= k).sum()) for k in seen],
        "level": None if control is None else figure(control),
        "methods": sorted(methods, key=lambda m: -m["area"]["value"]),
        **_bound(people),
    }


def _weights(seen: Sequence[int]) -> Floats:
    """Return float64 [k]: what each point of a curve counts in its area; they sum to 1."""
    steps = np.diff(np.log2(1.0 + np.asarray(seen, np.float64)))
    weight = np.zeros(len(seen))
    weight[:-1] += steps / 2
    weight[1:] += steps / 2
    return np.asarray(weight / steps.sum())


def _bound(people: People) -> Values:
    outcome = people.section.outcomes.get("individual")
    found = None if outcome is None else outcome.extra.get(f"{NAME}.bound")
    if found is None:
        return {"bound": None, "bound_choices": None}
    targets = people.section.task.targets
    user = np.unique(np.stack([targets.user, targets.row]), axis=1)[0]
    own = np.bincount(user, minlength=people.section.task.context.n_users)[people.ids]
    return {
        "bound": figure(people.accuracy(found)),
        "bound_choices": int(np.median(people.choices + own)),
    }


def tell(values: Mapping[str, Any]) -> str:
    """Say what the leading method reaches with nothing and with all, and what its area is."""
    best, most = values["methods"][0], values["seen"][-1]
    learns = {"up": "learns from", "down": "gets worse with"}.get(
        shown(best["learned"]), "is not shown to learn from"
    )
    against = "" if best["gain"] is None else f" ({gap(best['gain'])} against one model for all)"
    return (
        f"{within(values)}, {best['method']} {learns} a new user's choices: from {level(best['curve'][0])} "
        f"right before the first to {level(best['curve'][-1])} with all (at most {most:,}), an area of "
        f"{level(best['area'])}{against} over {values['users']:,} users; {_told_bound(values)}."
    )


def _told_bound(values: Mapping[str, Any]) -> str:
    bound, best = values["bound"], values["methods"][0]["curve"][-1]
    if bound is None:
        return "the bound was not measured, which needs the method individual in the run"
    said = f"an individual model on all else a user chose (median {values['bound_choices']:,} choices in all)"
    if bound["value"] <= best["value"]:
        return f"{said} reaches {level(bound)}, so at these sizes it is no upper bound"
    return f"{said} would reach {level(bound)}"


def draw(values: Mapping[str, Any]) -> str:
    """Draw the curves of the four best with the bound and the control as levels, and all areas below."""
    seen, level_, bound = values["seen"], values["level"], values["bound"]
    series = [_curve(m, seen, number) for number, m in enumerate(values["methods"][:4])]
    series += [] if level_ is None else [_flat(values["control"], level_, seen, "control")]
    series += [] if bound is None else [_flat("bound", bound, seen, "bound")]
    ticks = [k for k in seen if k == seen[-1] or (1 + seen[-1]) / (1 + k) > 1.5]
    label = f"Accuracy on {values['dataset']} by number of a user's choices seen"
    reach = ", ".join(f"{n:,} have {k}" for k, n in zip(seen, values["reach"], strict=True) if k)
    remark = f"Accuracy in per cent by number of choices seen. Of {values['users']:,} users {reach} or more."
    if bound is not None:
        remark += " Dashed: an individual model on all else a user chose, the paper's upper bound."
    table = [_area(m["method"], m["area"], number) for number, m in enumerate(values["methods"])]
    table += [] if level_ is None else [_area(values["control"], level_, None)]
    areas = rows(table, f"Area under the curve on {values['dataset']}", x_name="area, per cent")
    return (
        lines(series, ticks, label, "choices seen")
        + note(remark)
        + titled("Area under the whole curve", areas)
    )


def _curve(method: Mapping[str, Any], seen: Sequence[int], number: int) -> Series:
    spots = [
        point(k, found, f"{method['method']} after {k} choices: {level(found)}")
        for k, found in zip(seen, method["curve"], strict=True)
    ]
    return Series(method["method"], [p for p in spots if p], KINDS[number], number, number == 0)


def _flat(name: str, found: Mapping[str, Any], seen: Sequence[int], kind: str) -> Series:
    spots = [point(k, found, f"{name}: {level(found)}") for k in (seen[0], seen[-1])]
    return Series(name, [p for p in spots if p], kind, band=kind == "control")


def _area(name: str, found: Mapping[str, Any], number: int | None) -> Row:
    """Make a row; the four best wear the colours of their curves, the control (None) its own."""
    drawn = number is not None and number < 4
    kind = "control" if number is None else KINDS[number] if drawn else "same"
    shape = number if number is not None and drawn else 0
    dot = Dot(found["value"], f"{name}: {level(found)}", kind, shape, found["low"], found["high"])
    return Row(name, [dot], f"{100 * found['value']:.1f}")
