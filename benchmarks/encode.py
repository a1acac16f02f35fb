"""Sentences a second: plain ``SentenceTransformer.encode`` beside Palate's ``minilm``, in the same run.

    python benchmarks/encode.py [FILE.jsonl[.gz] ...] [--texts 300] [--runs 5] [--dtype float32]

Files hold preference rows with the fields prompt, chosen and rejected; without files, texts of mixed
length are made up. Both sides encode the same distinct texts; runs alternate, so that what else the
machine does falls on both. Reported: the median of each, the ratio of the medians with the range over
single pairs of runs, and the least cosine between the two sides' vectors of a text.
"""

import argparse
import gzip
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from palate.models import resolve


def made_up(n: int, rng: random.Random) -> list[str]:
    """Return statements of 10 to 30 words, and answers of up to 250."""
    words = "the council should build more parks because people need places for children to play"
    sizes = [rng.randint(10, 30) if rng.random() < 0.6 else rng.randint(30, 250) for _ in range(n)]
    return [" ".join(rng.choices(words.split(), k=size)) + f" {i}." for i, size in enumerate(sizes)]


def read(path: Path, n: int, rng: random.Random) -> list[str]:
    """Return n of the distinct texts of a file of preference rows."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        texts = list(dict.fromkeys(row[name] for row in rows for name in ("prompt", "chosen", "rejected")))
    return rng.sample(texts, min(n, len(texts)))


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, texts: Sequence[str], runs: int, spec: str) -> None:
    """Print one line for one set of texts."""
    from sentence_transformers import SentenceTransformer

    ours = resolve(spec)
    plain = SentenceTransformer(str(ours.folder), device="cpu")  # type: ignore[attr-defined]
    expected = plain.encode(list(texts), normalize_embeddings=True)
    cosine = float((expected * ours.encode(texts)).sum(1).min())
    tokens = float(np.mean([len(ids) for ids in plain.tokenizer(list(texts), truncation=True)["input_ids"]]))
    pairs = [
        (seconds(lambda: plain.encode(list(texts))), seconds(lambda: ours.encode(texts))) for _ in range(runs)
    ]
    slow, fast = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"{name:28} {len(texts):5} texts, {tokens:5.1f} tokens | plain {len(texts) / slow:7.1f}/s | "
        f"palate {len(texts) / fast:7.1f}/s | ratio {slow / fast:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, "
        f"n={runs}) | least cosine {cosine:.6f}"
    )


def main() -> None:
    """Read the arguments and print a line for each set of texts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--texts", type=int, default=300, help="texts of each file")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", default="", choices=["", "float32", "bfloat16"])
    arguments = parser.parse_args()
    rng = random.Random(0)
    spec = f"minilm?dtype={arguments.dtype}" if arguments.dtype else "minilm"
    sets = {path.name: read(path, arguments.texts, rng) for path in arguments.files}
    sets = sets or {"made up": made_up(arguments.texts, rng)}
    if len(sets) > 1:
        sets["all together"] = [text for texts in sets.values() for text in texts]
    print(resolve(spec).key)
    for name, texts in sets.items():
        measure(name, texts, arguments.runs, spec)
    texts = [text for _ in range(20) for text in next(iter(sets.values()))]
    print(f"lexical: {len(texts) / seconds(lambda: resolve('lexical').encode(texts)):,.0f} texts/s")


if __name__ == "__main__":
    main()
