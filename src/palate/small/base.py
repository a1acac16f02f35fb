"""Small base models for the small language, made and pretrained here.

A word-level tokenizer with a chat template, and a model of the Llama architecture (or, to test transfer, of
another) that learns the documents of :mod:`palate.small.corpus` by the usual loss,

    L = sum over batches b of share_b mean over the tokens of replies of - log p(token | what stands before)

by Muon (matrices) and AdamW (the rest) with a cosine rate. Few choices are read at first, then more. A
folder made here is an ordinary Hugging Face folder. The same seed on the same machine gives the same
weights: training is on one thread.

These models know some 80 words. Nothing that they write is the output of a real language model.
"""

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from palate.core import ConfigError
from palate.small.corpus import documents, readings
from palate.small.language import Language
from palate.small.packing import Batch, packed

__all__ = [
    "CHAT_TEMPLATE",
    "FOLLOWING",
    "MIX",
    "MIX_OF_TWO",
    "SPECIAL",
    "STEPS",
    "Mix",
    "make_base",
    "make_tokenizer",
    "random_base",
]

CHAT_TEMPLATE = (
    "<s>{% for message in messages %}"
    "{% if message['role'] == 'assistant' %} <answer> "
    "{% generation %}{{ message['content'] }} </s>{% endgeneration %}"
    "{% else %} <{{ message['role'] }}> {{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} <answer> {% endif %}"
)
"""``<s> <user> CONTENT <answer> ANSWER </s>``, with as many turns as there are."""


class Mix(NamedTuple):
    """What a step is taken on.

    Attributes:
        short: Documents by kind; those of like length are in one batch, whose mean loss has the given share.
        readers: People with ten choices each, after every one of whom is asked (share 1); people with fewer
            are more. 0: a model that reads no choices.
    """

    short: tuple[tuple[tuple[tuple[str, int], ...], float], ...]
    readers: int = 0


MIX = Mix((((("answer", 6), ("abduce", 12)), 0.25), ((("personal", 24),), 0.35)), 10)
"""Of a model with one dialect."""
MIX_OF_TWO = Mix((((("answer", 6), ("abduce", 24)), 0.25), ((("personal", 24),), 0.35)), 10)
"""Of a model with two dialects."""
FOLLOWING = Mix((((("answer", 6), ("personal", 32)), 1.0),))
"""Of a model that follows personas and reads no choices: enough to be told what others wrote."""

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<user>", "<answer>", "<system>")
"""The tokens of every tokenizer made here that are no words; their places are their ids."""
STEPS = 900
"""Steps of training."""
_RATE, _MUON, _WARM, _DECAY = 3e-3, 0.02, 100, 0.01
_SPREAD = (
    0.12  # of the first weights: at the usual 0.02 attention stays flat for a thousand steps at this width
)
_GROWS = ((0.0, 2), (0.2, 4), (0.35, 10))  # choices that are read at once, from which share of the steps
_POSITIONS = 1024
_THREADS = 1

Size = Literal["small", "other"]


def make_tokenizer(words: Sequence[str] = (), longest: int | None = _POSITIONS) -> Any:
    """Return a tokenizer of whole words: one token a word.

    Args:
        words: Its words, which come after ``SPECIAL``; none are those of the small language.
        longest: Tokens beyond which it warns; None is any number.

    Returns:
        ``PreTrainedTokenizerFast``, with pad and end tokens and a chat template.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(_ids(words or Language().words), unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIAL[4:]),
        model_max_length=longest,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _ids(words: Sequence[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate((*SPECIAL, *words))}


def make_base(
    folder: str | Path,
    seed: int = 0,
    size: Size = "small",
    steps: int = STEPS,
    dialects: int = 1,
    tell: Callable[[dict[str, float]], None] | None = None,
    mix: Mix | None = None,
) -> Path:
    """Make a base model, pretrain it and save it.

    Args:
        folder: Where to; a folder that is there already is kept, and nothing is done.
        seed: Of weights and documents.
        size: ``small``, of the Llama architecture, or ``other``, of another one.
        steps: Steps of training.
        dialects: Dialects of the documents, 1 or 2.
        tell: Called every 10 steps with ``step``, ``loss`` (nats a reply token), ``tokens`` so far and
            ``seconds``.
        mix: What a step is taken on; None is ``MIX``, or ``MIX_OF_TWO`` with two dialects.

    Returns:
        The folder, which ``AutoModelForCausalLM`` and ``AutoTokenizer`` read.

    Raises:
        ConfigError: With a size that is not known.
    """
    import torch

    target = Path(folder)
    if target.exists():
        return target
    mix = mix or (MIX if dialects == 1 else MIX_OF_TWO)
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        model = _model(size, seed)
        _train(model, steps, np.random.default_rng((seed, len(size))), Language(dialects), tell, mix)
    finally:
        torch.set_num_threads(threads)
    return _save(model, target)


def random_base(folder: str | Path, seed: int = 0, size: Size = "small") -> Path:
    """Make an untrained base model and save it: for tests that need a model and no skill.

    Args:
        folder: Where to; a folder that is there already is kept.
        seed: Of the weights.
        size: As in :func:`make_base`.

    Returns:
        The folder.
    """
    target = Path(folder)
    return target if target.exists() else _save(_model(size, seed), target)


def _model(size: Size, seed: int) -> Any:
    """Return an untrained model, float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Olmo2Config, Olmo2ForCausalLM

    shared: dict[str, Any] = {
        "vocab_size": len(SPECIAL) + len(Language().words),
        "max_position_embeddings": _POSITIONS,
        "tie_word_embeddings": True,
        "initializer_range": _SPREAD,
        "num_attention_heads": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if size == "small":
            shared |= {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3}
            return LlamaForCausalLM(LlamaConfig(**shared, num_key_value_heads=4))
        if size == "other":
            shared |= {"hidden_size": 56, "intermediate_size": 144, "num_hidden_layers": 3}
            return Olmo2ForCausalLM(Olmo2Config(**shared, num_key_value_heads=2))
    raise ConfigError(f"size is {size!r}, and may be 'small' or 'other'")


def _train(
    model: Any,
    steps: int,
    rng: np.random.Generator,
    language: Language,
    tell: Callable[[dict[str, float]], None] | None,
    mix: Mix,
) -> None:
    """Train in place; one step adds up the losses of the batches of the mix, each with its share."""
    import torch

    ids = _ids(language.words)
    optimizers = _optimizers(model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(each, lambda step: _pace(step, steps)) for each in optimizers
    ]
    started, seen = time.monotonic(), 0
    model.train()
    for step in range(1, steps + 1):
        total = whole = 0.0
        for batch, share in _batches(mix, step / steps, rng, language, ids):
            logits = model(batch.tokens, attention_mask=batch.seen, position_ids=batch.places).logits[:, :-1]
            wanted = batch.labels[:, 1:]
            told = wanted != -100
            loss = share * torch.nn.functional.cross_entropy(logits[told], wanted[told])
            loss.backward()
            total += float(loss.detach())
            whole += share
            seen += int((batch.tokens != ids["<pad>"]).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each, schedule in zip(optimizers, schedules, strict=True):
            each.step()
            each.zero_grad(set_to_none=True)
            schedule.step()
        if tell is not None and step % 10 == 0:
            tell({"step": step, "loss": total / whole, "tokens": seen, "seconds": time.monotonic() - started})
    model.eval()


def _optimizers(model: Any) -> list[Any]:
    """Return Muon for the matrices, and AdamW for embeddings and norms."""
    import torch

    inner = [(name, p) for name, p in model.named_parameters() if p.ndim == 2]
    matrices = [p for name, p in inner if "embed" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=_MUON, weight_decay=_DECAY, momentum=0.95),
        torch.optim.AdamW(others, lr=_RATE, weight_decay=_DECAY, betas=(0.9, 0.98)),
    ]


def _batches(
    mix: Mix, done: float, rng: np.random.Generator, language: Language, ids: dict[str, int]
) -> Iterator[tuple[Batch, float]]:
    """Yield the batches of a step and their shares."""
    for kinds, share in mix.short:
        alone = [[doc] for kind, n in kinds for doc in documents(kind, n, rng, language)]
        yield packed(alone, ids), share
    if mix.readers:
        most = next(count for start, count in reversed(_GROWS) if done > start)
        people = max(mix.readers, 7 * mix.readers // most)
        yield packed(readings(people, rng, language, most), ids), 1.0


def _pace(step: int, steps: int) -> float:
    """Return the share of the full rate: a short warm-up, then a cosine down to a twentieth."""
    warm = min(_WARM, steps // 4 + 1)
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.475 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _save(model: Any, target: Path) -> Path:
    """Save model and tokenizer beside the target and move them there whole, so that a cut run leaves none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        model.save_pretrained(draft)
        make_tokenizer().save_pretrained(draft)
        os.replace(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target
