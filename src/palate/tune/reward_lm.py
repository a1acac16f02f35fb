"""reward-lm: a language model with a scalar head, fine-tuned on choices, told of the user or not.

    r_u(x, y) = head . h(known of u, x, y)          h the state at the answer's end; log-odds
    l = alpha l(known) + (1 - alpha) l(nothing),    l = -log sigmoid(r(y_c) - r(y_r)); a tie's target is 0.5

What is known, ``told``:

    nothing         one model for everybody (vanilla Bradley-Terry)
    profile         the user's profile, or an id that was trained on, before the prompt (conditional)
    persona         words that ``writer`` wrote of the user, in the prompt
    persona+demos   and the past choices that it remembers
    user            m soft tokens of the user, e_u = e_0 + o_u or a mixture of K; of a new user only these are
                    fitted, with the model as it is (P-RLHF)
    codes           soft tokens of the codes of the user's past choices (EpiPersona-B)

A persona that was written from a choice knows it, so training pairs are read beside personas from the other
``folds`` of the choices, and beside codes of other conversations. The average user is told as nothing: no
words, user 0 (o = 0), no code.

Source: "SynthesizeMe!", 5.1, 5.3 and table 6 (reward model, with personas and demonstrations); "When
Personalization Meets Reality", 3.1 and 3.2 (vanilla, conditional, P-RLHF); EpiPersona 4, EpiPersona-B.
Departs: personas are cross-fitted; a user's own numbers start at zero, in units of the embeddings' spread,
and a new user's have a normal prior; past choices are estimated by the model as it came, so that each is read
once; ties count; float32 unless ``bf16`` is set.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    ConfigError,
    Conversation,
    History,
    Method,
    MethodError,
    Persona,
    Personas,
    Population,
    Queries,
)
from palate.harm import screen
from palate.tune.abduce import new_writer
from palate.tune.base import TunedMethod
from palate.tune.reward_reading import rewards
from palate.tune.reward_rows import crossed, facts, led, written
from palate.tune.reward_soft import ByCodes, ByUser
from palate.tune.running import Stage, as_plain, configured, run_stage, stage
from palate.tune.soft import Softened

__all__ = ["RewardLM"]

Floats = NDArray[np.floating[Any]]
Ids = list[int]
Told = Literal["nothing", "profile", "persona", "persona+demos", "user", "codes"]
_TOLD = ("nothing", "profile", "persona", "persona+demos", "user", "codes")
_NOBODY = Persona()


@dataclass(kw_only=True, eq=False)
class RewardLM(TunedMethod):
    """A language model is tuned to give a reward, told nothing of the user, or what is known of them.

    Args:
        told: What it is told; see the module's text.
        alpha: Weight of the loss with what is told; None is 0.5 for ``user``, as in P-RLHF, and else 1.
        writer: Name of the method that writes personas: a read method, ``style``, ``popi``.
        lm: The language model that the writer asks; "" is $PALATE_LM.
        encoder: The encoder that the writer reads answers by, if it reads any.
        writing: Other fields of the writer, by name: a mapping, or pairs of name and value.
        folds: Parts that a training user's choices are cut into; 1 reads pairs beside personas that saw them.
        tokens: m, soft tokens of a user (``user``).
        clusters: K, embeddings that users mix; 0 gives each an offset of their own (``user``).
        soft_lr: Learning rate of soft tokens; 0 is ``lr``.
        contexts: Most past choices (``user``), or windows of them (``codes``), that a user is known by.
        new_steps: Steps in which a new user's own numbers are fitted (``user``).
        new_lr: Learning rate of these.
        bond: Precision of the prior on them.
        reader: What estimates the persona behind a past choice (``codes``): "" is the model itself, asked why
            it was made; else another language model ``hf:...``, or an encoder.
        question: What that model is asked; "" is the usual question.
        codes: Size of the codebook.
        width: Numbers of a code.
        window: Consecutive choices that make one code.
        commitment: Weight of the commitment loss.
        decay: Of the codes' moving averages.
        revive: A code whose moving count falls below this becomes one of the batch's windows.
    """

    name: ClassVar[str] = "reward-lm"
    paper: ClassVar[str] = "SynthesizeMe, 5.1 and table 6: fine-tuned reward model, with personas"
    roles: ClassVar[tuple[str, ...]] = ("reward",)
    reward: ClassVar[bool] = True
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"lr": (3e-5, 1e-4, 3e-4), "lora_rank": (16, 64)}
    told: Told = "nothing"
    alpha: float | None = None
    writer: str = "synthesizeme"
    lm: str = ""
    encoder: str = "lexical"
    writing: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    folds: int = 2
    tokens: int = 10
    clusters: int = 0
    soft_lr: float = 0.0
    contexts: int = 32
    new_steps: int = 30
    new_lr: float = 0.05
    bond: float = 0.01
    reader: str = ""
    question: str = ""
    codes: int = 64
    width: int = 32
    window: int = 1
    commitment: float = 0.2
    decay: float = 0.95
    revive: float = 1.0
    limit: int = 8192
    lora_rank: int = 64
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    lr: float = 3e-4
    schedule: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lm = self.lm or os.environ.get("PALATE_LM", "")
        self._writer: Method | None = None
        self._soft: ByUser | ByCodes | None = None
        if self.told not in _TOLD:
            raise ConfigError(f"told is one of {', '.join(_TOLD)}, got {self.told!r}")
        for field in ("folds", "tokens", "contexts", "new_steps", "codes", "width", "window"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{self.name}: {field} is 1 or more, got {getattr(self, field)}")
        if self.clusters < 0 or self.bond < 0 or not 0 <= self.share <= 1:
            raise ConfigError(
                f"{self.name}: clusters={self.clusters}, bond={self.bond}, alpha={self.alpha}; expected "
                "numbers that are not negative, and alpha at most 1"
            )

    @property
    def share(self) -> float:
        """Weight of the loss with what is told."""
        return self.alpha if self.alpha is not None else 0.5 if self.told == "user" else 1.0

    @property
    def _reads(self) -> bool:
        """Whether a writer puts users into words."""
        return self.told.startswith("persona")

    def _loaded(self) -> Any:
        if self._opened is None:
            base = super()._loaded()[0].base
            positions = getattr(base.model.config.get_text_config(), "max_position_embeddings", base.limit)
            base.limit = min(base.limit, positions - self._room)  # soft tokens have positions too
        return super()._loaded()

    @property
    def _room(self) -> int:
        return {"user": self.tokens, "codes": self.contexts + 1}.get(self.told, 0)

    # ---- learning -------------------------------------------------------------------------------

    def fit(self, population: Population) -> Self:
        """Learn what users share; what an earlier fit trained is forgotten."""
        self._writer = self._soft = None
        return super().fit(population)

    def _learn(self, population: Population) -> None:
        people = population.with_role("train")
        if not len(people.pairs):
            raise MethodError(f"{self.name} has no pair of a training user to learn from")
        if self.told == "profile":
            self.users_ = [str(user) for user in people.users]
        if self._reads:
            self._writer = self._new_writer().fit(population)
            self.writer_print_ = self._writer.fingerprint
        rows = self._rows(people)
        self._train(rows)
        if self._soft is not None:
            for name, value in self._soft.arrays().items():
                setattr(self, f"soft_{name}_", value)
            self._soft.check(people)
        self.cut_ = dict(self.talk.cut)
        self._trained()

    def _new_writer(self) -> Method:
        fields = dict(self.writing)
        if self.told == "persona+demos" and self.writer == "synthesizeme":
            fields = {"variant": "both", **fields}
        return new_writer(self.writer, fields, self.lm, self.encoder, self.seed)

    def _rows(self, people: Population) -> list[Any]:
        """Return the training pairs, each with what is told of its user."""
        from palate.tune.reward_training import RewardRow

        plain = self._sequences(people, [_NOBODY] * len(people.pairs))
        if self.told in ("user", "codes"):
            self._soft = self._new_soft()
            given = self._soft.begin(people)
            return [
                RewardRow(c, r, t, (), g.who, g.past, g.window)
                for (c, r), t, g in zip(plain, people.pairs.target.tolist(), given, strict=True)
            ]
        told = self._sequences(people, self._told_in_training(people))
        return [
            RewardRow(c, r, t, both if self.share < 1 else ())
            for (c, r), t, both in zip(told, people.pairs.target.tolist(), plain, strict=True)
        ]

    def _new_soft(self) -> ByUser | ByCodes:
        like = self.base.model.get_input_embeddings().weight
        return ByUser(self, like) if self.told == "user" else ByCodes(self, like)

    def _told_in_training(self, people: Population) -> list[Persona]:
        """Return the persona that each pair is read beside."""
        if self._writer is not None:
            return crossed(self._writer, people, self.folds)
        told = self._by_profile(people)
        return [told[user] for user in people.pairs.user.tolist()]

    def _by_profile(self, people: Population) -> list[Persona]:
        if self.told != "profile":
            return [Persona(user) for user in people.users]
        return [Persona(u, facts(people.profiles.get(u, {}), u, self.users_) or None) for u in people.users]

    def _sequences(self, people: Population, told: Sequence[Persona]) -> list[tuple[Ids, Ids]]:
        """Return the ids of each pair's two sequences, beside a persona for each pair."""
        corpus, pairs = people.corpus, people.pairs
        out = []
        for persona, winner, loser in zip(told, pairs.winner.tolist(), pairs.loser.tolist(), strict=True):
            prompt = self.prompt(persona, corpus.conversation(winner))
            chosen, rejected = (self.talk.answer(corpus.response(item)) for item in (winner, loser))
            out.append((prompt + chosen, prompt + rejected))
        return out

    def _train(self, rows: Sequence[Any]) -> None:
        from trl import RewardConfig

        from palate.tune.reward_training import MixedRewardTrainer

        settings = self.settings(len(rows))
        config = {k: v for k, v in self.config.items() if k not in ("device", "save_every")}
        data = hashlib.blake2b(repr(rows).encode(), digest_size=8).hexdigest()
        identity = {"stage": "reward", "model": self.base.key, "data": data, **config, **as_plain(settings)}
        with stage("reward", identity) as run:
            if run.done is not None:
                self._take_up(run)
                return
            trained = self.cast.to_train("reward")
            if self.checkpointing and self.lora_rank:
                trained.enable_input_require_grads()
            soft = self._soft
            model = Softened(trained, None if soft is None else soft.module)
            own = configured(RewardConfig, settings, run, max_length=None)
            log = run_stage(
                run,
                lambda callbacks: MixedRewardTrainer(
                    model,
                    rows,
                    self.share,
                    None if soft is None else soft.batch,
                    self.soft_lr,
                    own,
                    self.base.tokenizer,
                    callbacks,
                ),
                f"{self.label}: reward",
            )
            self.curve_ = [line for line in log if "loss" in line]
            if run.leads:
                self.cast.save(run.folder / "weights")
                if soft is not None:
                    np.savez(run.folder / "soft.npz", allow_pickle=False, **soft.arrays())
            run.finish(curve=self.curve_)

    def _take_up(self, run: Stage) -> None:
        """Take up what a finished stage left."""
        assert run.done is not None
        self.cast.load(run.folder / "weights")
        self.curve_ = run.done["curve"]
        if self._soft is not None:
            with np.load(run.folder / "soft.npz", allow_pickle=False) as arrays:
                self._soft.take(dict(arrays))

    # ---- adapting -------------------------------------------------------------------------------

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Condense users: into words, a profile, or numbers; see ``told``."""
        if self.told in ("user", "codes"):
            return super().adapt_batch(histories)
        self._check_fitted()
        people = histories if isinstance(histories, Population) else Population.of(histories)
        told = self._by_profile(people) if self._writer is None else written(self._writer, people)
        demos = [p.examples if self.told == "persona+demos" else () for p in told]
        return self._personas(people, [p.text for p in told], demos, [p.claims for p in told])

    def _condense(self, population: Population) -> Floats:
        if self._soft is None:
            return super()._condense(population)
        if not len(population.pairs):
            return np.zeros((population.n_users, self._soft.numbers))
        with self.cast.playing("reward") as model:
            nobody = [_NOBODY] * len(population.pairs)
            return self._soft.condense(
                population, Softened(model).eval(), lambda people: self._sequences(people, nobody), self._pad
            )

    def describe(self, persona: Persona) -> str:
        """Return the persona's words."""
        return persona.text or "Nothing is known of this user in words."

    # ---- scores ---------------------------------------------------------------------------------

    def prompt(self, persona: Persona, conversation: Conversation) -> Ids:
        """Return the ids of a prompt with what is told of a user; what asks for harm is left out."""
        words, text = self.words, screen(persona.text or "").kept
        if self.told == "profile" and text:
            return self.talk.prompt(words.to_answer(led(conversation, text, words.separator)))
        demos = words.signals(persona.examples, {}) if self.told == "persona+demos" else []
        if not self._reads or not (text or demos):
            return self.talk.prompt(words.to_answer(conversation))
        own = [text] if text else []
        ids, _ = self.talk.fitting(
            demos, lambda some: words.to_answer(conversation, words.separator.join([*own, *some]))
        )
        return ids

    def added_tokens(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[int]:
        """Return how many tokens what is known of each user adds to its prompt, soft ones counted."""
        out = []
        for persona, talk in zip(personas, conversations, strict=True):
            more = len(self.prompt(persona, talk)) - len(self.prompt(_NOBODY, talk))
            vector = persona.vector or ()
            soft = {"user": self.tokens, "codes": 1 + int(sum(vector))}.get(self.told, 0)
            out.append(more + soft)
        return out

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        corpus, soft = queries.corpus, self._soft
        first = queries.options[queries.offsets[:-1]].tolist()
        people = [_NOBODY] * len(queries) if soft else [queries.personas[i] for i in queries.who.tolist()]
        prompts = [self.prompt(p, corpus.conversation(i)) for p, i in zip(people, first, strict=True)]
        query = queries.option_query
        who = queries.who[query] if soft else np.zeros(len(query), np.int64)
        answers = [self.talk.answer(corpus.response(item)) for item in queries.options.tolist()]
        keys = [
            (u, tuple(prompts[q] + a)) for u, q, a in zip(who.tolist(), query.tolist(), answers, strict=True)
        ]
        distinct = list(dict.fromkeys(keys))  # the same answer to the same user is read once
        owner = np.array([u for u, _ in distinct], np.int64)
        with self.cast.playing("reward") as model:
            found = rewards(
                Softened(model).eval(),
                [ids for _, ids in distinct],
                self._pad,
                None if soft is None else lambda part: soft.soft(vectors[owner[part]]),
            )
        value = dict(zip(distinct, found.tolist(), strict=True))
        return np.array([value[key] for key in keys], np.float64)

    @property
    def _pad(self) -> int:
        return int(self.base.tokenizer.pad_token_id)

    # ---- disk -----------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write settings, weights and soft tokens, and the writer in a folder of its own inside."""
        if self._writer is not None:
            self._writer.save(Path(folder) / "writer")
        return super().save(folder)

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up what :meth:`save` wrote."""
        super().restore(folder, head)
        if self._reads:
            from palate.catalogue import load

            self._writer = load(Path(folder) / "writer")
        if self.told in ("user", "codes"):
            self._soft = self._new_soft()
            own = {k[5:-1]: v for k, v in self._state().items() if k.startswith("soft_")}
            self._soft.take(own)
        return self
