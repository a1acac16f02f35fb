"""Made-up methods whose best settings are known, in a module that other processes can import."""

import os
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from palate.core import Feedback, FitDiverged, Method, MissingExtra, Population, as_conversation


@dataclass(kw_only=True, eq=False)
class Slope(Method):
    """Says that a short answer beats a long one with log-odds ``x``; notes every fit in a file."""

    name: ClassVar[str] = "slope"
    space: ClassVar = {"x": (-1.0, 0.0, 0.5, 1.5, 3.0, 6.0), "idle": ("a", "b")}
    x: float = 0.0
    idle: str = "a"
    log: str = ""
    pause: float = 0.0
    seed: int = 0

    def _learn(self, population):
        if self.log:
            test = int((population.role == 2).sum())
            texts = "".join(population.corpus.responses) + "".join(map(str, population.users))
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{self.x}|{self.idle}|{test}|{'secret' in texts}|{os.getpid()}\n")
        time.sleep(self.pause)
        self.trouble()
        self.slope_ = self.x

    def trouble(self):
        """What goes wrong in a fit: nothing."""

    def _condense(self, population):
        return np.full((population.n_users, 1), self.slope_)

    def _log_odds(self, vectors, queries):
        short = np.array([len(queries.corpus.response(i)) < 6 for i in queries.options], float)
        return self.slope_ * short


@dataclass(kw_only=True, eq=False)
class Still(Slope):
    """Has nothing to tune."""

    name: ClassVar[str] = "still"
    space: ClassVar = {}


@dataclass(kw_only=True, eq=False)
class Steep(Slope):
    """Diverges above 1, and has a package missing at -1."""

    name: ClassVar[str] = "steep"

    def trouble(self):
        if self.x > 1:
            raise FitDiverged("steep: too steep; lower x")
        if self.x < 0:
            raise MissingExtra("steep", "downhill", "ski")


@dataclass(kw_only=True, eq=False)
class Heavy(Slope):
    """Is killed at 0.5, as a process is that takes too much memory."""

    name: ClassVar[str] = "heavy"

    def trouble(self):
        if self.x == 0.5:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(kw_only=True, eq=False)
class Crowded(Slope):
    """Is killed at 0.5 the first time only, as one that shared its memory with another."""

    name: ClassVar[str] = "crowded"

    def trouble(self):
        if self.x == 0.5 and not os.path.exists(self.log + ".seen"):
            with open(self.log + ".seen", "w", encoding="utf-8"):
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(kw_only=True, eq=False)
class Misnamed(Slope):
    """Its space names a field that does not exist."""

    name: ClassVar[str] = "misnamed"
    space: ClassVar = {"y": (1, 2)}


@dataclass(kw_only=True, eq=False)
class Unfinished(Slope):
    """Is interrupted at its third fit, once."""

    name: ClassVar[str] = "unfinished"
    stop: ClassVar[bool] = True

    def trouble(self):
        with open(self.log, encoding="utf-8") as file:
            if Unfinished.stop and len(file.readlines()) == 3:
                raise KeyboardInterrupt


METHODS = (Slope, Still, Steep, Heavy, Crowded, Misnamed, Unfinished)


def short_likers(users=60, rows=12, slope=1.5, seed=0):
    """People who take the short of two answers with log-odds ``slope``; roles are left to the protocol."""
    rng = np.random.default_rng(seed)
    made = []
    for user in range(users):
        for row in range(rows):
            short = rng.random() < 1 / (1 + np.exp(-slope))
            talk = as_conversation(f"Question {user} {row}?")
            made.append(Feedback(f"u{user}", talk, ("Yes.", "It depends on this."), chosen=int(not short)))
    return Population.of(made)
