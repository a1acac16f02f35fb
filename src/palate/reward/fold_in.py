"""What methods share whose user is a small vector, fitted while the network stays.

    m_u = link(w_u),  w_u ~ N(0, I)                             w_u [k]: m = w, or m = softmax(spread w)
    s_u(y) = w0 . phi + score(views(phi), m_u)
    mode   w_u = argmin 0.5 |w|^2 + sum_i nll(s_u(winner_i) - s_u(loser_i))

All users' modes are found at once, each by damped Newton steps of its own. In training the loss of a
user's other pairs is taken at the mode, and its gradient passes through it (implicit function theorem).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from palate.core import ConfigError, MethodError, Population
from palate.reward.crowd import Crowd, Episode, padded, sample_episode
from palate.reward.neural import NeuralMethod, pair_loss

__all__ = ["FoldIn", "Reader", "settle"]

Ints = NDArray[np.int64]
Bend = Callable[[torch.Tensor], torch.Tensor]
Latent = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, Bend | None]]
_DURING, _AFTER = 6, 60  # most steps to a user's mode: in training, and in the end
_DONE = 1e-9  # half the squared gradient at which a user is there, in nats
_STACK = 1 << 22  # numbers in a stack's largest array


def settle(latent: Latent, target: torch.Tensor, seen: torch.Tensor, size: int, steps: int) -> torch.Tensor:
    """Return users' modes [b, k]: the minima of 0.5 |w|^2 + sum_i nll(f_i(w)), each user's apart.

    Newton's steps from 0, with the Gauss-Newton matrix where the Hessian is not positive definite, damped
    for a user whose step would not lower their own objective (Levenberg and Marquardt). Where gradients are
    on, the mode is a differentiable function of all that ``latent`` depends on, by the implicit function
    theorem: dw = -H^-1 dg, with g the gradient at the mode.

    Args:
        latent: From parameters [b, k] to log-odds f [b, n], their Jacobians [b, n, k], and what returns
            sum_i r_i f_i'' [b, k, k] for r [b, n], or None where f is linear.
        target: float [b, n].
        seen: float [b, n], 1 for a pair, 0 for padding.
        size: Number k of parameters a user.
        steps: Most steps.

    >>> slope = torch.tensor([[[2.0]]])
    >>> one = torch.ones(1, 1)
    >>> settle(lambda w: ((slope @ w[..., None])[..., 0], slope, None), one, one, 1, 20).detach()
    tensor([[0.5213]])
    """
    eye = torch.eye(size, dtype=target.dtype, device=target.device)
    rounding = 8.0 * torch.finfo(target.dtype).eps

    def at(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        f, slope, bend = latent(w)
        p = torch.sigmoid(f)
        residual = (target - p) * seen
        energy = 0.5 * (w * w).sum(1) + (pair_loss(f, target) * seen).sum(1)
        hessian = eye + (slope * (p * (1 - p) * seen)[..., None]).transpose(1, 2) @ slope
        if bend is not None:
            whole = hessian - bend(residual)
            convex = torch.linalg.cholesky_ex(whole.detach()).info == 0
            hessian = torch.where(convex[:, None, None], whole, hessian)
        return energy, w - (slope * residual[..., None]).sum(1), hessian

    with torch.no_grad():
        w = torch.zeros(len(target), size, dtype=target.dtype, device=target.device)
        damping, (energy, gradient, hessian) = torch.zeros_like(w[:, 0]), at(w)
        for _ in range(steps):
            if bool(((gradient * gradient).sum(1) < 2 * _DONE).all()):
                break
            step = torch.linalg.solve(hessian + damping[:, None, None] * eye, gradient)
            new = at(w - step)
            better = new[0] <= energy + rounding * (1.0 + energy)
            damping = torch.where(better, 0.2 * damping, (5.0 * damping).clamp_min(1.0))
            w = torch.where(better[:, None], w - step, w)
            energy = torch.where(better, new[0], energy)
            gradient = torch.where(better[:, None], new[1], gradient)
            hessian = torch.where(better[:, None, None], new[2], hessian)
    if not torch.is_grad_enabled():
        return w
    _, gradient, hessian = at(w)
    return w - torch.linalg.solve(hessian.detach(), gradient - gradient.detach())


class Reader(nn.Module):
    """A network that scores an item for a user who is a few numbers, m = w or m = softmax(spread w).

    Args:
        free: Number k of a user's parameters w.
        spread: Prior standard deviation of mixture logits; 0 where m is w itself.
    """

    def __init__(self, free: int, spread: float = 0.0) -> None:
        super().__init__()
        self.free, self.spread = free, spread
        self.users: nn.Parameter | None = None

    def views(self, x: torch.Tensor) -> torch.Tensor:
        """Return [n, 1 + r]: all that must be known of items x [n, d] to score them for anybody."""
        raise MethodError(f"{type(self).__name__} defines no views")

    def score(self, views: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Return [...]: scores of items with views [..., 1 + r] for users m [..., r]."""
        return views[..., 0] + (views[..., 1:] * m).sum(-1)

    def slopes(self, views: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Return [..., r]: the scores' derivatives by m."""
        return views[..., 1:]

    def link(self, w: torch.Tensor) -> torch.Tensor:
        """Return m [..., r] for parameters w [..., k]."""
        return torch.softmax(self.spread * w, dim=-1) if self.spread else w

    def bends(self, views: torch.Tensor, m: torch.Tensor, r: torch.Tensor) -> torch.Tensor | None:
        """Return [b, r, r]: sum_i r_i of the scores' second derivatives by m; None where they are 0."""
        return None

    def latent(self, views: torch.Tensor, anchor: torch.Tensor, pair: torch.Tensor) -> Latent:
        """Return log-odds and derivatives of pairs [2, b, n] by parameters, for :func:`settle`."""
        (won, lost), plain = views[pair], anchor[pair[0]] - anchor[pair[1]]

        def function(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Bend | None]:
            m = self.link(w)[:, None]
            f = plain + self.score(won, m) - self.score(lost, m)
            slopes = self.slopes(won, m) - self.slopes(lost, m)
            if not self.spread:
                return f, slopes, None
            pulled = self.spread * m * (slopes - (slopes * m).sum(-1, keepdim=True))
            return f, pulled, lambda r: self._bend(won, lost, slopes, m, r)

        return function

    def _bend(
        self, won: torch.Tensor, lost: torch.Tensor, slopes: torch.Tensor, m: torch.Tensor, r: torch.Tensor
    ) -> torch.Tensor:
        """Return [b, k, k]: sum_i r_i of the log-odds' second derivatives by the mixture's logits."""
        share, pull = m[:, 0], (slopes * r[..., None]).sum(1)
        v = share * (pull - (share * pull).sum(1, keepdim=True))
        cross = v[:, :, None] * share[:, None]
        out = self.spread**2 * (torch.diag_embed(v) - cross - cross.transpose(1, 2))
        first, second = self.bends(won, m, r), self.bends(lost, m, r)
        if first is None or second is None:
            return out
        jacobian = self.spread * (torch.diag_embed(share) - share[:, :, None] * share[:, None])
        return out + jacobian @ (first - second) @ jacobian


@dataclass(kw_only=True, eq=False)
class FoldIn(NeuralMethod):
    """What methods share whose user is a small vector, fitted while the network (a `Reader`) stays.

    Args:
        alpha: Weight of the loss with the user; the rest is that of user 0, whose parameters are 0.
        batch: Users in a mini-batch.
        contexts: Least and most pairs of a user that their parameters are fitted on in training.
        targets: Most pairs of a user that the loss is taken of.
        dropout: Share of an item's features that are left out at random in training.
    """

    alpha: float = 0.5
    batch: int = 64
    contexts: tuple[int, int] = (0, 30)
    targets: int = 20
    dropout: float = 0.3

    def _learn(self, population: Population) -> None:
        self._check()
        super()._learn(population)

    def _check(self) -> None:
        """Refuse fields that cannot be."""
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"{self.name}: alpha={self.alpha!r} is no weight; use a number from 0 to 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"{self.name}: dropout={self.dropout!r}; use a share from 0 to below 1")
        low, high = self.contexts
        if min(self.batch, self.targets) < 1 or not 0 <= low <= high:
            raise ConfigError(
                f"{self.name}: batch={self.batch!r}, targets={self.targets!r}, contexts={self.contexts!r}; "
                "use at least one user and one target, and contexts as (least, most)"
            )

    def _draw(self, crowd: Crowd, rng: np.random.Generator) -> Episode:
        heard = np.flatnonzero(np.diff(crowd.starts))
        users = rng.choice(heard, min(self.batch, len(heard)), replace=False)
        return sample_episode(crowd, rng, users, self.contexts, self.targets)

    def _loss(self, network: Any, crowd: Crowd, batch: Episode) -> torch.Tensor:
        number, width = np.concatenate([batch.context, batch.target], axis=1), batch.context.shape[1]
        views, anchor, pair, target = _facts(network, crowd, number, self.dropout * network.training)
        with torch.autocast(views.device.type, enabled=False):
            if network.users is None:
                past = network.latent(views, anchor, pair[:, :, :width])
                seen = crowd.index(batch.seen).to(views.dtype)
                w = settle(past, target[:, :width], seen, network.free, _DURING)
                prior = torch.zeros_like(w[:, :1])
            else:
                w = network.users[crowd.index(batch.users)]
                rows = crowd.index(np.diff(crowd.starts)[batch.users])
                prior = 0.5 * (w * w).sum(1, keepdim=True) / rows[:, None]
            asked, target = network.latent(views, anchor, pair[:, :, width:]), target[:, width:]
            told, untold = (pair_loss(asked(v)[0], target) for v in (w, torch.zeros_like(w)))
            loss = self.alpha * (told + prior) + (1.0 - self.alpha) * untold
            return loss[crowd.index(batch.asked)].mean()

    def _personas(self, network: Any, crowd: Crowd) -> torch.Tensor:
        counts = np.diff(crowd.starts)
        order = np.argsort(counts, kind="stable")
        out = torch.zeros(crowd.n_users, network.free, dtype=torch.float64, device=crowd.x.device)
        start = int(np.searchsorted(counts[order], 1))
        while start < len(order):
            widest = int(1.5 * counts[order[start]]) + 2
            room = max(1, _STACK // (widest * (network.free + 4)))
            stop = min(int(np.searchsorted(counts[order], widest, side="right")), start + room)
            users, start = order[start:stop], stop
            out[crowd.index(users)] = self._modes(network, crowd, users)
        return torch.as_tensor(network.link(out).to(crowd.x.dtype))

    @staticmethod
    def _modes(network: Any, crowd: Crowd, users: Ints) -> torch.Tensor:
        """Return float64 [b, k]: the parameters of users, from all their pairs."""
        number, there = padded(crowd, users)
        with torch.no_grad():
            views, anchor, pair, target = _facts(network, crowd, number)
            latent = network.latent(views.double(), anchor.double(), pair)
            seen = crowd.index(there).double()
            return settle(latent, target.double(), seen, network.free, _AFTER)

    def _rewards(self, network: Any, x: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(network.score(network.views(x), vectors))


def _facts(
    network: Any, crowd: Crowd, number: Ints, dropout: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return views [i, c] and anchors [i] of the items of numbered pairs [b, n], the pairs as indices into
    them, winner and loser [2, b, n], and their targets [b, n]."""
    both = np.stack([crowd.pairs.winner[number], crowd.pairs.loser[number]])
    items, local = np.unique(both, return_inverse=True)
    at, anchor = crowd.index(items), crowd.anchor[crowd.index(items)]
    x = nn.functional.dropout(crowd.x[at], dropout) if dropout else crowd.x[at]
    views = network.views(x).to(anchor.dtype)
    target = crowd.index(crowd.pairs.target[number]).to(anchor.dtype)
    return views, anchor, crowd.index(local.reshape(both.shape)), target
