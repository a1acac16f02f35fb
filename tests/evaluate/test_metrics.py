"""Every figure against a plain loop."""

import numpy as np
import pytest

from palate.core import Pairs
from palate.evaluate.metrics import (
    Bootstrap,
    Scored,
    calibration,
    compare,
    from_choices,
    summarise,
    user_table,
)


def random_scored(seed, users=23, most=9, ties=0.2, blank=0.1):
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, most + 1, users))
    n = len(user)
    target = np.where(rng.random(n) < ties, 0.5, 1.0)
    pairs = Pairs(user, np.zeros(n, np.int64), np.ones(n, np.int64), target, np.arange(n))
    odds = rng.normal(size=(2, n)) * 2 + 0.4
    odds[rng.random((2, n)) < blank] = 0.0
    return Scored(pairs, odds[0]), Scored(pairs, odds[1])


def decided_users(scored):
    return sorted(set(scored.pairs.user[scored.pairs.target == 1.0].tolist()))


def credit(d):
    return 1.0 if d > 0 else 0.5 if d == 0 else 0.0


def user_accuracy(scored, user):
    own = zip(scored.pairs.user, scored.pairs.target, scored.difference, strict=True)
    return np.mean([credit(d) for u, t, d in own if u == user and t == 1.0])


def user_loss(scored, user):
    losses = []
    for u, t, d in zip(scored.pairs.user, scored.pairs.target, scored.difference, strict=True):
        if u == user:
            losses.append(t * np.log1p(np.exp(-d)) + (1 - t) * np.log1p(np.exp(d)))
    return np.mean(losses)


def figures(scored, seed=0, draws=400):
    found = summarise(scored, Bootstrap(len(decided_users(scored)), draws, seed))
    return {figure.metric: figure for figure in found}


@pytest.mark.parametrize("seed", range(4))
def test_accuracy_over_users_and_over_pairs(seed):
    scored, _ = random_scored(seed)
    users, found = decided_users(scored), figures(scored)
    assert found["accuracy"].value == pytest.approx(np.mean([user_accuracy(scored, u) for u in users]))
    decided = [credit(d) for t, d in zip(scored.pairs.target, scored.difference, strict=True) if t == 1.0]
    assert found["accuracy_pairs"].value == pytest.approx(np.mean(decided))
    assert (found["accuracy"].users, found["accuracy"].pairs) == (len(users), len(decided))


@pytest.mark.parametrize("seed", range(4))
def test_log_loss_counts_ties_and_every_user_the_same(seed):
    scored, _ = random_scored(seed)
    users = sorted(set(scored.pairs.user.tolist()))
    figure = figures(scored)["log_loss"]
    assert figure.value == pytest.approx(np.mean([user_loss(scored, u) for u in users]))
    assert (figure.users, figure.pairs) == (len(users), len(scored.pairs))


@pytest.mark.parametrize("seed", range(4))
def test_calibration_error(seed):
    scored, _ = random_scored(seed)
    bins = {}
    for t, d in zip(scored.pairs.target, scored.difference, strict=True):
        if t == 1.0:
            confidence = 1 / (1 + np.exp(-abs(d)))
            bins.setdefault(min(int((confidence - 0.5) * 20), 9), []).append((confidence, credit(d)))
    total = sum(len(b) for b in bins.values())
    error = sum(
        abs(np.mean([c for c, _ in b]) - np.mean([r for _, r in b])) * len(b) / total for b in bins.values()
    )
    assert figures(scored)["calibration_error"].value == pytest.approx(error)
    told = calibration(scored)
    assert told.pairs.tolist() == [len(bins[k]) for k in sorted(bins)]
    np.testing.assert_allclose(told.confidence, [np.mean([c for c, _ in bins[k]]) for k in sorted(bins)])
    np.testing.assert_allclose(told.accuracy, [np.mean([r for _, r in bins[k]]) for k in sorted(bins)])


@pytest.mark.parametrize("users", [7, 20, 23, 40])
def test_worst_tenth_with_a_fraction_of_the_last_user(users):
    scored, _ = random_scored(users, users=users, ties=0.0)
    accuracy = sorted(user_accuracy(scored, u) for u in range(users))
    tenth = max(1.0, users / 10)
    whole = int(tenth)
    total = sum(accuracy[:whole]) + (tenth - whole) * (accuracy[whole] if whole < users else 0)
    assert figures(scored)["worst_tenth"].value == pytest.approx(total / tenth)


@pytest.mark.parametrize("seed", range(4))
def test_paired_differences_and_who_is_helped(seed):
    mine, theirs = random_scored(seed)
    users = decided_users(mine)
    found = {f.metric: f for f in compare(mine, theirs, "pooled", Bootstrap(len(users), 400))}
    gains = np.array([user_accuracy(mine, u) - user_accuracy(theirs, u) for u in users])
    assert found["accuracy"].value == pytest.approx(gains.mean())
    everybody = sorted(set(mine.pairs.user.tolist()))
    losses = [user_loss(mine, u) - user_loss(theirs, u) for u in everybody]
    assert found["log_loss"].value == pytest.approx(np.mean(losses))
    for metric, share in (
        ("helped", gains > 1e-9),
        ("harmed", gains < -1e-9),
        ("unchanged", abs(gains) <= 1e-9),
    ):
        assert found[metric].value == pytest.approx(share.mean())
    assert sum(found[m].value for m in ("helped", "harmed", "unchanged")) == pytest.approx(1.0)
    assert {f.against for f in found.values()} == {"pooled"}


@pytest.mark.parametrize("seed", range(3))
def test_what_choices_add_is_the_difference_to_the_method_before_any(seed):
    after, before = random_scored(seed)
    users = decided_users(after)
    bootstrap = Bootstrap(len(users), 400)
    found = {f.metric: f for f in from_choices(after, before, bootstrap)}
    gains = np.array([user_accuracy(after, u) - user_accuracy(before, u) for u in users])
    everybody = sorted(set(after.pairs.user.tolist()))
    losses = [user_loss(after, u) - user_loss(before, u) for u in everybody]
    assert found["from_choices"].value == pytest.approx(gains.mean())
    assert found["from_choices_log_loss"].value == pytest.approx(np.mean(losses))
    assert found["choices_helped"].value == pytest.approx((gains > 1e-9).mean())
    assert found["choices_harmed"].value == pytest.approx((gains < -1e-9).mean())
    draws = (bootstrap.weights @ gains) / bootstrap.weights.sum(axis=1)
    interval = (found["from_choices"].low, found["from_choices"].high)
    assert interval == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert {f.against for f in found.values()} == {None}
    same = {f.metric: f for f in from_choices(after, after, bootstrap)}
    assert all(figure[1:4] == (0.0, 0.0, 0.0) for figure in same.values())


def test_the_table_of_users():
    mine, theirs = random_scored(9)
    ids, pairs, accuracy, control = user_table(mine, theirs)
    assert ids.tolist() == decided_users(mine)
    for user, n, a, b in zip(ids, pairs, accuracy, control, strict=True):
        assert n == ((mine.pairs.user == user) & (mine.pairs.target == 1.0)).sum()
        assert (a, b) == pytest.approx((user_accuracy(mine, user), user_accuracy(theirs, user)))


# ---- intervals ----------------------------------------------------------------------------------------


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Users differ in how well they are predicted; pairs of a user are not independent."""
    rng = np.random.default_rng(0)
    truth, held, naive = 0.7, 0, 0
    for run in range(200):
        skill = rng.beta(7, 3, 60)
        user = np.repeat(np.arange(60), 8)
        right = rng.random(480) < skill[user]
        pairs = Pairs(user, user, user, np.ones(480), np.arange(480))
        figure = figures(Scored(pairs, np.where(right, 1.0, -1.0)), seed=run)["accuracy"]
        held += figure.low <= truth <= figure.high
        half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 480)
        naive += abs(right.mean() - truth) <= half
    assert 0.9 <= held / 200 <= 0.985
    assert naive < held


def test_an_interval_is_the_percentiles_of_resampled_users():
    """The same draws, written as a loop over users drawn again and again."""
    scored, _ = random_scored(3, ties=0.0)
    users = decided_users(scored)
    bootstrap = Bootstrap(len(users), 300, seed=7)
    figure = {f.metric: f for f in summarise(scored, bootstrap)}["accuracy_pairs"]
    values = []
    for weights in bootstrap.weights:
        drawn = np.repeat(users, weights)
        credits = [credit(d) for u in drawn for d in scored.difference[scored.pairs.user == u]]
        values.append(np.mean(credits))
    assert (figure.low, figure.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_a_draw_has_as_many_users_as_there_are():
    assert (Bootstrap(17, 50).weights.sum(axis=1) == 17).all()


def test_paired_intervals_are_narrower_than_the_two_apart():
    """Two methods that fail on the same users: the difference is known better than either."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(80), 10)
    skill = rng.beta(2, 2, 80)[user]
    luck = rng.random(800)
    pairs = Pairs(user, user, user, np.ones(800), np.arange(800))
    one, two = (
        Scored(pairs, np.where(luck < np.clip(skill + plus, 0, 1), 1.0, -1.0)) for plus in (0.08, 0.0)
    )
    bootstrap = Bootstrap(80, 1000)
    alone = summarise(one, bootstrap)[0]
    paired = compare(one, two, "two", bootstrap)[0]
    assert paired.low > 0
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_a_perfect_method_and_a_blind_one():
    scored, _ = random_scored(0, ties=0.0)
    perfect, blind = (Scored(scored.pairs, np.full(len(scored.pairs), v)) for v in (50.0, 0.0))
    assert figures(perfect)["accuracy"][1:4] == (1.0, 1.0, 1.0)
    assert figures(perfect)["log_loss"].value == pytest.approx(0.0, abs=1e-12)
    assert figures(blind)["accuracy"][1:4] == (0.5, 0.5, 0.5)
    assert figures(blind)["log_loss"].value == pytest.approx(np.log(2))
    assert figures(blind)["calibration_error"].value == pytest.approx(0.0)


def test_one_user_has_a_figure():
    scored, control = random_scored(1, users=1, ties=0.0)
    assert figures(scored)["accuracy"].users == 1
    assert len(compare(scored, control, "pooled", Bootstrap(1, 50))) == 5


def test_users_with_ties_alone_count_in_log_loss_only():
    pairs = Pairs(
        np.array([0, 0, 1, 1]), *np.zeros((2, 4), np.int64), np.array([1.0, 1.0, 0.5, 0.5]), np.arange(4)
    )
    scored = Scored(pairs, np.array([2.0, -1.0, 0.0, 1.0]))
    found = figures(scored)
    assert (found["accuracy"].value, found["accuracy"].users, found["accuracy"].pairs) == (0.5, 1, 2)
    assert (found["log_loss"].users, found["log_loss"].pairs) == (2, 4)
