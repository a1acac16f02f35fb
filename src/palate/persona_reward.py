"""rm-persona: a reward model on frozen embeddings that reads the user's persona, as text.

    r_u(x, y) = w . phi(x, y) + psi(p_u)^T A phi(x, y)          log-odds

phi(x, y) [d] is the frozen embedding of an answer, p_u the persona that a read method wrote of the user.
psi(p) [k] is the embedding of that text less the mean over the training users' texts, on the k first
principal axes of these, scaled to a mean squared length of one. No text gives psi = 0, so the average user
gets the pooled model. w [d] and A [k, d] minimise, convex in both,

    sum over training pairs of -log sigmoid(r(winner) - r(loser)) + ridge / 2 |w|^2 + bond / 2 |A|^2

With Gaussian priors this is a Gaussian process on (persona, answer) with the kernel
phi.phi' / ridge + (psi.psi')(phi.phi') / bond: people with like personas rank alike. The ridge is that of the
pooled model with the lowest log-loss on validation users. The bond is the best of ``bonds`` on them, and is
taken only if it beats the pooled model by more than one standard error of the paired difference; otherwise
A = 0, and the persona is not listened to.

A persona that was written from a choice knows it. So a training user's choices are cut into ``folds`` parts,
and the pairs of each part are learned from beside the persona written from the other parts.

Source: "SynthesizeMe!", 5.1 and 5.3 (a reward model with the persona in its prompt). Departs: frozen
embeddings of text and persona and a convex head, in the place of a fine-tuned language model that reads both
in one prompt; cross-fitted personas, where the paper does not say which choices they were written from.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    Claim,
    ConfigError,
    History,
    Method,
    Pairs,
    Persona,
    Personas,
    Population,
    Queries,
    corrected,
    standing,
)
from palate.gate import fold_rows
from palate.models.features import embed, embed_texts
from palate.numerics.bradley_terry import descend, fit_shared
from palate.numerics.design import Design, log_loss, loss_slope, mean_by

__all__ = ["PersonaReward", "fit_head"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Texts = Sequence[str | None]
Head = tuple[Floats, Floats]
RIDGES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
STEPS = 150
TEXT_ALONE = {"synthesizeme": {"variant": "personas"}}
"""Fields by which a writer leaves out what the head does not read: demonstrations."""


class _Told(NamedTuple):
    """What the writer said of some users."""

    texts: list[str | None]
    claims: list[tuple[Claim, ...]]


class _Held(NamedTuple):
    """Validation users' target pairs: difference of features [n, d], and psi of who was asked [n, k]."""

    gap: Floats
    told: Floats
    pairs: Pairs
    users: int

    def losses(self, w: Floats, matrix: Floats) -> Floats:
        """Return float64 [users with targets]: mean log-loss a user."""
        margin = self.gap @ w + np.einsum("nk,nk->n", self.told, self.gap @ matrix.T)
        means = mean_by(self.pairs.user, log_loss(margin, self.pairs.target), self.users)
        return means[np.isfinite(means)]


@dataclass(kw_only=True, eq=False)
class PersonaReward(Method):
    """A reward model that is told the user's persona in words.

    Args:
        encoder: Which encoder reads answers, and, without ``+style``, personas.
        writer: Name of the method that writes the personas: a read method, or ``style``.
        lm: The language model that the writer asks; "" is $PALATE_LM.
        judge_lm: The one that judges, where the writer uses a judge; "" is the same.
        writing: Other fields of the writer, by name: a mapping, or pairs of name and value.
        rank: Most principal axes of the personas' embeddings.
        folds: Parts that a training user's choices are cut into; 1 learns from personas that saw the choice.
        ridges: Precisions of w tried on validation users, largest first.
        bonds: Precisions of A tried on validation users, largest first.
        seed: Of the writer.
    """

    name: ClassVar[str] = "rm-persona"
    paper: ClassVar[str] = "SynthesizeMe, 5.1: reward model with the persona"
    uses_lm: ClassVar[bool] = True
    gate_folds: ClassVar[int] = 2
    needs: ClassVar[str] = "a language model for most writers: --lm, extra llm"
    seconds_per_10k: ClassVar[float] = 10.0
    encoder: str = "lexical"
    writer: str = "synthesizeme"
    lm: str = ""
    judge_lm: str = ""
    writing: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    rank: int = 64
    folds: int = 2
    ridges: tuple[float, ...] = RIDGES
    bonds: tuple[float, ...] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
    seed: int = 0

    def __post_init__(self) -> None:
        self._writer: Method | None = None
        self.lm = self.lm or os.environ.get("PALATE_LM", "")
        if self.rank < 1 or self.folds < 1:
            raise ConfigError(
                f"rm-persona has rank={self.rank}, folds={self.folds}: expected 1 or more of each"
            )

    # ---- learning -------------------------------------------------------------------------------

    def _learn(self, population: Population) -> None:
        self._writer = self._new_writer().fit(population)
        self.writer_print_ = self._writer.fingerprint
        self.lm_ = str(getattr(self._writer, "lm_", ""))
        self.judge_lm_ = str(getattr(self._writer, "judge_lm_", ""))
        pairs, texts, who = self._training(population.with_role("train"))
        self._look(texts)
        held = self._validation(population.with_role("val"))
        design = Design.of(pairs, population.n_users)
        x = np.asarray(embed(population.corpus, self.encoder)[design.items], np.float64)
        w: Floats = np.zeros(x.shape[1])
        nothing: Floats = np.zeros((held.told.shape[1], x.shape[1]))
        tried = []
        for ridge in self.ridges:
            w = fit_shared(x, design, ridge, start=w)
            tried.append((w, ridge, held.losses(w, nothing)))
        w, self.ridge_, plain = min(tried, key=lambda t: float(t[2].mean()) if len(t[2]) else 0.0)
        self._listen(x, design, self._place(texts)[who], held, (w, nothing), plain)

    def _validation(self, people: Population) -> "_Held":
        """Return validation users' targets, and what their personas say."""
        target = people.with_split("target").pairs
        told = self._place(self._written(people.with_split("context")).texts)
        x = embed(people.corpus, self.encoder)
        gap = np.asarray(x[target.winner] - x[target.loser], np.float64)
        return _Held(gap, told[target.user], target, people.n_users)

    def _listen(
        self, x: Floats, design: Design, told: Floats, held: "_Held", start: Head, plain: Floats
    ) -> None:
        """Choose the bond, or none: A stays zero unless validation users are plainly served by it."""
        self.weights_, self.matrix_ = start
        self.bond_, best = 0.0, 0.0
        for bond in self.bonds if told.any() else ():
            start = fit_head(x, design, told, self.ridge_, bond, start)
            gain = plain - held.losses(*start)
            sure = len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
            if sure and gain.mean() > best:
                best = float(gain.mean())
                (self.weights_, self.matrix_), self.bond_ = start, float(bond)

    def _training(self, people: Population) -> tuple[Pairs, list[str | None], Ints]:
        """Return training pairs, the personas written for them, and which of these each pair is told."""
        if self.folds == 1:
            return people.pairs, self._written(people).texts, people.pairs.user
        fold, texts = fold_rows(people, self.folds), []
        for number in range(self.folds):
            texts += self._written(people.take_rows(fold != number)).texts
        return people.pairs, texts, fold[people.pairs.row] * people.n_users + people.pairs.user

    # ---- personas as numbers ----------------------------------------------------------------------

    def _look(self, texts: Texts) -> None:
        """Learn the principal axes of texts: ``centre_`` [e] and ``axes_`` [e, k]."""
        read = self._read([text for text in texts if text])
        self.centre_ = read.mean(axis=0) if len(read) else np.zeros(read.shape[1])
        spread = read - self.centre_
        _, size, axes = np.linalg.svd(spread, full_matrices=False)
        kept = min(self.rank, int((size > 1e-6 * max(1.0, size.max(initial=0.0))).sum()))
        length = np.sqrt((size[:kept] ** 2).sum() / max(len(read), 1))
        self.axes_ = axes[:kept].T / (length or 1.0)

    def _read(self, texts: Sequence[str]) -> Floats:
        """Return float64 [texts, e]: the embeddings of personas."""
        return np.asarray(embed_texts(texts, self.encoder.removesuffix("+style")), np.float64)

    def _place(self, texts: Texts) -> Floats:
        """Return psi, float64 [texts, k]; zero where there is no text."""
        told = np.flatnonzero([bool(text) for text in texts])
        out = np.zeros((len(texts), self.axes_.shape[1]))
        if len(told):
            out[told] = (self._read([str(texts[i]) for i in told.tolist()]) - self.centre_) @ self.axes_
        return out

    def _new_writer(self) -> Method:
        from palate.catalogue import build

        common = {"lm": self.lm, "judge_lm": self.judge_lm, "seed": self.seed, "encoder": self.encoder}
        fields = {**TEXT_ALONE.get(self.writer, {}), **dict(self.writing)}
        return build(self.writer, fields, calibrate=0, **common)

    def _written(self, people: Population) -> _Told:
        """Return what the writer says of some users; nothing of one who is not known at all.

        Raises:
            ConfigError: If it puts nobody into words.
        """
        assert self._writer is not None
        said = self._writer.adapt_batch(people)
        known = [
            bool(n) or bool(people.profiles.get(u))
            for u, n in zip(people.users, np.diff(people.offsets), strict=True)
        ]
        if said.words is not None:
            told = [said.words(u) if known[u] else (None, ()) for u in range(people.n_users)]
            return _Told([text for text, _ in told], [claims for _, claims in told])
        if said.texts is None:
            raise ConfigError(
                f"rm-persona has writer={self.writer!r}, which puts nobody into words; name one that does, "
                "such as synthesizeme, memory, pi or style"
            )
        return _Told(list(said.texts), list(said.claims or [()] * people.n_users))

    # ---- the other hooks ----------------------------------------------------------------------------

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Write users' personas, and place them."""
        self._check_fitted()
        people = histories if isinstance(histories, Population) else Population.of(histories)
        told = self._written(people)
        return Personas(
            self.label,
            self.fingerprint,
            people.users,
            self._place(told.texts),
            np.ones(people.n_users, dtype=bool),
            people,
            texts=told.texts,
            claims=told.claims,
        )

    def reread(self, persona: Persona) -> Persona:
        """Return the persona with the numbers of its present text, as after an edit by hand."""
        self._check_fitted()
        return replace(persona, vector=tuple(self._place([persona.text])[0].tolist()))

    def revise(self, persona: Persona, shifts: Mapping[str, float]) -> Persona:
        """Return the persona with sentences forgotten, restored or added, and the numbers of its new text.

        A line of the text is a sentence here, besides the writer's claims; see :class:`palate.core.Revises`.
        """
        own = self._resume(persona)
        after = corrected(own, shifts, (own.text or "").splitlines())
        return own if after is own else self.reread(after)

    def shift_of(self, persona: Persona, about: str) -> float | None:
        """Return 1 for a sentence that stands, 0 for one that does not, None for one that is not known."""
        own = self._resume(persona)
        return standing(own, about, (own.text or "").splitlines())

    def describe(self, persona: Persona) -> str:
        """Return the persona's words."""
        return persona.text or "The average user: nothing is known in words."

    def _condense(self, population: Population) -> Floats:
        return self._place(self._written(population).texts)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        items, place = np.unique(queries.options, return_inverse=True)
        x = np.asarray(embed(queries.corpus, self.encoder)[items], np.float64)
        who = queries.who[queries.option_query]
        place = place.reshape(-1)
        return np.asarray((x @ self.weights_)[place] + _rows_dot(x @ self.matrix_.T, place, vectors, who))

    def save(self, folder: str | Path) -> Path:
        """Write the head, and the writer in a folder of its own inside."""
        self._check_fitted()
        assert self._writer is not None
        self._writer.save(Path(folder) / "writer")
        return super().save(folder)

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up the head's state, and the writer."""
        from palate.catalogue import load

        self._writer = load(Path(folder) / "writer")
        return super().restore(folder, head)


def fit_head(x: Floats, design: Design, told: Floats, ridge: float, bond: float, start: Head) -> Head:
    """Return w float64 [d] and A float64 [k, d]; see the module's text.

    Args:
        x: float64 [used, d], a row for each of ``design.items``.
        design: The pairs.
        told: float64 [pairs, k], psi of the persona that each pair is told.
        ridge: Precision of w.
        bond: Precision of A.
        start: Where to begin.
    """
    d, k = x.shape[1], told.shape[1]

    def value(v: Floats) -> tuple[float, Floats]:
        w, a = v[:d], v[d:].reshape(k, d)
        pull = design.incidence @ (x @ a.T)
        margin = design.incidence @ (x @ w) + np.einsum("nk,nk->n", told, pull)
        loss = log_loss(margin, design.target).sum() + 0.5 * (ridge * (w @ w) + bond * (a * a).sum())
        slope = loss_slope(margin, design.target)
        by_item = design.incidence.T @ np.column_stack([slope, slope[:, None] * told])
        gradient = by_item.T @ x
        gradient[0] += ridge * w
        gradient[1:] += bond * a
        return float(loss), gradient.ravel()

    found = descend(value, np.concatenate([start[0], start[1].ravel()]), STEPS, "rm-persona")
    return found[:d], found[d:].reshape(k, d)


def _rows_dot(table: Floats, rows: Ints, vectors: Floats, who: Ints, block: int = 1 << 24) -> Floats:
    """Return float64 [n]: table[rows] . vectors[who], a block at a time."""
    out = np.empty(len(rows))
    step = max(1, block // max(table.shape[1], 1))
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        out[part] = np.einsum("ij,ij->i", table[rows[part]], vectors[who[part]])
    return out
