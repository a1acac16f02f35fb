"""What the methods that are trained by gradient steps on frozen embeddings share.

An author writes a network and five small hooks (see :class:`NeuralMethod`); mini-batches, early stopping
on validation users, checkpoints, devices, saving and the average user are derived here.

Every score is  anchor * (phi . w0) + g(phi, persona), with w0 the pooled Bradley-Terry solution and g the
method's own network, whose last layer starts at zero: training starts at the population's answer and can
only be kept where it predicts validation users better.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import logsigmoid
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from palate.core import ConfigError, Corpus, MethodError, Pairs, Population, Queries
from palate.models.weights import torch_device
from palate.reward.base import EmbeddingMethod, Validation
from palate.reward.bt import Pooled
from palate.reward.crowd import Crowd
from palate.reward.training import Training, train

__all__ = ["NeuralMethod", "pair_loss", "reproducible"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
BLOCK = 1 << 24  # numbers gathered at a time while scoring
_NO = np.zeros(0, np.int64)
_NO_PAIRS = Pairs(_NO, _NO, _NO, np.zeros(0), _NO)


def pair_loss(difference: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the Bradley-Terry loss of each pair, -t log sigmoid(d) - (1 - t) log sigmoid(-d).

    >>> pair_loss(torch.tensor([0.0, 100.0]), torch.tensor([1.0, 0.5])).tolist()
    [0.6931471824645996, 50.0]
    """
    return -target * logsigmoid(difference) - (1 - target) * logsigmoid(-difference)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Let torch draw by a seed inside and use one core, and leave both as they were outside.

    The networks here are small: more cores wait for each other longer than they work (on two busy cores
    a fit took five times as long), and their number would change the last digits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


@dataclass(kw_only=True, eq=False)
class NeuralMethod(EmbeddingMethod):
    """A method trained by gradient steps. The hooks:

        _network(dim, users)                 the network, for features of ``dim`` numbers and so many users
        _draw(crowd, rng)                    a mini-batch (any value); all its chance comes from rng
        _loss(network, crowd, batch)         scalar loss of a mini-batch
        _personas(network, crowd)            float [users, k]: each user's vector, from the crowd's pairs
        _rewards(network, x, vectors)        float [n]: g of items [n, d] for personas [n, k]

    Args:
        steps: Most gradient steps.
        every: Steps between two looks at the validation users.
        patience: Looks without improvement before training stops.
        learning_rate: Step size of AdamW at its start; it falls to zero by a cosine.
        weight_decay: Decay of AdamW.
        anchor: Whether the pooled solution is part of every score (see the module's text).
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on a GPU, float32 elsewhere.
    """

    needs: ClassVar[str] = "pip install 'palate[located]'"
    steps: int = 2000
    every: int = 50
    patience: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    anchor: bool = True
    device: str = "auto"
    precision: str = "auto"

    # ---- what authors write -------------------------------------------------------------------

    def _network(self, dim: int, users: int) -> nn.Module:
        raise MethodError(f"{type(self).__name__} defines no _network")

    def _draw(self, crowd: Crowd, rng: np.random.Generator) -> Any:
        raise MethodError(f"{type(self).__name__} defines no _draw")

    def _loss(self, network: Any, crowd: Crowd, batch: Any) -> torch.Tensor:
        raise MethodError(f"{type(self).__name__} defines no _loss")

    def _personas(self, network: Any, crowd: Crowd) -> torch.Tensor:
        raise MethodError(f"{type(self).__name__} defines no _personas")

    def _rewards(self, network: Any, x: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        raise MethodError(f"{type(self).__name__} defines no _rewards")

    def _begin(self, network: Any, crowd: Crowd) -> None:
        """Place what starts from the training users, before the first step; nothing by default."""

    # ---- what the base derives ----------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        self.dim_ = int(self._features(population.corpus).shape[1])
        self.anchor_ = np.zeros(self.dim_)
        if self.anchor:
            pooled = Pooled(encoder=self.encoder, seed=self.seed).fit(population)
            self.anchor_[: len(pooled.weights_)] = pooled.weights_  # a method's own features come after
        people, validation = population.with_role("train"), Validation.of(population)
        crowd, seen = self._crowd(people), self._crowd(validation.context)
        self.users_ = people.n_users
        with reproducible(self.seed):
            network = self._network(self.dim_, self.users_).to(crowd.x.device)
            self._begin(network, crowd)
            self.history_ = train(
                network,
                self._training(population),
                lambda rng: self._draw(crowd, rng),
                lambda batch: self._loss(network, crowd, batch),
                lambda: self._validation_loss(network, seen, validation),
                np.random.default_rng(self.seed),
            )
        self.weights_ = parameters_to_vector(network.parameters()).detach().cpu().float().numpy()
        buffers = [b.detach().cpu().float().reshape(-1) for b in network.buffers()]
        self.buffers_ = torch.cat(buffers).numpy() if buffers else np.zeros(0, np.float32)

    def _training(self, population: Population) -> Training:
        identity = json.dumps([self.name, self.version, self.config, population.digest], default=str)
        return Training(
            what=self.name,
            key=hashlib.blake2b(identity.encode(), digest_size=8).hexdigest(),
            steps=self.steps,
            every=self.every,
            patience=self.patience,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            bfloat16=self._bfloat16(),
        )

    def _validation_loss(self, network: Any, seen: Crowd, validation: Validation) -> float | None:
        """Return the mean over validation users of their targets' log-loss, adapting on their contexts."""
        if not len(validation):
            return None
        target = validation.target
        vectors = self._personas(network, seen).float().cpu().numpy()
        items, who = np.concatenate([target.winner, target.loser]), np.tile(target.user, 2)
        scores = self._scores(network, seen, vectors, who, items)
        return float(validation.losses_of(scores[: len(target)] - scores[len(target) :]).mean())

    def _condense(self, population: Population) -> Floats:
        crowd = self._crowd(population)
        with torch.no_grad():
            return np.asarray(self._personas(self._trained(), crowd).float().cpu().numpy())

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        x, anchor = self._tensors(queries.corpus)
        nobody = Crowd(x, anchor, _NO_PAIRS, np.zeros(1, np.int64))
        who = queries.who[queries.option_query]
        return self._scores(self._trained(), nobody, vectors, who, queries.options)

    def _scores(self, network: Any, crowd: Crowd, vectors: Floats, who: Ints, items: Ints) -> Floats:
        """Return float64 [n]: the score of each item for the persona that ``who`` numbers."""
        table = torch.from_numpy(np.array(vectors, np.float32)).to(crowd.x.device)
        out = np.empty(len(items))
        step = max(1, BLOCK // max(1, vectors.shape[1] + self.dim_))
        with torch.no_grad():
            for start in range(0, len(items), step):
                part = slice(start, start + step)
                item, persona = crowd.index(items[part]), crowd.index(who[part])
                score = self._rewards(network, crowd.x[item], table[persona]) + crowd.anchor[item]
                out[part] = score.double().cpu().numpy()
        return out

    # ---- tensors ------------------------------------------------------------------------------

    def _crowd(self, population: Population) -> Crowd:
        return Crowd.of(population, *self._tensors(population.corpus))

    def _tensors(self, corpus: Corpus) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [items, d] and anchor scores [items], float32, kept while the corpus lives."""
        held = self._memo.get(corpus)
        if held is None or held[0] is not self.anchor_:
            features = self._features(corpus)
            if features.shape[1] != self.dim_:
                raise MethodError(
                    f"{self.name} was fitted on features of {self.dim_} numbers, the encoder "
                    f"{self.encoder!r} now gives {features.shape[1]}: fit again, or use the fit's encoder"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # shared, read-only memory is what is wanted
                x = torch.from_numpy(np.asarray(features, np.float32)).to(self._device())
            anchor = torch.as_tensor(features @ self.anchor_, dtype=torch.float32, device=x.device)
            held = self._memo[corpus] = (self.anchor_, (x, anchor))
        return held[1]

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch_device(None, accelerate=True)
        return torch_device(self.device, accelerate=True)

    def _bfloat16(self) -> bool:
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"{self.name}: precision={self.precision!r}; use auto, float32 or bfloat16")
        return self.precision == "bfloat16" or (self.precision == "auto" and self._device().type == "cuda")

    def _trained(self) -> nn.Module:
        """Return the network with the learned weights, in evaluation mode, on the device."""
        held = self.__dict__.get("_network_of_fit")
        if held is None or held[0] is not self.weights_:
            with reproducible(self.seed):
                network = self._network(int(self.dim_), int(self.users_))
            vector_to_parameters(torch.from_numpy(np.array(self.weights_)), network.parameters())
            flat, place = torch.from_numpy(np.array(self.buffers_)), 0
            for buffer in network.buffers():
                part = flat[place : place + buffer.numel()]
                buffer.copy_(part.reshape(buffer.shape).to(buffer.dtype))
                place += buffer.numel()
            network = network.to(self._device()).eval().requires_grad_(False)
            held = self.__dict__["_network_of_fit"] = (self.weights_, network)
        return held[1]
