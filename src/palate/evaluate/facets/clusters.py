"""What kinds of personas there are, in words, and which of them predict ("SynthesizeMe!", 6.2).

The statements of a sample of users' personas are embedded, reduced to their first SPREAD principal
directions and put on the sphere. They are grouped by k-means (k-means++, STARTS seeded starts, the tightest
is kept); k is that of 2 to MOST with the largest mean silhouette, s = (b - a) / max(a, b) with a a
statement's mean distance to its own group and b to the nearest other. ``stable`` is the mean adjusted Rand
index between the groups and those of REPEATS other seeds: 1 where the seed does not matter.

A group is called by the words that set its statements apart, and, where the method asks a language model, by
what that model calls it. A user counts in every group that holds a statement of theirs. A group's gain is its
users' accuracy less that of the method's own baseline (else the control's) on the same pairs.

Departs from the paper, which lets a language model form the groups (LLooM): here it only names them, so that
the groups are the same without one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.special import comb

from palate.core import Method, Personas
from palate.evaluate.charts import esc
from palate.evaluate.facets._asked import models_of, run_all
from palate.evaluate.facets._draw import Dot, Row, note, rows
from palate.evaluate.facets._people import People, Values, figure, gap, place, plain, shown, within
from palate.evaluate.facets._versus import baseline
from palate.evaluate.facets._words import (
    keeps_words,
    own,
    pack,
    sampled,
    statements,
    telling,
    texts_of,
    unpack,
    vectors,
)
from palate.evaluate.measured import Measured
from palate.evaluate.page_reading import points
from palate.evaluate.protocol import Task
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Asking, Reply, Request

__all__ = ["NAME", "NAMES", "TITLE", "VERSION", "Groups", "draw", "group", "measure", "probe", "tell"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "clusters", "What kinds of personas there are", 1
USERS, EACH = 200, 8
"""Users whose personas are looked at, and statements of each."""
METHODS = 3
"""Methods that are told and drawn, the most accurate of those that keep words."""
LEAST, MOST, SPREAD, STARTS, REPEATS = 24, 10, 16, 8, 5
SHOWN = 12
"""Statements of a group that a language model is shown to name it, those nearest to its middle."""


def _read_name(text: str) -> str:
    """Read a name: what follows ``Name:``, or a single line.

    Raises:
        Malformed: If there is none of at most eight words.
    """
    lines = [line.strip(" *\"'.#") for line in text.splitlines() if line.strip()]
    told = [line.partition(":")[2].strip(" *\"'.") for line in lines if line.lower().startswith("name:")]
    name = (told or lines or [""])[-1]
    if not name or len(name.split()) > 8:
        raise Malformed('the last line must be "Name: " and two to five words')
    return name[:60]


NAMES = Program(
    "name",
    "Name a group of personas",
    "You are given statements about what users of an assistant prefer. They were found to belong together. "
    "Find the name that says best what they have in common and would not fit just any user.",
    "Write the name in two to five words on a line of its own:\nName: ...",
    "Name: Short and plain answers",
    _read_name,
    max_tokens=40,
)
"""Names a group from its statements."""


class Groups(NamedTuple):
    """Groups of n statements.

    Attributes:
        of: int64 [n], the group of each; groups are numbered from the largest on.
        silhouette: Mean silhouette, from -1 to 1.
        stable: Mean adjusted Rand index with the groups of other seeds.
        near: float64 [n], distance of each to the middle of its group.
    """

    of: Ints
    silhouette: float
    stable: float
    near: Floats


# ---- grouping ---------------------------------------------------------------------------------------------


def group(found: Floats) -> Groups | None:
    """Group vectors [n, k]; None where there are fewer than LEAST, or all are equal."""
    distinct = len(np.unique(np.round(found, 6), axis=0))
    if len(found) < LEAST or distinct < 2:
        return None
    x = _reduced(found)
    apart = 1.0 - x @ x.T
    tried = {k: _k_means(x, k, 0) for k in range(2, min(MOST, distinct, len(x) // 6) + 1)}
    good = {k: (labels, _silhouette(apart, labels)) for k, labels in tried.items() if labels is not None}
    if not good:
        return None
    best = max(good, key=lambda k: (round(good[k][1], 6), -k))
    labels, silhouette = good[best]
    others = [_k_means(x, best, seed) for seed in range(1, REPEATS + 1)]
    stable = float(np.mean([_rand(labels, other) for other in others if other is not None] or [0.0]))
    order = np.argsort(-np.bincount(labels), kind="stable")
    labels = np.argsort(order)[labels]
    middles = np.stack([x[labels == g].mean(axis=0) for g in range(best)])
    return Groups(labels, silhouette, stable, np.linalg.norm(x - middles[labels], axis=1))


def _reduced(found: Floats) -> Floats:
    """Return float64 [n, at most SPREAD] of norm 1 (0 for what lies in the middle of all)."""
    centred = found - found.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    x = u[:, :SPREAD] * s[:SPREAD]
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norms > 1e-12, norms, 1.0))


def _k_means(x: Floats, k: int, seed: int) -> Ints | None:
    """Return int64 [n], the groups of the tightest start, or None where every start lost a group."""
    best: tuple[float, Ints] | None = None
    for start in range(STARTS):
        rng = np.random.default_rng([seed, k, start])
        chosen = [int(rng.integers(len(x)))]
        while len(chosen) < k:
            far = ((x[:, None] - x[chosen][None]) ** 2).sum(-1).min(1) + 1e-12
            chosen.append(int(rng.choice(len(x), p=far / far.sum())))
        try:
            centres, labels = kmeans2(x, x[chosen], iter=40, minit="matrix", missing="raise")
        except ClusterError:
            continue
        loose = float(((x - centres[labels]) ** 2).sum())
        if len(np.unique(labels)) == k and (best is None or loose < best[0] - 1e-9):
            best = (loose, np.asarray(labels, np.int64))
    return None if best is None else best[1]


def _silhouette(apart: Floats, labels: Ints) -> float:
    """Return the mean silhouette; a statement that is alone in its group counts 0."""
    member = np.eye(int(labels.max()) + 1)[labels]
    size = member.sum(axis=0)
    total = apart @ member
    own = np.take_along_axis(total, labels[:, None], axis=1)[:, 0] / np.maximum(size[labels] - 1, 1)
    other = np.where(member > 0, np.inf, total / size).min(axis=1)
    widest = np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where(size[labels] > 1, (other - own) / widest, 0.0).mean())


def _rand(a: Ints, b: Ints) -> float:
    """Return the adjusted Rand index of two groupings: 1 for equal ones, about 0 for unrelated ones."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(table, (a, b), 1.0)
    both, left, right = (float(comb(t, 2).sum()) for t in (table, table.sum(1), table.sum(0)))
    chance = left * right / max(float(comb(len(a), 2)), 1.0)
    most = (left + right) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


# ---- asking -----------------------------------------------------------------------------------------------


def probe(method: Method, personas: Personas, task: Task, encoder: str) -> dict[str, NDArray[Any]]:
    """Group the statements of a sample of users' personas, and let the method's model name the groups.

    Args:
        method: The fitted method.
        personas: The test users'.
        task: Test users.
        encoder: The cell's encoder, which statements are embedded with.

    Returns:
        ``users`` int64, the users asked; packed ``said`` texts with ``user`` int64, whose each is; and, where
        they fall into groups, ``group`` int64, ``near`` float64, ``quality`` float64 [2] (silhouette, stable)
        and packed ``name`` texts.
    """
    if not method.personal or not keeps_words(personas):
        return {}
    users = sampled(task, USERS)
    said = [statements(text, EACH) for text in texts_of(personas, users)]
    told = [line for lines in said for line in lines]
    if not told:
        return {}
    owner = np.repeat(users, [len(lines) for lines in said])
    out: dict[str, NDArray[Any]] = {"users": users, "user": owner, **pack("said", told)}
    groups = group(vectors(told, encoder))
    if groups is None:
        return out
    out |= {"group": groups.of, "near": groups.near}
    out["quality"] = np.array([groups.silhouette, groups.stable])
    models = models_of(method)
    names = []
    if models is not None:
        parts = [_nearest(told, groups, g) for g in range(int(groups.of.max()) + 1)]
        names = run_all(models.writer, map(_named, parts), [""] * len(parts), NAME)
        out |= pack("model", [models.writer])
    return out | pack("name", names)


def _nearest(told: Sequence[str], groups: Groups, g: int) -> list[str]:
    """Return the distinct statements of a group, nearest to its middle first."""
    inside = np.flatnonzero(groups.of == g)
    ordered = [told[i] for i in inside[np.argsort(groups.near[inside], kind="stable")].tolist()]
    return list(dict.fromkeys(ordered))[:SHOWN]


def _named(told: Sequence[str]) -> Asking[str]:
    (answer,) = yield [Request(NAMES, tuple(Section("persona", line, spare=True) for line in told))]
    return str(answer.value) if isinstance(answer, Reply) else ""


# ---- measuring --------------------------------------------------------------------------------------------


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return the groups of every method that keeps words, in every section that has such a method."""
    return [value for section in sections for value in _section(section)]


def _section(section: Measured) -> list[Values]:
    people = People(section)
    out: list[Values] = []
    for name in people.applied:
        extra = own(section.outcomes[name].extra, NAME)
        if "users" not in extra or len(out) == METHODS:
            continue
        told = {
            **place(section),
            "title": f"{TITLE}: {name}",
            "method": name,
            "asked": len(extra["users"]),
            "statements": len(extra["user"]),
            "groups": [],
            "why": "",
        }
        if "group" in extra:
            told |= _groups(people, name, extra)
        else:
            told["why"] = f"{len(extra['user']):,} statements are too few, or too alike, to be grouped"
        out.append(told)
    return out


def _groups(people: People, method: str, extra: Mapping[str, NDArray[Any]]) -> Values:
    said, owner, of = unpack(extra, "said"), extra["user"], extra["group"]
    against, base = baseline(people, method)
    gain = None if base is None else people.applied[method] - base
    names = unpack(extra, "name")
    found = []
    for g in range(int(of.max()) + 1):
        inside = [text for text, at in zip(said, of, strict=True) if at == g]
        outside = [text for text, at in zip(said, of, strict=True) if at != g]
        member = np.isin(people.ids, owner[of == g])
        first = inside[int(np.argmin(extra["near"][of == g]))]
        found.append(
            {
                "name": names[g] if g < len(names) else "",
                "words": telling(inside, outside, 4),
                "example": first[:240],
                "statements": len(inside),
                "users": int(member.sum()),
                "gain": None if gain is None else figure(np.where(member, gain, np.nan)),
            }
        )
    silhouette, stable = extra["quality"].tolist()
    return {
        "groups": found,
        "against": against,
        "silhouette": plain(silhouette),
        "stable": plain(stable),
        "model": next(iter(unpack(extra, "model")), ""),
    }


# ---- telling and drawing ----------------------------------------------------------------------------------


def tell(values: Mapping[str, Any]) -> str:
    """Say how many groups there are, which is largest, how sure they are, and which gain or lose."""
    asked = f"the personas that {values['method']} wrote of {values['asked']:,} users"
    if values["why"]:
        return f"{within(values)}, {asked} form no groups: {values['why']}."
    groups = values["groups"]
    clear = "" if values["silhouette"] >= 0.1 else ", which run into each other"
    first = groups[0]
    told = _moved(groups)
    named = f" (named by {values['model']})" if values["model"] else ""
    return (
        f"{within(values)}, the {values['statements']:,} statements of {asked} fall into {len(groups)} groups"
        f"{named}{clear} (silhouette {values['silhouette']:.2f}, other seeds agree by "
        f"{values['stable']:.2f}), the largest {_called(first)} with {first['users']:,} users; against "
        f"{values['against']} {told}."
    )


def _moved(groups: Sequence[Mapping[str, Any]]) -> str:
    """Say which groups are shown to gain or lose, the three that do so most by name."""
    sides = {"up": "gains", "down": "loses"}
    sure = [g for g in groups if g["gain"] is not None and shown(g["gain"])]
    if not sure:
        return "no group is shown to gain or lose"
    sure.sort(key=lambda g: -abs(g["gain"]["value"]))
    told = [f"{_called(g)} {sides[shown(g['gain'])]} {gap(g['gain'])}" for g in sure[:3]]
    more = len(sure) - 3
    rest = f", and less so {more} more group{'s' if more > 1 else ''}" if more > 0 else ""
    return ", ".join(told) + rest


def _called(found: Mapping[str, Any]) -> str:
    words = ", ".join(found["words"][:3])
    if found["name"]:
        return f"“{found['name']}”" + (f" ({words})" if words else "")
    return f"“{words or 'without a word of its own'}”"


def draw(values: Mapping[str, Any]) -> str:
    """Draw each group's gain over the baseline with its interval, and what it is made of in words."""
    groups = values["groups"]
    if not groups:
        return ""
    table = [_row(number, g) for number, g in enumerate(groups)]
    drawn = [row for row in table if row.dots]
    label = f"Gain over {values['against']} by group of personas of {values['method']}"
    picture = (
        rows(drawn, label, signed=True, x_name=f"gain over {values['against']}, points") if drawn else ""
    )
    remark = (
        "Gain in accuracy of the users with a statement in a group, and how many they are; a user may stand "
        f"in several. From {values['asked']:,} users drawn by seed, at most {EACH} statements each. Words "
        "are those that set a group's statements apart."
    )
    return picture + _listed(groups) + note(remark)


def _row(number: int, found: Mapping[str, Any]) -> Row:
    gain = found["gain"]
    label = f"{number + 1} {_title(found)}"
    if gain is None or gain["value"] is None:
        return Row(label, [])
    kind = {"up": "better", "down": "worse", "": "same"}[shown(gain)]
    text = f"{_called(found)}: {gap(gain)} ({gain['users']:,} users)"
    dot = Dot(gain["value"], text, kind, 0, gain["low"], gain["high"])
    return Row(label, [dot], f"{points(gain['value'])} · {found['users']:,}")


def _title(found: Mapping[str, Any]) -> str:
    return str(found["name"] or ", ".join(found["words"][:2]) or "–")


def _listed(groups: Sequence[Mapping[str, Any]]) -> str:
    told = "".join(
        f"<dt>{number + 1} {esc(_title(g))}</dt>"
        f"<dd>{esc(', '.join(g['words']) or '–')}<br><small>{g['statements']:,} statements, such as: "
        f"{esc(g['example'])}</small></dd>"
        for number, g in enumerate(groups)
    )
    return f'<dl class="touched">{told}</dl>'
