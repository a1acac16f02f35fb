"""PAL: its loss against a loop over users and pairs, its two variants, and planted ideal points."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import erf, log_expit, softmax
from taste_worlds import TWO, task_of

from palate.catalogue import load
from palate.checks import check_method, people
from palate.core import ConfigError, Feedback, Pairs, Population, as_conversation, job
from palate.gate import differences
from palate.models.features import embed_texts, remember
from palate.reward import fold_in
from palate.reward.crowd import Crowd
from palate.reward.pal import PAL

SMALL = {"steps": 40, "every": 20, "size": 3, "prototypes": 3, "hidden": 8, "batch": 16, "dropout": 0.0}


# ---- a plain implementation, one user and one pair at a time -----------------------------------------


def nll(f, t):
    return -t * log_expit(f) - (1 - t) * log_expit(-f)


def slow_loss(method, weights, talk, x, anchor, pairs, batch, kind=np.float64):
    """The loss of a mini-batch by the paper's equations; ``talk`` numbers of x are the conversation's."""
    g = {k: v.astype(kind) for k, v in weights.items()}

    def net(name, v):
        hidden = g[f"{name}.0.weight"] @ v + g[f"{name}.0.bias"]
        hidden = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2)))
        return g[f"{name}.2.weight"] @ hidden + g.get(f"{name}.2.bias", 0.0)

    def reward(item, w):
        share, v = softmax(method.spread * w), x[item]
        own, asked = v[: len(v) - talk], v[len(v) - talk :]
        points = net("ideals", asked).reshape(-1, method.size) if talk else g["prototypes"]
        ideal, f = share @ points, net("place", own)
        return anchor[item] + (f @ ideal if method.variant == "B" else -np.linalg.norm(f - ideal))

    def latent(pair, w):
        return reward(pairs.winner[pair], w) - reward(pairs.loser[pair], w)

    total, count, size = 0.0, 0, method.prototypes
    for i in range(len(batch.users)):
        past = batch.context[i][batch.seen[i]]

        def energy(w, past=past):
            return 0.5 * w @ w + sum(nll(latent(p, w), pairs.target[p]) for p in past)

        w = np.zeros(size)
        if len(past):
            w = minimize(energy, w, method="BFGS", options={"gtol": 1e-9}).x
        for pair in batch.target[i][batch.asked[i]]:
            told, untold = (nll(latent(pair, v.astype(kind)), pairs.target[pair]) for v in (w, 0 * w))
            total += method.alpha * told + (1 - method.alpha) * untold
            count += 1
    return total / count


def random_problem(seed, talk, users=5, rows=9, items=20, dim=6):
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(items), (users * rows, 1)), axis=1)[:, :2]
    target = rng.choice([1.0, 1.0, 0.5], users * rows)
    pairs = Pairs(np.repeat(np.arange(users), rows), *drawn.T.copy(), target, np.arange(users * rows))
    x, anchor = rng.normal(size=(items, dim + talk)), rng.normal(size=items)
    return rng, Crowd(torch.as_tensor(x), torch.as_tensor(anchor), pairs, np.arange(users + 1) * rows)


def random_network(method, talk, seed):
    torch.manual_seed(seed)
    method.talk_ = talk
    network = method._network(6 + talk, 5).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return network


FORMS = [("A", 0, {}), ("B", 0, {}), ("B", 4, {}), ("A", 0, {"alpha": 0.5, "spread": 4.0})]


@pytest.fixture
def converged(monkeypatch):
    monkeypatch.setattr(fold_in, "_DURING", 100)
    monkeypatch.setattr(fold_in, "_DONE", 1e-22)


@pytest.mark.parametrize(("variant", "talk", "fields"), FORMS)
def test_the_loss_is_that_of_a_loop_over_users_and_pairs(variant, talk, fields, converged):
    method = PAL(**SMALL, **fields, variant=variant, contexts=(0, 5), targets=3)
    for seed in range(3):
        rng, crowd = random_problem(seed, talk)
        network, batch = random_network(method, talk, seed), method._draw(crowd, rng)
        weights = {k: v.detach().numpy() for k, v in network.state_dict().items()}
        x, anchor = crowd.x.numpy(), crowd.anchor.numpy()
        slow = slow_loss(method, weights, talk, x, anchor, crowd.pairs, batch)
        assert method._loss(network, crowd, batch).item() == pytest.approx(slow, rel=1e-6)


@pytest.mark.parametrize(("variant", "talk", "fields"), FORMS)
def test_the_gradient_is_that_of_finite_differences(variant, talk, fields, converged):
    """Through the users' mixtures too."""
    method = PAL(**SMALL, **fields, variant=variant, contexts=(0, 5), targets=3)
    rng, crowd = random_problem(5, talk)
    network, batch = random_network(method, talk, 5), method._draw(crowd, rng)
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


# ---- the contract, and the pitfalls ------------------------------------------------------------------


def test_a_small_form_of_a_passes_the_conformance_suite():
    check_method(lambda: PAL(**SMALL, variant="A"))


def test_the_defaults_pass_the_conformance_suite():
    check_method(lambda: PAL())


@pytest.mark.parametrize("variant", ["A", "B"])
def test_a_persona_is_a_point_of_the_simplex_and_of_nobody_its_middle(variant):
    method = PAL(**SMALL, variant=variant).fit(people())
    vectors = method.adapt_batch(people(users=5, seed=2)).vectors
    assert (vectors > 0).all()
    np.testing.assert_allclose(vectors.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors[-1], 1 / 3, atol=1e-6)  # people()'s last reader has no choice
    assert np.ptp(vectors[0]) > 0


def test_a_new_user_changes_nothing_but_their_own_mixture():
    readers = people(users=6, rows=8, seed=3)
    method = PAL(**SMALL, variant="A").fit(people())
    before, alone = method.weights_.copy(), method.adapt(readers.history(2))
    together = method.adapt_batch(readers)
    np.testing.assert_array_equal(method.weights_, before)
    np.testing.assert_allclose(together.vectors[2], alone.vector, atol=1e-5)


def test_b_reads_the_conversation_where_there_is_more_than_one():
    """The same answers are scored otherwise in another conversation; with one conversation they are not."""
    crowd = people()
    method = PAL(**SMALL, variant="B").fit(crowd)
    assert method.talk_ == embed_texts(["a"], "lexical").shape[1]
    reader, answers = method.adapt(crowd.history(0)), ["Start early.", "Keep a very long list of notes."]
    here, there = (method.score(reader, talk, answers) for talk in ("cooking lentils", "saving money"))
    assert not np.allclose(here, there)
    talk = as_conversation("Q")
    rows = [Feedback(f"u{i % 8}", talk, (f"good {i}", f"bad {i}"), i % 2, f"r{i}") for i in range(64)]
    plain = PAL(**SMALL, variant="B").fit(Population.of(rows))
    assert plain.talk_ == 0
    reader = plain.adapt(Population.of(rows).history(0))
    here, there = (plain.score(reader, talk, answers) for talk in ("cooking lentils", "saving money"))
    np.testing.assert_array_equal(here, there)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("variant", ["A", "B"])
def test_an_interrupted_training_ends_at_the_same_numbers(variant, tmp_path):
    fields = {**SMALL, "variant": variant, "steps": 60, "every": 10, "patience": 100}
    whole = PAL(**fields).fit(people(users=12))

    def stop(what, done, total):
        if done >= 30:
            raise Stopped

    with pytest.raises(Stopped), job(tmp_path, stop):
        PAL(**fields).fit(people(users=12))
    steps = []
    with job(tmp_path, lambda what, done, total: steps.append(done)):
        again = PAL(**fields).fit(people(users=12))
    assert steps[0] == 30
    np.testing.assert_array_equal(again.weights_, whole.weights_)


@pytest.mark.parametrize("variant", ["A", "B"])
def test_a_saved_model_scores_alike(variant, tmp_path):
    readers = people(users=3, seed=1)
    method = PAL(**SMALL, variant=variant).fit(people())
    method.save(tmp_path / "model")
    again = load(tmp_path / "model")
    personas = [m.adapt_batch(readers) for m in (method, again)]
    np.testing.assert_array_equal(personas[0].vectors, personas[1].vectors)
    answers = ["Start early.", "Ask a friend."]
    np.testing.assert_array_equal(
        *(m.score(p[0], "Q", answers) for m, p in zip((method, again), personas, strict=True))
    )


@pytest.mark.parametrize("variant", ["A", "B"])
def test_it_learns_in_bfloat16(variant):
    method = PAL(**SMALL, variant=variant, precision="bfloat16").fit(people())
    assert np.isfinite(method.weights_).all()
    assert method.weights_.dtype == np.float32
    assert np.ptp(method.adapt_batch(people(users=5, seed=2)).vectors[0]) > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"variant": "C"}, "'A' or 'B'"), ({"prototypes": 0}, "above 0"), ({"spread": -1.0}, "above 0")],
)
def test_wrong_fields_are_refused_kindly(fields, message):
    with pytest.raises(ConfigError, match=message):
        PAL(**fields).fit(people(users=4))


# ---- known truth -------------------------------------------------------------------------------------

POINTS = np.array([[1.2, 0.0, 0.0], [-1.2, 0.4, 0.0]])


def around_points(seed, users=80, rows=24, items=150):
    """Readers who want what is nearest to one of two points of the features' space, by turns."""
    rng = np.random.default_rng(seed)
    x = np.random.default_rng(99).uniform(-2, 2, size=(items, 3)).astype(np.float32)
    talk, feedback = as_conversation("Q"), []
    for user in range(users):
        distance = np.linalg.norm(x - POINTS[user % 2], axis=1)
        for row in range(rows):
            a, b = rng.choice(items, 2, replace=False)
            first = rng.random() < 1 / (1 + np.exp(6 * (distance[a] - distance[b])))
            texts = (f"text {a}", f"text {b}")
            feedback.append(Feedback(f"u{user}", talk, texts, 0 if first else 1, f"{seed}-{user}-{row}"))
    crowd = Population.of(feedback)
    number = np.array([int(text.split()[1]) for text in crowd.corpus.responses])[crowd.corpus.item_response]
    remember(crowd.corpus, "lexical", x[number])
    return crowd, x[number]


def test_a_recovers_two_planted_ideal_points():
    """For readers never seen, the items that score best stand about their own point."""
    fields = {"variant": "A", "prototypes": 2, "steps": 400, "anchor": False, "dropout": 0.0}
    method = PAL(**fields).fit(around_points(0)[0])
    readers, x = around_points(1, users=20)
    vectors = method.adapt_batch(readers.head(15)).vectors
    share = vectors[:, int(vectors[0, 1] > vectors[0, 0])]
    assert share[::2].min() > 0.6 > 0.4 > share[1::2].max()
    network, views = method._trained(), torch.as_tensor(x)
    for user, vector in enumerate(vectors):
        with torch.no_grad():
            score = method._rewards(network, views, torch.as_tensor(vector).expand(len(x), -1)).numpy()
        nearest = x[np.argsort(-score)[:8]].mean(0)
        distance = np.linalg.norm(nearest - POINTS, axis=1)
        assert distance.argmin() == user % 2
        assert distance.min() < 0.8


@pytest.mark.parametrize("variant", ["A", "B"])
def test_two_tastes_are_told_apart(variant):
    task = task_of(TWO)
    method = PAL(variant=variant, prototypes=4, steps=150).fit(task.fit_on)
    right = differences(method, method.adapt_batch(task.context), task.context, task.targets) > 0
    assert right.mean() > 0.9
