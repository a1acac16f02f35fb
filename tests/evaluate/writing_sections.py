"""Made-up people, methods that write by rule, and judges that know the truth, for tests of writing."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from facet_sections import outcome, people, task_of

from palate.core import Method, Personas
from palate.evaluate.facets import writing
from palate.evaluate.protocol import Task
from palate.evaluate.versus import KnownJudge
from palate.evaluate.writing import Writing


@dataclass(kw_only=True, eq=False)
class Pen(Method):
    """Its persona is what a user chose last; it writes that word, or what ``rule(persona, talk)`` gives."""

    name = "pen"
    baseline = "pooled"
    rule: Any = None
    templates: str = "first"
    scale: float = 1.0
    seed: int = 0

    def _learn(self, population):
        self.learned_ = population.n_users

    def _condense(self, population):
        return np.zeros((population.n_users, 0))

    def adapt_batch(self, histories):
        texts = []
        for history in histories:
            last = history.feedback[-1] if history.feedback else None
            texts.append(f"likes {last.responses[last.chosen]}" if last else "")
        known = np.ones(len(texts), dtype=bool)
        return Personas(self.name, self.fingerprint, histories.users, None, known, histories, texts=texts)

    def _log_odds(self, vectors, queries):
        words = [queries.corpus.response(i) for i in queries.options.tolist()]
        liked = [queries.personas[w].text or "" for w in queries.who.tolist()]
        scores = [
            0.3 * (w == "yes") + self.scale * (w in liked[q].split())
            for w, q in zip(words, queries.option_query.tolist(), strict=True)
        ]
        return np.array(scores)

    def generate_batch(self, personas, conversations, *, samples=1, temperature=1.0, longest=0, seed=0):
        return [[self._write(p, c)] * samples for p, c in zip(personas, conversations, strict=True)]

    def _write(self, persona, talk):
        if self.rule is not None:
            return self.rule(persona, talk)
        liked = (persona.text or "").removeprefix("likes ") or "perhaps"
        return f"{liked} indeed" if self.templates == "second" else liked

    def stream(self, persona, conversation, *, temperature=1.0, longest=0, seed=0):
        yield self._write(persona, conversation)


@dataclass(frozen=True, eq=False)
class WritingTask(Task):
    """A task with settings for writing."""

    writing: Any = None


def with_writing(task, settings):
    return WritingTask(**{f.name: getattr(task, f.name) for f in fields(Task)} | {"writing": settings})


def likes(user):
    return ("yes", "no")[user % 2]


def folk(users=24, without=0, choose=lambda u, i: u % 2):
    """Users like yes and no in turns; all but the last ``without`` have a profile that says so."""
    found = people(users=users, choose=choose)
    known = {f"user-{u:04d}": {"first_name": "", "liked": likes(u)} for u in range(users - without)}
    return task_of(replace(found, profiles=known))


TRUTH = KnownJudge(lambda who, talk, answer: float(who.split()[-1] in answer.split()), name="truth")
BRIEF = KnownJudge(lambda who, talk, answer: -len(answer.split()), by="user", name="brief")


def settings(**more):
    return Writing(
        **{"judges": {"personalization": TRUTH, "quality": BRIEF}, "temperature": 0.0, "answers": 96, **more}
    )


def wrote(task, method):
    """The outcome that holds what a method's probe gave."""
    fitted = method.fit(task.fit_on)
    arrays = writing.probe(fitted, fitted.adapt_batch(task.context), task)
    extra = {f"writing.{key}": np.asarray(value) for key, value in arrays.items()}
    return outcome(task, np.ones(len(task.targets), bool), extra=extra)
