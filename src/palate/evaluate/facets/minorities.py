"""Whether people whom the majority does not speak for are served ("When Personalization Meets Reality", 4.2).

MV-ACC of a test user is how often the majority of the other users predicts their choices, on pairs of
responses that others compared too (0.5 where the others are evenly divided). Below 0.5 a user is a minority.

It is measured on the user's past choices alone, never on the targets that methods are scored on: who is
called a minority because some target went against the majority would look badly served by it for that
reason. Of the other users all choices count. Where too few past choices are shared, the accuracy of the
pooled model on the user's own past choices stands in, and the picture says so.

Users with fewer than four past choices to judge by are left out and counted. A few past choices also make
minorities by chance: ``chance`` is how many there would be, were all users equally near the majority, each of
their n choices against it with one probability, sum over users of P(Binomial(n, mean MV-ACC) < n / 2).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from palate.core import Method, Pairs, Personas
from palate.evaluate.facets._draw import Dot, Row, key, note, rows
from palate.evaluate.facets._people import People, Values, contrast, figures, gap, level, place, shown, within
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import Task
from palate.gate import differences

__all__ = ["NAME", "TITLE", "VERSION", "draw", "majority_accuracy", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "minorities", "Whom the majority does not speak for", 1
LEAST = 4
GROUPS = ("minority", "majority")


def probe(method: Method, personas: Personas, task: Task) -> dict[str, Floats]:
    """Return ``past`` float64 [context pairs]: a control's log-odds of the users' own past choices.

    Args:
        method: The fitted method; personal ones, and those that ask a language model, are not asked.
        personas: The test users'.
        task: Test users with their context.
    """
    if method.personal or method.uses_lm:
        return {}
    return {"past": differences(method, personas, task.context, task.context.pairs)}


def majority_accuracy(task: Task) -> tuple[Floats, Floats]:
    """Return MV-ACC of each test user on past choices, NaN without a shared one, and how many are shared.

    Args:
        task: Users of ``context`` are found in ``people`` by name; each one's own answers do not count.

    Returns:
        float64 [context users], float64 [context users].
    """
    everybody, past = _decided(task.people.pairs), _decided(task.context.pairs)
    names = {name: i for i, name in enumerate(task.people.users.tolist())}
    own = np.array([names[name] for name in task.context.users.tolist()], np.int64)
    size = len(task.people.corpus) + 1
    code, side = _question(everybody, size)
    inputs, number = np.unique(code, return_inverse=True)
    votes, cells, user_vote = _votes(everybody.user, number, side, len(inputs))
    code, side = _question(past, size)
    asked = np.searchsorted(inputs, code)
    cell = np.searchsorted(cells, own[past.user] * len(inputs) + asked)
    others = votes[0][asked] - user_vote[cell]
    shared = votes[1][asked] > 1
    hit = np.where(others == 0, 0.5, (np.sign(others) == np.where(side > 0.5, 1, -1)).astype(float))
    n = task.context.n_users
    count = np.bincount(past.user[shared], minlength=n).astype(np.float64)
    total = np.bincount(past.user[shared], weights=hit[shared], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def _decided(pairs: Pairs) -> Pairs:
    return pairs.take(pairs.target == 1.0)


def _question(pairs: Pairs, size: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the number of each pair of items, whichever won, and 1 where its lower item won."""
    low, high = np.minimum(pairs.winner, pairs.loser), np.maximum(pairs.winner, pairs.loser)
    return low * size + high, (pairs.winner == low).astype(np.float64)


def _votes(
    user: NDArray[np.int64], number: NDArray[np.int64], side: Floats, n: int
) -> tuple[tuple[Floats, Floats], NDArray[np.int64], Floats]:
    """Return the sum of votes and number of voters of each input, and each (user, input) with its vote.

    A user has one vote on an input, for the side they took more often: -1, 0 or 1.
    """
    cells, place_of = np.unique(user * n + number, return_inverse=True)
    mean = np.bincount(place_of, weights=side) / np.bincount(place_of)
    vote = np.sign(mean - 0.5)
    what = cells % n if n else cells
    total = np.asarray(np.bincount(what, weights=vote, minlength=n), np.float64)
    return (total, np.bincount(what, minlength=n).astype(np.float64)), cells, np.asarray(vote)


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return accuracy of every method, gated ones too, on minority and majority users of every section."""
    return [_section(section) for section in sections]


def _section(section: Measured) -> Values:
    people, where = People(section), place(section)
    by, level_, judged = _levels(section)
    level_, judged = level_[people.ids], judged[people.ids]
    known = judged >= LEAST
    minority, majority = known & (level_ < 0.5), known & (level_ >= 0.5)
    where |= {
        "by": by,
        "minority": int(minority.sum()),
        "majority": int(majority.sum()),
        "left_out": int((~known).sum()),
        "judged": int(np.median(judged[known])) if known.any() else 0,
        "chance": _by_chance(level_[known], judged[known]),
        "methods": [],
        "why": "",
    }
    if not known.any():
        return {**where, "why": f"no user has {LEAST} past choices to judge them by"}
    methods = [_method(*scores, minority, majority) for scores in _scores(people)]
    return {**where, "methods": methods}


def _by_chance(level_: Floats, judged: Floats) -> float:
    """Return how many would look like a minority, were all users equally near the majority.

    >>> round(_by_chance(np.array([0.0, 1.0]), np.array([1.0, 1.0])), 3)
    1.0
    """
    if not len(level_):
        return 0.0
    share = float((level_ * judged).sum() / judged.sum())
    return round(float(bdtr(np.ceil(judged / 2) - 1, judged.astype(np.int64), share).sum()), 3)


def _levels(section: Measured) -> tuple[str, Floats, Floats]:
    """Return by what users are judged, and level and number of past choices judged, float64 [users] each."""
    task = section.task
    majority, shared = majority_accuracy(task)
    past = _decided(task.context.pairs)
    enough = np.bincount(past.user, minlength=task.context.n_users) >= LEAST
    outcome = section.outcomes.get(section.control)
    found = None if outcome is None else outcome.extra.get(f"{NAME}.past")
    if found is None or (shared >= LEAST).sum() * 2 >= max(1, enough.sum()):
        return "majority", majority, shared
    d = found[task.context.pairs.target == 1.0]
    right = (d > 0) + 0.5 * (d == 0)
    count = np.bincount(past.user, minlength=task.context.n_users).astype(np.float64)
    total = np.bincount(past.user, weights=right, minlength=task.context.n_users)
    return "pooled", np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def _scores(people: People) -> list[tuple[str, bool, Floats, Floats | None]]:
    """Return name, whether personal, accuracy [users] and gain over the control [users] of every method."""
    section, control = people.section, people.control
    found: list[tuple[str, bool, Floats, Floats | None]] = []
    if control is not None:
        found.append((section.control, False, control, None))
    for name in people.personal:
        gated = section.outcomes[name].gated
        both = [(name, people.applied[name])]
        if gated is not None:
            both.append((f"{name}+gate", people.accuracy(gated)))
        found += [(label, True, a, None if control is None else a - control) for label, a in both]
    return found


def _method(
    name: str,
    personal: bool,
    accuracy: Floats,
    gain: Floats | None,
    minority: NDArray[np.bool_],
    majority: NDArray[np.bool_],
) -> Values:
    groups = [np.where(group, accuracy, np.nan) for group in (minority, majority)]
    found = figures(np.column_stack(groups))
    out = {"method": name, "personal": personal, **dict(zip(GROUPS, found, strict=True))}
    out["behind"] = contrast(groups[1], groups[0])
    if gain is not None:
        gains = np.column_stack([np.where(group, gain, np.nan) for group in (minority, majority)])
        out |= dict(zip(("minority_gain", "majority_gain"), figures(gains), strict=True))
    return out


def tell(values: Mapping[str, Any]) -> str:
    """Say how many minorities there are, and what one model for all and the leading method give them."""
    if values["why"]:
        return f"{within(values)}, whether minorities are served cannot be told: {values['why']}."
    known = values["minority"] + values["majority"]
    judge = (
        "the others' majority"
        if values["by"] == "majority"
        else "one model for all (choices are shared too rarely for a majority)"
    )
    if not values["minority"]:
        return (
            f"{within(values)}, {judge} is right at least half the time about the past choices of all "
            f"{known:,} users, so no minority is found."
        )
    control = next((m for m in values["methods"] if not m["personal"]), None)
    best = next((m for m in values["methods"] if m["personal"]), None)
    scored = [f"{m['method']} is right on {level(m['minority'])}" for m in (control, best) if m is not None]
    chance = values["chance"]
    alone = f"{chance:.0f} or so by chance alone"
    if values["minority"] <= chance + 2 * chance**0.5:
        alone = f"no more than the {chance:.0f} or so that chance alone makes"
    found = f"{values['minority']:,} of {known:,} users ({alone})"
    return (
        f"{within(values)}, {judge} is wrong more often than right about the past choices of {found}; of "
        f"these minorities' target choices {' and '.join(scored) or 'no method was asked'}{_helped(best)}."
    )


def _helped(best: Mapping[str, Any] | None) -> str:
    if best is None or "minority_gain" not in best:
        return ""
    mine, theirs = best["minority_gain"], best["majority_gain"]
    words = {"up": "a gain", "down": "a loss"}.get(shown(mine), "which shows no difference")
    rest = "" if theirs["value"] is None else f", while the majority's changes by {gap(theirs)}"
    return f", {words} ({gap(mine)}){rest}"


def draw(values: Mapping[str, Any]) -> str:
    """Draw accuracy on minority and majority users, a method a row: the control and the best four."""
    if values["why"] or not values["methods"]:
        return ""
    table = [_row(method) for method in values["methods"][:9]]
    kept = [row for row in table if row.dots]
    marks = key(
        [
            (f"minority users ({values['minority']:,})", "s1", 2),
            (f"the majority ({values['majority']:,})", "s0", 0),
        ]
    )
    by = (
        "others' majority" if values["by"] == "majority" else "the pooled model, as choices are rarely shared"
    )
    remark = (
        f"Accuracy in per cent. Users judged by {by}, on past choices alone (median {values['judged']:,}); "
        f"{values['left_out']:,} users have fewer than {LEAST} to judge by and are left out."
    )
    label = f"Accuracy on minority and majority users of {values['dataset']}"
    return rows(kept, label) + marks + note(remark) if kept else ""


def _row(method: Mapping[str, Any]) -> Row:
    dots: list[Dot] = []
    numbers: list[str] = []
    for group, kind, shape in (("majority", "s0", 0), ("minority", "s1", 2)):
        found = method[group]
        if found["value"] is not None:
            text = f"{method['method']}, {group}: {level(found)} ({found['users']:,} users)"
            dots.append(Dot(found["value"], text, kind, shape, found["low"], found["high"]))
            numbers.insert(0, f"{100 * found['value']:.0f}")
    return Row(method["method"], dots, " / ".join(numbers))
