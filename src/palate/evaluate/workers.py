"""Several trials at a time, each process with one thread of its own.

The population and its features are made once and handed over as files, the features memory-mapped. A process
that is killed loses its trial only.
"""

import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from palate.core import ConfigError, Population, job
from palate.core.job import Tell
from palate.evaluate.trials import TOO_LITTLE, Result, Trial, measure
from palate.models.features import embed, remember

__all__ = ["Workers", "hand_over", "take_up"]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Workers:
    """Makes trials on one population: one after another in this process, or ``jobs`` at a time in others.

    The trial of a process that is killed is made once more at the end, alone, and fails if it is killed
    again. Leaving the context ends all processes at once.

    Args:
        people: Training and validation users, with roles and splits.
        encoder: Encoder spec.
        jobs: How many trials at a time.
        checkpoints: Folder in which long fits keep what they need to go on, or None.
        tell: Told of encoding and, with one job, of long fits.
    """

    def __init__(
        self, people: Population, encoder: str, jobs: int, checkpoints: Path | None, tell: Tell
    ) -> None:
        self.people, self.encoder, self.jobs = people, encoder, max(1, jobs)
        self.checkpoints, self.tell = checkpoints, tell
        self._folder: Path | None = None
        self._team: list[_Worker] = []
        self._started = self._encoded = self._listens = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def run(self, trials: Iterable[Trial]) -> Iterator[tuple[Trial, Result]]:
        """Yield each trial with its result, as they finish; ``trials`` is drawn from when there is room."""
        if self.jobs == 1:
            for trial in trials:
                self._encode()
                with job(self.checkpoints, self.tell):
                    result = measure(trial, self.people)
                yield trial, result
            return
        try:
            yield from self._beside(iter(trials))
        finally:
            for worker in [worker for worker in self._team if worker.trial is not None]:
                self._team.remove(worker)
                worker.end()

    def _beside(self, source: Iterator[Trial]) -> Iterator[tuple[Trial, Result]]:
        """Make trials in several processes; those whose process was killed come last."""
        killed: list[Trial] = []
        while True:
            self._hand_out(source)
            busy = [worker for worker in self._team if worker.trial is not None]
            if not busy:
                break
            heard = wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in heard]:
                trial, result = self._collect(worker)
                if result is not None:
                    yield trial, result
                elif worker not in self._team:
                    killed.append(trial)
        for trial in killed:
            yield trial, self._alone(trial)

    def _hand_out(self, source: Iterator[Trial]) -> None:
        """Give every free process a trial, and start processes while there are trials and room."""
        while True:
            free = next((worker for worker in self._team if worker.trial is None), None)
            if free is None and len(self._team) >= self.jobs:
                return
            trial = next(source, None)
            if trial is None:
                return
            (free or self._hire()).give(trial)

    def _collect(self, worker: "_Worker") -> tuple[Trial, Result | None]:
        """Take what a process has to say: a result; or None for "ready", or if it died and is dismissed."""
        trial = worker.trial
        assert trial is not None
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._team.remove(worker)
            code = worker.end()
            if not self._started:
                raise ConfigError(
                    f"a process that was to make trials ended before its first (exit code {code}); use one "
                    "job, or keep what runs in your script under `if __name__ == '__main__':`"
                ) from None
            return trial, None
        self._started = True
        if message is not None:
            worker.trial = None
        return trial, message

    def _alone(self, trial: Trial) -> Result:
        """Make a trial whose process was killed once more, with nothing beside it."""
        self._dismiss()
        started = time.perf_counter()
        worker = self._hire()
        worker.give(trial)
        while worker in self._team:
            result = self._collect(worker)[1]
            if result is not None:
                return result
        told = TOO_LITTLE.format("its process was killed twice, the second time with nothing beside it")
        return Result(np.zeros(0), time.perf_counter() - started, told, lasting=False)

    def _hire(self) -> "_Worker":
        if self._folder is None:
            self._encode()
            self._listen()
            self._folder = Path(tempfile.mkdtemp(prefix="palate-trials-"))
            hand_over(self.people, self.encoder, self._folder)
        self._team.append(_Worker(self._folder, self.checkpoints))
        return self._team[-1]

    def _listen(self) -> None:
        """Leave in order when asked to terminate, so that no process and no file is left behind."""
        mine = threading.current_thread() is threading.main_thread()
        if mine and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            self._listens = True

    def _dismiss(self) -> None:
        while self._team:
            self._team.pop().end()

    def _encode(self) -> None:
        if not self._encoded:
            for spec in _specs(self.encoder):
                embed(self.people.corpus, spec, progress=lambda done, all_: self.tell("encoding", done, all_))
            self._encoded = True


class _Worker:
    """A process that makes trials, and the trial that it is at."""

    def __init__(self, folder: Path, checkpoints: Path | None) -> None:
        context = get_context("spawn")
        self.trial: Trial | None = None
        self.pipe, far = context.Pipe()
        self._process = context.Process(target=_work, args=(far, folder, checkpoints), daemon=True)
        with _one_thread():
            self._process.start()
        far.close()

    def give(self, trial: Trial) -> None:
        """Send a trial; a process that is gone shows when it is listened to."""
        self.trial = trial
        try:
            with suppress(OSError):
                self.pipe.send(trial)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"{trial.method.name} cannot be handed to another process ({error}): define its class at the "
                "top of a module, or use one job"
            ) from error

    def end(self) -> int | None:
        """End the process now and return its exit code."""
        self._process.terminate()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()
        return self._process.exitcode


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes started inside use one thread each: libraries read these names when they are loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _specs(encoder: str) -> list[str]:
    return list(dict.fromkeys([encoder, "style"]))


def hand_over(people: Population, encoder: str, folder: Path) -> None:
    """Write people and their features where other processes take them up."""
    with open(folder / "people.pickle", "wb") as file:
        pickle.dump((people, encoder), file, protocol=pickle.HIGHEST_PROTOCOL)
    for number, spec in enumerate(_specs(encoder)):
        np.save(folder / f"{number}.npy", embed(people.corpus, spec))


def take_up(folder: Path) -> Population:
    """Read what :func:`hand_over` wrote; the features are mapped, not copied."""
    with open(folder / "people.pickle", "rb") as file:
        people, encoder = pickle.load(file)
    for number, spec in enumerate(_specs(encoder)):
        remember(people.corpus, spec, np.asarray(np.load(folder / f"{number}.npy", mmap_mode="r")))
    assert isinstance(people, Population)
    return people


def _end_with_parent(folder: Path) -> None:
    """Wait until the process that asked is gone without a word; then clear up and end this one too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _work(pipe: "Connection[Any, Any]", folder: Path, checkpoints: Path | None) -> None:
    """Make trials until the other end closes; Ctrl-C is the other end's to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    people = take_up(folder)
    pipe.send(None)
    with job(checkpoints):
        while True:
            try:
                result = measure(pipe.recv(), people)
            except EOFError:
                return
            except Exception as error:  # the trial could not be unpacked here
                result = Result(np.zeros(0), 0.0, f"{type(error).__name__}: {error}", lasting=False)
            pipe.send(result)
