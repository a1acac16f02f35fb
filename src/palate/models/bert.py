"""A BERT encoder with mean pooling that does no work twice: packed, unpadded, one batch a core.

For a batch of texts whose tokens stand one after the other, X is [tokens, d]:

    X    = norm(word[ids] + position + type)
    X    = norm(X + attention(X Wqkv + bqkv) Wo + bo)             attention inside each text only
    X    = norm(X + gelu(X Wi + bi) Wd + bd)                      6 layers for MiniLM
    text = mean of its rows of X, divided by its norm

Texts are sorted by length, so that texts of equal length are one dense attention call without a mask,
and no padding is ever multiplied. Every worker thread runs whole batches with one core each: no
barrier between the cores at every operation, which costs plain batches a third of their time and more
on a busy machine. On a processor with native bfloat16 the weights and activations are bfloat16.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import EncoderError
from palate.models.weights import clean, length_order, read_json

__all__ = ["BertEngine", "native_dtype"]

_BUDGET = 2048  # tokens a batch: large enough for dense products, small enough for the cache
_SETTINGS = ("num_attention_heads", "num_hidden_layers", "layer_norm_eps")
_WINDOW = 16_384  # texts that are tokenized at a time
_Done = tuple[NDArray[np.int64], NDArray[np.float32]]
_starting = threading.Lock()


class _Layer(NamedTuple):
    """Weights of one layer; a pair is (weight, bias)."""

    qkv: tuple[Any, Any]
    out: tuple[Any, Any]
    norm1: tuple[Any, Any]
    up: tuple[Any, Any]
    down: tuple[Any, Any]
    norm2: tuple[Any, Any]


class _Batch(NamedTuple):
    """Texts that are encoded together.

    Attributes:
        rows: int64 [b], their positions.
        ids: Token ids, all texts in a row: int64 [tokens].
        runs: (number of texts, tokens of each) for each run of equal length.
    """

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    runs: list[tuple[int, int]]


def native_dtype() -> str:
    """Return ``"bfloat16"`` where the processor multiplies it natively, otherwise ``"float32"``."""
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = any(bool(getattr(torch.cpu, name, bool)()) for name in checks)
    return "bfloat16" if fast else "float32"


class BertEngine:
    """A BERT model in memory. Safe to call from several threads.

    Args:
        folder: A Hugging Face folder: config.json, model.safetensors, tokenizer.json.
        max_length: Tokens after which texts are cut.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: A ``torch.device``.

    Raises:
        EncoderError: If the folder is not whole or its architecture is another one.
    """

    def __init__(self, folder: Path, max_length: int, dtype: str, device: Any) -> None:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        config = read_json(folder / "config.json", *_SETTINGS)
        expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        for name, value in expected.items():
            if config.get(name, value) != value:
                raise EncoderError(
                    f"{folder} has {name} {config[name]!r}, not {value!r}; use st:{folder} for it"
                )
        try:
            weights = load_file(folder / "model.safetensors")
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # safetensors and tokenizers raise their own bare kinds
            raise EncoderError(
                f"the model in {folder} cannot be loaded ({error}); copy or download it again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._device, self._heads = device, int(config["num_attention_heads"])
        self._epsilon, self._layers = float(config["layer_norm_eps"]), list[_Layer]()
        w = {
            name.removeprefix("bert."): v.to(device, getattr(torch, dtype)) if v.is_floating_point() else v
            for name, v in weights.items()
        }
        try:
            self._take(w, int(config["num_hidden_layers"]))
        except KeyError as error:
            raise EncoderError(
                f"{folder}/model.safetensors has no {error}; use st:{folder} for it"
            ) from error

    def _take(self, w: dict[str, Any], n_layers: int) -> None:
        import torch

        def pair(name: str) -> tuple[Any, Any]:
            return w[f"{name}.weight"], w[f"{name}.bias"]

        self._word = w["embeddings.word_embeddings.weight"]
        self._position = (
            w["embeddings.position_embeddings.weight"] + w["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = pair("embeddings.LayerNorm")
        for i in range(n_layers):
            at = f"encoder.layer.{i}."
            parts = [pair(f"{at}attention.self.{name}") for name in ("query", "key", "value")]
            self._layers.append(
                _Layer(
                    qkv=(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])),
                    out=pair(f"{at}attention.output.dense"),
                    norm1=pair(f"{at}attention.output.LayerNorm"),
                    up=pair(f"{at}intermediate.dense"),
                    down=pair(f"{at}output.dense"),
                    norm2=pair(f"{at}output.LayerNorm"),
                )
            )

    def stream(self, texts: Sequence[str]) -> Generator[_Done, None, None]:
        """Yield (positions, vectors float32 [b, d]) batch after batch, long texts first."""
        import torch

        workers = torch.get_num_threads() if self._device.type == "cpu" else 1
        order = length_order(texts)
        windows = [order[i : i + _WINDOW] for i in range(0, len(order), _WINDOW)]
        batches = (batch for rows in windows for batch in self._batches(texts, rows, workers))
        if workers == 1:
            yield from map(self._encode, batches)
            return
        with ThreadPoolExecutor(workers) as pool:
            _one_core_each(pool, workers)
            try:
                yield from _in_flight(pool, self._encode, batches, 2 * workers)
            finally:
                pool.shutdown(cancel_futures=True)

    def _batches(self, texts: Sequence[str], rows: NDArray[np.int64], workers: int) -> Iterator[_Batch]:
        encodings = self._tokenizer.encode_batch_fast(clean([texts[i] for i in rows]))
        ids = [encoding.ids for encoding in encodings]
        sizes = np.fromiter(map(len, ids), np.int64, len(ids))
        order = np.argsort(-sizes, kind="stable")
        budget = max(256, min(_BUDGET, int(sizes.sum()) // (2 * workers)))
        ends = np.cumsum(sizes[order])
        start = 0
        while start < len(order):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + budget, side="right")))
            part = order[start:stop]
            widths, counts = np.unique(sizes[part], return_counts=True)
            runs = list(zip(counts[::-1].tolist(), widths[::-1].tolist(), strict=True))
            yield _Batch(rows[part], np.concatenate([np.asarray(ids[i], np.int64) for i in part]), runs)
            start = stop

    def _encode(self, batch: _Batch) -> _Done:
        import torch
        import torch.nn.functional as F

        with torch.inference_mode():
            ids = torch.from_numpy(batch.ids).to(self._device)
            places = torch.cat([torch.arange(width).repeat(n) for n, width in batch.runs]).to(self._device)
            x = self._normed(F.embedding(ids, self._word) + F.embedding(places, self._position), self._norm)
            for layer in self._layers:
                mixed = self._attend(F.linear(x, *layer.qkv), batch.runs)
                x = self._normed(F.linear(mixed, *layer.out).add_(x), layer.norm1)
                x = self._normed(F.linear(F.gelu(F.linear(x, *layer.up)), *layer.down).add_(x), layer.norm2)
            sizes = [n * width for n, width in batch.runs]
            parts = zip(x.float().split(sizes), batch.runs, strict=True)
            means = [part.view(n, width, -1).mean(1) for part, (n, width) in parts]
            vectors: NDArray[np.float32] = F.normalize(torch.cat(means)).cpu().numpy()
        return batch.rows, vectors

    def _normed(self, x: Any, pair: tuple[Any, Any]) -> Any:
        import torch.nn.functional as F

        return F.layer_norm(x, (x.shape[-1],), *pair, self._epsilon)

    def _attend(self, qkv: Any, runs: list[tuple[int, int]]) -> Any:
        """Attention inside each text: [tokens, 3 d] to [tokens, d]."""
        import torch
        import torch.nn.functional as F

        d = qkv.shape[1] // 3
        out = torch.empty((qkv.shape[0], d), dtype=qkv.dtype, device=qkv.device)
        start = 0
        for n, width in runs:
            stop = start + n * width
            q, k, v = qkv[start:stop].view(n, width, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
            out[start:stop].view(n, width, self._heads, -1).copy_(mixed)
            start = stop
        return out


def _one_core_each(pool: ThreadPoolExecutor, workers: int) -> None:
    """Start a pool's threads with one core each, and leave the default of all other threads as it is."""
    import torch

    ready = threading.Barrier(workers + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        ready.wait()

    with _starting:
        for _ in range(workers):
            pool.submit(begin)
        ready.wait()
        torch.set_num_threads(workers)


def _in_flight(pool: ThreadPoolExecutor, work: Any, jobs: Iterator[Any], limit: int) -> Iterator[Any]:
    """Yield the results of jobs in order, with at most ``limit`` jobs waiting or running."""
    waiting: list[Any] = []
    for job in jobs:
        waiting.append(pool.submit(work, job))
        if len(waiting) >= limit:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
