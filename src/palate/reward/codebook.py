"""The network of EpiPersona-B: windows of choices as codes, and the attention that couples code and item.

The codebook is that of :mod:`palate.models.codebook`.

Source: EpiPersona 4.4, equations 12 to 18.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from palate.models.codebook import Codebook
from palate.reward.crowd import Crowd

__all__ = ["START", "Coupled", "Past", "Retold", "each", "log_count"]

Ints = NDArray[np.int64]
Map = Callable[[torch.Tensor], torch.Tensor]
START = 20_000
"""Windows that k-means places the codes by."""
_NEVER = -1e9  # added to a logit: no share, and no NaN where nothing is left


class Past(NamedTuple):
    """Some users' past choices in time order, ties left out: pairs, and the window that each is in.

    Attributes:
        number: int64 [b, c], numbers of the crowd's pairs; 0 where ``there`` is False.
        there: bool [b, c].
        window: int64 [b, c], from 0; 0 where ``there`` is False.
    """

    number: Ints
    there: NDArray[np.bool_]
    window: Ints

    @classmethod
    def of(cls, crowd: Crowd, number: Ints, there: NDArray[np.bool_], length: int) -> "Past":
        """Put pairs, in any order, into windows of so many consecutive choices, each choice in one window."""
        there = there & (crowd.pairs.target[number] == 1)
        last = np.iinfo(np.int64).max
        number = np.sort(np.where(there, number, last), axis=1)[:, : max(1, int(there.sum(1).max(initial=0)))]
        there = number < last
        number = np.where(there, number, 0)
        new = np.diff(crowd.pairs.row[number], axis=1, prepend=-1) != 0
        choice = np.cumsum(new & there, axis=1) - 1
        return cls(number, there, np.where(there, choice // length, 0))


@dataclass(frozen=True, eq=False)
class Retold(Crowd):
    """A crowd whose past choices were read by a language model.

    Attributes:
        past: float [pairs, p], the estimated persona of each choice; zero for ties.
    """

    past: torch.Tensor


class Coupled(nn.Module):
    """The network: windows, codes, and attention of the current item over a user's codes.

    Args:
        dim: Numbers of an item's features.
        talk: Numbers of a conversation's features, appended to the item's; 0 where none is read.
        past: Numbers of a language model's estimate; 0 where e_j comes from the items' features.
        fields: What has the fields of :class:`~palate.reward.epipersona_b.EpiPersonaB`.
    """

    def __init__(self, dim: int, talk: int, past: int, fields: Any) -> None:
        super().__init__()
        self.dim, self.talk, self.heads = dim, talk, fields.heads
        self.abductive = fields.abductive
        width, hidden = fields.width, fields.hidden
        self.choice = nn.Linear(past or dim, width, bias=False)
        self.topic = nn.Linear(talk, width, bias=False) if talk and self.abductive and not past else None
        self.centre = nn.Parameter(torch.zeros(width))
        self.book: Codebook | None = None
        if fields.quantise:
            self.book = Codebook(fields.codes, width, fields.commitment, fields.decay, fields.revive)
        self.query = nn.Linear(talk or dim, hidden, bias=False) if fields.coupling else None
        self.always = nn.Parameter(0.02 * torch.randn(hidden))
        self.key, self.value = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.empty_key, self.empty_value = (nn.Parameter(torch.zeros(hidden)) for _ in range(2))
        self.view = nn.Linear(dim, hidden, bias=False)
        self.mix = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1, bias=False)
        nn.init.ones_(self.out.weight)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)
        self.looks = torch.zeros(0, 5, dtype=torch.float64)

    def get_extra_state(self) -> torch.Tensor:
        """Return what was seen of the codebook, float64 [looks, 5]: a checkpoint carries it."""
        return self.looks

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Take up earlier looks; the weights of the best look do not forget the later ones."""
        if len(state) > len(self.looks):
            self.looks = state.cpu()

    def estimate(self, crowd: Crowd, number: Ints) -> torch.Tensor:
        """Return P e_j of pairs, float [*number, k]."""
        if isinstance(crowd, Retold):
            return self.choice(crowd.past[crowd.index(number)])
        winner, loser = crowd.pairs.winner[number], crowd.pairs.loser[number]
        topic, d = self.topic, self.dim
        chosen = each(crowd, winner, lambda x: self.choice(x[:, :d]) + (topic(x[:, d:]) if topic else 0))
        if not self.abductive:
            return chosen
        return chosen - each(crowd, loser, lambda x: self.choice(x[:, :d]))

    def begin(self, crowd: Crowd, past: Past) -> None:
        """Start P and view at what users differ in, windows at mean 0 and variance 1, codes by k-means."""
        raw, there = self._raw(crowd, past.number), crowd.index(past.there)
        if there.any():
            main = _differ(raw, there)
            rank = min(len(main), len(self.centre))
            self.choice.weight[:rank] = main[:rank]
            h, whole = self.windows(raw @ self.choice.weight.T, past)
            scale = h[whole].std(0, correction=0).mean().clamp(min=1e-6)
            self.choice.weight /= scale
            if not isinstance(crowd, Retold):
                rank = min(len(main), len(self.view.weight))
                self.view.weight[:rank] = main[:rank] / scale
        e = self.estimate(crowd, past.number)
        if there.any():
            self.centre.copy_(-e[there].mean(0))
        if self.book is not None:
            h, whole = self.windows(e, past)
            self.book.start(h[whole][:START])

    def _raw(self, crowd: Crowd, number: Ints) -> torch.Tensor:
        """Return e_j without the conversation, float [*number, p]."""
        if isinstance(crowd, Retold):
            return crowd.past[crowd.index(number)]
        chosen = crowd.x[crowd.index(crowd.pairs.winner[number]), : self.dim]
        if not self.abductive:
            return chosen
        return chosen - crowd.x[crowd.index(crowd.pairs.loser[number]), : self.dim]

    def windows(self, e: torch.Tensor, past: Past) -> tuple[torch.Tensor, torch.Tensor]:
        """Return h [b, m, k] and which are there, bool [b, m], of estimates P e_j [b, c, k]."""
        there, place = (torch.as_tensor(column, device=e.device) for column in (past.there, past.window))
        size = (len(e), int(past.window.max(initial=0)) + 1)
        count = torch.zeros(size, dtype=e.dtype, device=e.device).scatter_add(1, place, there.to(e.dtype))
        total = torch.zeros((*size, e.shape[-1]), dtype=e.dtype, device=e.device)
        total = total.scatter_add(1, place[..., None].expand_as(e), e * there[..., None])
        return total / count.clamp(min=1)[..., None] + self.centre, count > 0

    def asked(self, x: torch.Tensor) -> torch.Tensor:
        """Return what items [n, d] look for in a persona, and what they show themselves: [n, 2, hidden]."""
        query = self.always.expand(len(x), -1)
        if self.query is not None:
            query = query + self.query(x[:, self.dim :] if self.talk else x)
        return torch.stack([query, self.view(x[:, : self.dim])], dim=1)

    def reward(self, asked: torch.Tensor, codes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return r [b, t] of items asked [b, t, 2, hidden], given codes [b, m, k] and weight [b, t or 1, m].

        ``weight`` is the log of how often a code occurs.
        """
        b, t, _, hidden = asked.shape
        split = (self.heads, hidden // self.heads)
        query = asked[:, :, 0].reshape(b, t, *split) / math.sqrt(split[1])
        key, value = (f(codes).reshape(b, -1, *split) for f in (self.key, self.value))
        own = torch.einsum("bthd,bmhd->bhtm", query, key) + weight[:, None]
        empty = torch.einsum("bthd,hd->bht", query, self.empty_key.view(split))[..., None]
        share = torch.softmax(torch.cat([own, empty], dim=-1), dim=-1)
        taste = torch.einsum("bhtm,bmhd->bthd", share[..., :-1], value)
        taste = taste + share[..., -1].transpose(1, 2)[..., None] * self.empty_value.view(split)
        coupled = asked[:, :, 1] * self.mix(taste.reshape(b, t, hidden))
        return self.out(coupled)[..., 0]


def each(crowd: Crowd, items: Ints, make: Map) -> torch.Tensor:
    """Return ``make`` of the items' features, computed once for each distinct item: [*items, ...]."""
    used, place = np.unique(items, return_inverse=True)
    return make(crowd.x[crowd.index(used)])[crowd.index(place.reshape(items.shape))]


def _differ(e: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return the directions in which users' mean estimates e [b, c, p] differ, most first: [p, p]."""
    count = there.sum(1, keepdim=True).clamp(min=1)
    mean = (e * there[..., None]).sum(1) / count.sqrt()  # a mean of many counts more
    mean = mean - mean.mean(0)
    return torch.linalg.eigh((mean.T @ mean).double())[1].T.flip(0).to(e.dtype)


def log_count(count: torch.Tensor) -> torch.Tensor:
    """Return the log of counts, very low for zero."""
    return torch.where(count > 0, count.clamp(min=1).log(), _NEVER)
