"""Training of a language model that describes a user after their codes, by next-token prediction.

The network and its loss are told in :mod:`palate.tune.coupled`. transformers' own trainer runs it: what a row
holds (numbers of estimates beside words) is nothing that TRL's trainer for supervised fine-tuning can carry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Trainer

from palate.models.codebook import collapsed, usage
from palate.tune.coupled import Coupler, fallen
from palate.tune.scoring import right_padded
from palate.tune.soft import Softened
from palate.tune.trainers import Guarded

__all__ = ["Describer", "DescriberTrainer", "Row", "collate"]

Ids = Sequence[int]
Floats = NDArray[np.floating[Any]]
_PATIENCE = 8  # looks at the codebook, one every ten steps
_IGNORED = -100


@dataclass(frozen=True)
class Row:
    """A training example.

    Attributes:
        past: Numbers of the estimates that are known of the user.
        window: The window of each.
        prompt: Ids of the episode.
        target: Ids of the description and its end.
    """

    past: Sequence[int]
    window: Sequence[int]
    prompt: Ids
    target: Ids


class Describer(Softened):
    """A language model after a user's codes; its checkpoints hold what is trained, and nothing else."""

    source: Coupler

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        estimates: Tensor,
        window: Tensor,
        there: Tensor,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch; ``labels`` is -100 where nothing is to be said."""
        width = input_ids.shape[1]
        first = int((labels != _IGNORED).int().argmax(1).min())
        keep = width - max(first - 1, 0)
        out = super().forward(input_ids, attention_mask, (estimates, window, there), logits_to_keep=keep)
        logits, wanted = out.logits[:, :-1].float(), labels[:, -keep + 1 :]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED)
        commitment = self.source.commitment
        return {"loss": loss if commitment is None else loss + commitment}

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Return what is trained, and the codebook."""
        held = {name: p.data for name, p in self.model.named_parameters(prefix="model") if p.requires_grad}
        return held | {f"source.{name}": value for name, value in self.source.state_dict().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take up what is trained."""
        del strict
        return super().load_state_dict(state_dict, strict=False, assign=assign)


class DescriberTrainer(Guarded, Trainer):
    """Next-token prediction of descriptions; tells how the codebook is used, and stops where it collapses.

    Args:
        model: The language model after the codes.
        rows: Examples.
        estimates: float32 [n, p], by number.
        args: transformers' settings.
        rate: Learning rate of everything but the adapter.
        pad: Id of the padding token.
        callbacks: Called on every step.
    """

    def __init__(
        self,
        model: Describer,
        rows: Sequence[Row],
        estimates: Floats,
        args: Any,
        rate: float,
        pad: int,
        callbacks: Sequence[Any] = (),
    ) -> None:
        table = torch.as_tensor(estimates)
        self._coupler, self._choices = model.source, len(estimates)
        self._looks: list[tuple[float, ...]] = []
        groups = [
            {"params": [p for p in model.model.parameters() if p.requires_grad], "lr": args.learning_rate},
            {"params": list(model.source.parameters()), "lr": rate},
        ]
        super().__init__(
            model=model,
            args=args,
            data_collator=lambda examples: collate(examples, table, pad),
            train_dataset=list(rows),
            optimizers=(torch.optim.AdamW(groups, weight_decay=args.weight_decay), None),
            callbacks=list(callbacks),
        )

    def log(self, logs: dict[str, float], *rest: Any, **more: Any) -> None:
        """Add how the codebook was used since the last look.

        Raises:
            MethodError: If it has collapsed.
        """
        coupler = self._coupler
        if coupler.book is not None and coupler.seen.any() and "loss" in logs:
            perplexity, dead, windows = usage(coupler.seen)
            logs.update(perplexity=perplexity, dead=float(dead))
            look = (self.state.global_step, perplexity, dead, windows, self._choices)
            self._looks = [*self._looks, look][-_PATIENCE:]
            coupler.seen[:] = 0
            if len(self._looks) == _PATIENCE and all(collapsed(x, coupler.book.size) for x in self._looks):
                which = f"up to step {self.state.global_step}"
                raise fallen(which, coupler.book.size, perplexity, dead, windows)
        super().log(logs, *rest, **more)


def collate(examples: Sequence[Row], estimates: Tensor, pad: int) -> dict[str, Tensor]:
    """Return a batch: episode and description padded on the right, and the estimates of the past."""
    ids, mask = right_padded([[*e.prompt, *e.target] for e in examples], pad)
    labels, _ = right_padded([[_IGNORED] * len(e.prompt) + list(e.target) for e in examples], _IGNORED)
    past, there = right_padded([e.past for e in examples], 0)
    window, _ = right_padded([e.window for e in examples], 0)
    if not past.shape[1]:
        past, there, window = (torch.zeros(len(examples), 1, dtype=torch.int64) for _ in range(3))
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "estimates": estimates[past] if len(estimates) else torch.zeros(*past.shape, estimates.shape[1]),
        "window": window,
        "there": there.bool(),
    }
