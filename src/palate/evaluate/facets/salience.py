"""Which words set the personas of chosen answers apart from those of rejected ones: a data set's bias.

Source: "Whose Boat Does it Float?", highlights: in one data set chosen personas were meticulous, rejected
ones concise, which is a bias to length. From each of a sample of target pairs two personas are inferred, as
in :mod:`palate.evaluate.facets.alone`. A word counts once a persona. Its log-odds for chosen against rejected
personas have an informative Dirichlet prior, with z (:mod:`palate.evaluate.facets._words`).

Words are many, and a user's personas are alike, so z alone would find some in noise. The limit for |z| is the
95 % point of the largest |z| over all words when each user's chosen and rejected personas change sides by the
toss of a coin: where sides mean nothing, 19 in 20 runs show no word. Intervals of log-odds draw users.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Feedback, Method, Personas
from palate.evaluate.facets._asked import dealt, held, inferred, models_of, run_all, target_row
from palate.evaluate.facets._draw import note
from palate.evaluate.facets._draw_words import Bar, bars
from palate.evaluate.facets._people import Values, plain, within
from palate.evaluate.facets._words import counted, log_odds, own, pack, unpack, words_in
from palate.evaluate.measured import Measured
from palate.evaluate.metrics import Bootstrap
from palate.evaluate.protocol import Task
from palate.models.llm.wire import Asking

__all__ = ["NAME", "PAIRS", "TITLE", "VERSION", "draw", "measure", "probe", "tell", "words"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "salience", "What sets chosen answers apart, in words", 1
PAIRS = 200
"""Target pairs that are asked about, dealt one a user a turn: two inferences each."""
LEAST, SHOWN, DRAWS, TOSSES = 5, 8, 1000, 500
"""Personas that must hold a word, words shown on each side, draws of users, tosses of sides."""


def probe(method: Method, personas: Personas, task: Task) -> dict[str, NDArray[Any]]:
    """Infer two personas of each pair.

    Args:
        method: The fitted method, whose writer is asked; one that asks no model is not asked.
        personas: Not needed.
        task: Test users.

    Returns:
        Packed ``chosen`` and ``rejected`` texts, "" where there was no answer; ``user`` int64 [pairs]; packed
        ``model``.
    """
    models = models_of(method)
    if models is None or not method.personal:
        return {}
    pairs, rows = dealt(task, PAIRS), held(task)
    choices = [target_row(task, int(pair), rows) for pair in pairs]
    asked = [(choice, rejected) for rejected in (False, True) for choice in choices]
    work = (_text(choice, rejected) for choice, rejected in asked)
    texts = run_all(models.writer, work, [choice.user for choice, _ in asked], NAME)
    n = len(choices)
    return {
        **pack("chosen", texts[:n]),
        **pack("rejected", texts[n:]),
        "user": task.targets.user[pairs],
        **pack("model", [models.writer]),
    }


def _text(choice: Feedback, rejected: bool) -> Asking[str]:
    persona = yield from inferred(choice, rejected)
    return "" if persona is None else persona.text


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return the telling words by every model that inferred personas, in every section that has one."""
    return [value for section in sections for value in _section(section)]


def _section(section: Measured) -> list[Values]:
    found: dict[str, Values] = {}
    for outcome in section.outcomes.values():
        if f"{NAME}.chosen" not in outcome.extra:
            continue
        extra = own(outcome.extra, NAME)
        (model,) = unpack(extra, "model")
        if model not in found:
            sides = unpack(extra, "chosen"), unpack(extra, "rejected")
            found[model] = {**section.place, "model": model, **words(*sides, extra["user"])}
    if len(found) > 1:
        found = {model: {**value, "title": f"{TITLE}: {model}"} for model, value in found.items()}
    return list(found.values())


def words(chosen: Sequence[str], rejected: Sequence[str], user: Ints) -> Values:
    """Return the words that set the two apart.

    Args:
        chosen: The personas of chosen answers, one a pair, "" for none.
        rejected: Those of rejected ones.
        user: int64 [pairs], whose each is.

    Returns:
        ``words``, the strongest z first (word, log_odds, low, high, z, and how many personas of each side
        hold it), the ``limit`` of |z|, and how many ``pairs``, ``users`` and words were ``compared``.
    """
    whole = [i for i, (a, b) in enumerate(zip(chosen, rejected, strict=True)) if a and b]
    users, local = np.unique(user[whole], return_inverse=True)
    sides = [[side[i] for i in whole] for side in (chosen, rejected)]
    spread: dict[str, int] = {}
    for text in (*sides[0], *sides[1]):
        for word in words_in(text):
            spread[word] = spread.get(word, 0) + 1
    vocabulary = {w: i for i, w in enumerate(sorted(w for w, n in spread.items() if n >= LEAST))}
    counts = {"pairs": len(whole), "left_out": len(chosen) - len(whole), "users": len(users)}
    if not vocabulary or len(users) < 2:
        return {**counts, "compared": len(vocabulary), "limit": None, "words": []}
    mine, theirs = (counted(side, local, len(users), vocabulary) for side in sides)
    d, z = log_odds(mine.sum(axis=0), theirs.sum(axis=0))
    limit = _limit(mine, theirs)
    draws = Bootstrap(len(users), DRAWS, seed=1).weights.astype(np.float64)
    low, high = np.percentile(log_odds(draws @ mine, draws @ theirs)[0], [2.5, 97.5], axis=0)
    names = list(vocabulary)
    order = [i for i in np.argsort(-np.abs(z), kind="stable").tolist() if abs(z[i]) > limit]
    found = [
        {
            "word": names[i],
            "log_odds": plain(d[i]),
            "low": plain(low[i]),
            "high": plain(high[i]),
            "z": plain(z[i]),
            "chosen": int(mine[:, i].sum()),
            "rejected": int(theirs[:, i].sum()),
        }
        for i in order
    ]
    return {**counts, "compared": len(names), "limit": plain(limit), "words": found}


def _limit(mine: Floats, theirs: Floats) -> float:
    """Return the 95 % point of the largest |z| when every user's two sides are tossed; 1.96 at least."""
    heads = np.random.default_rng(0).integers(0, 2, size=(TOSSES, len(mine))).astype(np.float64)
    one = heads @ mine + (1 - heads) @ theirs
    other = mine.sum(axis=0) + theirs.sum(axis=0) - one
    return max(1.96, float(np.percentile(np.abs(log_odds(one, other)[1]).max(axis=1), 95)))


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say which words stand on each side, or that none does."""
    asked = (
        f"among {values['compared']:,} words of the personas that {values['model']} inferred from "
        f"{values['pairs']:,} pairs of {values['users']:,} users"
    )
    sides = [[w for w in values["words"] if (w["log_odds"] > 0) == up] for up in (True, False)]
    if values["limit"] is None:
        return f"{within(values)}, too few words came back to compare, {asked}."
    if not values["words"]:
        return (
            f"{within(values)}, no word sets the personas of chosen answers apart, {asked} "
            f"(|z| above {values['limit']:.1f})."
        )
    told = [
        f"{', '.join(_said(w) for w in side[:3])} point{'s' if len(side) == 1 else ''} to {name} answers"
        for side, name in zip(sides, ("chosen", "rejected"), strict=True)
        if side
    ]
    return f"{within(values)}, {asked}, {' and '.join(told)}."


def _said(word: Mapping[str, Any]) -> str:
    return f"“{word['word']}” ({word['chosen']:,} against {word['rejected']:,}, z {_signed(word['z'])})"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def draw(values: Mapping[str, Any]) -> str:
    """Draw the words as two-sided bars: log-odds with intervals, and how many personas hold each."""
    if not values["words"]:
        return ""
    up = [w for w in values["words"] if w["log_odds"] > 0][:SHOWN]
    down = [w for w in values["words"] if w["log_odds"] < 0][:SHOWN]
    table = [_bar(w) for w in (*up, *reversed(down))]
    label = f"Words of chosen against rejected personas on {values['dataset']}"
    picture = bars(table, label, ("chosen answers", "rejected answers"), "log-odds, chosen over rejected")
    remark = (
        f"Right of each row: personas of chosen and of rejected answers that hold the word, of "
        f"{values['pairs']:,} each ({values['users']:,} users, {values['left_out']:,} pairs left out). Lines "
        f"are 95 % intervals over users. Shown are up to {SHOWN} words a side with |z| above "
        f"{values['limit']:.1f}, which 19 in 20 runs would not reach by chance with any of "
        f"{values['compared']:,} words."
    )
    return picture + note(remark)


def _bar(word: Mapping[str, Any]) -> Bar:
    told = f"log-odds {_signed(word['log_odds'])}, z {_signed(word['z'])}"
    text = f"{word['word']}: {told}, in {word['chosen']:,} chosen and {word['rejected']:,} rejected personas"
    value = f"{word['chosen']:,} / {word['rejected']:,}"
    return Bar(word["word"], word["log_odds"], word["low"], word["high"], value, text)
