"""Words on a GPU without a word to it for each: the step of one token is recorded once and replayed.

    step    logits of the last token [n, V]; a token drawn of each row; its keys and values put in place

A model of a billion weights takes a millisecond or two for a token of every row, and the processor takes ten
times as long to tell it so, kernel by kernel. A CUDA graph tells it all at once. For this nothing may change
its place or size: keys and values have room for the longest completion from the start, and rows that have
ended write on, until all have. What is drawn is drawn from the whole softmax, by the exponential race
(argmax of p_i / e_i, e_i exponential), or is the likeliest.

Departs from ``generate``: the same distribution, other draws for a seed.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["replayed", "replays"]

_DENSE = {"llama", "mistral", "olmo2", "qwen2", "qwen3"}  # every step of theirs is alike, whatever the words
_SHORT = 16  # tokens for which recording does not pay
_LOOK = 32  # steps between looks whether all rows have ended
_WIDTH = 8  # room is a multiple of this: what attention on GPUs reads at once


def replays(model: Any, how: Any) -> bool:
    """Whether words can be written so: one GPU, a model of a known kind, and the plain softmax.

    Args:
        model: A causal language model.
        how: A ``GenerationConfig``.
    """
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return bool(
        model.device.type == "cuda"
        and config.model_type in _DENSE
        and rope.get("rope_type", "default") in ("default", "linear", "llama3", "yarn")
        and getattr(config, "_attn_implementation", None) == "sdpa"
        and not _many()
        and how.max_new_tokens >= _SHORT
        and _plain(how)
    )


def _many() -> bool:
    """Whether several processes share the model, and speak to each other while it runs."""
    spread = torch.distributed
    return bool(spread.is_available() and spread.is_initialized() and spread.get_world_size() > 1)


def _plain(how: Any) -> bool:
    """Whether the likeliest, or one of the whole softmax, is taken, and nothing else is asked."""
    said = {k: v for k, v in how.to_diff_dict().items() if v is not None}
    usual = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "num_beams": 1, "min_new_tokens": 0}
    own = {"max_new_tokens", "eos_token_id", "pad_token_id", "bos_token_id", "do_sample", "temperature"}
    silent = {"transformers_version", "disable_compile", "use_cache", "_from_model_config", *own}
    return all(name in silent or usual.get(name) == value for name, value in said.items())


def replayed(model: Any, memory: Any, owner: Tensor, last: Tensor, mask: Tensor, how: Any) -> Tensor:
    """Return the ids that follow each prompt, int64 [rows, new]; what follows an end token means nothing.

    Args:
        model: A causal language model in evaluation mode.
        memory: Keys and values of all prompts but their last token.
        owner: int64 [rows], the prompt of each row.
        last: int64 [rows], the last token of its prompt.
        mask: int64 [rows, p], which tokens of its prompt are there, the last one included.
        how: A ``GenerationConfig`` of which :func:`replays` is true.
    """
    run = _Run(model, memory, owner, last, mask, how)
    with torch.no_grad():
        if last.device.type != "cuda":
            return run.told(run.step)
        here, aside = torch.cuda.current_stream(), _stream(last.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            out = run.told(run.recorded)
        here.wait_stream(aside)
    return out


@cache
def _stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)


class _Run:
    """A batch that is being written: its tokens, their places, and what was read."""

    def __init__(self, model: Any, memory: Any, owner: Tensor, last: Tensor, mask: Tensor, how: Any) -> None:
        rows, seen = mask.shape
        self.model, self.how = model, how
        room = -(-(seen + how.max_new_tokens) // _WIDTH) * _WIDTH
        self.place = torch.full((1,), seen - 1, device=mask.device)
        self.memory = _fixed(memory, owner, room, self.place)
        self.there = torch.zeros(rows, 1, 1, room, dtype=torch.bool, device=mask.device)
        self.there[:, 0, 0, :seen] = mask.bool()
        self.token = last[:, None].clone()
        self.position = mask.sum(1, keepdim=True) - 1
        self.at = torch.zeros(1, dtype=torch.int64, device=mask.device)
        self.out = torch.zeros(rows, how.max_new_tokens, dtype=torch.int64, device=mask.device)
        ends = how.eos_token_id if isinstance(how.eos_token_id, list) else [how.eos_token_id]
        self.ends = torch.tensor(ends, device=mask.device)
        self.ended = torch.zeros(rows, 1, dtype=torch.bool, device=mask.device)

    def told(self, step: Any) -> Tensor:
        """Take steps until all rows have ended, or are as long as they may be."""
        self.step()
        for done in range(1, self.how.max_new_tokens):
            if done % _LOOK == 0 and bool(self.ended.all()):
                break
            step()
        return self.out

    def step(self) -> None:
        """Write a token of every row, in place."""
        self.there.index_fill_(3, self.place, True)
        logits = self.model(
            input_ids=self.token,
            attention_mask=self.there,
            position_ids=self.position,
            past_key_values=self.memory,
            use_cache=True,
        ).logits[:, -1]
        self.token.copy_(_drawn(logits, self.how))
        self.out.index_copy_(1, self.at, self.token)
        self.ended.logical_or_((self.token == self.ends).any(1, keepdim=True))
        for counted in (self.place, self.position, self.at):
            counted.add_(1)

    def recorded(self) -> None:
        """Take a step that is recorded when it is first taken."""
        if not hasattr(self, "graph"):
            self.graph = torch.cuda.CUDAGraph()
            self.graph.capture_begin(capture_error_mode="thread_local")  # others load data meanwhile
            try:
                self.step()
            finally:
                self.graph.capture_end()
        self.graph.replay()


def _drawn(logits: Tensor, how: Any) -> Tensor:
    if not how.do_sample:
        return logits.argmax(-1, keepdim=True)
    share = torch.softmax(logits.float() / (how.temperature or 1.0), -1)
    return (share / torch.empty_like(share).exponential_(1.0)).argmax(-1, keepdim=True)


def _fixed(memory: Any, owner: Tensor, room: int, place: Tensor) -> Any:
    """Return keys and values with room for more, each row its own."""
    from transformers.cache_utils import Cache, CacheLayerMixin

    class Fixed(CacheLayerMixin):
        """Keys and values of a layer, [rows, heads, room, d], that stay where they are."""

        is_compileable = False
        is_sliding = False

        def __init__(self, keys: Tensor, values: Tensor) -> None:
            super().__init__()
            self.keys, self.values = (self._roomy(each) for each in (keys, values))
            self.is_initialized = True

        def _roomy(self, read: Tensor) -> Tensor:
            rows, (_, heads, seen, width) = len(owner), read.shape
            out = torch.zeros(rows, heads, room, width, dtype=read.dtype, device=read.device)
            out[:, :, :seen] = read[owner]
            return out

        def lazy_initialization(self, *_: Any) -> None:
            """Do nothing: all is there."""

        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            """Put a token's keys and values in their place."""
            self.keys.index_copy_(2, place, keys.to(self.keys.dtype))
            self.values.index_copy_(2, place, values.to(self.values.dtype))
            return self.keys, self.values

        def get_seq_length(self, *_: Any) -> int:
            """Return how many places there are: masks and positions are given."""
            return room

        def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
            """Return the places that are seen."""
            return room, 0

        def get_max_length(self) -> int:
            """Return the places."""
            return room

        get_max_cache_shape = get_max_length  # its name in earlier versions

    return Cache(layers=[Fixed(layer.keys, layer.values) for layer in memory.layers])
