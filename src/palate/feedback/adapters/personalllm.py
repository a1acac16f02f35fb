"""PersonalLLM: eight responses to a prompt, each scored by reward models; the users are simulated.

Source: Zollo et al. (2024), hub id namkoong-lab/PersonalLLM: ``prompt``, ``response_1`` ...,
``response_1_gemma_2b`` .... A user is a mixture of the reward models. With r[i, m] the score of response i by
model m and s[m] the standard deviation of m's scores that the release gives,

    w[u] ~ Dirichlet(alpha, ..., alpha),    user u scores response i with  sum over m  w[u, m] r[i, m] / s[m]

(the means cancel). ``users=models`` makes every reward model a user, as in "When Personalization Meets
Reality", section 4.1. Each user answers each prompt with probability ``share``: the best of all responses
wins, or with ``pairs`` = k the better one of k disjoint random pairs.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, DataError
from palate.feedback.adapters.base import Adapter, Options, Place, Row, Table
from palate.feedback.report import BadRow

__all__ = ["PersonalLLM"]

SPREAD = {
    "llama3_sfairx": 2.953017385451928,
    "mistral_weqweasdas": 2.578636650248985,
    "mistral_ray": 1.6902981149232585,
    "gemma_7b": 2.6096741570264976,
    "mistral_raft": 3.0728436748484533,
    "gemma_2b": 2.038611338958803,
    "oasst_deberta_v3": 1.7207868789061331,
    "oasst_pythia_1b": 2.3018268820938133,
    "oasst_pythia_7b": 1.3659142113789966,
    "beaver_7b": 3.012641148973965,
}
"""Standard deviation of each reward model's scores, from the code of the release."""
MODELS = "models"
COLUMN = re.compile(r"response_(\d+)(?:_(.+))?")


def _users(text: str) -> int | str:
    return text if text == MODELS else int(text)


class PersonalLLM(Adapter):
    """PersonalLLM with simulated users."""

    name = "personalllm"
    title = "PersonalLLM"
    ids = (r"namkoong-lab/personalllm", r"andrewsiah/personalization_bench_cleaned")
    tables = ((Table("", (("prompt",), ("response_1",), ("response_2",))),),)
    marks = tuple(frozenset(("prompt", "response_1", "response_2", f"response_1_{m}")) for m in SPREAD)
    options: ClassVar[Options] = {
        **{"users": (_users, None), "alpha": (float, None), "seed": (int, None)},
        **{"share": (float, 1.0), "pairs": (int, 0)},
    }

    def __init__(self, options: Mapping[str, str], notes: list[str], left_out: Counter[str]) -> None:
        self.layouts: dict[tuple[str, ...], tuple[int, list[str]]] = {}
        self.weights: NDArray[np.float64] | None = None
        self.models: list[str] = []
        self.names: list[str] = []
        super().__init__(options, notes, left_out)

    def start(self) -> None:
        """Check the options, which must be said because the users are made up."""
        drawn = self.set["users"] != MODELS
        unsaid = [n for n in ("users", "alpha", "seed") if self.set[n] is None and (drawn or n == "users")]
        if unsaid:
            raise ConfigError(
                f"the users of PersonalLLM are simulated: say {', '.join(unsaid)}, such as "
                "personalllm,users=100,alpha=0.1,seed=0:SOURCE, or users=models for one user a reward model"
            )
        if drawn and self.set["users"] < 1:
            raise ConfigError(f"personalllm,users={self.set['users']}: expected 1 or more, or {MODELS}")
        if drawn and not 0 < self.set["alpha"] < np.inf:
            raise ConfigError(f"personalllm,alpha={self.set['alpha']:g}: expected a number above 0")
        if not 0 < self.set["share"] <= 1 or self.set["pairs"] < 0 or (self.set["seed"] or 0) < 0:
            raise ConfigError("personalllm: expected share above 0 and at most 1, pairs and seed 0 or more")
        self.rng = np.random.default_rng(self.set["seed"] or 0)

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the choice of every simulated user who answers the prompt."""
        count, models = self._layout(row, place)
        numbers = range(1, count + 1)
        try:
            scores = np.array([[float(row[f"response_{i}_{m}"]) for m in models] for i in numbers])
        except (TypeError, ValueError):
            raise BadRow("bad rating", "response_1_" + models[0], "a score is no number") from None
        if not np.isfinite(scores).all():
            raise BadRow("bad rating", "response_1_" + models[0], "a score is not finite")
        responses = [row[f"response_{i}"] for i in numbers]
        likes = self._weights(models) @ (scores / [SPREAD[m] for m in models]).T
        answers = np.flatnonzero(self.rng.random(len(likes)) < self.set["share"])
        best = likes.argmax(1).tolist()
        for user in answers.tolist():
            said = {"user": self.names[user], "prompt": row["prompt"]}
            if not self.set["pairs"]:
                yield {**said, "responses": responses, "chosen": best[user]}
                continue
            order = self.rng.permutation(count)[: 2 * self.set["pairs"]]
            for a, b in order[: len(order) // 2 * 2].reshape(-1, 2).tolist():
                winner = "a" if likes[user, a] >= likes[user, b] else "b"
                yield {**said, "response_a": responses[a], "response_b": responses[b], "winner": winner}

    def _layout(self, row: Row, place: Place) -> tuple[int, list[str]]:
        """Return the number of responses and the reward models that scored all of them."""
        columns = tuple(row)
        if columns not in self.layouts:
            parts = [found.groups() for found in map(COLUMN.fullmatch, columns) if found]
            there = {int(number) for number, scorer in parts if scorer is None}
            count = next(number for number in range(1, len(there) + 2) if number not in there) - 1
            scored = Counter(m for number, m in parts if m and m != "model" and int(number) <= count)
            models = sorted(model for model, times in scored.items() if times == count)
            unknown = [model for model in models if model not in SPREAD]
            if unknown or not models:
                what = f"the scores of {', '.join(unknown)}" if unknown else "no scores"
                why = (
                    f"{what}; expected columns response_1_MODEL to response_{count}_MODEL with MODEL one of "
                    f"{', '.join(sorted(SPREAD))}; seen: {', '.join(columns[:20])}"
                )
                if self.weights is None:
                    raise DataError(f"{place.file}: {why}")
                raise BadRow("missing field", "", why)
            self.layouts[columns] = count, models
        return self.layouts[columns]

    def _weights(self, models: list[str]) -> NDArray[np.float64]:
        """Return float [users, models], drawn once; tells how."""
        if self.weights is not None:
            if models != self.models:
                raise BadRow("missing field", "", f"scores of {', '.join(models)}; the first row's differ")
            return self.weights
        self.models = models
        if self.set["users"] == MODELS:
            self.weights, self.names = np.eye(len(models)), models
            who = f"simulated users: each of the {len(models)} reward models"
        else:
            users, alpha = self.set["users"], self.set["alpha"]
            self.weights = self.rng.dirichlet(np.full(len(models), alpha), users)
            self.names = [f"sim-{number:0{len(str(users))}d}" for number in range(1, users + 1)]
            who = f"simulated users: {users} mixtures of {len(models)} reward models, Dirichlet {alpha:g}"
        how = f"{self.set['pairs']} random pairs" if self.set["pairs"] else "the best of all responses"
        self.notes.append(
            f"{who}, seed {self.set['seed'] or 0}; each answers {self.set['share']:.0%} of the prompts: {how}"
        )
        return self.weights
