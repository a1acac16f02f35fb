"""The personalizable filter: could sensible people differ about how a conversation should be answered?

Source: "SynthesizeMe!", appendix C, step 2. The criteria and demonstrations here are our own. Departs: the
conversation is shown with the two answers, in one question; the source's model was given demonstrations that
were selected on a hundred labelled conversations.
"""

import re
from dataclasses import dataclass

from palate.core import Conversation
from palate.judge import as_text
from palate.models.llm.program import Malformed, Program, Section
from palate.models.llm.wire import Answer, Asking, Request

__all__ = ["TASTE", "Taste", "ask_taste", "read_taste", "taste_request"]

_CRITERIA = """\
You are given a conversation and two answers to its last message. Decide whether the choice between the
answers is a matter of taste: whether two sensible people, equally well informed, could prefer different
answers and neither of them be mistaken.

It is a matter of taste where people could want different things of an answer: an opinion or a stance;
advice, a plan or a recommendation that depends on who asks; creative writing, humour or small talk; an
explanation that may be short or thorough, plain or technical, warm or matter-of-fact; a question about
values, politics, faith or how to live.

It is not a matter of taste where one answer is right and anybody could check it: a sum, a date, a
translation, a sorted list, a quotation, code that has to run. Nor where the message only tests or provokes a
machine, or says nothing that could be answered. Nor where one of the two answers is nonsense, breaks off at
once or speaks of something else, so that everybody would take the other.

Judge what could be preferred, not which answer is better. If both hold of a conversation, the kind of answer
that is asked for decides."""

_DEMONSTRATIONS = """\
Conversation: I have one free day in Lisbon. What should I do?
First: Walk Alfama in the morning, take a tram to Belém for the towers and the tarts, watch the sunset at \
Graça.
Second: Go where the day takes you! Get lost, find a café with no sign, talk to whoever sits there.
Reason: One person wants a plan, another wants to be left free.
Answer: Yes

Conversation: What is 17 times 23?
First: 391.
Second: 17 times 23 is 401.
Reason: The product is 391 whoever asks; one answer is wrong.
Answer: No

Conversation: Is it all right to read my teenager's messages?
First: No. Trust once broken is hard to mend; talk to them instead.
Second: It depends on what you fear. With signs of danger a parent may look, and should say so afterwards.
Reason: Parents weigh privacy and safety differently, and either view can be defended.
Answer: Yes

Conversation: Explain how vaccines work.
First: They show your body a harmless piece of the germ, so that it knows the real one when it comes.
Second: purple purple the the vaccine 0x3f
Reason: Explanations can differ in style, but here one answer is nonsense and everybody takes the other.
Answer: No"""


@dataclass(frozen=True, slots=True)
class Taste:
    """What the filter's model said: whether it is a matter of taste, and why."""

    yes: bool
    reason: str = ""


def read_taste(text: str) -> Taste:
    """Read the filter's answer.

    Raises:
        Malformed: If it says neither yes nor no.

    >>> read_taste("Reason: People differ about tone.\\nAnswer: Yes")
    Taste(yes=True, reason='People differ about tone.')
    """
    found = list(re.finditer(r"\banswer\b\W{0,8}(?:is\W+)?(yes|no)\b", text, re.IGNORECASE))
    if not found:
        bare = re.fullmatch(r"\W*(yes|no)\W*", text, re.IGNORECASE)
        if bare is None:
            raise Malformed('the last line must be "Answer: Yes" or "Answer: No"')
        found = [bare]
    last = found[-1]
    reason = re.sub(r"^\W*reason\w*\W+", "", text[: last.start()].strip(), flags=re.IGNORECASE)
    return Taste(last.group(1).lower() == "yes", reason.strip(' \n*"{},'))


TASTE = Program(
    "taste",
    "Is this a matter of taste",
    f"{_CRITERIA}\n\nFour examples follow.\n\n{_DEMONSTRATIONS}",
    "Say in one sentence what people could differ about here, or why they could not. End with a line of its "
    "own:\nReason: ...\nAnswer: Yes   (or)   Answer: No",
    "Reason: Some people want a plan and others want ideas.\nAnswer: Yes",
    read_taste,
    max_tokens=200,
)
"""Asks whether a choice is a matter of taste."""


def taste_request(conversation: Conversation, answers: tuple[str, str], lm: str = "") -> Request:
    """Return the question about a conversation and two answers, to a model."""
    first, second = answers
    sections = (
        Section("conversation", as_text(conversation)),
        Section("first", first),
        Section("second", second),
    )
    return Request(TASTE, sections, lm=lm)


def ask_taste(request: Request) -> Asking[Answer]:
    """Ask, and return the answer or the fault."""
    (answer,) = yield [request]
    return answer
