"""GPO: a small transformer that reads a user's choices as context and scores other responses by them.

Source: Zhao, Dang and Grover 2023, "Group Preference Optimization: Few-Shot Alignment of Large Language
Models", as in SynthesizeMe (A.2) and "When Personalization Meets Reality". With phi [d], label t (1 for a
choice, 0.5 for a tie), width m, and j over the user's context pairs:

    h(y)   = MLP(phi(x, y))                                   [m], shared by all responses
    c_j    = A (2 t_j - 1)(h(winner) - h(loser)) + B (h(winner) + h(loser)) + a     [m], a context token
    c_0    = a learned token, nobody, which every context begins with
    q(y)   = T h(y) + b                                       [m], a target token
    layer  v <- v + attention(v to c_0 .. c_n);  v <- v + MLP(v)     for context and target tokens alike
    s(y)   = w0 . phi + out . q(y) + h(y)' S sum_j gelu(c_j) / (n + doubt)

    loss   mean over targets of -log sigmoid(s(winner) - s(loser)),  context and targets of one user

No token has a position, a target sees the context only, and responses are scored one by one: neither the
order of choices, nor of responses, nor what else is asked can matter. What is kept of a user is their
embedded context tokens, padded, each with a 1: [context, m + 1]. Layers read them again when they score.

Departs from the paper:
- Two responses are two targets that share a tower, not one token with a label of its own: the answer to
  (a, b) is the opposite of the answer to (b, a) by construction.
- A choice is one context token, made from difference and sum, in the place of a token for each response.
- Smaller: validation users ask for no more. ``GPO(width=128, layers=6, feedforward=128, depth=4,
  skip=False, anchor=False)`` is the published size.
- A bilinear skip from the mean context token to the score: a linear taste needs no attention.
- Scores start at the pooled solution, and a context may be empty in training: a user without choices
  gets the population's answer.
- AdamW, a few hundred steps, stopped by validation users, in the place of 200,000 steps of Adam.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from palate.core import ConfigError
from palate.reward.crowd import Crowd, Episode, padded, sample_episode
from palate.reward.neural import NeuralMethod, pair_loss

__all__ = ["GPO", "Block", "InContext", "embedded", "in_runs"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Memory = list[tuple[torch.Tensor, torch.Tensor]]
LONGEST = 64  # most responses of one user that are scored as one row of a batch
BLOCK = 1 << 22  # numbers of context that are read at a time while scoring


class Block(nn.Module):
    """A layer: tokens attend to the context's, then an MLP; normalised before, added after."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.memory = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))

    def remember(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [b, heads, n, m / heads] of context tokens [b, n, m]."""
        both = self.memory(self.before(context)).unflatten(-1, (2, self.heads, -1))
        keys, values = both.permute(2, 0, 3, 1, 4)
        return keys, values

    def forward(
        self, tokens: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor], seen: torch.Tensor
    ) -> torch.Tensor:
        """Return tokens [b, t, m] after they attended to the memory, where ``seen`` bool [b, n] is true."""
        query = self.query(self.before(tokens)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        read = scaled_dot_product_attention(query, *memory, attn_mask=seen[:, None, None])
        tokens = tokens + self.join(read.transpose(1, 2).flatten(-2))
        return tokens + self.mlp(self.between(tokens))


class InContext(nn.Module):
    """The network: see the module's text.

    Args:
        dim: Numbers of an item's features, d.
        width: Numbers of a token, m.
        layers: Layers.
        heads: Heads of attention in each.
        feedforward: Hidden width of a layer's MLP.
        depth: Layers of the MLP that embeds items.
        skip: Whether the bilinear skip is there.
        scale: Factor of the features, in units of one a number.
        dropout: Share of the features that is left out at random in training.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        depth: int,
        *,
        skip: bool = True,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale, self.drop = scale * dim**0.5, nn.Dropout(dropout)
        parts: list[nn.Module] = [nn.Linear(dim, width)]
        for _ in range(depth - 1):
            parts += [nn.GELU(), nn.Linear(width, width)]
        self.tower = nn.Sequential(*parts)
        self.gap, self.sum = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.target, self.nobody = nn.Linear(width, width), nn.Parameter(0.5 * torch.randn(width))
        self.layers = nn.ModuleList([Block(width, heads, feedforward) for _ in range(layers)])
        self.last, self.out = nn.LayerNorm(width), nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.out.weight)
        self.taste = nn.Linear(width, width, bias=False) if skip else None
        self.doubt = nn.Parameter(torch.tensor(4.0).log())
        if self.taste is not None:
            nn.init.zeros_(self.taste.weight)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return h [n, m] of features [n, d]."""
        return self.tower(self.drop(x * self.scale))

    def tokens(self, winner: torch.Tensor, loser: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return context tokens [..., m] of embedded pairs [..., m] and their targets [...]."""
        lean = (2 * target - 1)[..., None]
        return self.gap(lean * (winner - loser)) + self.sum(winner + loser)

    def read(self, tokens: torch.Tensor, seen: torch.Tensor) -> tuple[Memory, torch.Tensor]:
        """Return each layer's keys and values, and the mean token, of contexts [b, n, m], bool [b, n]."""
        context = torch.cat([self.nobody.to(tokens.dtype).expand(len(tokens), 1, -1), tokens], 1)
        there, memory = nn.functional.pad(seen, (1, 0), value=True), []
        for number, layer in enumerate(self.layers):
            memory.append(layer.remember(context))
            if number + 1 < len(self.layers):
                context = layer(context, memory[-1], there)
        total = (gelu(tokens) * seen[..., None]).sum(1)
        return memory, total / (seen.sum(1, keepdim=True) + self.doubt.exp())

    def forward(
        self, items: torch.Tensor, memory: Memory, mean: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """Return scores [b, t], without the anchor, of embedded items [b, t, m]."""
        tokens, there = self.target(items), nn.functional.pad(seen, (1, 0), value=True)
        for layer, kept in zip(self.layers, memory, strict=True):
            tokens = layer(tokens, kept, there)
        scores = self.out(self.last(tokens)).squeeze(-1)
        if self.taste is not None:
            scores = scores + (items * self.taste(mean)[:, None]).sum(-1)
        return scores


@dataclass(kw_only=True, eq=False)
class GPO(NeuralMethod):
    """In-context transformer: learns to learn a taste from a user's choices.

    Args:
        width: Numbers of a token.
        layers: Layers of the transformer.
        heads: Heads of attention; they share the width.
        feedforward: Hidden width of a layer's MLP.
        depth: Layers of the MLP that embeds responses.
        skip: Whether a bilinear skip adds a linear taste.
        scale: Factor of the features before the first layer, in units of one a number.
        dropout: Share of the features that is left out at random in training.
        context: Most pairs of a user that are read, the latest.
        targets: Most pairs of a user to predict in a mini-batch.
        batch: Users in a mini-batch.

    Raises:
        ConfigError: From ``fit``, if a number is out of range.
    """

    name: ClassVar[str] = "gpo"
    paper: ClassVar[str] = "GPO (Zhao et al. 2023), as in SynthesizeMe"
    seconds_per_10k: ClassVar[float] = 12.0
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "width": (32, 64),
        "layers": (1, 2),
        "scale": (0.3, 1.0),
        "dropout": (0.0, 0.3, 0.5),
        "learning_rate": (1e-3, 3e-3),
    }
    width: int = 32
    layers: int = 1
    heads: int = 4
    feedforward: int = 32
    depth: int = 2
    skip: bool = True
    scale: float = 1.0
    dropout: float = 0.3
    context: int = 32
    targets: int = 10
    batch: int = 32
    steps: int = 1000
    patience: int = 6
    learning_rate: float = 3e-3

    def _network(self, dim: int, users: int) -> nn.Module:
        self._check_fields()
        shape = (self.width, self.layers, self.heads, self.feedforward, self.depth)
        return InContext(dim, *shape, skip=self.skip, scale=self.scale, dropout=self.dropout)

    def _check_fields(self) -> None:
        for field in ("width", "layers", "heads", "feedforward", "depth", "context", "targets", "batch"):
            if getattr(self, field) < 1:
                raise ConfigError(f"gpo: {field}={getattr(self, field)}; expected 1 or more")
        if self.width % self.heads:
            raise ConfigError(
                f"gpo: width={self.width} cannot be shared by heads={self.heads}; use a multiple of the heads"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"gpo: dropout={self.dropout}; expected 0 or more, and below 1")
        if not self.scale > 0:
            raise ConfigError(f"gpo: scale={self.scale}; expected a number above 0")

    def _draw(self, crowd: Crowd, rng: np.random.Generator) -> Episode:
        users = rng.choice(np.flatnonzero(np.diff(crowd.starts)), self.batch)
        return sample_episode(crowd, rng, users, (0, self.context), self.targets)

    def _loss(self, network: InContext, crowd: Crowd, batch: Episode) -> torch.Tensor:
        pairs, shown = crowd.pairs, (batch.context, batch.target)
        used = [items[number] for number in shown for items in (pairs.winner, pairs.loser)]
        (won, lost, ahead, behind), h = embedded(network, crowd, used)
        context = network.tokens(h[won], h[lost], crowd.index(pairs.target[batch.context]).to(h.dtype))
        seen, asked = crowd.index(batch.seen), crowd.index(batch.asked)
        items = torch.cat([h[ahead], h[behind]], 1)
        scores = network(items, *network.read(context, seen), seen)
        anchor = crowd.anchor[crowd.index(used[2])] - crowd.anchor[crowd.index(used[3])]
        difference = scores[:, : ahead.shape[1]] - scores[:, ahead.shape[1] :] + anchor
        losses = pair_loss(difference, crowd.index(pairs.target[batch.target]).to(difference.dtype))
        return losses[asked].mean()

    def _personas(self, network: InContext, crowd: Crowd) -> torch.Tensor:
        """Return float [users, context (m + 1)]: tokens of the latest pairs, each with a 1, then zeros."""
        number, there = padded(crowd, np.arange(crowd.n_users), self.context)
        (won, lost), h = embedded(network, crowd, [crowd.pairs.winner[number], crowd.pairs.loser[number]])
        tokens = network.tokens(h[won], h[lost], crowd.index(crowd.pairs.target[number]).to(h.dtype))
        seen = crowd.index(there)[..., None].to(h.dtype)
        kept = torch.cat([tokens * seen, seen], -1)
        return nn.functional.pad(kept, (0, 0, 0, self.context - number.shape[1])).flatten(1)

    def _scores(self, network: InContext, crowd: Crowd, vectors: Floats, who: Ints, items: Ints) -> Floats:
        """Return float64 [n]: personas are read once a block, and what they are asked attends to them."""
        kept = torch.as_tensor(np.ascontiguousarray(vectors, np.float32), device=crowd.x.device)
        kept = kept.unflatten(-1, (self.context, self.width + 1))
        tokens, seen = kept[..., :-1], kept[..., -1] > 0.5
        persona, place, there = in_runs(who, len(vectors), LONGEST)
        out = np.empty(len(items))
        step = max(1, BLOCK // ((self.context + place.shape[1]) * self.width * self.layers))
        with torch.no_grad():
            (local,), h = embedded(network, crowd, [items])
            for start in range(0, len(persona), step):
                part = slice(start, start + step)
                own, at = (crowd.index(a) for a in np.unique(persona[part], return_inverse=True))
                memory, mean = network.read(tokens[own], seen[own])
                memory = [(keys[at], values[at]) for keys, values in memory]
                asked = h[local[crowd.index(place[part])]]
                scores = network(asked, memory, mean[at], seen[own[at]])
                out[place[part][there[part]]] = scores.double().cpu().numpy()[there[part]]
        return np.asarray(out + crowd.anchor[crowd.index(items)].double().cpu().numpy())


def embedded(network: InContext, crowd: Crowd, items: list[Ints]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Embed every item that is used once: return the places of the items in h, and h [used, m]."""
    used, place = np.unique(np.concatenate([part.reshape(-1) for part in items]), return_inverse=True)
    cuts = np.cumsum([part.size for part in items])[:-1]
    places = np.split(place.reshape(-1), cuts)
    h = network.embed(crowd.x[crowd.index(used)])
    return [crowd.index(at.reshape(part.shape)) for at, part in zip(places, items, strict=True)], h


def in_runs(who: Ints, personas: int, longest: int) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Cut what is asked into runs of one persona each, near their mean length, so that little is padded.

    Returns:
        The persona of each run int64 [runs], the places in ``who`` of what it asks int64 [runs, t], and
        bool [runs, t], false where padded.

    >>> persona, place, there = in_runs(np.array([1, 0, 1, 1]), 2, longest=64)
    >>> persona.tolist(), place[there].tolist(), there.sum(1).tolist()
    ([0, 1, 1], [1, 0, 2, 3], [1, 2, 1])
    """
    count = np.bincount(who, minlength=personas)
    mean = len(who) / max(1, int((count > 0).sum()))
    long = int(np.clip(np.ceil(mean), 1, longest))
    runs = -(-count // long)
    persona = np.repeat(np.arange(personas), runs)
    nth = np.arange(len(persona)) - np.repeat(np.cumsum(runs) - runs, runs)
    end = np.cumsum(count)
    number = ((end - count)[persona] + nth * long)[:, None] + np.arange(long)
    there = number < end[persona][:, None]
    return persona, np.argsort(who, kind="stable")[np.where(there, number, 0)], there
