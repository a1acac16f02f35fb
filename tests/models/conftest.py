from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from palate.models.weights import length_order


@pytest.fixture(autouse=True)
def cache_in_tmp(tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclass
class Counting:
    """A stand-in encoder: the vector of a text is its length and its vowels; it counts what it encodes."""

    key: str = "counting1"
    spec: str = "counting"
    dim: int = 2
    reads_conversation: bool = False
    cached: bool = True
    batch: int = 4
    fail_after: int | None = None
    seen: list[str] = field(default_factory=list)

    @property
    def blocks(self):
        return (("text", slice(0, self.dim)),)

    def render(self, conversation, response):
        if not self.reads_conversation:
            return response
        return "\n".join(turn.content for turn in conversation) + "\n" + response

    def stream(self, texts):
        order = length_order(texts)
        for start in range(0, len(order), self.batch):
            if self.fail_after is not None and len(self.seen) >= self.fail_after:
                raise KeyboardInterrupt
            rows = order[start : start + self.batch]
            self.seen += [texts[i] for i in rows]
            yield rows, np.array([self.vector(texts[i]) for i in rows], np.float32)

    def encode(self, texts, progress=None):
        out = np.zeros((len(texts), self.dim), np.float32)
        for rows, vectors in self.stream(texts):
            out[rows] = vectors
        return out

    @staticmethod
    def vector(text):
        return len(text), sum(c in "aeiou" for c in text)


@pytest.fixture
def counting():
    return Counting


def _words(n):
    base = "the a cat dog sat on mat hello world why yes no please help me with this thing . , ! ?"
    return [*base.split(), *(f"w{i}" for i in range(n - len(base.split())))]


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory) -> Path:
    """A random two-layer Llama with a word tokenizer and no chat template."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    folder = tmp_path_factory.mktemp("tiny-lm")
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *_words(60)])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        padding_side="left",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder
