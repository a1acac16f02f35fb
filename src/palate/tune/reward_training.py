"""Training of a language model with a scalar head, by TRL's reward trainer, on ids and soft tokens of ours.

    l = alpha l(told) + (1 - alpha) l(nothing told),    l = -log sigmoid(r(chosen) - r(rejected))

A tie has the target 0.5. Both terms are one batch: 2n sequences that are told, and 2n that are not where
alpha is below 1. Soft tokens are made once a pair and shared by its two answers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import RewardConfig, RewardTrainer

from palate.tune.losses import bradley_terry, user_mixed
from palate.tune.running import plain_forward
from palate.tune.scoring import right_padded
from palate.tune.soft import Softened
from palate.tune.trainers import Guarded

__all__ = ["MixedRewardTrainer", "RewardRow", "collate"]

Ids = Sequence[int]
Source = Callable[[Sequence[Mapping[str, Any]], bool], Any]
"""Given a batch's rows, and whether each is to come again as the average user, what makes soft tokens."""


@dataclass(frozen=True)
class RewardRow:
    """A pair as the reward model is trained on it.

    Attributes:
        chosen: Ids of prompt and chosen answer, what is told of the user in words included.
        rejected: The same of the other.
        target: 1, or 0.5 for a tie.
        plain: Ids of both where nothing is told; empty where they are the same.
        who: Number of the user.
        past: Numbers of the user's other choices.
        window: The window of each.
    """

    chosen: Ids
    rejected: Ids
    target: float
    plain: tuple[Ids, ...] = ()
    who: int = -1
    past: Sequence[int] = ()
    window: Sequence[int] = field(default_factory=tuple)


class MixedRewardTrainer(Guarded, RewardTrainer):
    """TRL's reward trainer with soft tokens, ties, and the average user beside each user.

    Args:
        model: The model with its scalar head, after soft tokens or none.
        rows: Pairs.
        alpha: Weight of the loss with what is told.
        source: Makes what ``model.source`` takes; None without soft tokens.
        soft_lr: Learning rate of the soft tokens; 0 is the model's.
        config: TRL's settings.
        tokenizer: The tokenizer.
        callbacks: Called on every step.
    """

    def __init__(
        self,
        model: Softened,
        rows: Sequence[RewardRow],
        alpha: float,
        source: Source | None,
        soft_lr: float,
        config: RewardConfig,
        tokenizer: Any,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.alpha = alpha
        config.remove_unused_columns = False
        pad, mixed = int(tokenizer.pad_token_id), alpha < 1
        groups: list[dict[str, Any]] = [{"params": [p for p in model.model.parameters() if p.requires_grad]}]
        if model.source is not None:
            rate = soft_lr or config.learning_rate
            groups.append({"params": list(model.source.parameters()), "lr": rate, "weight_decay": 0.0})
        adam = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        super().__init__(
            model=model,
            args=config,
            data_collator=lambda examples: collate(examples, pad, mixed, source),
            train_dataset=Dataset.from_list([vars(row) for row in rows]),
            processing_class=tokenizer,
            callbacks=list(callbacks),
            optimizers=(adam, None),
        )
        plain_forward(self.model)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # it holds ids already

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch of :func:`collate`; see the module's text."""
        del num_items_in_batch
        target = inputs.pop("target")
        out = model(**inputs)
        r = out.logits[:, 0]
        r = r if r.dtype == torch.float64 else r.float()
        target = target.to(r)
        told, plain = r.split([2 * len(target), len(r) - 2 * len(target)])
        chosen, rejected = told.chunk(2)
        loss = bradley_terry(chosen, rejected, target)
        if len(plain):
            chosen_plain, rejected_plain = plain.chunk(2)
            generic = bradley_terry(chosen_plain, rejected_plain, target)
            loss = user_mixed(loss, generic, self.alpha)
        total = loss.mean()
        commitment = getattr(self.accelerator.unwrap_model(model).source, "commitment", None)
        if commitment is not None:
            total = total + commitment
        mode = "train" if self.model.training else "eval"
        gap = (chosen - rejected).detach()
        self._metrics[mode]["accuracy"].append((gap > 0).float().mean().item())
        self._metrics[mode]["margin"].append(gap.mean().item())
        return (total, out) if return_outputs else total

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super(RewardTrainer, self)._save_checkpoint(model, trial)  # without a model card for every checkpoint


def collate(
    examples: Sequence[Mapping[str, Any]], pad: int, mixed: bool, source: Source | None
) -> dict[str, Any]:
    """Return a batch: chosen, then rejected sequences, then both again for the average user if ``mixed``.

    Args:
        examples: Fields of ``RewardRow``.
        pad: Id of the padding token.
        mixed: Whether the average user comes beside each user.
        source: Makes what the soft tokens are made of.
    """
    told = [e["chosen"] for e in examples] + [e["rejected"] for e in examples]
    plain = [(e["plain"] or (e["chosen"], e["rejected"]))[side] for side in (0, 1) for e in examples]
    ids, mask = right_padded(told + plain if mixed else told, pad)
    target: Tensor = torch.tensor([e["target"] for e in examples], dtype=torch.float32)
    batch = {"input_ids": ids, "attention_mask": mask, "target": target}
    if source is not None:
        n = len(examples)
        own = torch.arange(n).repeat(2)
        batch |= {"soft": source(examples, mixed), "owner": torch.cat([own, own + n]) if mixed else own}
    return batch
