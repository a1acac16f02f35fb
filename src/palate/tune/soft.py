"""Soft tokens: vectors that stand before a language model's words, learned in the place of a prompt.

    input    [ s_1 ... s_m  E(w_1) ... E(w_n) ]        s float [b, m, d],  E the model's own embeddings
    mask     [ there        attention_mask    ]
    place    position of an element = how many elements stand before it

They stand before the whole sequence, the model's start token included, as in P-RLHF: one rule for every
template, with or without a start token, and for either padding. Positions count only what is there, so a row
whose soft tokens are all absent is read exactly as the model reads it without them: the average user.

    UserTable, individual   e_u = e_0 + s o_u                            o_u [m, d],  s the spread of E
    UserTable, cluster      e_u = sum_j softmax(l_u)_j c_j               l_u [K],  user 0: l = 0

Source: Li et al. 2024, "Personalized Language Modeling from Personalized Human Feedback" (P-RLHF), 4.2;
EpiPersona 4.4 (codes as soft tokens). Departs: offsets and logits start at zero, where every user is user 0;
user 0 of the clusters is their mean, and has no vector of its own; offsets are in units of the spread s, so
that a learning rate means the same for every model.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Soft", "Softened", "UserTable", "arrays_of", "take_arrays"]


class Soft(NamedTuple):
    """Soft tokens of a batch.

    Attributes:
        tokens: float [rows, m, d].
        there: bool [rows, m]; what is not there is not read. None: all are there.
    """

    tokens: Tensor
    there: Tensor | None = None


class Softened(nn.Module):
    """A language model that reads soft tokens before its words.

    Args:
        model: A causal model, or one with a scalar head; bare, or under a PEFT adapter.
        source: A module that makes soft tokens: it is trained beside the model, and what a batch gives as
            ``soft`` goes through it. It returns ``Soft``. None: batches give ``Soft`` or a tensor.
    """

    def __init__(self, model: Any, source: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.source = model, source
        logging.getLogger("transformers.modeling_layers").addFilter(_tells)

    def __getattr__(self, name: str) -> Any:
        """Return what the model has, for trainers that ask for its settings."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        soft: Any = None,
        *,
        owner: Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> Any:
        """Read a batch.

        Args:
            input_ids: int64 [rows, n].
            attention_mask: int64 [rows, n]; padding on the left or on the right.
            soft: float [rows, m, d], a ``Soft``, or what ``source`` takes; None for none.
            owner: int64 [rows], whose soft tokens each row has, where several rows share theirs.
            logits_to_keep: Of a causal model, logits of so many last places; 0 for all.

        Returns:
            The model's output. ``logits`` are float [rows, n, vocabulary] in the places of ``input_ids``, the
            soft tokens' own left out; with a scalar head float [rows, 1], read at the last token that is
            there.
        """
        reward = _has_head(self.model)
        if reward:
            input_ids, attention_mask = padded_left(input_ids, attention_mask)
        words, mask = self.embedded(input_ids, attention_mask, soft, owner)
        keep = {} if reward else {"logits_to_keep": logits_to_keep or input_ids.shape[1]}
        return self.model(
            inputs_embeds=words,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            use_cache=False,
            **keep,
        )

    def embedded(
        self, input_ids: Tensor, attention_mask: Tensor, soft: Any = None, owner: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what the model reads: float [rows, m + n, d], and its mask int64 [rows, m + n]."""
        words = self.model.get_input_embeddings()(input_ids)
        if soft is not None and self.source is not None:
            soft = self.source(soft)
        if soft is None:
            return words, attention_mask
        tokens, there = soft if isinstance(soft, Soft) else Soft(soft)
        if there is None:
            there = torch.ones(tokens.shape[:2], dtype=torch.bool, device=words.device)
        if owner is not None:
            tokens, there = tokens[owner], there[owner]
        tokens = torch.where(there[..., None], tokens.to(words.dtype), 0.0)
        return torch.cat([tokens, words], 1), torch.cat([there.to(attention_mask.dtype), attention_mask], 1)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Return what is trained: of the model what needs gradients, and the whole source."""
        held = {name: p.data for name, p in self.model.named_parameters(prefix="model") if p.requires_grad}
        source = {} if self.source is None else self.source.state_dict(prefix="source.")
        return {**held, **source}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take up what is trained; the rest stays."""
        del strict
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def generate(self, input_ids: Tensor, attention_mask: Tensor, soft: Any, how: Any) -> Tensor:
        """Return the ids that follow each prompt, int64 [rows, new], the prompts left out.

        Args:
            input_ids: int64 [rows, n], padded on the left.
            attention_mask: int64 [rows, n].
            soft: As in :meth:`forward`.
            how: A ``GenerationConfig``.
        """
        words, mask = self.embedded(input_ids, attention_mask, soft)
        out: Tensor = self.model.generate(inputs_embeds=words, attention_mask=mask, generation_config=how)
        return out


class UserTable(nn.Module):
    """Soft tokens of users: those that all share, and each user's own part.

    Args:
        users: Rows of the table: training users.
        tokens: m.
        like: The model's embeddings, float [vocabulary, d]: the start is words drawn from them.
        clusters: K; 0 gives each user an offset of their own.
        seed: Of the draw.
    """

    def __init__(self, users: int, tokens: int, like: Tensor, clusters: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.tokens, self.width, self.clusters = tokens, like.shape[1], clusters
        self.scale = float(like.detach().float().std())
        rng = np.random.default_rng(seed)
        rows = torch.as_tensor(rng.integers(len(like), size=(max(1, clusters), tokens)), device=like.device)
        self.shared = nn.Parameter(like[rows].detach().float().clone())  # [1 or K, m, d]
        self.own = nn.Parameter(torch.zeros(users, self.free, device=like.device))

    @property
    def free(self) -> int:
        """Numbers of a user: m d of an offset, or K of a mixture; at zero they are user 0."""
        return self.clusters or self.tokens * self.width

    def of(self, own: Tensor) -> Soft:
        """Return the soft tokens of users' own numbers, float [rows, free]."""
        if self.clusters:
            return Soft(torch.einsum("bk,kmd->bmd", own.softmax(-1), self.shared))
        return Soft(self.shared + self.scale * own.reshape(len(own), self.tokens, self.width))

    def forward(self, who: Tensor) -> Soft:
        """Return the soft tokens of users int64 [rows]; -1 is user 0.

        Numbers float [rows, free] are taken as they are: those of a user who is not in the table.
        """
        if who.is_floating_point():
            return self.of(who)
        own = self.own[who.clamp_min(0)] if len(self.own) else self.own.new_zeros(len(who), self.free)
        return self.of(torch.where((who >= 0)[:, None], own, 0.0))


def padded_left(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return ids and mask with the padding moved before what is there."""
    order = attention_mask.argsort(dim=1, stable=True)
    return input_ids.gather(1, order), attention_mask.gather(1, order)


def arrays_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Return all that a module learned, by name, as float32 or integer arrays: what a saved model keeps."""
    found = {}
    for name, value in module.state_dict().items():
        plain = value.detach().cpu()
        found[name] = (plain.float() if plain.is_floating_point() else plain).numpy().copy()
    return found


def take_arrays(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put back what :func:`arrays_of` gave."""
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})


def _has_head(model: Any) -> bool:
    """Whether a model gives a score for a sequence, and no words."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(inner).__name__.endswith("ForSequenceClassification")


def _tells(record: logging.LogRecord) -> bool:
    """Whether a message is worth telling: not that a head ignores padding, which stands before here."""
    return "will not detect padding" not in record.getMessage()
