"""A training run: its settings, its checkpoints, and how it goes on where it stopped.

Inside a :func:`palate.core.job` with a folder, every stage keeps a folder of its own: ``settings.json`` with
all that its outcome depends on, TRL's checkpoints, and, when it is done, ``done.json``. A stage that is done
is not run again; one that was cut goes on from its last whole checkpoint, with the same draws; one whose
settings differ is refused, with the difference. Under ``accelerate launch`` every process runs the same
stage on its share of each batch.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from palate.core import ConfigError, MethodError, StorageError
from palate.core.job import Tell, current_job

__all__ = [
    "Settings",
    "Stage",
    "as_plain",
    "configured",
    "is_first",
    "plain_forward",
    "quiet",
    "run_stage",
    "stage",
]

_WHOLE = "trainer_state.json"  # the last file of a checkpoint that is written


@dataclass(frozen=True)
class Settings:
    """How a model is trained, whatever the loss.

    Attributes:
        steps: Optimizer steps.
        batch: Rows of a step on one process before accumulation: examples, or users' groups.
        accumulate: Batches added up before a step.
        lr: Learning rate at its highest.
        warmup: Steps until then.
        schedule: ``cosine``, ``linear`` or ``constant``, as transformers names them.
        weight_decay: AdamW's.
        clip: Largest norm of a gradient.
        bf16: Whether to compute in bfloat16 with float32 weights.
        checkpointing: Whether activations are recomputed to save memory.
        save_every: Steps between checkpoints.
        seed: Of order and draws.
    """

    steps: int
    batch: int = 8
    accumulate: int = 1
    lr: float = 1e-5
    warmup: int = 0
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    bf16: bool = False
    checkpointing: bool = False
    save_every: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: What it is called, and its folder.
        folder: Where its checkpoints lie.
        kept: Whether they outlive the run.
        done: What it left when it was finished before, or None.
    """

    name: str
    folder: Path
    kept: bool
    done: dict[str, Any] | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes what is kept: under a launcher only the first does."""
        return self.kept and is_first()

    def finish(self, **left: Any) -> None:
        """Note that the stage is done, with plain values to be found again."""
        if self.leads:
            _write(self.folder / "done.json", left)


@contextmanager
def stage(name: str, identity: Mapping[str, Any]) -> Iterator[Stage]:
    """Open a stage of the current job.

    Args:
        name: What it is called.
        identity: All that its outcome depends on, as plain values.

    Raises:
        ConfigError: If the job's folder holds this stage with other settings.
    """
    home = current_job().folder
    if home is None:
        with tempfile.TemporaryDirectory(prefix="palate-") as passing:
            yield Stage(name, Path(passing), kept=False)
        return
    folder = home / name
    known = folder / "settings.json"
    plain = json.loads(json.dumps({**identity, "processes": _processes()}, default=str))
    if known.exists():
        before = _read(known)
        differ = {k for k in {*before, *plain} if before.get(k) != plain.get(k)}
        if differ:
            told = "; ".join(f"{k}: was {before.get(k)!r}, now {plain.get(k)!r}" for k in sorted(differ))
            raise ConfigError(
                f"{folder} holds a run of {name} with other settings ({told}): go on with those, or name "
                "another folder"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if is_first():
            _write(known, plain)
    finished = folder / "done.json"
    yield Stage(name, folder, kept=True, done=_read(finished) if finished.exists() else None)


def configured(kind: type, settings: Settings, stage: Stage, **own: Any) -> Any:
    """Return a TRL configuration of a kind from our settings.

    Args:
        kind: ``GRPOConfig``, ``DPOConfig``, ``SFTConfig`` or ``RewardConfig``.
        settings: How it is trained.
        stage: Where its checkpoints go.
        own: Settings that this kind alone has.
    """
    import torch

    graphics = torch.cuda.is_available()
    with quiet():
        return _config(kind, settings, stage, graphics, own)


def _config(kind: type, settings: Settings, stage: Stage, graphics: bool, own: dict[str, Any]) -> Any:
    return kind(
        output_dir=str(stage.folder),
        max_steps=settings.steps,
        per_device_train_batch_size=own.pop("per_device_train_batch_size", settings.batch),
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.lr,
        warmup_steps=settings.warmup,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        bf16=settings.bf16,
        gradient_checkpointing=settings.checkpointing,
        save_strategy="steps" if stage.kept else "no",
        save_steps=settings.save_every,
        save_total_limit=2,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=not graphics,
        dataloader_pin_memory=graphics,
        logging_steps=10,
        report_to=[],
        disable_tqdm=True,
        **own,
    )


def run_stage(stage: Stage, make: Callable[[list[Any]], Any], told: str) -> list[dict[str, Any]]:
    """Train, from the last whole checkpoint where there is one; return the trainer's log.

    Args:
        stage: Where it runs.
        make: Makes the trainer, given its callbacks.
        told: What people are told is being done.

    Raises:
        MethodError: If the machine's memory does not suffice.
    """
    import torch
    from transformers import PrinterCallback

    trainer = None
    try:
        with quiet():
            trainer = make([_callback(current_job().tell, told)])
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=_last(stage.folder))
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "memory" not in str(error):
            raise
        where = trainer.args.device if trainer else "the machine"
        now = f" (now {trainer.args.per_device_train_batch_size} rows)" if trainer else ""
        why = str(error).partition("\n")[0] or type(error).__name__
        raise MethodError(
            f"{told}: the memory of {where} does not suffice ({why}). "
            f"Halve batch{now} and double accumulate, which changes nothing else; or set checkpointing=true, "
            "dtype=bfloat16, a shorter limit, or lora_rank"
        ) from error
    finally:
        if trainer is not None:
            plain_forward(trainer.model)
    log: list[dict[str, Any]] = trainer.state.log_history
    return log


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own bars and notices of names to come from the terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def plain_forward(model: Any) -> Any:
    """Take away what trainers laid over ``forward``, and return the model.

    TRL adds a fused head and accelerate a cast to float32, as attributes of the instance. They stay when
    training is over, and in a copy they would still run the model that they were laid over.
    """
    for module in model.modules():
        module.__dict__.pop("forward", None)
        module.__dict__.pop("_original_forward", None)
    return model


def _callback(tell: Tell, told: str) -> Any:
    from transformers import TrainerCallback

    class Telling(TrainerCallback):
        """Says how far training is."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tell(told, state.global_step, state.max_steps)

    return Telling()


def _last(folder: Path) -> str | None:
    """Return the last checkpoint that was written whole, by every process."""
    found = [p for p in folder.glob("checkpoint-*") if _is_whole(p)]
    return str(max(found, key=lambda p: int(p.name.rpartition("-")[2]))) if found else None


def _is_whole(checkpoint: Path) -> bool:
    n = _processes()
    draws = ["rng_state.pth"] if n == 1 else [f"rng_state_{i}.pth" for i in range(n)]
    try:
        json.loads((checkpoint / _WHOLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).exists() for name in draws)


def _processes() -> int:
    """Return how many processes a launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Return whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def _write(path: Path, values: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    try:
        draft.write_text(json.dumps(values, indent=1, sort_keys=True, default=str), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); remove its folder to begin again") from error
    return found


def as_plain(settings: Settings) -> dict[str, Any]:
    """Return settings as plain values, those left out that do not change the outcome."""
    return {k: v for k, v in asdict(settings).items() if k != "save_every"}
