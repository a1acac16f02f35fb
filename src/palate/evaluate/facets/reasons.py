"""Whether the reason that a model infers from a choice is the one the person gave.

Where people said in their own words why they chose, a persona is inferred from each of a sample of held-out
choices (the choice is shown, the reason is not), and compared with the person's own reason for that choice
and with another person's reason for another one, by the instruments of :mod:`palate.evaluate.facets.match`.

People who speak of one thing use the same words, so that a reason may be found by its subject alone. The
other reason is therefore one for a choice in the same conversation, where there is one, and similarity is
given twice: against all others' reasons, and against those of the same conversation.

Ours, after "SynthesizeMe!", 6.2: reasons in the place of wishes, choices in the place of users.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Feedback, Method, Personas
from palate.evaluate.facets._asked import dealt, held, inferred, models_of, run_all, target_row
from palate.evaluate.facets._draw import key, note, rows, titled
from palate.evaluate.facets._match import answers, beyond, judged, near_row, pair_row, plain_reason, same
from palate.evaluate.facets._people import Values, level, within
from palate.evaluate.facets._similar import nearer, partners
from palate.evaluate.facets._words import own, pack, unpack, vectors
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import Task
from palate.models.llm.wire import Asking

__all__ = ["NAME", "ROWS", "TITLE", "VERSION", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "reasons", "Whether an inferred reason is the person's own", 1
ROWS, LEAST = 100, 10
"""Choices that are asked about, dealt one a user a turn (one inference, two comparisons each); the least."""


def probe(method: Method, personas: Personas, task: Task) -> dict[str, NDArray[Any]]:
    """Infer a persona from each of some held-out choices with a reason, and match it with reasons.

    Args:
        method: The fitted method, whose models are asked; one that asks none is not asked.
        personas: Not needed.
        task: Test users, with reasons in ``task.people``.

    Returns:
        Packed ``inferred`` and ``reason`` texts, one a choice, "" where nothing could be inferred; ``user``
        and ``talk`` int64, whose it is and in which conversation; ``said`` float64 [choices, 2], the judge's
        yes to the own reason and to another's, NaN where it could not be read; packed ``models``.
    """
    models = models_of(method)
    if models is None or not method.personal or not task.people.reasons:
        return {}
    targets = held(task)
    names = targets.ids[task.targets.row]
    pairs = [p for p in dealt(task, len(names)).tolist() if targets.reasons.get(str(names[p]))][:ROWS]
    choices = [target_row(task, pair, targets) for pair in pairs]
    user = task.targets.user[pairs]
    if len(choices) < LEAST or len(np.unique(user)) < 2:
        return {}
    reasons = [plain_reason(targets.reasons[choice.id]) for choice in choices]
    talk = task.people.corpus.item_conversation[task.targets.winner[pairs]]
    other = partners(user, talk)
    work = [_one(choice, reasons[i], reasons[other[i]], models.judge) for i, choice in enumerate(choices)]
    found = run_all(models.writer, work, [choice.user for choice in choices], NAME)
    return {
        **pack("inferred", [text for text, _, _ in found]),
        **pack("reason", reasons),
        "user": user,
        "talk": talk,
        "said": np.array([[mine, theirs] for _, mine, theirs in found], np.float64),
        **pack("models", models),
    }


def _one(choice: Feedback, mine: str, theirs: str, judge: str) -> Asking[tuple[str, float, float]]:
    """Return the persona of a choice, and the judge's yes to the person's own reason and to another's."""
    persona = yield from inferred(choice, False)
    if persona is None or not persona.text:
        return "", float("nan"), float("nan")
    own_, other = yield from same(persona.text, (mine, theirs), judge)
    return persona.text, own_, other


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return a value for every section where people gave reasons and a model was asked."""
    return [value for section in sections if (value := _section(section))]


def _section(section: Measured) -> Values:
    found: dict[tuple[str, ...], Values] = {}
    for name, outcome in section.outcomes.items():
        extra = own(outcome.extra, NAME)
        models = tuple(unpack(extra, "models"))
        if not models:
            continue
        if models in found:
            found[models]["methods"].append(name)
        else:
            found[models] = {"methods": [name], **_figures(models, extra, section.encoder)}
    return {**section.place, "models": list(found.values())} if found else {}


def _figures(models: tuple[str, ...], extra: Mapping[str, NDArray[Any]], encoder: str) -> Values:
    told, reasons = unpack(extra, "inferred"), unpack(extra, "reason")
    some = np.flatnonzero([bool(text) for text in told])
    x = vectors([*(told[i] for i in some), *(reasons[i] for i in some)], encoder)
    left, right = x[: len(some)], x[len(some) :]
    user, talk = extra["user"][some], extra["talk"][some]
    return {
        "writer": models[0],
        "judge": models[1],
        "choices": len(told),
        "similarity": nearer(left, right, user),
        "alike": nearer(left, right, user, talk),
        **answers(extra["said"], extra["user"]),
    }


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say whether inferred reasons are nearer to people's own than to others', by both instruments."""
    best = max(values["models"], key=lambda m: m["similarity"]["value"] or 0.0)
    says = "are" if beyond(best["similarity"]) else "are not shown to be"
    alike = best["alike"]
    same_ = f", {level(alike)} of those in the same conversation" if alike["value"] is not None else ""
    return (
        f"{within(values)}, personas that {best['writer']} inferred from {best['choices']:,} choices {says} "
        f"nearer to the reason the person gave than to others': {level(best['similarity'])} of others' "
        f"reasons are farther away{same_} (half by chance); {judged(best)}."
    )


def draw(values: Mapping[str, Any]) -> str:
    """Draw similarity to all others' reasons and to those of one conversation, and the judge's answers."""
    several = len(values["models"]) > 1
    near, table = [], []
    for m in values["models"]:
        name = m["writer"] if several else "all others"
        near.append(near_row(name, m["similarity"]))
        near.append(near_row("same conversation", m["alike"]))
        table.append(pair_row(m["judge"], m))
    where = f"on {values['dataset']}"
    label = f"How much nearer inferred reasons lie to the person's own {where}"
    first = rows([row for row in near if row.dots], label, signed=True, x_name=_AXIS)
    second = rows([row for row in table if row.dots], f"Matches that the judge sees {where}")
    marks = key([("own reason", "s0", 0), ("another's", "s1", 2)]) if second else ""
    remark = (
        f"Similarity in {values['encoder']}. {values['models'][0]['choices']:,} choices with a reason, dealt "
        "one a user a turn, of people held out."
    )
    both = titled("Others' reasons farther than one's own", first)
    return f"{both}{titled('Matches seen by the judge, per cent', second)}{marks}{note(remark)}"


_AXIS = "share that is farther, points over a half"
