"""A persona is a hypothesis: test it on choices it never saw, and apply it only as far as that supports.

For each user the history is cut into folds (leave-one-out where it is short). Each fold is predicted by
a persona made from the others and by the unpersonalized control. With s_p and s_c their log-odds, a
weight a in {0, 1/4, ..., 1} stands for applying s_a = s_c + a (s_p - s_c), and

    evidence      E_u(a) = sum_i log sigmoid(s_a,i)             over the user's held-back choices
    prior         pi(a), the share of validation users whom weight a serves best: the mixture that
                  maximises sum_v log sum_a pi(a) exp(T_v(a)) by EM, T_v their targets' log-likelihood
    weight        a_u = sum_a a pi(a) exp(E_u(a)) / sum_a pi(a) exp(E_u(a))

A user with little evidence gets what served the validation users; a user whom the persona fails gets the
average answer. The verdict is stored with the persona and shown with it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    History,
    Method,
    Pairs,
    Persona,
    PersonaMismatch,
    Personas,
    Population,
    Queries,
    Verdicts,
)
from palate.numerics.design import log_loss, mean_by

__all__ = ["Gate", "Held", "differences", "fold_rows", "hold_back"]

Floats = NDArray[np.floating[Any]]
WEIGHTS = np.linspace(0.0, 1.0, 5)


class Held(NamedTuple):
    """Held-back pairs and the log-odds of their winners: by the persona, and by the control."""

    pairs: Pairs
    personal: Floats
    control: Floats


def differences(method: Method, personas: Personas, population: Population, pairs: Pairs) -> Floats:
    """Return float64 [pairs]: the log-odds of each pair's winner over its loser."""
    scores = method.score_batch(Queries.of_pairs(personas, population.corpus, pairs))
    return np.asarray(scores[0::2] - scores[1::2])


def hold_back(method: Method, control: Method, population: Population, folds: int = 10) -> Held:
    """Predict every choice of every user from that user's other choices.

    Rows of a user that offer the same options always share a fold, so that no answer is known before.
    Users with up to ``folds`` distinct rows are left one out; each fold is one batch over all users.
    """
    fold = fold_rows(population, folds)
    parts: list[tuple[Pairs, Floats, Floats]] = []
    for number in range(int(fold.max(initial=-1)) + 1):
        kept, held = population.take_rows(fold != number), population.pairs
        held = held.take(fold[held.row] == number)
        personal = differences(method, method.adapt_batch(kept), population, held)
        parts.append((held, personal, differences(control, control.adapt_batch(kept), population, held)))
    if not parts:
        return Held(population.pairs, np.zeros(0), np.zeros(0))
    order = np.argsort(np.concatenate([p.row for p, _, _ in parts]), kind="stable")
    columns = [np.concatenate(c)[order] for c in zip(*(_columns(p) for p, _, _ in parts), strict=True)]
    personal, plain = (np.concatenate([part[i] for part in parts])[order] for i in (1, 2))
    return Held(Pairs(*columns), personal, plain)


@dataclass(kw_only=True, eq=False)
class Gate(Method):
    """Any method, applied to each user only as far as their own held-back choices support it.

    An inner method that comes fitted is taken as it is; others are fitted with the gate, each time.

    Args:
        method: The personal method.
        control: The unpersonalized one that it must beat.
        folds: How many parts a long history is cut into.
    """

    name: ClassVar[str] = "gate"
    paper: ClassVar[str] = "ours: do no harm"
    method: Method
    control: Method
    folds: int = 10

    @property
    def label(self) -> str:
        """The inner method's name and ``+gate``."""
        return f"{self.method.label}+gate"

    @property
    def config(self) -> dict[str, Any]:
        """Fields, with the inner methods as name and fields."""
        inner = {k: {"method": m.name, **m.config} for k, m in self._inner().items()}
        return {**inner, "folds": self.folds}

    def _inner(self) -> dict[str, Method]:
        return {"method": self.method, "control": self.control}

    def _learn(self, population: Population) -> None:
        inner = self._inner()
        mine = self.__dict__.setdefault("_mine", [k for k, m in inner.items() if not _fitted(m)])
        for key in mine:
            inner[key].fit(population)
        self.learn_prior(population)

    def learn_prior(self, population: Population) -> None:
        """Learn from the validation users' targets how far personas of the fitted method can be trusted."""
        people = population.with_role("val")
        context, targets = people.with_split("context"), people.with_split("target").pairs
        likelihood: Floats = np.zeros((0, len(WEIGHTS)))
        if len(targets):
            personal = differences(self.method, self.method.adapt_batch(context), people, targets)
            plain = differences(self.control, self.control.adapt_batch(context), people, targets)
            likelihood = _evidence(Held(targets, personal, plain), people.n_users)
            likelihood = likelihood[np.bincount(targets.user, minlength=people.n_users) > 0]
        self.prior_ = _mixture(likelihood)
        self.inner_ = [m.fingerprint for m in self._inner().values()]

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Condense users, with a verdict on each who has a choice."""
        self._check_fitted()
        people = histories if isinstance(histories, Population) else Population.of(histories)
        inner = self.method.adapt_batch(people)
        vectors, verdicts = self._judge(people, inner)
        known = np.ones(people.n_users, dtype=bool)
        return Personas(
            self.label,
            self.fingerprint,
            people.users,
            vectors,
            known,
            people,
            inner.words,
            inner.texts,
            inner.examples,
            inner.claims,
            verdicts,
        )

    def _condense(self, population: Population) -> Floats:
        return self._judge(population, self.method.adapt_batch(population))[0]

    def _judge(self, population: Population, inner: Personas) -> tuple[Floats, Verdicts]:
        """Return both methods' vectors and the weight, float64 [users, k], and the verdicts."""
        held = hold_back(self.method, self.control, population, self.folds)
        evidence = _evidence(held, population.n_users)
        share = self.prior_ * np.exp(evidence - evidence.max(axis=1, keepdims=True))
        weight = (share @ WEIGHTS) / share.sum(axis=1)
        vectors = [p.vectors for p in (inner, self.control.adapt_batch(population))]
        table = np.column_stack([*(v for v in vectors if v is not None), weight])
        return table, _verdicts(held, population.n_users, weight)

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        size = vectors.shape[1] - 1 - self._control_size()
        personal = self.method._log_odds(vectors[:, :size], queries)
        plain = self.control._log_odds(vectors[:, size:-1], queries)
        weight = vectors[:, -1][queries.who[queries.option_query]]
        plain, personal = queries.centred(plain), queries.centred(personal)
        return np.asarray(plain + weight * (personal - plain))

    def _control_size(self) -> int:
        return int(self.control._average_vector().shape[-1])

    def inner_persona(self, persona: Persona) -> Persona:
        """Return a persona of this gate as the inner method's own: its part of the vector, its model.

        For what cannot be mixed by weight, such as writing: whoever asks looks at the verdict first.

        Raises:
            PersonaMismatch: If another model made it.
        """
        source = persona.provenance
        if source is None:
            return persona
        if source.model != self.fingerprint:
            raise PersonaMismatch(
                f"a persona of {source.method} (model {source.model}) was given to {self.label} "
                f"(model {self.fingerprint}); adapt the user again with this model"
            )
        size = len(persona.vector or ()) - 1 - self._control_size()
        own = replace(source, method=self.method.label, model=self.method.fingerprint)
        return replace(persona, vector=(persona.vector or ())[: max(0, size)] or None, provenance=own)

    def save(self, folder: str | Path) -> Path:
        """Write the gate, and both methods in folders of their own inside."""
        for key, method in self._inner().items():
            method.save(Path(folder) / key)
        return super().save(folder)

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up the gate's state, and that of both methods where they are not fitted."""
        for key, method in self._inner().items():
            if not _fitted(method):
                path = Path(folder) / key
                method.restore(path, json.loads((path / "model.json").read_text(encoding="utf-8")))
        return super().restore(folder, head)

    def clone(self, **changes: Any) -> Self:
        """Return an unfitted copy, its inner methods unfitted copies too, with some fields changed."""
        return super().clone(**{**{k: m.clone() for k, m in self._inner().items()}, **changes})


def _fitted(method: Method) -> bool:
    return bool(getattr(method, "fitted_", False))


def fold_rows(population: Population, folds: int) -> NDArray[np.int64]:
    """Return int64 [rows]: each row's fold; rows of a user that offer the same options share one."""
    if not population.n_rows:
        return np.zeros(0, np.int64)
    code = np.random.default_rng(0).integers(1 << 62, size=len(population.corpus))
    offer = np.add.reduceat(code[population.options], population.option_offsets[:-1])
    keys = np.stack([population.row_user, offer])  # sums of random codes: the order of options is no matter
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    leader = first[group.reshape(-1)]
    fresh = np.zeros(population.n_rows, np.int64)
    fresh[first] = 1
    distinct = np.cumsum(fresh)
    before = np.concatenate([[0], distinct])[population.offsets[population.row_user]]
    return np.asarray((distinct[leader] - before - 1) % folds)


def _columns(pairs: Pairs) -> tuple[NDArray[Any], ...]:
    return pairs.user, pairs.winner, pairs.loser, pairs.target, pairs.row


def _evidence(held: Held, n_users: int) -> Floats:
    """Return float64 [users, weights]: the log-likelihood of each user's pairs at each weight."""
    out = np.zeros((n_users, len(WEIGHTS)))
    for column, weight in enumerate(WEIGHTS):
        mixed = held.control + weight * (held.personal - held.control)
        nll = log_loss(mixed, held.pairs.target)
        out[:, column] = -np.bincount(held.pairs.user, weights=nll, minlength=n_users)
    return out


def _mixture(likelihood: Floats, rounds: int = 200) -> Floats:
    """Return float64 [weights]: the prior by EM, with one pseudo-user spread evenly."""
    n = len(WEIGHTS)
    prior = np.full(n, 1.0 / n)
    scaled = np.exp(likelihood - likelihood.max(axis=1, keepdims=True)) if len(likelihood) else likelihood
    for _ in range(rounds):
        share = prior * scaled
        share /= share.sum(axis=1, keepdims=True)
        prior = (share.sum(axis=0) + 1.0 / n) / (len(share) + 1.0)
    return prior


def _verdicts(held: Held, n_users: int, weight: Floats) -> Verdicts:
    user, decided = held.pairs.user, held.pairs.target == 1.0

    def accuracy(d: Floats) -> Floats:
        right = (d[decided] > 0) + 0.5 * (d[decided] == 0)
        share = mean_by(user[decided], right, n_users)
        return np.where(np.isnan(share), 0.5, share)

    def loss(d: Floats) -> Floats:
        return mean_by(user, log_loss(d, held.pairs.target), n_users)

    return Verdicts(
        np.bincount(user, minlength=n_users),
        accuracy(held.personal),
        accuracy(held.control),
        loss(held.personal),
        loss(held.control),
        weight,
    )
