"""The trainer of user-embedding: generator, basis and users' mixtures by one loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from palate.tune.losses import preference_loss
from palate.tune.trainers import Guarded

if TYPE_CHECKING:
    from palate.tune.embedded import Pair, UserEmbedding

__all__ = ["UserTrainer"]


class _Crowd(nn.Module):
    """The reader and the training users' mixtures, as one module."""

    def __init__(self, reader: Any, own: nn.Embedding) -> None:
        super().__init__()
        self.reader, self.own = reader, own


class UserTrainer(Guarded, Trainer):
    """Minimises l in the generator, what users share, and each training user's mixture.

    Args:
        method: What makes margins of pairs.
        reader: The generator after soft tokens.
        own: Mixtures of the training users, [users, B].
        pairs: What is learned from.
        config: ``TrainingArguments``.
        callbacks: Called on every step.
    """

    def __init__(
        self,
        method: "UserEmbedding",
        reader: Any,
        own: nn.Embedding,
        pairs: Sequence["Pair"],
        config: Any,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.method = method
        groups: list[dict[str, Any]] = [{"params": [p for p in reader.model.parameters() if p.requires_grad]}]
        shared = [*reader.source.parameters(), *own.parameters()]
        groups.append({"params": shared, "lr": method.soft_lr, "weight_decay": 0.0})
        super().__init__(
            model=_Crowd(reader, own),
            args=config,
            data_collator=lambda rows: {"pairs": rows, "who": torch.tensor([p.who for p in rows])},
            train_dataset=list(pairs),
            callbacks=list(callbacks),
            optimizers=(torch.optim.AdamW(groups, lr=config.learning_rate), None),
        )

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean l of a batch."""
        del num_items_in_batch
        crowd = self.accelerator.unwrap_model(model)
        m: Tensor = self.method.pair_margins(crowd.reader, inputs["pairs"], crowd.own(inputs["who"]))
        loss = preference_loss(m, self.method.beta, self.method.kind).mean()
        return (loss, m) if return_outputs else loss
