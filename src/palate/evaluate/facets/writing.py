"""What methods write for a person: whether a judge who knows the person prefers it, and at what cost.

Off unless a study has settings for it (:class:`~palate.evaluate.writing.Writing`). For a sample of target
prompts each method that writes, writes twice: for its persona of the user, and for the average user. A judge
that reads the user's true profile, which no method saw, says which suits the user better; one that reads
none says which is better as such (:mod:`palate.evaluate.versus`; both orders, faults apart):

    win rate         how often the persona's answer wins over the base's, ties a half
    Delta-PQ         half the sum of what wins without ties are above a half, of personalization and quality
    reward accuracy  how often the persona widens the margin of the chosen over the rejected answer
    added            tokens (or words) that the persona adds to a prompt
    length           words beside the base's and the chosen and rejected answers'; wins by bins of length
    templates        the same with a second set of prompt templates, paired
    rejected         against a control given the same persona: of choices, and of choices turned round
    tax, agrees      from the facet ``tax``: what tuning costs elsewhere, and picks that flatter

Source: POPI, 5.1 and appendix C; "Whose Boat Does it Float?", main results and rejected personas. Departs:
intervals over users; the base is by default the same method without a persona.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from palate.catalogue import build
from palate.core import Conversation, Method, Persona, Personas
from palate.evaluate.compare_writing import SIDES, chosen_and_rejected
from palate.evaluate.facets import tax
from palate.evaluate.facets._asked import dealt
from palate.evaluate.facets._people import Values, gap, level, shown, within
from palate.evaluate.facets._words import own, pack, unpack
from palate.evaluate.facets._writing_asked import (
    Asked,
    added,
    asked_of,
    author,
    judge,
    right_over_base,
    with_templates,
    write,
    write_base,
    write_by_lm,
)
from palate.evaluate.facets._writing_draw import picture
from palate.evaluate.facets._writing_figures import average, verdicts
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import Task
from palate.evaluate.versus import ASPECTS, Versus
from palate.evaluate.writing import Writing

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "probe", "rehearse", "tell"]

Floats = NDArray[np.floating[Any]]
Arrays = dict[str, NDArray[Any]]
NAME, TITLE, VERSION = "writing", "What methods write for a person", 1
SCORED = 1000
"""Most target pairs whose margins are compared; of a method that asks a model, those written for."""


# ---- asking -------------------------------------------------------------------------------------------


def probe(method: Method, personas: Personas, task: Task) -> Arrays:
    """Write for users and for nobody, and let both be judged.

    Args:
        method: The fitted method; a control, and one that nobody writes for, is not asked.
        personas: The test users'.
        task: Its ``writing`` says how; without it there is nothing to do.

    Returns:
        What ``judge`` gives, with ``user`` int64 and ``words`` float64 [answers, 4], ``added`` [answers],
        ``right`` and ``right_user`` [pairs], ``left_out``; the second templates' and the sides' against the
        control under ``second.``, ``chosen.`` and ``rejected.``.
    """
    settings: Writing | None = getattr(task, "writing", None)
    if settings is None or not method.personal or not (who := author(method, personas, settings)):
        return {}
    asked = asked_of(task, settings)
    out: Arrays = {"left_out": np.array(asked.left_out), **pack("by", [who])}
    if not len(asked.pairs):
        return out
    talks, whom = _talks(task, asked), [personas[u] for u in asked.user.tolist()]
    out |= _against_base(method, whom, talks, task, asked, settings)
    other = with_templates(method, settings.templates) if settings.templates else None
    if other is not None:
        second = _against_base(other, whom, talks, task, asked, settings)
        out |= {f"second.{key}": array for key, array in second.items()}
    control = _control(method, task, settings) if settings.control else None
    if control is not None:
        pairs = task.targets.take(asked.pairs)
        found = chosen_and_rejected(method, control, task.context, pairs, settings)
        out |= {f"sides.{key}": array for key, array in found.items()}
    return out | _beside(method, personas, whom, talks, task, asked)


def _talks(task: Task, asked: Asked) -> list[Conversation]:
    return [task.people.corpus.conversation(int(task.targets.winner[pair])) for pair in asked.pairs]


def _against_base(
    method: Method,
    whom: Sequence[Persona],
    talks: Sequence[Conversation],
    task: Task,
    asked: Asked,
    settings: Writing,
) -> Arrays:
    """Return the verdicts on a method's answers against its own without a persona."""
    mine = write(method, whom, talks, settings)
    base = write_base(method, talks, settings)
    names = [str(task.context.users[u]) for u in asked.user.tolist()]
    versus = [Versus(*each) for each in zip(talks, mine, base, asked.profiles, names, strict=True)]
    corpus, targets = task.people.corpus, task.targets
    sides = [[corpus.response(int(item)) for item in s[asked.pairs]] for s in (targets.winner, targets.loser)]
    words = [[len(text.split()) for text in texts] for texts in (mine, base, *sides)]
    return {"user": asked.user, "words": np.array(words, np.float64).T, **judge(versus, settings)}


def _beside(
    method: Method,
    personas: Personas,
    whom: Sequence[Persona],
    talks: Sequence[Conversation],
    task: Task,
    asked: Asked,
) -> Arrays:
    """Return what conditioning adds, and whether personas widen margins."""
    more, unit = added(method, whom, talks)
    scored = asked.pairs if method.uses_lm else dealt(task, SCORED)
    pairs = task.targets.take(scored)
    right = right_over_base(method, personas, task, pairs)
    return {"added": more, **pack("unit", [unit]), "right": right, "right_user": pairs.user}


_controls: WeakKeyDictionary[Task, dict[str, Method]] = WeakKeyDictionary()
_SHARED = ("model", "encoder", "seed", "lm", "judge_lm")


def _control(method: Method, task: Task, settings: Writing) -> Method | None:
    """Return the fitted control, fitted once a task, with the method's own models; None for itself."""
    shared = {key: method.config[key] for key in _SHARED if key in method.config}
    control = build(settings.control, settings.control_fields, **shared)
    if control.name == method.name and control.config == method.config:
        return None
    key = json.dumps([control.name, control.version, control.config], default=str, sort_keys=True)
    kept = _controls.setdefault(task, {})
    if key not in kept:
        kept[key] = control.fit(task.fit_on)
    return kept[key]


def rehearse(task: Task, by_lm: bool = False) -> int:
    """Ask the judge about chosen and rejected answers in the place of written ones, inside a rehearsal.

    Args:
        task: Its ``writing`` says who judges.
        by_lm: Whether a language model writes for the method; it is asked too.

    Returns:
        How often a method's cell asks as much: once, and again for second templates and for each side.
    """
    settings: Writing | None = getattr(task, "writing", None)
    if settings is None:
        return 0
    asked = asked_of(task, settings)
    corpus, targets = task.people.corpus, task.targets
    texts = [[corpus.response(int(i)) for i in s[asked.pairs]] for s in (targets.winner, targets.loser)]
    talks, names = _talks(task, asked), [str(task.context.users[u]) for u in asked.user.tolist()]
    judge([Versus(*each) for each in zip(talks, *texts, asked.profiles, names, strict=True)], settings)
    if by_lm:
        told = [Persona(user=n, text=p) for n, p in zip(names, asked.profiles, strict=True)]
        for whom in (told, [Persona()] * len(told)):
            write_by_lm(whom, talks, settings)
    return 1 + bool(settings.templates) + 2 * bool(settings.control)


# ---- measuring ----------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return, for every section in which methods wrote, each one's figures, the best first."""
    return [value for section in sections if (value := _section(section))]


def _section(section: Measured) -> Values:
    settings: Writing | None = getattr(section.task, "writing", None)
    wrote = {n: own(o.extra, NAME) for n, o in section.outcomes.items() if f"{NAME}.left_out" in o.extra}
    if settings is None or not wrote:
        return {}
    taxes = {m["method"]: m for value in tax.measure([section]) for m in value["methods"]}
    methods = [_method(name, arrays, taxes.get(name)) for name, arrays in wrote.items() if "user" in arrays]
    methods.sort(key=lambda m: (-_or_least(m["personalization"]["win_rate"]), m["method"]))
    return {
        **section.place,
        "judges": {aspect: settings.judge_of(aspect).name for aspect in ASPECTS},
        "temperature": settings.temperature,
        "base": settings.base,
        "templates": settings.templates,
        "control": settings.control,
        "left_out": max(int(arrays["left_out"]) for arrays in wrote.values()),
        "methods": methods,
    }


def _method(name: str, arrays: Arrays, taxed: Mapping[str, Any] | None) -> Values:
    """Return one method's figures."""
    second, sides = own(arrays, "second"), own(arrays, "sides")
    return {
        "method": name,
        "by": unpack(arrays, "by")[0],
        **verdicts(arrays),
        "reward_accuracy": average(arrays["right_user"], arrays["right"]),
        "reward_pairs": int(np.isfinite(arrays["right"]).sum()),
        "added": average(arrays["user"], arrays["added"]),
        "added_unit": unpack(arrays, "unit")[0],
        "second": _second(arrays, second) if second else None,
        "sides": _sides(sides) if sides else None,
        "tax": None if taxed is None else taxed["tax"],
        "agrees": None if taxed is None else taxed["flatters"],
    }


def _second(first: Arrays, second: Arrays) -> Values:
    """Return the second templates' figures, and by how much the win rate changes, paired by answer."""
    change = second["personalization"] - first["personalization"]
    return {**verdicts(second), "change": average(first["user"], change)}


def _sides(arrays: Arrays) -> Values:
    """Return figures on personas of choices and of swapped ones; None where nobody has both in words."""
    found = {side: own(arrays, side) for side in SIDES}
    figures = {side: verdicts(found[side]) if found[side] else None for side in SIDES}
    return {**figures, "left_out": int(arrays["left_out"])}


def _or_least(found: Mapping[str, Any]) -> float:
    return -1.0 if found["value"] is None else float(found["value"])


# ---- telling and drawing ------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say how the best method's answers fare with the judge who knows the user, and how many do well."""
    methods, left = values["methods"], values["left_out"]
    without = f"; {left:,} users without a true profile are left out" if left else ""
    if not methods:
        return (
            f"{within(values)}, what methods write cannot be judged: the judge reads a true profile and "
            f"none of {left:,} users has one."
        )
    best = methods[0]
    won = best["personalization"]
    above = [m["method"] for m in methods if _side(m["personalization"]["win_rate"]) == "up"]
    who = "no method's answers are" if not above else f"answers of {len(above)} of {len(methods)} methods are"
    return (
        f"{within(values)}, {who} shown to suit their user better than {_base(values)}: "
        f"{best['method']} wins {level(won['win_rate'])} of {won['answers']:,} comparisons of "
        f"{won['win_rate']['users']:,} users for personalization (ties a half) and "
        f"{level(best['quality']['win_rate'])} for quality, Delta-PQ {gap(best['delta_pq'])}, with "
        f"{_added(best)} and {_faults(methods)}{without}."
    )


def _base(values: Mapping[str, Any]) -> str:
    return "the untuned model's" if values["base"] == "model" else "the same method's without a persona"


def _side(found: Mapping[str, Any]) -> str:
    """Tell on which side of a half a share's interval lies."""
    return shown({k: None if v is None else v - 0.5 for k, v in found.items() if k in ("low", "high")})


def _added(found: Mapping[str, Any]) -> str:
    value = found["added"]["value"]
    return f"{0.0 if value is None else value:,.1f} {found['added_unit']} added to a prompt"


def _faults(methods: Sequence[Mapping[str, Any]]) -> str:
    count = sum(m[aspect]["faults"] for m in methods for aspect in ASPECTS)
    return f"{count:,} comparisons without an answer that could be read" if count else "no fault of the judge"


def draw(values: Mapping[str, Any]) -> str:
    """Draw win rates and Delta-PQ with their intervals, and tables of figures, lengths and sides."""
    return picture(values) if values["methods"] else ""
