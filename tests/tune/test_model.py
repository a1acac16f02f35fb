"""One base in several roles; and what is said of models that cannot be tuned."""

import copy

import numpy as np
import pytest
import torch

from palate.core import ConfigError, StorageError
from palate.tune.model import Cast, Lora, load_base
from palate.tune.running import quiet
from palate.tune.scoring import answer_logprobs

PROMPTS, ANSWERS = [[1, 20, 30, 40], [1, 50]], [[60, 70, 2], [80, 2]]
LORA = Lora(4, 8)
FULL = Lora(0)


def scores(model):
    return answer_logprobs(model, PROMPTS, ANSWERS, 0)


def train(cast, role, seed=0, steps=2):
    """Push a role's weights somewhere."""
    torch.manual_seed(seed)
    model = cast.to_train(role)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.02)
    for _ in range(steps):
        ids = torch.randint(6, 262, (3, 9))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def playing(cast, role):
    with cast.playing(role) as model:
        return scores(model)


@pytest.fixture(params=[LORA, FULL], ids=["lora", "full"])
def cast(request, load):
    return Cast(load(), request.param, ("inference", "generator"))


def test_roles_are_trained_apart_and_the_base_stays(cast, load):
    untouched = scores(load().model)
    for role in ("inference", "generator", "reference"):
        assert (playing(cast, role) == untouched).all()
    train(cast, "inference")
    first = playing(cast, "inference")
    assert (np.abs(first - untouched) > 0.01).all()
    assert (playing(cast, "generator") == untouched).all()
    assert (playing(cast, "reference") == untouched).all()
    train(cast, "generator", seed=1)
    second = playing(cast, "generator")
    assert (np.abs(second - first) > 0.01).all()
    assert (playing(cast, "inference") == first).all()
    assert (playing(cast, "reference") == untouched).all()


def test_adapters_hold_nothing_twice(load):
    base = load()
    cast = Cast(base, LORA, ("inference", "generator"))
    weights = {p.data_ptr(): p.numel() for p in cast.to_train("generator").parameters()}
    adapters = sum(v.numel() for role in cast.roles for v in cast._weights(role).values())
    assert sum(weights.values()) == sum(p.numel() for p in load().model.parameters()) + adapters


def test_only_the_trained_role_has_gradients(cast):
    model = cast.to_train("generator")
    trained = {p.data_ptr() for p in model.parameters() if p.requires_grad}
    assert trained == {p.data_ptr() for p in cast._weights("generator").values()}


def test_playing_leaves_training_as_it_was(cast):
    model = cast.to_train("inference").train()
    needed = [p.requires_grad for p in model.parameters()]
    for role in ("reference", "generator", "inference"):
        with cast.playing(role) as other:
            assert not other.training
            with pytest.raises(RuntimeError, match="boom"), cast.playing("reference"):
                raise RuntimeError("boom")
        assert model.training
        assert [p.requires_grad for p in model.parameters()] == needed


def test_roles_nest(load):
    cast = Cast(load(), LORA, ("inference", "generator"))
    train(cast, "inference")
    expected = playing(cast, "inference")
    with cast.playing("inference") as model:
        playing(cast, "generator")
        playing(cast, "reference")
        assert (scores(model) == expected).all()


def test_saved_roles_come_back(cast, load, tmp_path):
    train(cast, "generator")
    cast.save(tmp_path)
    again = Cast(load(), cast.lora, cast.roles)
    again.load(tmp_path)
    for role in ("inference", "generator", "reference"):
        assert (playing(again, role) == playing(cast, role)).all()
        assert again.key(role) == cast.key(role)
    assert cast.key("inference") != cast.key("generator")


def test_saved_adapters_are_pefts_own(load, tmp_path):
    from peft import PeftModel

    cast = Cast(load(), LORA, ("inference", "generator"))
    train(cast, "generator")
    cast.save(tmp_path)
    with quiet():
        theirs = PeftModel.from_pretrained(load().model, str(tmp_path / "generator")).eval()
    assert (scores(theirs) == playing(cast, "generator")).all()


def test_merged_is_the_adapter(cast, load):
    train(cast, "generator")
    expected, before = playing(cast, "generator"), playing(cast, "reference")
    merged = cast.merged("generator")
    np.testing.assert_allclose(scores(merged), expected, rtol=1e-5)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    merged.lm_head.weight.data.zero_()
    assert (playing(cast, "generator") == expected).all()  # a model of its own
    assert (playing(cast, "reference") == before).all()


def test_copies_run_their_own_weights_after_a_trainer(cast):
    """Trainers lay a forward over the model; a copy of that would run the first model."""
    from trl.trainer.utils import add_fused_lm_head

    model = train(cast, "generator")
    add_fused_lm_head(model.get_base_model() if hasattr(model, "get_base_model") else model)
    expected = playing(cast, "generator")
    merged = cast.merged("generator")
    cast.copy_role("generator", "inference")
    train(cast, "generator", seed=3)
    np.testing.assert_allclose(scores(merged), expected, rtol=1e-5)
    assert (playing(cast, "inference") == expected).all()
    assert (playing(cast, "generator") != expected).all()


def test_one_role_begins_where_another_stands(cast):
    train(cast, "inference")
    cast.copy_role("inference", "generator")
    assert (playing(cast, "generator") == playing(cast, "inference")).all()
    train(cast, "generator", seed=2)
    assert (playing(cast, "generator") != playing(cast, "inference")).all()


def test_seeds_start_adapters(load):
    from peft import get_peft_model_state_dict

    def start(seed):
        before = torch.random.get_rng_state()
        found = get_peft_model_state_dict(Cast(load(), LORA, ("generator",), seed=seed).to_train("generator"))
        assert torch.equal(before, torch.random.get_rng_state())
        return torch.cat([v.flatten() for v in found.values()])

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


def test_unknown_roles_are_refused(cast):
    with pytest.raises(ConfigError, match=r"no role 'judge'.*inference, generator"):
        cast.to_train("judge")
    with pytest.raises(ConfigError, match="no role"), cast.playing("judge"):
        pass


def test_weights_of_another_base_are_refused(load, tmp_path, make_network):
    cast = Cast(load(), LORA, ("generator",))
    cast.save(tmp_path)
    other = load()
    other.model = copy.deepcopy(make_network(hidden_act="gelu"))
    other.model.model.layers = other.model.model.layers[:1]
    changed = Cast(other, Lora(2, 4), ("generator",))
    with pytest.raises(StorageError, match=r"do not fit .*name the model"):
        changed.load(tmp_path)


def test_a_scalar_head_is_trained_with_the_adapter(load, tmp_path):
    ids = torch.tensor([[1, 20, 30, 2]])
    cast = Cast(load(reward=True), LORA, ("reward",), reward=True)
    model = cast.to_train("reward")
    assert any("score" in name for name, p in model.named_parameters() if p.requires_grad)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    model(input_ids=ids).logits.sum().backward()
    optimizer.step()
    cast.save(tmp_path)
    again = Cast(load(reward=True), LORA, ("reward",), reward=True, seed=5)
    again.load(tmp_path)
    with cast.playing("reward") as one, again.playing("reward") as two, torch.no_grad():
        assert torch.equal(one(input_ids=ids).logits, two(input_ids=ids).logits)
    assert again.key("reward") == cast.key("reward")


# ---- models that lack something ------------------------------------------------------------------


def test_no_end_token_is_refused(load):
    with pytest.raises(ConfigError, match=r"has no end token.*set eos_token"):
        load("no-eos")


def test_a_vocabulary_that_does_not_fit_is_refused(load):
    with pytest.raises(ConfigError, match=r"knows 262 tokens, the model has 200"):
        load("few-words")


def test_a_limit_beyond_the_positions_is_told(load):
    base = load(limit=4096)
    assert base.limit == 512
    assert "cut to 512 tokens" in base.mended[-1]
    assert load().mended == []


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("", {}, "no model to tune is named"),
        ("/nowhere/at/all", {}, "cannot be loaded"),
        ("x", {"dtype": "int8"}, "dtype is one of"),
    ],
)
def test_models_that_cannot_be_loaded(spec, more, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=message):
        load_base(spec, **more)


def test_keys_tell_models_apart(models, load):
    assert load().key == load().key != load("no-pad").key


def test_half_precision(load):
    assert load(dtype="bfloat16").model.dtype == torch.bfloat16
