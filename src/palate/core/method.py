"""The one protocol that every method speaks: fit, adapt, score.

An author writes a dataclass whose fields are the configuration and three hooks:

    _learn(population)            learn what users share; set attributes that end in ``_``
    _condense(population)         float [users, k]: what is kept of each user
    _log_odds(vectors, queries)   float [options]: scores, comparable inside one query

The base derives single calls, saving and loading, and the checks.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, FitDiverged, MethodError, NotFitted, PersonaMismatch, StorageError
from palate.core.feedback import Conversation, Feedback, History
from palate.core.persona import Claim, Persona, Personas, Provenance
from palate.core.population import Population
from palate.core.query import Queries, Query
from palate.core.recall import shared
from palate.core.single import one_query

__all__ = ["Method", "with_roles"]

Floats = NDArray[np.floating[Any]]
Words = Callable[[int], tuple[str, tuple[Claim, ...]]]


class Method(ABC):
    """A way to learn tastes. Subclasses are dataclasses; see the module's text for the hooks.

    Class attributes:
        name: What the catalogue calls it.
        paper: The source, for people.
        version: Raise it when a change alters the numbers; saved runs and caches depend on it.
        personal: False for the controls, whose personas hold nothing about a user.
        seconds_per_10k: Rough seconds of a fit per 10,000 training pairs on two cores, for estimates.
        space: Values worth trying, by field: what a search over settings draws from. Empty where the
            method chooses everything itself on validation users, or has nothing to choose.
        uses_lm: Whether it asks a language model, so that every call may cost money.
        tunes: Whether it tunes a model of the user's own, named by its field ``model``.
        packages: Packages that it imports on use, and cannot do without.
        baseline: Name of the unpersonalized method that a persona must beat, and that is used where it
            does not.
        gate_folds: How many parts a user's history is cut into when a persona is tested on held-back choices.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    version: ClassVar[int] = 1
    personal: ClassVar[bool] = True
    seconds_per_10k: ClassVar[float] = 5.0
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    uses_lm: ClassVar[bool] = False
    tunes: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    baseline: ClassVar[str] = "pooled"
    gate_folds: ClassVar[int] = 10

    # ---- what authors write -------------------------------------------------------------------

    @abstractmethod
    def _learn(self, population: Population) -> None:
        """Learn what users share; choose settings on the population's validation users."""

    @abstractmethod
    def _condense(self, population: Population) -> Floats:
        """Return float [users, k]: what is kept of each user; an empty history gives the average."""

    @abstractmethod
    def _log_odds(self, vectors: Floats, queries: Queries) -> Floats:
        """Return float [options]: scores; ``vectors`` is float [personas, k], average users filled in."""

    def _words(self, population: Population, vectors: Floats) -> Words | None:
        """Return what writes user i's text and claims, or None for a method that has no words."""
        return None

    # ---- what callers use ---------------------------------------------------------------------

    def fit(self, population: Population) -> Self:
        """Learn what users share.

        Args:
            population: Training users, and validation users where roles are given. Without roles
                a fifth of the users is set apart for validation, by the method's seed.

        Returns:
            The method itself.

        Raises:
            MethodError: If there is no choice to learn from.
            FitDiverged: If learning produced numbers that are not finite.
        """
        if not len(population.pairs):
            raise MethodError(f"{self.name} has no choice to learn from: the population's rows are empty")
        for key in [k for k in vars(self) if k.endswith("_") and not k.startswith("_")]:
            delattr(self, key)
        self.__dict__.pop("_cached_fingerprint", None)
        self._learn(with_roles(population, getattr(self, "seed", 0)))
        self.fitted_ = True
        for key, value in self._state().items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                raise FitDiverged(f"{self.name}: {key} is not finite; scale the features or raise the ridge")
        return self

    def adapt_batch(self, histories: Population | Sequence[History]) -> Personas:
        """Condense users into personas. Pure: nothing is stored, equal histories give equal personas."""
        self._check_fitted()
        people = self._people(histories)
        vectors = self._condense(people)
        known = np.ones(people.n_users, dtype=bool)
        words = self._words(people, vectors)
        return Personas(self.label, self.fingerprint, people.users, vectors, known, people, words)

    def adapt(self, history: History) -> Persona:
        """Condense one user. An empty history gives the average user's persona."""
        return self.adapt_batch([history])[0]  # type: ignore[no-any-return]

    def score_batch(self, queries: Queries | Sequence[Query]) -> Floats:
        """Return float64 [options]: log-odds, P(i beats j) = sigmoid(s_i - s_j) inside one query.

        Raises:
            PersonaMismatch: If another model made a persona's vector.
        """
        asked = queries if isinstance(queries, Queries) else Queries.of(queries)
        asked = replace(asked, corpus=shared(asked.corpus))
        return self._log_odds(self._vectors(asked.personas), asked)

    def score(self, persona: Persona, conversation: str | Conversation, responses: Sequence[str]) -> Floats:
        """Return float64 [responses]: log-odds of each response for this user."""
        return self.score_batch(one_query(persona, conversation, responses))

    @property
    def label(self) -> str:
        """What reports and personas call this method: its name, unless it wraps another."""
        return self.name

    # ---- configuration and state --------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's fields and their values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def clone(self, **changes: Any) -> Self:
        """Return an unfitted copy, with some fields changed.

        Raises:
            ConfigError: If a field does not exist.
        """
        unknown = set(changes) - set(self.config)
        if unknown:
            raise ConfigError(f"{self.name} has no field {sorted(unknown)}; it has {sorted(self.config)}")
        return replace(self, **changes)  # type: ignore[type-var]

    @property
    def fingerprint(self) -> str:
        """A hash of method, configuration and learned state: which model a vector belongs to."""
        self._check_fitted()
        if "_cached_fingerprint" not in self.__dict__:
            h = hashlib.blake2b(digest_size=8)
            h.update(json.dumps([self.name, self.version, self.config], default=str).encode())
            for key, value in sorted(self._state().items()):
                h.update(key.encode())
                h.update(value.tobytes() if isinstance(value, np.ndarray) else _dump(value))
            self.__dict__["_cached_fingerprint"] = h.hexdigest()
        return str(self.__dict__["_cached_fingerprint"])

    def save(self, folder: str | Path) -> Path:
        """Write ``model.json`` and ``state.npz``; :func:`palate.catalogue.load` reads them back."""
        state = self._state()
        arrays = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
        plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
        head = {"method": self.name, "version": self.version, "fingerprint": self.fingerprint}
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "model.json").write_bytes(_dump({**head, "config": self.config, "state": plain}))
            np.savez(path / "state.npz", allow_pickle=False, **arrays)
        except OSError as error:
            raise StorageError(f"cannot save the model in {path}: {error}") from error
        return path

    def restore(self, folder: str | Path, head: Mapping[str, Any]) -> Self:
        """Take up the state that :meth:`save` wrote into ``folder``; ``head`` is its ``model.json``."""
        with open(Path(folder) / "state.npz", "rb") as file, np.load(file, allow_pickle=False) as arrays:
            self.__dict__.update({key: arrays[key] for key in arrays.files})
        self.__dict__.update(head["state"])
        self.__dict__["_cached_fingerprint"] = head["fingerprint"]
        return self

    def _state(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}

    def _check_fitted(self) -> None:
        if not getattr(self, "fitted_", False):
            raise NotFitted(f"{self.name} is not fitted: call fit(population), or load a saved model")

    def _check_own(self, method: str, model: str) -> None:
        if model and model != self.fingerprint:
            raise PersonaMismatch(
                f"a persona of {method} (model {model}) was given to {self.label} "
                f"(model {self.fingerprint}); adapt the user again with this model"
            )

    def _people(self, histories: Population | Sequence[History]) -> Population:
        if isinstance(histories, Population):
            return histories
        people = Population.of(histories)
        return replace(people, corpus=shared(people.corpus))

    def _resume(self, persona: Persona, user: str | None = None) -> Persona:
        """Return a persona to go on from: of this model, the average user's made out, its user named.

        Args:
            persona: What was given.
            user: Whose new choice it is to learn from.

        Raises:
            PersonaMismatch: If another model made it.
            MethodError: If it is another user's.
        """
        self._check_fitted()
        if user is not None and persona.user not in (None, user):
            raise MethodError(
                f"a choice of {user!r} was given with the persona of {persona.user!r}; update each persona "
                "with its own user's choices"
            )
        source, name = persona.provenance, persona.user if user is None else user
        if persona == Persona(user=persona.user):
            return replace(self.adapt(History(name or "")), user=name)
        if source is None:
            return replace(persona, user=name, provenance=Provenance(self.label, self.fingerprint))
        self._check_own(source.method, source.model)
        return replace(persona, user=name)

    def _with_choice(self, persona: Persona, feedback: Feedback) -> tuple[Persona, Provenance | None]:
        """Return a persona to update and its provenance with the choice; None where it was seen before.

        Raises:
            PersonaMismatch: If another model made the persona.
            MethodError: If the choice is another user's.
        """
        own = self._resume(persona, feedback.user)
        assert own.provenance is not None
        if feedback.id and feedback.id in own.provenance.feedback:
            return own, None
        return own, own.provenance.after(feedback)

    def _vectors(self, personas: Personas) -> Floats:
        """Return float [personas, k] with the average user in the place of unknown ones."""
        self._check_fitted()
        self._check_own(personas.method, personas.model)
        if personas.vectors is not None and personas.model and personas.known.all():
            return personas.vectors
        average = self._average_vector()
        vectors = np.broadcast_to(average, (len(personas), average.shape[-1]))
        if personas.vectors is None:
            return vectors
        if personas.vectors.shape[1] != vectors.shape[1]:
            raise PersonaMismatch(
                f"{self.name} keeps {vectors.shape[1]} numbers a user, this persona has "
                f"{personas.vectors.shape[1]}; adapt the user again with this model"
            )
        return np.where(personas.known[:, None], personas.vectors, vectors)

    def _average_vector(self) -> Floats:
        return self._condense(Population.of([History("")]))


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"learned state must be arrays or plain values, got {type(value).__name__}")


def with_roles(population: Population, seed: int) -> Population:
    """Return the population with every user in train or val and every val row in context or target.

    Roles and splits that were given are kept. Without any validation user a fifth of the users
    who have rows (at least one of two) is drawn by ``seed``; a validation user without targets has
    the last 40 % of their rows made targets.
    """
    role, split = population.role.copy(), population.split.copy()
    role[role < 0] = 0
    user, counts = population.row_user, np.diff(population.offsets)
    heard = np.flatnonzero(counts)
    if not (role == 1).any() and len(heard) > 1:
        role[np.random.default_rng(seed).permutation(heard)[: max(1, len(heard) // 5)]] = 1
    has_target = np.bincount(user, weights=split == 1, minlength=population.n_users) > 0
    bare = (role[user] == 1) & ~has_target[user]
    split[bare] = (population.rank >= np.ceil(0.6 * counts[user]))[bare]
    split[split < 0] = 0
    return replace(population, role=role, split=split)
