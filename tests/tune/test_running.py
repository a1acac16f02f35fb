"""Stages: exact resumption, changed settings, half-written checkpoints, and memory that runs out."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerCallback
from trl import DPOConfig, GRPOConfig

from palate.core import ConfigError, MethodError, StorageError, job
from palate.tune.model import Cast, Lora, load_base
from palate.tune.running import Settings, as_plain, configured, run_stage, stage
from palate.tune.trainers import AnswerRow, AnswerTrainer, SummaryTrainer

STEPS = 7


class Cut(Exception):
    """An interruption."""


class CutAt(TrainerCallback):
    """Interrupts after a step, before its checkpoint."""

    def __init__(self, step, how):
        self.step, self.how = step, how

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            self.how()


def cut():
    raise Cut


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def reward(completions, which):
    return [-((sum(ids) * 7 + row) % 16) / 8 for ids, row in zip(completions, which, strict=True)]


def train(kind, model, folder, rank, at=0, how=cut, rewards=reward, **more):
    """Run one stage, interrupted after step ``at``; return the trained weights."""
    cast = Cast(
        load_base(str(model), device="cpu", limit=256), Lora(rank, 2 * rank), ("inference", "generator")
    )
    settings = Settings(**{"steps": STEPS, "batch": 2, "lr": 0.02, "save_every": 2, "warmup": 2, **more})
    rng = np.random.default_rng(0)
    prompts = [rng.integers(6, 262, n).tolist() for n in (3, 9, 5, 12, 7, 4, 8)]
    role = "generator" if kind == "answers" else "inference"
    trained = cast.to_train(role)
    extra = [CutAt(at, how)] if at else []
    with job(folder), stage(kind, {"model": cast.base.key, **as_plain(settings)}) as run:
        if run.done is not None:
            return run.done
        if kind == "answers":
            config = configured(DPOConfig, settings, run)
            data = [AnswerRow(p, [20 + i, 2], [40 + i, 9, 2], -9.0, -8.0) for i, p in enumerate(prompts)]
            log = run_stage(
                run,
                lambda c: AnswerTrainer(trained, data, "dpo", 0.1, config, cast.base.tokenizer, [*c, *extra]),
                "answers",
            )
        else:
            config = configured(
                GRPOConfig,
                settings,
                run,
                per_device_train_batch_size=settings.batch * 3,
                num_generations=3,
                max_completion_length=5,
                loss_type="grpo",
                temperature=1.0,
            )
            reference = None if rank else cast.base.model
            log = run_stage(
                run,
                lambda c: SummaryTrainer(
                    trained, reference, prompts, rewards, 0.01, config, cast.base.tokenizer, [*c, *extra]
                ),
                "summaries",
            )
        assert log
        if at < 0:
            run.finish(reached=STEPS)
    return torch.cat([v.detach().flatten() for v in cast._weights(role).values()])


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    """The weights of runs that nothing cut."""
    known = {}

    def found(kind, rank, **more):
        key = (kind, rank, *more.items())
        if key not in known:
            known[key] = train(kind, models("whole"), tmp_path_factory.mktemp("uncut"), rank, **more)
        return known[key]

    return found


@pytest.mark.parametrize(
    ("kind", "rank", "at"),
    [("answers", 4, 7), ("answers", 0, 3), ("summaries", 4, 5), ("summaries", 0, 3)],
)
def test_a_run_that_was_cut_goes_on_exactly(kind, rank, at, models, whole, tmp_path):
    """Answers have 4 steps an epoch, summaries 3: some go on within the second epoch."""
    with pytest.raises(Cut):
        train(kind, models("whole"), tmp_path, rank, at=at)
    assert (tmp_path / kind / f"checkpoint-{at - 1}").is_dir()
    assert not (tmp_path / kind / f"checkpoint-{STEPS}").exists()
    resumed = train(kind, models("whole"), tmp_path, rank)
    assert torch.equal(resumed, whole(kind, rank))


def test_accumulated_steps_go_on_exactly(models, whole, tmp_path):
    with pytest.raises(Cut):
        train("summaries", models("whole"), tmp_path, 4, at=3, accumulate=2)
    assert torch.equal(
        train("summaries", models("whole"), tmp_path, 4, accumulate=2), whole("summaries", 4, accumulate=2)
    )


def test_a_killed_process_goes_on_exactly(models, whole, tmp_path):
    script = f"""
        import importlib.util, sys, torch
        spec = importlib.util.spec_from_file_location("runs", {str(Path(__file__))!r})
        runs = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(runs)
        torch.set_num_threads(1)
        runs.train("summaries", {str(models("whole"))!r}, {str(tmp_path)!r}, 4, at=5, how=runs.kill)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    resumed = train("summaries", models("whole"), tmp_path, 4)
    assert torch.equal(resumed, whole("summaries", 4))


@pytest.mark.parametrize("spoil", ["absent", "cut short", "no draws"])
def test_a_half_written_checkpoint_is_passed_over(spoil, models, whole, tmp_path):
    with pytest.raises(Cut):
        train("answers", models("whole"), tmp_path, 4, at=5)
    last = tmp_path / "answers" / "checkpoint-4"
    state = last / "trainer_state.json"
    if spoil == "absent":
        state.unlink()
    elif spoil == "cut short":
        state.write_text(state.read_text()[:40])
    else:
        (last / "rng_state.pth").unlink()
    (last / "adapter_model.safetensors").write_bytes(b"half")
    resumed = train("answers", models("whole"), tmp_path, 4)
    assert torch.equal(resumed, whole("answers", 4))


def test_changed_settings_are_refused_with_the_difference(models, tmp_path):
    with pytest.raises(Cut):
        train("answers", models("whole"), tmp_path, 4, at=3)
    with pytest.raises(ConfigError, match=r"lr: was 0.02, now 0.5; steps: was 7, now 8.*name another folder"):
        train("answers", models("whole"), tmp_path, 4, lr=0.5, steps=8)
    with pytest.raises(Cut):  # how often it is saved changes nothing that is learned
        train("answers", models("whole"), tmp_path, 4, at=4, save_every=1)


def test_another_number_of_processes_is_refused(models, tmp_path, monkeypatch):
    with job(tmp_path), stage("answers", {"a": 1}):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ConfigError, match="processes: was 1, now 2"),
        job(tmp_path),
        stage("answers", {"a": 1}),
    ):
        pass


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with job(tmp_path), stage("answers", {"a": 1}) as run:
        run.finish(b=2)
    assert not list(run.folder.iterdir())


def test_a_stage_that_is_done_is_not_run_again(models, tmp_path):
    train("answers", models("whole"), tmp_path, 4, at=-1)
    assert train("answers", models("whole"), tmp_path, 4) == {"reached": STEPS}


def test_without_a_folder_nothing_is_kept(models, whole):
    assert torch.equal(train("answers", models("whole"), None, 4), whole("answers", 4))


def test_a_settings_file_that_cannot_be_read(tmp_path):
    with job(tmp_path), stage("answers", {"a": 1}) as run:
        settings = run.folder / "settings.json"
    settings.write_text("{")
    with (
        pytest.raises(StorageError, match="remove its folder to begin again"),
        job(tmp_path),
        stage("answers", {}),
    ):
        pass


def test_settings_are_told_plainly(tmp_path):
    with job(tmp_path), stage("answers", {"path": Path("a/b"), "n": (1, 2)}) as run:
        assert json.loads((run.folder / "settings.json").read_text()) == {
            "n": [1, 2],
            "path": "a/b",
            "processes": 1,
        }


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory.\nTried"),
        MemoryError(),
        RuntimeError("can't allocate memory"),
    ],
)
def test_memory_that_runs_out_says_what_to_turn(error, models):
    def full(completions, which):
        raise error

    with pytest.raises(MethodError) as told:
        train("summaries", models("whole"), None, 4, rewards=full)
    for name in ("batch (now 6 rows)", "accumulate", "checkpointing", "dtype", "limit", "lora_rank", "cpu"):
        assert name in str(told.value)
    assert "\n" not in str(told.value)


def test_other_errors_come_as_they_are(models):
    def wrong(completions, which):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train("summaries", models("whole"), None, 4, rewards=wrong)


def test_progress_is_told(models, tmp_path):
    heard = []
    settings = Settings(steps=3, batch=2)
    cast = Cast(load_base(str(models("whole")), device="cpu"), Lora(4, 8), ("generator",))
    data = [AnswerRow([7, 8], [20, 2], [40, 2], -9.0, -8.0)] * 6
    with job(None, lambda *said: heard.append(said)), stage("answers", {}) as run:
        config = configured(DPOConfig, settings, run)
        trained = cast.to_train("generator")
        run_stage(
            run, lambda c: AnswerTrainer(trained, data, "dpo", 0.1, config, cast.base.tokenizer, c), "answers"
        )
    assert heard == [("answers", i, 3) for i in (1, 2, 3)]
