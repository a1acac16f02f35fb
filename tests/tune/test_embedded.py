"""user-embedding: the contract, and that a vector a user tells opposed tastes apart."""

from dataclasses import replace

import numpy as np
import pytest

from palate.checks import CHECKS, Subject
from palate.core import ConfigError, Population, Queries
from palate.small.base import random_base
from palate.small.world import world
from palate.tune.embedded import UserEmbedding

TINY = {
    "limit": 480,
    "answer_tokens": 120,
    "lora_rank": 2,
    "steps": 2,
    "batch": 4,
    "lr": 1e-3,
    "warmup": 0,
    "basis": 3,
    "new_steps": 3,
}


@pytest.fixture(scope="module")
def subject(models):
    folder = str(models("whole"))
    return Subject(lambda: UserEmbedding(model=folder, **TINY))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_contract_is_kept(subject, check):
    check(subject)


def opposed(users):
    """Half of the people want what the other half does not."""
    made = world(users, seed=2, pairs=8, targets=8)
    language, people = made.language, made.population
    rows = []
    for number, history in enumerate(people):
        taste = np.array([2.0, -2.0, 2.0, -2.0]) * (-1) ** number
        for each in history.feedback:
            gap = [language.fit(taste, text) for text in each.responses]
            rows.append(replace(each, chosen=int(np.argmax(gap))))
    return replace(Population.of(rows), role=people.role, split=people.split)


@pytest.mark.parametrize("form", ["lore", "pal-a", "pal-b"])
def test_it_tells_tastes_apart(form, tmp_path):
    """From one of three draws at least: PAL's prototypes stay together from some."""
    base, people = str(random_base(tmp_path / "base")), opposed(80)
    test = people.with_role("test")
    context, targets = test.with_split("context"), test.with_split("target")

    def accuracy(method, rows):
        asked = Queries.of_pairs(method.adapt_batch(rows), people.corpus, targets.pairs)
        scores = method.score_batch(asked)
        return float((scores[0::2] > scores[1::2]).mean())

    found = []
    for seed in (1, 0, 2):
        method = UserEmbedding(
            model=base, templates="small", form=form, basis=4, limit=128, answer_tokens=12, lora_rank=0,
            steps=400, batch=24, lr=4e-3, soft_lr=1e-1, warmup=5, beta=1.0, new_steps=20, new_lr=0.5,
            contexts=8, seed=seed,
        ).fit(people)  # fmt: skip
        assert accuracy(method, context.take_rows(np.zeros(context.n_rows, bool))) < 0.62
        found.append(accuracy(method, context))
        if found[-1] > 0.7:
            return
    raise AssertionError(
        f"accuracy on unseen users was {found} from three draws; expected more than 0.7 once"
    )


def test_unknown_forms_are_refused():
    with pytest.raises(ConfigError, match="form is lore, pal-a or pal-b"):
        UserEmbedding(model="x", form="vpl")
