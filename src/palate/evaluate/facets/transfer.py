"""Whether personas that one language model wrote serve another that judges ("SynthesizeMe!", 6.3).

For every model w of the study's ``transfer`` the method writes personas of a sample of users, whole, with w
alone: what it asks of a judge while it writes is asked of w too. Each model j then judges the same target
pairs by the personas of each w, and without a persona:

    accuracy_wj = mean over users of how often j, reading what w wrote, picks the user's choice, both orders
    gain_wj     = accuracy_wj - accuracy_0j, paired by user; 0 is j without a persona: its own default

The diagonal is each model by itself. Personas come to the judges as they are: nothing is fitted to a pair of
models, and no scale of the odds matters to accuracy.

Departs from the paper: a sample of users and pairs, a stated gain over each judge's own default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, MethodError, Pairs, Personas, Queries
from palate.evaluate.facets._asked import dealt, short_names
from palate.evaluate.facets._draw import note
from palate.evaluate.facets._draw_words import Cell, heat
from palate.evaluate.facets._people import Values, figures, gap, level, shown, within
from palate.evaluate.facets._words import own, pack, unpack
from palate.evaluate.measured import Measured
from palate.evaluate.page_reading import percent, points
from palate.evaluate.protocol import Task

__all__ = ["NAME", "PAIRS", "TITLE", "VERSION", "draw", "measure", "probe", "right_of", "tell"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "transfer", "Whether personas serve another model", 1
PAIRS = 120
"""Target pairs that every judge is asked about, dealt one a user a turn."""
USERS = 40
"""Most users that they are dealt to."""
_FULL = 0.15  # a gain of so much has the full tint


def probe(method: Method, personas: Personas, task: Task) -> dict[str, NDArray[Any]]:
    """Let every model of ``task.transfer`` write, and every one judge what each wrote.

    Args:
        method: The fitted method; one whose words are the same whichever model writes them is not told.
        personas: Not needed: each model writes anew; what it was asked before is not asked again.
        task: Test users, and the specs of the models.

    Returns:
        ``right`` float64 [models + 1, models, pairs]: 1 where the judge (second axis) picked the user's
        choice reading the writer (first axis, the last none), 0.5 for no preference, NaN where too few
        answers could be read; ``user`` int64 [pairs]; packed ``models``.
    """
    fields = set(method.config)
    if len(task.transfer) < 2 or not method.personal or not {"lm", "judge_lm"} <= fields:
        return {}
    pairs = _pairs(task)
    users, local = np.unique(pairs.user, return_inverse=True)
    asked, context = replace(pairs, user=local), task.context.take_users(users)
    plain: dict[str, Any] = {"calibrate": 0} if "calibrate" in fields else {}
    readers = [method.clone(lm=spec, judge_lm="", **plain).fit(task.fit_on) for spec in task.transfer]
    written = [_anybodys(reader.adapt_batch(context)) for reader in readers]
    if all(_kept(each) == _kept(written[0]) for each in written):
        return {}  # nothing, or what is known of users, put down by no model
    written.append(Personas.average(len(users)))
    corpus = task.people.corpus
    right = [[right_of(j, Queries.of_pairs(kept, corpus, asked)) for j in readers] for kept in written]
    return {"right": np.array(right), "user": pairs.user, **pack("models", task.transfer)}


def _pairs(task: Task) -> Pairs:
    """Return a sample of the target pairs of at most USERS users."""
    order = dealt(task, len(task.targets))
    users = list(dict.fromkeys(task.targets.user[order].tolist()))[:USERS]
    kept = order[np.isin(task.targets.user[order], users)][:PAIRS]
    return task.targets.take(np.sort(kept))


def _kept(personas: Personas) -> list[Any]:
    return [(persona.text, persona.examples) for persona in personas]


def _anybodys(personas: Personas) -> Personas:
    """Return personas that are bound to no model: their words are for any reader."""
    return replace(personas, method="", model="")


def right_of(reader: Method, queries: Queries) -> Floats:
    """Return float64 [pairs]; NaN where so few answers could be read that there is no measurement."""
    try:
        scores = reader.score_batch(queries)
    except MethodError:
        return np.full(len(queries), np.nan)
    d = scores[0::2] - scores[1::2]
    return np.asarray((d > 0) + 0.5 * (d == 0), np.float64)


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return the matrix of every method that was asked for one."""
    out = []
    for section in sections:
        for name, outcome in section.outcomes.items():
            if f"{NAME}.right" in outcome.extra:
                extra = own(outcome.extra, NAME)
                out.append({**section.place, "title": f"{TITLE}: {name}", "method": name, **_matrix(extra)})
    return out


def _matrix(extra: Mapping[str, NDArray[Any]]) -> Values:
    """Return the models, and of every writer and judge accuracy and gain over the judge's own default."""
    models, right = unpack(extra, "models"), extra["right"]
    users, local = np.unique(extra["user"], return_inverse=True)
    count = np.bincount(local)
    mean = np.array(
        [[np.bincount(local, weights=r) / count for r in row] for row in right]
    )  # [models + 1, models, users]
    n = len(models)
    flat = mean.reshape(-1, len(users)).T
    gains = (mean[:n] - mean[n]).reshape(-1, len(users)).T
    away = [_away(mean, w) for w in range(n)]
    found = figures(np.column_stack([flat, gains, *away]))
    accuracy, gain = found[: (n + 1) * n], found[(n + 1) * n : (n + 1) * n + n * n]
    return {
        "models": models,
        "users": len(users),
        "pairs": int(right.shape[2]),
        "default": accuracy[n * n :],
        "accuracy": [accuracy[w * n : (w + 1) * n] for w in range(n)],
        "gain": [gain[w * n : (w + 1) * n] for w in range(n)],
        "away": found[(n + 1) * n + n * n :],
    }


def _away(mean: Floats, writer: int) -> Floats:
    """Return float64 [users]: what a writer's personas add to the judges that are other models."""
    others = [j for j in range(mean.shape[1]) if j != writer]
    return np.asarray((mean[writer, others] - mean[-1, others]).mean(axis=0))


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say what personas add to their own model and to others, and for how many pairs of models."""
    models, gains = values["models"], values["gain"]
    apart = [gains[w][j] for w in range(len(models)) for j in range(len(models)) if w != j]
    up, down = (sum(shown(g) == side for g in apart) for side in ("up", "down"))
    best = max(range(len(models)), key=lambda w: _or_least(values["away"][w]))
    itself = ", ".join(f"{name} {gap(gains[i][i])}" for i, name in enumerate(models))
    return (
        f"{within(values)}, personas of {values['method']} written by one model and read by another are "
        f"shown to help in {up} of {len(apart)} pairings and to harm in {down} ({values['pairs']:,} pairs of "
        f"{values['users']:,} users): those by {models[best]} add {gap(values['away'][best])} to the other "
        f"judges' own default, and what each model gains from its own is {itself}."
    )


def _or_least(found: Mapping[str, Any]) -> float:
    return -1.0 if found["value"] is None else float(found["value"])


def draw(values: Mapping[str, Any]) -> str:
    """Draw the matrix as a heatmap: writers down, judges across, and each judge's default below."""
    models = values["models"]
    short = short_names(models)
    table = [
        (f"by {name}", [_cell(values, w, j) for j in range(len(models))]) for w, name in enumerate(short)
    ]
    default = [
        Cell(percent(f["value"]), _ends(f), None, f"{models[j]} without a persona: {level(f)}")
        for j, f in enumerate(values["default"])
    ]
    label = f"Accuracy by writer and judge, {values['method']} on {values['dataset']}"
    picture = heat(
        [*table, ("no persona", default)], [f"judge {n}" for n in short], "Personas written", label
    )
    remark = (
        "Accuracy, and below it the gain over the judge's own default in points with its 95 % interval over "
        f"{values['users']:,} users ({values['pairs']:,} pairs, drawn by seed). Blue: a gain, orange: a "
        "loss; the stronger the larger; ▲ ▼ only where the interval excludes zero."
    )
    listed = "; ".join(f"{name}: {full}" for name, full in zip(short, models, strict=True) if name != full)
    return picture + note(f"{remark} {listed}." if listed else remark)


def _cell(values: Mapping[str, Any], w: int, j: int) -> Cell:
    accuracy, gain = values["accuracy"][w][j], values["gain"][w][j]
    if accuracy["value"] is None:
        return Cell("–", "no answers", None, "too few answers could be read")
    sign = {"up": " ▲", "down": " ▼", "": ""}[shown(gain)]
    below = f"{points(gain['value'])}{sign} {_ends(gain, True)}"
    told = f"written by {values['models'][w]}, read by {values['models'][j]}: {level(accuracy)}, {gap(gain)}"
    return Cell(percent(accuracy["value"]), below, gain["value"] / _FULL, told)


def _ends(found: Mapping[str, Any], signed: bool = False) -> str:
    if found["low"] is None:
        return ""
    low, high = (points(found[k], sign=signed) for k in ("low", "high"))
    return f"[{low}, {high}]"
