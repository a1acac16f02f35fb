"""The report as one HTML page: no network, no third party, light and dark, from a phone to a wall.

>>> page = render({"schema": "palate-report/2", "rows": [], "datasets": [], "methods": []})
>>> page.startswith("<!doctype html>")
True
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import orjson

from palate.evaluate import page_figures as figures
from palate.evaluate import page_tables as tables
from palate.evaluate import page_tried as tried
from palate.evaluate.cards import draw as draw_cards
from palate.evaluate.charts import esc
from palate.evaluate.page_findings import Finding, findings
from palate.evaluate.page_reading import Section

__all__ = ["document", "headline", "render"]

_MOST_ROWS = 200  # people shown for one method
_ALL_ROWS = 6400  # people shown on one page, so that ten data sets still open at once
_VERDICTS = {
    "helps": "Yes",
    "shared": "Not shown",
    "harms": "No, it harms",
    "unshown": "Not shown",
    "unknown": "Cannot be told",
}
_CARDS = "What was published of each method, beside ours, and what differs"
_PROTOCOLS = {
    "new-users": "Users, not choices, are split: methods learn from some users, their settings are chosen on "
    "others, and they are scored on a third group whom they have never seen. Of each unseen user they "
    "see the earlier conversations (context) and must predict the choices of the later ones (target).",
    "seen-users": "Methods learn from so many pairs of all users together, dealt evenly, see the same pairs "
    "of a user when they adapt, and must predict the same users' later choices, which no size has seen. "
    "A conversation, or two choices with an answer in common, are never on both sides.",
}
_MEASURES = (
    ("Accuracy", "share of target pairs whose chosen answer got the higher score (a tie counts half), "
     "averaged within a user and then over users."),
    ("Interval", "95 %, from {bootstrap} resamples of users (not of pairs). Intervals are not widened for "
     "looking at several methods at once."),
    ("Better, worse", "▲ ▼ only where the paired interval of the difference on the same users and pairs "
     "excludes zero; ○ means that the two cannot be told apart here."),
    ("From their choices", "the method's accuracy minus its own before it has seen any choice of the user, "
     "on the same users. What it beats the control by beyond that is its shared model, not that it knows "
     "the user."),
    ("Log-loss, calibration error", "how far the stated probabilities are from what came true; lower is "
     "better."),
    ("Worst tenth", "mean accuracy of the tenth of users that the method predicts worst."),
    ("Helped, left alone, harmed", "users whose accuracy on their own target pairs is above, equal to and "
     "below the control's. With few pairs a user, part of both is chance."),
    ("Seconds, memory", "fit once; adapt to 1,000 users; score 1,000 pairs. Memory: the most that these held "
     "above what was held before, embeddings that were in memory left out."),
)  # fmt: skip


def headline(report: Mapping[str, Any]) -> list[str]:
    """The report's answer, a few honest sentences for every data set and encoder.

    Personalization is said to help only if a method's paired interval over the control excludes zero, and
    that over its own answer before any choice of the user does too. Raises ``ConfigError`` for a report of
    another schema.
    """
    return [" ".join(finding.sentences) for finding in findings(report)]


def render(report: Mapping[str, Any]) -> str:
    """The whole page as one string. Raises ``ConfigError`` for a report of another schema."""
    found = findings(report)
    anchors = [f"part-{i}" for i in range(1, len(found) + 1)]
    count = sum(len(f.section.users) for f in found)
    most = min(_MOST_ROWS, max(20, _ALL_ROWS // max(1, count)))
    parts = [_part(finding, anchor, most) for finding, anchor in zip(found, anchors, strict=True)]
    names = ", ".join(dict.fromkeys(f.section.dataset for f in found)) or "nothing scored"
    main = f"<main>{_answer(found, anchors)}{''.join(parts)}{_method(report, found)}</main>"
    return document(f"Palate: {names}", f"{_top(report)}{main}{_foot(report)}")


def document(title: str, body: str) -> str:
    """The shell: styles and the small script inline, and a policy that forbids everything else."""
    home = files("palate.evaluate")
    css, script = (home.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    mark = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{mark}'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{esc(title)}</title><style>{css}</style></head>\n"
        f"<body>{body}<script>{script}</script></body></html>\n"
    )


def _top(report: Mapping[str, Any]) -> str:
    return (
        '<a class="skip" href="#answer">Skip to the answer</a>'
        '<header class="top"><span class="mark">Palate</span>'
        f"<span>{esc(_when(report.get('created')))}</span>"
        f"<span>version {esc(report.get('palate', '?'))}</span></header>"
        + "".join(f'<p class="fake" role="note">{esc(text)}</p>' for text in report.get("fakes", ()))
    )


def _when(created: Any) -> str:
    """A date that people read; what is no date is shown as it is."""
    try:
        moment = datetime.fromisoformat(str(created).replace("Z", "+00:00"))
    except ValueError:
        return str(created or "no date")
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()


def _answer(found: Sequence[Finding], anchors: Sequence[str]) -> str:
    """The question, its answer for every section, and all of them at a glance."""
    items = []
    for finding, anchor in zip(found, anchors, strict=True):
        told = tables.prose(finding.sentences[0])
        link = f' <a href="#{anchor}" aria-label="The figures of {esc(finding.section.dataset)}">figures</a>'
        items.append(
            f'<li class="{finding.verdict}"><span class="verdict">{_VERDICTS[finding.verdict]}</span>'
            f"<p>{told}{link if len(found) > 1 else ''}</p></li>"
        )
    body = f'<ul class="{"many" if len(found) > 2 else "few"}">{"".join(items)}</ul>'
    if not found:
        body = "<p>The report holds no figures: nothing was scored.</p>"
    glance = ""
    if len(found) > 1:
        board = tables.matrix([f.section for f in found], anchors)
        glance = f"<h2>At a glance</h2>{board}{_key(found[0].section)}"
    return f'<section id="answer" class="answer"><h1>Does personalization help?</h1>{body}{glance}</section>'


def _key(section: Section, more: str = "") -> str:
    """What the three signs mean."""
    control = esc(section.label(section.control))
    return (
        f'<p class="key"><span><i class="better">▲</i> better than {control}</span> '
        '<span><i class="worse">▼</i> worse</span> <span><i class="same">○</i> not told apart</span> '
        f"<span>by the 95 % paired interval over users</span>{more}</p>"
    )


def _part(finding: Finding, anchor: str, most: int) -> str:
    """Everything on one data set with one encoder."""
    section = finding.section
    rest = "".join(f"<p>{tables.prose(sentence)}</p>" for sentence in finding.sentences[1:])
    world = ' <span class="tag">simulated</span>' if section.facts.get("simulated") else ""
    drawn = "".join(draw(section) for draw in figures.ALL)
    facets = figures.facets(section)
    more = (
        f'<h3 class="facets">What personalization does here</h3><div class="figures">{facets}</div>'
        if facets
        else ""
    )
    searched = "".join(tried.draw(value) for value in section.tried)
    more += f'<div class="figures">{searched}</div>' if searched else ""
    where = " · ".join(part for part in (section.encoder, section.setting) if part)
    scale = f" <span>thin line: {esc(section.label(section.control))}; ◀ beyond the scale</span>"
    scale += " <span>their choices: over its answer before any</span>"
    board = f"<h3>Leaderboard</h3>{tables.leaderboard(section)}{_key(section, scale)}"
    return (
        f'<section id="{anchor}" class="part" aria-labelledby="{anchor}-name"><header><h2 id="{anchor}-name">'
        f"{esc(section.dataset)}{world} <small>{esc(where)}</small></h2>"
        f'<p class="facts">{_facts(section)}</p>{rest}</header>{board}'
        f'<div class="figures">{drawn}</div>{more}{figures.changes(section)}{_people(section, most)}'
        f"{_numbers(section)}</section>"
    )


def _facts(section: Section) -> str:
    """The section's n, in words."""
    facts = section.facts
    told = [
        f"{facts[key]:,} {words}"
        for key, words in (
            ("scored_users", "users scored"),
            ("target_pairs", "target pairs"),
            ("context_pairs", "context pairs"),
            ("train_users", "users learned from"),
            ("val_users", "users chosen on"),
        )
        if isinstance(facts.get(key), int)
    ]
    return esc(" · ".join(told))


def _people(section: Section, most: int) -> str:
    """The per-user tables."""
    order = [m for m in section.scored() if m in section.users]
    order += [m for m in section.users if m not in order]
    body = "".join(tables.people(section, m, most) for m in order if section.users[m])
    if not body:
        return ""
    return f'<details><summary>User by user, in numbers</summary><div class="nest">{body}</div></details>'


def _numbers(section: Section) -> str:
    """The numbers behind the curves."""
    if not any(section.curves.values()):
        return ""
    return (
        "<details><summary>Accuracy by number of context pairs, in numbers</summary>"
        f"{tables.curve_numbers(section)}</details>"
    )


def _method(report: Mapping[str, Any], found: Sequence[Finding]) -> str:
    """How it was measured, how to run it again, what failed, and notes."""
    config = report.get("config") or {}
    protocols = dict.fromkeys(f.section.kind for f in found)
    told = "".join(f"<p>{_PROTOCOLS.get(p, f'Protocol: {esc(p)}.')}</p>" for p in protocols if p)
    resamples = f"{config['bootstrap']:,}" if isinstance(config.get("bootstrap"), int) else "many"
    measures = "".join(f"<dt>{a}</dt><dd>{b.format(bootstrap=resamples)}</dd>" for a, b in _MEASURES)
    about = tables.about_methods(report)
    cards = draw_cards(report.get("cards") or [])
    failures = "".join(_failures(f.section) for f in found)
    notes = "".join(f"<li>{esc(note)}</li>" for note in report.get("notes") or [])
    command = esc(report.get("command") or "the report does not hold its command")
    return (
        f'<section id="how"><h2>How it was measured</h2><div class="two"><div>{told}</div>'
        f'<dl class="measures">{measures}</dl></div>{tables.splits(report)}'
        + (f"<details><summary>The methods and their settings</summary>{about}</details>" if about else "")
        + (f"<details><summary>{_CARDS}</summary><div class='nest'>{cards}</div></details>" if cards else "")
        + (f'<h3>What failed</h3><ul class="failures">{failures}</ul>' if failures else "")
        + (f"<h3>Notes</h3><ul>{notes}</ul>" if notes else "")
        + f'<h3>Run it again</h3><div class="run"><pre><code id="command">{command}</code></pre></div>'
        + f"<details><summary>Every setting</summary><pre>{esc(_settings(config))}</pre></details></section>"
    )


def _failures(section: Section) -> str:
    """What failed in a section, as items of a list."""
    where = ", ".join(part for part in (section.dataset, section.setting, section.encoder) if part)
    told = [
        f"<li><b>{esc(section.label(method))}</b> on {esc(where)}<code>{esc(text[:2000])}</code></li>"
        for method, text in section.failures.items()
    ]
    told += [f"<li>On {esc(where)}<code>{esc(text[:2000])}</code></li>" for text in section.faults]
    return "".join(told)


def _settings(config: Any) -> str:
    """The configuration, indented."""
    return orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode()


def _foot(report: Mapping[str, Any]) -> str:
    version = esc(report.get("palate", "?"))
    return f"<footer>Drawn by Palate {version} from report.json ({esc(report['schema'])}).</footer>"
