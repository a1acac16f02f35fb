"""PRM: its loss against a loop over users and pairs, its fold-in, its pitfalls, and planted groups."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_expit, softmax
from taste_worlds import TWO, task_of

from palate.catalogue import load
from palate.checks import check_method, people
from palate.core import ConfigError, History, Pairs, Persona, job
from palate.gate import differences
from palate.models.features import remember
from palate.reward import fold_in
from palate.reward.crowd import Crowd
from palate.reward.fold_in import settle
from palate.reward.prm import PRM

SMALL = {"steps": 40, "every": 20, "size": 3, "clusters": 3, "hidden": 8, "batch": 16, "dropout": 0.0}


# ---- a plain implementation, one user and one pair at a time -----------------------------------------


def nll(f, t):
    return -t * log_expit(f) - (1 - t) * log_expit(-f)


def mode_of(score, gaps, size, kind=np.float64):
    """One user's parameters by scipy: ``score(gap, w)`` is a pair's log-odds, gaps are (gap, target)."""

    def objective(w):
        return kind(0.5 * w @ w + sum(nll(score(g, w.astype(kind)), t) for g, t in gaps))

    if not gaps:
        return np.zeros(size, kind)
    return minimize(objective, np.zeros(size), method="BFGS", options={"gtol": 1e-9}).x.astype(kind)


def gelu(a):
    return 0.5 * a * (1 + torch.special.erf(torch.as_tensor(a) / np.sqrt(2)).numpy())


def slow_loss(method, weights, x, anchor, pairs, batch, rows, kind=np.float64):
    """The loss of a mini-batch, user by user and pair by pair; weights by the network's names."""
    g = {k: v.astype(kind) for k, v in weights.items()}

    def f(item):
        return g["view.2.weight"] @ gelu(g["view.0.weight"] @ x[item] + g["view.0.bias"])

    def reward(item, w):
        if method.users == "cluster":
            return anchor[item] + f(item) @ (g["centres"].T @ softmax(method.spread * w))
        return anchor[item] + f(item) @ (g["unknown"] + w)

    def latent(pair, w):
        return reward(pairs.winner[pair], w) - reward(pairs.loser[pair], w)

    size, total, count = method.clusters if method.users == "cluster" else method.size, 0.0, 0
    for i, user in enumerate(batch.users):
        past = [(p, pairs.target[p]) for p in batch.context[i][batch.seen[i]]]
        learned = method.offsets == "learned"
        w = g["users"][user] if learned else mode_of(latent, past, size, kind)
        prior = 0.5 * w @ w / rows[user] if learned else 0.0
        for pair in batch.target[i][batch.asked[i]]:
            told = nll(latent(pair, w), pairs.target[pair]) + prior
            untold = nll(latent(pair, np.zeros(size, kind)), pairs.target[pair])
            total += method.alpha * told + (1 - method.alpha) * untold
            count += 1
    return total / count


def random_problem(seed, users=5, rows=9, items=20, dim=6):
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permuted(np.tile(np.arange(items), (users * rows, 1)), axis=1)[:, :2], axis=1)
    target = rng.choice([1.0, 1.0, 0.5], users * rows)
    pairs = Pairs(np.repeat(np.arange(users), rows), *drawn.T.copy(), target, np.arange(users * rows))
    x, anchor = rng.normal(size=(items, dim)), rng.normal(size=items)
    crowd = Crowd(torch.as_tensor(x), torch.as_tensor(anchor), pairs, np.arange(users + 1) * rows)
    return rng, crowd, x, anchor


def random_network(method, dim, users, seed):
    torch.manual_seed(seed)
    network = method._network(dim, users).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return network, {k: v.detach().numpy() for k, v in network.state_dict().items()}


FORMS = [
    {"users": "individual"},
    {"users": "cluster"},
    {"users": "cluster", "alpha": 0.8, "spread": 3.0},
    {"users": "individual", "offsets": "learned", "alpha": 0.3},
    {"users": "cluster", "offsets": "learned"},
]


@pytest.mark.parametrize("fields", FORMS, ids=lambda f: "-".join(map(str, f.values())))
def test_the_loss_is_that_of_a_loop_over_users_and_pairs(fields, monkeypatch):
    monkeypatch.setattr(fold_in, "_DURING", 100)
    monkeypatch.setattr(fold_in, "_DONE", 1e-22)
    method = PRM(**{**SMALL, **fields}, contexts=(0, 5), targets=3)
    for seed in range(3):
        rng, crowd, x, anchor = random_problem(seed)
        network, weights = random_network(method, x.shape[1], crowd.n_users, seed)
        batch = method._draw(crowd, rng)
        ours = method._loss(network, crowd, batch).item()
        slow = slow_loss(method, weights, x, anchor, crowd.pairs, batch, np.diff(crowd.starts))
        assert ours == pytest.approx(slow, rel=1e-6)


@pytest.mark.parametrize("fields", FORMS, ids=lambda f: "-".join(map(str, f.values())))
def test_the_gradient_is_that_of_finite_differences(fields, monkeypatch):
    """Through the users' modes too."""
    monkeypatch.setattr(fold_in, "_DURING", 100)
    monkeypatch.setattr(fold_in, "_DONE", 1e-22)
    method = PRM(**{**SMALL, **fields}, contexts=(0, 5), targets=3)
    rng, crowd, x, _ = random_problem(7)
    network, _ = random_network(method, x.shape[1], crowd.n_users, 7)
    batch = method._draw(crowd, rng)
    method._loss(network, crowd, batch).backward()
    for name, parameter in network.named_parameters():
        for place in rng.choice(parameter.numel(), 3):
            flat, values = parameter.data.view(-1), []
            for step in (1e-5, -2e-5):
                flat[place] += step
                values.append(method._loss(network, crowd, batch).item())
            flat[place] += 1e-5
            slope = (values[0] - values[1]) / 2e-5
            assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-7), name


def test_the_few_steps_of_training_come_near_enough_to_the_modes():
    method = PRM(**SMALL, contexts=(0, 5), targets=3)
    rng, crowd, x, anchor = random_problem(1)
    network, weights = random_network(method, x.shape[1], crowd.n_users, 1)
    batch = method._draw(crowd, rng)
    slow = slow_loss(method, weights, x, anchor, crowd.pairs, batch, np.diff(crowd.starts))
    assert method._loss(network, crowd, batch).item() == pytest.approx(slow, rel=1e-4)


@pytest.mark.parametrize(("spread", "scale"), [(0.0, 1.0), (0.0, 20.0), (2.0, 1.0), (4.0, 10.0)])
def test_a_users_mode_is_a_minimum_of_their_own(spread, scale):
    """Confident choices too; and no user depends on another of the batch."""
    rng = np.random.default_rng(int(scale))
    gaps, target = torch.as_tensor(scale * rng.normal(size=(6, 8, 4))), torch.ones(6, 8).double()
    seen = torch.as_tensor((np.arange(8) < rng.integers(1, 9, size=(6, 1))).astype(float))
    reader = fold_in.Reader(4, spread)

    def latent(gaps):
        """Winners' views are the gaps; the losers' are zero."""
        views = torch.cat([torch.zeros(1, 5).double(), torch.nn.functional.pad(gaps.reshape(-1, 4), (1, 0))])
        won = 1 + torch.arange(len(gaps) * 8).reshape(-1, 8)
        return reader.latent(views, torch.zeros(len(views)).double(), torch.stack([won, 0 * won]))

    with torch.no_grad():
        ours = settle(latent(gaps), target, seen, 4, 200)
        apart = [
            settle(latent(gaps[i : i + 1]), target[i : i + 1], seen[i : i + 1], 4, 200) for i in range(6)
        ]
    np.testing.assert_allclose(ours, torch.cat(apart), atol=1e-4)

    def energy(w, i):
        m = softmax(spread * w) if spread else w
        return 0.5 * w @ w - (log_expit(gaps[i].numpy() @ m) * seen[i].numpy()).sum()

    for i in range(6):
        found = minimize(energy, ours[i].numpy(), args=(i,), method="BFGS", options={"gtol": 1e-9})
        assert energy(ours[i].numpy(), i) < found.fun + 1e-7


# ---- the contract, and the pitfalls ------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"users": "cluster"}, {"offsets": "learned"}])
def test_small_forms_pass_the_conformance_suite(fields):
    check_method(lambda: PRM(**{**SMALL, **fields}))


def test_the_defaults_pass_the_conformance_suite():
    check_method(lambda: PRM())


@pytest.mark.parametrize("fields", [{}, {"users": "cluster"}, {"offsets": "learned"}])
def test_an_empty_history_is_user_zero(fields):
    method = PRM(**{**SMALL, **fields}).fit(people())
    nobody, silent = method.adapt(History("")), method.adapt(History("new"))
    answers = ["Start early.", "It helps to write it all down before you decide."]
    zero, scores = (method.score(p, "Q", answers) for p in (Persona(), silent))
    np.testing.assert_array_equal(zero, scores)
    user_zero = np.full(3, 1 / 3) if fields.get("users") == "cluster" else np.zeros(3)
    np.testing.assert_allclose(nobody.vector, user_zero, atol=1e-6)


def test_user_zero_is_trained_on_every_pair_and_alone_where_alpha_is_zero():
    rng, crowd, x, _ = random_problem(2)
    method = PRM(**SMALL, offsets="learned", alpha=0.0)
    network, _ = random_network(method, x.shape[1], crowd.n_users, 2)
    batch = method._draw(crowd, rng)
    method._loss(network, crowd, batch).backward()
    assert network.unknown.grad.abs().max() > 0
    assert network.users.grad is None or network.users.grad.abs().max() == 0


def test_a_new_user_changes_nothing_but_their_own_numbers():
    readers = people(users=6, rows=8, seed=3)
    method = PRM(**SMALL).fit(people())
    before, alone = method.weights_.copy(), method.adapt(readers.history(2))
    together = method.adapt_batch(readers)
    np.testing.assert_array_equal(method.weights_, before)
    np.testing.assert_allclose(together.vectors[2], alone.vector, atol=1e-5)
    assert together.vectors.shape == (readers.n_users, 3)


def test_training_users_keep_no_row_where_offsets_are_solved():
    few, many = (PRM(**SMALL).fit(people(users=n)) for n in (8, 16))
    assert len(few.weights_) == len(many.weights_)
    learned = PRM(**SMALL, offsets="learned").fit(people(users=8))
    assert len(learned.weights_) == len(few.weights_) + 3 * learned.users_


class Stopped(Exception):
    pass


@pytest.mark.parametrize("users", ["individual", "cluster"])
def test_an_interrupted_training_ends_at_the_same_numbers(users, tmp_path):
    fields = {**SMALL, "users": users, "steps": 60, "every": 10, "patience": 100}
    population = people(users=12)
    whole = PRM(**fields).fit(population)

    def stop(what, done, total):
        if done >= 30:
            raise Stopped

    with pytest.raises(Stopped), job(tmp_path, stop):
        PRM(**fields).fit(population)
    steps = []
    with job(tmp_path, lambda what, done, total: steps.append(done)):
        again = PRM(**fields).fit(population)
    assert steps[0] == 30
    np.testing.assert_array_equal(again.weights_, whole.weights_)


def test_a_saved_model_scores_alike(tmp_path):
    readers = people(users=3, seed=1)
    method = PRM(**SMALL, users="cluster").fit(people())
    method.save(tmp_path / "model")
    again = load(tmp_path / "model")
    ours, theirs = (m.adapt_batch(readers).vectors for m in (method, again))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("users", ["individual", "cluster"])
def test_it_learns_in_bfloat16(users):
    method = PRM(**SMALL, users=users, precision="bfloat16").fit(people())
    assert np.isfinite(method.weights_).all()
    assert method.weights_.dtype == np.float32
    assert np.ptp(method.adapt_batch(people(users=5, seed=2)).vectors[0]) > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"users": "groups"}, "individual or cluster"),
        ({"offsets": "table"}, "solved or learned"),
        ({"alpha": 1.5}, "from 0 to 1"),
        ({"contexts": (5, 2)}, "least, most"),
        ({"size": 0}, "above 0"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_wrong_fields_are_refused_kindly(fields, message):
    with pytest.raises(ConfigError, match=message):
        PRM(**fields).fit(people(users=4))


# ---- known truth -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clustered():
    fields = {"users": "cluster", "clusters": 3, "steps": 150, "contexts": (0, 15)}
    return PRM(**fields).fit(three_groups(0))


def three_groups(seed, users=90, rows=24, items=120, dim=6):
    """Readers in three groups, each with a direction of features of its own; group is user number mod 3."""
    from palate.core import Feedback, Population, as_conversation

    rng = np.random.default_rng(seed)
    x = np.random.default_rng(99).normal(size=(items, dim)).astype(np.float32)
    taste, talk = 4 * np.eye(dim)[:3], as_conversation("Q")
    feedback = []
    for user in range(users):
        for row in range(rows):
            a, b = rng.choice(items, 2, replace=False)
            first = rng.random() < 1 / (1 + np.exp(-(x[a] - x[b]) @ taste[user % 3]))
            texts = (f"text {a}", f"text {b}")
            feedback.append(Feedback(f"u{user}", talk, texts, 0 if first else 1, f"{seed}-{user}-{row}"))
    crowd = Population.of(feedback)
    number = [int(text.split()[1]) for text in crowd.corpus.responses]
    remember(crowd.corpus, "lexical", x[number][crowd.corpus.item_response])
    return crowd


def test_clusters_find_planted_groups(clustered):
    """Users never seen: each is assigned to the cluster that weighs most; purity counts the majority."""
    readers = three_groups(1, users=60)
    assigned = clustered.adapt_batch(readers.head(15)).vectors.argmax(1)
    group = np.arange(60) % 3
    purity = sum(np.bincount(group[assigned == c]).max() for c in np.unique(assigned)) / 60
    assert len(np.unique(assigned)) == 3
    assert purity > 0.95


@pytest.mark.parametrize("fields", [{}, {"users": "cluster", "clusters": 2}])
def test_two_tastes_are_told_apart(fields):
    task = task_of(TWO)
    method = PRM(**fields, steps=150).fit(task.fit_on)
    right = differences(method, method.adapt_batch(task.context), task.context, task.targets) > 0
    assert right.mean() > 0.9
    blind = method.adapt_batch(task.context.head(0))
    guessed = differences(method, blind, task.context, task.targets) > 0
    assert abs(guessed.mean() - 0.5) < 0.1
