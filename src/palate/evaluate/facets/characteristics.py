"""How much people disagree, and what room that leaves ("When Personalization Meets Reality", 4.2).

    room = ceiling - accuracy of the pooled model on the targets

The ceiling is people's own consistency, the share of repeated questions that they answered as before; in a
simulated world where nobody is asked twice it is the oracle, which knows every taste. Where there is
neither, or fewer than 30 repeated questions or ten users who repeated one, the room is unknown and only its
limit 1 - accuracy is told. The two parts of the room rest on different choices, so its interval joins theirs
as independent:

    low = room - sqrt((c - c_low)^2 + (p_high - p)^2), high likewise          (square-and-add)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate.facets._draw import Dot, Row, note, rows
from palate.evaluate.facets._people import People, Values, figure, gap, level, place, plain, within
from palate.evaluate.measured import Measured
from palate.feedback import Description, Figure, describe

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

NAME, TITLE, VERSION = "characteristics", "How much people disagree, and what room that leaves", 1
REPEATS, REPEATERS = 30, 10
"""Repeated questions, and users who repeated one, from which their consistency is taken for a ceiling."""
_NAMES = {
    "disagreement": "any disagreement",
    "divergent": "30 % or more off",
    "minorities": "minority users",
    "mv_accuracy": "majority vote",
}


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Describe every data set once, and place the pooled and the best personal model in its room."""
    described: dict[int, Description] = {}
    out = []
    for section in sections:
        people = section.task.people
        if id(people) not in described:
            described[id(people)] = describe(people)
        out.append({**place(section), **_facts(described[id(people)]), **_reached(section)})
        out[-1] |= _ceiling(section, out[-1])
    return out


def _facts(found: Description) -> Values:
    ends = found.mv_accuracy_quantiles
    return {
        "inputs": found.inputs,
        "n_minorities": found.n_minorities,
        "mv_range": [plain(ends[0.0]), plain(ends[1.0])] if ends else None,
        "consistency": _enough(_plainly(found.consistency)),
        **{name: _plainly(getattr(found, name)) for name in _NAMES},
    }


def _plainly(found: Figure) -> Values:
    """Return a figure as plain values; ``why`` says why one is unknown, ``of`` counts users or inputs."""
    numbers = {k: None if v is None else plain(v) for k, v in _ends(found).items()}
    return {**numbers, "n": found.n, "of": found.clusters, "why": found.note if found.value is None else ""}


def _enough(same: Values) -> Values:
    """Say why a consistency is no ceiling; where all or none agree, widen its interval by Wilson's."""
    n, users = same["n"], same["of"]
    if same["value"] is not None and (n < REPEATS or users < REPEATERS):
        return {**same, "why": f"only {n:,} questions were repeated ({users:,} users), too few for a ceiling"}
    if same["value"] in (0.0, 1.0):
        far = 1.96**2 / (users + 1.96**2)
        return {
            **same,
            "low": plain(max(0.0, same["value"] - far)),
            "high": plain(min(1.0, same["value"] + far)),
        }
    return same


def _ends(found: Figure) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _reached(section: Measured) -> Values:
    """Return what the control and the most accurate personal method reach."""
    people = People(section)
    control, best = people.control, people.personal[0] if people.personal else None
    reached = None if best is None else people.applied[best]
    return {
        "pooled": None if control is None else figure(control),
        "best": best,
        "reached": None if reached is None else figure(reached),
        "gain": None if reached is None or control is None else figure(reached - control),
    }


def _ceiling(section: Measured, values: Mapping[str, Any]) -> Values:
    """Return the ceiling, what it is, and the room under it."""
    people, pooled, same = People(section), values["pooled"], values["consistency"]
    if not same["why"] and pooled is not None:
        ceiling = {k: same[k] for k in ("value", "low", "high")}
        return {"ceiling": {**ceiling, "users": same["of"]}, "by": "consistency", "room": _room(same, pooled)}
    if "oracle" in section.bounds and people.control is not None:
        oracle = people.accuracy(section.bounds["oracle"])
        return {"ceiling": figure(oracle), "by": "oracle", "room": figure(oracle - people.control)}
    return {"ceiling": None, "by": None, "room": None}


def _room(top: Mapping[str, Any], bottom: Mapping[str, Any]) -> Values:
    value = top["value"] - bottom["value"]
    low = high = None
    if bottom["low"] is not None:
        low = plain(value - math.hypot(top["value"] - top["low"], bottom["high"] - bottom["value"]))
        high = plain(value + math.hypot(top["high"] - top["value"], bottom["value"] - bottom["low"]))
    return {"value": plain(value), "low": low, "high": high, "users": top["of"]}


def tell(values: Mapping[str, Any]) -> str:
    """Say how far people disagree and how much a personal model could gain at most."""
    where = within(values)
    if values["inputs"]:
        known = values["mv_accuracy"]["of"]
        disagree = (
            f"people stand on both sides of {level(values['disagreement'])} of {values['inputs']:,} shared "
            f"questions, and {values['n_minorities']:,} of {known:,} users mostly differ from the majority"
        )
    else:
        disagree = "no two users compared the same two responses, so how far they disagree is unknown"
    if values["pooled"] is None:
        return f"{where}, {disagree}; the control failed, so the room for personalization is unknown."
    pooled = f"one model for all is right on {level(values['pooled'])} of {values['users']:,} users' choices"
    return f"{where}, {disagree}; {pooled}, and {_told_room(values)}."


def _told_room(values: Mapping[str, Any]) -> str:
    room, same, ceiling = values["room"], values["consistency"], values["ceiling"]
    if room is None:
        most = 100 * (1 - values["pooled"]["value"])
        return (
            f"{same['why']}, so the room is unknown (up to {most:.1f} points, were people always consistent)"
        )
    if values["by"] == "oracle":
        source = f"knowing every simulated taste gives {level(ceiling)}"
    else:
        source = f"people repeat their own answer in {level(same)} of {same['n']:,} repeated questions"
    none = room["value"] <= 0
    limit = "there is no room above it" if none else "no method can gain more than about"
    gained = "" if values["gain"] is None else f" ({values['best']} gains {gap(values['gain'])})"
    return f"{source}, so {limit}{': ' if none else ' '}{gap(room)}{gained}"


def draw(values: Mapping[str, Any]) -> str:
    """Draw all shares on one scale, the room as a bar from the pooled model to the ceiling."""
    table = [_row(name, values[key], "s4", 1) for key, name in _NAMES.items()]
    if values["pooled"] is not None:
        table.append(_row(values["control"], values["pooled"], "control", 0))
    if values["reached"] is not None:
        table.append(_row(values["best"], values["reached"], "s0", 0))
    if values["ceiling"] is not None:
        name = "the oracle" if values["by"] == "oracle" else "answered as before"
        table.append(_row(name, values["ceiling"], "bound", 3))
    if values["room"] is not None and values["room"]["value"] > 0:
        ends = values["pooled"]["value"], values["ceiling"]["value"]
        bar = Dot(ends[0], f"room for personalization: {gap(values['room'])}", "s2", None, inner=ends)
        table.append(Row("room", [bar], f"{100 * values['room']['value']:.1f}"))
    known = [row for row in table if row.dots]
    remark = (
        "Shares in per cent. Squares describe the people, on questions that several of them answered; "
        "circles the models, on target choices."
    )
    if values["room"] is not None and values["room"]["value"] > 0:
        remark += " The bar is the room from one model for all to the ceiling."
    return rows(known, f"Characteristics of {values['dataset']}") + note(remark) if known else ""


def _row(name: str, found: Mapping[str, Any], kind: str, shape: int) -> Row:
    if found["value"] is None:
        return Row(name, [])
    dot = Dot(found["value"], f"{name}: {level(found)}", kind, shape, found["low"], found["high"])
    return Row(name, [dot], f"{100 * found['value']:.1f}")
