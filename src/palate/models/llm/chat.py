"""A conversation that is carried on: its turns go out as messages, as they are, and nothing is asked besides.

Sections stand for turns, each with its role as its tag: ``system``, ``user``, ``assistant``. A conversation
that is longer than the model reads loses its oldest turns first, never the system message or the last turn;
the first turn that is left is the user's. If that is not enough, the longest messages are cut in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from palate.core import ConfigError
from palate.models.llm.program import CHARACTERS_A_TOKEN, Message, Program, Section, Told, cut_longest

__all__ = ["CHAT", "Chat"]

_ROLES = ("system", "user", "assistant")
_FRAME = 16  # characters of a message's frame, as a cautious guess
_LEAST = 64  # characters of a message that are worth sending


@dataclass(frozen=True)
class Chat(Program):
    """A program without words of its own.

    >>> told = CHAT.tell([Section("system", "Be brief."), Section("user", "Why <b>is</b> the sky blue?")])
    >>> [tuple(message) for message in told.messages]
    [('system', 'Be brief.'), ('user', 'Why <b>is</b> the sky blue?')]
    """

    @property
    def system(self) -> str:
        """There is none of the program's own."""
        return ""

    def tell(self, sections: Sequence[Section], limit: int = 1_000_000) -> Told:
        """Return the turns as messages, shortened by the module's rule to about ``limit`` tokens.

        Raises:
            ConfigError: If a role is unknown, the last turn is not the user's, or nothing fits.
        """
        wrong = [s.tag for s in sections if s.tag not in _ROLES]
        if wrong or not sections or sections[-1].tag != "user":
            raise ConfigError(
                f"a conversation to be answered has turns of {', '.join(_ROLES)} and ends with the user's; "
                f"this one has {', '.join(s.tag for s in sections) or 'none'}"
            )
        room = int(limit * CHARACTERS_A_TOKEN)
        if room < _LEAST * sum(s.tag == "system" for s in sections) + _LEAST:
            raise ConfigError(
                f"{limit} tokens are left for the conversation: ask for a shorter answer, name a model that "
                "reads more, or set its context to what it reads"
            )
        kept, dropped = _latest(list(sections), room)
        kept, cut = cut_longest(kept, room)
        return Told(tuple(Message(s.tag, s.text) for s in kept), dropped, cut)


def _latest(sections: list[Section], room: int) -> tuple[list[Section], int]:
    """Leave out the oldest turns until the rest fits and begins with the user's."""
    head = [s for s in sections if s.tag == "system"]
    turns = [s for s in sections if s.tag != "system"]
    size = sum(len(s.text) + _FRAME for s in sections)
    dropped = 0
    while len(turns) > 1 and (size > room or (dropped and turns[0].tag != "user")):
        size -= len(turns.pop(0).text) + _FRAME
        dropped += 1
    return head + turns, dropped


CHAT = Chat("answer", "", "", "", "A short answer in plain words, of a line or two.", max_tokens=1024)
"""The next turn of a conversation."""
