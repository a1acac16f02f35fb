"""EpiPersona-B: a person as a set of shared codes, which the current conversation brings to bear.

Source: EpiPersona, "Persona Projection and Episode Coupling for Pluralistic Preference Modeling",
equations 8 and 10 to 18. For a past choice j of user u, chosen c over rejected r in conversation x:

    estimate  e_j [p]      abductive reasoning: state of a language model that has read why, or phi_c - phi_r
    window    h_m [k]      = P mean(e_j in window m),    windows of consecutive choices
    code      z_m [k]      = the nearest of K codes, straight-through (``codebook``)
    persona   n_u [K]      how often each code occurs among u's windows: the set of codes, with repeats
    couple    a = softmax over u's codes and one empty code of  q(x) . key(z) / sqrt(d)    [heads]
              r = W . g(z(x, y)),   z(x, y) = view(y) * T sum_m a_m value(z_m)                [hidden]
    loss      mean -log sigmoid(r(x, y_c) - r(x, y_r))  +  0.2 mean |h_m - stop(z_m)|^2

A code that occurs n times weighs n times in the softmax (log n is added), so the persona as counts and the
persona as a list of codes give the same reward. T starts at zero: training starts at the population.

Departs from the paper:
- The same path on frozen embeddings: vectors of the responses and of the last turn of the conversation in the
  place of a language model under LoRA; one attention layer over the codes in the place of soft tokens.
- Without a language model e_j is the difference of the responses' vectors, beside the conversation's vector.
- A window is the mean of its estimates, so the last one may be shorter. P starts at the directions in which
  training users differ most (principal components of their mean estimates), centred and at unit variance.
- An empty code stands beside the user's own: few choices weigh little, and none give the population's answer.
- Ties are left out of the windows.
- g is the identity: a nonlinear one predicted validation users no better.
- The conversation asks the codes, not the response; where all conversations are one, the response asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from palate.core import ConfigError, Corpus, MethodError, Population, current_job
from palate.models.abductive import QUESTION, abduce, ask, reader
from palate.models.codebook import collapsed, usage
from palate.models.features import embed_texts
from palate.reward.base import Validation
from palate.reward.codebook import START, Coupled, Past, Retold, each, log_count
from palate.reward.crowd import Crowd, Episode, padded, sample_episode
from palate.reward.neural import NeuralMethod, pair_loss

__all__ = ["EpiPersonaB"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_BLOCK = 1 << 24  # numbers held at a time while users are condensed


@dataclass(kw_only=True, eq=False)
class EpiPersonaB(NeuralMethod):
    """Persona codes from a shared codebook, coupled with the current conversation.

    Args:
        reader: ``hf:NAME_OR_FOLDER``, the language model that reads past choices; empty takes e_j from
            the encoder's vectors.
        question: What the reader is asked (see :data:`palate.models.abductive.QUESTION`).
        window: Consecutive choices in a window.
        codes: K, the size of the codebook.
        width: k, numbers of a window and of a code.
        hidden: Numbers of the coupled representation.
        heads: Heads of the attention over codes.
        commitment: Weight of the commitment loss.
        decay: g of the codebook's moving averages.
        revive: A code whose moving count in a mini-batch falls below this is placed anew.
        contexts: Most past choices of a user in a mini-batch; their number is drawn from 0 to this.
        targets: Most choices of a user that a mini-batch asks about.
        users: Users in a mini-batch.
        quantise: False keeps the windows themselves: the ablation without a codebook.
        kept: Latest windows kept of a user without a codebook.
        abductive: False takes e_j = phi of the chosen response alone: the ablation without reasoning.
        coupling: False asks the persona the same in every episode: the ablation without coupling.

    Raises:
        ConfigError: If a field has a value that cannot work.
        MethodError: If the codebook collapses.
        FitDiverged: If the loss is not finite.

    >>> EpiPersonaB(codes=16).config["commitment"]
    0.2
    """

    name: ClassVar[str] = "epipersona-b"
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "EpiPersona 4: persona projection and episode coupling, EpiPersona-B"
    seconds_per_10k: ClassVar[float] = 10.0
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "codes": (16, 32, 64, 128),
        "window": (1, 2, 4),
        "width": (16, 32, 64),
        "hidden": (32, 64, 128),
        "learning_rate": (3e-3, 1e-2, 2e-2, 4e-2),
    }
    steps: int = 400
    every: int = 25
    patience: int = 8
    learning_rate: float = 2e-2
    reader: str = ""
    question: str = QUESTION
    window: int = 1
    codes: int = 64
    width: int = 32
    hidden: int = 64
    heads: int = 4
    commitment: float = 0.2
    decay: float = 0.95
    revive: float = 1.0
    contexts: int = 32
    targets: int = 10
    users: int = 32
    quantise: bool = True
    kept: int = 32
    abductive: bool = True
    coupling: bool = True

    # ---- the hooks ----------------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        self._check_fields()
        corpus, used = population.corpus, population.options
        several = len(used) and np.ptp(corpus.item_conversation[used]) > 0
        self.talk_ = int(self._talks(corpus).shape[1]) if several else 0
        self.past_ = reader(self.reader).dim if self.reader and self.abductive else 0
        super()._learn(population)
        network = self.__dict__.pop("_learning")
        self.codebook_ = network.looks.tolist()
        if self.history_ and self.quantise:
            kept = int(np.argmin([loss for _, loss in self.history_]))
            if collapsed(self.codebook_[kept], self.codes):
                raise self._collapse(self.codebook_[kept])

    def _check_fields(self) -> None:
        for field in ("window", "codes", "width", "hidden", "heads", "targets", "users", "kept"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{self.name}: {field}={getattr(self, field)}; expected 1 or more")
        if self.hidden % self.heads:
            raise ConfigError(
                f"{self.name}: hidden={self.hidden} cannot be shared by heads={self.heads}; "
                "let heads divide hidden"
            )
        for field in ("commitment", "revive", "contexts"):
            if getattr(self, field) < 0:
                raise ConfigError(f"{self.name}: {field}={getattr(self, field)}; expected 0 or more")
        if not 0 < self.decay < 1:
            raise ConfigError(f"{self.name}: decay={self.decay}; expected a number between 0 and 1")
        if self.reader:
            reader(self.reader)
        ask(self.question, (), "", "")

    def _network(self, dim: int, users: int) -> Coupled:
        return Coupled(dim - self.talk_, self.talk_, self.past_, self)

    def _begin(self, network: Coupled, crowd: Crowd) -> None:
        self.__dict__["_learning"] = network
        users = np.random.default_rng(self.seed).permutation(np.flatnonzero(np.diff(crowd.starts)))
        many = np.diff(crowd.starts)[users].cumsum().searchsorted(START * self.window) + 1
        with torch.no_grad():
            network.begin(crowd, Past.of(crowd, *padded(crowd, users[:many]), self.window))

    def _draw(self, crowd: Crowd, rng: np.random.Generator) -> Episode:
        users = rng.choice(np.flatnonzero(np.diff(crowd.starts)), self.users)
        return sample_episode(crowd, rng, users, (0, self.contexts), self.targets)

    def _loss(self, network: Coupled, crowd: Crowd, batch: Episode) -> torch.Tensor:
        pairs, target = crowd.pairs, batch.target
        codes, there = self._windows(network, crowd, batch.context, batch.seen)
        commitment: torch.Tensor | float = 0.0
        if network.book is not None:
            codes, commitment = network.book(codes, there)
        items = np.concatenate([pairs.winner[target], pairs.loser[target]], axis=1)
        asked = each(crowd, items, network.asked)
        reward = network.reward(asked, codes, log_count(there)[:, None]) + crowd.anchor[crowd.index(items)]
        gap = reward[:, : target.shape[1]] - reward[:, target.shape[1] :]
        loss = pair_loss(gap, crowd.index(pairs.target[target]).to(gap.dtype))
        return loss[crowd.index(batch.asked)].mean() + commitment

    def _personas(self, network: Coupled, crowd: Crowd) -> torch.Tensor:
        most = int(np.diff(crowd.starts).max(initial=1)) * (self.width + 2 * self.codes)
        size = max(1, _BLOCK // max(most, 1))
        parts = np.split(np.arange(crowd.n_users), range(size, crowd.n_users, size))
        return torch.cat([self._persona(network, crowd, users) for users in parts])

    def _persona(self, network: Coupled, crowd: Crowd, users: Ints) -> torch.Tensor:
        """Return counts [users, K], or the latest windows and which are there [users, kept * k + kept]."""
        if not len(crowd.pairs):
            wide = self.codes if self.quantise else self.kept * (self.width + 1)
            return torch.zeros(len(users), wide, device=crowd.x.device)
        h, there = self._windows(network, crowd, *padded(crowd, users))
        if network.book is not None:
            return network.book.count(h, there)
        first = (there.sum(1) - self.kept).clamp(min=0)
        place = first[:, None] + torch.arange(self.kept, device=h.device)
        h, there = pad(h, (0, 0, 0, self.kept)), pad(there, (0, self.kept))
        here = there.gather(1, place)
        h = h.gather(1, place[..., None].expand(-1, -1, self.width)) * here[..., None]
        return torch.cat([h.flatten(1), here.to(h.dtype)], dim=1)

    def _rewards(self, network: Coupled, x: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        asked = network.asked(x)
        if network.book is not None:
            codes = network.book.codes.to(x.dtype)
            return network.reward(asked[None], codes[None], log_count(vectors)[None])[0]
        codes, there = vectors[:, : -self.kept], vectors[:, -self.kept :]
        codes = codes.reshape(-1, self.kept, self.width)
        return network.reward(asked[:, None], codes, log_count(there)[:, None])[:, 0]

    # ---- the codebook's health ----------------------------------------------------------------

    def _validation_loss(self, network: Coupled, seen: Crowd, validation: Validation) -> float | None:
        loss = super()._validation_loss(network, seen, validation)
        if loss is None or network.book is None:
            return loss
        step = min(len(network.looks) * self.every, self.steps)
        perplexity, dead, windows = usage(self._personas(network, seen).float().cpu().numpy())
        distinct = len(np.unique(seen.pairs.winner * len(seen.x) + seen.pairs.loser))
        row = torch.tensor([[step, perplexity, dead, windows, distinct]], dtype=torch.float64)
        network.looks = torch.cat([network.looks, row])
        told = f"{self.name} · codebook: perplexity {perplexity:.1f} of {self.codes}, {dead} dead"
        current_job().tell(told, step, self.steps)
        last = network.looks[1:][-self.patience :].tolist()
        if len(last) == self.patience and all(collapsed(look, self.codes) for look in last):
            raise self._collapse(last[-1])
        return loss

    def _collapse(self, look: list[float]) -> MethodError:
        step, perplexity, dead, windows, _ = look
        return MethodError(
            f"{self.name}: the codebook collapsed: at step {step:.0f} the {windows:,.0f} windows of the "
            f"validation users fall on codes of perplexity {perplexity:.2f}, below 2 ({dead:.0f} of "
            f"{self.codes} dead); lower learning_rate (now {self.learning_rate:g}) or commitment "
            f"(now {self.commitment:g}), raise revive (now {self.revive:g}), or set quantise=False; if these "
            "people do not differ, codes=2 says so without this error"
        )

    # ---- windows and features -----------------------------------------------------------------

    def _windows(
        self, network: Coupled, crowd: Crowd, number: Ints, there: Bools
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return windows [b, m, k] of the pairs that are there, and which windows exist [b, m]."""
        past = Past.of(crowd, number, there, self.window)
        return network.windows(network.estimate(crowd, past.number), past)

    def _crowd(self, population: Population) -> Crowd:
        crowd = super()._crowd(population)
        if not self.past_:
            return crowd
        past = torch.as_tensor(abduce(crowd.pairs, population.corpus, self.reader, self.question))
        values = {field.name: getattr(crowd, field.name) for field in fields(crowd)}
        return Retold(**values, past=past.to(crowd.x.device))

    def _features(self, corpus: Corpus) -> NDArray[np.floating[Any]]:
        """Return float32 [items, d + t]: each item's features, then its conversation's where they differ."""
        x = super()._features(corpus)
        return np.hstack([x, self._talks(corpus)[corpus.item_conversation]]) if self.talk_ else x

    def _talks(self, corpus: Corpus) -> NDArray[Any]:
        """Return float32 [conversations, d]: the features of each one's last turn."""
        return embed_texts([talk[-1].content if talk else "" for talk in corpus.conversations], self.encoder)
