"""Worlds whose right answers are known, and how well a method does in them."""

from functools import lru_cache

import numpy as np

from palate.catalogue import build
from palate.evaluate.protocol import new_users
from palate.feedback.world import World
from palate.gate import differences

# fewer candidates of mixed are as good here, and much faster
FIELDS = {
    "mixed": {"ranks": (1, 2), "personals": (1.0,), "shareds": (1.0,), "groups": (2,)},
    "gpo": {"steps": 300},
    "vpl": {"steps": 400},
}
INDUCING = 400


@lru_cache(maxsize=4)
def task_of(world):
    return new_users("world", world.sample().population, simulated=True)


@lru_cache(maxsize=32)
def fitted(name, world):
    fields = dict(FIELDS.get(name, {}))
    if name == "mixed" and world != ONE:  # where all agree, every item's own merit counts
        fields["inducing"] = INDUCING
    return build(name, fields).fit(task_of(world).fit_on)


@lru_cache(maxsize=32)
def log_odds(name, world, contexts=None):
    """The log-odds of every target pair's winner, for users never seen, from their first choices."""
    task, method = task_of(world), fitted(name, world)
    context = task.context if contexts is None else task.context.head(contexts)
    return differences(method, method.adapt_batch(context), task.context, task.targets)


def accuracy(name, world, contexts=None):
    d = log_odds(name, world, contexts)
    return float(np.mean((d > 0) + 0.5 * (d == 0)))


def log_loss(name, world, contexts=None):
    return float(np.logaddexp(0.0, -log_odds(name, world, contexts)).mean())


TWO = World.two_tastes(users=120)
ONE = World(users=200, tastes=("friend",), mixture=(1.0,), spread=0.0)
