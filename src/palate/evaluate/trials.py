"""One trial of a setting, kept on disk when finished.

A trial fits a method on the training users and scores it on the validation users: their mean log-loss on
their targets, after adapting on their contexts. Every trial runs on one BLAS thread, alone or beside others,
so that its numbers do not depend on how many run at a time.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    EncoderError,
    FitDiverged,
    Method,
    MissingExtra,
    PalateError,
    Population,
    StorageError,
)
from palate.evaluate.faults import explain
from palate.gate import differences
from palate.models.encoder import resolve
from palate.numerics.design import log_loss, mean_by
from palate.numerics.threads import one_blas_thread

__all__ = ["TOO_LITTLE", "Result", "Trial", "TrialShelf", "measure", "trial_key"]

Floats = NDArray[np.floating[Any]]
TOO_LITTLE = (
    "{}: most often there was too little memory; ask for fewer jobs, a smaller encoder or fewer users"
)
"""What is said of a trial that memory may have ended."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What to try: a method's class and every field of its constructor; ``number`` 0 is the defaults."""

    number: int
    method: type[Method]
    fields: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Result:
    """What a trial gave.

    Attributes:
        losses: Mean log-loss of each validation user with targets, float64 [users]; empty where it failed.
        seconds: Fit and scoring; encoding is left out.
        failure: Why it failed, or None.
        lasting: False where the surroundings failed (memory, a missing package, a full disk): the next run
            tries it again.
    """

    losses: Floats
    seconds: float
    failure: str | None = None
    lasting: bool = True

    @property
    def loss(self) -> float:
        """Mean over users; infinite where the trial failed."""
        return float("inf") if self.failure is not None else float(self.losses.mean())


def measure(trial: Trial, people: Population) -> Result:
    """Make a trial on people with roles and splits. Whatever the method raises becomes its failure."""
    losses: Floats = np.zeros(0)
    started, lasting, failure = time.perf_counter(), False, None
    try:
        with one_blas_thread():
            losses = _losses(trial.method(**trial.fields), people)
    except PalateError as error:
        failure, lasting = str(error), not isinstance(error, MissingExtra | EncoderError | StorageError)
    except MemoryError:
        failure = TOO_LITTLE.format("memory ran short")
    except Exception as error:  # another's method may raise anything; the other trials go on
        failure = explain(error)
    return Result(losses, time.perf_counter() - started, failure, lasting or failure is None)


def _losses(method: Method, people: Population) -> Floats:
    """Return float64 [validation users with targets]: mean log-loss of each."""
    users = people.with_role("val")
    context, targets = users.with_split("context"), users.with_split("target").pairs
    method.fit(people)
    d = differences(method, method.adapt_batch(context), context, targets)
    asked = np.bincount(targets.user, minlength=users.n_users) > 0
    losses = mean_by(targets.user, log_loss(d, targets.target), users.n_users)[asked]
    if not np.isfinite(losses).all():
        raise FitDiverged(
            f"{method.name}: the log-loss of {int((~np.isfinite(losses)).sum())} of {len(losses)} validation "
            "users is not finite; lower the learning rate or raise the ridge"
        )
    return np.asarray(losses, np.float64)


# ---- kept on disk -------------------------------------------------------------------------------------


def trial_key(trial: Trial, digest: str, encoder: str, seed: int) -> str:
    """Return a hash of all that the result depends on: data, encoder, method, version, fields, seed."""
    method = trial.method
    parts = [digest, resolve(encoder).key, method.name, method.version, dict(trial.fields), seed, 1]
    return hashlib.blake2b(
        json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=10
    ).hexdigest()


class TrialShelf:
    """Finished trials in a folder, one small JSON file each; None keeps nothing."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def get(self, key: str, users: int) -> Result | None:
        """Return a finished trial on so many users, or None where there is none (or a broken one)."""
        if self.folder is None:
            return None
        try:
            kept = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            failure, seconds = kept["failure"], float(kept["seconds"])
            losses = np.array(kept["losses"], np.float64)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if failure is not None:
            return Result(np.zeros(0), seconds, str(failure))
        whole = losses.shape == (users,) and np.isfinite(losses).all()
        return Result(losses, seconds) if whole else None

    def put(self, key: str, trial: Trial, result: Result) -> None:
        """Keep a finished trial, whole or not at all; one whose surroundings failed is not kept."""
        if self.folder is None or not result.lasting:
            return
        kept = {
            "method": trial.method.name,
            "fields": dict(trial.fields),
            "losses": result.losses.tolist(),
            "seconds": result.seconds,
            "failure": result.failure,
        }
        draft = self.folder / f".{key}.{os.getpid()}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(kept, default=str), encoding="utf-8")
            draft.replace(self.folder / f"{key}.json")
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise StorageError(
                f"cannot keep a finished trial in {self.folder}: {error}; free some room"
            ) from error
