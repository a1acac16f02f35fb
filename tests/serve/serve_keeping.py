"""Models and users for the tests of the keeper: a small world, fitted once a process."""

import functools
import tempfile
from pathlib import Path

from palate.feedback import write_jsonl
from palate.feedback.world import World
from palate.serve.keeper import Keeper, Served, Shelf
from palate.serve.store import Store, choices
from palate.serve.store.choices import Kept
from palate.workshop import fit_model

TENANT = "acme"
_FEW = {"shareds": [0.7], "groups": [], "inducing": 40}
_MODELS = {"first": {"rank": 0, "ranks": [], **_FEW}, "second": {"rank": 0, "ranks": [], **_FEW, "own": 0.5}}


@functools.cache
def world():
    """Histories of a few users, by number."""
    sample = World(
        users=60, pairs=12, targets=10, tastes=("short", "long"), mixture=(0.6, 0.4), strength=4.0, seed=5
    ).sample()
    return sample, [sample.population.history(i) for i in range(60)]


@functools.cache
def folder(name):
    """A folder as `palate fit` writes it: mixed behind a gate, and the words of style."""
    where = Path(tempfile.mkdtemp(prefix="palate-keeper-"))
    write_jsonl(world()[0].population, where / "world.jsonl")
    fit_model(str(where / "world.jsonl"), "mixed", "lexical", 0, _MODELS[name], {}, True).save(where / name)
    return where / name


def served(name="first"):
    """The model of a folder, loaded once."""
    return _loaded(name)


@functools.cache
def _loaded(name):
    return Served.load(folder(name))


def opened(where, name="first"):
    """A keeper over a database; call again for another worker over the same one."""
    store = Store.open(f"sqlite:///{where / 'palate.db'}")
    return Keeper(store, Shelf(served(name)))


def body(row):
    talk = [{"role": turn.role, "content": turn.content} for turn in row.conversation]
    return {"conversation": talk, "responses": list(row.responses), "chosen": row.chosen}


def give(keeper, user, rows, first=0, prefix="c", tenant=TENANT):
    """Keep choices of a user, with keys c0, c1, ..."""
    kept = [Kept(user, f"{prefix}{first + n}", body(row), 1e9 + first + n) for n, row in enumerate(rows)]
    return keeper.store.write(lambda c: choices.add(c, tenant, kept))


def of_taste(name, count=None):
    """Rows of the first users of a taste, one after another."""
    sample, histories = world()
    mine = [h for h, t in zip(histories, sample.taste, strict=True) if sample.world.taste_names[t] == name]
    rows = [row for h in mine for row in h.feedback if row.chosen is not None]
    return rows[:count]
