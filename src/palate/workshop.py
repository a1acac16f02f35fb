"""The parts of the main job by themselves: fit a model, adapt users, rank for them, explain them.

A model folder holds the gated method, and in ``words/`` the ``style`` method that finds words without a
language model. A method that asks one is compared with its own baseline, the judge without a persona.
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
from palate.export import from_json
from palate.feedback import read, split_new_users
from palate.gate import Gate
from palate.models.llm.ledger import Ledger
from palate.models.llm.session import current_session
from palate.persona.told import Explanation, explanation

__all__ = ["Workshop", "fit_model", "persona_versions", "read_personas", "write_lines"]


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

    def explain(
        self,
        user: str,
        file: str,
        fields: Mapping[str, str] | None = None,
        persona: Persona | None = None,
    ) -> Explanation:
        """Tell what is believed about a user, the choices it rests on, how it did, and what is applied.

        Args:
            user: Whose persona.
            file: Feedback that holds the user's choices.
            fields: Which column of the file is what.
            persona: One that was adapted before; None adapts the user now, and says what that cost.
        """
        people = _only(read(file, fields=fields).population, user, file)
        maker = self.method.method if isinstance(self.method, Gate) else self.method
        ledger = current_session().ledger if maker.uses_lm else Ledger()
        before = ledger.snapshot()
        told = self.method.adapt_batch(people)[0] if persona is None else persona
        return explanation(
            told,
            people,
            self.method.label,
            style=None if maker.name == self.words.name else self.words.adapt_batch(people)[0],
            lm=getattr(maker, "lm_", ""),
            judge_lm=getattr(maker, "judge_lm_", ""),
            control=self.method.control.label if isinstance(self.method, Gate) else "",
            cost=tuple(_cost(ledger.since(before))),
        )


def fit_model(
    file: str,
    method: str,
    encoder: str,
    seed: int,
    values: Mapping[str, Any],
    fields: Mapping[str, str],
    gate: bool,
    common: Mapping[str, Any] | None = None,
) -> Workshop:
    """Fit a method on all users of a file, and ``style`` for their words.

    A tenth of the users, or those with the role val, choose settings; test users are left out. ``common``
    are fields that are set where a method has them: the language models.
    """
    people = split_new_users(read(file, fields=fields).population, seed, fractions=(0.9, 0.1, 0.0))
    fit_on = people.take_users(people.role != 2)
    personal = build(method, values, encoder=encoder, seed=seed, **(common or {}))
    fitted: Method = personal.fit(fit_on)
    if gate and personal.personal:
        fitted = Gate(method=personal, control=_control(personal), folds=personal.gate_folds).fit(fit_on)
    words = build("style", seed=seed).fit(fit_on)
    return Workshop(fitted, words, f"{fitted.label} on {fit_on.n_users:,} users, {fit_on.n_rows:,} choices")


def _control(personal: Method) -> Method:
    """Return the unpersonalized method that a persona must beat, unfitted, with what it shares."""
    shared = ("encoder", "seed", "lm", "judge_lm", "reason", "calibrate")
    return build(personal.baseline, **{k: v for k, v in personal.config.items() if k in shared})


def persona_versions(first: str, second: str = "", user: str = "") -> tuple[Persona, Persona]:
    """Return two versions of a persona, to be compared.

    Args:
        first: A file that `palate adapt` wrote, or a line of one.
        second: Another; "" takes the first two personas of this user in the first file.
        user: Whose; "" where the files hold one user.

    Raises:
        DataError: If there are not two versions, or several users and none is named.
    """
    found = [_versions(where, user) for where in (first, second) if where]
    if len(found) == 1:
        if len(found[0]) < 2:
            raise DataError(f"{first} holds one version of the persona; name a second file to compare with")
        return found[0][0], found[0][1]
    return found[0][-1], found[1][-1]


def _versions(where: str, user: str) -> list[Persona]:
    """Return a user's personas in a file, or the one of a line, in their order."""
    personas = [from_json(where)] if where.lstrip().startswith("{") else read_personas(where)
    users = list(dict.fromkeys(p.user for p in personas))
    if not user and len(users) > 1:
        raise DataError(
            f"{where} holds personas of {len(users):,} users; name one with --user, as {users[0]}"
        )
    mine = [p for p in personas if not user or p.user == user]
    if not mine:
        raise DataError(f"{where[:60]} has no persona of {user!r}; adapt the user with `palate adapt`")
    return mine


def read_personas(file: str | Path) -> list[Persona]:
    """Return all personas of a file that `palate adapt` wrote.

    Raises:
        DataError: If it cannot be read, or holds something else.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no file of personas that `palate adapt` wrote: {error}") from error
    return [from_json(line) for line in lines if line.strip()]


def _cost(ledger: Ledger) -> Iterator[str]:
    """Yield what was asked, in words; nothing where nothing was."""
    total = ledger.total
    if total["requests"]:
        dollars = "" if not total["dollars"] else f", ${total['dollars']:,.4f}"
        yield (
            f"Asked for this: {total['requests']:,} answers, {total['paid']:,} of them by calls made now, "
            f"{total['tokens_in']:,} tokens in and {total['tokens_out']:,} out{dollars}"
        )
    faults = {kind: count for kind, count in total["faults"].items() if count}
    if faults:
        yield "Without an answer: " + ", ".join(f"{count:,} {kind}" for kind, count in faults.items())


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
