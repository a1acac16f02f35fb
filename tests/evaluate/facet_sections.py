"""Made-up sections for the tests of the facets: people, tasks and outcomes whose truth is known."""

import re

import numpy as np

from palate.core.builder import PopulationBuilder
from palate.evaluate.cells import Outcome
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import new_users

SEED = 5


def people(
    users=60,
    context=8,
    target=6,
    talk=lambda u, i: f"question {u} {i}",
    answers=lambda u, i: ("yes", "no"),
    choose=lambda u, i: 0,
    learners=4,
):
    """Test users with ``context`` rows, the oldest, and ``target`` targets, and a few to learn from.

    ``context`` and ``target`` are numbers or functions of the user; ``talk``, ``answers``, ``choose`` give a
    row's conversation, its options and which one is chosen (-1: a tie), i counting a user's rows from 0.
    Learners are numbered from ``users`` on.
    """
    builder = PopulationBuilder()
    for u in range(users + learners):
        own = u < users
        name = f"user-{u:04d}"
        builder.add_user(name, role=2 if own else u % 2)
        before = context(u) if callable(context) else context
        after = target(u) if callable(target) else target
        for i in range(before + after):
            late = i >= before
            builder.add(
                name, talk(u, i), answers(u, i), choose(u, i), id=f"{u}-{i}", time=float(i), split=int(late)
            )
    return builder.build()


def task_of(population, name="toy"):
    return new_users(name, population)


def outcome(task, right, *, margin=1.0, gated=None, before=None, curve=None, extra=None, personal=True):
    """An outcome that is right where ``right`` [targets] says so; a curve is given by what is right at k."""
    seen = {k: scores(r, margin) for k, r in (curve or {}).items()}
    return Outcome(
        scores(right, margin),
        None if not personal else scores(right if gated is None else gated, margin),
        None,
        seen,
        {"fit": 0.0, "adapt": 0.0, "score": 0.0},
        None if before is None else scores(before, margin),
        {} if extra is None else extra,
    )


def scores(right, margin=1.0):
    return np.where(np.asarray(right, bool), margin, -margin).astype(np.float64)


def section(task, outcomes, **more):
    """A section; ``outcomes`` by name, the control called ``pooled``."""
    return Measured(task, "lexical", outcomes, **more)


def coin(task, share=0.5, seed=SEED):
    """Right on a random share of the targets."""
    return np.random.default_rng(seed).random(len(task.targets)) < share


def numbers(text):
    """Every number of an SVG attribute or style, to see that none is broken."""
    return re.findall(r'(?:x|y|x1|x2|y1|y2|width|height|points)="([^"]*)"', text)


def looks_whole(html):
    """A picture has text for those who do not see it, and no number that is none."""
    assert html.count("<svg") == html.count("</svg>")
    assert html.count("<g>") == html.count("</g>")
    assert "nan" not in " ".join(numbers(html)).lower()
    assert "inf" not in " ".join(numbers(html)).lower()
    assert "aria-label" in html
    return True


def one_sentence(text):
    """A sentence begins with a capital, ends with one full stop, and has no hole in it."""
    assert text[0].isupper()
    assert text.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", text), text
    assert "None" not in text
    assert "nan" not in text.split()
    return True
