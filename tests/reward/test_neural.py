"""The base of the neural methods: batches that leak nothing, training that stops, resumes and reports."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from palate.checks import check_method, people
from palate.core import FitDiverged, MethodError, Population, StorageError, job
from palate.evaluate.protocol import new_users
from palate.feedback.world import World
from palate.gate import differences
from palate.reward.crowd import Crowd, padded, sample_episode
from palate.reward.neural import NeuralMethod, pair_loss


class Bilinear(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.taste, self.view = nn.Linear(dim, 8), nn.Linear(dim, 8, bias=False)
        nn.init.zeros_(self.view.weight)
        self.register_buffer("looks", torch.zeros(3))


@dataclass(kw_only=True, eq=False)
class Mean(NeuralMethod):
    """A user's taste is the mean of what they chose; small enough to test the base with."""

    name = "mean-taste"
    steps: int = 200
    every: int = 20
    scale: float = 1.0

    def _network(self, dim, users):
        return Bilinear(dim)

    def _draw(self, crowd, rng):
        users = rng.choice(np.flatnonzero(np.diff(crowd.starts)), 32)
        return sample_episode(crowd, rng, users, (0, 8), 4)

    def _taste(self, network, crowd, number, seen):
        winner, loser = (crowd.index(c[number]) for c in (crowd.pairs.winner, crowd.pairs.loser))
        decided = seen & (crowd.pairs.target[number] == 1)  # a tie says nothing of either side
        there = crowd.index(decided)[..., None]
        gap = crowd.x[winner] - crowd.x[loser]
        return (network.taste(gap) * there).sum(1) / (there.sum(1) + 1)

    def _loss(self, network, crowd, batch):
        network.looks += 1
        taste = self._taste(network, crowd, batch.context, batch.seen)[:, None]
        winner, loser = (crowd.index(c[batch.target]) for c in (crowd.pairs.winner, crowd.pairs.loser))
        gap = self._rewards(network, crowd.x[winner], taste) - self._rewards(network, crowd.x[loser], taste)
        gap = gap + crowd.anchor[winner] - crowd.anchor[loser]
        loss = pair_loss(gap, crowd.index(crowd.pairs.target[batch.target]).float())
        return self.scale * loss[crowd.index(batch.asked)].mean()

    def _personas(self, network, crowd):
        return self._taste(network, crowd, *padded(crowd, np.arange(crowd.n_users)))

    def _rewards(self, network, x, vectors):
        return (network.view(x) * vectors).sum(-1)


@pytest.fixture(scope="module")
def task():
    return new_users("two", World.two_tastes(users=120).sample().population)


def crowd_of(population):
    n = len(population.corpus)
    return Crowd.of(population, torch.zeros(n, 2), torch.zeros(n))


# ---- mini-batches ------------------------------------------------------------------------------------


def test_an_episode_is_of_one_user_and_leaks_no_target_item():
    population = people(users=12, rows=20)
    crowd, rng = crowd_of(population), np.random.default_rng(0)
    heard = np.flatnonzero(np.diff(crowd.starts))
    sizes = set()
    for _ in range(60):
        batch = sample_episode(crowd, rng, rng.choice(heard, 6), (0, 6), 5)
        for i, user in enumerate(batch.users):
            seen, asked = batch.context[i][batch.seen[i]], batch.target[i][batch.asked[i]]
            assert len(asked) >= 1
            assert (crowd.pairs.user[np.concatenate([seen, asked])] == user).all()
            items = [set(crowd.pairs.winner[part]) | set(crowd.pairs.loser[part]) for part in (seen, asked)]
            assert not items[0] & items[1]
            assert len(seen) == len(set(seen)) <= 6
            sizes.add(len(seen))
    assert 0 in sizes
    assert max(sizes) > 2


def test_a_user_with_one_pair_is_asked_about_it_and_shows_nothing():
    population = people(users=3, rows=1)
    crowd = crowd_of(population)
    batch = sample_episode(crowd, np.random.default_rng(0), np.array([0, 1]), (0, 5), 3)
    assert not batch.seen.any()
    assert batch.asked.sum(1).tolist() == [1, 1]


def test_padding_keeps_the_latest_pairs_in_time_order():
    crowd = crowd_of(people(users=2, rows=9))
    number, there = padded(crowd, np.array([1, 0, 2]), most=3)
    assert number.shape == (3, 3)
    assert there.tolist() == [[True] * 3, [True] * 3, [False] * 3]
    assert number[0].tolist() == list(range(crowd.starts[2] - 3, crowd.starts[2]))


# ---- training ----------------------------------------------------------------------------------------


def test_it_passes_the_conformance_suite():
    check_method(lambda: Mean(steps=60))


def test_it_learns_two_tastes(task):
    method = Mean().fit(task.fit_on)
    right = differences(method, method.adapt_batch(task.context), task.context, task.targets) > 0
    assert right.mean() > 0.9


def test_the_empty_history_before_training_is_the_pooled_answer(task):
    from palate.reward.bt import Pooled

    method, pooled = Mean(steps=0).fit(task.fit_on), Pooled().fit(task.fit_on)
    mine = differences(method, method.adapt_batch(task.context), task.context, task.targets)
    theirs = differences(pooled, pooled.adapt_batch(task.context), task.context, task.targets)
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


class Stopped(Exception):
    pass


def test_an_interrupted_training_goes_on_and_ends_at_the_same_numbers(task, tmp_path):
    whole = Mean(patience=100).fit(task.fit_on)

    def stop(what, done, total):
        if done >= 80:
            raise Stopped

    with pytest.raises(Stopped), job(tmp_path, stop):
        Mean(patience=100).fit(task.fit_on)
    assert list(tmp_path.glob("*.pt"))
    steps = []
    with job(tmp_path, lambda what, done, total: steps.append(done)):
        again = Mean(patience=100).fit(task.fit_on)
    assert steps[0] == 80
    np.testing.assert_array_equal(again.weights_, whole.weights_)
    np.testing.assert_array_equal(again.buffers_, whole.buffers_)
    assert again.history_ == whole.history_
    assert not list(tmp_path.iterdir())


def test_a_broken_checkpoint_costs_a_fresh_start(task, tmp_path):
    with job(tmp_path):
        plan = Mean(steps=40)
        plan.anchor_ = np.zeros(1)
        from palate.core import with_roles

        key = plan._training(with_roles(task.fit_on, 0)).key
        (tmp_path / f"mean-taste-{key}.pt").write_bytes(b"no checkpoint")
        again = Mean(steps=40).fit(task.fit_on)
    np.testing.assert_array_equal(again.weights_, Mean(steps=40).fit(task.fit_on).weights_)


def test_a_checkpoint_that_cannot_be_written_says_so(task, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with job(tmp_path / "file"), pytest.raises(StorageError, match="cannot keep a checkpoint"):
        Mean(steps=40).fit(task.fit_on)


def test_training_stops_early_and_keeps_the_best(task):
    method = Mean(steps=2000, every=10, patience=2, learning_rate=0.5).fit(task.fit_on)
    losses = [loss for _, loss in method.history_]
    assert len(losses) < 201
    best = int(np.argmin(losses))
    assert len(losses) - 1 - best <= 2


def test_a_diverging_fit_says_what_to_change(task):
    with pytest.raises(FitDiverged, match="learning_rate"):
        Mean(scale=float("inf")).fit(task.fit_on)


def test_without_validation_users_the_last_weights_are_kept():
    population = people(users=1, rows=6)
    method = Mean(steps=20).fit(population)
    assert np.isfinite(method.weights_).all()
    assert method.history_ == [] or len(method.history_) >= 1


def test_another_encoders_features_are_refused(task):
    method = Mean(steps=0).fit(task.fit_on)
    method.encoder = "style"
    fresh = Population.of(list(task.context))
    with pytest.raises(MethodError, match="fitted on features of"):
        method.adapt_batch(fresh)


def test_pair_loss_equals_its_definition():
    rng = np.random.default_rng(3)
    d, t = rng.normal(size=50) * 4, rng.choice([0.5, 1.0], 50)
    literal = [
        -b * np.log(1 / (1 + np.exp(-a))) - (1 - b) * np.log(1 / (1 + np.exp(a)))
        for a, b in zip(d, t, strict=True)
    ]
    ours = pair_loss(torch.as_tensor(d), torch.as_tensor(t)).numpy()
    np.testing.assert_allclose(ours, literal, rtol=1e-10)
