"""What the tests of the fake model share: people of a world, their taste in words, and a way to ask."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from palate.core import Feedback
from palate.fakes.reader import FakeEngine, make_engine
from palate.fakes.words import statement
from palate.feedback.world import World
from palate.judge import Comparison, Judge
from palate.models.llm.engine import Completion
from palate.models.llm.program import Program, Section
from palate.models.llm.wire import Request


@dataclass
class Person:
    """A user of the world, with the truth about them."""

    theta: np.ndarray
    context: list[Feedback]
    targets: list[Feedback]

    def persona(self, sign=1):
        """Every taste of half a log-odds or more, in words; turned round with ``sign=-1``."""
        axes = [axis for axis in np.argsort(-np.abs(self.theta)) if abs(self.theta[axis]) >= 0.5]
        return "\n".join(statement(axis, sign * int(np.sign(self.theta[axis]))) for axis in axes)


@dataclass
class Asker:
    """Asks a fake as the client would, and counts what it says of choices."""

    engine: FakeEngine
    judge: Judge = field(default_factory=lambda: Judge(logprobs=0))

    def ask(self, title, *sections, ask="Do it.", instruction="Do your best.", **settings) -> Completion:
        program = Program("test", title, instruction, ask, "example")
        return self.send(Request(program, tuple(Section(*section) for section in sections), **settings))

    def send(self, request) -> Completion:
        return self.engine.complete("fake", request.told(128_000).messages, request)

    def verdict(self, comparison, swapped=False) -> bool:
        """Whether answer 0 is said to be preferred."""
        return self.send(self.judge.request(comparison, swapped)).text.endswith("First") != swapped

    def right(self, feedback, persona=None, examples=(), swapped=False) -> bool:
        """Whether the chosen answer of a past choice is said to be preferred."""
        answers = tuple(sorted(feedback.responses))
        said = self.verdict(Comparison(feedback.conversation, answers, persona, tuple(examples)), swapped)
        return said == (answers[0] == feedback.chosen_response)

    def accuracy(self, people, persona=lambda person: None, examples=lambda person: ()) -> float:
        """The share of the targets that is said rightly, every other one in the other order."""
        right = [
            self.right(choice, persona(person), examples(person), swapped=number % 2 == 1)
            for person in people
            for number, choice in enumerate(person.targets)
        ]
        return float(np.mean(right))


@pytest.fixture(scope="session")
def people():
    sample = World.default(users=60).sample()
    found = []
    for user, history in enumerate(sample.population):
        cut = sample.world.pairs
        found.append(Person(sample.theta[user], list(history.feedback[:10]), list(history.feedback[cut:])))
    return found


@pytest.fixture(scope="session")
def comparisons(people):
    """Twelve hundred comparisons without a persona, answers in the order of their texts."""
    return [
        Comparison(choice.conversation, tuple(sorted(choice.responses)))
        for person in people
        for choice in person.targets
    ]


@pytest.fixture(scope="session")
def fake():
    """Return an asker of a fake with some knobs."""
    return lambda knobs="": Asker(make_engine(f"fake:world?{knobs}"))
