"""A general suite: questions with one right answer, to see what personalizing costs beside taste.

A row is a pair: ``prompt``, ``chosen`` (the better answer), ``rejected``, ``subset``; ``id`` and other
columns are not read. This is RewardBench's layout (Lambert et al. 2024, "RewardBench: Evaluating reward
models for language modeling"), and its four categories are made of its subsets in the same way:

    accuracy of a category = sum_s n_s accuracy(s) / sum_s n_s      over its subsets s

with n_s RewardBench's own count of the subset where it has one (984 for ``math-prm``, so that mathematics
weighs as much as code), else the number of its rows. Two more categories are controls, in which a better
answer is not the longer (``length``, balanced) and not the one that agrees with the user (``sycophancy``).
A subset that is none of these is a category of its own, and is told to be.

The suite that comes with Palate has 16 pairs for each of the six; in half of every category's pairs the
better answer is the longer. It shows large taxes only; RewardBench has 2,985 pairs.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Conversation, Corpus, DataError, Pairs, PopulationBuilder
from palate.feedback.report import BadRow, shorten
from palate.feedback.sources import RawRow, open_source
from palate.feedback.values import as_text, as_turns, settle

__all__ = ["CONTROLS", "GENERAL", "Suite", "embedded_suite", "read_suite"]

Floats = NDArray[np.floating[Any]]
GENERAL = ("chat", "chat-hard", "safety", "reasoning")
"""Categories whose mean is the suite's accuracy."""
CONTROLS = ("length", "sycophancy")
"""Categories that stand beside it."""
COLUMNS = ("prompt", "chosen", "rejected", "subset")
REWARD_BENCH = "allenai/reward-bench"
_SUBSETS: Mapping[str, Mapping[str, int]] = {
    "chat": {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95,
             "mt-bench-easy": 28, "mt-bench-med": 40},
    "chat-hard": {"mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134,
                  "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46},
    "safety": {"refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154,
               "xstest-should-respond": 250, "donotanswer": 136},
    "reasoning": {"math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164,
                  "hep-python": 164, "hep-rust": 164},
}  # fmt: skip
_CATEGORY = {subset: name for name, subsets in _SUBSETS.items() for subset in subsets}
_COUNT = {subset: n for subsets in _SUBSETS.values() for subset, n in subsets.items()}


@dataclass(frozen=True, eq=False)
class Suite:
    """Pairs of answers of which one is better for anybody.

    Attributes:
        name: What reports call it.
        corpus: The texts.
        pairs: Better and worse item of every question; all are of one user, 0.
        categories: Names: the general ones first, then the controls, then others in order of first use.
        category: int64 [pairs], index into ``categories``.
        share: float64 [pairs], a pair's share of its category; sums to 1 in each.
        set_aside: Rows that could not be used, by reason.
        notes: Sentences for the reader: subsets that are not known, rows set aside.
    """

    name: str
    corpus: Corpus
    pairs: Pairs
    categories: tuple[str, ...]
    category: NDArray[np.int64]
    share: Floats
    set_aside: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def general(self) -> NDArray[np.bool_]:
        """bool [categories]: which are averaged into the suite's accuracy; all if there are controls only."""
        mask = np.array([name not in CONTROLS for name in self.categories])
        return mask if mask.any() else ~mask

    @cached_property
    def averages(self) -> Floats:
        """float64 [pairs, categories]: what turns right answers [.., pairs] into categories' accuracies."""
        out = np.zeros((len(self), len(self.categories)))
        out[np.arange(len(self)), self.category] = self.share
        return out

    @cached_property
    def longer(self) -> NDArray[np.bool_]:
        """bool [pairs]: whether the better answer has more characters."""
        size = np.array([len(text) for text in self.corpus.responses])[self.corpus.item_response]
        return np.asarray(size[self.pairs.winner] > size[self.pairs.loser])

    @cached_property
    def digest(self) -> str:
        """A hash of all that figures depend on: texts, which answer is better, categories and shares."""
        h = hashlib.blake2b(self.corpus.digest, digest_size=16)
        for column in (self.pairs.winner, self.pairs.loser, self.category, self.share):
            h.update(np.ascontiguousarray(column).tobytes())
        h.update("\0".join(self.categories).encode())
        return h.hexdigest()


@lru_cache(maxsize=1)
def embedded_suite() -> Suite:
    """Return the small suite that comes with Palate: 96 pairs, 16 in each of six categories.

    >>> suite = embedded_suite()
    >>> len(suite), suite.categories[:4], float(suite.share[suite.category == 0].sum())
    (96, ('chat', 'chat-hard', 'safety', 'reasoning'), 1.0)
    """
    with as_file(files("palate.evaluate").joinpath("suite.jsonl")) as path:
        return _built("palate", open_source(path))


def read_suite(source: str | Path) -> Suite:
    """Read a suite in RewardBench's layout.

    Args:
        source: A file (.jsonl, .csv, .tsv, .parquet; also .gz, .zst), ``palate`` for the embedded suite,
            ``hf:OWNER/NAME[:SPLIT]``, or RewardBench's bare name ``allenai/reward-bench``, whose split
            ``filtered`` is the benchmark.

    Raises:
        DataError: If there is no such file, its columns are others, or no row can be used.
        MissingExtra: If a Hugging Face data set is asked for without ``datasets``.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mine.csv"
    >>> size = file.write_text("prompt,chosen,rejected,subset\\n2 + 2?,4,5,math-prm\\n")
    >>> read_suite(file).categories
    ('reasoning',)
    """
    name = str(source)
    if name == "palate":
        return embedded_suite()
    if name.removeprefix("hf:") == REWARD_BENCH and not Path(name).exists():
        name = f"hf:{REWARD_BENCH}:filtered"
    label = name.removeprefix("hf:") if name.startswith("hf:") else Path(name).name
    return _built(label, open_source(name))


def _built(name: str, rows: Iterable[RawRow]) -> Suite:
    """Take in all rows, setting aside what cannot be used."""
    builder, subsets = PopulationBuilder(), []
    aside: Counter[str] = Counter()
    seen: dict[str, None] = {}
    example = ""
    for line, raw in rows:
        try:
            if isinstance(raw, BadRow):
                raise raw
            seen.update(dict.fromkeys(map(str, raw)))
            prompt, chosen, rejected, subset = _parsed(raw)
        except BadRow as bad:
            aside[bad.kind] += 1
            example = example or f"row {line}: {bad.why}"
            continue
        builder.add("suite", prompt, (chosen, rejected), 0)
        subsets.append(subset)
    _check(name, seen, len(subsets), aside, example)
    people = builder.build()
    return _weighted(name, people.corpus, people.pairs, subsets, aside, example)


def _parsed(raw: Mapping[str, Any]) -> tuple[str | Conversation, str, str, str]:
    """Return prompt, better and worse answer, and subset of one row."""
    lacking = [column for column in COLUMNS if column not in raw]
    if lacking:
        raise BadRow("missing field", lacking[0], f"no {', '.join(lacking)}")
    prompt = raw["prompt"]
    talk: str | Conversation = (
        settle(as_turns(prompt, "prompt", answered=False))
        if isinstance(prompt, (list, tuple))
        else as_text(prompt, "prompt")
    )
    chosen, rejected = as_text(raw["chosen"], "chosen"), as_text(raw["rejected"], "rejected")
    if chosen == rejected:
        raise BadRow("chosen equals rejected", "rejected", f"both answers are {shorten(chosen)}")
    return talk, chosen, rejected, as_text(raw["subset"], "subset").strip()


def _check(name: str, seen: Mapping[str, None], kept: int, aside: Mapping[str, int], example: str) -> None:
    """Refuse a source without a usable row, naming the columns where they are the reason."""
    if kept:
        return
    missing = [column for column in COLUMNS if column not in seen]
    if seen and missing:
        raise DataError(
            f"the suite {name} has the columns {', '.join(seen)}, and no {', '.join(missing)}; expected "
            f"{', '.join(COLUMNS)} as in RewardBench (id and others are not read): rename the columns"
        )
    why = ", ".join(f"{n} {kind}" for kind, n in aside.items()) or "it has no rows"
    raise DataError(f"no row of the suite {name} can be used ({why}); {example or 'give at least one pair'}")


def _weighted(
    name: str, corpus: Corpus, pairs: Pairs, subsets: Sequence[str], aside: Counter[str], example: str
) -> Suite:
    """Sort subsets into categories and weigh them."""
    sizes = Counter(subsets)
    ours = {subset: _CATEGORY.get(subset, subset) for subset in sizes}
    used = dict.fromkeys(ours.values())
    categories = tuple(c for c in (*GENERAL, *CONTROLS) if c in used)
    unknown = tuple(c for c in used if c not in categories)
    categories += unknown
    number = {c: i for i, c in enumerate(categories)}
    category = np.array([number[ours[subset]] for subset in subsets], np.int64)
    weight = np.array([_COUNT.get(subset, sizes[subset]) / sizes[subset] for subset in subsets])
    share = weight / np.bincount(category, weights=weight)[category]
    notes = []
    if unknown:
        notes.append(
            f"the suite {name}: {_few(unknown)} {'is no subset' if len(unknown) == 1 else 'are no subsets'} "
            "of RewardBench and no control, so each stands as a category of its own"
        )
    if aside:
        why = ", ".join(f"{n} {kind}" for kind, n in aside.items())
        notes.append(f"the suite {name}: {sum(aside.values())} rows were set aside ({why}); first, {example}")
    return Suite(name, corpus, pairs, categories, category, share, dict(aside), tuple(notes))


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
