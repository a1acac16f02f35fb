"""Whom personalizing helps, leaves alone and harms, and how far chance could do the same.

Each user's targets are answered by the method with their persona, and compared with two answers that know
nothing of them: the control's, and the method's own for an empty history. Both are told with the persona
always applied and with the gate, which applies it as far as the user's past supports it.

    helped, harmed   share of users whose accuracy on their targets rose, fell; the rest is left alone
    chance           share that would be harmed (as many helped) were each pair that turned, from wrong to
                     right or back, a coin toss: mean over users of P(Binomial(turned, 1/2) < turned / 2)
    loss_gain        fall of a user's mean log-loss in nats: above zero the method gives what they chose a
                     higher probability than before. Accuracy moves in steps of one choice; this does not.
    worse_off        share of users whose log-loss rose
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from palate.evaluate.facets._draw import Dot, Row, note, parts, rows, titled
from palate.evaluate.facets._people import People, Values, figures, level, place, plain, within
from palate.evaluate.measured import Measured
from palate.numerics.design import log_loss

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

Floats = NDArray[np.floating[Any]]
NAME, TITLE, VERSION = "harm", "Whom it helps, whom it harms", 1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
EQUAL = 1e-9


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Compare every personal method with both answers that know nothing of the user, gated and not."""
    found = [{**place(section), "methods": _methods(section)} for section in sections]
    return [values for values in found if values["methods"]]


def _methods(section: Measured) -> list[Values]:
    people, control = People(section), section.outcomes.get(section.control)
    out = []
    for name in people.personal:
        outcome = section.outcomes[name]
        plain_ = None if control is None else control.applied
        empty = outcome.curve.get(0)
        gated_empty = empty if outcome.gated_before is None else outcome.gated_before
        both = [(name, outcome.applied, empty)]
        if outcome.gated is not None:
            both.append((f"{name}+gate", outcome.gated, gated_empty))
        out += [
            {
                "method": label,
                "gated": label != name,
                "control": None if plain_ is None else _compare(people, scores, plain_),
                "empty": None if own is None else _compare(people, scores, own),
            }
            for label, scores, own in both
        ]
    return out


def _compare(people: People, after: Floats, before: Floats) -> Values:
    """Return who is helped and harmed when ``after`` takes the place of ``before``, float64 [targets]."""
    target = people.section.task.targets.target[people.decided]
    a, b = after[people.decided], before[people.decided]
    gain = people.accuracy(after) - people.accuracy(before)
    loss = people.mean(log_loss(b, target) - log_loss(a, target))
    turned = np.rint(people.mean((np.sign(a) != np.sign(b)).astype(np.float64)) * people.pairs)
    shares = [gain > EQUAL, np.abs(gain) <= EQUAL, gain < -EQUAL, loss < -EQUAL]
    found = figures(np.column_stack([*shares, loss]).astype(np.float64))
    names = ("helped", "left alone", "harmed", "worse_off", "loss_gain")
    return {
        **dict(zip(names, found, strict=True)),
        "chance": plain(float(_below_half(turned).mean())),
        "quantiles": [plain(float(q)) for q in np.quantile(loss, QUANTILES)],
    }


def _below_half(n: Floats) -> Floats:
    """Return P(Binomial(n, 1/2) < n / 2) of each n.

    >>> _below_half(np.array([0.0, 1.0, 2.0])).round(6)
    array([0.  , 0.5 , 0.25])
    """
    half = np.floor(n / 2)
    even = np.exp(gammaln(n + 1) - 2 * gammaln(half + 1) - n * np.log(2.0))
    return np.asarray((1 - np.where(n == 2 * half, even, 0.0)) / 2)


def tell(values: Mapping[str, Any]) -> str:
    """Say how many users the leading method helps and harms, with and without the gate."""
    best = values["methods"][0]
    found, whom = (
        (best["control"], "one model for all") if best["control"] else (best["empty"], "its empty answer")
    )
    if not found:
        return (
            f"{within(values)}, nothing was scored to compare {best['method']} with, so harm cannot be told."
        )
    gate = next((m for m in values["methods"] if m["method"] == f"{best['method']}+gate"), None)
    kept = gate and (gate["control"] or gate["empty"])
    gated = f" (with the gate {level(kept['helped'])} and {level(kept['harmed'])})" if kept else ""
    chance = f"coin tosses on as many turned choices would harm {100 * found['chance']:.0f} %"
    return (
        f"{within(values)}, against {whom} {best['method']} helps {level(found['helped'])} of "
        f"{found['helped']['users']:,} users and harms {level(found['harmed'])}{gated}, where {chance}; "
        f"{_told_loss(found['loss_gain'])}, and rises for {level(found['worse_off'])} of users."
    )


def _told_loss(found: Mapping[str, Any]) -> str:
    """Say the mean change of log-loss; ``found`` is its fall.

    >>> _told_loss({"value": -0.02, "low": -0.03, "high": 0.01})
    'log-loss changes by +0.020 nats [−0.010, +0.030] on average, where less is better'
    """
    ends = "" if found["low"] is None else f" [{_nats(-found['high'])}, {_nats(-found['low'])}]"
    return f"log-loss changes by {_nats(-found['value'])} nats{ends} on average, where less is better"


def _nats(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def draw(values: Mapping[str, Any]) -> str:
    """Draw the shares against both answers, and how users' log-loss changed against the control."""
    panels = []
    for name, title in (
        ("control", f"Against {values['control']}"),
        ("empty", "Against its own answer before any choice"),
    ):
        table = [(m["method"], m[name]) for m in values["methods"] if m[name]][:8]
        panels.append(titled(title, parts(table)) if table else "")
    boxes = [_box(m) for m in values["methods"] if m["control"]][:8]
    strips = rows(
        boxes,
        f"Change in users' log-loss on {values['dataset']}",
        signed=True,
        factor=1.0,
        x_name="fall in log-loss, nats",
    ) if boxes else ""  # fmt: skip
    remark = (
        f"{values['users']:,} users, {values['pairs']:,} target choices. Right of the line a method gives a "
        "higher probability to what a user chose. Dot: the median user; thick: half; thin: nine in ten."
    )
    return "".join(panels) + titled(f"How sure it became, against {values['control']}", strips) + note(remark)


def _box(method: Mapping[str, Any]) -> Row:
    low, first, middle, third, high = method["control"]["quantiles"]
    text = (
        f"{method['method']}: median {middle:+.3f} nats, half of the users {first:+.3f} to {third:+.3f}, "
        f"nine in ten {low:+.3f} to {high:+.3f}"
    )
    kind = "same" if method["gated"] else "s0"
    dot = Dot(middle, text, kind, 1 if method["gated"] else 0, low, high, (first, third))
    return Row(method["method"], [dot], _nats(middle))
