"""The hidden states of any Hugging Face language model that reads the conversation and the response.

    text   = chat template of (conversation, response), or "role: content" lines where there is none
    vector = pool(hidden states of one layer over the text's tokens), divided by its norm
             pool = mean over the tokens, or the last token

A text longer than ``max_length`` loses the start of its conversation, never the response's end.
"""

import functools
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from palate.core.errors import ConfigError, EncoderError
from palate.core.feedback import Conversation
from palate.models.encoder import Batches, Floats, Progress, check_finite, collect
from palate.models.weights import DTYPES, clean, folder_key, length_order, token_batches, torch_device

__all__ = ["HiddenStates"]

_VERSION = 1
_BUDGET = 8192  # tokens of a padded batch
_WINDOW = 4096  # texts that are tokenized at a time


@dataclass(frozen=True)
class HiddenStates:
    """``hf:NAME``: hidden states of a causal language model or an encoder.

    Args:
        spec: The name as the user wrote it.
        name: A folder or a model's name on the hub.
        device: Where it runs; None is the first GPU if there is one.
        pool: ``mean`` or ``last``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        max_length: Tokens kept of a text; never more than the model has positions.
        layer: Which hidden states: 0 is the embeddings, -1 the last layer.
        revision: A hub model's branch, tag or commit.
    """

    spec: str
    name: str
    device: str | None = None
    pool: str = "mean"
    dtype: str = "float32"
    max_length: int = 2048
    layer: int = -1
    revision: str | None = None
    reads_conversation: bool = field(default=True, init=False)
    cached: bool = field(default=True, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.pool not in ("mean", "last"):
            raise ConfigError(f"encoder {self.spec!r}: pool is mean or last, got {self.pool!r}")
        if self.dtype not in DTYPES:
            raise ConfigError(
                f"encoder {self.spec!r}: dtype is one of {', '.join(DTYPES)}, got {self.dtype!r}"
            )
        if self.max_length < 8:
            raise ConfigError(
                f"encoder {self.spec!r}: max_length is at least 8 tokens, got {self.max_length}"
            )

    @classmethod
    def from_options(cls, spec: str, name: str, device: str | None, options: Mapping[str, str]) -> Self:
        """Build from a spec's options; raises :class:`ConfigError` where a number is not one."""
        values: dict[str, Any] = dict(options)
        for option in ("max_length", "layer"):
            if option in values:
                try:
                    values[option] = int(values[option])
                except ValueError as error:
                    got = values[option]
                    raise ConfigError(f"encoder {spec!r}: {option} is a whole number, got {got!r}") from error
        return cls(spec, name, device, **values)

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        with self._lock:
            import torch
            from transformers import AutoModel, AutoTokenizer

            try:
                tokenizer = AutoTokenizer.from_pretrained(self.name, revision=self.revision or "main")
                model = AutoModel.from_pretrained(
                    self.name, revision=self.revision or "main", dtype=getattr(torch, self.dtype)
                )
            except Exception as error:
                raise EncoderError(
                    f"{self.spec} cannot be loaded ({type(error).__name__}: {error}); expected a folder with "
                    "a model and its tokenizer, or a name on the hub and a connection or a filled cache"
                ) from error
            depth = int(model.config.get_text_config().num_hidden_layers)
            if not -depth - 1 <= self.layer <= depth:
                raise ConfigError(
                    f"encoder {self.spec!r}: layer {self.layer} does not exist; "
                    f"the model has 0 to {depth} (or -1)"
                )
            return model.eval().to(torch_device(self.device, accelerate=True)), tokenizer

    @functools.cached_property
    def key(self) -> str:
        """A folder's hash, or a hub model's name and commit; and every option that changes vectors."""
        if Path(self.name).is_dir():
            identity = folder_key(Path(self.name))
        else:
            config = self._loaded[0].config
            identity = f"{self.name}@{getattr(config, '_commit_hash', None) or self.revision or 'main'}"
        return f"hf{_VERSION}:{identity}:{self.pool}:{self.dtype}:{self.max_length}:{self.layer}"

    @functools.cached_property
    def dim(self) -> int:
        """Columns: the model's hidden size."""
        return int(self._loaded[0].config.get_text_config().hidden_size)

    @property
    def blocks(self) -> tuple[tuple[str, slice], ...]:
        """``text`` alone."""
        return (("text", slice(0, self.dim)),)

    def render(self, conversation: Conversation, response: str) -> str:
        """Return the chat that the model reads, by its own template where it has one."""
        tokenizer = self._loaded[1]
        turns = [*conversation, ("assistant", response)]
        if getattr(tokenizer, "chat_template", None) is None:
            return "\n".join(f"{role}: {content}" for role, content in turns)
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False))
        except Exception as error:  # templates raise their own complaints, such as roles that must alternate
            roles = ", ".join(m["role"] for m in messages)
            raise EncoderError(
                f"the chat template of {self.spec} refused the roles {roles}: {error}"
            ) from error

    def stream(self, texts: Sequence[str]) -> Batches:
        """Yield (positions, vectors float32 [b, dim]), long texts first, then warn if any was cut.

        Raises:
            EncoderError: If the model cannot be loaded, or a vector is not finite.
        """
        order, cut = length_order(texts), 0
        for start in range(0, len(order), _WINDOW):
            rows = order[start : start + _WINDOW]
            ids = []
            for i, tokens in zip(rows, self._tokens(clean([texts[i] for i in rows])), strict=True):
                if not tokens:
                    raise EncoderError(
                        f"text {i + 1} of {len(texts)} has no tokens for {self.spec}; leave it out"
                    )
                cut += len(tokens) > self._limit
                ids.append(self._cut(tokens))
            for batch in token_batches([len(tokens) for tokens in ids], _BUDGET):
                vectors = self._encode([ids[i] for i in batch])
                check_finite(vectors, rows[batch], texts, self.spec)
                yield rows[batch], vectors
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} texts were longer than {self._limit} tokens: {self.spec} did not "
                "read the start of their conversations; raise max_length if the model can take more",
                stacklevel=2,
            )

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return float32 [n, dim], rows of norm 1; see :class:`~palate.models.encoder.Encoder`."""
        return collect(self, texts, self.dim, progress)

    @functools.cached_property
    def _limit(self) -> int:
        model, tokenizer = self._loaded
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        return int(min(self.max_length, positions or self.max_length, tokenizer.model_max_length))

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        tokenizer = self._loaded[1]
        templated = getattr(tokenizer, "chat_template", None) is not None
        found = tokenizer(
            texts,
            add_special_tokens=not templated,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )
        return list(found["input_ids"])

    def _cut(self, tokens: list[int]) -> list[int]:
        """Keep the end of a text; a special token at its very start stays."""
        if len(tokens) <= self._limit:
            return tokens
        tokenizer = self._loaded[1]
        if tokens[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id):
            return [tokens[0], *tokens[len(tokens) - self._limit + 1 :]]
        return tokens[-self._limit :]

    def token_states(self, texts: Sequence[str]) -> list[Floats]:
        """Return the states of every text's tokens, float32 [tokens, dim], rows of norm 1.

        Nothing is pooled, and special tokens are left out: a text without any other has none.

        Raises:
            EncoderError: If the model cannot be loaded, or a state is not finite.
        """
        ids = [self._cut(tokens) for tokens in self._tokens(clean(texts))]
        special = [i for i in self._loaded[1].all_special_ids if i != self._loaded[1].unk_token_id]
        out = [np.zeros((0, self.dim), np.float32)] * len(ids)
        heard = [i for i, tokens in enumerate(ids) if tokens]
        for batch in token_batches([len(ids[i]) for i in heard], _BUDGET):
            rows = [heard[i] for i in batch]
            states = self._states([ids[i] for i in rows])[0].cpu().numpy()
            for row, kept in zip(rows, states, strict=True):
                vectors = kept[: len(ids[row])][~np.isin(ids[row], special)]
                check_finite(vectors, np.full(len(vectors), row), texts, self.spec)
                norms = np.linalg.norm(vectors, axis=1, keepdims=True)
                out[row] = vectors / np.where(norms > 0, norms, 1)
        return out

    def _states(self, ids: list[list[int]]) -> tuple[Any, Any, Any]:
        """Pad on the right and run the model: states [b, width, dim], sizes [b], mask [b, width]."""
        import torch

        model, tokenizer = self._loaded
        width = max(map(len, ids))
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        inputs = torch.tensor([row + [padding] * (width - len(row)) for row in ids], device=model.device)
        sizes = torch.tensor([len(row) for row in ids], device=model.device)
        mask = torch.arange(width, device=model.device)[None, :] < sizes[:, None]
        with torch.inference_mode():
            deep = self.layer != -1
            out = model(input_ids=inputs, attention_mask=mask.long(), output_hidden_states=deep)
            states = (out.hidden_states[self.layer] if deep else out.last_hidden_state).float()
        return states, sizes, mask

    def _encode(self, ids: list[list[int]]) -> Floats:
        """Run the model and pool: float32 [b, dim]."""
        import torch
        import torch.nn.functional as F

        states, sizes, mask = self._states(ids)
        with torch.inference_mode():
            if self.pool == "last":
                pooled = states[torch.arange(len(ids), device=states.device), sizes - 1]
            else:
                pooled = (states * mask[:, :, None]).sum(1) / sizes[:, None]
            vectors: Floats = F.normalize(pooled).cpu().numpy()
        return vectors
