"""The parts of the main job by themselves: fit a model, adapt users, rank for them, explain them.

A model folder holds the gated method, and in ``words/`` the ``style`` method that puts users in words.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from palate.catalogue import build, load
from palate.core import ConfigError, DataError, Method, Persona, Personas, Population, StorageError
from palate.feedback import read, split_new_users
from palate.gate import Gate

__all__ = ["Workshop", "fit_model", "write_lines"]


@dataclass(frozen=True)
class Workshop:
    """A fitted model, with the method that finds words for its users."""

    method: Method
    words: Method
    summary: str = ""

    @classmethod
    def load(cls, folder: str | Path) -> "Workshop":
        """Read what :meth:`save` wrote."""
        path = Path(folder)
        return cls(load(path), load(path / "words"))

    def save(self, folder: str | Path) -> None:
        """Write both methods into a folder."""
        self.method.save(folder)
        self.words.save(Path(folder) / "words")

    def personas(self, file: str, fields: Mapping[str, str] | None = None) -> Personas:
        """Adapt every user of a file."""
        return self.method.adapt_batch(read(file, fields=fields).population)

    def persona_of(self, user: str, personas: Path | None, history: str | None) -> Persona:
        """Find a user's persona in a file of personas, or make it from feedback; "" is the average user."""
        if not user:
            return Persona()
        if personas is not None:
            return _find(personas, user)
        if history is None:
            raise ConfigError(f"for the user {user!r} give --personas FILE or --history FILE")
        return self.method.adapt_batch(_only(read(history).population, user, history))[0]  # type: ignore[no-any-return]

    def rank(self, persona: Persona, prompt: str, responses: Sequence[str]) -> list[tuple[str, float]]:
        """Return responses, best first, each with the probability that it would be chosen among them."""
        if len(responses) < 2:
            raise ConfigError(f"{len(responses)} response given; ranking needs two or more")
        share = softmax(self.method.score(persona, prompt, responses))
        return [(responses[i], float(share[i])) for i in np.argsort(-share, kind="stable")]

    def explain(self, user: str, file: str, fields: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield what is believed about a user, the choices it rests on, and how it did."""
        people = _only(read(file, fields=fields).population, user, file)
        told, tested = self.words.adapt_batch(people)[0], self.method.adapt_batch(people)[0]
        yield f"{user}: {people.n_rows} choices"
        yield ""
        yield told.text or "No preference is evident."
        rows = {str(name): number for number, name in enumerate(people.ids)}
        for claim in told.claims:
            yield ""
            yield claim.text.split(":")[0]
            for title, ids in (("for", claim.supports), ("against", claim.contradicts)):
                for name in ids[:2]:
                    row = people.row(rows[name])
                    others = [r for i, r in enumerate(row.responses) if i != row.chosen]
                    yield f"  {title}: chose “{_short(row.chosen_response or '')}” over “{_short(others[0])}”"
        yield ""
        yield f"{self.method.label}: {tested.verdict or 'not tested: there is no choice to hold back'}"


def fit_model(
    file: str,
    method: str,
    encoder: str,
    seed: int,
    values: Mapping[str, Any],
    fields: Mapping[str, str],
    gate: bool,
) -> Workshop:
    """Fit a method on all users of a file, and ``style`` for their words.

    A tenth of the users, or those with the role val, choose settings; test users are left out.
    """
    people = split_new_users(read(file, fields=fields).population, seed, fractions=(0.9, 0.1, 0.0))
    fit_on = people.take_users(people.role != 2)
    personal = build(method, values, encoder=encoder, seed=seed)
    fitted: Method = personal.fit(fit_on)
    if gate and personal.personal:
        fitted = Gate(method=personal, control=build("pooled", encoder=encoder, seed=seed)).fit(fit_on)
    words = build("style", seed=seed).fit(fit_on)
    return Workshop(fitted, words, f"{fitted.label} on {fit_on.n_users:,} users, {fit_on.n_rows:,} choices")


def write_lines(lines: Iterable[str], path: Path) -> int:
    """Write lines to a file that appears whole or not at all; return how many."""
    draft, count = path.with_name(f".{path.name}.{os.getpid()}"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as out:
            for line in lines:
                out.write(line + "\n")
                count += 1
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error}") from error
    return count


def _only(people: Population, user: str, where: str) -> Population:
    index = np.flatnonzero(people.users == user)
    if not len(index):
        known = ", ".join(map(str, people.users[:5]))
        raise DataError(f"{where} has no user {user!r}; it has {people.n_users:,}, such as {known}")
    return people.take_users(index)


def _find(personas: Path, user: str) -> Persona:
    try:
        with personas.open(encoding="utf-8") as lines:
            for line in lines:
                values = json.loads(line)
                if values.get("user") == user:
                    return Persona.from_json(values)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{personas} is no file of personas that `palate adapt` wrote: {error}") from error
    raise DataError(f"{personas} has no persona of {user!r}; adapt the user with `palate adapt`")


def _short(text: str, most: int = 90) -> str:
    one = " ".join(text.split())
    return one if len(one) <= most else one[: most - 1] + "…"
