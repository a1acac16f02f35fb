"""The honest sentences of a report: for every section whether personalization helps there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palate.evaluate.page_reading import Figure, Section, percent, points, sections, stance

__all__ = ["Finding", "findings"]

_WHOSE = {"new-users": "unseen users' choices", "seen-users": "held-back choices of users it learned from"}


class Finding(NamedTuple):
    """A section's answer: ``verdict`` is helps, shared, harms, unshown or unknown.

    ``shared`` is better than the control, but not shown to be so by knowing the user.
    """

    section: Section
    verdict: str
    sentences: list[str]


def findings(report: Mapping[str, Any]) -> list[Finding]:
    """For every section whether personalization helps there, in one to three honest sentences."""
    found = sections(report)
    several = len({section.encoder for section in found}) > 1
    return [_finding(section, several) for section in found]


def _finding(section: Section, several: bool) -> Finding:
    """The answer of one section."""
    where = f"On {section.dataset}" + (f" with {section.encoder}" if several else "")
    where += f" after {section.size:,} training pairs" if section.size else ""
    verdict, first = _answer(section, where)
    rest = [_tally(section), _ceiling(section), _failed(section)]
    return Finding(section, verdict, [first, *(sentence for sentence in rest if sentence)])


def _answer(section: Section, where: str) -> tuple[str, str]:
    """The verdict and its sentence."""
    scored, lead = section.scored(), section.lead()
    if not scored:
        return "unknown", f"{where} no method was scored, so nothing can be said."
    if lead is None:
        best = next((m for m in scored if section.flag(m, "control")), scored[0])
        return "unknown", (
            f"{where}, {section.label(best)} predicts {_accuracy(section, best)}; no personal "
            "method was scored beside it, so whether personalization helps cannot be told."
        )
    difference = section.get(lead, "accuracy", paired=True)
    name, reach = section.label(lead), _accuracy(section, lead)
    ranks = sum(not section.flag(m, "gated") for m in section.personal())
    most = f"{name}, the most accurate of {ranks} personal methods," if ranks > 1 else name
    pooled = f"the {section.label(section.control)} model"
    shown = stance(difference)
    if difference is None or shown == "unknown":
        return "unknown", (
            f"{where}, {name} predicts {reach}; it was not compared with {pooled} on the same "
            "users, so whether personalization helps cannot be told."
        )
    gap, users, own = _gap(difference), _touched(section, lead), _own(section, lead)
    if shown == "better":
        return _better(section, lead, where, f"{gap} more")
    if shown == "same":
        return "unshown", (
            f"{where}, personalization is not shown to help: {most} predicts {reach}, "
            f"{points(difference.value)} points {_between(difference)} against {pooled}, "
            f"an interval that includes zero{own}{users}."
        )
    every = all(stance(section.get(m, "accuracy", paired=True)) == "worse" for m in section.personal())
    says = "personalization does harm" if every else "personalization is not shown to help"
    return "harms" if every else "unshown", (
        f"{where}, {says}: {most} predicts {reach}, {gap} fewer than {pooled}{own}{users}."
    )


def _better(section: Section, lead: str, where: str, more: str) -> tuple[str, str]:
    """The verdict on a method that is shown better than the control: is it because it knows the user?"""
    name, reach = section.label(lead), _accuracy(section, lead)
    pooled = f"the {section.label(section.control)} model"
    users, own, learned = _touched(section, lead), _own(section, lead), section.learned(lead)
    if learned == "better":
        return "helps", f"{where}, {name} predicts {reach}, {more} than {pooled}{own}{users}."
    if learned == "unknown":
        return "unknown", (
            f"{where}, {name} predicts {reach}, {more} than {pooled}{users}; it was not compared with its "
            "own answer before any choice of the user, so whether it helps to know them cannot be told."
        )
    why = "an interval that includes zero" if learned == "same" else "which makes it worse"
    return "shared", (
        f"{where}, {name} is better than {pooled}, but not because it knows the user: it predicts {reach}, "
        f"{more}{own}, {why}{users}."
    )


def _own(section: Section, method: str) -> str:
    """``; the users' own choices add +4.0 points [+2.0, +6.0]``, where that was measured."""
    figure = section.get(method, "from_choices")
    if figure is None or figure.low is None or figure.high is None:
        return ""
    return f"; the users' own choices add {points(figure.value)} points {_between(figure)}"


def _accuracy(section: Section, method: str) -> str:
    """``79.8 % [78.2, 81.3] of unseen users' choices``."""
    figure = section.get(method, "accuracy") or Figure(math.nan)
    interval = (
        ""
        if figure.low is None or figure.high is None
        else (f" [{figure.low * 100:.1f}, {figure.high * 100:.1f}]")
    )
    return f"{percent(figure.value)}{interval} of {_WHOSE.get(section.kind, 'held-back choices')}"


def _gap(difference: Figure) -> str:
    """The size of a difference whose sign the sentence says in words: ``6.6 points [5.1, 8.0]``."""
    ends = sorted(abs(end) for end in (difference.low or 0.0, difference.high or 0.0))
    return f"{abs(difference.value) * 100:.1f} points [{ends[0] * 100:.1f}, {ends[1] * 100:.1f}]"


def _between(difference: Figure) -> str:
    return f"[{points(difference.low)}, {points(difference.high)}]"


def _touched(section: Section, method: str) -> str:
    """``; it helped 61 % of 430 users and harmed 18 %``, where that was counted."""
    helped, harmed = section.get(method, "helped"), section.get(method, "harmed")
    if helped is None or harmed is None:
        return ""
    of = f"of {helped.users:,} users" if helped.users else "of users"
    return f"; it helped {percent(helped.value, 0)} {of} and harmed {percent(harmed.value, 0)}"


def _tally(section: Section) -> str:
    """How many personal methods are better, worse, and neither."""
    personal = [m for m in section.personal() if not section.flag(m, "gated")]
    seen = [stance(section.get(m, "accuracy", paired=True)) for m in personal]
    if len(personal) < 2 or "unknown" in seen:
        return ""
    counts = [
        (seen.count("better"), "better than"),
        (seen.count("worse"), "worse than"),
        (seen.count("same"), "not told apart from"),
    ]
    told = [
        f"{n if n < len(personal) else 'all'} {'is' if n == 1 else 'are'} {words} "
        f"the {section.label(section.control)} model"
        for n, words in counts
        if n
    ]
    told = told[:1] + [text.replace(f"the {section.label(section.control)} model", "it") for text in told[1:]]
    better = [m for m in personal if section.helped(m)]
    taught = sum(section.learned(m) == "better" for m in better)
    by = (
        f" {taught or 'None'} of those better gained by the users' own choices."
        if taught < len(better)
        else ""
    )
    return f"Of {len(personal)} personal methods {_listed(told)}.{by}"


def _ceiling(section: Section) -> str:
    """What the bounds of a simulated world reach."""
    told = []
    for method in (m for m in section.scored() if section.flag(m, "bound")):
        figure = section.get(method, "accuracy")
        told.append(f"{section.label(method)} {percent(figure.value if figure else None)}")
    return f"Known bounds of this simulated world: {_listed(told)}." if told else ""


def _failed(section: Section) -> str:
    names = [section.label(method) for method in section.failures]
    if not names:
        return ""
    return f"{len(names)} method{'s' if len(names) > 1 else ''} failed: {_listed(names)}."


def _listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
