"""Asks one language model, for many conversations at once.

client = connect("openai/gpt-4o-mini")
for persona in client.run(Task(write(history), history.user, "pi") for history in people):
    ...
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from palate.models.llm.desk import Desk
from palate.models.llm.drive import Drive, Task
from palate.models.llm.engine import is_fake
from palate.models.llm.wire import Answer, Asking, Request

__all__ = ["Client", "Task"]

T = TypeVar("T")


class Client:
    """Asks one language model. Safe with several threads.

    Sessions make it: :func:`palate.models.llm.session.connect`.

    Attributes:
        spec: The model's full name, as keys and stores have it.
    """

    def __init__(self, desk: Desk, spec: str) -> None:
        self._desk, self.spec = desk, spec

    def __repr__(self) -> str:
        return f"Client({self.spec!r})"

    @property
    def name(self) -> str:
        """The model's name without the address of its endpoint, for people."""
        return self.spec.partition("@")[0]

    @property
    def fake(self) -> bool:
        """Whether the model is a fake: a reader that is no language model."""
        return is_fake(self.spec)

    def run(self, tasks: Iterable[Task[T]]) -> Iterator[T]:
        """Drive conversations, and yield their results in the order of the tasks.

        Tasks are taken as they are needed, so there may be any number of them. Equal requests are one call,
        kept answers come from the store, and every new answer is kept before it is used.

        Raises:
            ModelError: If the key is refused, the model is not known, the endpoint is down, or the budget is
                spent. Calls on their way are awaited and kept; the same run goes on from them.
            ConfigError: If a program's own words are longer than what the model reads.
            StorageError: If answers cannot be kept.
        """
        return Drive(self._desk, self.spec, tasks).run()

    def ask(self, requests: Sequence[Request], user: str = "", method: str = "") -> list[Answer]:
        """Ask all at once and return the answers in order."""
        (answers,) = self.run([Task(_all(requests), user, method)])
        return answers


def _all(requests: Sequence[Request]) -> Asking[list[Answer]]:
    return list((yield requests))
