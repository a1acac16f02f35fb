"""Training throughput of the neural methods beside a straightforward loop over users, in the same run.

    python benchmarks/train.py [--users 800] [--dim 384] [--rows 40] [--methods gpo,vpl] [--device cpu]

Both sides do the same work: the same mini-batch of users, the same loss, a backward pass, a step of
AdamW. The straightforward side computes the loss one user at a time, as an implementation after the
equations would. The losses must agree to 1e-4; the figure is the median over rounds of pairs a second,
and their ratio. Features are random: what is measured is arithmetic, not taste.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from palate.catalogue import build
from palate.core import Corpus, Pairs, as_conversation
from palate.reward.crowd import Crowd, Episode
from palate.reward.neural import reproducible

METHODS = ("prm", "vpl", "gpo", "pal", "epipersona-b")


def made_up(users: int, rows: int, dim: int, device: str) -> tuple[Crowd, Corpus]:
    """Return users with random features and choices."""
    rng = np.random.default_rng(0)
    items = 2 * users * 4
    x = rng.normal(size=(items, dim)) / np.sqrt(dim)
    user = np.repeat(np.arange(users), rows)
    winner = rng.integers(items, size=len(user))
    loser = (winner + 1 + rng.integers(items - 1, size=len(user))) % items
    pairs = Pairs(user, winner, loser, np.ones(len(user)), np.arange(len(user)))
    features = torch.as_tensor(x, dtype=torch.float32, device=device)
    corpus = Corpus(
        [as_conversation("Q")], [str(i) for i in range(items)], np.zeros(items, int), np.arange(items)
    )
    return Crowd(features, torch.zeros(items, device=device), pairs, np.arange(users + 1) * rows), corpus


def one_user(batch: Episode, user: int) -> Episode:
    """Return one user's part of a mini-batch, without its padding."""
    row = slice(user, user + 1)
    seen, asked = batch.seen[user], batch.asked[user]
    return Episode(
        batch.users[row],
        batch.context[row, seen],
        batch.seen[row, seen],
        batch.target[row, asked],
        batch.asked[row, asked],
    )


def batched(method: Any, network: Any, crowd: Crowd, batch: Episode) -> torch.Tensor:
    """Return the loss as the method computes it."""
    return method._loss(network, crowd, batch)


def looped(method: Any, network: Any, crowd: Crowd, batch: Episode) -> torch.Tensor:
    """Return the same loss, one user at a time, weighted by each user's targets."""
    total, pairs = torch.zeros((), device=crowd.x.device), int(batch.asked.sum())
    for user in range(len(batch.users)):
        own = one_user(batch, user)
        total = total + method._loss(network, crowd, own) * (own.asked.sum() / pairs)
    return total


def throughput(name: str, crowd: Crowd, corpus: Corpus, rounds: int, device: str) -> list[str]:
    """Return a row of the table."""
    method = build(name, {}, device=device)
    method.dim_, method.users_, method.anchor_ = crowd.x.shape[1], crowd.n_users, np.zeros(crowd.x.shape[1])
    prepare = getattr(method, "_prepare", None)
    if prepare is not None:
        prepare(crowd, corpus)
    with reproducible(0):
        network = method._network(crowd.x.shape[1], crowd.n_users).to(crowd.x.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        rng, seconds, pairs = np.random.default_rng(0), {"batched": [], "looped": []}, 0
        sides = {"batched": batched, "looped": looped}
        for turn in range(rounds + 1):
            batch = method._draw(crowd, rng)
            network.eval()  # no draw of chance, so that both sides have one loss
            with torch.no_grad():
                losses = [float(side(method, network, crowd, batch)) for side in sides.values()]
            if abs(losses[0] - losses[1]) > 1e-4 * max(1.0, abs(losses[0])):
                sys.exit(f"{name}: the losses differ, {losses[0]} batched and {losses[1]} looped")
            network.train()
            pairs = int(batch.asked.sum() + batch.seen.sum())
            for key, side in sides.items():
                started = time.perf_counter()
                optimizer.zero_grad(set_to_none=True)
                side(method, network, crowd, batch).backward()
                optimizer.step()
                if crowd.x.is_cuda:
                    torch.cuda.synchronize()
                if turn:
                    seconds[key].append((time.perf_counter() - started) / pairs)
    fast, slow = (1.0 / statistics.median(seconds[key]) for key in ("batched", "looped"))
    count = sum(p.numel() for p in network.parameters())
    return [name, f"{count:,}", f"{fast:,.0f}", f"{slow:,.0f}", f"{fast / slow:.1f}"]


def main() -> None:
    """Measure, and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    for name, value in (("users", 800), ("dim", 384), ("rows", 40), ("rounds", 12)):
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--device", default="cpu")
    given = options.parse_args()
    crowd, corpus = made_up(given.users, given.rows, given.dim, given.device)
    title = f"pairs a second in training, {given.dim}-d features, {given.device}, {os.cpu_count()} cores"
    table = Table("method", "parameters", "batched", "one user at a time", "ratio", title=title)
    for name in given.methods.split(","):
        table.add_row(*throughput(name, crowd, corpus, given.rounds, given.device))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
