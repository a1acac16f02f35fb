"""Training throughput of the neural methods beside a straightforward loop over users, in the same run.

    python benchmarks/train.py [--users 400] [--dim 384] [--methods gpo,vpl] [--device cuda]
    python benchmarks/train.py --data choices.jsonl --encoder minilm

Both sides do the same work: the same mini-batch of users, the same loss, a backward pass, a step of
AdamW. The straightforward side computes the loss one user at a time, as an implementation after the
equations would: "summed" adds up the users of a mini-batch and makes the same step; "stepped" makes a
step after every user, as plain training loops do. The losses must agree to 1e-4; the figure is the
median over rounds of pairs a second, and their ratio. Without ``--data`` choices and features are
random: hardly a text is met twice, so that sharing the work on a text between users gains nothing,
which is the least that batching gives.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from palate.catalogue import build
from palate.core import Feedback, Population, as_conversation, with_roles
from palate.feedback import read
from palate.models.features import remember
from palate.reward.crowd import Crowd, Episode
from palate.reward.neural import reproducible

METHODS = ("prm", "vpl", "gpo", "pal", "epipersona-b")
# means over windows and over users, not over pairs, would weigh differently user by user
FIELDS = {"epipersona-b": {"commitment": 0.0}, "vpl": {"beta": 0.0}}


def made_up(users: int, rows: int, dim: int) -> Population:
    """Return users with random choices between texts whose features are random."""
    rng = np.random.default_rng(0)
    items = 8 * users
    talk, texts = as_conversation("Q"), [f"text {number}" for number in range(items)]
    feedback = []
    for user in range(users):
        for row in range(rows):
            one, two = rng.choice(items, 2, replace=False)
            feedback.append(Feedback(f"u{user}", talk, (texts[one], texts[two]), 0, f"{user}-{row}"))
    population = Population.of(feedback)
    x = rng.normal(size=(len(population.corpus), dim)) / np.sqrt(dim)
    remember(population.corpus, "lexical", x.astype(np.float32))
    return population


def one_user(batch: Any, user: int) -> Any:
    """Return one user's part of a mini-batch, without its padding; of vpl, with the user's own noise."""
    if not isinstance(batch, Episode):
        episode, noise = batch
        return one_user(episode, user), noise[user : user + 1]
    row = slice(user, user + 1)
    seen, asked = batch.seen[user], batch.asked[user]
    return Episode(
        batch.users[row],
        batch.context[row, seen],
        batch.seen[row, seen],
        batch.target[row, asked],
        batch.asked[row, asked],
    )


def episode_of(batch: Any) -> Episode:
    """Return the users, contexts and targets of a mini-batch."""
    return batch if isinstance(batch, Episode) else batch[0]


def batched(method: Any, network: Any, crowd: Crowd, batch: Any) -> torch.Tensor:
    """Return the loss as the method computes it."""
    return method._loss(network, crowd, batch)


def looped(method: Any, network: Any, crowd: Crowd, batch: Any) -> torch.Tensor:
    """Return the same loss, one user at a time, weighted by each user's targets."""
    episode, total = episode_of(batch), torch.zeros((), device=crowd.x.device)
    share = episode.asked.sum(1) / episode.asked.sum()
    for user in range(len(episode.users)):
        total = total + method._loss(network, crowd, one_user(batch, user)) * share[user]
    return total


def stepped(method: Any, network: Any, crowd: Crowd, batch: Any, optimizer: Any) -> None:
    """Train on one user after another."""
    for user in range(len(episode_of(batch).users)):
        optimizer.zero_grad(set_to_none=True)
        method._loss(network, crowd, one_user(batch, user)).backward()
        optimizer.step()


def throughput(name: str, population: Population, given: argparse.Namespace) -> list[str]:
    """Return a row of the table."""
    fields = {"steps": 0, **FIELDS.get(name, {})}
    method = build(name, fields, device=given.device, encoder=given.encoder).fit(population)
    crowd = method._crowd(population)
    with reproducible(0):
        torch.set_num_threads(given.threads)
        network = method._network(crowd.x.shape[1], crowd.n_users).to(crowd.x.device)
        method._begin(network, crowd)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        rng = np.random.default_rng(0)
        seconds: dict[str, list[float]] = {"batched": [], "summed": [], "stepped": []}
        for turn in range(given.rounds + 1):
            batch = method._draw(crowd, rng)
            network.eval()  # no draw of chance, so that both sides have one loss
            with torch.no_grad():
                losses = [float(side(method, network, crowd, batch)) for side in (batched, looped)]
            if abs(losses[0] - losses[1]) > 1e-4 * max(1.0, abs(losses[0])):
                sys.exit(f"{name}: the losses differ, {losses[0]} batched and {losses[1]} looped")
            network.train()
            pairs = int(episode_of(batch).asked.sum() + episode_of(batch).seen.sum())
            for key in seconds:
                started = time.perf_counter()
                if key == "stepped":
                    stepped(method, network, crowd, batch, optimizer)
                else:
                    side = batched if key == "batched" else looped
                    optimizer.zero_grad(set_to_none=True)
                    side(method, network, crowd, batch).backward()
                    optimizer.step()
                if crowd.x.is_cuda:
                    torch.cuda.synchronize()
                if turn:
                    seconds[key].append((time.perf_counter() - started) / pairs)
    fast, summed, plain = (1.0 / statistics.median(values) for values in seconds.values())
    count = sum(p.numel() for p in network.parameters())
    rates = [f"{rate:,.0f}" for rate in (fast, summed, plain)]
    return [name, f"{count:,}", *rates, f"{fast / summed:.1f}", f"{fast / plain:.1f}"]


def main() -> None:
    """Measure, and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    for name, value in (("users", 400), ("dim", 384), ("rows", 40), ("rounds", 12), ("threads", 1)):
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--device", default="cpu")
    options.add_argument("--data", help="a file of choices, in the place of made-up ones")
    options.add_argument("--encoder", default="lexical", help="of the file's texts")
    given = options.parse_args()
    people = read(given.data).population if given.data else made_up(given.users, given.rows, given.dim)
    population = with_roles(people, 0).with_role("train")
    texts, pairs = len(population.corpus), len(population.pairs)
    what = f"{population.n_users} users, {pairs:,} pairs of {texts:,} texts"
    title = f"pairs a second in training; {what}; {given.device}, {given.threads} thread(s)"
    heads = ("method", "parameters", "batched", "summed", "stepped", "over summed", "over stepped")
    table = Table(*heads, title=title)
    for name in given.methods.split(","):
        table.add_row(*throughput(name, population, given))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
