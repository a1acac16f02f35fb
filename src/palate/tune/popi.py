"""popi: a language model is tuned to sum up what a user likes, so that a generator writes and judges by it.

    z ~ pi_phi(. | s_i)         a summary in words of user i's signals: past pairs, a profile
    y ~ pi_theta(. | x, z)      an answer for them

Both are judged by one objective, l of :mod:`palate.tune.losses`, with the pair (x, y_c, y_r) of the user:

    stage 1 (infer)     pi_phi by GRPO: reward of z = -l(z), minus alpha KL(pi_phi || pi_ref); pi_theta fixed
    stage 2 (align)     pi_theta by back-propagating l with z ~ pi_phi

What is told to the generator (``told``) and which stage is run give every row of the paper's tables:

    told        infer   align
    nothing     no      no      Base-Model            nothing   no   yes   DPO without any user: the control
    raw         no      no      Raw-Prompting         raw       no   yes   Raw-Aligned
    summary     no      no      Inference-Prompting   summary   no   yes   Inference-Aligned
    summary     yes     no      POPI-Inference-Only   summary   yes  yes   POPI-Full

Source: "POPI: Personalizing LLMs via Optimized Preference Inference", 4.1, 4.2, algorithms 1 and 2; defaults
from 5.1. Departs: the summary of a user at test is the likeliest (``temperature`` 0), so that equal histories
give equal personas; z of stage 2 is drawn once an example, before the stage; prompts are our own words; a
user's signals are read once for a whole group, and the reference's log-probabilities once for a pair.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from palate.core import (
    ConfigError,
    Conversation,
    Feedback,
    History,
    Persona,
    Personas,
    Population,
)
from palate.tune.base import Floats, Ids, Known, WritingMethod
from palate.tune.examples import Example, examples_of, signals_of
from palate.tune.losses import kl_weight, preference_loss
from palate.tune.running import as_plain, configured, run_stage, stage
from palate.tune.scoring import answer_logprobs
from palate.tune.writing import generation, written

__all__ = ["Popi"]

Told = Literal["summary", "raw", "nothing"]
Pair = tuple[Conversation, str, str]
"""A conversation, the answer that was chosen, and the one that was not."""


@dataclass(kw_only=True, eq=False)
class Popi(WritingMethod):
    """A tuned language model sums a user up in words, and a generator writes by the summary.

    Args:
        told: What the generator is told of a user: a ``summary``, their signals ``raw``, or ``nothing``.
        infer: Whether the inference model is tuned (stage 1).
        align: Whether the generator is tuned (stage 2).
        signals: Most past pairs that are read.
        facts: Which entries of a user's profile are among their signals, by name or how the name begins;
            ``*`` is all. None by default: in some data the profile holds the truth.
        group: Summaries drawn for a user in stage 1.
        judged: Pairs of the user that a summary's reward is the mean over.
        summary_tokens: Longest summary.
        temperature: Of summaries at test; 0 takes the likeliest.
        per_unit: The KL's weight alpha is this times beta (2 / beta for ``ipo``).
        scale_rewards: How GRPO scales a group's rewards: ``group`` by their deviation, or ``none``.
        prompt_dependent: Whether a summary is written for each upcoming prompt (appendix B).
        align_steps: Steps of stage 2; 0 as many as stage 1.
        align_lr: Learning rate of stage 2; 0 is ``lr``.
        align_batch: Pairs of a step of stage 2; 0 is ``batch``.
    """

    name: ClassVar[str] = "popi"
    paper: ClassVar[str] = "POPI, 4"
    roles: ClassVar[tuple[str, ...]] = ("inference", "generator")
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"beta": (0.1, 0.05, 0.01)}
    told: Told = "summary"
    infer: bool = True
    align: bool = False
    signals: int = 8
    facts: tuple[str, ...] = ()
    group: int = 8
    judged: int = 1
    summary_tokens: int = 256
    temperature: float = 0.0
    per_unit: float = 0.002
    scale_rewards: str = "group"
    prompt_dependent: bool = False
    align_steps: int = 0
    align_lr: float = 0.0
    align_batch: int = 0
    beta: float = 0.05
    lr: float = 1e-6
    warmup: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.told not in ("summary", "raw", "nothing"):
            raise ConfigError(f"told is summary, raw or nothing, got {self.told!r}")
        if self.infer and self.told != "summary":
            self.infer = False  # there is no summary to be tuned
        if self.judged < 1:
            raise ConfigError(f"judged is 1 or more, got {self.judged}")
        if self.group < 2:
            raise ConfigError(f"group is 2 or more, so that summaries can be compared; got {self.group}")

    # ---- learning -------------------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        train = population.with_role("train")
        rows, left_out = examples_of(train, self.signals, self.seed, more=self.judged - 1)
        self.left_out_ = dict(left_out)
        self.curve_: list[dict[str, Any]] = []
        if self.infer and rows:
            self._stage_one(rows)
        if self.align and rows:
            self._stage_two(rows)
        self.cut_ = dict(self.talk.cut)
        self._trained()

    def _identity(self, rows: Sequence[Example], name: str) -> dict[str, Any]:
        """Return all that a stage's outcome depends on."""
        import hashlib

        told = repr([(r.user, r.id, r.chosen, r.rejected, [f.id for f in r.past]) for r in rows])
        config = {k: v for k, v in self.config.items() if k not in ("device", "save_every", "align")}
        return {
            "stage": name,
            "model": self.base.key,
            "data": hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(),
            **config,
        }

    def pair_ids(self, pairs: Sequence[Pair]) -> tuple[list[Ids], list[Ids], Floats]:
        """Return ids of chosen and rejected answers, and their reference's float64 [pairs, 2], in nats."""
        distinct = list(dict.fromkeys(talk for talk, _, _ in pairs))
        asked = self.talk.prompts([self.words.to_answer(talk) for talk in distinct])
        of = dict(zip(distinct, asked, strict=True))
        plain = [of[talk] for talk, _, _ in pairs]
        chosen = [self.talk.answer(text) for _, text, _ in pairs]
        rejected = [self.talk.answer(text) for _, _, text in pairs]
        ref = [self.reference(plain, answers) for answers in (chosen, rejected)]
        return chosen, rejected, np.stack(ref, 1)

    def _stage_one(self, rows: Sequence[Example]) -> None:
        """Tune the inference model by GRPO."""
        from trl import GRPOConfig

        from palate.tune.trainers import SummaryTrainer

        settings = self.settings(len(rows))
        rows = [*rows] * -(-self.batch // len(rows))  # GRPO passes over a batch that is not whole
        with stage("infer", {**self._identity(rows, "infer"), **as_plain(settings)}) as run:
            if run.done is not None:
                self.cast.load(run.folder / "weights")
                self.curve_ = run.done["curve"]
                return
            config = configured(
                GRPOConfig,
                settings,
                run,
                per_device_train_batch_size=self.batch * self.group,
                num_generations=self.group,
                max_completion_length=self.summary_tokens,
                loss_type="grpo",
                scale_rewards=self.scale_rewards,
                temperature=1.0,
            )
            prompts = [self._asked(row.past, row.profile, self._upcoming(row.conversation)) for row in rows]
            rewards = _Rewards(self, rows)
            trained = self.cast.to_train("inference")
            reference = None if self.lora_rank else self.base.model
            alpha = kl_weight(self.beta, self.kind, self.per_unit)
            log = run_stage(
                run,
                lambda callbacks: SummaryTrainer(
                    trained, reference, prompts, rewards, alpha, config, self.base.tokenizer, callbacks
                ),
                f"{self.label}: summaries",
            )
            self.curve_ = _curve(log)
            if run.leads:
                self.cast.save(run.folder / "weights")
            run.finish(curve=self.curve_)

    def _stage_two(self, rows: Sequence[Example]) -> None:
        """Tune the generator on the same objective."""
        from dataclasses import replace

        from trl import DPOConfig

        from palate.tune.trainers import AnswerRow, AnswerTrainer

        settings = self.settings(len(rows))
        settings = replace(
            settings,
            steps=self.align_steps or settings.steps,
            lr=self.align_lr or self.lr,
            batch=self.align_batch or self.batch,
        )
        with stage("align", {**self._identity(rows, "align"), **as_plain(settings)}) as run:
            if run.done is not None:
                self.cast.load(run.folder / "weights")
                return
            known = self._told_in_training(rows)
            prompts = [self.prompt(k, row.conversation) for k, row in zip(known, rows, strict=True)]
            chosen, rejected, ref = self.pair_ids([(r.conversation, r.chosen, r.rejected) for r in rows])
            data = [
                AnswerRow(p, c, r, float(rc), float(rr))
                for p, c, r, (rc, rr) in zip(prompts, chosen, rejected, ref, strict=True)
            ]
            config = configured(DPOConfig, settings, run)
            trained = self.cast.to_train("generator")
            run_stage(
                run,
                lambda callbacks: AnswerTrainer(
                    trained, data, self.kind, self.beta, config, self.base.tokenizer, callbacks
                ),
                f"{self.label}: answers",
            )
            if run.leads:
                self.cast.save(run.folder / "weights")
            run.finish()

    def _told_in_training(self, rows: Sequence[Example]) -> list[Known]:
        """Return what the generator is told of each row's user: a summary is drawn, as the equations say."""
        if self.told == "nothing":
            return [Known()] * len(rows)
        if self.told == "raw":
            return [Known(past=row.past, profile=self._facts(row.profile)) for row in rows]
        asked = [self._asked(row.past, row.profile, self._upcoming(row.conversation)) for row in rows]
        return [Known(summary=z) for z in self.summaries(asked, 1.0, self.seed)]

    # ---- summaries ------------------------------------------------------------------------------

    def _upcoming(self, conversation: Conversation) -> Conversation | None:
        return conversation if self.prompt_dependent else None

    def _facts(self, profile: Mapping[str, str]) -> Mapping[str, str]:
        if "*" in self.facts:
            return profile
        return {name: told for name, told in profile.items() if name.startswith(tuple(self.facts))}

    def _asked(
        self, past: Sequence[Feedback], profile: Mapping[str, str], upcoming: Conversation | None = None
    ) -> Ids:
        """Return what the inference model is asked, as ids; the oldest signals go where all do not fit."""
        signals = self.words.signals(past, self._facts(profile))
        ids, _ = self.talk.fitting(signals, lambda some: self.words.to_infer(some, upcoming))
        return ids

    def summaries(self, asked: Sequence[Ids], temperature: float, seed: int = 0) -> list[str]:
        """Return the inference model's summaries of signals, in words."""
        how = generation(self.base.ends, self._pad, self.summary_tokens, temperature)
        with self.cast.playing("inference") as model:
            ids = written(model.eval(), asked, how, self._pad, seed=seed)
        return [self.talk.words(row) for row in ids]

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Condense users: a summary, or the signals themselves."""
        self._check_fitted()
        people = histories if isinstance(histories, Population) else Population.of(histories)
        views = list(people)
        past = [signals_of(history, self.signals) for history in views]
        texts: list[str | None] = [None] * len(views)
        if self.told == "nothing":
            return self._personas(people, texts)
        if self.told == "raw" or self.prompt_dependent:
            return self._personas(people, texts, past)
        heard = [i for i, v in enumerate(views) if past[i] or self._facts(v.profile)]
        asked = [self._asked(past[i], views[i].profile) for i in heard]
        for i, summary in zip(heard, self.summaries(asked, self.temperature, self.seed), strict=True):
            texts[i] = summary or None
        return self._personas(people, texts)

    def _known(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[Known]:
        known = super()._known(personas, conversations)
        if not (self.prompt_dependent and self.told == "summary"):
            return known
        told = [i for i, k in enumerate(known) if k.past]
        asked = [self._asked(known[i].past, {}, conversations[i]) for i in told]
        for i, summary in zip(told, self.summaries(asked, self.temperature, self.seed), strict=True):
            known[i] = Known(summary=summary)
        return known

    def describe(self, persona: Persona) -> str:
        """Return the persona's words."""
        return persona.text or "The average user: nothing is known in words."


class _Rewards:
    """The reward of summaries: -l of each, the mean over its row's pairs, all in one batch.

    Equal summaries of one row are scored once. The generator is the base as it came.
    """

    def __init__(self, method: Popi, rows: Sequence[Example]) -> None:
        self.method = method
        self.pairs = [list(_judged(row)) for row in rows]
        flat = [pair for pairs in self.pairs for pair in pairs]
        chosen, rejected, ref = method.pair_ids(flat)
        lead = (ref[:, 0] - ref[:, 1]).tolist()
        ids = iter(zip(chosen, rejected, lead, strict=True))
        self.ids = [[next(ids) for _ in pairs] for pairs in self.pairs]

    def __call__(self, completions: Sequence[Sequence[int]], rows: Sequence[int]) -> list[float]:
        method, pad = self.method, self.method.base.tokenizer.pad_token_id
        keys = [(row, method.talk.words(ids)) for ids, row in zip(completions, rows, strict=True)]
        distinct = list(dict.fromkeys(keys))
        told = [
            method.words.to_answer(talk, summary=z) for row, z in distinct for talk, _, _ in self.pairs[row]
        ]
        prompts = [prompt for prompt in method.talk.prompts(told) for _ in range(2)]
        ids = [each for row, _ in distinct for each in self.ids[row]]
        answers = [side for chosen, rejected, _ in ids for side in (chosen, rejected)]
        with method.cast.playing("reference") as model:
            found = answer_logprobs(model, prompts, answers, pad)
        m = torch.from_numpy(found[0::2] - found[1::2] - np.array([lead for _, _, lead in ids]))
        loss = preference_loss(m, method.beta, method.kind).tolist()
        reward, at = {}, 0
        for key in distinct:
            n = len(self.pairs[key[0]])
            reward[key] = -sum(loss[at : at + n]) / n
            at += n
        return [reward[key] for key in keys]


def _judged(row: Example) -> Iterator[Pair]:
    """Yield the pairs by which a row's summaries are judged: conversation, chosen, rejected."""
    yield row.conversation, row.chosen, row.rejected
    for choice in row.more:
        chosen = choice.responses[choice.chosen or 0]
        for i, text in enumerate(choice.responses):
            if i != choice.chosen and text != chosen:
                yield choice.conversation, chosen, text


def _curve(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what training looked like: reward, its deviation, length and KL, every few steps."""
    names = {
        "reward": "reward",
        "reward_std": "deviation",
        "completions/mean_length": "tokens",
        "kl": "kl",
    }
    return [
        {"step": line["step"], **{mine: line[theirs] for theirs, mine in names.items() if theirs in line}}
        for line in log
        if "reward" in line
    ]
