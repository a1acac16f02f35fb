"""PAL: a user is an ideal point, a mixture of a few prototypes that all users share.

Source: "SynthesizeMe", appendix A.4; Chen et al. 2024, "PAL: Pluralistic Alignment Framework". With phi [d]
an item, f(phi) [s] a two-layer network, prototypes p_k [s] or, for a conversation x, g_k(x) [s], w0 [d] the
pooled solution:

    m_u = softmax(spread l_u)                        [K], on the simplex;  l_u ~ N(0, I)
    A   a_u = sum_k m_uk p_k                         r_u(x, y) = w0 . phi - |f(phi) - a_u|
    B   a_u(x) = sum_k m_uk g_k(x)                   r_u(x, y) = w0 . phi + f(phi) . a_u(x)
    loss      mean -log sigmoid(r_u(chosen) - r_u(rejected))
    new user  only l_u: argmin 0.5 |l|^2 + sum_i nll_i

Departs from the paper:
- A is trained with the logistic loss, as B is, in the place of a hinge: its scores are then log-odds.
- A normal prior on the mixture's logits; a user without choices has equal shares.
- In training a user's mixture is the mode given some of their pairs, the loss that of their other pairs,
  and the gradient passes through the mode. The paper steps a table of weights along with the network.
- B: g_k reads the conversation's own text, embedded by the same encoder, where people were asked in more
  than one conversation; with one conversation g_k is a constant.
- Scores start at the pooled solution (``anchor``), features are dropped out in training, and training
  stops early on validation users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from palate.core import ConfigError, Corpus, Population
from palate.models.features import embed_texts
from palate.reward.fold_in import FoldIn, Reader

__all__ = ["PAL"]

Floats = NDArray[np.floating[Any]]


class _Points(Reader):
    """Variant A: items and ideal points in one space; a response is the better the nearer it is."""

    def __init__(self, dim: int, hidden: int, size: int, prototypes: int, spread: float) -> None:
        super().__init__(prototypes, spread)
        self.place = _two_layers(dim, hidden, size)
        self.prototypes = nn.Parameter(torch.randn(prototypes, size))

    def views(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.place(x))

    def _gap(self, views: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what separates items from the ideal point [..., s], its length [...], the prototypes."""
        prototypes = self.prototypes.to(m.dtype)
        gap = views - m @ prototypes
        return gap, (gap * gap).sum(-1).clamp_min(1e-12).sqrt(), prototypes

    def score(self, views: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return -self._gap(views, m)[1]

    def slopes(self, views: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        gap, distance, prototypes = self._gap(views, m)
        return (gap / distance[..., None]) @ prototypes.T

    def bends(self, views: torch.Tensor, m: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        gap, distance, prototypes = self._gap(views, m)
        slopes, weight = (gap / distance[..., None]) @ prototypes.T, r / distance
        outer = (slopes * weight[..., None]).transpose(1, 2) @ slopes
        return outer - weight.sum(1)[:, None, None] * (prototypes @ prototypes.T)


class _Products(Reader):
    """Variant B: a response is the better the more it points along the conversation's ideal answer."""

    def __init__(self, dim: int, talk: int, hidden: int, size: int, prototypes: int, spread: float) -> None:
        super().__init__(prototypes, spread)
        self.talk, self.size = talk, size
        self.place = _two_layers(dim - talk, hidden, size)
        self.ideals = _two_layers(talk, hidden, prototypes * size, zero=False) if talk else None
        self.prototypes: Any = None if talk else nn.Parameter(torch.randn(prototypes, size))

    def views(self, x: torch.Tensor) -> torch.Tensor:
        f = self.place(x[:, : x.shape[1] - self.talk])
        if self.ideals is None:
            products = f @ self.prototypes.T
        else:
            ideals = self.ideals(x[:, x.shape[1] - self.talk :]).reshape(len(x), self.free, self.size)
            products = (ideals * f[:, None]).sum(-1)
        return torch.cat([torch.zeros_like(f[:, :1]), products], dim=1)


def _two_layers(dim: int, hidden: int, size: int, zero: bool = True) -> nn.Sequential:
    """Return a two-layer network; with ``zero`` it starts at 0 for every item."""
    layers = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, size, bias=not zero))
    if zero:
        nn.init.zeros_(layers[2].weight)
    else:
        nn.init.normal_(layers[2].bias)
    return layers


@dataclass(kw_only=True, eq=False)
class PAL(FoldIn):
    """An ideal point for each user, mixed from a few prototypes.

    Args:
        variant: ``A``, distance to the ideal point; ``B``, product with the conversation's ideal answer.
        prototypes: How many prototypes K the users mix.
        size: Numbers s of a point.
        hidden: Width of the networks.
        spread: Prior standard deviation of a user's mixture logits.
    """

    name: ClassVar[str] = "pal"
    paper: ClassVar[str] = "SynthesizeMe A.4: pluralistic alignment framework (Chen et al. 2024)"
    seconds_per_10k: ClassVar[float] = 8.0
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "variant": ("A", "B"),
        "prototypes": (2, 4, 8, 16),
        "size": (8, 16, 32),
        "spread": (1.0, 2.0, 4.0),
        "learning_rate": (0.005, 0.01, 0.02),
    }
    steps: int = 400
    every: int = 25
    patience: int = 6
    learning_rate: float = 0.02
    weight_decay: float = 0.1
    alpha: float = 1.0
    variant: Literal["A", "B"] = "B"
    prototypes: int = 8
    size: int = 16
    hidden: int = 64
    spread: float = 2.0

    def _check(self) -> None:
        super()._check()
        if self.variant not in ("A", "B"):
            raise ConfigError(f"pal: variant={self.variant!r} is unknown; use 'A' or 'B'")
        if min(self.prototypes, self.size, self.hidden) < 1 or not self.spread > 0.0:
            raise ConfigError(
                f"pal: prototypes={self.prototypes!r}, size={self.size!r}, hidden={self.hidden!r}, "
                f"spread={self.spread!r}; all must be above 0"
            )

    def _learn(self, population: Population) -> None:
        self.talk_ = 0
        asked_in = population.corpus.item_conversation[population.options]
        if self.variant == "B" and len(np.unique(asked_in)) > 1:
            self.talk_ = int(embed_texts([], self.encoder).shape[1])
        super()._learn(population)

    def _features(self, corpus: Corpus) -> Floats:
        """Return float32 [items, d]: an item's features and, for B, those of its conversation behind."""
        features = super()._features(corpus)
        if not self.talk_:
            return features
        talks = ["\n".join(turn.content for turn in talk) for talk in corpus.conversations]
        return np.hstack([features, embed_texts(talks, self.encoder)[corpus.item_conversation]])

    def _network(self, dim: int, users: int) -> nn.Module:
        if self.variant == "A":
            return _Points(dim, self.hidden, self.size, self.prototypes, self.spread)
        return _Products(dim, int(self.talk_), self.hidden, self.size, self.prototypes, self.spread)
