"""TRL's supervised trainer with Palate's ids: the loss is on the answer alone.

    L = - sum over a step's rows i and answer tokens t of log pi(y_it | p_i, y_i<t) / number of those tokens

A token counts as much as another, whichever row and whichever accumulated batch it stands in. Prompts are
read and not learned. A row's ids are those by which answers are scored and written (:mod:`palate.tune.talk`).

Source: PT, "Persona Tailoring" (PT_sft); the loss is TRL's, through its head that never holds all logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from palate.tune.trainers import Guarded

__all__ = ["SupervisedRow", "SupervisedTrainer"]

Ids = Sequence[int]
_IGNORED = -100  # label of a token that is read and not learned


@dataclass(frozen=True)
class SupervisedRow:
    """A prompt and the answer that is learned.

    Attributes:
        prompt: Ids of the prompt, the opening of the answer included.
        answer: Ids of the answer, its end included.
    """

    prompt: Ids
    answer: Ids


class SupervisedTrainer(Guarded, SFTTrainer):
    """Next-token prediction of answers after their prompts.

    Args:
        model: The model that is trained: a PEFT model, or a model of its own.
        rows: What it learns from.
        config: TRL's settings.
        tokenizer: The tokenizer.
        callbacks: Of the trainer.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[SupervisedRow],
        config: SFTConfig,
        tokenizer: Any,
        callbacks: Sequence[Any] = (),
    ) -> None:
        config.dataset_kwargs = {"skip_prepare_dataset": True}  # the rows hold ids and labels already
        super().__init__(
            model=model,
            args=config,
            train_dataset=Dataset.from_list([_labelled(row) for row in rows]),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )


def _labelled(row: SupervisedRow) -> dict[str, list[int]]:
    ids = [*row.prompt, *row.answer]
    return {"input_ids": ids, "labels": [_IGNORED] * len(row.prompt) + list(row.answer)}
