"""Log-probabilities of shared prompts beside a literal loop over tokens, and their gradients."""

import numpy as np
import pytest
import torch

from palate.tune import scoring
from palate.tune.scoring import (
    after_prompts,
    answer_logprobs,
    left_padded,
    right_padded,
    token_logprobs,
)
from palate.tune.writing import drawn, generation, pieces, written

PAD = 0


@pytest.fixture(scope="module")
def model(make_exact):
    """In float64, so that two ways of computing agree to many digits."""
    return make_exact()


def asked(seed, prompts=3, answers=7):
    """Return prompts of several lengths, the owner of each answer, and answers of several lengths."""
    rng = np.random.default_rng(seed)
    p = [rng.integers(6, 262, n).tolist() for n in rng.integers(1, 30, prompts)]
    a = [rng.integers(6, 262, n).tolist() for n in rng.integers(1, 9, answers)]
    owner = [0, 0, *rng.integers(0, prompts, answers - 2).tolist()]
    return p, owner, a


def literal(model, prompt, answer):
    """Return the sum over tokens, each from a pass of its own over what stands before it."""
    total = 0.0
    for place, token in enumerate(answer):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *answer[:place]]])).logits[0, -1]
        shares = np.exp(logits.numpy() - logits.numpy().max())
        total += float(np.log(shares[token] / shares.sum()))
    return total


@pytest.mark.parametrize("seed", range(3))
def test_answers_one_by_one(model, seed):
    prompts, owner, answers = asked(seed)
    told = [prompts[o] for o in owner]
    expected = [literal(model, p, a) for p, a in zip(told, answers, strict=True)]
    for budget in (1, 60, 16384):
        np.testing.assert_allclose(
            answer_logprobs(model, told, answers, PAD, budget=budget), expected, rtol=1e-9
        )


def test_single_precision_is_close(model, make_network):
    prompts, owner, answers = asked(3)
    told = [prompts[o] for o in owner]
    found = answer_logprobs(make_network(), told, answers, PAD)
    np.testing.assert_allclose(found, answer_logprobs(model, told, answers, PAD), rtol=1e-5)


def both_ways(model, seed, temperature=1.0, entropy=False):
    """Return what shared prompts give and what whole rows give, both in the answers' order."""
    prompts, owner, answers = asked(seed)
    words = right_padded(answers, PAD)
    owner = torch.tensor(owner)
    kind = {"temperature": temperature, "entropy": entropy}
    shared = after_prompts(model, left_padded(prompts, PAD), owner, words, **kind)
    rows = left_padded([prompts[o] for o in owner], PAD)
    plain = after_prompts(model, rows, torch.arange(len(owner)), words, **kind)
    return shared, plain


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_shared_and_whole_rows_agree(model, temperature):
    shared, plain = both_ways(model, 5, temperature, entropy=True)
    torch.testing.assert_close(shared.logps, plain.logps, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(shared.entropy, plain.entropy, rtol=1e-9, atol=1e-10)
    _, _, answers = asked(5)
    for row, answer in enumerate(answers):
        assert (shared.logps[row, len(answer) :] == 0).all()
        assert (shared.entropy[row, len(answer) :] == 0).all()


def test_entropy_is_the_literal_one(model):
    logits = torch.randn(2, 3, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = token_logprobs(logits, torch.zeros(2, 3, dtype=torch.int64), 0.5, entropy=True)
    shares = torch.softmax(logits / 0.5, -1)
    torch.testing.assert_close(found.entropy, -(shares * shares.log()).sum(-1))
    torch.testing.assert_close(found.logps, shares[..., 0].log())


@pytest.mark.parametrize("rows", [1, 66, 1 << 22])
def test_parts_are_normalised_and_go_back_as_the_whole(rows, monkeypatch):
    monkeypatch.setattr(scoring, "_ROWS", rows)
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, 11, dtype=torch.float64, generator=draw, requires_grad=True)
    ids = torch.randint(0, 11, (5, 3), generator=draw)
    literal = torch.log_softmax(logits / 0.7, -1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(token_logprobs(logits, ids, 0.7).logps, literal, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, ids, 0.7, entropy=True).logps, logits)


def weighted(found):
    """A scalar of all token log-probabilities, no two of equal weight."""
    n = found.logps.numel()
    return (found.logps.flatten() * torch.linspace(-1, 2, n, dtype=torch.float64)).sum()


def test_gradients_agree_and_are_finite_differences(make_exact):
    model = make_exact(seed=4)
    grads = []
    for found in both_ways(model, 8):
        model.zero_grad()
        weighted(found).backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-8, atol=1e-9, msg=name)

    rng = np.random.default_rng(0)
    step = 1e-5
    for name in (
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.self_attn.v_proj.weight",
        "lm_head.weight",
        "model.embed_tokens.weight",
    ):
        parameter = model.get_parameter(name)
        places = grads[0][name].abs().flatten().topk(50).indices[rng.integers(0, 50, 3)]
        for place in places.tolist():
            flat = parameter.data.view(-1)
            kept, sides = flat[place].item(), []
            for sign in (1, -1):
                flat[place] = kept + sign * step
                with torch.no_grad():
                    sides.append(weighted(both_ways(model, 8)[0]).item())
            flat[place] = kept
            slope = (sides[0] - sides[1]) / (2 * step)
            assert grads[0][name].view(-1)[place].item() == pytest.approx(slope, rel=1e-5), name


def test_a_prompt_is_read_once(model, monkeypatch):
    tokens = []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda self, *args, **kw: tokens.append(kw["input_ids"].numel()) or forward(self, *args, **kw),
    )
    prompt, answers = list(range(6, 56)), [[7, 8, 2]] * 8
    answer_logprobs(model, [prompt] * 8, answers, PAD)
    assert tokens == [50, 24]  # not 8 x 53


def test_checkpointed_training_reads_whole_rows(make_network):
    model = make_network()
    model.activation_checkpointing_enable()
    model.train()
    prompts = left_padded([[7, 8, 9]], PAD)
    words = right_padded([[10, 2], [11, 12]], PAD)
    found = after_prompts(model, prompts, torch.zeros(2, dtype=torch.int64), words)
    found.logps.sum().backward()
    assert torch.isfinite(model.lm_head.weight.grad).all()
    plain = make_network()
    torch.testing.assert_close(
        found.logps.detach(),
        after_prompts(plain, prompts, torch.zeros(2, dtype=torch.int64), words).logps.detach(),
    )


def test_models_with_windows_read_whole_rows():
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=4,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model = MistralForCausalLM(config).eval().double()
    prompt, answers = list(range(10, 22)), [[7, 8], [9, 11, 12]]
    found = answer_logprobs(model, [prompt] * 2, answers, PAD)
    np.testing.assert_allclose(found, [literal(model, prompt, a) for a in answers], rtol=1e-9)


def test_nothing_asked(model):
    assert answer_logprobs(model, [], [], PAD).shape == (0,)


# ---- words ---------------------------------------------------------------------------------------


def greedy(model, prompt, longest, ends):
    out = []
    for _ in range(longest):
        with torch.no_grad():
            out.append(int(model(input_ids=torch.tensor([[*prompt, *out]])).logits[0, -1].argmax()))
        if out[-1] in ends:
            break
    return out


def test_the_likeliest_words_are_a_plain_loops(model):
    prompts, owner, _ = asked(2, prompts=4, answers=9)
    told = [prompts[o] for o in owner]
    ends = (2, *range(200, 262))  # many ends, so that some stop early
    how = generation(ends, PAD, 12, 0.0)
    expected = [greedy(model, p, 12, set(ends)) for p in told]
    assert len({len(e) for e in expected}) > 1
    assert drawn(model, told, how, PAD) == expected
    assert written(model, told, how, PAD, budget=50) == expected


def test_words_are_drawn_from_the_whole_softmax(make_exact):
    model = make_exact()
    for name, value in (("repetition_penalty", 1.8), ("top_k", 2), ("top_p", 0.3), ("temperature", 0.1)):
        setattr(model.generation_config, name, value)  # of the model's own: not ours
    prompt = [9, 30, 9, 41, 9]
    how = generation((2,), PAD, 1, 1.0)
    n = 6000
    found = (
        np.bincount([w[0] for w in written(model, [prompt] * n, how, PAD, budget=10**6)], minlength=262) / n
    )
    with torch.no_grad():
        shares = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1], -1).numpy()
    error = np.sqrt(shares * (1 - shares) / n)
    assert (np.abs(found - shares) < 5 * error + 1 / n).all()
    assert written(model, [prompt], generation((2,), PAD, 6, 0.0), PAD) == [greedy(model, prompt, 6, {2})]


def test_equal_seeds_equal_words(model):
    prompts, owner, _ = asked(6)
    told, how = [prompts[o] for o in owner], generation((2,), PAD, 8, 1.0)
    before = torch.random.get_rng_state()
    first = written(model, told, how, PAD, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == written(model, told, how, PAD, seed=3)
    assert first != written(model, told, how, PAD, seed=4)
    assert first[0] != first[1]  # one prompt, drawn twice


def test_pieces_are_the_whole(load):
    base = load()
    ids = base.tokenizer("tell me", add_special_tokens=False)["input_ids"]
    how = generation(base.ends, PAD, 20, 1.0)
    (whole,) = written(base.model, [ids], how, PAD, seed=5)
    told = "".join(pieces(base.model, base.tokenizer, ids, how, seed=5))
    assert told == base.tokenizer.decode(whole, skip_special_tokens=True)


def test_a_listener_who_leaves_ends_the_writing(load, monkeypatch):
    base = load(limit=512)
    calls = []
    forward = type(base.model).forward
    monkeypatch.setattr(
        type(base.model), "forward", lambda self, *a, **k: calls.append(1) or forward(self, *a, **k)
    )
    stream = pieces(base.model, base.tokenizer, [9, 10], generation((261,), PAD, 400, 1.0))
    next(stream)
    stream.close()
    assert len(calls) < 400


def test_a_failure_while_writing_is_told(load, monkeypatch):
    base = load()

    def fails(*_, **__):
        raise ValueError("no words")

    monkeypatch.setattr(type(base.model), "forward", fails)
    with pytest.raises(ValueError, match="no words"):
        list(pieces(base.model, base.tokenizer, [9, 10], generation((2,), PAD, 4, 1.0)))
