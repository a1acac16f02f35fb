"""user-embedding: one learned vector a user stands before the prompt, and the generator is tuned around it.

    lore     e_u = sum_b softmax(l_u)_b V_b                     V [B, d]
    pal-a    e_u = f(sum_k softmax(l_u)_k p_k)                  p [K, h], f: h -> d, two layers, GELU
    pal-b    e_u(x) = sum_k softmax(l_u)_k g_k(phi(x))          g_k: d -> d, two layers, GELU

    m = [log pi(y_c | e_u, x) - log pi_ref(y_c | x)] - [log pi(y_r | e_u, x) - log pi_ref(y_r | x)]

with l of :mod:`palate.tune.losses` minimised in the generator, in V (or p, f, g) and in l_u [B] of every
training user. A new user fits l_u alone, all new users in one batch:

    l_u = argmin  sum over their pairs of l + bond / 2 |l_u|^2        l_u = 0: the average user

phi(x) is the mean of the prompt's token embeddings. These are POPI's baselines that tell the generator of a
user without words: they need the model's inside, and what they learn means nothing to another model.

Source: POPI, 5.1 (LoRe and PAL-A / PAL-B injected into the generator); Bose et al. 2025; Chen et al. 2024.
Departs: the paper says that embeddings are injected and not how they are made; the forms above are ours,
after the two sources. Ties are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from palate.core import ConfigError, Conversation, Persona, Population, Queries
from palate.tune.base import Floats, Ids, Known, WritingMethod
from palate.tune.losses import log_odds, margin, preference_loss
from palate.tune.running import as_plain, configured, run_stage, stage
from palate.tune.scoring import left_padded, right_padded, token_logprobs
from palate.tune.soft import Soft, Softened, arrays_of, take_arrays

__all__ = ["Embedding", "Pair", "UserEmbedding"]

Form = Literal["lore", "pal-a", "pal-b"]
_ROWS = 256  # sequences that are scored at a time


class Embedding(nn.Module):
    """What makes a user's vector from their mixture; see the module's text.

    Args:
        form: Which.
        basis: B, or K.
        like: The model's token embeddings, float [vocabulary, d].
        seed: Of the start.
    """

    def __init__(self, form: Form, basis: int, like: Tensor, seed: int = 0) -> None:
        super().__init__()
        self.form = form
        width = like.shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            rows = torch.randint(len(like), (basis,))
            if form == "lore":
                self.basis = nn.Parameter(like[rows].detach().float().clone())
            else:
                self.basis = nn.Parameter(torch.randn(basis, width) / width**0.5)
                count = basis if form == "pal-b" else 1
                self.maps = nn.ModuleList(
                    nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
                    for _ in range(count)
                )

    def forward(self, given: tuple[Tensor, Tensor]) -> Soft:
        """Return one soft token a row, from l float [rows, B] and phi(x) float [rows, d]."""
        mixture, prompt = given
        share = mixture.softmax(-1)
        if self.form == "pal-b":
            made = torch.stack([g(prompt) for g in self.maps], 1)
            return Soft(torch.einsum("rk,rkd->rd", share, made)[:, None])
        e = share @ self.basis
        return Soft((e if self.form == "lore" else self.maps[0](e))[:, None])


@dataclass(frozen=True)
class Pair:
    """A pair in ids, with its reference's margin and its user's number."""

    who: int
    prompt: Ids
    chosen: Ids
    rejected: Ids
    ref_chosen: float
    ref_rejected: float


@dataclass(kw_only=True, eq=False)
class UserEmbedding(WritingMethod):
    """A learned vector a user, read by a generator that is tuned with it.

    Args:
        form: ``lore``, ``pal-a`` or ``pal-b``.
        basis: Directions (LoRe) or prototypes (PAL) that users mix.
        soft_lr: Learning rate of mixtures and basis.
        new_steps: Steps by which a new user's mixture is fitted.
        new_lr: Their rate.
        bond: Pull of a new user's mixture to the average.
        contexts: Most pairs of a new user that are read, the latest.
    """

    name: ClassVar[str] = "user-embedding"
    paper: ClassVar[str] = "POPI, 5.1: LoRe and PAL in the generator"
    roles: ClassVar[tuple[str, ...]] = ("generator",)
    form: Form = "lore"
    basis: int = 8
    soft_lr: float = 1e-2
    new_steps: int = 40
    new_lr: float = 0.3
    bond: float = 0.02
    contexts: int = 30
    lr: float = 1e-6
    warmup: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("lore", "pal-a", "pal-b"):
            raise ConfigError(f"form is lore, pal-a or pal-b, got {self.form!r}")
        self._source: Embedding | None = None

    def fit(self, population: Population) -> Self:
        """Learn what users share; what an earlier fit trained is forgotten."""
        self._source = None
        return super().fit(population)

    @property
    def source(self) -> Embedding:
        """What makes users' vectors."""
        if self._source is None:
            like = self.base.model.get_input_embeddings().weight
            self._source = Embedding(self.form, self.basis, like, self.seed).to(like.device)
        return self._source

    # ---- learning -------------------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        train = population.with_role("train")
        pairs = self._pairs(train, len(train.pairs))
        if pairs:
            self._tune(train, pairs)
        for name, value in arrays_of(self.source).items():
            setattr(self, f"soft.{name}_", value)
        self._trained()

    def _tune(self, train: Population, pairs: Sequence[Pair]) -> None:
        """Tune generator, basis and the training users' mixtures."""
        from transformers import TrainingArguments

        from palate.tune.embedded_training import UserTrainer

        settings = self.settings(len(pairs))
        told = {**as_plain(settings), **{k: v for k, v in self.config.items() if k != "device"}}
        identity = {**told, "model": self.base.key, "data": train.digest}
        with stage("users", identity) as run:
            if run.done is not None:
                self._take(run.folder)
            else:
                config = configured(TrainingArguments, settings, run, remove_unused_columns=False)
                trained = self.cast.to_train("generator")
                own = nn.Embedding(train.n_users, self.basis, device=trained.device)
                nn.init.zeros_(own.weight)
                run_stage(
                    run,
                    lambda callbacks: UserTrainer(
                        self, Softened(trained, self.source), own, pairs, config, callbacks
                    ),
                    f"{self.label}: users",
                )
                if run.leads:
                    self._keep(run.folder)
                run.finish()

    def _keep(self, folder: Path) -> None:
        self.cast.save(folder / "weights")
        torch.save(self.source.state_dict(), folder / "source.pt")

    def _take(self, folder: Path) -> None:
        self.cast.load(folder / "weights")
        self.source.load_state_dict(torch.load(folder / "source.pt", weights_only=True))

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up the settings, the model and the basis."""
        super().restore(folder, head)
        arrays = {k[5:-1]: v for k, v in vars(self).items() if k.startswith("soft.")}
        take_arrays(self.source, arrays)
        return self

    def _pairs(self, people: Population, most: int) -> list[Pair]:
        """Return the latest decided pairs of users in ids, at most ``most`` a user."""
        pairs, corpus = people.pairs, people.corpus
        place = np.arange(len(pairs)) - np.searchsorted(pairs.user, pairs.user)
        count = np.bincount(pairs.user, minlength=people.n_users)
        keep = (pairs.target == 1.0) & (place >= count[pairs.user] - most)
        keep &= corpus.item_response[pairs.winner] != corpus.item_response[pairs.loser]
        pairs = pairs.take(keep)
        plain = [self.prompt(Known(), corpus.conversation(i)) for i in pairs.winner.tolist()]
        sides = [
            [self.talk.answer(corpus.response(i)) for i in side.tolist()]
            for side in (pairs.winner, pairs.loser)
        ]
        ref = [self.reference(plain, side) for side in sides]
        return [
            Pair(int(who), p, c, r, float(rc), float(rr))
            for who, p, c, r, rc, rr in zip(pairs.user, plain, *sides, *ref, strict=True)
        ]

    # ---- new users ------------------------------------------------------------------------------

    def _condense(self, population: Population) -> Floats:
        """Return float64 [users, B]: mixtures fitted to each user's pairs; zero for one without any."""
        pairs = self._pairs(population, self.contexts)
        own = torch.zeros(population.n_users, self.basis, device=self.base.model.device, requires_grad=True)
        if not pairs:
            return np.zeros((population.n_users, self.basis))
        adam = torch.optim.Adam([own], lr=self.new_lr)
        with self.cast.playing("generator") as model:
            reader = Softened(model.eval(), self.source.eval())
            for _ in range(self.new_steps):
                adam.zero_grad()
                for start in range(0, len(pairs), _ROWS):
                    batch = pairs[start : start + _ROWS]
                    m = self.pair_margins(reader, batch, own[torch.tensor([p.who for p in batch])])
                    preference_loss(m, self.beta, self.kind).sum().backward()
                (0.5 * self.bond * own.square().sum()).backward()
                adam.step()
        return np.asarray(own.detach().cpu().double().numpy())

    def pair_margins(self, reader: Any, pairs: Sequence[Pair], mixtures: Tensor) -> Tensor:
        """Return m of pairs, float [pairs], given each one's user's mixture [pairs, B]."""
        prompts = [p.prompt for p in pairs] * 2
        answers = [p.chosen for p in pairs] + [p.rejected for p in pairs]
        chosen, rejected = self._logps(reader, prompts, answers, mixtures.repeat(2, 1)).chunk(2)
        ref = torch.tensor([[p.ref_chosen, p.ref_rejected] for p in pairs], device=chosen.device)
        return margin(chosen, rejected, ref[:, 0], ref[:, 1])

    def _logps(self, reader: Any, prompts: Sequence[Ids], answers: Sequence[Ids], mixtures: Tensor) -> Tensor:
        """Return log-probabilities of answers, float [rows], the users' vectors before the prompts."""
        device = self.base.model.device
        ids, mask = left_padded(prompts, self._pad, device)
        words, there = right_padded(answers, self._pad, device)
        whole, seen = torch.cat([ids, words], 1), torch.cat([mask, there], 1)
        width = words.shape[1]
        given = (mixtures, self._seen(ids, mask))
        out = reader(input_ids=whole, attention_mask=seen, soft=given, logits_to_keep=width + 1)
        return (token_logprobs(out.logits[:, -width - 1 : -1], words).logps * there).sum(1)

    def _seen(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return phi(x), float [rows, d]."""
        table = self.base.model.get_input_embeddings().weight.detach()
        words = table[ids] * mask[..., None]
        return words.sum(1).float() / mask.sum(1, keepdim=True).clamp_min(1)

    # ---- scores and words -----------------------------------------------------------------------

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        corpus = queries.corpus
        owner = queries.option_query
        first = queries.options[queries.offsets[:-1]]
        plain = [self.prompt(Known(), corpus.conversation(i)) for i in first.tolist()]
        prompts = [plain[q] for q in owner.tolist()]
        answers = [self.talk.answer(corpus.response(i)) for i in queries.options.tolist()]
        own = torch.as_tensor(
            np.asarray(vectors[queries.who[owner]], np.float32), device=self.base.model.device
        )
        m = np.zeros(len(answers))
        with self.cast.playing("generator") as model, torch.inference_mode():
            reader = Softened(model.eval(), self.source.eval())
            for start in range(0, len(m), _ROWS):
                part = slice(start, start + _ROWS)
                m[part] = self._logps(reader, prompts[part], answers[part], own[part]).double().cpu().numpy()
        m -= self._plainly(prompts, answers)
        return np.asarray(log_odds(torch.from_numpy(m), self.beta, self.kind).numpy())

    def added_tokens(self, personas: Sequence[Persona], conversations: Sequence[Conversation]) -> list[int]:
        """Return how many tokens what is known of each user adds: one, that is no word."""
        return [1] * len(conversations)

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
        prompts = [self.prompt(Known(), c) for c in conversations for _ in range(samples)]
        rows = [p.vector or (0.0,) * self.basis for p in personas for _ in range(samples)]
        device, how = self.base.model.device, self._drawing(temperature, longest)
        words: list[str] = []
        with self.cast.playing("generator") as model, torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            reader = Softened(model.eval(), self.source.eval())
            for start in range(0, len(prompts), _ROWS):
                ids, mask = left_padded(prompts[start : start + _ROWS], self._pad, device)
                own = torch.tensor(rows[start : start + _ROWS], device=device)
                out = reader.generate(ids, mask, (own, self._seen(ids, mask)), how)
                words += [self.talk.words(row) for row in out.tolist()]
        return [words[i : i + samples] for i in range(0, len(words), samples)]

    def stream(
        self,
        persona: Persona,
        conversation: Conversation,
        *,
        temperature: float = 1.0,
        longest: int = 0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield one answer, whole."""
        ((answer,),) = self.generate_batch(
            [persona], [conversation], temperature=temperature, longest=longest, seed=seed
        )
        yield answer

    def describe(self, persona: Persona) -> str:
        """Return how the user mixes what all users share."""
        if persona.vector is None or not any(persona.vector):
            return "The average user: all directions alike."
        share = torch.tensor(persona.vector).softmax(0).tolist()
        order = sorted(range(len(share)), key=lambda b: -share[b])[:3]
        return "mixes " + ", ".join(f"{share[b]:.0%} of direction {b}" for b in order)
