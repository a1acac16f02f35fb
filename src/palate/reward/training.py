"""The one training loop: gradient steps, looks at the validation users, early stopping, checkpoints.

every ``every`` steps: loss of the validation users; keep the weights if it is the lowest so far
stop after ``patience`` looks without improvement, or after ``steps``
checkpoint at every look; an interrupted training goes on from its last and ends at the same numbers
"""

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from palate.core import FitDiverged, StorageError, current_job

__all__ = ["Training", "train"]


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        what: What is trained, for messages.
        key: Names the checkpoint: a hash of all that the result depends on.
        steps: Most gradient steps.
        every: Steps between two looks at the validation users.
        patience: Looks without improvement before training stops.
        learning_rate: Of AdamW at its start; it falls to zero by a cosine.
        weight_decay: Of AdamW.
        bfloat16: Whether forward passes run in bfloat16.
        clip: Largest norm of a gradient.
    """

    what: str
    key: str
    steps: int = 2000
    every: int = 50
    patience: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    bfloat16: bool = False
    clip: float = 1.0


@dataclass
class _Run:
    """Where a training stands: all that must be kept to go on."""

    step: int = 0
    best: float = float("inf")
    waited: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[list[float]] = field(default_factory=list)


def train(
    network: nn.Module,
    plan: Training,
    draw: Callable[[np.random.Generator], Any],
    loss: Callable[[Any], torch.Tensor],
    validate: Callable[[], float | None],
    rng: np.random.Generator,
) -> list[list[float]]:
    """Train in place; the network ends with the weights that validation users liked best.

    Args:
        network: What is trained.
        plan: How.
        draw: Draws a mini-batch; all its chance comes from the generator it is handed.
        loss: Scalar loss of a mini-batch.
        validate: Mean loss of the validation users, or None where there are none: then the last weights
            are kept.
        rng: Draws the mini-batches.

    Returns:
        (step, validation loss) of every look, the first before any step.

    Raises:
        FitDiverged: If a loss is not finite.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, plan.steps))
    run, file = _Run(), _checkpoint(plan)
    if not _restore(file, network, optimizer, schedule, rng, run):
        _look(network, plan, run, validate)
    job = current_job()
    while run.step < plan.steps and run.waited < plan.patience:
        job.tell(f"{plan.what} · training", run.step, plan.steps)
        for _ in range(min(plan.every, plan.steps - run.step)):
            run.step += 1
            _step(network, plan, optimizer, loss, draw(rng), run.step)
            schedule.step()
        _look(network, plan, run, validate)
        _keep(file, network, optimizer, schedule, rng, run)
    network.load_state_dict(run.weights)
    network.eval()
    if file is not None:
        with suppress(OSError):
            file.unlink(missing_ok=True)
    return run.history


def _step(
    network: nn.Module,
    plan: Training,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any], torch.Tensor],
    batch: Any,
    step: int,
) -> None:
    network.train()
    device = next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=plan.bfloat16):
        value = loss(batch)
    if not bool(torch.isfinite(value)):
        raise FitDiverged(
            f"{plan.what}: the loss became {float(value.detach())} at step {step} of {plan.steps}; lower "
            f"learning_rate (now {plan.learning_rate:g}), or look for features that are not scaled"
        )
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
    optimizer.step()


def _look(network: nn.Module, plan: Training, run: _Run, validate: Callable[[], float | None]) -> None:
    """Measure the validation users, and keep the weights if they are the best."""
    network.eval()
    with torch.no_grad():
        value = validate()
    if value is None:
        run.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
        return
    if not np.isfinite(value):
        raise FitDiverged(
            f"{plan.what}: the validation users' loss became {value} at step {run.step}; lower "
            f"learning_rate (now {plan.learning_rate:g})"
        )
    run.history.append([run.step, value])
    if value < run.best - 1e-6:
        run.best, run.waited = value, 0
        run.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
    else:
        run.waited += 1


def _checkpoint(plan: Training) -> Path | None:
    folder = current_job().folder
    return None if folder is None else folder / f"{plan.what}-{plan.key}.pt"


def _keep(
    file: Path | None, network: nn.Module, optimizer: Any, schedule: Any, rng: np.random.Generator, run: _Run
) -> None:
    """Write a checkpoint; it appears whole or not at all."""
    if file is None:
        return
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "rng": rng.bit_generator.state,
        "torch": torch.random.get_rng_state(),
        "run": vars(run),
    }
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, draft)
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StorageError(f"cannot keep a checkpoint in {file.parent}: {error}; free some room") from error


def _restore(
    file: Path | None, network: nn.Module, optimizer: Any, schedule: Any, rng: np.random.Generator, run: _Run
) -> bool:
    """Go on from a checkpoint, if there is a whole one."""
    if file is None or not file.is_file():
        return False
    fresh = {name: value.detach().clone() for name, value in network.state_dict().items()}
    try:
        device = next(network.parameters()).device
        state = torch.load(file, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        rng.bit_generator.state = state["rng"]
        torch.random.set_rng_state(state["torch"].cpu())
        vars(run).update(state["run"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError):
        network.load_state_dict(fresh)  # a broken checkpoint costs a fresh start, no more
        return False
    return True
