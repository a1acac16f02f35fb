"""Two processes on one machine, started by ``accelerate launch``, beside one: the same training, checked.

    python benchmarks/two_processes.py [--steps 3]

For answers (DPO) and summaries (GRPO), with an adapter and with all weights: both processes end with the same
finite weights, and only the first one writes. For answers, two processes with batch b end where one with
batch 2 b does, to 1e-4 (steps are of 1e-2); summaries are drawn by each process on its own, so theirs differ
from one's. A tiny random model of the small language stands in for a real one. Ends with an error where any
of it is false.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from palate.core import job
from palate.small.base import random_base
from palate.tune.model import Cast, Lora, load_base
from palate.tune.running import Settings, configured, run_stage, stage
from palate.tune.trainers import AnswerRow, AnswerTrainer, SummaryTrainer

RUNS = [(kind, rank) for kind in ("answers", "summaries") for rank in (4, 0)]
BATCH, GROUP = 2, 4


def reward(completions: Sequence[Sequence[int]], rows: Sequence[int]) -> list[float]:
    """Reward even words, some more than others."""
    return [sum(t % 2 == 0 for t in ids) / 8 - row / 16 for ids, row in zip(completions, rows, strict=True)]


def train(model: str, kind: str, rank: int, folder: Path, steps: int, batch: int) -> torch.Tensor:
    """Run one stage; return the trained weights, flat."""
    from trl import DPOConfig, GRPOConfig

    cast = Cast(load_base(model, device="cpu", limit=128), Lora(rank, 2 * rank), ("inference", "generator"))
    role = "generator" if kind == "answers" else "inference"
    trained = cast.to_train(role)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(7, 57, n).tolist() for n in rng.integers(3, 30, 16)]
    settings = Settings(steps=steps, batch=batch, lr=0.01, schedule="constant", save_every=2)
    tokenizer = cast.base.tokenizer
    with job(folder), stage(kind, {"rank": rank}) as run:
        if kind == "answers":
            data = [AnswerRow(p, [20 + i, 1], [40 + i, 9, 1], -9.0, -8.0) for i, p in enumerate(prompts)]
            config = configured(DPOConfig, settings, run)
            run_stage(run, lambda c: AnswerTrainer(trained, data, "dpo", 0.1, config, tokenizer, c), kind)
        else:
            config = configured(
                GRPOConfig,
                settings,
                run,
                per_device_train_batch_size=batch * GROUP,
                num_generations=GROUP,
                max_completion_length=6,
                loss_type="grpo",
                temperature=1.0,
            )
            reference = None if rank else cast.base.model
            run_stage(
                run,
                lambda c: SummaryTrainer(trained, reference, prompts, reward, 0.01, config, tokenizer, c),
                kind,
            )
        run.finish()
    return torch.cat([p.detach().flatten() for p in trained.parameters() if p.requires_grad])


def work(home: Path, steps: int) -> None:
    """Do what one of two processes does, in a folder of its own, so that what it writes can be told."""
    rank = os.environ["RANK"]
    for kind, size in RUNS:
        weights = train(
            str(home / "model"), kind, size, home / f"runs-{rank}" / f"{kind}-{size}", steps, BATCH
        )
        torch.save(weights, home / f"{kind}-{size}-{rank}.pt")


def check(home: Path, steps: int) -> None:
    """Compare the two processes with each other and with one."""
    for kind, size in RUNS:
        first, second = (torch.load(home / f"{kind}-{size}-{rank}.pt") for rank in (0, 1))
        assert torch.isfinite(first).all(), (kind, size)
        apart = float((first - second).abs().max())
        alone = train(str(home / "model"), kind, size, home / "alone" / f"{kind}-{size}", steps, 2 * BATCH)
        start = train(str(home / "model"), kind, size, home / "less" / f"{kind}-{size}", 1, BATCH)
        moved, off = float((first - start).abs().max()), float((first - alone).abs().max())
        print(
            f"{kind:<10} {'adapter' if size else 'all weights':<12} ranks differ by {apart:.1e}; "
            f"from one process with twice the batch by {off:.1e}"
        )
        assert apart == 0.0, (kind, size)
        assert moved > 1e-3, "nothing was learned"
        if kind == "answers":
            assert off < 1e-4 < 1e-2 * moved, (kind, size)  # AdamW divides small gradients' rounding by them
    files = [[p for p in (home / f"runs-{rank}").rglob("*") if p.is_file()] for rank in (0, 1)]
    others = [p for p in files[1] if p.name != "rng_state_1.pth"]  # its own draws, as it must
    assert not others, others
    assert any(p.name == "done.json" for p in files[0])
    print(
        f"the first process wrote {len(files[0])} files, the second its random state alone ({len(files[1])})"
    )


def main() -> None:
    """Launch two processes, wait, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.work:
        work(args.work, args.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        random_base(home / "model")
        # --multi_gpu starts processes by torchrun; with --cpu alone there would be one, or MPI were needed
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
        launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        again = [__file__, "--work", str(home), "--steps", str(args.steps)]
        told = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([*launch, *again], check=True, env={**os.environ, **told})
        check(home, args.steps)


if __name__ == "__main__":
    main()
