"""TRL's trainers with Palate's data and losses: summaries by GRPO, answers by DPO or IPO.

    SummaryTrainer   GRPO on pi_phi. Each row is a user's signals and one pair; a group of G summaries is
                     drawn, each rewarded with -l of :mod:`palate.tune.losses`, and the KL to the base held.
    AnswerTrainer    back-propagates l through pi_theta, the reference's log-probabilities given with the row.

Both read every prompt once (:mod:`palate.tune.scoring`): TRL's own GRPO prefills and back-propagates each of
the G copies of a user's signals, this one does it once a user.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import RepeatSampler

from palate.core import FitDiverged
from palate.tune.losses import Kind, margin, preference_loss
from palate.tune.running import plain_forward
from palate.tune.scoring import after_prompts, left_padded, right_padded

__all__ = ["AnswerRow", "AnswerTrainer", "Guarded", "SummaryTrainer"]

Ids = Sequence[int]
Reward = Callable[[Sequence[Ids], Sequence[int]], Sequence[float]]
"""Given completions as ids and the row of each, the reward of each."""
_EXPLODES = 1e4
_APART = 1_000_003  # between the seeds of two epochs


class Guarded:
    """A trainer that stops where a loss is no number or explodes, and keeps the batch that did it.

    A loss explodes that is 10,000 times the first one, and 10,000 at least: IPO's begins at 1 / (4 beta^2).
    """

    args: Any
    state: Any
    _first: float | None = None

    def training_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Tensor:
        """Take a step; see the class.

        Raises:
            FitDiverged: If the loss is not finite, or beyond all bounds.
        """
        loss: Tensor = super().training_step(model, inputs, *rest, **more)  # type: ignore[misc]
        value = float(loss)
        if self._first is None:
            self._first = abs(value)
        if math.isfinite(value) and abs(value) < _EXPLODES * max(1.0, self._first):
            return loss
        kept = self._keep(inputs)
        raise FitDiverged(
            f"the loss of step {self.state.global_step} is {value:g}: the batch that did it is kept in "
            f"{kept}; lower lr (now {self.args.learning_rate:g}) or clip "
            f"(now {self.args.max_grad_norm:g}), or use dtype=float32"
        )

    def _keep(self, inputs: Any) -> Path:
        """Write what a step was taken on; for GRPO with the summaries that were drawn."""
        rank = self.args.process_index
        kept = Path(self.args.output_dir) / f"bad-batch-{self.state.global_step}-{rank}.pt"
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(getattr(self, "_buffered_inputs", None) or inputs, kept)
        return kept


class _Order(RepeatSampler):
    """The rows of an epoch in an order that its number gives, so that a run that goes on finds it again.

    TRL draws the orders of all epochs one after another: a run that goes on in its second epoch would read
    the first one's.
    """

    def __init__(self, trainer: Any, rows: Any, each: int, batch: int, repeats: int) -> None:
        super().__init__(rows, each, batch, repeats, shuffle=True, seed=trainer.args.seed)
        self._trainer = trainer

    def __iter__(self) -> Iterator[int]:
        epoch = int(self._trainer.state.epoch or 0)
        self.generator.manual_seed(self.seed + _APART * epoch)
        return iter(super().__iter__())


class SummaryTrainer(Guarded, GRPOTrainer):
    """GRPO of the inference model on the summary-augmented objective (POPI, stage 1).

    Args:
        model: The model that is trained: a PEFT model, or a model of its own.
        reference: What the KL is held to: None is the PEFT model with its adapter off.
        prompts: Ids of each row's signals.
        reward: See ``Reward``.
        kl: Weight of the KL.
        config: TRL's settings; their ``beta`` is ``kl``.
        tokenizer: The tokenizer.
    """

    def __init__(
        self,
        model: Any,
        reference: Any,
        prompts: Sequence[Ids],
        reward: Reward,
        kl: float,
        config: GRPOConfig,
        tokenizer: Any,
        callbacks: Sequence[Any] = (),
    ) -> None:
        config.beta = 0.0  # else TRL loads or copies a reference of its own
        self._prompts = [list(p) for p in prompts]

        def rewarded(*, completion_ids: Any, prompts: Any, **_: Any) -> list[float]:
            found = [float(r) for r in reward(completion_ids, [int(p) for p in prompts])]
            lost = sum(not math.isfinite(r) for r in found)
            if lost:  # TRL would give them an advantage of zero, in silence
                raise FitDiverged(
                    f"{lost} of {len(found)} summaries have a reward that is no number: the generator's "
                    "log-probabilities overflow; use dtype=float32"
                )
            return found

        super().__init__(
            model=model,
            reward_funcs=rewarded,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(len(prompts))]}),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        self.beta, self.ref_model = kl, reference
        plain_forward(self.model)

    def _get_train_sampler(self, dataset: Any = None) -> _Order:
        args = self.args
        rows, users = dataset or self.train_dataset, args.generation_batch_size // self.num_generations
        return _Order(
            self, rows, self.num_generations, users, self.num_iterations * args.steps_per_generation
        )

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self._prompts[int(p)] for p in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *_: Any, **__: Any
    ) -> tuple[list[list[int]], None]:
        """Draw a completion for each prompt; equal prompts are read once."""
        from palate.tune.writing import drawn

        with (
            unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model,
            self._mixed(model),
            torch.no_grad(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            training = model.training
            model.eval()
            try:
                ids = drawn(model, prompt_ids, self.generation_config, self._tokenizer.pad_token_id)
            finally:
                model.train(training)
        return ids, None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        """Return log-probabilities of completions; equal prompts are read once."""
        del batch_size, compute_aux_loss
        asked, words = input_ids[:, :-logits_to_keep], input_ids[:, -logits_to_keep:]
        seen, there = attention_mask[:, :-logits_to_keep], attention_mask[:, -logits_to_keep:]
        first, owner = _distinct(torch.cat([asked, seen], 1))
        with self._mixed(model):
            found = after_prompts(
                model,
                (asked[first], seen[first]),
                owner,
                (words, there),
                temperature=self.temperature,
                entropy=compute_entropy,
            )
        return found.logps, found.entropy, None

    @contextmanager
    def _mixed(self, model: Any) -> Iterator[None]:
        """Compute as ``bf16`` says: weights are cast once inside, and inputs of adapters not up and down."""
        from peft.helpers import disable_input_dtype_casting

        mixed = self.accelerator.mixed_precision != "no"
        with disable_input_dtype_casting(model, active=mixed), self.accelerator.autocast():
            yield


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return a place of each kind of row, in order, and the kind of each row; a GPU sorts rows slowly."""
    told = [tuple(row) for row in rows.tolist()]
    place = {row: i for i, row in enumerate(told)}
    kinds = sorted(place)
    number = {row: i for i, row in enumerate(kinds)}
    first, owner = [place[row] for row in kinds], [number[row] for row in told]
    return torch.tensor(first, device=rows.device), torch.tensor(owner, device=rows.device)


@dataclass(frozen=True)
class AnswerRow:
    """A pair as the generator is trained on it.

    Attributes:
        prompt: Ids of the prompt, what is known of the user included.
        chosen: Ids of the chosen answer.
        rejected: Ids of the other.
        ref_chosen: Log-probability of the chosen answer under the reference, in nats.
        ref_rejected: The same of the other.
    """

    prompt: Ids
    chosen: Ids
    rejected: Ids
    ref_chosen: float
    ref_rejected: float


class AnswerTrainer(Guarded, DPOTrainer):
    """DPO or IPO of the generator, the reference given with the rows (POPI, stage 2; PT)."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[AnswerRow],
        kind: Kind,
        beta: float,
        config: DPOConfig,
        tokenizer: Any,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.kind: Kind = kind
        config.precompute_ref_log_probs = True
        config.beta, config.remove_unused_columns = beta, False
        pad = tokenizer.pad_token_id
        active = getattr(model, "active_adapter", None)
        super().__init__(
            model=model,
            args=config,
            data_collator=lambda examples: collate(examples, pad),
            train_dataset=Dataset.from_list([vars(row) for row in rows]),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        if active is not None:  # TRL copies the adapter called default into a reference that is not used here
            if "ref" in model.peft_config:
                model.delete_adapter("ref")
            model.set_adapter(active)
        plain_forward(self.model)

    def _get_train_sampler(self, dataset: Any = None) -> _Order:
        return _Order(self, dataset or self.train_dataset, 1, 1, 1)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # it holds ids already

    def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # and the reference's log-probabilities

    def _compute_loss(self, model: Any, inputs: Mapping[str, Tensor], return_outputs: bool) -> Any:
        n = len(inputs["prompt"])
        owner = torch.arange(n, device=inputs["prompt"].device).repeat(2)
        found = after_prompts(
            model, (inputs["prompt"], inputs["prompt_mask"]), owner, (inputs["words"], inputs["there"])
        )
        chosen, rejected = found.logps.sum(1).chunk(2)
        m = margin(chosen, rejected, inputs["ref_chosen"].to(chosen), inputs["ref_rejected"].to(chosen))
        loss = preference_loss(m, self.beta, self.kind).mean()
        mode = "train" if self.model.training else "eval"
        gathered = self.accelerator.gather_for_metrics(m.detach())
        self._metrics[mode]["margin"].append(gathered.mean().item())
        self._metrics[mode]["accuracy"].append((gathered > 0).float().mean().item())
        return (loss, found) if return_outputs else loss


def collate(examples: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Tensor]:
    """Return a batch: prompts padded on the left, chosen answers and then the others on the right."""
    prompt, mask = left_padded([e["prompt"] for e in examples], pad)
    answers = [e["chosen"] for e in examples] + [e["rejected"] for e in examples]
    words, there = right_padded(answers, pad)
    out = {"prompt": prompt, "prompt_mask": mask, "words": words, "there": there}
    for name in ("ref_chosen", "ref_rejected"):
        out[name] = torch.tensor([e[name] for e in examples], dtype=torch.float64)
    return out
