"""Whether personas say what people themselves say they want ("SynthesizeMe!", 6.2).

What a user said is a field of the profile where they told what they want of an assistant (WISHES), else
their own reasons for the choices that were held out. Each user's persona is compared with their own words
and, as a control, with another user's, by two instruments:

    judge        says yes or no to "the same person?"; matched = share of yes for true pairs, random = for
                 random ones, and what counts is the difference, which liking to say yes cannot move
    similarity   the share of other users' words that lie farther from the persona than the user's own, by
                 the cosine of their embeddings less each side's mean: 0.5 is chance (AUC); needs no model

In reasons, [chosen] and [rejected] stand for the two answers. A profile that a method was shown word for word
proves nothing, so such a method is left out and named.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, Personas
from palate.evaluate.facets._asked import held, models_of, run_all
from palate.evaluate.facets._draw import key, note, rows, titled
from palate.evaluate.facets._match import answers, beyond, judged, near_row, pair_row, plain_reason, same
from palate.evaluate.facets._people import Values, level, place, within
from palate.evaluate.facets._similar import nearer, partners
from palate.evaluate.facets._words import keeps_words, own, pack, sampled, texts_of, unpack, vectors
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import Task

__all__ = ["NAME", "TITLE", "VERSION", "WISHES", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "match", "Whether personas say what people say they want", 1
USERS, JUDGED, LEAST = 300, 100, 10
"""Users compared by similarity, users whom a judge is asked about (twice each), and least users."""
REASONS, LONGEST = 12, 1500
"""Reasons of a user that are read together, and characters of them."""
WISHES = ("stated", "wish", "system_string", "self_description", "stated_preference", "preference")
"""Profile fields in which people say what they want; the first that most users have is read."""


# ---- asking -----------------------------------------------------------------------------------------------


def probe(method: Method, personas: Personas, task: Task) -> dict[str, NDArray[Any]]:
    """Gather personas and what people said, and ask the method's judge whether they match.

    Args:
        method: The fitted method; its judge is asked, where it has one.
        personas: The test users'.
        task: Test users, with profiles or reasons in ``task.people``.

    Returns:
        Nothing for a method without words. Packed ``source``, one text: the profile's field, ``reasons``, or
        "" where people said nothing; ``users`` int64 with packed ``text`` and ``wish``; and where a judge was
        asked, its packed ``judge``, ``asked`` int64, places in ``users``, and ``said`` float64 [asked, 2]: 1
        for yes and 0 for no to the true and the random pair, NaN where the answer could not be read.
    """
    if not method.personal or not keeps_words(personas):
        return {}
    users = sampled(task, USERS)
    source, wishes = _wishes(task, users)
    texts = texts_of(personas, users) if source else [""] * len(users)
    both = [i for i, (text, wish) in enumerate(zip(texts, wishes, strict=True)) if text and wish]
    users, texts, wishes = users[both], [texts[i] for i in both], [wishes[i] for i in both]
    out: dict[str, NDArray[Any]] = {"users": users, **pack("source", [source])}
    out |= {**pack("text", texts), **pack("wish", wishes)}
    models = models_of(method)
    if models is None or len(users) < LEAST:
        return out
    some = np.sort(np.random.default_rng(1).permutation(len(users))[:JUDGED])
    other = some[partners(np.arange(len(some)))]
    work = [same(texts[i], (wishes[i], wishes[o])) for i, o in zip(some, other, strict=True)]
    names = [str(name) for name in task.context.users[users[some]]]
    said = np.array(run_all(models.judge, work, names, NAME))
    return out | {"asked": some, "said": said, **pack("judge", [models.judge])}


def _wishes(task: Task, users: Ints) -> tuple[str, list[str]]:
    """Return where people's own words come from, "" for nowhere, and the words of each user, "" for none."""
    profiles = [task.people.profiles.get(str(name), {}) for name in task.context.users[users]]
    for field in WISHES:
        told = [str(profile.get(field, "")).strip() for profile in profiles]
        if sum(map(bool, told)) * 2 > len(told):
            return field, [text[:LONGEST] for text in told]
    if not task.people.reasons:
        return "", [""] * len(users)
    targets = held(task)
    given: dict[int, list[str]] = {int(user): [] for user in users}
    for user, row in zip(targets.row_user.tolist(), targets.ids.tolist(), strict=True):
        if user in given and (reason := targets.reasons.get(row)):
            given[user].append(plain_reason(reason))
    return "reasons", ["\n".join(given[int(user)][:REASONS])[:LONGEST] for user in users]


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return both instruments for every method that keeps words, in every section that has such a method."""
    return [value for section in sections if (value := _section(section))]


def _section(section: Measured) -> Values:
    found = {name: own(o.extra, NAME) for name, o in section.outcomes.items()}
    found = {name: extra for name, extra in found.items() if "users" in extra}
    if not found:
        return {}
    methods: list[Values] = []
    repeat: list[str] = []
    source = ""
    for name, extra in found.items():
        source = source or unpack(extra, "source")[0]
        texts, wishes = unpack(extra, "text"), unpack(extra, "wish")
        given = [wish.lower() in text.lower() for text, wish in zip(texts, wishes, strict=True)]
        if given and sum(given) * 2 > len(given):
            repeat.append(name)
        elif len(texts) >= LEAST:
            methods.append(_method(name, texts, wishes, extra, section.encoder))
    methods.sort(key=lambda m: (-(m["similarity"]["value"] or 0.0), m["method"]))
    why = "" if methods else _why(source, repeat)
    return {**place(section), "source": source, "methods": methods, "given": repeat, "why": why}


def _why(source: str, given: Sequence[str]) -> str:
    if not source:
        return "neither a profile nor reasons say it"
    if given:
        return f"{', '.join(given)} repeat it word for word"
    return f"fewer than {LEAST} users have both a persona and words of their own ({source})"


def _method(
    name: str, texts: Sequence[str], wishes: Sequence[str], extra: Mapping[str, NDArray[Any]], encoder: str
) -> Values:
    x = vectors([*texts, *wishes], encoder)
    similarity = nearer(x[: len(texts)], x[len(texts) :], extra["users"])
    out: Values = {"method": name, "users": len(texts), "similarity": similarity, "judge": ""}
    if "said" in extra:
        out |= {"judge": unpack(extra, "judge")[0], **answers(extra["said"], extra["asked"])}
    return out


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say of which method personas match people's own words best, by similarity and by the judge."""
    if values["why"]:
        return f"{within(values)}, whether personas say what people want cannot be told: {values['why']}."
    best = values["methods"][0]
    of = (
        "reasons for held-out choices"
        if values["source"] == "reasons"
        else f"{values['source']} of the profile"
    )
    says = "lie" if beyond(best["similarity"]) else "are not shown to lie"
    asked = [m for m in values["methods"] if m["judge"]]
    first = max(asked, key=lambda m: m["gain"]["value"] or 0.0) if asked else None
    by = f"; of personas of {first['method']}, {judged(first)}" if first else ""
    repeat = ", ".join(values["given"])
    given = f"; {repeat} repeat it word for word and are left out" if repeat else ""
    return (
        f"{within(values)}, personas of {best['method']} {says} nearer to what their own user said ({of}) "
        f"than to what others said: {level(best['similarity'])} of others' words are farther away "
        f"({best['users']:,} users, half by chance){by}{given}."
    )


def draw(values: Mapping[str, Any]) -> str:
    """Draw similarity and the judge's answers, a method a row."""
    if values["why"]:
        return ""
    near = [row for m in values["methods"] if (row := near_row(m["method"], m["similarity"])).dots]
    asked = [m for m in values["methods"] if m["judge"]]
    table = [row for m in asked if (row := pair_row(m["method"], m)).dots]
    where = f"on {values['dataset']}"
    label = f"How much nearer personas lie to their own user's words {where}"
    first = rows(near, label, signed=True, x_name=_AXIS)
    second = rows(table, f"Matches that the judge sees {where}")
    marks = key([("true pairs", "s0", 0), ("random pairs", "s1", 2)]) if table else ""
    judges = ", ".join(dict.fromkeys(m["judge"] for m in asked))
    remark = (
        f"People's words: {values['source']}. Similarity in {values['encoder']}, up to {USERS} users; the "
        f"judge was asked about up to {JUDGED}, drawn by seed."
    )
    both = titled("Others' words farther than one's own", first)
    return f"{both}{titled(f'Matches seen by {judges}, per cent', second)}{marks}{note(remark)}"


_AXIS = "share that is farther, points over a half"
