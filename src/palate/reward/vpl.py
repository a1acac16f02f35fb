"""VPL: a user's taste as a latent vector, inferred from their choices by a variational encoder.

Source: Poddar et al. 2024, "Personalizing Reinforcement Learning from Human Feedback with Variational
Preference Learning", as in SynthesizeMe (A.3) and "When Personalization Meets Reality". With phi [d],
hidden width h, latent z [k], and j over the n context pairs of one user:

    u_j      = MLP([phi(winner_j); phi(loser_j)])                          [h]; a tie: the mean of both orders
    a_j      = sum_i softmax_i(Q u_j . K u_i / sqrt(h)) V u_i              [h], one head, no positions
    e        = sum_j a_j / (n + doubt)                                     [h]
    q(z | u) = N(mean, diag exp(v)),  mean = M e,  v = clamp(L e - settle n / (n + doubt))
    z        = mean + exp(v / 2) * noise  in training,  z = mean  when scoring
    s(y)     = w0 . phi + MLP([phi; z]) + (P phi) . z
    log-odds = s, as differences inside a query, / sqrt(1 + pi/8 variance of the difference under q)

    loss     mean over targets of -log sigmoid(s(winner) - s(loser)) + beta * mean over users of KL
    KL       of q from N(0, I): 0.5 sum_k (mean^2 + exp(v) - 1 - v)

What is kept of a user is [mean; v], 2k numbers. Without choices e = 0, so q is the prior and z = 0.

Departs from the paper:
- The mean over the context has one learned number more in its divisor, and the heads have no bias: few
  choices then stay near the prior, and none are the prior, without a case of their own.
- The log-variance falls with the number of choices by a learned amount, ``settle``, and its clamp is
  wide: within (-1, 1) the noise never falls below 0.6, and drowned the taste in the few steps of a fit.
- A bilinear term beside the decoder's MLP: a linear taste is a product of phi and z, which an MLP on
  [phi; z] has to approximate. ``bilinear=False`` is the paper.
- Smaller: validation users ask for no more. ``VPL(hidden=512, latent=512, learning_rate=3e-4,
  bounds=(-1.0, 1.0), bilinear=False, anchor=False)`` is the published size.
- Log-odds are divided as above (MacKay 1992): the probability is then integrated over what is not known
  of the user. At the mean alone a user without choices would get an answer far too sure.
- Scores start at the pooled solution, and a context may be empty in training: a user without choices
  gets the population's answer.
- Embeddings stay frozen, where the source tunes the decoder's language model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import leaky_relu

from palate.core import ConfigError, Queries
from palate.reward.crowd import Crowd, Episode, padded, sample_episode
from palate.reward.neural import NeuralMethod, pair_loss

__all__ = ["VPL", "Variational", "kl_from_prior", "once"]

Floats = NDArray[np.floating[Any]]
BLOCK = 1 << 24  # numbers gathered at a time for variances


def kl_from_prior(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(0, I)) in nats, [...] of [..., k].

    >>> kl_from_prior(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.zeros(2, 2)).tolist()
    [0.0, 2.0]
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


class Variational(nn.Module):
    """Encoder and decoder: see the module's text.

    Args:
        dim: Numbers of an item's features, d.
        hidden: Width of every hidden layer, h.
        latent: Numbers of z, k.
        bilinear: Whether the decoder has the bilinear term.
        bounds: Least and largest log-variance.
        scale: Factor of the features, in units of one a number.
        dropout: Share of the features that is left out at random in training.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        latent: int,
        *,
        bilinear: bool = True,
        bounds: tuple[float, float] = (-8.0, 1.0),
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale, self.drop = scale * dim**0.5, nn.Dropout(dropout)
        self.winner, self.loser = nn.Linear(dim, hidden), nn.Linear(dim, hidden, bias=False)
        self.pair = nn.Sequential(nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden))
        self.query, self.key, self.value = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.doubt = nn.Parameter(torch.tensor(4.0).log())
        self.mean, self.log_variance = (nn.Linear(hidden, latent, bias=False) for _ in range(2))
        self.decoder, self.of_latent = nn.Linear(dim, hidden), nn.Linear(latent, hidden, bias=False)
        self.inner, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, 1, bias=False)
        self.taste = nn.Linear(dim, latent, bias=False).requires_grad_(bilinear)
        self.settle, self.bounds = nn.Parameter(torch.full((latent,), 4.0)), bounds
        self._start()

    def _start(self) -> None:
        """Keep the size of what passes, start at the difference of a pair, and every score at the anchor."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight, a=0.2)
        with torch.no_grad():
            self.loser.weight.copy_(-self.winner.weight)
        for part in (self.out, self.taste, self.of_latent):
            nn.init.zeros_(part.weight)

    def _scaled(self, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.drop(x * self.scale)
        return scaled

    def read(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder's first layer of items with features [n, d], as winners and as losers [n, h]."""
        x = self._scaled(x)
        return self.winner(x), self.loser(x)

    def ask(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the decoder's first layer [n, h] and P phi [n, k] of items with features [n, d]."""
        x = self._scaled(x)
        return self.decoder(x), self.taste(x)

    def encode(
        self, pairs: torch.Tensor, turned: torch.Tensor | None, target: torch.Tensor, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log-variance of q, each [b, k].

        Args:
            pairs: First layers of the pairs, winner and loser summed, [b, n, h].
            turned: The same with winner and loser exchanged; None where no pair is a tie.
            target: 1 for a choice, 0.5 for a tie, [b, n].
            seen: bool [b, n], false where padded.
        """
        u = self.pair(leaky_relu(pairs, 0.2))
        if turned is not None:
            share = target[..., None]
            u = share * u + (1 - share) * self.pair(leaky_relu(turned, 0.2))
        match = self.query(u) @ self.key(u).transpose(1, 2) / u.shape[-1] ** 0.5
        weight = match.masked_fill(~seen[:, None], -1e4).softmax(-1)
        read = (weight @ self.value(u) * seen[..., None]).sum(1)
        count = seen.sum(1, keepdim=True)
        divisor = count + self.doubt.exp()
        e = read / divisor
        log_variance = self.log_variance(e) - self.settle * (count / divisor)
        return self.mean(e), log_variance.clamp(*self.bounds)

    def decode(self, decoder: torch.Tensor, taste: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return scores [...], without the anchor, of items' first layers, for z [..., k]."""
        hidden = leaky_relu(decoder + self.of_latent(z), 0.2)
        scores: torch.Tensor = self.out(leaky_relu(self.inner(hidden), 0.2)).squeeze(-1)
        return scores + (taste * z).sum(-1)


@dataclass(kw_only=True, eq=False)
class VPL(NeuralMethod):
    """Variational preference learning: a latent taste inferred from a user's choices.

    Args:
        hidden: Width of every hidden layer.
        latent: Numbers of the latent taste.
        beta: Weight of the divergence of a user's taste from the prior.
        bilinear: Whether the decoder has a bilinear term.
        bounds: Least and largest log-variance of the latent.
        scale: Factor of the features before the first layers, in units of one a number.
        dropout: Share of the features that is left out at random in training.
        context: Most pairs of a user that are read, the latest.
        targets: Most pairs of a user to predict in a mini-batch.
        batch: Users in a mini-batch.

    Raises:
        ConfigError: From ``fit``, if a number is out of range.
    """

    name: ClassVar[str] = "vpl"
    paper: ClassVar[str] = "VPL (Poddar et al. 2024), as in SynthesizeMe"
    seconds_per_10k: ClassVar[float] = 15.0
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "hidden": (32, 64, 128),
        "latent": (8, 16, 32),
        "beta": (1e-5, 1e-4, 1e-3),
        "dropout": (0.0, 0.3),
        "learning_rate": (1e-3, 2e-3, 4e-3),
    }
    hidden: int = 64
    latent: int = 16
    beta: float = 1e-4
    bilinear: bool = True
    bounds: tuple[float, ...] = (-8.0, 1.0)
    scale: float = 1.0
    dropout: float = 0.3
    context: int = 32
    targets: int = 10
    batch: int = 48
    steps: int = 1000
    patience: int = 8
    learning_rate: float = 2e-3

    def _network(self, dim: int, users: int) -> nn.Module:
        for field in ("hidden", "latent", "context", "targets", "batch"):
            if getattr(self, field) < 1:
                raise ConfigError(f"vpl: {field}={getattr(self, field)}; expected 1 or more")
        if not (self.beta >= 0 and self.scale > 0 and 0 <= self.dropout < 1):
            raise ConfigError(
                f"vpl: beta={self.beta}, scale={self.scale}, dropout={self.dropout}; expected beta from 0, "
                "scale above 0, dropout from 0 and below 1"
            )
        if len(self.bounds) != 2 or not self.bounds[0] < self.bounds[1]:
            raise ConfigError(f"vpl: bounds={self.bounds}; expected the least and the largest log-variance")
        return Variational(
            dim,
            self.hidden,
            self.latent,
            bilinear=self.bilinear,
            bounds=(self.bounds[0], self.bounds[1]),
            scale=self.scale,
            dropout=self.dropout,
        )

    def _draw(self, crowd: Crowd, rng: np.random.Generator) -> tuple[Episode, Floats]:
        """Return users with their contexts and targets, and the noise of their latents [b, k]."""
        users = rng.choice(np.flatnonzero(np.diff(crowd.starts)), self.batch)
        episode = sample_episode(crowd, rng, users, (0, self.context), self.targets)
        return episode, rng.standard_normal((self.batch, self.latent))

    def _loss(self, network: Variational, crowd: Crowd, batch: tuple[Episode, Floats]) -> torch.Tensor:
        episode, noise = batch
        mean, log_variance = self._posterior(network, crowd, episode.context, episode.seen)
        z = mean + (0.5 * log_variance).exp() * crowd.index(noise).to(mean.dtype)
        items, place = once(crowd, episode.target)
        hidden, taste = network.ask(crowd.x[items])
        scores = network.decode(hidden[place], taste[place], z[:, None]) + crowd.anchor[items[place]]
        difference = scores[0] - scores[1]
        target = crowd.index(crowd.pairs.target[episode.target]).to(difference.dtype)
        losses = pair_loss(difference, target)[crowd.index(episode.asked)]
        return losses.mean() + self.beta * kl_from_prior(mean, log_variance).mean()

    def _posterior(
        self, network: Variational, crowd: Crowd, number: NDArray[np.int64], there: NDArray[np.bool_]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log-variance [b, k] of users by their pairs ``number`` [b, n], where ``there``."""
        items, place = once(crowd, number)
        as_winner, as_loser = network.read(crowd.x[items])
        tied = (crowd.pairs.target[number] != 1) & there
        turned = as_winner[place[1]] + as_loser[place[0]] if tied.any() else None
        target = crowd.index(crowd.pairs.target[number]).to(as_winner.dtype)
        return network.encode(as_winner[place[0]] + as_loser[place[1]], turned, target, crowd.index(there))

    def _personas(self, network: Variational, crowd: Crowd) -> torch.Tensor:
        """Return float [users, 2k]: mean and log-variance of each user's latent taste."""
        kept = padded(crowd, np.arange(crowd.n_users), self.context)
        return torch.cat(self._posterior(network, crowd, *kept), -1)

    def _rewards(self, network: Variational, x: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return network.decode(*network.ask(x), vectors[..., : self.latent])

    def variance_batch(self, queries: Queries) -> Floats:
        """Return float64 [queries]: variance of the log-odds of one option over another, under q.

        The scores are taken as linear in z near the mean, so the variance is that of the slopes' difference
        times exp(v); with more than two options, the mean over the query's pairs of options.
        """
        return self._variance(self._vectors(queries.personas), queries)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        scores = queries.centred(super()._log_odds(vectors, queries))
        shrink = 1.0 / np.sqrt(1.0 + np.pi / 8.0 * self._variance(vectors, queries))
        return np.asarray(scores * shrink[queries.option_query])

    def _variance(self, vectors: Floats, queries: Queries) -> Floats:
        vectors = np.ascontiguousarray(vectors, np.float32)
        slopes = self._slopes(queries, vectors[:, : self.latent])
        sizes, starts = np.diff(queries.offsets), queries.offsets[:-1]
        if not len(starts):
            return np.zeros(0)
        centred = slopes - (np.add.reduceat(slopes, starts) / sizes[:, None])[queries.option_query]
        spread = np.add.reduceat(centred**2, starts) * (2.0 / (sizes - 1))[:, None]
        return np.asarray((spread * np.exp(vectors[queries.who, self.latent :])).sum(1), np.float64)

    def _slopes(self, queries: Queries, means: Floats) -> Floats:
        """Return float64 [options, k]: the derivative of each option's score by z at its user's mean."""
        x, _ = self._tensors(queries.corpus)
        who, network = queries.who[queries.option_query], self._trained()
        out = np.empty((len(who), self.latent))
        step = max(1, BLOCK // (self.dim_ + self.hidden))
        for start in range(0, len(who), step):
            part = slice(start, start + step)
            z = torch.as_tensor(means[who[part]], device=x.device).requires_grad_(True)
            item = torch.as_tensor(queries.options[part], device=x.device)
            total = self._rewards(network, x[item], z).sum()
            out[part] = torch.autograd.grad(total, z)[0].double().cpu().numpy()
        return out


def once(crowd: Crowd, number: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distinct items of pairs [...], and each pair's winner and loser among them, [2, ...]."""
    both = np.stack([crowd.pairs.winner[number], crowd.pairs.loser[number]])
    items, place = np.unique(both, return_inverse=True)
    return crowd.index(items), crowd.index(place.reshape(both.shape))
