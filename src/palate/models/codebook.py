"""A codebook that users share: vector quantisation that learns its codes as it goes.

    code      c(h) = argmin_k |h - c_k|                          forward: c; backward: h (straight-through)
    learn     N_k <- g N_k + (1 - g) n_k,   M_k <- g M_k + (1 - g) sum h,   c_k = M_k / N_k
    commit    weight * mean (h - stop(c))^2
    in use    perplexity = exp(-sum_k p_k log p_k), p_k the share of windows with code k; 1 to K

Source: EpiPersona 4.4, equations 12 to 15. The quantiser is ``vector-quantize-pytorch``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from vector_quantize_pytorch import VectorQuantize

__all__ = ["Codebook", "collapsed", "usage"]

WINDOWS, DISTINCT = 100, 10  # fewer cannot tell a collapse from a small crowd


class Codebook(nn.Module):  # type: ignore[misc]  # torch is not followed
    """K codes of k numbers.

    Args:
        size: K.
        dim: k.
        commitment: Weight of the commitment loss.
        decay: g of the moving averages.
        revive: A code whose moving count falls below this becomes one of the batch's vectors.
    """

    def __init__(self, size: int, dim: int, commitment: float, decay: float, revive: float) -> None:
        super().__init__()
        self.size = size
        self.quantiser = VectorQuantize(
            dim=dim,
            codebook_size=size,
            commitment_weight=commitment,
            decay=decay,
            threshold_ema_dead_code=revive,
            kmeans_init=True,
            kmeans_iters=20,
            rotation_trick=False,  # straight-through, as in the paper
        )

    def start(self, h: torch.Tensor) -> None:
        """Place the codes by k-means on h [n, k]; where n is below K, beside vectors that are there.

        k-means on fewer vectors than codes would make equal codes, of which all but one are dead.
        """
        if not len(h):
            h = torch.randn(self.size, self.quantiser.dim, device=h.device)
        missing = self.size - len(h)
        if missing > 0:
            again = h[torch.randint(len(h), (missing,), device=h.device)]
            h = torch.cat([h, again + 0.05 * torch.randn_like(again)])
        self.eval()
        self.quantiser(h[None])

    def forward(self, h: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantise a batch in training: codes [b, m, k] with h's gradient, and the commitment loss.

        Args:
            h: float [b, m, k].
            there: bool [b, m]; what is not there is neither learned from nor counted.
        """
        if not bool(there.any()):
            return torch.zeros_like(h), h.new_zeros(())
        codes, _, loss = self.quantiser(h, mask=there)
        return codes, loss.reshape(())

    def count(self, h: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return float [b, K]: how often each code is nearest to windows h [b, m, k] that are there."""
        counts = torch.zeros(len(h), self.size, device=h.device)
        user = there.nonzero()[:, 0]
        if len(user):
            _, code, _ = self.quantiser(h[there][None])
            counts.index_put_((user, code[0]), torch.ones(len(user), device=h.device), accumulate=True)
        return counts

    @property
    def codes(self) -> torch.Tensor:
        """The codes, float [K, k]."""
        table: torch.Tensor = self.quantiser.codebook
        return table


def usage(counts: NDArray[np.floating[Any]]) -> tuple[float, int, int]:
    """Return the perplexity, the number of dead codes and the number of windows, of counts [users, K].

    >>> usage(np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    (2.0, 1, 4)
    """
    total = counts.sum(axis=0)
    share = total[total > 0] / max(total.sum(), 1.0)
    perplexity = float(np.exp(-(share * np.log(share)).sum())) if len(share) else 1.0
    return perplexity, int((total == 0).sum()), round(float(total.sum()))


def collapsed(look: Sequence[float], codes: int) -> bool:
    """Say whether a look (step, perplexity, dead codes, windows, distinct choices) shows a collapse.

    Fewer than two codes' worth are in use, though there are more than two codes, and enough windows of
    enough distinct choices to fill them; a small crowd, or one that was asked few questions, cannot tell.

    >>> collapsed((100, 1.2, 15, 800, 90), 16), collapsed((100, 1.2, 15, 12, 9), 16)
    (True, False)
    >>> collapsed((100, 1.2, 0, 800, 90), 2)
    False
    """
    _, perplexity, _, windows, distinct = look
    return codes > 2 and windows >= WINDOWS and distinct >= DISTINCT and perplexity < 2
