"""Helpers of the curation's tests: a scripted model, small populations, and what stands in a folder."""

import json
import os
from pathlib import Path

import pytest

from palate.core import Feedback, Population, as_conversation
from palate.models.llm.program import Malformed
from palate.models.llm.wire import Fault, Reply

ROOT = Path(__file__).resolve().parents[2]


class Scripted:
    """Answers requests by a function of program name and sections; stands where a client would.

    ``say`` returns the words of the answer; an exception that it raises comes out of the client. Answers are
    kept: an equal request is made once. ``made`` holds the requests that were made.
    """

    def __init__(self, say):
        self.say, self.made, self.kept = say, [], {}

    def run(self, tasks):
        for task in tasks:
            asking = task.asking
            try:
                requests = next(asking)
                while True:
                    requests = asking.send([self.answer(request) for request in requests])
            except StopIteration as stop:
                yield stop.value

    def answer(self, request):
        if request not in self.kept:
            sections = {section.tag: section.text for section in request.sections}
            text = self.say(request.program.name, sections, request.lm)
            self.made.append(request)
            self.kept[request] = text
        text = self.kept[request]
        key = f"key-{list(self.kept).index(request)}"
        if isinstance(text, Fault):
            return text
        try:
            return Reply(text, request.program.read(text), key=key)
        except Malformed as error:
            return Fault("malformed", str(error), key)


@pytest.fixture
def scripted():
    """Return the class of scripted clients."""
    return Scripted


def choices(user, pairs, start=0.0, prompt="Question {}?"):
    """Return a user's choices: (chosen, rejected) texts, each of a conversation of its own, in time order."""
    return [
        Feedback(
            user, as_conversation(prompt.format(n)), (won, lost), chosen=0, id=f"{user}-{n}", time=start + n
        )
        for n, (won, lost) in enumerate(pairs)
    ]


@pytest.fixture
def people():
    """Return a function from users with their (chosen, rejected) texts to a population."""

    def make(**users):
        return Population.of([row for user, pairs in users.items() for row in choices(user, pairs)])

    return make


@pytest.fixture
def crowd(people):
    """Return a function: so many users with so many pairs each, all texts different."""

    def make(users=20, pairs=6):
        names = {f"u{u:02}": [(f"won {u}-{n}", f"lost {u}-{n}") for n in range(pairs)] for u in range(users)}
        return people(**names)

    return make


@pytest.fixture
def decided():
    """Return a function from a folder to its decisions, by id."""

    def find(folder):
        lines = (Path(folder) / "decisions.jsonl").read_text().splitlines()
        return {line["id"]: line for line in map(json.loads, lines)}

    return find


@pytest.fixture
def rows():
    """Return a function from a folder to its rows in the published columns, by id."""

    def find(folder):
        files = sorted((Path(folder) / "data").iterdir())
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return {line["id"]: line for line in lines}

    return find


@pytest.fixture
def real():
    """Return a function from a name to a real file, or a skip that says why."""

    def find(name):
        folder = Path(os.environ.get("PALATE_DATA", ROOT.parent / "shared" / "data"))
        path = folder / name
        if not path.is_file():
            pytest.skip(f"no real data: {path} is missing; set PALATE_DATA to its folder")
        return path

    return find
