"""Fine-tuning of the pooled model: against a plain loop, one user and one pair at a time."""

import numpy as np
import pytest
from taste_worlds import TWO, task_of

from palate.catalogue import build
from palate.checks import check_method, people
from palate.core import ConfigError, FitDiverged, Pairs, Persona
from palate.gate import differences
from palate.models.features import embed
from palate.reward import fine_tune
from palate.reward.fine_tune import FineTune, tune


def slow_tune(x, pairs, user, start, rate, epochs, kind=np.float64):
    """One user's weights by the paper's words: start at the shared ones, one gradient step a choice."""
    w, x = np.array(start, kind), np.asarray(x, kind)
    for _ in range(epochs):
        for row in np.unique(pairs.row[pairs.user == user]):
            step = np.zeros_like(w)
            for pair in np.flatnonzero(pairs.row == row):
                gap = x[pairs.winner[pair]] - x[pairs.loser[pair]]
                step += (kind(pairs.target[pair]) - 1 / (1 + np.exp(-w @ gap))) * gap
            w += kind(rate) * step
    return w


def random_pairs(rng, users, items, most):
    counts = rng.integers(0, most + 1, users)
    user = np.repeat(np.arange(users), counts)
    winner, loser = rng.integers(0, items, (2, len(user)))
    row = np.cumsum(rng.random(len(user)) < 0.7)  # some choices are of more than one pair
    row = np.unique(np.stack([user, row]), axis=1, return_inverse=True)[1]
    return Pairs(user, winner, loser, rng.choice([1.0, 0.5], len(user)), row)


@pytest.mark.parametrize("room", [1 << 24, 12])
@pytest.mark.parametrize("epochs", [1, 3])
def test_all_users_at_once_equal_a_loop_over_users_and_choices(epochs, room, monkeypatch):
    """In one stack, and with two users a stack; users without pairs among them."""
    monkeypatch.setattr(fine_tune, "_STACK", room)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, start = rng.normal(size=(30, 6)), rng.normal(size=6)
        pairs = random_pairs(rng, 12, 30, 9)
        ours = start + tune(x, pairs, 12, start, 0.3, epochs)
        slow = [slow_tune(x, pairs, u, start, 0.3, epochs) for u in range(12)]
        np.testing.assert_allclose(ours, slow, rtol=1e-10)


def test_a_step_is_the_gradient_of_the_loss():
    rng = np.random.default_rng(0)
    x, start = rng.normal(size=(2, 5)), rng.normal(size=5)
    one = Pairs(*np.array([[0], [0], [1]]), np.ones(1), np.array([0]))
    step = tune(x, one, 1, start, 1e-6, 1)[0] / 1e-6

    def loss(w):
        return np.logaddexp(0.0, -(x[0] - x[1]) @ w)

    slope = [(loss(start + e) - loss(start - e)) / 2e-5 for e in 1e-5 * np.eye(5)]
    np.testing.assert_allclose(step, np.negative(slope), atol=1e-6)


def test_a_fitted_models_persona_is_the_loops_difference_to_the_pooled_weights():
    readers = people(users=5, rows=7, seed=2)
    method = FineTune().fit(people())
    x = embed(readers.corpus, "lexical")
    rate = method.rate_ / method.scale_
    for user, vector in enumerate(method.adapt_batch(readers).vectors):
        slow = slow_tune(x, readers.pairs, user, method.weights_, rate, int(method.epochs_))
        np.testing.assert_allclose(vector, slow - method.weights_, atol=1e-8)


def test_a_user_without_choices_has_the_pooled_model():
    method, pooled = FineTune().fit(people()), build("pooled").fit(people())
    answers = ["Start early.", "It helps to write it all down before you decide anything."]
    ours, theirs = (m.score(Persona(), "Q", answers) for m in (method, pooled))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert not method.adapt_batch(people().head(0)).vectors.any()


def test_rate_and_epochs_are_those_that_validation_users_prefer():
    task = task_of(TWO)
    small, large = (FineTune(rates=(r,), epochs=(1,)).fit(task.fit_on) for r in (0.01, 1.0))
    losses = [_validation_loss(m, task) for m in (small, large)]
    chosen = FineTune(rates=(0.01, 1.0), epochs=(1,)).fit(task.fit_on)
    assert chosen.rate_ == (0.01, 1.0)[int(np.argmin(losses))]
    assert losses[0] != losses[1]


def _validation_loss(method, task):
    from palate.core import with_roles
    from palate.reward.base import Validation

    validation = Validation.of(with_roles(task.fit_on, 0))
    personas = method.adapt_batch(validation.context)
    d = differences(method, personas, validation.context, validation.target)
    return validation.losses_of(d).mean()


def test_it_learns_two_tastes():
    task = task_of(TWO)
    method = FineTune().fit(task.fit_on)
    right = differences(method, method.adapt_batch(task.context), task.context, task.targets) > 0
    assert right.mean() > 0.9


def test_it_passes_the_conformance_suite():
    check_method(FineTune)


def test_wrong_fields_and_steps_that_diverge_are_told_kindly():
    for fields in ({"rates": ()}, {"rates": (-1.0,)}, {"epochs": (0,)}):
        with pytest.raises(ConfigError, match="at least one rate above 0"):
            FineTune(**fields).fit(people(users=4))
    one = Pairs(*np.array([[0], [0], [1]]), np.ones(1), np.array([0]))
    x = np.array([[np.inf], [0.0]])
    with np.errstate(all="ignore"), pytest.raises(FitDiverged, match="smaller rates"):
        tune(x, one, 1, np.zeros(1), 1.0, 1)
