"""Rewards of many sequences, and the soft tokens of a user who was not trained on.

    new user    o_u = argmin  sum over their pairs of -log sigmoid(r(y_c) - r(y_r)) + bond / 2 |o|^2

The model stays as it is; each user is fitted alone, so a batch of users gives what each gives alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.tune.losses import bradley_terry
from palate.tune.scoring import left_padded
from palate.tune.soft import Soft, Softened, UserTable

__all__ = ["fit_own", "rewards"]

Ids = Sequence[int]
Floats = NDArray[np.floating[Any]]
_BUDGET = 16384  # tokens of a padded batch


def rewards(
    model: Softened,
    sequences: Sequence[Ids],
    pad: int,
    soft_of: Callable[[Sequence[int]], Soft] | None = None,
    budget: int = _BUDGET,
) -> Floats:
    """Return float64 [sequences]: the reward of each, no gradient.

    Args:
        model: A model with a scalar head, in evaluation mode.
        sequences: Ids of prompt and answer.
        pad: Id of the padding token.
        soft_of: Given numbers of sequences, their soft tokens.
        budget: Most padded tokens of a batch.
    """
    out = np.zeros(len(sequences))
    with torch.inference_mode():
        for part in _batches(sequences, budget):
            ids, mask = left_padded([sequences[i] for i in part], pad, model.device)
            soft = None if soft_of is None else soft_of(part)
            out[part] = model(ids, mask, soft).logits[:, 0].double().cpu().numpy()
    return out


def _batches(sequences: Sequence[Ids], budget: int) -> list[list[int]]:
    """Group sequences of like length so that each batch, padded, stays within the budget."""
    order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), i))
    out = []
    while order:
        many = max(1, budget // max(1, len(sequences[order[0]])))
        out.append(order[:many])
        order = order[many:]
    return out


def fit_own(
    model: Softened,
    table: UserTable,
    pairs: Sequence[tuple[Ids, Ids]],
    target: Floats,
    pad: int,
    *,
    steps: int,
    lr: float,
    bond: float,
    budget: int = _BUDGET,
) -> Floats:
    """Return one user's own numbers, float64 [free], by Adam from zero; see the module's text.

    Args:
        model: A model with a scalar head, in evaluation mode.
        table: What all users share.
        pairs: Ids of the chosen and the rejected sequence of each pair.
        target: float64 [pairs], 1 or 0.5.
        pad: Id of the padding token.
        steps: Steps of Adam, each over all pairs.
        lr: Its rate.
        bond: Precision of the normal prior on the numbers.
        budget: Most padded tokens of a batch.
    """
    own = torch.zeros(1, table.free, device=model.device, requires_grad=True)
    if not len(pairs):
        return np.zeros(table.free)
    wanted = torch.as_tensor(target, dtype=torch.float32, device=model.device)
    longest = [(0,) * max(map(len, pair)) for pair in pairs]
    parts = _batches(longest, budget // 2)
    adam = torch.optim.Adam([own], lr=lr)
    for _ in range(steps):
        slope = bond * own.detach()
        for part in parts:
            both = [pairs[i][side] for side in (0, 1) for i in part]
            ids, mask = left_padded(both, pad, model.device)
            owner = torch.zeros(len(both), dtype=torch.int64, device=model.device)
            r: Tensor = model(ids, mask, table.of(own), owner=owner).logits[:, 0].float()
            chosen, rejected = r.chunk(2)
            loss = bradley_terry(chosen, rejected, wanted[part]).sum()
            slope = slope + torch.autograd.grad(loss, own)[0]
        own.grad = slope
        adam.step()
    return np.asarray(own.detach()[0].double().cpu().numpy())
