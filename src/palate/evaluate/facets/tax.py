"""The personalization tax: what personalizing costs beside taste.

Source: "When Personalization Meets Reality", sections 4.3 and 5.

A method that was fitted to tastes is asked a general suite (:mod:`palate.evaluate.suite`), once for the
average user and once for every test user. With a_uc the accuracy of user u's personas on category c:

    base     a_0c, the average user's: an empty history
    tax      mean over users of a_uc - a_0c, with its 95 % interval over users
    overall  the mean of the general categories, for each user and for the base

Negative is a loss. The average user is scored once; of users only their changes are kept. Two controls
stand beside: how often the longer answer is picked where it is the better one in half of the pairs, and how
often the answer that agrees with a mistaken user. A method without personas pays exactly 0.

The interval is over users, for these questions: it does not say how the tax would be on others. A method
that asks a language model is asked of five test users alone: each question costs two calls a user.

Departs from the paper: personas of frozen models on a suite of any size, with intervals and by user, instead
of fine-tuned individual models on RewardBench with one mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, Personas, Queries
from palate.evaluate.charts import esc
from palate.evaluate.facets._draw import Dot, Row, note, rows, titled
from palate.evaluate.facets._people import Values, figures, gap, plain, shown, within
from palate.evaluate.measured import Measured
from palate.evaluate.page_reading import percent, points
from palate.evaluate.page_tables import table
from palate.evaluate.protocol import Task
from palate.evaluate.suite import Suite

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "tax", "What personalizing costs elsewhere", 1
OPTIONS = 1 << 18
"""Answers scored in one batch."""
ASKED = 5
"""Test users of whom a method that asks a language model is asked."""


# ---- asking -------------------------------------------------------------------------------------------


def probe(method: Method, personas: Personas, task: Task) -> dict[str, Floats]:
    """Ask the suite of the average user once, and of every test user.

    Args:
        method: The fitted method.
        personas: The test users'.
        task: Its ``suite`` is asked; without one there is nothing to do.

    Returns:
        ``base`` float64 [categories + 1] and ``change`` float32 [users asked of, categories + 1]: accuracies,
        and what they change to, as differences; the last column is the share of picks that are longer.
    """
    suite: Suite | None = task.suite
    if suite is None:
        return {}
    weights, constant = _measures(suite)
    base = _right(method, Personas.average(), suite, np.zeros(1, np.int64))[0] @ weights
    who = np.arange(len(personas))
    if method.uses_lm and len(who) > ASKED:
        who = who[:: len(who) // ASKED][:ASKED]
    change = np.zeros((len(who), len(base)), np.float32)
    if method.personal:
        step = max(1, OPTIONS // (2 * len(suite)))
        for start in range(0, len(who), step):
            part = slice(start, start + step)
            change[part] = _right(method, personas, suite, who[part]) @ weights - base
    return {"base": base + constant, "change": change}


def _measures(suite: Suite) -> tuple[Floats, Floats]:
    """Return weights float64 [pairs, categories + 1] and a constant: what right answers become.

    Where the better answer is the shorter, a right answer is a pick that is not longer: 1 - right.
    """
    length = _index(suite.categories, "length")
    share = np.where(suite.category == (-1 if length is None else length), suite.share, 0.0)
    column = np.where(suite.longer, share, -share)
    constant = np.zeros(len(suite.categories) + 1)
    constant[-1] = share[~suite.longer].sum()
    return np.column_stack([suite.averages, column]), constant


def _right(method: Method, personas: Personas, suite: Suite, asked: NDArray[np.int64]) -> Floats:
    """Return float64 [users asked of, pairs]: 1 where the better answer wins, 0.5 for a tie."""
    pairs, count = suite.pairs, len(asked)
    options = np.tile(np.stack([pairs.winner, pairs.loser], axis=1).reshape(-1), count)
    who = np.repeat(asked, len(suite))
    offsets = np.arange(len(who) + 1) * 2
    scores = method.score_batch(Queries(personas, suite.corpus, who, options, offsets))
    d = (scores[0::2] - scores[1::2]).reshape(count, len(suite))
    return np.asarray((d > 0) + 0.5 * (d == 0))


# ---- measuring ----------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return, for every section whose task has a suite, each method's base, change and tax."""
    return [_section(section) for section in sections if section.task.suite is not None]


def _section(section: Measured) -> Values:
    suite: Suite = section.task.suite
    size = np.bincount(suite.category, minlength=len(suite.categories))
    asked = [
        {"name": name, "pairs": int(n), "general": bool(general)}
        for name, n, general in zip(suite.categories, size, suite.general, strict=True)
    ]
    methods = [
        _method(name, suite, outcome.extra[f"{NAME}.base"], outcome.extra[f"{NAME}.change"])
        for name, outcome in section.outcomes.items()
        if f"{NAME}.change" in outcome.extra and len(outcome.extra[f"{NAME}.change"])
    ]
    return {
        **section.place,
        "control": section.control,
        "users": section.task.context.n_users,
        "pairs": len(suite),
        "suite": suite.name,
        "digest": suite.digest,
        "categories": asked,
        "notes": list(suite.notes),
        "methods": sorted(methods, key=lambda m: (m["tax"]["value"], m["method"])),
    }


def _method(name: str, suite: Suite, base: Floats, change: Floats) -> Values:
    """Return one method's figures: overall, by category, and of the two controls."""
    change = np.asarray(change, np.float64)
    overall = change[:, :-1][:, suite.general].mean(axis=1)
    sycophancy = _index(suite.categories, "sycophancy")
    taxes = figures(np.column_stack([overall, change]))
    parts = [
        {"category": c, "base": plain(b), "mean": plain(b + t["value"]), "tax": t}
        for c, b, t in zip(suite.categories, base[:-1], taxes[1:-1], strict=True)
    ]
    flatters = _opposite(parts[sycophancy]) if sycophancy is not None else None
    has_length = _index(suite.categories, "length") is not None
    start = float(base[:-1][suite.general].mean())
    tenth = np.sort(overall)[: max(1, round(0.1 * len(overall)))]
    return {
        "method": name,
        "base": plain(start),
        "mean": plain(start + overall.mean()),
        "tax": taxes[0],
        "worst_tenth": plain(tenth.mean()),
        "changes": bool(change.any()),
        "categories": parts,
        "longer": _picked(base[-1], taxes[-1]) if has_length else None,
        "flatters": flatters,
    }


def _picked(base: float, change: Values) -> Values:
    return {"base": plain(base), "mean": plain(base + change["value"]), "change": change}


def _opposite(part: Mapping[str, Any]) -> Values:
    """Return the share of wrong picks of a category whose right ones are given."""
    tax = part["tax"]
    low, high = (None if tax[k] is None else 0.0 - tax[k] for k in ("high", "low"))
    return _picked(1.0 - part["base"], {**tax, "value": 0.0 - tax["value"], "low": low, "high": high})


def _index(names: Sequence[str], name: str) -> int | None:
    return names.index(name) if name in names else None


# ---- telling ------------------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say how many methods pay, and who pays most and where."""
    count = _questions(values)
    asked = f"{count:,} general questions"
    methods = [m for m in values["methods"] if m["changes"]]
    if not methods:
        return f"{within(values)}, no method answers {asked} otherwise for any user than for the average one."
    pays = [m for m in methods if shown(m["tax"]) == "down"]
    gains = [m for m in methods if shown(m["tax"]) == "up"]
    many = f"{len(pays)} of {len(methods)} methods that change with the user"
    who = "no method that changes with the user is shown to pay" if not pays else f"{many} are shown to pay"
    worst = methods[0]
    where = min((c for c in worst["categories"] if _general(values, c)), key=lambda c: c["tax"]["value"])
    lost = f", most on {where['category']} ({gap(where['tax'])})" if where["tax"]["value"] < 0 else ""
    better = f"; {', '.join(m['method'] for m in gains)} answer better" if gains else ""
    return (
        f"{within(values)}, asked {asked}, {who} for being personal: {worst['method']} is right on "
        f"{percent(worst['mean'])} of them for {worst['tax']['users']:,} users against "
        f"{percent(worst['base'])} for the average user, {gap(worst['tax'])}{lost}{better}"
        f"{_coin(worst['base'], count)}."
    )


def _coin(base: float, count: int) -> str:
    """Warn where so few questions cannot tell the average user from a coin (two standard errors)."""
    if base > 0.5 + count**-0.5:
        return ""
    return "; the average user's answers cannot be told from a coin's, so there was little to lose"


def _questions(values: Mapping[str, Any]) -> int:
    return sum(c["pairs"] for c in values["categories"] if c["general"])


def _general(values: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return any(c["name"] == part["category"] and c["general"] for c in values["categories"])


# ---- drawing ------------------------------------------------------------------------------------------

_KIND = {"up": "better", "down": "worse", "": "same"}


def draw(values: Mapping[str, Any]) -> str:
    """Draw each method's tax with its interval, and categories and controls as a table."""
    methods = values["methods"]
    if not methods:
        return ""
    marks = [Row(m["method"], [_dot(m["method"], m["tax"])], points(m["tax"]["value"])) for m in methods]
    picture = rows(marks, "Personalization tax by method", signed=True, x_name="change in accuracy, points")
    told = (
        f"Change from the average user to a user, mean and 95 % interval over {_asked(methods)} users, "
        f"on {_questions(values):,} questions (suite {values['suite']}). Other questions are not in the "
        "interval. Methods without personas answer all users alike."
    )
    notes = "".join(note(text) for text in values["notes"])
    return (
        f"{titled('Change in accuracy on general questions', picture)}{note(told)}"
        f"{titled('By category, and the two controls', _table(values))}{note(_CONTROLS)}{notes}"
    )


def _asked(methods: Sequence[Mapping[str, Any]]) -> str:
    """Tell how many users methods were asked of; those that ask a language model, of few."""
    counts = sorted({int(m["tax"]["users"]) for m in methods})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[-1]:,} ({counts[0]:,} for language models)"


_CONTROLS = (
    "Base is the average user's accuracy, % (a coin has 50). Below it, points of change for a user: ▲ ▼ only "
    "where the interval excludes zero. Longer: share of picks that are the longer answer, where it is the "
    "better one in half of the pairs. Agrees: share of picks that agree with a mistaken user; less is "
    "better. Worst tenth: the change for the tenth of users who lose most."
)


def _dot(name: str, tax: Mapping[str, Any]) -> Dot:
    text = f"{name}: {gap(tax)} ({tax['users']:,} users)"
    return Dot(tax["value"], text, _KIND[shown(tax)], 0, tax["low"], tax["high"])


def _table(values: Mapping[str, Any]) -> str:
    """Return methods down and categories across: the base, and the change under it."""
    names = [c["name"] for c in values["categories"] if c["general"]]
    extra = [(k, t) for k, t in (("longer", "Longer"), ("flatters", "Agrees")) if values["methods"][0][k]]
    titles = ["All", *(name.capitalize() for name in names), *(title for _, title in extra), "Worst tenth"]
    head = ["<th>Method</th>", *(f'<th class="n">{esc(title)}</th>' for title in titles)]
    body = []
    for m in values["methods"]:
        by = {c["category"]: c for c in m["categories"]}
        cells = [_cell(m["base"], m["tax"], False)]
        cells += [_cell(by[name]["base"], by[name]["tax"], False) for name in names]
        cells += [_cell(m[key]["base"], m[key]["change"], True) for key, _ in extra]
        cells.append(f'<td class="n">{points(m["worst_tenth"])}</td>')
        body.append(f'<tr><th scope="row">{esc(m["method"])}</th>{"".join(cells)}</tr>')
    return table("Tax by category", head, f"<tbody>{''.join(body)}</tbody>")


def _cell(base: float, change: Mapping[str, Any], neutral: bool) -> str:
    """Return a base and the change under it; a control's change is no matter of better or worse."""
    seen = shown(change)
    sign = {"up": "▲", "down": "▼", "": ""}[seen]
    kind = "same" if neutral else _KIND[seen]
    title = esc(f"{gap(change)} ({change['users']:,} users)")
    return (
        f'<td class="n" title="{title}">{base * 100:.1f}<br>'
        f'<small class="{kind}">{points(change["value"])} {sign}</small></td>'
    )
