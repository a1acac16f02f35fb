"""What stands in a prompt: title, instruction, pieces of material, and what is asked for.

Only the messages are read, in the form that ``Program.tell`` gives them. Words of the user message that
stand outside every tag and before the last lines count as orders: a reader cannot know that they are not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from palate.models.llm.program import Message, Program

__all__ = ["PastChoice", "Seen", "read_chat", "read_choice", "read_messages"]

_SECTION = re.compile(r"<([a-z]+)>\n(.*?)\n?</\1>", re.DOTALL)
_LABEL = re.compile(
    r"^(Conversation|Chosen|Rejected|First|Second|Answer|Why|Reason|Reasoning)(?: answer)?:[ \t]*",
    re.MULTILINE,
)
_GUARD = Program("guard", "title", "instruction", "ask", "answer").system.rpartition("\n\n")[2]
_TOLD = "Below is what is known of the user's taste"
_LIKES = "What they like:\n"
_ASKED = "They asked: "
_CHOICE = (("They chose: ", "Chosen: "), ("They did not choose: ", "Rejected: "), ("Because: ", "Why: "))
_WHY = ("Why", "Reason", "Reasoning")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a fake sees of a prompt.

    Attributes:
        title: The first line of the system message.
        instruction: The rest of it, without the guard.
        sections: Tag and text of each piece of material that it is not blind to, in order.
        orders: Words outside every tag, before what is asked for.
        ask: What is asked for at the end.
        user: The user message as it came.
        whole: Everything above in one text: what draws are made of.
    """

    title: str
    instruction: str
    sections: tuple[tuple[str, str], ...]
    orders: str
    ask: str
    user: str
    whole: str

    def all(self, tag: str) -> list[str]:
        """Return the texts of a tag, in order."""
        return [text for name, text in self.sections if name == tag]

    def one(self, tag: str) -> str:
        """Return the text of a tag that stands once; "" where it does not stand."""
        return next(iter(self.all(tag)), "")


@dataclass(frozen=True, slots=True)
class PastChoice:
    """A choice told as text.

    Attributes:
        conversation: What was asked.
        chosen: The answer that was preferred; "" where the text tells none.
        rejected: The others.
        why: The reasoning about it.
    """

    conversation: str
    chosen: str
    rejected: tuple[str, ...]
    why: str


def read_messages(messages: Sequence[Message], blind: Sequence[str] = ()) -> Seen:
    """Read a prompt, without what the reader is blind to."""
    system = "\n\n".join(m.content for m in messages if m.role in ("system", "developer"))
    user = "\n\n".join(m.content for m in messages if m.role not in ("system", "developer"))
    title, _, rest = system.strip().partition("\n")
    instruction = "" if "instruction" in blind else rest.replace(_GUARD, "").strip()
    sections: list[tuple[str, str]] = []
    outside, at = [], 0
    for match in _SECTION.finditer(user):
        outside.append(user[at : match.start()])
        at = match.end()
        if match.group(1) not in blind:
            sections.append((match.group(1), match.group(2)))
    orders = "\n".join(part.strip() for part in outside if part.strip())
    ask = user[at:].strip()
    whole = "\0".join((title, instruction, *(f"{tag}\1{text}" for tag, text in sections), orders, ask))
    return Seen(title.strip(), instruction, tuple(sections), orders, ask, user, whole)


def read_chat(messages: Sequence[Message], blind: Sequence[str] = ()) -> Seen | None:
    """Read a conversation that is to be carried on, the persona in its system message or none.

    Returns:
        What is seen, as of a prompt to answer for a user; None where the system message is another.
    """
    system = "\n\n".join(m.content for m in messages if m.role in ("system", "developer"))
    turns = [m for m in messages if m.role not in ("system", "developer")]
    if not turns or not (system.startswith(_TOLD) or not system):
        return None
    likes, *choices = system.partition(_LIKES if _LIKES in system else "\n\n")[2].split(f"\n\n{_ASKED}")
    if likes.startswith(_ASKED):
        likes, choices = "", [likes.removeprefix(_ASKED), *choices]
    for theirs, ours in _CHOICE:
        choices = [text.replace(f"\n{theirs}", f"\n{ours}") for text in choices]
    told = [("persona", likes), *(("example", f"Conversation: {text}") for text in choices)]
    said = turns[0].content if len(turns) == 1 else "\n".join(f"{m.role}: {m.content}" for m in turns)
    sections = tuple((tag, text) for tag, text in told if text and tag not in blind)
    whole = "\0".join((*(f"{tag}\1{text}" for tag, text in sections), said))
    return Seen("Answer for a user", "", (*sections, ("conversation", said)), "", "", said, whole)


def read_choice(text: str) -> PastChoice:
    """Read a choice from text with the labels ``Conversation``, ``Chosen``, ``Rejected`` and ``Why``.

    Text without a label is taken for reasoning.

    >>> read_choice("Conversation: Hi\\nChosen: Yo.\\nRejected: Good day.\\nWhy: It is short.").why
    'It is short.'
    """
    found = list(_LABEL.finditer(text))
    if not found:
        return PastChoice("", "", (), text)
    ends = [*(match.start() for match in found[1:]), len(text)]
    parts: dict[str, list[str]] = {}
    for match, end in zip(found, ends, strict=True):
        parts.setdefault(match.group(1), []).append(text[match.end() : end].strip())
    why = " ".join(words for label in _WHY for words in parts.get(label, ()))
    chosen, rejected = parts.get("Chosen", []), parts.get("Rejected", [])
    if not chosen and "First" in parts and "Second" in parts:
        first = not parts.get("Answer", ["First"])[-1].lower().startswith("second")
        chosen, rejected = (parts["First"], parts["Second"]) if first else (parts["Second"], parts["First"])
    return PastChoice("\n".join(parts.get("Conversation", [])), "\n".join(chosen), tuple(rejected), why)
