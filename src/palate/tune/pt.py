"""pt: a language model is tuned on choices told with the persona that would make them, so that it heeds one.

For each pair (x, y_c, y_r) a writer abduces P_C, who would prefer y_c (:mod:`palate.tune.abduce`). Then

    few-shot    no training: the prompt is (x_1, P_1) y_1 ... (x_k, P_k) y_k (x, P), with the k training pairs
                whose prompts are most like x
    sft         minimise - log pi(y_c | x, P_C), by token
    dpo         from the sft model pi_0, minimise - log sigmoid(beta m),
                m = log pi(y_c | x, P_C) / pi_0(y_c | x, P_C) - log pi(y_r | x, P_C) / pi_0(y_r | x, P_C)

P_R, who would prefer y_r, teaches nothing: that somebody may like y_r does not make it the best answer for
them. It tests whether uncommon wishes are served. Without ``told_in_training`` the same stages leave P_C out:
plain SFT and DPO, given the persona at test only, the control that the method must beat.

At test the persona is the user's own, condensed from their choices; or the one of the training pair whose
prompt is most like x (``retrieved``), for users of whom nothing is known; and where a persona's text is given
it is taken (gold). Scores are those of all writing methods: beta log of pi(y | x, P) over the base's
pi_ref(y | x). The margin that is trained stands over pi_0 with the persona instead; both rank answers.

A persona that asks for harm is refused. Its pair is left out, or with ``refusals`` answered like none: the
model is shown that persona in full, learns the base's own answer to the plain prompt, and in ``dpo`` prefers
it to y_c.

Source: "Whose Boat Does it Float?", Persona Tailoring; rates and adapters from there. Departs: the number of
epochs is fixed; prompts are our own words; retrieval by any encoder, late interaction by default; screening.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from palate.core import (
    ConfigError,
    Conversation,
    History,
    Method,
    Persona,
    Personas,
    Population,
)
from palate.tune.abduce import (
    SELF,
    Pair,
    by_itself,
    by_writer,
    condensed,
    new_writer,
    of_population,
    pairs_of,
    wish,
)
from palate.tune.base import Ids, Known, WritingMethod
from palate.tune.examples import Example, examples_of
from palate.tune.lessons import Lesson, digest, sides
from palate.tune.prompts import Message
from palate.tune.running import Settings, as_plain, configured, run_stage, stage
from palate.tune.scoring import answer_logprobs
from palate.tune.shelf import Shelf, Shot
from palate.tune.writing import generation, written

__all__ = ["PT"]

Variant = Literal["few-shot", "sft", "dpo"]
_VARIANTS = ("few-shot", "sft", "dpo")
_STATEMENTS = 6  # of a condensed persona, as pi has
_AT_TEST = ("device", "save_every", "variant", "personas", "similarity", "shots", "signals")


@dataclass(kw_only=True, eq=False)
class PT(WritingMethod):
    """A language model that is tuned to heed a persona (Persona Tailoring).

    Args:
        variant: ``few-shot``, ``sft`` or ``dpo``.
        told_in_training: Whether the persona stands in the prompts of training; False is the control.
        writer: Who writes personas: ``self``, or the name of a method that writes.
        lm: The language model that the writer asks; "" is $PALATE_LM.
        writing: Other fields of the writer, by name: a mapping, or pairs of name and value.
        personas: At test: the user's ``own``, or ``retrieved`` by the prompt.
        signals: Most past choices that a persona of ``self`` is condensed from.
        persona_tokens: Longest sentence of ``self``.
        refusals: Whether pairs with a refused persona are trained with the plain prompt's answer.
        encoder: By which prompts are compared.
        similarity: ``late`` interaction or ``dense``.
        shots: Training pairs that ``few-shot`` shows.
        sft_steps: Steps of the supervised stage; 0 goes by ``sft_epochs``.
        sft_epochs: Its passes over the pairs.
        sft_lr: Its learning rate.
    """

    name: ClassVar[str] = "pt"
    paper: ClassVar[str] = "Whose Boat Does it Float?: Persona Tailoring"
    uses_lm: ClassVar[bool] = True
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "beta": (0.1, 0.05, 0.3),
        "sft_epochs": (1.0, 3.0, 10.0),
    }
    variant: Variant = "dpo"
    told_in_training: bool = True
    writer: str = "pi"
    lm: str = ""
    writing: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    personas: Literal["own", "retrieved"] = "own"
    signals: int = 8
    persona_tokens: int = 64
    refusals: bool = False
    encoder: str = "lexical"
    similarity: Literal["late", "dense"] = "late"
    shots: int = 4
    sft_steps: int = 0
    sft_epochs: float = 10.0
    sft_lr: float = 2e-5
    lr: float = 5e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in _VARIANTS:
            raise ConfigError(f"pt: variant is one of {', '.join(_VARIANTS)}, got {self.variant!r}")
        if self.personas not in ("own", "retrieved"):
            raise ConfigError(f"pt: personas is own or retrieved, got {self.personas!r}")
        if self.shots < 1 or self.signals < 1:
            raise ConfigError(f"pt: shots={self.shots}, signals={self.signals}; expected 1 or more of each")
        self.lm = self.lm or os.environ.get("PALATE_LM", "")
        self._forget()

    def _forget(self) -> None:
        self._writer: Method | None = None
        self._shelved: Shelf | None = None

    # ---- learning -------------------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        self._forget()
        rows, left_out = examples_of(population.with_role("train"), 0, self.seed)
        self.writer_print_ = ""
        if self.writer != SELF:
            fields = dict(self.writing)
            self._writer = new_writer(self.writer, fields, self.lm, self.encoder, self.seed).fit(population)
            self.writer_print_ = self._writer.fingerprint
        lessons = self._lessons(rows, left_out)
        self.store_ = self._stored(lessons)
        self.curve_: list[dict[str, Any]] = []
        if self.variant != "few-shot" and lessons:
            self._supervise(lessons)
            if self.variant == "dpo":
                self._prefer(lessons)
        self.left_out_ = {why: n for why, n in left_out.items() if n}
        self.cut_ = dict(self.talk.cut)
        self._trained()

    def _lessons(self, rows: Sequence[Example], left_out: Counter[str]) -> list[Lesson]:
        """Return the pairs that are learned from, each with its persona; say of the others why not.

        A pair of which the writer says nothing is told without a persona.
        """
        texts = self._abduced_once(rows)
        found = [Lesson(row, wish(text)) for row, text in zip(rows, texts, strict=True)]
        refused = [lesson for lesson in found if lesson.wish.refused]
        self.told_ = {
            "pairs": len(found),
            "with a persona": sum(bool(lesson.wish.text) for lesson in found),
            "with a persona that asks for harm": len(refused),
        }
        kept = [lesson for lesson in found if not lesson.wish.refused]
        if not (self.refusals and self.told_in_training) or self.variant == "few-shot":
            left_out["personas that ask for harm"] += len(refused)
            return kept
        plain = self._plain_answers([lesson.row for lesson in refused])
        return kept + [lesson._replace(plain=ids) for lesson, ids in zip(refused, plain, strict=True)]

    def _abduced_once(self, rows: Sequence[Example]) -> list[str]:
        """Return P_C of each pair as it was written; a job writes it once."""
        pairs = [Pair(row.conversation, row.chosen, row.rejected) for row in rows]
        if not pairs:
            return []
        asked = {"writer": self.writer, "print": self.writer_print_ or self.base.key}
        form = {"templates": self.templates, "persona_tokens": self.persona_tokens}
        with stage(
            "personas",
            {"stage": "personas", "data": digest([Lesson(row, wish("")) for row in rows]), **asked, **form},
        ) as run:
            if run.done is not None:
                return list(run.done["personas"])
            texts = self._abduced(pairs)
            run.finish(personas=texts)
        return texts

    def _abduced(self, pairs: Sequence[Pair]) -> list[str]:
        """Return who would choose so, for each pair; not screened."""
        if self._writer is not None:
            return by_writer(pairs, self._writer)
        return by_itself(pairs, self.cast, self.talk, self.words, self.persona_tokens)

    def _plain_answers(self, rows: Sequence[Example]) -> list[Ids]:
        """Return an answer of the base to each plain prompt, drawn."""
        asked = [self.prompt(Known(), row.conversation) for row in rows]
        how = generation(self.base.ends, self._pad, self.talk.room, 1.0)
        with self.cast.playing("reference") as model:
            return written(model, asked, how, self._pad, seed=self.seed)

    def _stored(self, lessons: Sequence[Lesson]) -> list[list[Any]]:
        """Return what is shown or retrieved at test: conversation, persona and chosen answer."""
        if self.variant != "few-shot" and self.personas != "retrieved":
            return []
        return [
            Shot(lesson.row.conversation, lesson.wish.text, lesson.row.chosen).to_plain()
            for lesson in lessons
            if lesson.wish.text
        ]

    def _identity(self, lessons: Sequence[Lesson], name: str) -> dict[str, Any]:
        """Return all that a stage's outcome depends on."""
        config = {k: v for k, v in self.config.items() if k not in _AT_TEST}
        return {"stage": name, "model": self.base.key, "data": digest(lessons), **config}

    def _told(self, lesson: Lesson) -> Ids:
        """Return the prompt of a pair in training; a refused persona is shown in full, to be unlearned."""
        if lesson.wish.refused and self.told_in_training:
            asked = self.words.to_answer(lesson.row.conversation, summary=lesson.wish.refused)
            return self.talk.prompt(asked)
        told = lesson.wish.text if self.told_in_training else ""
        return self.prompt(Known(summary=told), lesson.row.conversation)

    def _supervise(self, lessons: Sequence[Lesson]) -> None:
        """Tune the generator to write what was chosen."""
        from trl import SFTConfig

        from palate.tune.sft import SupervisedRow, SupervisedTrainer

        each = self.batch * self.accumulate
        steps = self.sft_steps or max(1, int(np.ceil(self.sft_epochs * len(lessons) / each)))
        settings = replace(self.settings(len(lessons)), steps=steps, lr=self.sft_lr)
        rows = [SupervisedRow(self._told(lesson), sides(lesson, self.talk)[0]) for lesson in lessons]
        self._run(
            "sft",
            lessons,
            settings,
            SFTConfig,
            lambda trained, config, callbacks: SupervisedTrainer(
                trained, rows, config, self.base.tokenizer, callbacks
            ),
        )

    def _prefer(self, lessons: Sequence[Lesson]) -> None:
        """Tune the generator to prefer what was chosen, from where the supervised stage left it."""
        from trl import DPOConfig

        from palate.tune.trainers import AnswerRow, AnswerTrainer

        found = [(self._told(lesson), *sides(lesson, self.talk)) for lesson in lessons]
        found = [(asked, wanted, other) for asked, wanted, other in found if wanted != other]
        if not found:
            return
        asked, wanted, other = map(list, zip(*found, strict=True))
        with self.cast.playing("generator") as model:
            ref = [answer_logprobs(model, asked, side, self._pad) for side in (wanted, other)]
        rows = [AnswerRow(*row) for row in zip(asked, wanted, other, *(r.tolist() for r in ref), strict=True)]
        self._run(
            "dpo",
            lessons,
            self.settings(len(rows)),
            DPOConfig,
            lambda trained, config, callbacks: AnswerTrainer(
                trained, rows, self.kind, self.beta, config, self.base.tokenizer, callbacks
            ),
        )

    def _run(self, name: str, lessons: Sequence[Lesson], settings: Settings, kind: type, make: Any) -> None:
        """Run a stage of training, or take up what it left when it was finished before."""
        with stage(name, {**self._identity(lessons, name), **as_plain(settings)}) as run:
            if run.done is not None:
                self.cast.load(run.folder / "weights")
                self.curve_ += run.done["curve"]
                return
            config = configured(kind, settings, run)
            trained = self.cast.to_train("generator")
            log = run_stage(run, lambda callbacks: make(trained, config, callbacks), f"{self.label}: {name}")
            curve = [{"stage": name, **_seen(line)} for line in log if "loss" in line]
            self.curve_ += curve
            if run.leads:
                self.cast.save(run.folder / "weights")
            run.finish(curve=curve)

    # ---- personas -------------------------------------------------------------------------------

    def chosen_personas(self, population: Population) -> list[str | None]:
        """Return P_C of each of ``population.pairs``: who would choose as was chosen; None for a tie.

        They are written from the very pairs, for evaluation, and are not screened; prompts are.
        """
        self._check_fitted()
        return of_population(population, self._abduced)

    def rejected_personas(self, population: Population) -> list[str | None]:
        """Return P_R of each of ``population.pairs``: who would have chosen the other answer."""
        self._check_fitted()
        return of_population(population, self._abduced, swap=True)

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Condense users: their own persona, or nothing where it is retrieved by the prompt."""
        self._check_fitted()
        people = histories if isinstance(histories, Population) else Population.of(histories)
        texts: list[str | None] = [None] * people.n_users
        if self.personas == "retrieved":
            return self._personas(people, texts)
        if self._writer is None:
            return self._personas(people, self._own(people))
        said = self._writer.adapt_batch(people)
        known = [len(history) > 0 or bool(history.profile) for history in people]
        told = [persona if k else Persona() for persona, k in zip(said, known, strict=True)]
        return self._personas(people, [p.text or None for p in told], None, [p.claims for p in told])

    def _own(self, people: Population) -> list[str | None]:
        """Return what the model itself says of users: a sentence a choice, condensed."""
        pairs = [pairs_of(history.feedback)[-self.signals :] for history in people]
        sentences = iter(self._abduced([pair for mine in pairs for pair in mine]))
        return [condensed([next(sentences) for _ in mine], _STATEMENTS) or None for mine in pairs]

    def _known(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[Known]:
        known = super()._known(personas, conversations)
        if self.personas == "own":
            return known
        return [
            k if k.summary or k.past else Known(summary=self._retrieved(conversation))
            for k, conversation in zip(known, conversations, strict=True)
        ]

    def describe(self, persona: Persona) -> str:
        """Return the persona's words."""
        if self.personas == "retrieved" and not persona.text:
            return "The average user: each prompt takes the persona of the training prompt most like it."
        return persona.text or "The average user: nothing is known in words."

    # ---- training pairs at test -----------------------------------------------------------------

    @property
    def shelf(self) -> Shelf:
        """The training pairs that are shown or retrieved."""
        if self._shelved is None:
            shots = [Shot.from_plain(values) for values in self.store_]
            self._shelved = Shelf(shots, self.encoder, self.similarity)
        return self._shelved

    def _retrieved(self, conversation: Conversation) -> str:
        return "".join(shot.persona for shot in self.shelf.nearest(conversation, 1))

    def prompt(self, known: Known, conversation: Conversation) -> Ids:
        """Return the generator's prompt; ``few-shot`` puts training pairs before it, the nearest last."""
        kept = wish(known.summary).text
        if self.variant != "few-shot" or not kept:
            return super().prompt(known, conversation)
        final = self.words.to_answer(conversation, summary=kept)
        shown = [self._turns(shot) for shot in reversed(self.shelf.nearest(conversation, self.shots))]

        def told(some: Sequence[str]) -> list[Message]:
            head = [m for m in final[:1] if m["role"] == "system"]
            turns = [m for shot in shown[len(shown) - len(some) :] for m in shot]
            return [*head, *turns, *final[len(head) :]]

        ids, _ = self.talk.fitting(["\n".join(m["content"] for m in shot) for shot in shown], told)
        return ids

    def _turns(self, shot: Shot) -> list[Message]:
        asked = self.words.to_answer(shot.conversation, summary=shot.persona)
        turns = [m for m in asked if m["role"] != "system"]
        return [*turns, {"role": "assistant", "content": shot.answer}]

    # ---- keeping --------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write settings and weights, and the writer in a folder of its own inside."""
        path = super().save(folder)
        if self._writer is not None:
            self._writer.save(path / "writer")
        return path

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up what was saved, the writer too."""
        from palate.catalogue import load

        self._forget()
        super().restore(folder, head)
        if self.writer != SELF:
            self._writer = load(Path(folder) / "writer")
        return self


def _seen(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a line of the trainer's log says about learning."""
    return {k: line[k] for k in ("step", "loss", "mean_token_accuracy", "margin", "accuracy") if k in line}
