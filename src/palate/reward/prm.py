"""PRM: a user embedding beside the features, trained with and without its user (P-RLHF).

Source: "When Personalization Meets Reality", section 3.2; Li et al. 2024, "Personalized Language Modeling
from Personalized Human Feedback". With phi [d] an item, f(phi) [k] a two-layer network, w0 [d] the pooled
solution, user 0 the unknown user:

    r_u(x, y) = w0 . phi + f(phi) . e_u
    individual  e_u = e_0 + o_u,  o_u ~ N(0, I)                      k numbers a user
    cluster     e_u = sum_j m_j c_j,  m = softmax(spread l_u),  l_u ~ N(0, I),  user 0: l = 0    K numbers
    loss        alpha L(u) + (1 - alpha) L(0),  L = mean -log sigmoid(r(chosen) - r(rejected))
    new user    only o_u (or l_u): argmin 0.5 |o|^2 + sum_i nll_i

Departs from the paper:
- Bilinear in a view f(phi) of frozen features and the user embedding, in the place of soft tokens before
  a language model's input; fitting a new user is then a small problem, solved to convergence for all at once.
- A normal prior on o_u and l_u; its scale is part of f, which is learned.
- offsets = "solved": in training too, a user's o_u is the mode given some of their pairs, and the loss is
  that of their other pairs. The gradient passes through the mode (implicit function theorem), so f learns
  what can be inferred of a new user. "learned" is the paper's: a table with a row for each training user.
- Scores start at the pooled solution (``anchor``), features are dropped out in training, and training
  stops early on validation users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from palate.core import ConfigError
from palate.reward.crowd import Crowd, Episode, sample_episode
from palate.reward.fold_in import FoldIn, Reader

__all__ = ["PRM"]


class _Heads(Reader):
    """The view f(phi), the unknown user's embedding or the clusters', and the paper's table of users."""

    def __init__(self, dim: int, hidden: int, size: int, clusters: int, rows: int, spread: float) -> None:
        super().__init__(clusters or size, spread if clusters else 0.0)
        self.view = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, size, bias=False))
        nn.init.zeros_(self.view[2].weight)
        self.unknown = None if clusters else nn.Parameter(torch.randn(size))
        self.centres = nn.Parameter(torch.randn(clusters, size)) if clusters else None
        self.users = nn.Parameter(torch.randn(rows, self.free)) if rows else None

    def views(self, x: torch.Tensor) -> torch.Tensor:
        f = self.view(x)
        if self.centres is not None:
            return torch.cat([torch.zeros_like(f[:, :1]), f @ self.centres.T], dim=1)
        return torch.cat([(f @ self.unknown)[:, None], f], dim=1)


@dataclass(kw_only=True, eq=False)
class PRM(FoldIn):
    """A shared reward model that reads a user embedding, learned with and without the user.

    Args:
        users: ``individual``, an embedding for each user; ``cluster``, a mixture of a few embeddings.
        size: Numbers k of an embedding.
        clusters: How many embeddings the users of ``cluster`` mix.
        spread: Prior standard deviation of a user's mixture logits (``cluster``).
        hidden: Width of the view's network.
        offsets: How training users get their embeddings: ``solved`` or ``learned``; see the module's text.
    """

    name: ClassVar[str] = "prm"
    paper: ClassVar[str] = (
        "When Personalization Meets Reality 3.2: personalized reward model (Li et al. 2024)"
    )
    seconds_per_10k: ClassVar[float] = 8.0
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "users": ("individual", "cluster"),
        "size": (4, 8, 16, 32),
        "clusters": (4, 10, 20),
        "hidden": (32, 64, 128),
        "alpha": (0.5, 0.8),
        "learning_rate": (0.005, 0.01, 0.02),
    }
    steps: int = 400
    every: int = 25
    patience: int = 5
    learning_rate: float = 0.02
    weight_decay: float = 0.1
    users: Literal["individual", "cluster"] = "individual"
    size: int = 16
    clusters: int = 10
    spread: float = 2.0
    hidden: int = 64
    offsets: Literal["solved", "learned"] = "solved"

    def _check(self) -> None:
        super()._check()
        for field, known in {"users": ("individual", "cluster"), "offsets": ("solved", "learned")}.items():
            if getattr(self, field) not in known:
                raise ConfigError(
                    f"prm: {field}={getattr(self, field)!r} is unknown; use {' or '.join(known)}"
                )
        if min(self.size, self.clusters, self.hidden) < 1 or not self.spread > 0.0:
            raise ConfigError(
                f"prm: size={self.size!r}, clusters={self.clusters!r}, hidden={self.hidden!r}, "
                f"spread={self.spread!r}; all must be above 0"
            )

    def _network(self, dim: int, users: int) -> nn.Module:
        clusters = self.clusters if self.users == "cluster" else 0
        rows = users if self.offsets == "learned" else 0
        return _Heads(dim, self.hidden, self.size, clusters, rows, self.spread)

    def _draw(self, crowd: Crowd, rng: np.random.Generator) -> Episode:
        if self.offsets == "solved":
            return super()._draw(crowd, rng)
        heard = np.flatnonzero(np.diff(crowd.starts))
        users = rng.choice(heard, min(self.batch, len(heard)), replace=False)
        return sample_episode(crowd, rng, users, (0, 0), self.targets)
