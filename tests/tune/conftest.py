"""A tiny Llama of random weights and a byte-level tokenizer, and the same with something missing or wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

try:
    import torch
    import trl
    from transformers.utils import logging as hf_logging
except ImportError:  # the extra tune is not installed
    trl = None
collect_ignore_glob = ["test_*.py"] if trl is None else []

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>"
    "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TEMPLATE
)
DROPS = TEMPLATE.replace("<|{{ m['role'] }}|>", "{% if m['role'] != 'system' %}<|{{ m['role'] }}|>").replace(
    "{% endfor %}", "{% endif %}{% endfor %}"
)
SPECIAL = ("<pad>", "<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")


def tokenizer(*, template: str | None = TEMPLATE, pad: bool = True, eos: bool = True) -> Any:
    """Return a byte-level tokenizer: every text is read and told exactly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: i for i, word in enumerate((*SPECIAL, *letters))}
    core = Tokenizer(models.BPE(words, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    named = {"bos_token": "<s>"}
    if pad:
        named["pad_token"] = "<pad>"
    if eos:
        named["eos_token"] = "<|end|>"
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, clean_up_tokenization_spaces=False, model_max_length=512, **named
    )
    made.chat_template = template
    return made


def network(vocabulary: int = 262, seed: int = 0, **more: Any) -> Any:
    """Return a Llama of some 30,000 random weights; large ones, so that its words are not all alike."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.15,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def exact(model: Any) -> Any:
    """Return a network in float64 throughout: its norms compute in float32 otherwise."""
    for layer in model.model.layers:
        for name in ("input_layernorm", "post_attention_layernorm"):
            setattr(layer, name, _norm(getattr(layer, name)))
    model.model.norm = _norm(model.model.norm)
    return model.double()


def _norm(theirs: Any) -> Any:
    norm = torch.nn.RMSNorm(theirs.weight.shape, eps=theirs.variance_epsilon)
    norm.weight.data.copy_(theirs.weight.data)
    return norm


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    if trl is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    hf_logging.disable_progress_bar()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of models by what is wrong with them: ``whole``, ``no-template``, ``no-pad``, ``no-eos``,
    ``few-words`` (fewer rows than tokens), ``refuses`` and ``drops`` (system messages)."""
    home = tmp_path_factory.mktemp("models")
    forms: dict[str, tuple[dict[str, Any], int]] = {
        "whole": ({}, 262),
        "no-template": ({"template": None}, 262),
        "no-pad": ({"pad": False}, 262),
        "no-eos": ({"eos": False}, 262),
        "few-words": ({}, 200),
        "refuses": ({"template": REFUSES}, 262),
        "drops": ({"template": DROPS}, 262),
    }

    def folder(form: str) -> Path:
        path = home / form
        if not path.exists():
            words, rows = forms[form]
            network(rows).save_pretrained(path)
            tokenizer(**words).save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Any]:
    """Makes random networks."""
    return network


@pytest.fixture(scope="session")
def make_exact() -> Callable[..., Any]:
    """Makes random networks that compute in float64."""
    return lambda **more: exact(network(**more))


@pytest.fixture
def load(models: Callable[[str], Path]) -> Callable[..., Any]:
    """Loads a model by what is wrong with it."""
    from palate.tune.model import load_base

    def loaded(form: str = "whole", **more: Any) -> Any:
        return load_base(str(models(form)), device="cpu", **{"limit": 256, **more})

    return loaded
