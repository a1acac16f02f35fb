"""epipersona-a: a person as a set of shared codes, put into words for the conversation at hand.

    estimate    e_j [p]    state of a language model that has read why choice j was made (abductive reasoning)
    persona     n_u [K]    how often each code occurs among the user's windows of choices
    describe    d ~ LM(. | codes of u as soft tokens, episode x)                     words, the likeliest
    judge       s(y) = beta [log pi(y | x, d) - log pi(y | x)]                       pi the model as it came,
                or a judge at an endpoint that reads d (``judge_lm``)

The describer is trained by next-token prediction on a larger model's descriptions of training choices
(:mod:`palate.tune.teacher`), each beside the user's other choices; codes, projection and adapter end to end
(:mod:`palate.tune.coupled`). It never sees the answers that are judged. ``scale_`` makes the log-odds
honest: it is learned on validation users' targets, as it is for judges.

Source: "EpiPersona: Persona Projection and Episode Coupling for Pluralistic Preference Modeling", 4, A.5,
EpiPersona-A. Departs:
- e_j is the state of the model as it came, not of the adapter in training: it is read once a choice.
- The judge is by default the same model's implicit reward, which asks nobody; with ``judge_lm`` as published.
- A soft token that is always there, and training examples with few choices or none beside full ones.
- Prompts are our own words. Ties are left out of windows.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from palate.core import ConfigError, Conversation, MethodError, Persona, Personas, Population, Queries
from palate.core.job import current_job
from palate.tune.base import Floats, Ids, Known, WritingMethod
from palate.tune.coupled import Arrays, Coupler, Shape, fallen
from palate.tune.episode import episode
from palate.tune.examples import Example, examples_of
from palate.tune.judged import judged, trusted
from palate.tune.past import Reader, Windows, decided
from palate.tune.prompts import Message
from palate.tune.running import Settings, Stage, as_plain, configured, run_stage, stage
from palate.tune.scoring import left_padded
from palate.tune.soft import Softened
from palate.tune.teacher import FORMS, Form, as_lines, check_teacher, salvaged, taught
from palate.tune.writing import generation

__all__ = ["EpiPersonaA"]

_BUDGET = 16384  # tokens of a padded batch


@dataclass(kw_only=True, eq=False)
class EpiPersonaA(WritingMethod):
    """Persona codes from a shared codebook, put into words for each episode.

    Args:
        teacher: Where descriptions to learn from come from: "" asks ``lm``, ``file:PATH`` or
            ``method:FOLDER`` (see :mod:`palate.tune.teacher`).
        lm: The language model that is asked for them; "" is $PALATE_LM.
        form: Of descriptions: ``json``, or ``plain`` words.
        reader: What reads past choices: "" is the model itself; ``hf:NAME_OR_FOLDER`` another one; any other
            encoder gives differences of vectors.
        question: What a language model is asked about a past choice; "" is that of ``templates``.
        window: Consecutive choices in a window.
        signals: Most choices of a user that are read, the latest.
        codes: K, the size of the codebook.
        width: k, numbers of a window and of a code.
        commitment: Weight of the commitment loss.
        decay: g of the codebook's moving averages.
        revive: A code whose moving count in a batch falls below this is placed anew.
        lr_codes: Learning rate of projection and soft tokens.
        draws: Times that each example comes, each time beside another part of the user's other choices:
            every second time beside all.
        quantise: False keeps the windows themselves: the ablation without a codebook.
        abductive: False takes e_j as the difference of the states of both answers: the ablation without
            reasoning.
        describe_tokens: Most tokens of a description.
        exemplars: Descriptions of training choices that are kept for each code, to tell what it means.
        judge_lm: A judge at an endpoint; "" judges by the model's own implicit reward.
        reason: Whether that judge reasons before it answers.
        calibrate: Target pairs of validation users that the scale of log-odds is learned on; 0: it is 1.

    Raises:
        ConfigError: If a field has a value that cannot work.
        MethodError: If the teacher gives nothing, or the codebook collapses.
        FitDiverged: If the loss is not finite.

    >>> EpiPersonaA(model="folder", codes=16).config["commitment"]
    0.2
    """

    name: ClassVar[str] = "epipersona-a"
    paper: ClassVar[str] = "EpiPersona 4: persona projection and episode coupling, EpiPersona-A"
    uses_lm: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = ("describer", "generator")  # the generator stays as it came
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {"codes": (16, 64), "window": (1, 2, 4)}
    teacher: str = ""
    lm: str = ""
    form: Form = "json"
    reader: str = ""
    question: str = ""
    window: int = 1
    signals: int = 64
    codes: int = 64
    width: int = 32
    commitment: float = 0.2
    decay: float = 0.95
    revive: float = 1.0
    lr_codes: float = 1e-3
    draws: int = 4
    quantise: bool = True
    abductive: bool = True
    describe_tokens: int = 256
    exemplars: int = 3
    judge_lm: str = ""
    reason: bool = True
    calibrate: int = 200
    lr: float = 5e-6
    batch: int = 2
    accumulate: int = 2
    warmup: int = 100
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher:
            self.lm = self.lm or os.environ.get("PALATE_LM", "")
        check_teacher(self.teacher)
        if self.form not in FORMS:
            raise ConfigError(f"{self.name}: form is {' or '.join(FORMS)}, got {self.form!r}")
        for field in ("window", "signals", "codes", "width", "draws", "describe_tokens"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{self.name}: {field}={getattr(self, field)}; expected 1 or more")
        if not 0 < self.decay < 1:
            raise ConfigError(f"{self.name}: decay={self.decay}; expected a number between 0 and 1")

    # ---- learning -------------------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        train = population.with_role("train")
        examples, left_out = examples_of(train, self.signals, self.seed)
        found = taught(examples, self.teacher, form=self.form, lm=self.lm, method=self.label)
        self.left_out_ = {**left_out, **found.left_out}
        told = [(e, text) for e, text in zip(examples, found.texts, strict=True) if text is not None]
        if examples and not told:
            raise MethodError(
                f"{self.name}: none of {len(examples)} descriptions can be used ({dict(found.left_out)}): "
                "look at what the teacher gives, and whether form fits it"
            )
        whole = decided(train, train.n_rows, 1)  # every choice of everybody
        e = self._reader.estimates(train, whole.pair)
        learned = self._train(train, told, whole, e)
        self.project_, self.centre_, self.widen_, self.start_, self.codes_ = learned
        self.exemplars_ = self._exemplars(train, told, whole, e)
        self._trained()
        self._look(population.with_role("val"))
        self.scale_ = 1.0
        if self.calibrate:
            self.fitted_ = True  # adapts and scores below, with the scale of 1
            self.scale_ = self._scale(population.with_role("val"))
            self.__dict__.pop("_cached_fingerprint", None)

    def _train(
        self, train: Population, told: Sequence[tuple[Example, str]], whole: Windows, e: Floats
    ) -> Arrays:
        """Train describer, projection and codes together; return what was learned beside the adapter."""
        shape = Shape(
            self.codes if self.quantise else 0, self.width, self.commitment, self.decay, self.revive
        )
        user = whole.user[whole.window]
        grouped = decided(train, train.n_rows, self.window).window
        parts = np.split(np.arange(len(e)), np.flatnonzero(np.diff(grouped)) + 1)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            like = self.base.model.get_input_embeddings().weight.detach().cpu()
            coupler = Coupler(e.shape[1], like, shape, self.seed)
            coupler.begin(torch.as_tensor(e), user, [p.tolist() for p in parts if len(p)])
        self.curve_: list[dict[str, Any]] = []
        if not told:
            return coupler.arrays()
        rows = self._rows(train, told, whole)
        settings = self.settings(len(rows))
        with stage("describe", {**self._identity(told), **as_plain(settings)}) as run:
            kept = run.folder / "codes.npz"
            if run.done is not None:
                self.cast.load(run.folder / "weights")
                self.curve_ = run.done["curve"]
                with np.load(kept) as arrays:
                    return Arrays(**{name: arrays[name] for name in Arrays._fields})
            log = self._run(run, rows, coupler, e, settings)
            names = {"step", "loss", "perplexity", "dead"}
            self.curve_ = [{k: v for k, v in line.items() if k in names} for line in log if "loss" in line]
            learned = coupler.arrays()
            if run.leads:
                self.cast.save(run.folder / "weights")
                np.savez(kept, allow_pickle=False, **learned._asdict())
            run.finish(curve=self.curve_)
        return learned

    def _run(
        self, run: Stage, rows: Sequence[Any], coupler: Coupler, e: Floats, settings: Settings
    ) -> list[dict[str, Any]]:
        from transformers import TrainingArguments

        from palate.tune.describing import Describer, DescriberTrainer

        args = configured(
            TrainingArguments, settings, run, remove_unused_columns=False, label_names=["labels"]
        )
        model = Describer(self.cast.to_train("describer"), coupler.to(self.base.model.device))
        return run_stage(
            run,
            lambda callbacks: DescriberTrainer(model, rows, e, args, self.lr_codes, self._pad, callbacks),
            f"{self.label}: descriptions",
        )

    def _identity(self, told: Sequence[tuple[Example, str]]) -> dict[str, Any]:
        """Return all that training depends on."""
        seen = repr([(e.user, e.id, e.chosen, e.rejected, [f.id for f in e.past], text) for e, text in told])
        later = ("device", "save_every", "judge_lm", "reason", "calibrate", "teacher", "lm", "beta", "kind")
        return {
            "model": self.base.key,
            "data": hashlib.blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(),
            **{k: v for k, v in self.config.items() if k not in later},
        }

    def _rows(self, train: Population, told: Sequence[tuple[Example, str]], whole: Windows) -> list[Any]:
        """Return training rows: the user's other choices, all or some of them, by numbers of estimates."""
        from palate.tune.describing import Row

        number: dict[str, list[int]] = {}
        for n, row in enumerate(train.pairs.row[whole.pair].tolist()):
            number.setdefault(str(train.ids[row]), []).append(n)
        rng = np.random.default_rng((self.seed, 1))
        rows = []
        for example, text in told:
            prompt, target = self._episode(example.conversation), self.talk.answer(text)
            n = len(example.past)
            for draw in range(self.draws):
                some = n if draw % 2 == 0 else int(rng.integers(n + 1))
                shown = sorted(rng.permutation(n)[:some].tolist())
                past = [
                    (j, i // self.window) for i, at in enumerate(shown) for j in number[example.past[at].id]
                ]
                rows.append(Row([j for j, _ in past], [w for _, w in past], prompt, target))
        return rows

    def _exemplars(
        self, train: Population, told: Sequence[tuple[Example, str]], whole: Windows, e: Floats
    ) -> list[list[str]]:
        """Return the descriptions of those training choices that lie nearest each code."""
        if not (self.quantise and told):
            return []
        text = {example.id: self._readable(words) for example, words in told}
        ids = train.ids[train.pairs.row[whole.pair]]
        return self._arrays.exemplars(e, [text.get(str(name), "") for name in ids], self.exemplars)

    def _look(self, people: Population) -> None:
        """Note how the codebook is used by validation users, and refuse one that has collapsed."""
        from palate.models.codebook import collapsed, usage

        self.codebook_: dict[str, float] = {}
        if not self.quantise:
            return
        use = usage(self._condense(people))
        self.codebook_ = dict(zip(("perplexity", "dead", "windows"), use, strict=True))
        told = f"{self.name}: perplexity {use[0]:.1f} of {self.codes} codes, {use[1]} dead"
        current_job().tell(told, 1, 1)
        if collapsed((0, *use, len(people.pairs)), self.codes):
            raise fallen("of the validation users", self.codes, *use)

    def _scale(self, people: Population) -> float:
        """Return what log-odds are to be multiplied by, learned on validation users' targets."""
        targets = people.with_split("target").pairs
        targets = targets.take(np.flatnonzero(targets.target == 1.0)[: self.calibrate])
        if not len(targets):
            return 1.0
        heard = np.unique(targets.user)
        known = self.adapt_batch(people.with_split("context").take_users(heard))
        asked = replace(targets, user=np.searchsorted(heard, targets.user))
        scores = self.score_batch(Queries.of_pairs(known, people.corpus, asked))
        return trusted(scores[0::2] - scores[1::2])

    # ---- past choices ---------------------------------------------------------------------------

    @property
    def _reader(self) -> Reader:
        return Reader(self.cast, self.talk, self.templates, self.reader, self.question, self.abductive)

    @property
    def _arrays(self) -> Arrays:
        return Arrays(self.project_, self.centre_, self.widen_, self.start_, self.codes_)

    def _condense(self, population: Population) -> Floats:
        """Return counts [users, K], or the latest windows and which are there [users, m k + m]."""
        past = decided(population, self.signals, self.window)
        e = self._reader.estimates(population, past.pair)
        most = -(-self.signals // self.window)
        if not len(e):
            return np.zeros((population.n_users, self.codes if self.quantise else most * (self.width + 1)))
        h = self._arrays.windows(e, past.window, len(past.user))
        if self.quantise:
            counts = np.zeros((population.n_users, self.codes))
            np.add.at(counts, (past.user, self._arrays.nearest(h)), 1.0)
            return counts
        kept = np.zeros((population.n_users, most, self.width))
        there = np.zeros((population.n_users, most))
        starts = np.searchsorted(past.user, np.arange(population.n_users))
        place = np.arange(len(past.user)) - starts[past.user]
        kept[past.user, place], there[past.user, place] = h, 1.0
        return np.hstack([kept.reshape(len(kept), -1), there])

    # ---- descriptions ---------------------------------------------------------------------------

    def _episode(self, conversation: Conversation) -> Ids:
        return self.talk.prompt(_turn(episode(self.templates, conversation, self.form)))

    def _readable(self, text: str) -> str:
        return as_lines(salvaged(text)) if self.form == "json" else text

    def descriptions(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[str]:
        """Return what each user would want in each episode, in words; side by side.

        Raises:
            PersonaMismatch: If another model made a persona's vector.
        """
        vectors = self._vectors(Personas.of(list(personas)))
        keys = [(v.tobytes(), talk) for v, talk in zip(vectors, conversations, strict=True)]
        distinct = {key: (vectors[i], key[1]) for i, key in enumerate(keys)}
        asked = [(self._episode(talk), self._codes(vector)) for vector, talk in distinct.values()]
        order = sorted(range(len(asked)), key=lambda i: (len(asked[i][0]) + len(asked[i][1]), i))
        texts: dict[int, str] = {}
        while order:
            prompt, codes = asked[order[-1]]
            longest = len(prompt) + len(codes) + 1 + self.describe_tokens
            part = order[-max(1, _BUDGET // longest) :]
            del order[-len(part) :]
            texts.update(zip(part, self._written([asked[i] for i in part]), strict=True))
        found = {key: self._readable(texts[i]) for i, key in enumerate(distinct)}
        return [found[key] for key in keys]

    def description(self, persona: Persona, conversation: Conversation) -> str:
        """Return the same of one user in one episode."""
        return self.descriptions([persona], [conversation])[0]

    def _codes(self, vector: Floats) -> Floats:
        """Return the codes of a persona, with repeats, in the order of their numbers: float [m, k]."""
        if self.quantise:
            return np.asarray(np.repeat(self.codes_, vector.round().astype(np.int64), axis=0))
        most = len(vector) // (self.width + 1)
        return vector[: most * self.width].reshape(most, self.width)[vector[most * self.width :] > 0]

    def _written(self, asked: Sequence[tuple[Ids, Floats]]) -> list[str]:
        """Let the describer write; the likeliest words."""
        how = generation(self.base.ends, self._pad, self.describe_tokens, 0.0)
        device = self.base.model.device
        ids, mask = left_padded([prompt for prompt, _ in asked], self._pad, device)
        soft = self._arrays.soft([codes for _, codes in asked], device)
        with self.cast.playing("describer") as model, torch.inference_mode():
            out = Softened(model).generate(ids, mask, soft, how)
        return [self.talk.words(row) for row in out.tolist()]

    # ---- what is told and judged ----------------------------------------------------------------

    def _known(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[Known]:
        """Return the description for each episode; words that somebody wrote into a persona stand first."""
        told = self.descriptions(personas, conversations)
        return [Known(p.text or text) for p, text in zip(personas, told, strict=True)]

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        if not self.judge_lm:
            return self.scale_ * super()._log_odds(vectors, queries)
        personas = [queries.personas[who] for who in queries.who.tolist()]
        talks = [queries.corpus.conversation(i) for i in queries.options[queries.offsets[:-1]].tolist()]
        told = [known.summary for known in self._known(personas, talks)]
        found = judged(queries, told, self.judge_lm, reason=self.reason, method=self.label)
        return self.scale_ * found

    def describe(self, persona: Persona) -> str:
        """Return which codes a persona has, how often, and what was said of like choices in training."""
        vector = self._vectors(Personas.of([persona]))[0]
        if not vector.any():
            return "The average user: no past choices, so no codes."
        if not self.quantise:
            return f"{len(self._codes(vector))} windows of past choices, as {self.width} numbers each."
        lines = [f"{int(vector.sum())} windows of past choices fall on {int((vector > 0).sum())} codes:"]
        for code in np.argsort(-vector, kind="stable")[: int((vector > 0).sum())].tolist():
            near = self.exemplars_[code] if self.exemplars_ else []
            said = "; ".join(f"“{' / '.join(text.splitlines())}”" for text in near)
            lines.append(f"code {code}, {int(vector[code])} times{': ' + said if said else ''}")
        return "\n".join(lines)


def _turn(content: str) -> list[Message]:
    return [{"role": "user", "content": content}]
