"""A persona is a hypothesis: test it on choices it never saw, and apply it only as far as that supports.

For each user the history is cut into folds (leave-one-out where it is short). Each fold is predicted by
a persona made from the others and by the unpersonalized control. With s_p and s_c their log-odds, a
weight a in {0, 1/4, ..., 1} stands for applying s_a = s_c + a (s_p - s_c), and

    evidence      E_u(a) = sum_i log sigmoid(s_a,i)             over the user's held-back choices
    prior         pi(a), the share of validation users whom weight a serves best: the mixture that
                  maximises sum_v log sum_a pi(a) exp(T_v(a)) by EM, T_v their targets' log-likelihood
    weight        a_u = sum_a a pi(a) exp(E_u(a)) / sum_a pi(a) exp(E_u(a))

A user with little evidence gets what served the validation users; a user whom the persona fails gets the
average answer. The verdict is stored with the persona and shown with it. Its vector is (the method's, the
control's, the posterior over weights [5], decided pairs it was tested on, a_u).

One more choice is evidence that the persona never saw: it is predicted first, by persona and control as they
are, and the posterior is multiplied by sigmoid(s_a) of that choice. Then both learn from it. Against
adapting anew the early choices count by what was known before them, rather than by all the others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from palate.core import (
    Feedback,
    History,
    Method,
    MethodError,
    Persona,
    Personas,
    Population,
    Queries,
    Revises,
    Updates,
    Verdicts,
    one_choice,
)
from palate.gate.held import WEIGHTS, Held, differences, evidence, hold_back, tested, verdicts_of

__all__ = ["Gate", "mixture"]

Floats = NDArray[np.floating[Any]]
_OWN = len(WEIGHTS) + 2  # numbers of a vector that are the gate's own


@dataclass(kw_only=True, eq=False)
class Gate(Method):
    """Any method, applied to each user only as far as their own held-back choices support it.

    An inner method that comes fitted is taken as it is; others are fitted with the gate, each time. It has
    ``update`` where its method updates, and ``revise`` where its method does: a person's words come from
    the inner method, or from ``style`` beside it, and the ranking from the inner method in any case. A
    revised persona is applied by the weight that it had; :meth:`with_weight` lets the person say how far.

    Args:
        method: The personal method.
        control: The unpersonalized one that it must beat.
        folds: How many parts a long history is cut into.
    """

    name: ClassVar[str] = "gate"
    paper: ClassVar[str] = "ours: do no harm"
    version: ClassVar[int] = 2
    method: Method
    control: Method
    folds: int = 10

    def __post_init__(self) -> None:
        # set on the instance, so that ``isinstance(gate, Updates)`` tells what this gate can do
        if isinstance(self.method, Updates):
            self.update: Callable[[Persona, Feedback], Persona] = self._update
        if isinstance(self.method, Revises):
            self.revise: Callable[[Persona, Mapping[str, float]], Persona] = self._revise
            self.shift_of: Callable[[Persona, str], float | None] = self._shift_of

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
            likelihood = evidence(Held(targets, personal, plain), people.n_users)
            likelihood = likelihood[np.bincount(targets.user, minlength=people.n_users) > 0]
        self.prior_ = mixture(likelihood)
        self.control_size_ = int(self.control._average_vector().shape[-1])
        self.inner_ = [m.fingerprint for m in self._inner().values()]

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Condense users, with a verdict on each who has a choice."""
        self._check_fitted()
        people = self._people(histories)
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
        """Return vectors, float64 [users, k], as the module's text says, and the verdicts."""
        held = hold_back(self.method, self.control, population, self.folds)
        share = self.believed(evidence(held, population.n_users))
        weight = share @ WEIGHTS
        vectors = [p.vectors for p in (inner, self.control.adapt_batch(population))]
        decided = held.pairs.user[held.pairs.target == 1.0]
        told = np.bincount(decided, minlength=population.n_users)
        table = np.column_stack([*(v for v in vectors if v is not None), share, told, weight])
        return table, verdicts_of(held, population.n_users, weight)

    def believed(self, evidence: Floats) -> Floats:
        """Return the posterior over ``WEIGHTS``, float64 [users, 5], given the evidence at each of them."""
        share = self.prior_ * np.exp(evidence - evidence.max(axis=1, keepdims=True))
        return np.asarray(share / share.sum(axis=1, keepdims=True))

    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        end = vectors.shape[1] - _OWN
        size = end - self.control_size_
        personal = self.method._log_odds(vectors[:, :size], queries)
        plain = self.control._log_odds(vectors[:, size:end], queries)
        weight = vectors[:, -1][queries.who[queries.option_query]]
        return np.asarray(queries.centred(plain + weight * (personal - plain)))

    # ---- one more choice, and a person's word ---------------------------------------------------------

    def _update(self, persona: Persona, feedback: Feedback) -> Persona:
        """Return the persona with one more choice taken in; see :class:`palate.core.Updates`."""
        own, seen = self._with_choice(persona, feedback)
        if seen is None:
            return own
        corpus, pairs = one_choice(feedback)
        vector = np.array(own.vector)
        end = len(vector) - _OWN
        size = end - self.control_size_
        inner, control = self.inner_persona(own), self._control_persona(own)
        asked = Queries.of_pairs(Personas.of([inner]), corpus, pairs)
        personal = self.method.score_batch(asked)
        plain = self.control.score_batch(replace(asked, personas=Personas.of([control])))
        held = Held(pairs, personal[0::2] - personal[1::2], plain[0::2] - plain[1::2])
        new, control = (_taught(m, p, feedback) for m, p in ((self.method, inner), (self.control, control)))
        share, told, weight = vector[end:-2], vector[-2], vector[-1]
        if share.any():
            share = share * np.exp(evidence(held, 1)[0])
            share, weight = share / share.sum(), float(share @ WEIGHTS / share.sum())
        verdict, told = tested(own.verdict, held, int(told), weight)
        parts = (new.vector or (), (control.vector or ())[: end - size], share.tolist(), (told, weight))
        kept = tuple(float(number) for part in parts for number in part)
        return replace(new, vector=kept, verdict=verdict, provenance=seen)

    def _revise(self, persona: Persona, shifts: Mapping[str, float]) -> Persona:
        """Return the persona as its person wants it, by its method; see :class:`palate.core.Revises`."""
        own = self._resume(persona)
        inner = self.inner_persona(own)
        assert isinstance(self.method, Revises)
        new = self.method.revise(inner, shifts)
        rest = (own.vector or ())[len(inner.vector or ()) :]
        return replace(new, vector=(*(new.vector or ()), *rest), provenance=own.provenance)

    def _shift_of(self, persona: Persona, about: str) -> float | None:
        """Return the shift that stands, by the method."""
        assert isinstance(self.method, Revises)
        return self.method.shift_of(self.inner_persona(self._resume(persona)), about)

    def with_weight(self, persona: Persona, weight: float) -> Persona:
        """Return the persona applied as far as its person says, whatever the evidence, until adapted anew.

        Args:
            persona: Of this gate.
            weight: 1 always applies it, 0 never, and what lies between in part.

        Raises:
            MethodError: If the weight does not lie between 0 and 1.
        """
        if not 0.0 <= weight <= 1.0:
            raise MethodError(f"weight {weight} was given; a persona is applied from 0 (never) to 1 (always)")
        own = self._resume(persona)
        verdict = None if own.verdict is None else replace(own.verdict, weight=float(weight))
        told = (own.vector or ())[-2]
        set_to = (*(0.0 for _ in WEIGHTS), told, float(weight))  # no posterior: choices do not move it
        return replace(own, vector=(*(own.vector or ())[:-_OWN], *set_to), verdict=verdict)

    def _control_persona(self, persona: Persona) -> Persona:
        assert persona.provenance is not None
        end = len(persona.vector or ()) - _OWN
        own = replace(persona.provenance, method=self.control.label, model=self.control.fingerprint)
        numbers = (persona.vector or ())[end - self.control_size_ : end]
        return Persona(persona.user, persona.text, persona.examples, numbers, provenance=own)

    def inner_persona(self, persona: Persona) -> Persona:
        """Return a persona of this gate as the inner method's own: its part of the vector, its model.

        For what cannot be mixed by weight, such as writing: whoever asks looks at the verdict first.

        Raises:
            PersonaMismatch: If another model made it.
        """
        source = persona.provenance
        if source is None:
            return persona
        self._check_own(source.method, source.model)
        size = len(persona.vector or ()) - _OWN - self.control_size_
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


def _taught(method: Method, persona: Persona, feedback: Feedback) -> Persona:
    """Return the persona with one more choice taken in, or as it is where the method has no update."""
    update: Callable[[Persona, Feedback], Persona] | None = getattr(method, "update", None)
    return persona if update is None else update(persona, feedback)


def mixture(likelihood: Floats, rounds: int = 200) -> Floats:
    """Return float64 [weights]: the prior by EM, with one pseudo-user spread evenly."""
    n = len(WEIGHTS)
    prior = np.full(n, 1.0 / n)
    scaled = np.exp(likelihood - likelihood.max(axis=1, keepdims=True)) if len(likelihood) else likelihood
    for _ in range(rounds):
        share = prior * scaled
        share /= share.sum(axis=1, keepdims=True)
        prior = (share.sum(axis=0) + 1.0 / n) / (len(share) + 1.0)
    return prior
