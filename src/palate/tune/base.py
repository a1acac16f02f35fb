"""The bases of trained-in methods: a language model that is tuned, kept, and asked.

``TunedMethod`` loads any Hugging Face causal model and keeps what training changed. ``WritingMethod`` has a
generator pi_theta: it scores an answer by its implicit reward,

    s(y) = beta [log pi_theta(y | x, z) - log pi_ref(y | x)]

where z is what is known of the user, which pi_ref never sees; and it writes. A persona is
told to the generator in one way: its text as a summary, else its examples as raw signals, else nothing.
Reference log-probabilities are computed once an answer and kept.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from palate.core import (
    Claim,
    ConfigError,
    Conversation,
    Feedback,
    Method,
    Persona,
    Personas,
    Population,
    Queries,
    StorageError,
)
from palate.harm import screen
from palate.tune.losses import KINDS, Kind, log_odds
from palate.tune.model import Base, Cast, Lora, load_base
from palate.tune.prompts import Templates, templates
from palate.tune.running import Settings
from palate.tune.scoring import answer_logprobs
from palate.tune.talk import Talk
from palate.tune.writing import generation, pieces, written

__all__ = ["Floats", "Ids", "Known", "TunedMethod", "WritingMethod"]

Floats = NDArray[np.floating[Any]]
Ids = list[int]


@dataclass(frozen=True)
class Known:
    """What the generator is told of a user: a summary in words, else past choices, else nothing."""

    summary: str = ""
    past: tuple[Feedback, ...] = ()
    profile: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class TunedMethod(Method):
    """A method that tunes a language model.

    Args:
        model: A causal language model: a folder, or a name on the hub; "" is $PALATE_MODEL.
        dtype: Of its weights: ``float32``, ``bfloat16`` or ``float16``.
        device: Where it runs; "" is the first GPU if there is one.
        limit: Most tokens of a sequence.
        answer_tokens: Most tokens of an answer.
        lora_rank: Rank of the adapters; 0 tunes all weights.
        lora_alpha: Their scale times their rank.
        lora_targets: Layers that get one.
        steps: Optimizer steps; 0 goes by ``epochs``.
        epochs: Passes over the training pairs, where ``steps`` is 0.
        batch: Pairs (or users' groups) of a step.
        accumulate: Batches added up before a step.
        lr: Highest learning rate.
        warmup: Steps until it is reached.
        schedule: How it falls: ``cosine``, ``linear`` or ``constant``.
        weight_decay: AdamW's.
        clip: Largest norm of a gradient.
        bf16: Whether to compute in bfloat16 beside float32 weights.
        checkpointing: Whether activations are recomputed to save memory.
        save_every: Steps between checkpoints.
        templates: How models are spoken to: a name of :mod:`palate.tune.prompts`.
        seed: Of every draw.
    """

    needs: ClassVar[str] = "a causal language model to tune: --model, extra tune"
    tunes: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("trl", "peft", "accelerate", "datasets")
    baseline: ClassVar[str] = "pooled"
    gate_folds: ClassVar[int] = 2
    seconds_per_10k: ClassVar[float] = 3600.0
    roles: ClassVar[tuple[str, ...]] = ("generator",)
    reward: ClassVar[bool] = False
    model: str = ""
    dtype: str = "float32"
    device: str = ""
    limit: int = 2048
    answer_tokens: int = 512
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_targets: tuple[str, ...] = ("all-linear",)
    steps: int = 0
    epochs: float = 1.0
    batch: int = 8
    accumulate: int = 1
    lr: float = 1e-5
    warmup: int = 0
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    bf16: bool = False
    checkpointing: bool = False
    save_every: int = 100
    templates: str = "first"
    seed: int = 0

    def __post_init__(self) -> None:
        self.model = self.model or os.environ.get("PALATE_MODEL", "")
        templates(self.templates)
        self._opened: tuple[Cast, Talk] | None = None

    # ---- the model ------------------------------------------------------------------------------

    @property
    def words(self) -> Templates:
        """How models are spoken to."""
        return templates(self.templates)

    @property
    def cast(self) -> Cast:
        """The model in its roles; it is loaded on first use."""
        return self._loaded()[0]

    @property
    def base(self) -> Base:
        """The model as it came."""
        return self.cast.base

    @property
    def talk(self) -> Talk:
        """What turns messages into ids."""
        return self._loaded()[1]

    def _loaded(self) -> tuple[Cast, Talk]:
        if self._opened is None:
            base = load_base(
                self.model,
                dtype=self.dtype,
                device=self.device or None,
                limit=self.limit,
                reward=self.reward,
            )
            lora = Lora(self.lora_rank, self.lora_alpha, tuple(self.lora_targets))
            cast = Cast(base, lora, self.roles, reward=self.reward, seed=self.seed)
            self._opened = cast, Talk(base, self.answer_tokens)
        return self._opened

    def settings(self, rows: int) -> Settings:
        """Return how it is trained on ``rows`` examples."""
        each = self.batch * self.accumulate
        steps = self.steps or max(1, int(np.ceil(self.epochs * rows / each)))
        return Settings(
            steps=steps,
            batch=self.batch,
            accumulate=self.accumulate,
            lr=self.lr,
            warmup=self.warmup,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            clip=self.clip,
            bf16=self.bf16,
            checkpointing=self.checkpointing,
            save_every=self.save_every,
            seed=self.seed,
        )

    def fit(self, population: Population) -> Self:
        """Learn what users share; what an earlier fit trained is forgotten."""
        self._opened = None
        return super().fit(population)

    def _trained(self) -> None:
        """Note which weights were learned, so that personas and caches know them."""
        self.base_ = self.base.key
        self.weights_ = [self.cast.key(role) for role in self.roles]

    def save(self, folder: str | Path) -> Path:
        """Write the settings, and the trained weights into ``weights/``."""
        path = super().save(folder)
        self.cast.save(path / "weights")
        return path

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up the settings, load the model and the trained weights.

        Raises:
            StorageError: If the model is another than it was trained from.
        """
        super().restore(folder, head)
        if self.base.key != self.base_:
            raise StorageError(
                f"{folder} was trained from another model than {self.model!r} is now (its files differ): put "
                "the first one back, or fit again"
            )
        self.cast.load(Path(folder) / "weights")
        return self

    # ---- hooks that most share ------------------------------------------------------------------

    def _condense(self, population: Population) -> Floats:
        return np.zeros((population.n_users, 0))

    def _personas(
        self,
        people: Population,
        texts: Sequence[str | None],
        examples: Sequence[tuple[Feedback, ...]] | None = None,
        claims: Sequence[tuple[Claim, ...]] | None = None,
    ) -> Personas:
        """Return personas of words and examples, with no vector."""
        n = people.n_users
        return Personas(
            self.label,
            self.fingerprint,
            people.users,
            None,
            np.ones(n, dtype=bool),
            people,
            texts=texts,
            examples=examples or [()] * n,
            claims=claims or [()] * n,
        )


@dataclass(kw_only=True, eq=False)
class WritingMethod(TunedMethod):
    """A method whose generator scores answers by its implicit reward, and writes.

    Args:
        kind: ``dpo`` or ``ipo``.
        beta: Scale of the implicit reward.
    """

    scores_over_base: ClassVar[bool] = True
    """Its scores are log-ratios to the base that is told nothing."""
    kind: Kind = "dpo"
    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ConfigError(f"kind is one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.beta > 0:
            raise ConfigError(f"beta is above 0, got {self.beta}")
        self._reference: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}

    def fit(self, population: Population) -> Self:
        """Learn what users share; what an earlier fit trained is forgotten."""
        self._reference = {}
        return super().fit(population)

    # ---- what is told ---------------------------------------------------------------------------

    def _known(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[Known]:
        """Return what the generator is told of each user for each conversation."""
        del conversations
        return [Known(p.text or "", () if p.text else p.examples) for p in personas]

    def prompt(self, known: Known, conversation: Conversation) -> Ids:
        """Return the generator's prompt; what a summary asks that would do harm is left out."""
        words = self.words
        if known.summary:
            kept = screen(known.summary).kept
            return self.talk.prompt(words.to_answer(conversation, summary=kept))
        if known.past or known.profile:
            signals = words.signals(known.past, known.profile)
            ids, _ = self.talk.fitting(signals, lambda some: words.to_answer(conversation, signals=some))
            return ids
        return self.talk.prompt(words.to_answer(conversation))

    def added_tokens(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[int]:
        """Return how many tokens what is known of each user adds to its prompt."""
        known = self._known(personas, conversations)
        return [
            len(self.prompt(k, c)) - len(self.prompt(Known(), c))
            for k, c in zip(known, conversations, strict=True)
        ]

    # ---- scores ---------------------------------------------------------------------------------

    def margins(self, prompts: Sequence[Ids], plain: Sequence[Ids], answers: Sequence[Ids]) -> Floats:
        """Return float64 [answers]: log pi_theta(y | prompt) - log pi_ref(y | plain prompt), in nats."""
        with self.cast.playing("generator") as generator:
            told = answer_logprobs(generator.eval(), prompts, answers, self._pad)
        return told - self._plainly(plain, answers)  # not what was kept: equal questions, equal bits

    def reference(self, plain: Sequence[Ids], answers: Sequence[Ids]) -> Floats:
        """Return float64 [answers]: log pi_ref(y | x); each is computed once a fit."""
        keys = [(tuple(p), tuple(a)) for p, a in zip(plain, answers, strict=True)]
        new = [key for key in dict.fromkeys(keys) if key not in self._reference]
        if new:
            found = self._plainly([k[0] for k in new], [k[1] for k in new])
            self._reference.update(zip(new, found.tolist(), strict=True))
        return np.array([self._reference[key] for key in keys])

    def _plainly(self, plain: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Floats:
        with self.cast.playing("reference") as model:
            return answer_logprobs(model.eval(), plain, answers, self._pad)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        del vectors
        sizes = np.diff(queries.offsets)
        corpus = queries.corpus
        conversations = [corpus.conversation(i) for i in queries.options[queries.offsets[:-1]].tolist()]
        known = self._known([queries.personas[who] for who in queries.who.tolist()], conversations)
        prompts = [self.prompt(k, c) for k, c in zip(known, conversations, strict=True)]
        plain = [self.prompt(Known(), c) for c in conversations]
        owner = np.repeat(np.arange(len(queries)), sizes)
        answers = [self.talk.answer(corpus.response(i)) for i in queries.options.tolist()]
        m = self.margins([prompts[i] for i in owner], [plain[i] for i in owner], answers)
        return np.asarray(log_odds(torch.from_numpy(m), self.beta, self.kind).numpy())

    # ---- words ----------------------------------------------------------------------------------

    def generate_batch(
        self,
        personas: Sequence[Persona],
        conversations: Sequence[Conversation],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        longest: int = 0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return ``samples`` answers for each persona and conversation, side by side."""
        self._check_fitted()
        known = self._known(personas, conversations)
        prompts = [self.prompt(k, c) for k, c in zip(known, conversations, strict=True)]
        return self._answers("generator", prompts, samples, self._drawing(temperature, longest), seed)

    def base_batch(
        self,
        conversations: Sequence[Conversation],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        longest: int = 0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return answers of the model as it came, told nothing: what a method's answers are compared with."""
        prompts = [self.prompt(Known(), c) for c in conversations]
        return self._answers("reference", prompts, samples, self._drawing(temperature, longest), seed)

    def _answers(
        self, role: str, prompts: Sequence[Ids], samples: int, how: Any, seed: int
    ) -> list[list[str]]:
        each = [p for p in prompts for _ in range(samples)]
        with self.cast.playing(role) as model:
            ids = written(model.eval(), each, how, self._pad, seed=seed)
        words = [self.talk.words(row) for row in ids]
        return [words[i * samples : (i + 1) * samples] for i in range(len(prompts))]

    def stream(
        self,
        persona: Persona,
        conversation: Conversation,
        *,
        temperature: float = 1.0,
        longest: int = 0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield one answer piece by piece."""
        self._check_fitted()
        (known,) = self._known([persona], [conversation])
        how = self._drawing(temperature, longest)
        with self.cast.playing("generator") as model:
            yield from pieces(
                model.eval(), self.base.tokenizer, self.prompt(known, conversation), how, seed=seed
            )

    def _drawing(self, temperature: float, longest: int) -> Any:
        return generation(
            self.base.ends, self._pad, min(longest or self.talk.room, self.talk.room), temperature
        )

    @property
    def _pad(self) -> int:
        return int(self.base.tokenizer.pad_token_id)
