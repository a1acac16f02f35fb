"""Words written step by step in fixed places, beside ``generate``; recorded where there is a GPU."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from palate.tune import writing
from palate.tune.replaying import replayed, replays
from palate.tune.writing import drawn, generation

PAD, ENDS = 0, (2, *range(6, 262, 9))
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
KINDS = ("Llama", "Mistral", "Olmo2", "Qwen2", "Qwen3")


def network(kind, device, vocabulary=262):
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        initializer_range=0.15,
        pad_token_id=PAD,
        eos_token_id=2,
        **({"sliding_window": None} if kind == "Mistral" else {}),
    )
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval().to(device)


def asked(n=9):
    rng = np.random.default_rng(1)
    some = [rng.integers(6, 262, k).tolist() for k in rng.integers(2, 30, 4)]
    return [some[i] for i in rng.integers(0, 4, n)]


@pytest.fixture
def everywhere(monkeypatch):
    """Write so on any device, and count how often."""
    told = []

    def counted(*args):
        told.append(len(args[2]))
        return replayed(*args)

    monkeypatch.setattr(writing, "replays", lambda *_: True)
    monkeypatch.setattr(writing, "replayed", counted)
    return told


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_words_are_those_of_generate(kind, device, monkeypatch, everywhere):
    model, how = network(kind, device), generation(ENDS, PAD, 70, 0.0)
    found = drawn(model, asked(), how, PAD)
    assert everywhere == [9]
    monkeypatch.setattr(writing, "replays", lambda *_: False)
    assert found == drawn(model, asked(), how, PAD)
    assert len({len(row) for row in found}) > 1  # some ended before others


@pytest.mark.parametrize("device", DEVICES)
def test_words_are_drawn_from_the_whole_softmax(device, everywhere):
    model, n = network("Llama", device, 24), 20_000
    torch.manual_seed(3)
    found = np.array(
        [row[:2] for row in drawn(model, [[7, 9]] * n, generation((23,), PAD, 2, 0.7), PAD) if row[0] != 23]
    )
    with torch.no_grad():
        first = (
            torch.softmax(model(torch.tensor([[7, 9]], device=device)).logits[0, -1] / 0.7, -1).cpu().numpy()
        )
        common = int(np.bincount(found[:, 0]).argmax())
        after = torch.tensor([[7, 9, common]], device=device)
        second = torch.softmax(model(after).logits[0, -1] / 0.7, -1).cpu().numpy()
    first[23] = 0  # these were left out
    for share, seen in ((first / first.sum(), found[:, 0]), (second, found[found[:, 0] == common, 1])):
        expected = share * len(seen)
        off = (np.bincount(seen, minlength=24) - expected) ** 2 / np.maximum(expected, 1)
        assert off.sum() < 24 + 5 * np.sqrt(2 * 24)  # chi square, five deviations over its mean


@pytest.mark.parametrize("device", DEVICES)
def test_equal_seeds_equal_words(device, everywhere):
    model, how = network("Llama", device), generation(ENDS, PAD, 40, 1.0)
    first, second, third = [], [], []
    for seed, out in ((1, first), (1, second), (2, third)):
        torch.manual_seed(seed)
        out.extend(drawn(model, asked(), how, PAD))
    assert first == second != third


def test_when_words_are_written_so():
    model = network("Llama", "cpu")
    assert not replays(model, generation(ENDS, PAD, 70, 1.0))  # no GPU

    class There:
        device = torch.device("cuda")
        config = model.config

    assert replays(There, generation(ENDS, PAD, 70, 1.0))
    assert replays(There, generation(ENDS, PAD, 70, 0.0))
    assert not replays(There, generation(ENDS, PAD, 8, 1.0))
    for asked_for in ({"top_k": 20}, {"top_p": 0.9}, {"min_new_tokens": 3}, {"repetition_penalty": 1.2}):
        how = GenerationConfig(**{**generation(ENDS, PAD, 70, 1.0).to_diff_dict(), **asked_for})
        assert not replays(There, how), asked_for
