"""EpiPersona-A's network: past choices to shared codes, codes to soft tokens, a language model after them.

    window    h_m [k]     = P mean(e_j in window m) + b                     e_j [p] the estimate of choice j
    code      z_m [k]     = the nearest of K codes, straight-through        (:mod:`palate.models.codebook`)
    soft      S [m+1, d]  = [ s_0, U z_m in the order of the codes' numbers ]
    loss      - mean over a description's tokens of log p(token | S, episode, tokens before)
              + 0.2 mean |h_m - stop(z_m)|^2

The codes of a user are a set with repeats: their order is that of the codes' numbers, never of time. s_0 is
always there, so a user without choices is s_0 alone: the average user. Without a codebook z_m = h_m, in time
order. P, b, U, s_0 and the codes are trained with the language model's adapter, end to end.

Source: EpiPersona 4.2 to 4.4, equations 9 to 18. Departs: a window is the mean of its estimates; P starts at
the directions in which training users differ most, and U at the size of the model's own embeddings; s_0.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from palate.core import MethodError
from palate.tune.scoring import left_padded
from palate.tune.soft import Soft

if TYPE_CHECKING:
    from palate.models.codebook import Codebook

__all__ = ["Arrays", "Coupler", "Shape", "fallen", "states"]

Ids = Sequence[int]
Floats = NDArray[np.floating[Any]]
_BUDGET = 16384  # tokens of a padded batch


class Shape(NamedTuple):
    """Sizes of the network: K codes (0 without a codebook) of k numbers, and how the codebook learns."""

    codes: int
    width: int
    commitment: float = 0.2
    decay: float = 0.95
    revive: float = 1.0


class Arrays(NamedTuple):
    """What was learned beside the adapter: P [k, p], b [k], U [d, k], s_0 [d], codes [K, k]."""

    project: Floats
    centre: Floats
    widen: Floats
    start: Floats
    codes: Floats

    def windows(self, e: Floats, place: NDArray[np.int64], count: int) -> Floats:
        """Return windows float32 [count, k] of estimates e [n, p] in windows ``place`` [n]."""
        h = np.asarray(e, np.float32) @ self.project.T
        total = np.zeros((count, h.shape[1]), np.float32)
        np.add.at(total, place, h)
        return total / np.maximum(np.bincount(place, minlength=count), 1)[:, None] + self.centre

    def nearest(self, h: Floats) -> NDArray[np.int64]:
        """Return the code of each window, int64 [n]."""
        gap = (self.codes**2).sum(1) - 2 * h @ self.codes.T
        return np.asarray(gap.argmin(1), np.int64)

    def exemplars(self, e: Floats, texts: Sequence[str], most: int) -> list[list[str]]:
        """Return, for each code, up to ``most`` distinct texts of the estimates e [n, p] nearest it."""
        h = self.windows(e, np.arange(len(e)), len(e))
        code = self.nearest(h)
        near: list[list[str]] = [[] for _ in self.codes]
        for n in np.argsort(((h - self.codes[code]) ** 2).sum(1), kind="stable").tolist():
            mine = near[code[n]]
            if texts[n] and texts[n] not in mine and len(mine) < most:
                mine.append(texts[n])
        return near

    def soft(self, codes: Sequence[Floats], device: Any = None) -> Soft:
        """Return soft tokens of rows of codes, each float [m, k]."""
        most = max(map(len, codes), default=0)
        tokens = np.zeros((len(codes), most + 1, len(self.start)), np.float32)
        there = np.zeros((len(codes), most + 1), bool)
        tokens[:, 0], there[:, 0] = self.start, True
        for i, row in enumerate(codes):
            tokens[i, 1 : len(row) + 1] = np.asarray(row, np.float32) @ self.widen.T
            there[i, 1 : len(row) + 1] = True
        return Soft(torch.as_tensor(tokens, device=device), torch.as_tensor(there, device=device))


class Coupler(nn.Module):
    """Makes soft tokens of estimates.

    Args:
        estimate: p, numbers of an estimate.
        like: The model's embeddings, float [vocabulary, d].
        shape: Sizes.
        seed: Of the start.
    """

    book: "Codebook | None"

    def __init__(self, estimate: int, like: Tensor, shape: Shape, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size, k = like.shape[1], shape.width
        scale = float(like.float().std())
        self.project = nn.Parameter(torch.randn(k, estimate, generator=generator) / estimate**0.5)
        self.centre = nn.Parameter(torch.zeros(k))
        self.widen = nn.Parameter(torch.randn(size, k, generator=generator) * scale / k**0.5)
        self.start = nn.Parameter(torch.randn(size, generator=generator) * scale)
        self.book = None
        if shape.codes:
            from palate.models.codebook import Codebook  # slow to import, and needed to train only

            self.book = Codebook(shape.codes, k, shape.commitment, shape.decay, shape.revive)
        self.commitment: Tensor | None = None
        self.seen = np.zeros((1, max(1, shape.codes)))

    def begin(self, e: Tensor, user: NDArray[np.int64], row: Sequence[Sequence[int]]) -> Self:
        """Start P at what users differ in, windows at mean 0 and variance 1, and codes by k-means.

        Args:
            e: float [n, p], estimates of training users.
            user: int64 [n], whose each is.
            row: The estimates of each window.
        """
        if len(e):
            with torch.no_grad():
                main = _differ(e, user)[: len(self.centre)]
                self.project[: len(main)] = main
                means = torch.stack([e[list(part)].mean(0) for part in row])
                h = means @ self.project.T
                self.project /= h.std(0, correction=0).mean().clamp(min=1e-6)
                h = means @ self.project.T
                self.centre.copy_(-h.mean(0))
                means = h + self.centre
        else:
            means = e.new_zeros(0, len(self.centre))
        if self.book is not None:
            self.book.start(means)
        return self

    def forward(self, past: tuple[Tensor, Tensor, Tensor]) -> Soft:
        """Return soft tokens of estimates [b, c, p], their windows int64 [b, c], and which are there."""
        h, whole = self.windows(*past)
        self.commitment = None
        if self.book is not None:
            with torch.no_grad():
                number = torch.cdist(h, self.book.codes).argmin(-1)
                self.seen += torch.bincount(number[whole], minlength=self.book.size).cpu().numpy()
            h, self.commitment = self.book(h, whole)
            order = torch.where(whole, number, self.book.size).argsort(dim=1, stable=True)
            h = h.gather(1, order[..., None].expand_as(h))
            whole = whole.gather(1, order)
        first = self.start.expand(len(h), 1, -1)
        there = torch.cat([whole.new_ones(len(h), 1), whole], 1)
        return Soft(torch.cat([first, h @ self.widen.T], 1), there)

    def windows(self, e: Tensor, place: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows [b, m, k] and which exist, bool [b, m]."""
        projected = (e @ self.project.T) * there[..., None]
        size = (len(e), int(place.max()) + 1)
        count = projected.new_zeros(size).scatter_add(1, place, there.to(projected.dtype))
        total = projected.new_zeros(*size, projected.shape[-1])
        total = total.scatter_add(1, place[..., None].expand_as(projected), projected)
        return total / count.clamp(min=1)[..., None] + self.centre, count > 0

    def arrays(self) -> Arrays:
        """Return what was learned, float32."""
        codes = torch.zeros(0, len(self.centre)) if self.book is None else self.book.codes
        found = (self.project, self.centre, self.widen, self.start, codes)
        return Arrays(*(t.detach().float().cpu().numpy().copy() for t in found))


def _differ(e: Tensor, user: NDArray[np.int64]) -> Tensor:
    """Return the directions in which users' mean estimates e [n, p] differ, most first: [p, p]."""
    who = torch.as_tensor(np.unique(user, return_inverse=True)[1], device=e.device)
    count = torch.bincount(who).clamp(min=1)[:, None]
    mean = e.new_zeros(len(count), e.shape[1]).index_add(0, who, e) / count
    mean = (mean - mean.mean(0)) * count.sqrt()  # a mean of many counts more
    return torch.linalg.eigh((mean.T @ mean).double())[1].T.flip(0).to(e.dtype)


def fallen(which: str, codes: int, perplexity: float, dead: int, windows: int) -> MethodError:
    """Return what is raised where windows fall on few codes."""
    return MethodError(
        f"the codebook collapsed: the {windows:,} windows {which} fall on codes of perplexity "
        f"{perplexity:.2f}, below 2 ({dead} of {codes} not in use); lower lr_codes or commitment, raise "
        "revive, or set quantise=false; if these people do not differ, codes=2 says so without this error"
    )


def states(model: Any, rows: Sequence[Ids], pad: int, budget: int = _BUDGET) -> Floats:
    """Return the last hidden state at the end of each sequence, float32 [rows, p]; equal ones are read once.

    Args:
        model: A causal language model as transformers makes it, its adapters switched as they should be.
        rows: Ids.
        pad: Id of the padding token.
        budget: Most padded tokens of a batch.
    """
    inner = model.base_model
    distinct = sorted(dict.fromkeys(tuple(row) for row in rows), key=lambda row: (-len(row), row))
    found: dict[tuple[int, ...], Floats] = {}
    with torch.inference_mode():
        while len(found) < len(distinct):
            rest = distinct[len(found) :]
            part = rest[: max(1, budget // len(rest[0]))]
            ids, mask = left_padded(part, pad, model.device)
            place = (mask.cumsum(1) - 1).clamp_min(0)
            out = inner(input_ids=ids, attention_mask=mask, position_ids=place, use_cache=False)
            last = out.last_hidden_state[:, -1].float().cpu().numpy()
            found.update(zip(part, last, strict=True))
    width = int(model.config.get_text_config().hidden_size)
    return np.stack([found[tuple(row)] for row in rows]) if rows else np.zeros((0, width), np.float32)
