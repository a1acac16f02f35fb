"""What each part of epipersona-b is worth, and what a shift of the episode costs.

    python benchmarks/ablate_epipersona.py [--data world,bowling-green] [--users 600] [--seed 0]
    python benchmarks/ablate_epipersona.py --shift 2000
    python benchmarks/ablate_epipersona.py --rows

The first prints a table for each data set: user-averaged accuracy and log-loss of validation users and of
test users, with one part taken out or one size changed. ``world`` is the default world with so many users
(``lexical``); other names are fixed rows from $PALATE_DATA/bench, or ../shared/data/bench beside the project
(``minilm``). The second sorts the test users' target pairs of the default world by how near the target's
conversation is to the user's context conversations (mean and highest cosine), into four bins of equal size,
and prints the accuracy of each bin. The third prints the test figures of the
fixed rows. Intervals are 95 %, by resampling users.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate import build
from palate.core import Method, Pairs, Population, with_roles
from palate.evaluate.protocol import Task, new_users
from palate.feedback import read
from palate.feedback.world import World
from palate.gate import differences
from palate.models.features import embed_texts
from palate.numerics.design import log_loss, mean_by

Floats = NDArray[np.float64]
NAME = "epipersona-b"
ROWS = ("bowling-green", "bowling-green-new", "arguments", "arguments-new", "tulu", "ai-values")
VARIANTS: dict[str, dict[str, Any]] = {
    "full (window 1, 64 codes)": {},
    "without VQ": {"quantise": False},
    "without abductive reasoning": {"abductive": False},
    "without coupling": {"coupling": False},
    "window 2": {"window": 2},
    "window 4": {"window": 4},
    "window 8": {"window": 8},
    "4 codes": {"codes": 4},
    "16 codes": {"codes": 16},
}


def task_of(name: str, users: int, seed: int) -> tuple[Task, str]:
    """Return a task and the encoder it is run with."""
    if name == "world":
        return new_users(name, World.default(users=users, seed=seed).sample().population), "lexical"
    home = os.environ.get("PALATE_DATA")
    rows = Path(home) if home else Path(__file__).resolve().parents[2] / "shared" / "data"
    return new_users(name, read(rows / "bench" / f"{name}.jsonl.gz").population), "minilm"


def measured(method: Method, context: Population, targets: Pairs) -> list[float]:
    """Return user-averaged accuracy and log-loss."""
    d = differences(method, method.adapt_batch(context), context, targets)
    right = (d > 0) + 0.5 * (d == 0)
    losses = log_loss(d, targets.target)
    return [float(np.nanmean(mean_by(targets.user, x, context.n_users))) for x in (right, losses)]


def ablate(name: str, users: int, seed: int) -> None:
    """Print the table of one data set."""
    task, encoder = task_of(name, users, seed)
    chosen_on = with_roles(task.fit_on, seed).with_role("val")
    sides = (
        (chosen_on.with_split("context"), chosen_on.with_split("target").pairs),
        (task.context, task.targets),
    )
    print(f"\n{name}, {encoder}: {chosen_on.n_users} validation and {task.scored_users} test users")
    print(
        "\n| variant | val. accuracy | val. log-loss | test accuracy | test log-loss | perplexity | seconds |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for label, fields in VARIANTS.items():
        start = time.process_time()
        method = build(NAME, {"encoder": encoder, "seed": seed, **fields}).fit(task.fit_on)
        seconds = time.process_time() - start
        values = [f"{x:.3f}" for side in sides for x in measured(method, *side)]
        kept = int(np.argmin([loss for _, loss in method.history_]))  # type: ignore[attr-defined]
        looks = method.codebook_  # type: ignore[attr-defined]
        used = f"{looks[kept][1]:.1f}" if looks else ""
        print(f"| {label} | {' | '.join(values)} | {used} | {seconds:.1f} |", flush=True)


def nearness(context: Population, targets: Pairs, encoder: str) -> dict[str, Floats]:
    """Return how near each target's conversation is to the user's context ones: float [targets], two ways."""
    corpus = context.corpus
    x = np.array(embed_texts([talk[-1].content for talk in corpus.conversations], encoder), np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    heard = np.zeros((context.n_users, len(x)))
    talk = corpus.item_conversation[context.options[context.option_offsets[:-1]]]
    np.add.at(heard, (context.row_user, talk), 1.0)
    cosine = (x @ x.T)[corpus.item_conversation[targets.winner]]  # [targets, conversations]
    seen = heard[targets.user]
    mean = (cosine * seen).sum(1) / np.maximum(seen.sum(1), 1)
    return {"mean cosine": mean, "highest cosine": np.where(seen > 0, cosine, -1.0).max(1)}


def shift(users: int, seed: int, bins: int = 4, draws: int = 2000) -> None:
    """Print the accuracy by nearness of the episode, and the drop from the nearest to the farthest."""
    task, encoder = task_of("world", users, seed)
    rng, n = np.random.default_rng(seed), task.context.n_users
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    right = {}
    for name in (NAME, "individual", "pooled"):
        method = build(name, {"encoder": encoder, "seed": seed}).fit(task.fit_on)
        d = differences(method, method.adapt_batch(task.context), task.context, task.targets)
        right[name] = (d > 0) + 0.5 * (d == 0)
    print(f"\nworld, {encoder}: {task.scored_users} test users, {len(task.targets):,} target pairs")
    for how, near in nearness(task.context, task.targets, encoder).items():
        place = np.minimum(np.argsort(np.argsort(near)) * bins // len(near), bins - 1)
        heads = " | ".join(f"bin {b + 1}" for b in range(bins))
        print(f"\n| by {how} | {heads} | drop, nearest to farthest |")
        print("| --- |" + " --- |" * (bins + 1))
        for name, values in right.items():
            by_user = np.zeros((2, bins, n))
            np.add.at(by_user, (0, place, task.targets.user), values)
            np.add.at(by_user, (1, place, task.targets.user), 1.0)
            share = by_user[0].sum(1) / by_user[1].sum(1)
            drawn = (by_user[0] @ weights.T) / (by_user[1] @ weights.T)
            low, high = np.quantile(drawn[-1] - drawn[0], (0.025, 0.975))
            told = " | ".join(f"{x:.3f}" for x in share)
            print(f"| {name} | {told} | {share[-1] - share[0]:+.3f} [{low:+.3f}, {high:+.3f}] |", flush=True)


def rows(seed: int) -> None:
    """Print the test figures of all fixed rows, with and without past choices."""
    print("\n| data set | accuracy | log-loss | accuracy without past choices | fit, seconds |")
    print("| --- | --- | --- | --- | --- |")
    for name in ROWS:
        task, encoder = task_of(name, 0, seed)
        start = time.process_time()
        method = build(NAME, {"encoder": encoder, "seed": seed}).fit(task.fit_on)
        seconds = time.process_time() - start
        d = differences(method, method.adapt_batch(task.context), task.context, task.targets)
        own = mean_by(task.targets.user, (d > 0) + 0.5 * (d == 0), task.context.n_users)
        own = own[np.isfinite(own)]
        draws = np.random.default_rng(seed).choice(own, (2000, len(own))).mean(1)
        low, high = np.quantile(draws, (0.025, 0.975))
        loss = measured(method, task.context, task.targets)[1]
        empty = measured(method, task.context.head(0), task.targets)[0]
        print(
            f"| {name} ({len(own)} users, {len(task.targets):,} pairs) | {own.mean():.3f} "
            f"[{low:.3f}, {high:.3f}] | {loss:.3f} | {empty:.3f} | {seconds:.1f} |",
            flush=True,
        )


def main() -> None:
    """Read the arguments and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", default="world,bowling-green")
    options.add_argument("--users", type=int, default=600, help="users of the world")
    options.add_argument(
        "--shift", type=int, default=0, help="measure a shift of episodes with so many users"
    )
    options.add_argument("--rows", action="store_true", help="all fixed rows, defaults")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    if given.rows:
        rows(given.seed)
        return
    if given.shift:
        shift(given.shift, given.seed)
        return
    for name in given.data.split(","):
        ablate(name, given.users, given.seed)


if __name__ == "__main__":
    main()
