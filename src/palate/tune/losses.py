"""The losses of trained-in methods, as functions of log-probabilities. One place for each equation.

With log pi(y) the log-probability of an answer, summed over its tokens, the margin of a pair is

    m = [log pi(y_c | x, z) - log pi_ref(y_c | x)] - [log pi(y_r | x, z) - log pi_ref(y_r | x)]

    dpo    l = -log sigmoid(beta m)             (POPI, equation 1; PT; Rafailov et al. 2023)
    ipo    l = (m - 1 / (2 beta))^2             (POPI, equation 2; Azar et al. 2024)

The reference never sees what is known of the user (z). The same l is minimised by back-propagation through
the generator and is, negated, the reward of a summary z: one objective for both models.

    bradley-terry   l = -log sigmoid(r_c - r_r)                         (reward models)
    user mixed      l = a l_user + (1 - a) l_generic                    (P-RLHF; the pair with user 0 too)

The bound of POPI 4.3: with H and I in nats, under the data's own distribution,

    E[l_dpo] = KL(P || P_theta) + H(label | x) - I(label; z | x)  >=  H(label | x) - I(label; z | x)
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "KINDS",
    "Kind",
    "bradley_terry",
    "floor",
    "kl_weight",
    "log_odds",
    "margin",
    "preference_loss",
    "user_mixed",
]

Kind = Literal["dpo", "ipo"]
KINDS: tuple[Kind, ...] = ("dpo", "ipo")
_PER_UNIT = 0.002


def margin(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
    """Return m, in nats: float [pairs], from log-probabilities [pairs] under model and reference."""
    return (chosen - ref_chosen) - (rejected - ref_rejected)


def preference_loss(m: Tensor, beta: float, kind: Kind = "dpo") -> Tensor:
    """Return l of each pair: float [pairs].

    >>> import torch
    >>> preference_loss(torch.tensor([0.0]), 0.1).item() == torch.tensor(2.0).log().item()
    True
    >>> preference_loss(torch.tensor([5.0]), 0.1, "ipo").item()
    0.0
    """
    if kind == "dpo":
        return -F.logsigmoid(beta * m)
    return (m - 1 / (2 * beta)) ** 2


def kl_weight(beta: float, kind: Kind = "dpo", per_unit: float = _PER_UNIT) -> float:
    """Return alpha, the weight of KL(pi_phi || pi_ref) beside the loss (POPI 5.1, "Hyperparameters").

    It is tied to the scale of the loss: 0.002 beta for DPO, 0.002 (2 / beta) for IPO.
    """
    return per_unit * (beta if kind == "dpo" else 2 / beta)


def log_odds(m: Tensor, beta: float, kind: Kind = "dpo") -> Tensor:
    """Return the log-odds that a margin stands for: beta m under DPO; under IPO m has its mean at 1/(2 beta).

    IPO models no probability: its target margin is read as log-odds of one.
    """
    return beta * m if kind == "dpo" else 2 * beta * m


def bradley_terry(chosen: Tensor, rejected: Tensor, target: Tensor | None = None) -> Tensor:
    """Return -log sigmoid(r_c - r_r) of each pair: float [pairs]; ``target`` 0.5 makes a pair a tie."""
    if target is None:
        return -F.logsigmoid(chosen - rejected)
    return F.binary_cross_entropy_with_logits(chosen - rejected, target, reduction="none")


def user_mixed(own: Tensor, generic: Tensor, alpha: float) -> Tensor:
    """Return alpha l_user + (1 - alpha) l_generic: float [pairs]."""
    return alpha * own + (1 - alpha) * generic


def floor(joint: Tensor) -> float:
    """Return H(label) - I(label; z) in nats, the least that E[l_dpo] can be for one prompt.

    Args:
        joint: float [labels, summaries], P(label, z); sums to one.

    >>> import torch
    >>> round(floor(torch.tensor([[0.5, 0.0], [0.0, 0.5]])), 6)  # the summary tells the label
    0.0
    """
    p = joint.double()
    given = p / p.sum(0, keepdim=True).clamp_min(1e-300)
    return float((p * -given.clamp_min(1e-300).log()).sum())
