"""VPL: the loss by its definition, one pair at a time; the posterior; learning from the context alone."""

import numpy as np
import pytest
import torch
from taste_worlds import TWO, accuracy, fitted, log_loss, log_odds, task_of

from palate.checks import check_method, people
from palate.core import ConfigError, FitDiverged, Persona, Queries, Query, Uncertain, job
from palate.feedback.world_bounds import average_bound
from palate.reward.crowd import Crowd
from palate.reward.neural import NeuralMethod
from palate.reward.vpl import VPL, kl_from_prior

SMALL = VPL(hidden=8, latent=3, context=6, targets=4, batch=7, dropout=0.0, beta=0.3)


# ---- the definition, one user and one pair at a time -------------------------------------------------


def literal_loss(method, state, x, anchor, pairs, batch, dtype=np.float64):
    """The loss of a mini-batch as the module's text writes it; ``state`` is the network's state_dict."""
    w = {name: np.asarray(value, dtype) for name, value in state.items()}
    x, anchor, scale = (
        np.asarray(x, dtype),
        np.asarray(anchor, dtype),
        dtype(method.scale * np.sqrt(x.shape[1])),
    )

    def linear(name, v):
        return w[f"{name}.weight"] @ v + w.get(f"{name}.bias", dtype(0))

    def leaky(v):
        return np.where(v > 0, v, dtype(0.2) * v)

    def encode(winner, loser):
        both = np.concatenate([scale * x[winner], scale * x[loser]])
        first = np.hstack([w["winner.weight"], w["loser.weight"]]) @ both + w["winner.bias"]
        return linear("pair.2", leaky(linear("pair.0", leaky(first))))

    def posterior(shown):
        u = []
        for pair in shown:
            a, b, t = pairs.winner[pair], pairs.loser[pair], dtype(pairs.target[pair])
            u.append(t * encode(a, b) + (1 - t) * encode(b, a))
        total = np.zeros(method.hidden, dtype)
        for mine in u:
            match = np.array([linear("query", mine) @ linear("key", v) for v in u]) / dtype(
                np.sqrt(len(mine))
            )
            weight = np.exp(match - match.max())
            total = total + sum(a * linear("value", v) for a, v in zip(weight / weight.sum(), u, strict=True))
        divisor = len(u) + np.exp(w["doubt"])
        e = total / divisor
        v = linear("log_variance", e) - w["settle"] * len(u) / divisor
        return linear("mean", e), np.clip(v, *map(dtype, method.bounds))

    def score(item, z):
        phi = scale * x[item]
        both = np.hstack([w["decoder.weight"], w["of_latent.weight"]]) @ np.concatenate([phi, z])
        inner = leaky(linear("inner", leaky(both + w["decoder.bias"])))
        return (w["out.weight"] @ inner)[0] + linear("taste", phi) @ z + anchor[item]

    episode, noise = batch
    losses, divergences = [], []
    for user in range(len(episode.users)):
        mean, v = posterior(episode.context[user][episode.seen[user]])
        z = mean + np.exp(v / 2) * noise[user].astype(dtype)
        divergences.append(sum((m * m + np.exp(s) - 1 - s) / 2 for m, s in zip(mean, v, strict=True)))
        for pair in episode.target[user][episode.asked[user]]:
            d, t = score(pairs.winner[pair], z) - score(pairs.loser[pair], z), pairs.target[pair]
            losses.append(t * np.logaddexp(0, -d) + (1 - t) * np.logaddexp(0, d))
    return float(np.mean(losses) + method.beta * np.mean(divergences))


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
            if weight.requires_grad:
                weight += 0.4 * torch.randn_like(weight)
    return network, crowd, method._draw(crowd, rng)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bilinear", [True, False])
def test_the_loss_is_its_definition(seed, bilinear):
    method = SMALL.clone(bilinear=bilinear)
    network, crowd, batch = sample(method, seed)
    assert (crowd.pairs.target[batch[0].context[batch[0].seen]] == 0.5).any() or seed != 1
    assert bool(network.taste.weight.any()) == bilinear
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
        for step in (1e-6, -1e-6):
            flat[at] = old + step
            values.append(SMALL._loss(network, crowd, batch).item())
        flat[at] = old
        numeric = (values[0] - values[1]) / 2e-6
        assert float(slope[at]) == pytest.approx(numeric, rel=1e-4, abs=1e-7), name
        checked += bool(abs(numeric) > 1e-6)
    assert checked > 10


def test_the_divergence_is_that_of_two_normals():
    mean, log_variance = torch.randn(2, 4, 3, dtype=torch.float64)
    ours = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(ours, prior).sum(-1)
    torch.testing.assert_close(kl_from_prior(mean, log_variance), expected)


# ---- the posterior -----------------------------------------------------------------------------------


def test_noise_enters_in_training_and_the_mean_is_used_after():
    """z is the same thing in both: without noise the training loss is that of the scores."""
    method = SMALL.clone(beta=0.0)
    network, crowd, (episode, noise) = sample(method, 1)
    quiet = method._loss(network, crowd, (episode, 0 * noise)).item()
    assert quiet != method._loss(network, crowd, (episode, noise)).item()
    mean, _ = method._posterior(network, crowd, episode.context, episode.seen)
    user = np.broadcast_to(np.arange(len(mean))[:, None], episode.target.shape)[episode.asked]
    pair = episode.target[episode.asked]
    ahead, behind = (items[pair] for items in (crowd.pairs.winner, crowd.pairs.loser))
    d = sum(
        sign * (method._rewards(network, crowd.x[i], mean[user]) + crowd.anchor[i])
        for sign, i in ((1, ahead), (-1, behind))
    )
    t = torch.from_numpy(crowd.pairs.target[pair])
    literal = torch.nn.functional.binary_cross_entropy_with_logits(d, t)
    assert quiet == pytest.approx(literal.item(), rel=1e-9)


def test_the_latent_is_neither_normalised_nor_drawn_when_scoring():
    model, task = fitted("vpl", TWO), task_of(TWO)
    texts = task.context.corpus.responses[:4]
    vector = np.array(model.adapt(task.context.history(0)).vector)
    k = model.latent
    wider = np.concatenate([vector[:k], vector[k:] + 0.5])[None]
    longer = np.concatenate([2 * vector[:k], vector[k:]])[None]
    queries = Queries.of([Query(Persona(), "Q", tuple(texts))])
    scores = [model._log_odds(v, queries) for v in (vector[None], wider, longer)]
    factor = scores[1] / scores[0]  # more doubt makes the answer less sure, and changes nothing else
    np.testing.assert_allclose(factor, factor[0], rtol=1e-6)
    assert 0.5 < factor[0] < 1.0
    assert np.abs(scores[0] - scores[2]).max() > 0.01


def test_a_context_is_of_the_user_that_is_asked():
    _, crowd, (episode, noise) = sample(SMALL, 2)
    users = crowd.pairs.user
    assert (users[episode.context] == episode.users[:, None])[episode.seen].all()
    assert (users[episode.target] == episode.users[:, None])[episode.asked].all()
    rng = np.random.default_rng(0)
    sizes = [SMALL._draw(crowd, rng)[0].seen.sum(1) for _ in range(20)]
    assert np.min(sizes) == 0  # the prior is trained too
    assert np.max(sizes) == SMALL.context
    assert noise.shape == (SMALL.batch, SMALL.latent)


def test_padding_and_the_order_of_choices_do_not_matter():
    network, crowd, (episode, _) = sample(SMALL, 0)
    mean, v = SMALL._posterior(network, crowd, episode.context, episode.seen)
    assert ((v >= -8) & (v <= 1)).all()
    turned = SMALL._posterior(network, crowd, episode.context[:, ::-1], episode.seen[:, ::-1])
    torch.testing.assert_close(torch.cat(turned), torch.cat([mean, v]))
    for user in range(len(mean)):
        shown = episode.context[user][episode.seen[user]][None]
        alone = SMALL._posterior(network, crowd, shown, np.ones(shown.shape, bool))
        torch.testing.assert_close(alone[0][0], mean[user])


def test_variances_are_those_of_the_linearised_score():
    model, task = fitted("vpl", TWO), task_of(TWO)
    assert isinstance(model, Uncertain)
    texts, persona = task.context.corpus.responses, model.adapt(task.context.history(1))
    k, vector = model.latent, np.array(persona.vector, np.float64)
    for options in (texts[:2], texts[2:6]):
        queries = Queries.of([Query(persona, "Q", tuple(options))])
        slopes = []
        for i in range(k):
            step = np.zeros(2 * k)
            step[i] = 1e-2
            ends = [model._log_odds((vector + s * step)[None], queries) for s in (1, -1)]
            slopes.append((ends[0] - ends[1]) / 2e-2)
        pairs = [(a, b) for a in range(len(options)) for b in range(a)]
        slopes = np.array(slopes)
        literal = np.mean([(np.exp(vector[k:]) * (slopes[:, a] - slopes[:, b]) ** 2).sum() for a, b in pairs])
        assert model.variance_batch(queries)[0] == pytest.approx(literal, rel=0.1)
    assert model.variance_batch(Queries.of([])).shape == (0,)


# ---- learning ----------------------------------------------------------------------------------------


def test_it_infers_the_taste_from_the_context():
    bound = average_bound(TWO.sample()).accuracy
    assert accuracy("vpl", TWO) > 0.9
    assert abs(accuracy("vpl", TWO, 0) - bound) < 0.06
    by_choices = [log_loss("vpl", TWO, n) for n in (0, 1, 4, 30)]
    assert max(by_choices[1:]) < 0.5 < by_choices[0]  # here one choice can tell nearly all


def test_without_choices_q_is_the_prior():
    model, task = fitted("vpl", TWO), task_of(TWO)
    vectors = model.adapt_batch(task.context.head(0)).vectors
    np.testing.assert_array_equal(vectors, np.zeros_like(vectors))
    assert vectors.shape[1] == 2 * model.latent


def test_test_users_texts_do_not_reach_the_fit():
    """Only what training users saw sets the weights: no statistics over train and test together."""
    task = task_of(TWO)
    whole, own = (VPL(steps=10, dropout=0.0).fit(p) for p in (task.fit_on, task.fit_on.compact()))
    assert len(task.fit_on.corpus) > len(task.fit_on.compact().corpus)
    np.testing.assert_allclose(own.weights_, whole.weights_, atol=2e-3)


class Stopped(Exception):
    pass


def test_an_interrupted_training_ends_at_the_same_numbers(tmp_path):
    task, make = task_of(TWO), lambda: VPL(steps=40, every=10, patience=100)
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
    check_method(lambda: VPL(steps=20, every=10, hidden=16, latent=4, context=8))


def test_half_precision_learns_too():
    task = task_of(TWO)
    method = VPL(steps=50, precision="bfloat16").fit(task.fit_on)
    assert method.history_[-1][1] < method.history_[0][1]


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": 0}, "hidden=0; expected 1 or more"),
        ({"latent": 0}, "latent=0"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"bounds": (1.0, -1.0)}, "least and the largest"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"scale": 0.0}, "scale=0.0"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        VPL(**fields).fit(people())


def test_a_diverging_fit_says_what_to_change():
    with pytest.raises(FitDiverged, match="learning_rate"):
        VPL(learning_rate=1e30, steps=20, every=5).fit(people())


def test_without_choices_doubt_about_the_user_makes_the_answer_less_sure(monkeypatch):
    """Where tastes are opposed the average user is a coin; integrating over the prior comes nearer to it."""
    integrated = log_loss("vpl", TWO, 0)
    monkeypatch.setattr(VPL, "_log_odds", NeuralMethod._log_odds)
    log_odds.cache_clear()
    at_the_mean = log_loss("vpl", TWO, 0)
    log_odds.cache_clear()
    assert integrated < min(at_the_mean - 0.05, 0.8)
