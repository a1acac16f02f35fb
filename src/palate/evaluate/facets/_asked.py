"""What the facets that ask a language model share: which model, on which target pairs, and how it is asked.

A facet asks the models that a method itself writes and judges with, so that a run that names no model makes
no call. Its calls carry the facet's name and are told apart from the method's own.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from palate.core import Feedback, Method, Population
from palate.evaluate.protocol import Task
from palate.models.llm.wire import Asking

__all__ = ["Models", "dealt", "held", "inferred", "models_of", "run_all", "short_names", "target_row"]

Ints = NDArray[np.int64]
T = TypeVar("T")


class Models(NamedTuple):
    """The specs of the models that write and that judge."""

    writer: str
    judge: str


def models_of(method: Method) -> Models | None:
    """Return the models of a fitted method, None for one that asks none."""
    writer = str(getattr(method, "lm_", "") or "")
    if not method.uses_lm or not writer:
        return None
    return Models(writer, str(getattr(method, "judge_lm_", "") or "") or writer)


def short_names(specs: Sequence[str]) -> list[str]:
    """Return short names of models: the last part of each, or letters where those are not all different.

    >>> short_names(["openai/gpt@http://host/v1", "local/llama"])
    ['gpt', 'llama']
    >>> short_names(["fake:world?error=0.1", "fake:world?error=0.3"])
    ['A', 'B']
    """
    last = [spec.partition("@")[0].rpartition("/")[2].partition("?")[0] for spec in specs]
    if len(set(last)) == len(specs) and max(map(len, last), default=0) <= 20:
        return last
    return [chr(ord("A") + number) for number in range(len(specs))]


def run_all(spec: str, askings: Iterable[Asking[T]], users: Iterable[str], what: str) -> list[T]:
    """Drive conversations with a model at once; ``users`` names whom each is about, ``what`` the facet."""
    from palate.models.llm.client import Task as Work
    from palate.models.llm.session import connect

    work = (Work(asking, user, f"facet {what}") for asking, user in zip(askings, users, strict=True))
    return list(connect(spec).run(work))


def held(task: Task) -> Population:
    """Return the scored users' target rows, which ``task.targets.row`` counts."""
    people = task.people if task.protocol == "seen-users" else task.people.with_role("test")
    return people.with_split("target")


def dealt(task: Task, most: int) -> Ints:
    """Return int64: at most ``most`` decided target pairs, dealt one a user a turn, a row at most once.

    A smaller number is a part of a larger one, and all facets and methods get the same.
    """
    targets, rng = task.targets, np.random.default_rng(0)
    rows = np.unique(targets.row, return_index=True)[1]
    pairs = rows[targets.target[rows] == 1.0]
    shuffled = pairs[np.lexsort((rng.random(len(pairs)), targets.user[pairs]))]
    owner = targets.user[shuffled]
    turn = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return np.asarray(shuffled[np.lexsort((rng.random(len(owner)), turn))][:most])


def target_row(task: Task, pair: int, rows: Population) -> Feedback:
    """Return a target pair as a choice between its two responses; ``rows`` are the :func:`held` ones."""
    targets, corpus = task.targets, task.people.corpus
    winner, loser = int(targets.winner[pair]), int(targets.loser[pair])
    return Feedback(
        user=str(task.context.users[targets.user[pair]]),
        conversation=corpus.conversation(winner),
        responses=(corpus.response(winner), corpus.response(loser)),
        chosen=0,
        id=str(rows.ids[targets.row[pair]]),
    )


class Inferred(NamedTuple):
    """A persona that was inferred from a choice.

    Attributes:
        text: The sentence, "" where nothing of it may be said.
        protected: Whether it named a protected attribute, which was taken out.
    """

    text: str
    protected: bool


def inferred(choice: Feedback, rejected: bool) -> Asking[Inferred | None]:
    """Infer who would prefer a pair's chosen answer, or its rejected one; None where no answer could be read.

    How this is asked belongs to the method ``pi``; it is reached by name, as methods are.
    """
    pi: Any = import_module("palate.persona.pi")
    found = yield from pi.infer([choice], "rejected" if rejected else "chosen")
    if not found or found[0].fault is not None:
        return None
    return Inferred(found[0].sentence or "", bool(found[0].removed))
