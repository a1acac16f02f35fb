"""Half the users want short answers, half long ones: who learns whom, from thirty choices of new users."""

import numpy as np
import pytest
from taste_worlds import ONE, TWO, accuracy, fitted, log_loss, log_odds, task_of

from palate.catalogue import build
from palate.core import Persona
from palate.feedback.world import World
from palate.gate import Gate

FLOORS = {"mixed": 0.95, "style": 0.9, "lore": 0.9, "individual": 0.88, "similar-user": 0.9}


@pytest.mark.parametrize(("method", "floor"), FLOORS.items())
def test_personal_methods_learn_both_tastes(method, floor):
    assert accuracy(method, TWO) > floor


@pytest.mark.parametrize("method", ["pooled", "conditional", "random"])
def test_methods_that_do_not_know_the_user_guess(method):
    """For a user never seen, ``conditional`` has no id to go by."""
    assert abs(accuracy(method, TWO) - 0.5) < 0.1


@pytest.mark.parametrize("method", ["mixed", "lore", "style"])
def test_a_few_choices_are_enough_and_more_are_better(method):
    by_choices = [log_loss(method, TWO, n) for n in (0, 1, 4, 30)]
    assert by_choices == sorted(by_choices, reverse=True)
    assert accuracy(method, TWO, 4) > 0.85
    assert by_choices[0] > 0.6


@pytest.mark.parametrize("method", ["mixed", "lore", "style"])
def test_without_choices_everybody_gets_the_same_answer(method):
    task, model = task_of(TWO), fitted(method, TWO)
    vectors = model.adapt_batch(task.context.head(0)).vectors
    np.testing.assert_array_equal(vectors, np.tile(vectors[:1], (len(vectors), 1)))


def test_probabilities_of_mixed_are_calibrated():
    """Where it says p, p of the choices follow: within a tenth, on bins with a hundred pairs."""
    d = log_odds("mixed", World(users=120, seed=5), 30)
    confidence, right = 1 / (1 + np.exp(-np.abs(d))), d > 0
    for low in np.arange(0.5, 1.0, 0.1):
        inside = (confidence >= low) & (confidence < low + 0.1)
        if inside.sum() >= 100:
            assert abs(right[inside].mean() - confidence[inside].mean()) < 0.1


def test_mixed_loses_nothing_where_users_do_not_differ():
    assert accuracy("mixed", ONE) > accuracy("pooled", ONE) - 0.01
    assert log_loss("mixed", ONE) < log_loss("pooled", ONE) + 0.01
    directions = fitted("mixed", ONE).directions_
    assert directions.shape[1] == 0 or np.linalg.norm(directions) < 0.2
    truth = log_odds("mixed", ONE), log_odds("mixed", ONE, 0)
    assert np.corrcoef(*truth)[0, 1] > 0.97  # thirty choices change little: there is nothing to learn


def test_the_gate_stands_aside_where_users_do_not_differ():
    task = task_of(ONE)
    gate = Gate(method=fitted("individual", ONE), control=fitted("pooled", ONE)).fit(task.fit_on)
    weight = gate.adapt_batch(task.context).verdicts.weight
    assert weight.mean() < 0.35
    two = task_of(TWO)
    trusted = Gate(method=fitted("lore", TWO), control=fitted("pooled", TWO)).fit(two.fit_on)
    assert trusted.adapt_batch(two.context).verdicts.weight.mean() > 0.9


def test_a_minority_taste_is_served_too():
    """One user in ten wants long answers; a pooled model serves the nine."""
    world = World(
        users=200, tastes=("short", "long"), mixture=(0.9, 0.1), strength=6.0, spread=0.25, shared=0.0,
        noise=0.0, differ=("length",), seed=3,
    )  # fmt: skip
    task = task_of(world)
    rare = np.flatnonzero(world.sample().taste[task.people.role == 2] == 1)
    asked = np.isin(task.targets.user, rare)
    assert asked.sum() > 50
    assert (log_odds("mixed", world)[asked] > 0).mean() > 0.9
    assert (log_odds("pooled", world)[asked] > 0).mean() < 0.3


def test_mixed_with_groups_of_taste_keeps_the_contract():
    """The checks' few people form no groups; these do."""
    task, model = task_of(TWO), fitted("mixed", TWO)
    assert len(model.group_weights_) == 2
    context = task.context.head(6)
    personas = model.adapt_batch(context)
    item, other = (context.corpus.responses[i] for i in (0, 7))
    for user in (0, 5, 9):
        alone = model.adapt(context.history(user))
        scores = [model.score(p, "Q", [item, other]) for p in (personas[user], alone)]
        np.testing.assert_allclose(*scores, atol=1e-3)
    empty = model.adapt_batch(task.context.head(0))[3]
    average = model.score(Persona(), "Q", [item, other])
    np.testing.assert_allclose(model.score(empty, "Q", [item, other]), average, atol=1e-6)


def test_a_seed_gives_the_same_numbers():
    task = task_of(TWO)
    again = build("lore").fit(task.fit_on)
    assert again.fingerprint == fitted("lore", TWO).fingerprint
