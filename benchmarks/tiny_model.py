"""A tiny Mistral, made and trained here in about a minute, that answers in the forms that Palate asks for.

It understands nothing: from the last words of a prompt it has learned which form of answer is wanted, and
writes one of a few. It is there to run every method against a real server over real HTTP, with a real
tokenizer and a real chat template; its figures say nothing about any method.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TAIL = 32  # tokens of a prompt's end that tell the form


def make(folder: Path, programs: dict[str, tuple[str, tuple[str, ...]]], steps: int = 300) -> Path:
    """Train a model on (last words of the prompt, answers) by program and save it with its tokenizer."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # matrices this small only wait for each other
    random.seed(0)
    tokenizer = _tokenizer([text for ask, answers in programs.values() for text in (ask, *answers)])
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        sliding_window=64,  # it sees the end of the prompt alone, however long the prompt is
        max_position_embeddings=16384,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = MistralForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batches = _batches(tokenizer, programs, steps)
    for step, (ids, labels) in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - step / steps)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, initial_alphabet=alphabet)
    raw.train_from_iterator(texts * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _batches(
    tokenizer: PreTrainedTokenizerFast, programs: dict[str, tuple[str, tuple[str, ...]]], steps: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ids and labels: noise, the end of a prompt, the answer; the answer alone is learned."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    end, assistant = encode("<|end|>"), encode("<|assistant|>")
    asks = [(encode(ask)[-TAIL:], [encode(a) for a in answers]) for ask, answers in programs.values()]
    for _ in range(steps):
        rows = []
        for ask, answers in random.choices(asks, k=24):
            noise = [random.randrange(5, len(tokenizer)) for _ in range(random.randrange(4, 100))]
            prompt, answer = [*noise, *ask, *end, *assistant], [*random.choice(answers), *end]
            rows.append((prompt + answer, [-100] * len(prompt) + answer))
        width = max(len(ids) for ids, _ in rows)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
        labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
        yield ids, labels
