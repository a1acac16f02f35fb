"""Personas that one model wrote, used by another: accuracy and win rate of every writer and every reader.

For writers w and readers r, with the personas of w handed to r as words alone, and 0 for no persona,

    accuracy_wr   mean over users of how often r's score puts the chosen answer first
    gain_wr       accuracy_wr - accuracy_0r, paired by user
    win_wr        win rate of what r writes for them over what r writes for nobody, where r writes and a judge
                  is given; of users whose profile is known or whose persona has words
    kept_wr       gain_wr / gain_ww: how much of the gain at its own reader a writer's persona keeps at
                  another; only where writer and reader bear one name

Nothing is fitted to a pair of models. Any fitted method can stand on either side.

Source: POPI, 5.3 (summaries handed to frozen generators); "SynthesizeMe!", 6.3. Departs: accuracy beside win
rates, intervals over users.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Generates, Method, Pairs, Personas, Population, Queries
from palate.evaluate.compare_writing import judge_answers
from palate.evaluate.facets._people import Values, figures
from palate.evaluate.facets._writing_asked import words_alone, write, write_base
from palate.evaluate.facets._writing_figures import over_users, verdicts
from palate.evaluate.facets.transfer import right_of
from palate.evaluate.versus import Versus
from palate.evaluate.writing import Writing

__all__ = ["crossed"]

Floats = NDArray[np.floating[Any]]


def crossed(
    written: Mapping[str, Personas],
    readers: Mapping[str, Method],
    people: Population,
    targets: Pairs,
    settings: Writing | None = None,
) -> Values:
    """Return the whole matrix.

    Args:
        written: By the writer's name, personas of all of ``people``, in their order.
        readers: Fitted methods by name.
        people: The users.
        targets: Decided pairs to pick from; ``user`` counts over ``people.users``.
        settings: Who judges what readers write; None judges nothing. Profiles are those of the settings,
            else the personas' own words.

    Returns:
        ``writers`` and ``readers`` (names), ``default`` (a figure a reader), and by writer and reader
        ``accuracy``, ``gain``, ``kept`` (None where there is no own reader) and ``wins`` (None where nothing
        was written).
    """
    users, local = np.unique(targets.user, return_inverse=True)
    asked, count = replace(targets, user=local), np.bincount(local)
    handed = {name: Personas.of(_some(personas, users)) for name, personas in written.items()}
    nobody = Personas.average(len(users))

    def mean(reader: Method, personas: Personas) -> Floats:
        right = right_of(reader, Queries.of_pairs(personas, people.corpus, asked))
        return np.bincount(local, weights=right, minlength=len(users)) / count

    default = {r: mean(reader, nobody) for r, reader in readers.items()}
    accuracy = {w: {r: mean(reader, p) for r, reader in readers.items()} for w, p in handed.items()}
    gain = {w: {r: row[r] - default[r] for r in readers} for w, row in accuracy.items()}
    return {
        "writers": list(handed),
        "readers": list(readers),
        "users": len(users),
        "pairs": len(targets),
        "default": figures(np.column_stack(list(default.values()))),
        "accuracy": [figures(np.column_stack(list(row.values()))) for row in accuracy.values()],
        "gain": [figures(np.column_stack(list(row.values()))) for row in gain.values()],
        "kept": [[_kept(row[r], row.get(w)) for r in readers] for w, row in gain.items()],
        "wins": [
            [_wins(reader, p, people, asked, settings) for reader in readers.values()]
            for p in handed.values()
        ],
    }


def _some(personas: Personas, users: NDArray[np.int64]) -> list[Any]:
    return words_alone([personas[u] for u in users.tolist()])


def _kept(gain: Floats, own: Floats | None) -> Values | None:
    """Return the share of a gain that is kept, with its interval over users."""
    if own is None:
        return None
    columns = np.column_stack([gain, own])
    return over_users(np.arange(len(gain)), columns, lambda s: np.asarray(s[..., 0] / s[..., 1]))


def _wins(
    reader: Method, personas: Personas, people: Population, targets: Pairs, settings: Writing | None
) -> Values | None:
    """Return what a reader writes for personas against what it writes for nobody."""
    if settings is None or not isinstance(reader, Generates):
        return None
    told = [settings.profiles.get(p.user or "", p.text or "") for p in personas]
    chosen = [i for i, user in enumerate(targets.user.tolist()) if told[user]][: settings.answers]
    whom = [personas[int(targets.user[i])] for i in chosen]
    talks = [people.corpus.conversation(int(targets.winner[i])) for i in chosen]
    profiles = [told[int(targets.user[i])] for i in chosen]
    mine, base = write(reader, whom, talks, settings), write_base(reader, talks, settings)
    names = [p.user or "" for p in whom]
    versus = [Versus(*each) for each in zip(talks, mine, base, profiles, names, strict=True)]
    return verdicts(judge_answers(versus, settings))
