"""What a cell of the study does, by the kind of its arm: make the people, fit, measure."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from palate.core import Persona, Personas, Population, current_job, job
from palate.small.arms import ARMS, build_arm
from palate.small.measure import accuracy_of, heeded, measure
from palate.small.world import SmallWorld, world

if TYPE_CHECKING:
    from palate.small.study import Cell, Plan
    from palate.tune.base import WritingMethod

__all__ = ["KINDS", "bounds"]

_TEACHER_NAMES, _TEACHER_SLIPS = 0.8, 0.1  # share of axes a teacher names, and of those it has wrong
_NO_CROWD = 0.5  # of every axis: what is right for most is right for nobody, so that only reading helps
_UNCOMMON = 0.15  # of every axis where personas are told: their wishes are uncommon ones
_JUDGED = 3  # target choices a user whose personas are written for


def _writing(name: str, base: str, seed: int, **changes: Any) -> "WritingMethod":
    return cast("WritingMethod", build_arm(name, base, seed, **changes))


def written(plan: "Plan", cell: "Cell") -> dict[str, Any]:
    """Fit an arm and measure what it knows, writes, and tells other models."""
    from palate.small.study import base_folder

    people = world(plan.users, seed=cell.seed, minority=_NO_CROWD)
    own, other = (str(base_folder(plan, size)) for size in ("small", "other"))
    teller = _writing("summary", own, cell.seed).fit(people.population)
    others = {
        "other": _writing("summary", other, cell.seed).fit(people.population),
        "own": teller,
        "second": _writing("summary", own, cell.seed, templates="small-second").fit(people.population),
    }

    def measured(**changes: Any) -> dict[str, Any]:
        method = _writing(cell.arm, own, cell.seed, **changes).fit(people.population)
        return {**measure(method, teller, people, others), "curve": getattr(method, "curve_", [])}

    found = measured()
    then = ARMS[cell.arm].then
    if then:  # the same job: the first stage is done and is not run again
        found["also"] = {then: measured(align=True)}
    return {**found, "bounds": bounds(people)}


def bounds(people: SmallWorld) -> dict[str, float]:
    """Return accuracies that nobody can beat: who knows the taste, and who knows prior and context."""
    rows = (people.population.role[people.population.row_user] == 2) & (people.population.split == 1)
    return {name: float((getattr(people, name)[rows] > 0).mean()) for name in ("oracle", "ideal")}


def tailored(plan: "Plan", cell: "Cell") -> dict[str, Any]:
    """Fit PT and plain DPO, give both the same personas, and compare what they write.

    Personas are those of test users' target choices: of who would choose as they did (chosen), and of who
    would have chosen the other answer (rejected). Wins and losses are answers that differ in the measure,
    a lead is wins less losses as a share of all answers.
    """
    from palate.small.study import base_folder

    people = world(plan.users, seed=cell.seed, minority=_UNCOMMON)
    own = str(base_folder(plan, "small"))
    method = _writing(cell.arm, own, cell.seed).fit(people.population)
    with _inside("plain"):
        plain = _writing(cell.arm, own, cell.seed, told_in_training=False).fit(people.population)
    test = people.population.with_role("test")
    context, targets = test.with_split("context"), test.with_split("target")
    judged = targets.take_rows(targets.rank < _JUDGED)
    found: dict[str, Any] = {
        "accuracy": accuracy_of(method, method.adapt_batch(context), targets),
        "accuracy_plain": accuracy_of(plain, _unbound(method.adapt_batch(context)), targets),
    }
    teller = cast(Any, method)
    for name, texts in (
        ("chosen", teller.chosen_personas(judged)),
        ("rejected", teller.rejected_personas(judged)),
    ):
        found |= {f"{key}_{name}": v for key, v in _against(method, plain, judged, texts, people).items()}
        for key, each in (("heeded", method), ("heeded_plain", plain)):
            found[f"{key}_{name}"] = heeded(each, texts, judged, name == "chosen")
    return {name: np.round(values, 6).tolist() for name, values in found.items()}


def _inside(name: str) -> Any:
    """Open a job in a folder inside the present one."""
    home = current_job()
    return job(None if home.folder is None else home.folder / name, home.tell)


def _unbound(personas: Sequence[Persona]) -> Any:
    """Return personas as any model may be told them: words alone."""
    return Personas.of([Persona(user=p.user, text=p.text) for p in personas])


def _against(
    method: "WritingMethod",
    plain: "WritingMethod",
    targets: Population,
    texts: Sequence[str | None],
    people: SmallWorld,
) -> dict[str, Any]:
    """Return, a user each, wins and losses in fit to the persona (p) and in quality (q), and their lead."""
    language, pairs = people.language, targets.pairs
    talks = [targets.corpus.conversation(item) for item in pairs.winner.tolist()]
    views = [Persona(text=text) for text in texts]
    mine, theirs = (m.generate_batch(views, talks) for m in (method, plain))
    out = {name: np.zeros(targets.n_users) for name in ("p_won", "p_lost", "q_won", "q_lost")}
    for user, text, talk, (a,), (b,) in zip(pairs.user, texts, talks, mine, theirs, strict=True):
        want, prompt = language.stated(text or ""), talk[-1].content
        for key, gap in (
            ("p", language.fit(want, a) - language.fit(want, b)),
            ("q", language.quality(prompt, a) - language.quality(prompt, b)),
        ):
            if abs(gap) > 1e-9:
                out[f"{key}_{'won' if gap > 0 else 'lost'}"][user] += 1
    count = np.maximum(np.bincount(pairs.user, minlength=targets.n_users), 1)
    return {**out, **{f"{key}_lead": (out[f"{key}_won"] - out[f"{key}_lost"]) / count for key in "pq"}}


def episodes(plan: "Plan", cell: "Cell") -> dict[str, Any]:
    """Fit EpiPersona-A and text personas; compare them where targets are like the history, and where not."""
    from palate.small.study import base_folder

    own = str(base_folder(plan, "small", 2))
    mixed = world(plan.users, seed=cell.seed, dialects=2, minority=_NO_CROWD)
    home = current_job().folder
    assert home is not None  # a study always has one
    teacher = home / "teacher.jsonl"
    teacher.parent.mkdir(parents=True, exist_ok=True)
    teacher.write_text("\n".join(_descriptions(mixed, cell.seed)), encoding="utf-8")
    method = _writing(cell.arm, own, cell.seed, teacher=f"file:{teacher}").fit(mixed.population)
    asked = {"summary": "small", "survey": "small-survey"}
    texts = {
        name: _writing("summary", own, cell.seed, templates=form).fit(mixed.population)
        for name, form in asked.items()
    }
    found: dict[str, Any] = {}
    for shift in ("similar", "dissimilar"):
        people = world(plan.users, seed=cell.seed, dialects=2, shift=shift, minority=_NO_CROWD)
        test = people.population.with_role("test")
        context, targets = test.with_split("context"), test.with_split("target")
        for name, each in {"codes": method, **texts}.items():
            found[f"{name}_{shift}"] = accuracy_of(each, each.adapt_batch(context), targets)
    found["accuracy"] = (found["codes_similar"] + found["codes_dissimilar"]) / 2
    return {name: np.round(values, 6).tolist() for name, values in found.items()}


def _descriptions(people: SmallWorld, seed: int) -> list[str]:
    """Return what a careful but fallible teacher says of each training choice, in its episode's dialect."""
    rng = np.random.default_rng(seed)
    language, population = people.language, people.population
    lines = []
    for row in np.flatnonzero(population.role[population.row_user] == 0).tolist():
        talk = population.corpus.conversation(int(population.options[population.option_offsets[row]]))
        dialect = language.group(talk[-1].content.split()[0])
        taste = people.taste[population.row_user[row]]
        said = []
        for axis in rng.permutation(len(taste)):
            if rng.random() < _TEACHER_NAMES:
                side = taste[axis] * (-1 if rng.random() < _TEACHER_SLIPS else 1)
                said.append(language.statement(int(axis), side, bool(abs(side) > 1.4), dialect, rng))
        if said:
            lines.append(json.dumps({"id": str(population.ids[row]), "description": " ".join(said)}))
    return lines


KINDS = {"written": written, "staged": written, "tailored": tailored, "episodes": episodes}
"""What is done, by kind."""
