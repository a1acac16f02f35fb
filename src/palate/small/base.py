"""Small base models for the small language, made and pretrained here.

A word-level tokenizer with a chat template, and a model of the Llama architecture (or, to test transfer, of
another) that learns the documents of :mod:`palate.small.corpus` by the usual loss,

    L = - sum over the tokens of replies of log p(token | what stands before) / number of such tokens

by AdamW with a cosine rate. A folder made here is an ordinary Hugging Face folder. The same seed on the same
machine gives the same weights: training is on one thread.

These models know some 80 words. Nothing that they write is the output of a real language model.
"""

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from palate.core import ConfigError
from palate.small.corpus import Document, documents
from palate.small.language import Language

__all__ = ["CHAT_TEMPLATE", "FOLLOWING", "MIX", "STEPS", "make_base", "make_tokenizer", "random_base"]

CHAT_TEMPLATE = (
    "<s>{% for message in messages %}"
    "{% if message['role'] == 'assistant' %} <answer> "
    "{% generation %}{{ message['content'] }} </s>{% endgeneration %}"
    "{% else %} <{{ message['role'] }}> {{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} <answer> {% endif %}"
)
"""``<s> <user> CONTENT <answer> ANSWER </s>``, with as many turns as there are."""

FOLLOWING: "Mix" = ((("answer", 6), ("personal", 32)),)
"""The same for a model that follows personas and reads no choices: enough to be told what others wrote."""
Mix = tuple[tuple[tuple[str, int], ...], ...]
MIX: Mix = (
    (("answer", 6), ("abduce", 12)),
    (("personal", 24),),
    (("survey", 28), ("describe", 10)),
)
"""Documents of one step, by kind; those of like length are in one batch."""

_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<user>", "<answer>", "<system>")
STEPS = 900
"""Steps of training, of about 4,000 tokens each."""
_RATE, _WARM, _DECAY = 3e-3, 100, 0.01
_SPREAD = (
    0.12  # of the first weights: at the usual 0.02 attention stays flat for a thousand steps at this width
)
_EASY = 300  # steps over which more choices come to be read at once
_POSITIONS = 1024
_THREADS = 1

Size = Literal["small", "other"]


def make_tokenizer() -> Any:
    """Return the tokenizer of the small language: one token a word.

    Returns:
        ``PreTrainedTokenizerFast``, with pad and end tokens and a chat template.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate((*_SPECIAL, *Language().words))}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(_SPECIAL[4:]),
        model_max_length=_POSITIONS,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_base(
    folder: str | Path,
    seed: int = 0,
    size: Size = "small",
    steps: int = STEPS,
    dialects: int = 1,
    tell: Callable[[dict[str, float]], None] | None = None,
    mix: Mix = MIX,
) -> Path:
    """Make a base model, pretrain it and save it.

    Args:
        folder: Where to; a folder that is there already is kept, and nothing is done.
        seed: Of weights and documents.
        size: ``small``, of the Llama architecture, or ``other``, of another one.
        steps: Steps of training, of about 2,400 tokens each.
        dialects: Dialects of the documents, 1 or 2.
        tell: Called every 10 steps with ``step``, ``loss`` (nats a reply token), ``tokens`` so far and
            ``seconds``.
        mix: Documents of one step, as in ``MIX``.

    Returns:
        The folder, which ``AutoModelForCausalLM`` and ``AutoTokenizer`` read.

    Raises:
        ConfigError: With a size that is not known.
    """
    import torch

    target = Path(folder)
    if target.exists():
        return target
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
        "vocab_size": len(_SPECIAL) + len(Language().words),
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
            shared |= {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2}
            return LlamaForCausalLM(LlamaConfig(**shared, num_key_value_heads=4))
        if size == "other":
            shared |= {"hidden_size": 56, "intermediate_size": 144, "num_hidden_layers": 3}
            return Olmo2ForCausalLM(Olmo2Config(**shared, num_key_value_heads=2))
    raise ConfigError(f"size is {size!r}, and may be 'small' or 'other'")


def _batch(texts: Sequence[Document], ids: dict[str, int]) -> tuple[Any, Any, Any]:
    """Return int64 [documents, longest]: tokens and labels, padded right; and the mask of what is there."""
    import torch

    rows = []
    for content, reply in texts:
        asked = [0, ids["<user>"], *(ids[word] for word in content.split()), ids["<answer>"]]
        rows.append((asked, [*(ids[word] for word in reply.split()), 1]))
    width = max(len(asked) + len(said) for asked, said in rows)
    tokens, labels = torch.full((2, len(rows), width), 2)
    labels.fill_(-100)
    for number, (asked, said) in enumerate(rows):
        end = len(asked) + len(said)
        tokens[number, :end] = torch.tensor(asked + said)
        labels[number, len(asked) : end] = torch.tensor(said)
    return tokens, labels, (tokens != 2).long()


def _train(
    model: Any,
    steps: int,
    rng: np.random.Generator,
    language: Language,
    tell: Callable[[dict[str, float]], None] | None,
    mix: Mix,
) -> None:
    """Train in place; one step sums the losses of the batches of ``MIX``, a token as much as another."""
    import torch

    ids = {word: number for number, word in enumerate((*_SPECIAL, *language.words))}
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, steps))
    started, seen = time.monotonic(), 0
    model.train()
    for step in range(1, steps + 1):
        batches = [
            _batch(
                [
                    doc
                    for kind, n in part
                    for doc in documents(kind, n, rng, language, min(1.0, step / _EASY))
                ],
                ids,
            )
            for part in mix
        ]
        replies = sum(int((labels != -100).sum()) for _, labels, _ in batches)
        total = 0.0
        for tokens, labels, mask in batches:
            logits = model(tokens, attention_mask=mask).logits[:, :-1]
            wanted = labels[:, 1:]
            told = wanted != -100
            loss = torch.nn.functional.cross_entropy(logits[told], wanted[told], reduction="sum") / replies
            loss.backward()
            total += float(loss.detach())
            seen += int(mask.sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if tell is not None and step % 10 == 0:
            tell({"step": step, "loss": total, "tokens": seen, "seconds": time.monotonic() - started})
    model.eval()


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
