"""EpiPersona-B against its equations, worlds whose answer is known, and a codebook that must not collapse."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from taste_worlds import task_of

from palate.checks import check_method, people
from palate.core import (
    ConfigError,
    Feedback,
    MethodError,
    Persona,
    Population,
    as_conversation,
    job,
    with_roles,
)
from palate.evaluate.protocol import new_users
from palate.feedback.world import World
from palate.gate import differences
from palate.models.abductive import abduce
from palate.models.codebook import Codebook, collapsed, usage
from palate.reward.crowd import Crowd, padded, sample_episode
from palate.reward.epipersona_b import EpiPersonaB

TWO = World.two_tastes(users=120)
SMALL = {"hidden": 16, "width": 6, "heads": 2, "codes": 5, "users": 8, "steps": 40, "every": 10}


@pytest.fixture(scope="module")
def two():
    return task_of(TWO)


@pytest.fixture(scope="module")
def learned(two):
    return EpiPersonaB().fit(two.fit_on)


def log_odds(method, task, contexts=None):
    context = task.context if contexts is None else task.context.head(contexts)
    return differences(method, method.adapt_batch(context), task.context, task.targets)


def accuracy(method, task, contexts=None):
    d = log_odds(method, task, contexts)
    return float(np.mean((d > 0) + 0.5 * (d == 0)))


# ---- the paper's equations, one user and one pair at a time ---------------------------------------------


def literal_windows(network, crowd, numbers, window):
    """Windows of one user's decided choices in time order, float64."""
    parameter = {k: v.detach().numpy().astype(float) for k, v in network.named_parameters()}
    x, pairs, d = crowd.x.numpy().astype(float), crowd.pairs, network.dim
    choices = {}  # the pairs of one choice stay together
    for j in sorted(n for n in numbers if pairs.target[n] == 1):
        c, r = x[pairs.winner[j]], x[pairs.loser[j]]
        e = parameter["choice.weight"] @ (c[:d] - r[:d] if network.abductive else c[:d])
        if "topic.weight" in parameter:
            e = e + parameter["topic.weight"] @ c[d:]
        choices.setdefault(pairs.row[j], []).append(e)
    rows = list(choices.values())
    groups = [np.concatenate(rows[i : i + window]) for i in range(0, len(rows), window)]
    return [group.mean(axis=0) + parameter["centre"] for group in groups]


def literal_reward(network, item, codes):
    p = {k: v.detach().numpy().astype(float) for k, v in network.named_parameters()}
    d, heads = network.dim, network.heads
    query = p["always"]
    if "query.weight" in p:
        query = query + p["query.weight"] @ (item[d:] if network.talk else item)
    size, taste = len(query) // heads, []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        keys = [p["key.weight"][part] @ z + p["key.bias"][part] for z in codes] + [p["empty_key"][part]]
        values = [p["value.weight"][part] @ z + p["value.bias"][part] for z in codes]
        values.append(p["empty_value"][part])
        weights = np.exp([query[part] @ key / np.sqrt(size) for key in keys])
        taste.append(sum(w * v for w, v in zip(weights, values, strict=True)) / weights.sum())
    mixed = p["mix.weight"] @ np.concatenate(taste) + p["mix.bias"]
    return float(p["out.weight"][0] @ ((p["view.weight"] @ item[:d]) * mixed))


def literal_loss(network, crowd, batch, method):
    x, anchor, pairs = crowd.x.numpy().astype(float), crowd.anchor.numpy().astype(float), crowd.pairs
    book = network.book.codes.numpy().astype(float) if network.book is not None else None
    losses, commitments = [], []
    for u in range(len(batch.users)):
        codes = []
        for h in literal_windows(network, crowd, batch.context[u][batch.seen[u]], method.window):
            z = h
            if book is not None:
                z = book[np.argmin([np.sum((h - c) ** 2) for c in book])]
                commitments.append((h - z) ** 2)
            codes.append(z)
        for n in batch.target[u][batch.asked[u]]:
            w, r = pairs.winner[n], pairs.loser[n]
            gap = literal_reward(network, x[w], codes) - literal_reward(network, x[r], codes)
            gap += anchor[w] - anchor[r]
            t = pairs.target[n]
            losses.append(t * np.log1p(np.exp(-gap)) + (1 - t) * np.log1p(np.exp(gap)))
    return np.mean(losses) + (method.commitment * np.mean(commitments) if commitments else 0.0)


def random_case(seed, **changes):
    """A method, a crowd of random features in float64, a network with random weights, and a mini-batch."""
    method = EpiPersonaB(**{**SMALL, **changes})
    rng = np.random.default_rng(seed)
    population = people(users=10, rows=9, seed=seed)
    dim, talk = 7, changes.pop("talk", 4)
    method.talk_, method.past_, method.codebook_ = talk, 0, []
    n = len(population.corpus)
    crowd = Crowd.of(
        population, torch.from_numpy(rng.normal(size=(n, dim + talk))), torch.from_numpy(rng.normal(size=n))
    )
    torch.manual_seed(seed)
    network = method._network(dim + talk, 10).double()
    method._begin(network, crowd)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if network.book is not None:  # whole float32 numbers, in which the quantiser works
            network.book.quantiser._codebook.embed.copy_(network.book.codes.float()[None])
    batch = sample_episode(crowd, rng, np.arange(10), (0, 6), 3)
    return method, network, crowd, batch


CASES = [
    {},
    {"window": 2},
    {"window": 4, "coupling": False},
    {"abductive": False},
    {"quantise": False, "window": 2},
]


@pytest.mark.parametrize("changes", CASES, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_the_papers(changes, seed):
    method, network, crowd, batch = random_case(seed, **changes)
    expected = literal_loss(network, crowd, batch, method)
    network.train()
    np.testing.assert_allclose(method._loss(network, crowd, batch).item(), expected, rtol=1e-6)


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_persona_of_counts_gives_the_reward_of_the_codes(changes):
    method, network, crowd, _ = random_case(3, **changes)
    network.eval()
    vectors = method._personas(network, crowd)
    book = network.book.codes.numpy() if network.book is not None else None
    for user in range(8):
        codes = literal_windows(
            network, crowd, range(crowd.starts[user], crowd.starts[user + 1]), method.window
        )
        if book is not None:
            near = [int(np.argmin(((h - book) ** 2).sum(1))) for h in codes]
            np.testing.assert_array_equal(vectors[user], np.bincount(near, minlength=len(book)))
            codes = book[near]
        for item in (0, 5):
            x = crowd.x[item : item + 1]
            mine = method._rewards(network, x, vectors[user : user + 1].double()).item()
            np.testing.assert_allclose(mine, literal_reward(network, x[0].numpy(), codes), rtol=1e-5)


def finite_difference(loss, parameter, place, step=1e-5):
    flat = parameter.data.view(-1)
    old = flat[place].item()
    values = []
    for sign in (1, -1):
        flat[place] = old + sign * step
        values.append(loss())
    flat[place] = old
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize(("quantise", "names"), [
    (False, ("choice", "topic", "centre", "query", "key", "value", "view", "mix", "out", "empty")),
    (True, ("query", "key", "value", "view", "mix", "out", "empty", "always")),
])  # fmt: skip
def test_gradients_by_finite_differences(quantise, names):
    method, network, crowd, batch = random_case(5, quantise=quantise)
    network.train()
    held = copy.deepcopy(network.state_dict())

    def loss():
        for name, buffer in network.named_buffers():  # moving averages move on every call
            if name in held:
                buffer.copy_(held[name])
        return method._loss(network, crowd, batch)

    loss().backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    rng = np.random.default_rng(0)
    for name, parameter in network.named_parameters():
        if name.startswith(names):
            place = int(rng.integers(parameter.numel()))
            with torch.no_grad():
                expected = finite_difference(lambda: loss().item(), parameter, place)
            np.testing.assert_allclose(gradients[name].view(-1)[place], expected, rtol=1e-4, atol=1e-8)


def test_codes_pass_the_gradient_straight_through_and_commitment_pulls_windows_to_codes():
    torch.manual_seed(0)
    book = Codebook(4, 3, commitment=0.2, decay=0.9, revive=0.0)
    book.start(torch.randn(50, 3))
    codes = book.codes.clone()
    h = torch.randn(2, 5, 3, requires_grad=True)
    there = torch.tensor([[True] * 5, [True, True, False, False, False]])
    book.train()
    z, commitment = book(h, there)
    near = codes[torch.cdist(h, codes).argmin(-1)]
    torch.testing.assert_close(z[there], near[there], atol=1e-6, rtol=1e-6)
    pull = torch.randn_like(z)
    gradient = torch.autograd.grad((z * pull)[there].sum() + commitment, h)[0]
    expected = pull + 0.2 * 2 * (h - near) / (7 * 3)
    torch.testing.assert_close(gradient[there], expected[there])
    assert not gradient[~there].any()


def test_codes_follow_moving_averages():
    """Equations 16 to 18, written out."""
    torch.manual_seed(1)
    book = Codebook(3, 2, commitment=0.2, decay=0.9, revive=0.0)
    book.start(torch.randn(60, 2))
    inner = book.quantiser._codebook
    count, total, codes = (t[0].clone() for t in (inner.cluster_size, inner.embed_avg, inner.embed))
    h = torch.randn(1, 40, 2)
    near = torch.cdist(h[0], codes).argmin(-1)
    book.train()
    book(h, torch.ones(1, 40, dtype=torch.bool))
    for k in range(3):
        n = 0.9 * count[k] + 0.1 * (near == k).sum()
        m = 0.9 * total[k] + 0.1 * h[0][near == k].sum(0)
        torch.testing.assert_close(book.codes[k], m / n, rtol=1e-4, atol=1e-5)


def test_a_dead_code_is_revived_and_few_vectors_give_codes_that_differ(capfd):
    torch.manual_seed(0)
    book = Codebook(8, 2, commitment=0.2, decay=0.5, revive=1.0)
    book.start(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert len(torch.unique(book.codes, dim=0)) == 8
    with torch.no_grad():
        book.quantiser._codebook.embed[0, 3:] = 100.0  # far from everything
        book.quantiser._codebook.embed_avg[0, 3:] = 100.0
    book.train()
    h, there = torch.randn(4, 50, 2), torch.ones(4, 50, dtype=torch.bool)
    for _ in range(10):
        book(h, there)
    assert (book.count(h, there).sum(0) > 0).all()
    assert capfd.readouterr().err == ""


# ---- what is kept of a user ------------------------------------------------------------------------------


def test_frozen_estimates_are_those_of_the_abductive_encoder(two):
    method = EpiPersonaB(steps=0).fit(two.fit_on)
    people_, network = two.context, method._trained()
    crowd = method._crowd(people_)
    pairs = people_.pairs
    d = network.dim
    plain = abduce(pairs, people_.corpus, "lexical") @ network.choice.weight.numpy().T
    talk = crowd.x[pairs.winner, d:].numpy() @ network.topic.weight.numpy().T
    mine = network.estimate(crowd, np.arange(len(pairs))[None])[0]
    np.testing.assert_allclose(mine, plain + talk, atol=1e-4)


def test_a_persona_counts_the_users_windows(two, learned):
    personas = learned.adapt_batch(two.context)
    assert personas.vectors.shape == (two.context.n_users, 64)
    np.testing.assert_array_equal(personas.vectors.sum(1), np.diff(two.context.offsets))
    wide = EpiPersonaB(window=4, steps=0).fit(two.fit_on)
    vectors = wide.adapt_batch(two.context.head(10)).vectors
    np.testing.assert_array_equal(vectors.sum(1), 3)  # 4 + 4 + 2


def test_a_tie_leaves_no_code_and_changes_no_window():
    rows = next(iter(people(users=1, rows=9))).feedback
    decided = tuple(replace(f, id=f"d{i}") for i, f in enumerate(f for f in rows if f.chosen is not None))
    tied = tuple(x for f in decided for x in (f, replace(f, chosen=None, id=f"{f.id}-tie")))
    method = EpiPersonaB(**SMALL, window=2).fit(people())
    a, b = (method.adapt_batch(Population.of(rows)).vectors for rows in (decided, tied))
    np.testing.assert_array_equal(a, b)
    nothing = method.adapt_batch(Population.of([f for f in tied if f.chosen is None])).vectors
    assert not nothing.any()


def test_without_a_codebook_the_latest_windows_are_kept(two):
    method = EpiPersonaB(quantise=False, kept=3, steps=0).fit(two.fit_on)
    vectors = method.adapt_batch(two.context).vectors
    assert vectors.shape[1] == 3 * method.width + 3
    network, crowd = method._trained(), method._crowd(two.context)
    h, there = method._windows(network, crowd, *padded(crowd, np.arange(2)))
    np.testing.assert_allclose(vectors[0, :-3].reshape(3, -1), h[0][there[0]][-3:], atol=1e-6)
    one = method.adapt_batch(two.context.head(1)).vectors
    assert one[0, -3:].tolist() == [1, 0, 0]
    assert not method.adapt_batch(two.context.head(0)).vectors.any()


def test_other_choices_of_a_batch_do_not_leak_into_a_window():
    """Mini-batches draw a context at random; its windows are consecutive in time all the same."""
    method, network, crowd, _ = random_case(2, window=2)
    number, there = padded(crowd, np.array([4]))
    order = np.random.default_rng(0).permutation(number.shape[1])
    h, _ = method._windows(network, crowd, number, there)
    shuffled, _ = method._windows(network, crowd, number[:, order], there[:, order])
    torch.testing.assert_close(h, shuffled)


# ---- worlds whose answer is known ------------------------------------------------------------------------


def test_it_learns_two_tastes(two, learned):
    assert accuracy(learned, two) > 0.9
    assert accuracy(learned, two, 4) > 0.75
    assert abs(accuracy(learned, two, 0) - 0.5) < 0.1


def test_without_choices_it_gives_the_average_answer(two, learned):
    vectors = learned.adapt_batch(two.context.head(0)).vectors
    assert not vectors.any()
    texts = two.context.corpus.responses[:2]
    silent = learned.score(learned.adapt(two.context.head(0).history(0)), "Hi", texts)
    np.testing.assert_allclose(silent, learned.score(Persona(), "Hi", texts), atol=1e-6)


GIVEN = ("short and plain", "a story with a moral", "numbers in a table", "a question in return")


def planted(users=160, rows=12, seed=0):
    """Everybody likes one of four kinds of answer, whatever else is on offer."""
    rng, made = np.random.default_rng(seed), []
    for u in range(users):
        for row in range(rows):
            other = GIVEN[(u + int(rng.integers(1, 4))) % 4]
            two_ = (f"{GIVEN[u % 4]}", other)
            made.append(Feedback(f"u{u}", as_conversation("Q?"), two_, 0, f"{u}-{row}"))
    return Population.of(made)


def test_planted_personas_are_found():
    """K = 4 tastes: a code is used by users of one taste, whichever code that is."""
    population = planted()
    method = EpiPersonaB(codes=4, window=6, width=8, steps=150).fit(population)
    counts = method.adapt_batch(population).vectors
    taste = np.arange(population.n_users) % 4
    by_taste = np.stack([counts[taste == t].sum(0) for t in range(4)])  # [tastes, codes]
    assert by_taste.max(0).sum() / by_taste.sum() > 0.9
    assert len(set(by_taste.argmax(0)[by_taste.sum(0) > 0])) == 4  # every taste has a code of its own


WORDS = ("river", "candle", "market", "winter", "garden", "letter", "bridge", "kettle", "violin", "harbor")


def shifting(users=240, rows=20, seed=0):
    """On gardens half the users like long answers and on money short ones; the other half the reverse.

    Every prompt and every answer has words of its own, so that none is met in both context and targets.
    """
    rng, made = np.random.default_rng(seed), []
    topics = ("roses and compost in the garden", "bonds and shares in the bank")
    for u in range(users):
        for row in range(rows):
            topic, word, other = int(rng.integers(2)), *rng.choice(WORDS, 2, replace=False)
            wants_long = (u + topic) % 2 == 0
            short = f"Do it, {word} {row}."
            long = f"Do it in many small and careful steps over the whole of the coming {other} {row} year."
            talk = as_conversation(f"About {topics[topic]}: {word} {row}?")
            made.append(Feedback(f"u{u}", talk, (short, long), int(wants_long), f"{u}-{row}"))
    return Population.of(made)


def test_coupling_serves_users_whose_taste_depends_on_the_topic():
    task = new_users("shift", shifting())
    coupled = EpiPersonaB(codes=8).fit(task.fit_on)
    plain = EpiPersonaB(codes=8, coupling=False).fit(task.fit_on)
    assert accuracy(coupled, task) > 0.9
    assert accuracy(plain, task) < 0.65


# ---- a codebook that must not collapse -------------------------------------------------------------------


def test_usage_of_codes():
    even = np.ones((5, 4))
    assert usage(even) == (pytest.approx(4.0), 0, 20)
    assert usage(np.array([[3.0, 0.0, 0.0]])) == (1.0, 2, 3)
    assert usage(np.zeros((2, 3))) == (1.0, 3, 0)
    assert collapsed((0, 1.99, 0, 100, 10), 16)
    assert not collapsed((0, 2.0, 0, 100, 10), 16)
    assert not collapsed((0, 1.0, 0, 99, 10), 16)  # too few to tell
    assert not collapsed((0, 1.0, 0, 1000, 9), 16)  # everybody was asked the same few questions
    assert not collapsed((0, 1.0, 0, 1000, 90), 2)  # wanted


def test_every_look_is_kept_and_told(two):
    told = []
    with job(None, lambda what, done, total: told.append(what)):
        method = EpiPersonaB(steps=50, every=20).fit(two.fit_on)
    assert [look[0] for look in method.codebook_] == [0, 20, 40, 50]
    assert len(method.codebook_) == len(method.history_)
    assert all(1 < look[1] <= 64 for look in method.codebook_)
    assert next(t for t in told if "perplexity" in t).startswith("epipersona-b · codebook: perplexity")


def test_a_collapse_is_an_error_that_says_what_to_change(two, monkeypatch):
    """A codebook that throws everything on one code, as one with a bad scale does."""
    monkeypatch.setattr(
        Codebook, "count", lambda self, h, there: torch.eye(self.size)[:1] * there.sum(1, keepdim=True)
    )
    with pytest.raises(MethodError, match=r"collapsed: at step 40.*1\.00, below 2 .*quantise=False"):
        EpiPersonaB(steps=400, every=10, patience=4).fit(two.fit_on)
    with pytest.raises(MethodError, match="the codebook collapsed"):
        EpiPersonaB(steps=20, every=10, patience=40).fit(two.fit_on)  # stopped before it is long
    EpiPersonaB(steps=20, every=10, codes=2).fit(two.fit_on)  # two codes are the user's own wish


@pytest.mark.parametrize("codes", [1, 2])
def test_one_or_two_codes_are_allowed(two, codes):
    method = EpiPersonaB(codes=codes, steps=60).fit(two.fit_on)
    assert np.isfinite(log_odds(method, two)).all()
    assert method.adapt_batch(two.context).vectors.shape[1] == codes


# ---- the contract ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [
    {**SMALL},
    {**SMALL, "quantise": False, "kept": 4},
    {**SMALL, "abductive": False, "window": 2},
    {**SMALL, "coupling": False, "codes": 1},
], ids=str)  # fmt: skip
def test_it_passes_the_conformance_suite(fields):
    check_method(lambda: EpiPersonaB(**fields))


class Stopped(Exception):
    pass


def test_an_interrupted_training_goes_on_and_ends_at_the_same_numbers(two, tmp_path):
    fields = {"steps": 120, "every": 20, "patience": 100}
    whole = EpiPersonaB(**fields).fit(two.fit_on)

    def stop(what, done, total):
        if "training" in what and done >= 60:
            raise Stopped

    with pytest.raises(Stopped), job(tmp_path, stop):
        EpiPersonaB(**fields).fit(two.fit_on)
    steps = []
    with job(tmp_path, lambda what, done, total: steps.append(done)):
        again = EpiPersonaB(**fields).fit(two.fit_on)
    assert steps[0] == 60
    np.testing.assert_array_equal(again.weights_, whole.weights_)
    np.testing.assert_array_equal(again.buffers_, whole.buffers_)
    assert again.codebook_ == whole.codebook_
    assert again.fingerprint == whole.fingerprint


def test_the_codebook_survives_disk(two, learned, tmp_path):
    from palate.catalogue import load

    learned.save(tmp_path / "m")
    back = load(tmp_path / "m")
    inner, before = (m._trained().book.quantiser._codebook for m in (back, learned))
    assert bool(inner.initted)
    for name, buffer in before.named_buffers():
        torch.testing.assert_close(dict(inner.named_buffers())[name], buffer, rtol=0, atol=0)
    np.testing.assert_array_equal(log_odds(back, two), log_odds(learned, two))


def test_a_language_model_can_read_the_choices(tiny_reader, tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path))
    population = people(users=12, rows=6)
    fields = {**SMALL, "reader": f"hf:{tiny_reader}", "question": "{conversation} {chosen} not {rejected}"}
    method = EpiPersonaB(**fields).fit(population)
    assert method._trained().choice.weight.shape == (6, 32)
    personas = method.adapt_batch(people(users=4, rows=5, seed=1))
    alone = method.adapt(people(users=4, rows=5, seed=1).history(2))
    np.testing.assert_array_equal(alone.vector, personas.vectors[2])
    assert method.score(alone, "Hi", ["Yes.", "No."]).shape == (2,)


@pytest.fixture(scope="module")
def tiny_reader(tmp_path_factory):
    """A random two-layer Llama that knows a few words."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    folder = tmp_path_factory.mktemp("reader")
    words = [
        "<pad>",
        "<s>",
        "</s>",
        "<unk>",
        *["a", "it", "in", "of", "to", "the", "first", "one", "step", "not", "early", "friend"],
    ]
    raw = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    )
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("fields", "match"), [
    ({"codes": 0}, "codes=0; expected 1 or more"),
    ({"window": 0}, "window=0"),
    ({"hidden": 30, "heads": 4}, "let heads divide hidden"),
    ({"commitment": -1.0}, "commitment=-1.0; expected 0 or more"),
    ({"decay": 1.0}, "decay=1.0; expected a number between 0 and 1"),
    ({"reader": "minilm"}, "a reader of past choices is a language model"),
    ({"question": "why {chosen}?"}, r"has no \{rejected\}"),
])  # fmt: skip
def test_kind_errors(fields, match):
    with pytest.raises(ConfigError, match=match):
        EpiPersonaB(**fields).fit(people())


def test_roles_are_the_same_for_all_lookups():
    """One conversation alone is not read: nothing distinguishes episodes."""
    population = with_roles(planted(users=20), 0)
    method = EpiPersonaB(**SMALL).fit(population)
    assert method.talk_ == 0
    assert method._trained().dim == method.dim_ == 526
