"""Whether a persona alone tells which answer its user chose ("Whose Boat Does it Float?", results of PI).

From each of a sample of target pairs two personas are inferred: of a user who would prefer the chosen answer,
and of one who would prefer the rejected one. A judge who is shown one of them, the conversation and the two
answers, and nothing else of the user, must pick the answer that the persona was inferred for, in both orders:

    chosen    mean over users of how often it does so for chosen answers (0.5 where its orders contradict)
    rejected  the same for rejected answers
    both      their mean; a judge who reads no persona and has only its own taste stands at exactly 0.5

The difference chosen - rejected says how much more easily what people chose can be explained. It holds the
judge's own taste too, where that agrees with people's.

The persona has seen the choice, so this measures words, not prediction: whether the model can say why, so
that the judge understands. Personas that name a protected attribute are counted.

Departs from the paper: users are the sampling unit, and the judge is the method's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Feedback, Method, Personas
from palate.evaluate.facets._asked import (
    Models,
    dealt,
    held,
    inferred,
    models_of,
    run_all,
    short_names,
    target_row,
)
from palate.evaluate.facets._draw import Dot, Row, key, note, rows
from palate.evaluate.facets._people import Values, figures, gap, level, plain, shown, within
from palate.evaluate.facets._words import own, pack, unpack
from palate.evaluate.measured import Measured
from palate.evaluate.page_reading import percent
from palate.evaluate.protocol import Task
from palate.judge import Comparison, Judge, Judgement
from palate.models.llm.wire import Asking

__all__ = ["NAME", "PAIRS", "TITLE", "VERSION", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "alone", "Whether a persona alone tells the choice", 1
PAIRS = 100
"""Target pairs that are asked about, dealt one a user a turn: two inferences and four judgements each."""


# ---- asking -----------------------------------------------------------------------------------------------


def probe(method: Method, personas: Personas, task: Task) -> dict[str, NDArray[Any]]:
    """Infer two personas of each pair, and let the judge pick by each.

    Args:
        method: The fitted method, whose models are asked; one that asks none is not asked.
        personas: Not needed.
        task: Test users.

    Returns:
        ``right`` float64 [pairs, 2]: for the chosen and the rejected answer, 1 where the judge picked what
        the persona was inferred for, 0.5 for no preference, NaN where nothing could be read; of the same
        shape ``torn`` bool, where its orders contradict, and ``protected`` int64, 1 where the persona names a
        protected attribute, -1 without a persona; ``user`` int64 [pairs]; packed ``models``.
    """
    models = models_of(method)
    if models is None or not method.personal:
        return {}
    pairs, rows_ = dealt(task, PAIRS), held(task)
    choices = [target_row(task, int(pair), rows_) for pair in pairs]
    judge = Judge(models.judge, bool(getattr(method, "reason", True)))
    asked = [(choice, rejected) for choice in choices for rejected in (False, True)]
    work = (_one(choice, rejected, judge) for choice, rejected in asked)
    found = run_all(models.writer, work, [choice.user for choice, _ in asked], NAME)
    table = np.array(found, np.float64).reshape(len(choices), 2, 3)
    return {
        "right": table[:, :, 0],
        "torn": table[:, :, 1] > 0,
        "protected": table[:, :, 2].astype(np.int64),
        "user": task.targets.user[pairs],
        **pack("models", models),
    }


def _one(choice: Feedback, rejected: bool, judge: Judge) -> Asking[tuple[float, float, float]]:
    """Return whether the judge was right by the persona, whether it was torn, and what the persona names."""
    persona = yield from inferred(choice, rejected)
    if persona is None or not persona.text:
        return float("nan"), 0.0, -1.0 if persona is None else 1.0
    answers = (choice.responses[0], choice.responses[1])
    (judged,) = yield from judge.compare([Comparison(choice.conversation, answers, persona.text)])
    return _picked(judged, rejected), float(judged.torn), float(bool(persona.protected))


def _picked(judged: Judgement, rejected: bool) -> float:
    if judged.silent:
        return float("nan")
    log_odds = -judged.log_odds if rejected else judged.log_odds
    return (log_odds > 0) + 0.5 * (log_odds == 0)


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return accuracies for every pair of models in every section; methods of equal models are one."""
    return [value for section in sections if (value := _section(section))]


def _section(section: Measured) -> Values:
    found: dict[Models, Values] = {}
    for name, outcome in section.outcomes.items():
        if f"{NAME}.right" not in outcome.extra:
            continue
        extra = own(outcome.extra, NAME)
        models = Models(*unpack(extra, "models"))
        if models in found:
            found[models]["methods"].append(name)
        else:
            found[models] = {**models._asdict(), "methods": [name], **_figures(extra)}
    return {**section.place, "models": list(found.values())} if found else {}


def _figures(extra: Mapping[str, NDArray[Any]]) -> Values:
    right, torn, protected = extra["right"], extra["torn"], extra["protected"]
    users, local = np.unique(extra["user"], return_inverse=True)
    some = np.isfinite(right)
    whole = some.all(axis=1)  # both sides were judged, so that they are compared on equal pairs
    count = np.bincount(local[whole], minlength=len(users))
    with np.errstate(invalid="ignore"):
        sides = np.column_stack(
            [np.bincount(local[whole], right[whole, s], len(users)) / count for s in (0, 1)]
        )
    columns = [sides, sides.mean(axis=1), sides[:, 0] - sides[:, 1]]
    chosen, rejected, both, difference = figures(np.column_stack(columns))
    inferred_ = int((protected >= 0).sum())
    return {
        "pairs": len(right),
        "left_out": int((~whole).sum()),
        "chosen": chosen,
        "rejected": rejected,
        "both": both,
        "difference": difference,
        "torn": plain(torn[some].mean()) if some.any() else None,
        "personas": inferred_,
        "protected": int((protected > 0).sum()),
    }


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say how often the best pair of models explains choices, and whether rejected answers as well."""
    best = max(values["models"], key=lambda m: _or_least(m["both"]))
    if best["both"]["value"] is None:
        return (
            f"{within(values)}, whether personas alone tell the choice cannot be told: of {best['pairs']:,} "
            f"pairs none could be read from {_named(best)}."
        )
    reads = {"up": "tell", "down": "mislead about"}.get(
        shown({k: None if v is None else v - 0.5 for k, v in best["both"].items() if k in ("low", "high")}),
        "are not shown to tell",
    )
    side = {"up": "what was chosen is explained better", "down": "what was rejected is explained better"}.get(
        shown(best["difference"]), "chosen and rejected answers are not shown to differ"
    )
    several = f", the best of {len(values['models'])} pairs of models" if len(values["models"]) > 1 else ""
    return (
        f"{within(values)}, personas inferred from single choices {reads} the answer by themselves: "
        f"{_named(best)}{several} is right on {level(best['both'])} of {best['pairs'] - best['left_out']:,} "
        f"pairs of {best['both']['users']:,} users (half by chance), {level(best['chosen'])} for chosen and "
        f"{level(best['rejected'])} for rejected answers, {gap(best['difference'])} apart, so that {side}; "
        f"{best['protected']:,} of {best['personas']:,} personas name a protected attribute."
    )


def _or_least(found: Mapping[str, Any]) -> float:
    return -1.0 if found["value"] is None else float(found["value"])


def _named(found: Mapping[str, Any]) -> str:
    if found["writer"] == found["judge"]:
        return f"{found['writer']}, which writes and judges,"
    return f"{found['judge']}, reading what {found['writer']} wrote,"


def draw(values: Mapping[str, Any]) -> str:
    """Draw accuracy for chosen and rejected answers, a pair of models a row."""
    names = short_names([_brief(m) for m in values["models"]])
    table = [row for m, name in zip(values["models"], names, strict=True) if (row := _row(m, name)).dots]
    if not table:
        return ""
    m = values["models"][0]
    marks = key([("personas of chosen answers", "s0", 0), ("of rejected answers", "s1", 2)])
    torn = ", ".join(f"{percent(m['torn'])}" for m in values["models"] if m["torn"] is not None)
    remark = (
        f"Accuracy in per cent. {m['pairs']:,} pairs, dealt one a user a turn, {m['left_out']:,} without an "
        f"answer left out; the judge's two orders contradicted each other in {torn or 'none'}. The paper's "
        "best writer reached 91 %, with 6 points between chosen and rejected, on other data."
    )
    listed = "; ".join(
        f"{name} is {_brief(m)} ({', '.join(m['methods'])})"
        for name, m in zip(names, values["models"], strict=True)
    )
    return (
        rows(table, f"Accuracy by the persona alone on {values['dataset']}")
        + marks
        + note(f"{remark} {listed}.")
    )


def _row(found: Mapping[str, Any], name: str) -> Row:
    dots: list[Dot] = []
    numbers: list[str] = []
    for side, kind, shape in (("chosen", "s0", 0), ("rejected", "s1", 2)):
        f = found[side]
        if f["value"] is not None:
            text = f"{_brief(found)}, {side} answers: {level(f)} ({f['users']:,} users)"
            dots.append(Dot(f["value"], text, kind, shape, f["low"], f["high"]))
            numbers.append(f"{100 * f['value']:.0f}")
    return Row(name, dots, " / ".join(numbers))


def _brief(found: Mapping[str, Any]) -> str:
    same = found["writer"] == found["judge"]
    return str(found["writer"]) if same else f"{found['writer']} > {found['judge']}"
