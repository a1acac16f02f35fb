"""Where personas lie, and whether a profile can be told from them ("SynthesizeMe!", appendix E).

The personas of a sample of users are embedded whole. The picture shows their first two principal directions
(the paper has t-SNE, which moves far apart what is near; here distances are as they are, as far as two
directions hold them: the picture says how far). What matters is a number. For each field of the profile,

    agreement_u = share of the NEAR users whose personas lie nearest to u's that have u's value
    chance_u    = share of all other users that do
    told        = mean over users of (agreement_u - chance_u)

by cosine in all dimensions. 0: the persona says nothing of the profile. A field counts that has 2 to KINDS
values of at least FEW users each; users of rarer values, or without the field, are left out. A field whose
values stand word for word in nearly all personas (GIVEN) was shown to the method, and is told to be so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Method, Personas
from palate.evaluate.facets._draw import KINDS as LOOKS
from palate.evaluate.facets._draw import Dot, Row, note, rows, titled
from palate.evaluate.facets._draw_words import Group, cloud
from palate.evaluate.facets._people import People, Values, figures, gap, place, plain, shown, within
from palate.evaluate.facets._words import keeps_words, own, pack, sampled, texts_of, unpack, vectors
from palate.evaluate.measured import Measured
from palate.evaluate.page_reading import percent
from palate.evaluate.protocol import Task

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "map", "Where personas lie, and whether they tell the profile", 1
USERS, NEAR, KINDS, FEW, LEAST = 300, 5, 8, 8, 30
"""Users on the map, neighbours looked at, most values of a field, least users of a value, least in all."""
METHODS = 3
"""Methods that are told and drawn, the most accurate of those that keep words."""
FIELDS, GIVEN = 8, 0.9
"""Fields that are shown, those told best; share of personas with a value in them, from which it was given."""


def probe(method: Method, personas: Personas, task: Task) -> dict[str, NDArray[Any]]:
    """Return ``users`` int64, a sample of those who have a text, and packed ``text``: their personas.

    Args:
        method: The fitted method.
        personas: The test users'.
        task: Test users.
    """
    if not method.personal or not keeps_words(personas):
        return {}
    users = sampled(task, USERS)
    texts = texts_of(personas, users)
    some = np.array([bool(text) for text in texts], dtype=bool)
    return {"users": users[some], **pack("text", [text for text in texts if text])}


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return map and fields of every method that keeps words, in every section that has such a method."""
    return [value for section in sections for value in _section(section)]


def _section(section: Measured) -> list[Values]:
    out: list[Values] = []
    for name in People(section).applied:
        extra = own(section.outcomes[name].extra, NAME)
        if "users" not in extra or len(out) == METHODS:
            continue
        texts, users = unpack(extra, "text"), extra["users"]
        told = {
            **place(section),
            "title": f"{TITLE}: {name}",
            "method": name,
            "asked": len(users),
            "points": [],
            "fields": [],
            "kept": None,
            "why": "",
        }
        if len(users) < LEAST:
            out.append({**told, "why": f"only {len(users):,} users have one, and {LEAST} are needed"})
            continue
        x = vectors(texts, section.encoder)
        spots, kept = _plane(x)
        told |= {"points": np.round(spots, 4).tolist(), "kept": plain(kept)}
        names = [str(name) for name in section.task.context.users[users]]
        profiles = [section.task.people.profiles.get(name, {}) for name in names]
        fields = [f for f in (_field(x, texts, profiles, key) for key in _keys(profiles)) if f]
        told["fields"] = sorted(fields, key=lambda f: (f["given"], -f["told"]["value"], f["field"]))[:FIELDS]
        told["colour"] = _colour(told["fields"], profiles)
        out.append(told)
    return out


def _plane(x: Floats) -> tuple[Floats, float]:
    """Return float64 [n, 2], the first two principal directions, and the share of variance they hold.

    A direction's sign is arbitrary; the entry that lies farthest out is made positive.
    """
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    spots = np.zeros((len(x), 2))
    spots[:, : min(2, len(s))] = u[:, :2] * s[:2]
    far = spots[np.abs(spots).argmax(axis=0), [0, 1]]
    return spots * np.where(far < 0, -1.0, 1.0), float((s[:2] ** 2).sum() / max((s**2).sum(), 1e-12))


def _keys(profiles: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for profile in profiles for key in profile))


def _kinds(profiles: Sequence[Mapping[str, str]], field: str) -> tuple[list[str], Ints]:
    """Return the values of a field that enough users have, the most frequent first, and int64 [n], or -1."""
    said = [str(profile.get(field, "")).strip() for profile in profiles]
    counts = {value: said.count(value) for value in set(said) - {""}}
    kinds = sorted((v for v, n in counts.items() if n >= FEW), key=lambda v: (-counts[v], v))
    return kinds, np.array([kinds.index(v) if v in kinds else -1 for v in said], np.int64)


def _field(
    x: Floats, texts: Sequence[str], profiles: Sequence[Mapping[str, str]], field: str
) -> Values | None:
    """Return how well a field is told from the personas, or None for a field that does not count."""
    kinds, of = _kinds(profiles, field)
    inside = np.flatnonzero(of >= 0)
    if not 2 <= len(kinds) <= KINDS or len(inside) < LEAST:
        return None
    own, mine = x[inside], of[inside]
    alike = own @ own.T
    np.fill_diagonal(alike, -np.inf)
    near = np.argsort(-alike, axis=1, kind="stable")[:, :NEAR]
    agreement = (mine[near] == mine[:, None]).mean(axis=1)
    chance = (np.bincount(mine)[mine] - 1) / (len(mine) - 1)
    found = figures(np.column_stack([agreement - chance, agreement, chance]))
    given = [kinds[k].lower() in texts[i].lower() for i, k in zip(inside.tolist(), mine, strict=True)]
    return {
        "field": field,
        "kinds": len(kinds),
        "told": found[0],
        "agreement": found[1],
        "chance": plain(found[2]["value"]),
        "given": sum(given) >= GIVEN * len(given),
    }


def _colour(fields: Sequence[Values], profiles: Sequence[Mapping[str, str]]) -> Values | None:
    """Return by which field points are coloured: the one told best, its four most frequent values."""
    if not fields:
        return None
    kinds, of = _kinds(profiles, fields[0]["field"])
    kept = kinds[: len(LOOKS) - 1] if len(kinds) > len(LOOKS) else kinds
    return {"field": fields[0]["field"], "kinds": kept, "of": np.where(of < len(kept), of, -1).tolist()}


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say whether the profile can be told from the personas, by the field that is told best."""
    asked = f"the personas that {values['method']} wrote of {values['asked']:,} users"
    if values["why"]:
        return f"{within(values)}, {asked} make no map: {values['why']}."
    free = [f for f in values["fields"] if not f["given"]]
    given = [f["field"] for f in values["fields"] if f["given"]]
    if not free and given:
        return f"{within(values)}, {asked} repeat the profile that they were shown ({', '.join(given)})."
    if not free:
        return (
            f"{within(values)}, {asked} stand in the picture alone: no field of a profile has 2 to {KINDS} "
            f"values of {FEW} users or more."
        )
    best, many = free[0], len(free)
    up = [f for f in free if shown(f["told"]) == "up"]
    of = f"the best told of {many} fields, " if many > 1 else ""
    says = "tell something of the profile" if up else "are not shown to tell anything of the profile"
    also = f"; {', '.join(given)} stand in them word for word" if given else ""
    return (
        f"{within(values)}, {asked} {says}: {best['field']}, {of}is shared by "
        f"{percent(best['agreement']['value'])} of the {NEAR} nearest in words against "
        f"{percent(best['chance'])} of all others, {gap(best['told'])}{also}."
    )


def draw(values: Mapping[str, Any]) -> str:
    """Draw the plane, coloured by the field told best, and below it how well each field is told."""
    if values["why"] or not values["points"]:
        return ""
    label = f"Personas of {values['method']} on {values['dataset']} by their first two principal directions"
    picture = cloud(_groups(values), label, ("first principal direction", "second"))
    coloured = f" Coloured by {values['colour']['field']}." if values["colour"] else ""
    remark = (
        f"Each point is a user's persona; near is alike in words. The plane holds "
        f"{100 * values['kept']:.0f} % of how they differ.{coloured} {values['asked']:,} users."
    )
    table = [_row(f) for f in values["fields"]]
    below = rows(table, f"How well each field is told by {values['method']}", signed=True, x_name=_AXIS)
    return picture + note(remark) + titled("Told from the persona", below)


_AXIS = f"agreement of the {NEAR} nearest over chance, points"


def _groups(values: Mapping[str, Any]) -> list[Group]:
    spots = values["points"]
    colour = values["colour"]
    if colour is None:
        return [Group("users", LOOKS[0], 0, [(x, y, "a user") for x, y in spots])]
    names = dict(enumerate(colour["kinds"]))
    groups = []
    for number in (-1, *names):
        name = names.get(number, "other or unknown")
        points = [(x, y, name) for (x, y), k in zip(spots, colour["of"], strict=True) if k == number]
        groups.append(Group(_brief(name), "same" if number < 0 else LOOKS[number], max(number, 0), points))
    return groups


def _brief(name: str) -> str:
    return name if len(name) <= 30 else name[:29] + "…"


def _row(found: Mapping[str, Any]) -> Row:
    told = found["told"]
    kind = {"up": "s1" if found["given"] else "better", "down": "worse", "": "same"}[shown(told)]
    text = f"{found['field']}: {gap(told)} ({told['users']:,} users, {found['kinds']} values)"
    dot = Dot(told["value"], text, kind, 1 if found["given"] else 0, told["low"], told["high"])
    return Row(found["field"], [dot], f"{100 * told['value']:+.1f}".replace("-", "−"))
