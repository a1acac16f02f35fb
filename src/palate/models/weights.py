"""The identity of model files, and batches of like length: what all model encoders share."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, EncoderError

__all__ = ["DTYPES", "clean", "folder_key", "length_order", "read_json", "token_batches", "torch_device"]

DTYPES = ("float32", "bfloat16", "float16")
_IDENTITY = tuple(f"**/*.{ending}" for ending in ("safetensors", "bin", "json", "txt", "model", "jinja"))
_IGNORED = {"README.md", "requirements.txt"}
_hashes: dict[tuple[str, int, int], str] = {}
_hashing = threading.Lock()


def _file_hash(path: Path) -> str:
    stat = path.stat()
    known = (str(path), stat.st_size, stat.st_mtime_ns)
    with _hashing:
        if known not in _hashes:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            _hashes[known] = digest.hexdigest()
        return _hashes[known]


def folder_key(folder: Path, patterns: Sequence[str] = _IDENTITY) -> str:
    """Return a hash of a model folder's weights, settings and vocabulary, wherever the folder lies.

    Args:
        folder: A model's folder, its subfolders included.
        patterns: Which files make the identity, as for ``Path.glob``.

    Raises:
        EncoderError: If the folder cannot be read.
    """
    try:
        files = sorted(
            (str(p.relative_to(folder)), p)
            for pattern in patterns
            for p in folder.glob(pattern)
            if p.is_file()
        )
        parts = [f"{name}={_file_hash(path)}" for name, path in files if name not in _IGNORED]
    except OSError as error:
        raise EncoderError(
            f"the model folder {folder} cannot be read ({error}); check its permissions"
        ) from error
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Return a model folder's settings file.

    Raises:
        EncoderError: If it cannot be read, or one of the settings that are needed is not in it.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{path} cannot be read ({error}); is {path.parent} the whole folder of a model?"
        ) from error
    for name in needed:
        if name not in value:
            raise EncoderError(f"{path} has no {name!r}; is {path.parent} the whole folder of a model?")
    return value


def clean(texts: Sequence[str]) -> list[str]:
    """Return the texts with lone surrogates, which no tokenizer takes, replaced by '?'.

    >>> clean(["fine", "half \\ud83d"])
    ['fine', 'half ?']
    """
    return [t if t.isascii() else t.encode("utf-8", "replace").decode("utf-8") for t in texts]


def length_order(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions of texts, longest first: int64 [n]."""
    return np.argsort(-np.fromiter(map(len, texts), np.int64, len(texts)), kind="stable")


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group positions so that, longest first, a batch's padded size stays within a budget of tokens.

    A single text longer than the budget is a batch of its own.

    >>> list(token_batches([2, 9, 3, 2], budget=9))
    [[1], [2, 0, 3]]
    """
    batch: list[int] = []
    widest = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        widest = max(widest, lengths[i])
        if batch and widest * (len(batch) + 1) > budget:
            yield batch
            batch, widest = [], lengths[i]
        batch.append(i)
    if batch:
        yield batch


def torch_device(device: str | None, *, accelerate: bool) -> Any:
    """Return a ``torch.device``; None is the first GPU if there is one and it is wanted, else the processor.

    Raises:
        ConfigError: If there is no such device.
    """
    import torch

    if device is None:
        return torch.device("cuda" if accelerate and torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"the device {device!r} cannot be used here ({str(error).splitlines()[0]}); try device='cpu'"
        ) from error
    return found
