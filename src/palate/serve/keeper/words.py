"""A persona as people read it: its statements, the choices behind each, how it did, how settled it is."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from palate.core import Claim, Method, Persona, Revises
from palate.serve.keeper.edits import Believed, direction, edited, how_applied, with_said
from palate.serve.keeper.held import Held, told
from palate.serve.keeper.making import made
from palate.serve.store import Store, choices
from palate.serve.store.personas import KeptEdit
from palate.serve.wire.persona import PersonaShown, QuoteShown, Statement, VerdictShown

__all__ = ["believed", "find_words", "quoted", "shown", "statements", "teller"]

QUOTES = 3
"""Choices that are quoted for a statement, and as many against it."""
_SHORT = 160  # characters of a quote
_TURN = {"lock": "locked", "set": "said", "say": "said", "forget": "forgotten"}
Turns = dict[tuple[str, str, str], float]


def teller(held: Held) -> Method:
    """Return the method that finds a persona's words: the one that ranks, where that writes any."""
    method, words = held.served.method, held.served.words
    own = held.corrected.claims or held.corrected.text
    return method if own or words is None else words


def find_words(store: Store, tenant: str, held: Held) -> Persona:
    """Return a persona in words, with the person's corrections and the verdict of what ranks.

    Words are found in the whole history, for steps move those that were found and find no new ones.
    """
    finds = teller(held)
    own = finds is held.served.method
    if not own and held.kept_words is not None:
        words = Persona.from_json(held.kept_words)
    elif held.state is None or (own and (held.exact or not held.served.cheap)):
        words = held.corrected
    else:
        assert held.user is not None
        with store.read() as c:
            history = choices.history(c, tenant, held.user)
        words = edited(finds, made(finds, [history])[0], held.edits, own=own)
    return replace(with_said(words, held.edits), user=held.user, verdict=held.corrected.verdict)


def believed(held: Held) -> Believed:
    """Return what corrections refer to."""
    return Believed(held.served.method, held.corrected, teller(held), held.told_words)


def shown(
    held: Held, bodies: Mapping[str, Mapping[str, Any]], settled: float, time: float | None, turns: Turns
) -> PersonaShown:
    """Put a persona into the shape that is sent.

    Args:
        held: The persona.
        bodies: The choices that are quoted, by name; see :func:`quoted`.
        settled: How near it is to more choices changing nothing.
        time: When it was written down last.
        turns: Which way sentences point, remembered between calls.
    """
    words, verdict = held.told_words, held.corrected.verdict
    return PersonaShown(
        user=held.user or "",
        version=held.version,
        text=words.text,
        statements=statements(words, held.edits, bodies, teller(held), held.served.fingerprint, turns),
        method=held.served.label,
        model=held.served.fingerprint,
        choices=held.choices,
        pending=held.pending,
        exact=held.exact,
        verdict=None if verdict is None else VerdictShown(**asdict(verdict)),
        told=told(held),
        weight=held.weight,
        apply=how_applied(held.edits),  # type: ignore[arg-type]
        settled=settled,
        updated=time,
    )


def statements(
    words: Persona,
    edits: Iterable[KeptEdit],
    bodies: Mapping[str, Mapping[str, Any]],
    teller: Method | None = None,
    model: str = "",
    turns: Turns | None = None,
) -> list[Statement]:
    """Return a persona's statements, those that stand first and the strongest of them first.

    What the person had forgotten is listed last, so that it can be taken back.
    """
    rows = {edit.about: edit for edit in edits if edit.do != "apply"}
    found = []
    for claim in words.claims:
        edit = rows.pop(claim.about, None)
        state = _TURN[edit.do] if edit else "found" if claim.kept else "dropped"
        shift = None if teller is None else _shift(teller, words, claim, model, turns)
        found.append(_statement(claim, state, shift, bodies))
    for edit in rows.values():
        if edit.do == "forget":
            text = edit.text or edit.about
            found.append(_statement(Claim(text, 0.0, 0.0, 0.0, about=edit.about), "forgotten", 0.0, {}))
    last = {"dropped": 1, "forgotten": 2}
    return sorted(found, key=lambda s: (last.get(s.state, 0), -abs(s.strength)))


def _statement(
    claim: Claim, state: str, shift: float | None, bodies: Mapping[str, Mapping[str, Any]]
) -> Statement:
    return Statement(
        about=claim.about,
        headline=claim.headline,
        text=claim.text,
        strength=claim.strength,
        low=claim.low,
        high=claim.high,
        shift=shift,
        supports=_quotes(claim.supports, bodies),
        contradicts=_quotes(claim.contradicts, bodies),
        n_supports=len(claim.supports),
        n_contradicts=len(claim.contradicts),
        state=state,  # type: ignore[arg-type]
    )


def _shift(teller: Method, words: Persona, claim: Claim, model: str, turns: Turns | None) -> float | None:
    """Return how far a taste lies from the average user's, the way the sentence points."""
    shift = teller.shift_of(words, claim.about) if isinstance(teller, Revises) else None
    if not shift:
        return shift
    key = (model, claim.about, claim.headline)
    turn = (turns or {}).get(key)
    if turn is None:
        turn = direction(teller, words, claim)
        if turns is not None and len(turns) < 10_000:
            turns[key] = turn
    return turn * shift


def quoted(words: Persona) -> list[str]:
    """Return the names of the choices that are quoted behind a persona's statements."""
    ids = [
        id for claim in words.claims for part in (claim.supports, claim.contradicts) for id in part[:QUOTES]
    ]
    return list(dict.fromkeys(ids))


def _quotes(ids: tuple[str, ...], bodies: Mapping[str, Mapping[str, Any]]) -> list[QuoteShown]:
    return [_quote(id, bodies[id]) for id in ids[:QUOTES] if id in bodies]


def _quote(id: str, body: Mapping[str, Any]) -> QuoteShown:
    responses, ratings = body["responses"], body.get("ratings")
    chosen = body.get("chosen")
    if ratings:
        chosen = int(np.argmax(ratings))
    best = 0 if chosen is None else chosen
    other = int(np.argmin(ratings)) if ratings else 1 if best == 0 else 0
    asked = next((t["content"] for t in reversed(body["conversation"]) if t["role"] == "user"), "")
    return QuoteShown(
        key=str(body.get("key", id)),
        asked=_short(asked),
        chosen=_short(responses[best]),
        other=_short(responses[other]),
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1].rstrip() + "…"
