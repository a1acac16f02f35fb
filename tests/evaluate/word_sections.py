"""Made-up sections of text personas for the tests of their facets, and models that answer by rule."""

from dataclasses import dataclass, replace

import numpy as np
from facet_sections import outcome, people, section, task_of

from palate.core import Method, Personas
from palate.evaluate.facets import _asked
from palate.models.llm.program import Malformed
from palate.models.llm.wire import Fault, Reply


@dataclass(kw_only=True, eq=False)
class Writer(Method):
    """Writes by rule: ``says`` maps a user's name to a persona."""

    name = "writer"
    uses_lm = True
    baseline = "default"
    lm: str = "rule:a"
    judge_lm: str = ""
    says: object = None
    seed: int = 0

    def _learn(self, population):
        self.lm_, self.judge_lm_ = self.lm, self.judge_lm

    def _condense(self, population):
        return np.zeros((population.n_users, 0))

    def _log_odds(self, vectors, queries):
        return np.zeros(len(queries.options))

    def adapt_batch(self, histories):
        texts = [self.says(str(name)) for name in histories.users]
        known = np.ones(len(texts), dtype=bool)
        return Personas(self.name, self.fingerprint, histories.users, None, known, histories, texts=texts)


class Silent(Writer):
    """A method that asks no model."""

    uses_lm = False


def drive(monkeypatch, answer):
    """Let ``answer(request)`` stand for every model; None is a call that failed. Returns what was asked."""
    asked = []

    def one(asking):
        found = None
        while True:
            try:
                requests = asking.send(found)
            except StopIteration as done:
                return done.value
            found = [read(request) for request in requests]

    def read(request):
        asked.append(request)
        text = answer(request)
        if text is None:
            return Fault("server", "down")
        try:
            return Reply(text, request.program.read(text))
        except Malformed as error:
            return Fault("malformed", str(error))

    def run_all(spec, askings, users, what):
        return [one(asking) for asking, _ in zip(askings, users, strict=True)]

    for facet in ("alone", "salience", "match", "reasons", "clusters"):
        monkeypatch.setattr(f"palate.evaluate.facets.{facet}.run_all", run_all)
    return asked


def infer_by(monkeypatch, text_of):
    """Let ``text_of(choice, rejected)`` be the persona of a choice, None for none; no model is asked."""

    def inferred(choice, rejected):
        text = text_of(choice, rejected)
        if text is None:
            return None
        return _asked.Inferred("" if text == "gone" else text, text == "gone" or "tall" in text)
        yield []

    for facet in ("alone", "salience", "reasons"):
        monkeypatch.setattr(f"palate.evaluate.facets.{facet}.inferred", inferred)


def part(request, tag):
    """Return the section of a request with a tag."""
    return next(s.text for s in request.sections if s.tag == tag)


def probed(facet, task, method, encoder=None, **more):
    """An outcome that holds what a facet's probe gave for a fitted method."""
    fitted = method.fit(task.fit_on)
    extra = [] if encoder is None else [encoder]
    arrays = facet.probe(fitted, fitted.adapt_batch(task.context), task, *extra)
    right = more.pop("right", np.ones(len(task.targets), bool))
    return outcome(task, right, extra={f"{facet.NAME}.{k}": np.asarray(v) for k, v in arrays.items()}, **more)


def with_people(task, **changes):
    """A task whose people know more: profiles or reasons."""
    known = replace(task.people, **changes)
    return replace(task, people=known)


__all__ = [
    "Silent",
    "Writer",
    "drive",
    "infer_by",
    "part",
    "people",
    "probed",
    "section",
    "task_of",
    "with_people",
]
