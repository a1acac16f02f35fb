"""GPO: the loss by its definition, one token at a time; what must not matter; learning from context alone."""

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax
from taste_worlds import TWO, accuracy, fitted, log_loss, task_of

from palate.checks import check_method, people
from palate.core import ConfigError, FitDiverged, Persona, job
from palate.feedback.world_bounds import average_bound
from palate.reward.crowd import Crowd, sample_episode
from palate.reward.gpo import GPO, in_runs

SMALL = GPO(width=8, layers=2, heads=2, feedforward=12, depth=2, context=6, targets=4, batch=7, dropout=0.0)


# ---- the definition, one user and one token at a time ------------------------------------------------


def literal_loss(method, state, x, anchor, pairs, episode, dtype=np.float64):
    """The loss of a mini-batch as the module's text writes it; ``state`` is the network's state_dict."""
    w = {name: np.asarray(value, dtype) for name, value in state.items()}
    x, anchor = np.asarray(x, dtype), np.asarray(anchor, dtype)

    def linear(name, v):
        return w[f"{name}.weight"] @ v + w.get(f"{name}.bias", dtype(0))

    def gelu(v):
        return v * (1 + erf(v / dtype(np.sqrt(2)))) / 2

    def norm(name, v):
        spread = np.sqrt(((v - v.mean()) ** 2).mean() + dtype(1e-5))
        return (v - v.mean()) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def embed(item):
        v = x[item] * dtype(method.scale * np.sqrt(x.shape[1]))
        for number in range(method.depth):
            v = linear(f"tower.{2 * number}", gelu(v) if number else v)
        return v

    def through(layer, v, context):
        """One token through one layer, attending to the context's tokens."""
        name, m = f"layers.{layer}", method.width
        query = linear(f"{name}.query", norm(f"{name}.before", v))
        read = []
        for head in np.arange(m).reshape(method.heads, -1):
            memory = [linear(f"{name}.memory", norm(f"{name}.before", c)) for c in context]
            match = [query[head] @ kv[:m][head] / dtype(np.sqrt(len(head))) for kv in memory]
            read.append(sum(a * kv[m:][head] for a, kv in zip(softmax(match), memory, strict=True)))
        v = v + linear(f"{name}.join", np.concatenate(read))
        inner = gelu(linear(f"{name}.mlp.0", norm(f"{name}.between", v)))
        return v + linear(f"{name}.mlp.2", inner)

    def score(item, shown):
        tokens = []
        for pair in shown:
            a, b = embed(pairs.winner[pair]), embed(pairs.loser[pair])
            lean = dtype(2 * pairs.target[pair] - 1)
            tokens.append(linear("gap", lean * (a - b)) + linear("sum", a + b))
        context, v = [w["nobody"], *tokens], linear("target", embed(item))
        for layer in range(method.layers):
            v, context = through(layer, v, context), [through(layer, c, context) for c in context]
        out = (w["out.weight"] @ norm("last", v))[0] + anchor[item]
        if method.skip:
            mean = sum((gelu(t) for t in tokens), np.zeros(method.width, dtype))
            out += embed(item) @ linear("taste", mean / (len(tokens) + np.exp(w["doubt"])))
        return out

    losses = []
    for user in range(len(episode.users)):
        shown = episode.context[user][episode.seen[user]]
        for pair in episode.target[user][episode.asked[user]]:
            d, t = score(pairs.winner[pair], shown) - score(pairs.loser[pair], shown), pairs.target[pair]
            losses.append(t * np.logaddexp(0, -d) + (1 - t) * np.logaddexp(0, d))
    return float(np.mean(losses))


def sample(method, seed, dim=5):
    """Random features, weights and a mini-batch, in float64."""
    rng = np.random.default_rng(seed)
    population = people(users=12, rows=12, seed=seed)
    n = len(population.corpus)
    x = torch.from_numpy(rng.normal(size=(n, dim)) / np.sqrt(dim))
    crowd = Crowd.of(population, x, torch.from_numpy(rng.normal(size=n)))
    torch.manual_seed(seed)
    network = method._network(dim, 12).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return network, crowd, method._draw(crowd, rng)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skip", [True, False])
def test_the_loss_is_its_definition(seed, skip):
    method = SMALL.clone(skip=skip)
    network, crowd, batch = sample(method, seed)
    assert (crowd.pairs.target[batch.context[batch.seen]] == 0.5).any() or seed != 1
    state = {name: value.detach() for name, value in network.state_dict().items()}
    expected = literal_loss(method, state, crowd.x, crowd.anchor, crowd.pairs, batch)
    assert method._loss(network, crowd, batch).item() == pytest.approx(expected, rel=1e-9)


def test_gradients_are_those_of_finite_differences():
    network, crowd, batch = sample(SMALL, 4)
    SMALL._loss(network, crowd, batch).backward()
    rng, checked = np.random.default_rng(0), 0
    for name, weight in network.named_parameters():
        flat, slope = weight.data.view(-1), weight.grad.view(-1)
        at = int(rng.integers(len(flat)))
        old, values = float(flat[at]), []
        for step in (1e-5, -1e-5):
            flat[at] = old + step
            values.append(SMALL._loss(network, crowd, batch).item())
        flat[at] = old
        numeric = (values[0] - values[1]) / 2e-5
        assert float(slope[at]) == pytest.approx(numeric, rel=1e-4, abs=1e-8), name
        checked += bool(abs(numeric) > 1e-6)
    assert checked > 15


# ---- what must not matter ----------------------------------------------------------------------------


def test_a_token_knows_who_won_and_not_who_stood_first():
    network, _, _ = sample(SMALL, 0)
    a, b = torch.randn(2, 9, SMALL.width, dtype=torch.float64)
    won, lost, tied = (torch.full((9,), t, dtype=torch.float64) for t in (1.0, 0.0, 0.5))
    torch.testing.assert_close(network.tokens(a, b, won), network.tokens(b, a, lost))
    torch.testing.assert_close(network.tokens(a, b, tied), network.tokens(b, a, tied))
    assert (network.tokens(a, b, won) - network.tokens(b, a, won)).abs().min() > 1e-9


def test_order_padding_and_other_questions_do_not_matter():
    network, _, _ = sample(SMALL, 1)
    tokens, items = (torch.randn(3, n, SMALL.width, dtype=torch.float64) for n in (6, 5))
    seen = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    scores = network(items, *network.read(tokens, seen), seen)
    order = torch.randperm(6)
    again = network(items, *network.read(tokens[:, order], seen[:, order]), seen[:, order])
    torch.testing.assert_close(again, scores)
    other = torch.where(seen[..., None], tokens, 1e3 * torch.ones_like(tokens))
    torch.testing.assert_close(network(items, *network.read(other, seen), seen), scores)
    alone = torch.stack(
        [network(items[:, i, None], *network.read(tokens, seen), seen)[:, 0] for i in range(5)], 1
    )
    torch.testing.assert_close(alone, scores)
    short = network(items[1:2], *network.read(tokens[1:2, :4], seen[1:2, :4]), seen[1:2, :4])
    torch.testing.assert_close(short, scores[1:2])


def test_a_context_is_of_the_user_that_is_asked():
    _, crowd, batch = sample(SMALL, 2)
    users = crowd.pairs.user
    assert (users[batch.context] == batch.users[:, None])[batch.seen].all()
    assert (users[batch.target] == batch.users[:, None])[batch.asked].all()
    rng = np.random.default_rng(0)
    sizes = [SMALL._draw(crowd, rng).seen.sum(1) for _ in range(20)]
    assert np.min(sizes) == 0  # the population's answer is trained too
    assert np.max(sizes) == SMALL.context


def test_runs_ask_every_question_once_and_pad_little():
    rng = np.random.default_rng(0)
    for n, personas, longest in ((1, 1, 4), (50, 7, 4), (1000, 90, 64), (500, 500, 64), (0, 3, 4)):
        who = rng.integers(personas, size=n) // rng.integers(1, 3)
        persona, place, there = in_runs(who, personas, longest)
        assert sorted(place[there]) == list(range(n))
        assert (who[place] == persona[:, None])[there].all()
        assert place.shape[1] <= longest
        assert there.any(axis=1).all()
        assert place.size <= 2 * n + len(np.unique(who)) + 1


def test_only_the_latest_pairs_are_kept():
    population = people(users=6, rows=9, seed=1)
    method = GPO(context=3, steps=5).fit(people())
    whole, latest = method.adapt_batch(population), method.adapt_batch(
        population.take_rows(population.rank >= 5)
    )  # fmt: skip
    np.testing.assert_allclose(whole.vectors, latest.vectors, atol=1e-5)
    assert whole.vectors.shape[1] == 3 * (method.width + 1)
    assert whole.vectors.reshape(7, 3, -1)[:, :, -1].sum(1).tolist() == [3.0] * 6 + [0.0]


# ---- learning ----------------------------------------------------------------------------------------


def test_it_infers_the_taste_from_the_context():
    bound = average_bound(TWO.sample()).accuracy
    assert accuracy("gpo", TWO) > 0.9
    assert abs(accuracy("gpo", TWO, 0) - bound) < 0.06
    by_choices = [log_loss("gpo", TWO, n) for n in (0, 1, 4, 30)]
    assert max(by_choices[1:]) < 0.3 < 0.6 < by_choices[0] < 0.75  # here one choice can tell all


def test_without_choices_everybody_is_nobody():
    model, task = fitted("gpo", TWO), task_of(TWO)
    vectors = model.adapt_batch(task.context.head(0)).vectors
    np.testing.assert_array_equal(vectors, np.zeros_like(vectors))
    texts = task.context.corpus.responses[:5]
    empty = model.adapt_batch(task.context.head(0))[0]
    np.testing.assert_array_equal(model.score(empty, "Q", texts), model.score(Persona(), "Q", texts))


def test_test_users_texts_do_not_reach_the_fit():
    """Only what training users saw sets the weights: no statistics over train and test together."""
    task = task_of(TWO)
    whole, own = (GPO(steps=10, dropout=0.0).fit(p) for p in (task.fit_on, task.fit_on.compact()))
    assert len(task.fit_on.corpus) > len(task.fit_on.compact().corpus)
    np.testing.assert_allclose(own.weights_, whole.weights_, atol=2e-3)


class Stopped(Exception):
    pass


def test_an_interrupted_training_ends_at_the_same_numbers(tmp_path):
    task, make = task_of(TWO), lambda: GPO(steps=40, every=10, patience=100)
    whole = make().fit(task.fit_on)

    def stop(what, done, total):
        if done >= 20:
            raise Stopped

    with pytest.raises(Stopped), job(tmp_path, stop):
        make().fit(task.fit_on)
    steps = []
    with job(tmp_path, lambda what, done, total: steps.append(done)):
        again = make().fit(task.fit_on)
    assert steps[0] == 20
    np.testing.assert_array_equal(again.weights_, whole.weights_)


def test_it_passes_the_conformance_suite():
    check_method(lambda: GPO(steps=20, every=10, width=16, layers=2, context=8))


def test_half_precision_learns_too():
    task = task_of(TWO)
    method = GPO(steps=50, precision="bfloat16").fit(task.fit_on)
    assert method.history_[-1][1] < method.history_[0][1]


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 30}, "multiple of the heads"),
        ({"layers": 0}, "layers=0; expected 1 or more"),
        ({"batch": 0}, "batch=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"scale": 0.0}, "scale=0.0"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        GPO(**fields).fit(people())


def test_a_diverging_fit_says_what_to_change():
    with pytest.raises(FitDiverged, match="learning_rate"):
        GPO(learning_rate=1e30, steps=20, every=5).fit(people())


def test_an_episode_without_context_is_scored():
    """Users with one pair each show nothing: the batch has a context of width zero."""
    network, crowd, _ = sample(SMALL, 3)
    alone = sample_episode(crowd, np.random.default_rng(0), np.arange(3), (0, 0), 2)
    assert alone.context.shape[1] == 0
    assert torch.isfinite(SMALL._loss(network, crowd, alone))
