import pytest

from palate.models.llm.program import Malformed
from palate.models.llm.wire import Fault, Reply


class Stand:
    """Drives one conversation: answers each request by a function of it; a text is read by its program."""

    def __init__(self, answer):
        self.answer, self.rounds = answer, []

    @property
    def asked(self):
        return [request for requests in self.rounds for request in requests]

    def reply(self, request):
        text = self.answer(request)
        if isinstance(text, Fault):
            return text
        try:
            return Reply(text, request.program.read(text))
        except Malformed as error:
            return Fault("malformed", str(error))

    def run(self, asking):
        answers = None
        try:
            while True:
                requests = list(asking.send(answers))
                self.rounds.append(requests)
                answers = [self.reply(request) for request in requests]
        except StopIteration as end:
            return end.value


@pytest.fixture
def stand():
    return Stand
