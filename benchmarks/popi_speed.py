"""Steps a second of POPI's stage 1: a plain run of TRL's ``GRPOTrainer`` beside Palate's, in the same run.

    python benchmarks/popi_speed.py [--threads 1 2] [--steps 5] [--users 2] [--group 8]

The plain run is what a user of TRL would write: the trainer as it comes, with a KL, its own generation, and a
reward function that scores summaries one by one and computes the reference's log-probabilities each time.
Both tune the same LoRA adapter of the same random Llama on the same signals; the rewards of the same
summaries are compared first. Runs alternate, so that what else the machine does falls on both. Reported: the
median seconds of a step and of its parts, and the ratio; then Palate's with one gain taken away at a time.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from palate import Feedback, Population
from palate.core import as_conversation
from palate.small.base import make_tokenizer
from palate.tune import trainers
from palate.tune.base import Known
from palate.tune.examples import Example, examples_of
from palate.tune.losses import kl_weight, preference_loss
from palate.tune.model import Lora
from palate.tune.popi import Popi
from palate.tune.running import Settings, Stage, configured, quiet
from palate.tune.scoring import after_prompts

SUMMARY, ANSWER, PROMPT, SIGNALS = 16, 24, 16, 5
BETA, LORA = 0.05, (8, 16)
PARTS = ("generation", "rewards", "loss and the rest")


def make_model(folder: Path) -> None:
    """Write a Llama of 4 layers x 128 with 2,000 words, random weights."""
    words = ("ask", "good", "bad", "user", "describe", *(f"w{i}" for i in range(1988)))
    tokenizer = make_tokenizer(words, longest=None)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def people(users: int, seed: int = 0) -> Population:
    """Return users whose signals have some 400 tokens."""
    rng = np.random.default_rng(seed)

    def text(n: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(0, 1988, n))

    return Population.of(
        Feedback(f"u{u}", as_conversation(text(PROMPT)), (text(ANSWER), text(ANSWER)), 0, id=f"{u}.{i}")
        for u in range(users)
        for i in range(SIGNALS + 1)
    )


class Clock(TrainerCallback):
    """Takes the seconds of steps, and of the parts that are wrapped."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.parts: dict[str, list[float]] = defaultdict(list)
        self._now: dict[str, float] = defaultdict(float)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._begun = time.perf_counter()
        self._now.clear()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(time.perf_counter() - self._begun)
        for name in PARTS[:2]:
            self.parts[name].append(self._now[name])
        self.parts[PARTS[2]].append(self.steps[-1] - sum(self._now.values()))

    def around(self, trainer: Any, method: str, part: str) -> None:
        """Add the seconds of a trainer's method to a part."""
        inner = getattr(trainer, method)

        def timed(*args: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*args, **more)
            finally:
                self._now[part] += time.perf_counter() - begun

        setattr(trainer, method, timed)


class Bench:
    """The two runs on one model and one set of rows."""

    def __init__(self, folder: Path, users: int, group: int, steps: int) -> None:
        self.folder, self.users, self.group, self.steps = folder, users, group, steps
        self.method = Popi(
            model=str(folder),
            device="cpu",
            limit=768,
            answer_tokens=64,
            templates="small",
            beta=BETA,
            lora_rank=LORA[0],
            lora_alpha=LORA[1],
            summary_tokens=SUMMARY,
            signals=SIGNALS,
        )
        self.rows: list[Example] = examples_of(people(users * 2), SIGNALS, 0).rows
        self.tokenizer = self.method.base.tokenizer
        self.alpha = kl_weight(BETA)
        words = self.method.words
        self.asked = [words.to_infer(words.signals(row.past, {})) for row in self.rows]
        self.frozen = LlamaForCausalLM.from_pretrained(folder).eval().requires_grad_(False)

    def config(self, folder: str) -> Any:
        settings = Settings(steps=self.steps, batch=self.users, lr=1e-4, schedule="constant")
        return configured(
            GRPOConfig,
            settings,
            Stage("infer", Path(folder), kept=False),
            per_device_train_batch_size=self.users * self.group,
            num_generations=self.group,
            max_completion_length=SUMMARY,
            loss_type="grpo",
            temperature=1.0,
        )

    # ---- the plain run --------------------------------------------------------------------------

    def _told(self, messages: Sequence[dict[str, str]]) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def _logp(self, messages: Sequence[dict[str, str]], answer: str) -> float:
        prompt = self._told(messages)
        ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]
        logits = self.frozen(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None]).sum())

    def plain_reward(self, completions: Sequence[str], row: Sequence[int], **_: Any) -> list[float]:
        """Score summaries one by one; everything is computed each time."""
        out = []
        for summary, i in zip(completions, row, strict=True):
            example = self.rows[i]
            told = self.method.words.to_answer(example.conversation, summary=summary)
            plain = self.method.words.to_answer(example.conversation)
            lift = [self._logp(told, y) - self._logp(plain, y) for y in (example.chosen, example.rejected)]
            out.append(float(F.logsigmoid(torch.tensor(BETA * (lift[0] - lift[1])))))
        return out

    def plain(self) -> Clock:
        """Run TRL's trainer as it comes."""
        prompts = [
            self.tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True)
            for m in self.asked
        ]
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder, quiet():
            config = self.config(folder)
            config.beta = self.alpha
            model = LlamaForCausalLM.from_pretrained(self.folder)
            trainer = GRPOTrainer(
                model=get_peft_model(model, Lora(*LORA).config()),
                reward_funcs=self.plain_reward,
                args=config,
                train_dataset=Dataset.from_dict({"prompt": prompts, "row": list(range(len(prompts)))}),
                processing_class=self.tokenizer,
                callbacks=[clock],
            )
            clock.around(trainer, "_generate_single_turn", PARTS[0])
            clock.around(trainer, "_calculate_rewards", PARTS[1])
            trainer.train()
        return clock

    # ---- ours -----------------------------------------------------------------------------------

    def our_reward(self, summaries: Sequence[str], rows: Sequence[int]) -> list[float]:
        """Score summaries in one batch; the reference is kept."""
        method = self.method
        conversations = [self.rows[i].conversation for i in rows]
        told = [method.prompt(Known(summary=z), c) for z, c in zip(summaries, conversations, strict=True)]
        plain = [method.prompt(Known(), c) for c in conversations]
        answers = [method.talk.answer(y) for i in rows for y in (self.rows[i].chosen, self.rows[i].rejected)]
        twice = [[p for p in prompts for _ in range(2)] for prompts in (told, plain)]
        lift = torch.from_numpy(method.margins(*twice, answers)).view(-1, 2)
        return (-preference_loss(lift[:, 0] - lift[:, 1], BETA)).tolist()

    def one_by_one(self, summaries: Sequence[str], rows: Sequence[int]) -> list[float]:
        """Score summaries one by one; the reference is kept."""
        return [self.our_reward([z], [i])[0] for z, i in zip(summaries, rows, strict=True)]

    def not_kept(self, summaries: Sequence[str], rows: Sequence[int]) -> list[float]:
        """Score summaries in one batch; the reference of a step's pairs is computed each step."""
        self.method._reference.clear()
        return self.our_reward(summaries, rows)

    def ours(self, reward: Callable[[Sequence[str], Sequence[int]], list[float]] | None = None) -> Clock:
        """Run our trainer."""
        method = self.method
        method._opened = None  # a fresh adapter
        prompts, _ = zip(*(method.talk.fitting([], lambda _, m=m: m) for m in self.asked), strict=True)
        scored = reward or self.our_reward
        self.our_reward(["w1"] * len(self.rows), range(len(self.rows)))  # as popi, the reference before
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder, quiet():
            trainer = trainers.SummaryTrainer(
                method.cast.to_train("inference"),
                None,
                prompts,
                lambda ids, rows: scored([method.talk.words(i) for i in ids], rows),
                self.alpha,
                self.config(folder),
                self.tokenizer,
                [clock],
            )
            clock.around(trainer, "_generate_single_turn", PARTS[0])
            clock.around(trainer, "_calculate_rewards", PARTS[1])
            trainer.train()
        return clock

    def check(self) -> float:
        """Return the greatest difference between the rewards of the same summaries."""
        rng = np.random.default_rng(1)
        rows = rng.integers(0, len(self.rows), 24).tolist()
        told = [" ".join(f"w{i}" for i in rng.integers(0, 1988, n)) for n in rng.integers(1, SUMMARY, 24)]
        plain, ours = np.array(self.plain_reward(told, rows)), np.array(self.our_reward(told, rows))
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)
        return float(np.abs(plain - ours).max())


@contextmanager
def copied_prompts() -> Iterator[None]:
    """Read every copy of a prompt, in generation and in the loss."""
    from palate.tune import writing

    def whole(model: Any, prompts: Any, owner: Any, answers: Any, **more: Any) -> Any:
        ids, mask = prompts
        return after_prompts(model, (ids[owner], mask[owner]), torch.arange(len(owner)), answers, **more)

    def apart(model: Any, prompts: Sequence[Sequence[int]], how: Any, pad: int) -> list[list[int]]:
        ids, mask = writing.left_padded(prompts, pad)
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=how)
        ends = set(how.eos_token_id)
        rows = out[:, ids.shape[1] :].tolist()
        return [row[: next((i + 1 for i, t in enumerate(row) if t in ends), len(row))] for row in rows]

    kept = trainers.after_prompts, writing.drawn
    trainers.after_prompts, writing.drawn = whole, apart
    try:
        yield
    finally:
        trainers.after_prompts, writing.drawn = kept


def told(name: str, clock: Clock, against: float) -> float:
    """Print a row; return its median seconds a step."""
    step = statistics.median(clock.steps[1:])
    parts = "".join(f"{statistics.median(clock.parts[p][1:]):>14.3f}" for p in PARTS)
    print(f"{name:<34}{step:>9.3f}{(against or step) / step:>8.2f}{parts}", flush=True)
    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--users", type=int, default=2, help="users of a step")
    parser.add_argument("--group", type=int, default=8, help="summaries of a user")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as home:
        make_model(Path(home))
        bench = Bench(Path(home), args.users, args.group, args.steps)
        tokens = statistics.median(len(bench._told(m)) for m in bench.asked)
        print(
            f"signals of {tokens:.0f} tokens, {args.users} users x {args.group} summaries of {SUMMARY} tokens"
        )
        print(f"rewards of the same summaries differ by {bench.check():.1e} at most")
        for threads in args.threads:
            torch.set_num_threads(threads)
            print(
                f"\n{f'{threads} thread(s)':<34}{'s/step':>9}{'ratio':>8}"
                + "".join(f"{p[:12]:>14}" for p in PARTS)
            )
            plain = told("TRL's, rewards one by one", bench.plain(), 0.0)
            told("Palate's", bench.ours(), plain)
            with copied_prompts():
                told("  every copy of a prompt read", bench.ours(), plain)
            told("  rewards one by one", bench.ours(bench.one_by_one), plain)
            told("  the reference not kept", bench.ours(bench.not_kept), plain)
            told("TRL's again", bench.plain(), plain)
            told("Palate's again", bench.ours(), plain)


if __name__ == "__main__":
    main()
