"""Whether a method still understands people when they talk of something new (EpiPersona, 5.3).

    similarity of a target = mean over the user's past choices of cos(e(target), e(past))

with e the embedding of the conversation, by the section's encoder. Targets are cut into up to five bins
within the data set, by quantiles of their similarity, as equal in size as equal similarities allow. A
bin's accuracy is the mean over users of their accuracy on their pairs in it; the drop is that of the most
minus that of the least similar bin, with all bins of all methods under the same draws of users.

Where conversations cannot tell choices apart (all are equal, or there is none), e is the embedding of the
responses on offer, of both options alike, and the picture says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from palate.core import Conversation, Corpus
from palate.evaluate.charts import Series
from palate.evaluate.facets._draw import KINDS, note, point, trend
from palate.evaluate.facets._people import People, Values, contrast, figures, gap, level, place, shown, within
from palate.evaluate.measured import Measured
from palate.models.features import embed, embed_texts

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
NAME, TITLE, VERSION = "episodes", "When people talk of something new", 1
BINS, LEAST = 5, 20
BLOCK = 1 << 15


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return accuracy by similarity bin of every method in every section."""
    return [_section(section) for section in sections]


def _section(section: Measured) -> Values:
    people, where = People(section), place(section)
    kind, similarity, edges = _similarities(people)
    if len(edges) < 3:
        why = "no target is more like its user's past choices than another"
        if not people.choices.any():
            why = "no user has a past choice"
        return {**where, "why": why}
    bins = np.clip(np.searchsorted(edges, similarity, side="right") - 1, 0, len(edges) - 2)
    bins = np.where(np.isnan(similarity), -1, bins)
    names = [*([section.control] if people.control is not None else []), *people.applied]
    tables = {m: _table(people, section.outcomes[m].applied, bins, len(edges) - 1) for m in names}
    methods = [_method(m, tables, section.control, m in people.personal) for m in names]
    return {
        **where,
        "by": kind,
        "edges": [round(float(e), 4) for e in edges],
        "bin_pairs": np.bincount(bins[bins >= 0], minlength=len(edges) - 1).tolist(),
        "methods": methods,
        "why": "",
    }


def _table(people: People, difference: Floats, bins: Ints, n_bins: int) -> Floats:
    """Return float64 [users, bins]: accuracy of each user in each bin, NaN without a pair there."""
    return np.column_stack([people.accuracy(difference, bins == b) for b in range(n_bins)])


def _method(name: str, tables: Mapping[str, Floats], control: str, personal: bool) -> Values:
    """Return a method's accuracy by bin and its drop; for its gain over the control the same."""
    mine = tables[name]
    drop = contrast(mine[:, -1], mine[:, 0])
    out = {"method": name, "personal": personal, "bins": figures(mine), "drop": drop}
    if control in tables and name != control:
        gain = mine - tables[control]
        out |= {"gains": figures(gain), "gain_drop": contrast(gain[:, -1], gain[:, 0])}
    return out


def _similarities(people: People) -> tuple[str, Floats, Floats]:
    """Return what was compared, float64 [decided], and the edges of the bins; below 3 there are none."""
    similarity = _by_conversation(people)
    edges = _edges(similarity)
    if len(edges) > 2:
        return "conversations", similarity, edges
    similarity = _by_response(people)
    return "responses", similarity, _edges(similarity)


def _edges(similarity: Floats) -> Floats:
    known = similarity[np.isfinite(similarity)]
    bins = min(BINS, len(known) // LEAST)
    if bins < 2 or np.ptp(known) < 1e-6:
        return np.zeros(0)
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)).round(9))


def _by_conversation(people: People) -> Floats:
    task = people.section.task
    corpus, context = task.context.corpus, task.context
    past = corpus.item_conversation[context.options[context.option_offsets[:-1]]]
    asked = corpus.item_conversation[task.targets.winner[people.decided]]
    used, local = np.unique(np.concatenate([past, asked]), return_inverse=True)
    if len(used) < 2:
        return np.full(len(asked), np.nan)
    texts = [_text(corpus.conversations[i]) for i in used.tolist()]
    unit = _unit(embed_texts(texts, people.section.encoder))
    user = task.targets.user[people.decided]
    return _cosine(unit, context.row_user, local[: len(past)], user, local[len(past) :], context.n_users)


def _by_response(people: People) -> Floats:
    task = people.section.task
    context, targets = task.context, task.targets.take(people.decided)
    owner = np.repeat(context.row_user, np.diff(context.option_offsets))
    unit = _unit(_responses(context.corpus, people.section.encoder))
    both = [
        _cosine(unit, owner, context.options, targets.user, item, context.n_users)
        for item in (targets.winner, targets.loser)
    ]
    return np.asarray((both[0] + both[1]) / 2)


def _responses(corpus: Corpus, encoder: str) -> Floats:
    return np.asarray(embed(corpus, encoder))


def _text(conversation: Conversation) -> str:
    return "\n".join(turn[1] for turn in conversation)


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _cosine(unit: Floats, owner: Ints, past: Ints, user: Ints, asked: Ints, n: int) -> Floats:
    """Return float64 [asked]: mean cosine to the past of the user; NaN for a user without any."""
    count = np.bincount(owner, minlength=n)
    share = (1.0 / count[owner]).astype(unit.dtype)
    history: Any = sp.coo_array((share, (owner, past)), shape=(n, len(unit))).tocsr()
    mean: Floats = history @ unit
    found = np.full(len(asked), np.nan)
    for start in range(0, len(asked), BLOCK):
        part = slice(start, start + BLOCK)
        found[part] = np.einsum("ij,ij->i", unit[asked[part]], mean[user[part]])
    return np.where(count[user] > 0, found, np.nan)


def tell(values: Mapping[str, Any]) -> str:
    """Say how far the leading method falls on what is new, and how far what it adds falls."""
    where = within(values)
    if values["why"]:
        return f"{where}, how methods do when people talk of something new cannot be told: {values['why']}."
    best = next((m for m in values["methods"] if m["personal"]), None)
    if best is None:
        return f"{where}, no personal method was scored, so nothing can be told of what is new to them."
    first, last, drop = best["bins"][0], best["bins"][-1], best["drop"]
    falls = {"up": "does worse", "down": "does better"}.get(shown(drop), "is not shown to do worse")
    by = f"likeness of {values['by']} to a user's past"
    if values["by"] == "responses":
        by += " (the conversations do not differ)"
    own = ""
    if "gains" in best:
        own = (
            f", while what it adds to one model for all goes from {gap(best['gains'][-1])} to "
            f"{gap(best['gains'][0])}, a fall of {gap(best['gain_drop'])}"
        )
    return (
        f"{where}, {best['method']} {falls} when people meet something new: by {by} it is right on "
        f"{level(last)} in the most like bin and {level(first)} in the least like, a fall of {gap(drop)} "
        f"({drop['users']:,} users){own}."
    )


def draw(values: Mapping[str, Any]) -> str:
    """Draw accuracy by bin: the control and the four best personal methods."""
    if values["why"]:
        return ""
    n = len(values["bin_pairs"])
    steps = ["least like", *(str(i + 1) for i in range(1, n - 1)), "most like"]
    chosen = [m for m in values["methods"] if m["personal"]][:4]
    series = [_series(m, KINDS[i], i) for i, m in enumerate(chosen)]
    series += [_series(m, "control", 4) for m in values["methods"] if m["method"] == values["control"]]
    label = f"Accuracy on {values['dataset']} by likeness of {values['by']} to the past"
    pairs = values["bin_pairs"]
    ends = [f"{edge:.2f}".replace("-", "−") for edge in values["edges"]]
    remark = (
        f"Accuracy in per cent. Bins of {min(pairs):,} to {max(pairs):,} target pairs by cosine of the "
        f"{values['by']} to the user's past, {ends[0]} to {ends[-1]}."
    )
    return trend(series, steps, label, x_name=f"likeness of {values['by']} to the past") + note(remark)


def _series(method: Mapping[str, Any], kind: str, shape: int) -> Series:
    name, n = method["method"], len(method["bins"])
    spots = [point(i, b, f"{name}, bin {i + 1} of {n}: {level(b)}") for i, b in enumerate(method["bins"])]
    return Series(name, [p for p in spots if p], kind, shape)
