"""memory: what each choice tells about a user, in words, all of it kept in time order.

With the user's decided choices c_1 .. c_n in time order,

    I_j  = 1 to 5 insights, written from c_j alone          one call a choice, all users' at once
    text = the insights of I_1, I_2, ..., I_n, one a line   the oldest go first beyond ``most``

The judge reads the text as the persona.

Calls: n a user. Tracing the insights to choices (``evidence``) comes on top.

Source: "SynthesizeMe!", 5.1 and appendix F. Departs: the judge asks in both orders (:mod:`palate.judge`);
``most`` bounds the text; insights that name protected attributes are left out unless told otherwise
(:mod:`palate.persona.protected`); with ``evidence``, those that no choice supports, and repeated ones.
"""

from dataclasses import dataclass
from typing import ClassVar

from palate.core import Claim, ConfigError, History
from palate.judge import as_example
from palate.models.llm.program import Program, Section
from palate.models.llm.wire import Asking, Reply, Request
from palate.persona.base import ReadMethod, Written
from palate.persona.protected import clean, told
from palate.persona.statements import read_lines

__all__ = ["INSIGHTS", "Memory"]

MOST_INSIGHTS = 5
"""Most insights that are kept of one choice."""


def read_insights(text: str) -> tuple[str, ...]:
    """Read one to five insights; what comes after the fifth is left out.

    Raises:
        Malformed: If there is none.
    """
    return read_lines(text, MOST_INSIGHTS)


INSIGHTS = Program(
    "memory",
    "Describe what a choice tells about a user",
    "You keep notes about one user of an assistant. You are given a conversation, the answer that the user "
    "chose, and the answers that the user rejected. Note what this choice tells about the user that would "
    "help to foresee later choices in other conversations: which kinds of answers they like, what they care "
    "about, how they want to be spoken to. Compare the answers: what the chosen one has and the others lack "
    "counts, not what they share. Write about the user, not about this one subject, and claim no more than "
    "the choice bears out. Do not guess at race, nationality, religion, sex, age, health, family or other "
    "protected attributes.",
    'Write one to five insights, each one sentence on a line of its own that begins with "- ". Write nothing '
    "else.",
    "- Prefers answers that come to the point within a few sentences.\n"
    "- Cares more about what to do next than about the reasons.",
    read_insights,
    max_tokens=256,
)
"""Asks what one choice tells."""


@dataclass(kw_only=True, eq=False)
class Memory(ReadMethod):
    """Notes on every choice, all kept as the persona.

    Args:
        most: Most insights that are kept of a user; beyond it the oldest go first.
        screen: Whether insights that name protected attributes are left out.

    Raises:
        ConfigError: If ``most`` is less than 1.
    """

    name: ClassVar[str] = "memory"
    paper: ClassVar[str] = "SynthesizeMe, 5.1"
    most: int = 100
    screen: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise ConfigError(f"memory: most={self.most}; expected 1 or more insights to be kept")

    def _write(self, history: History) -> Asking[Written]:
        """Ask about every choice at once; a choice whose call failed leaves no insight."""
        answers = yield [
            Request(INSIGHTS, (Section("choice", as_example(choice)),)) for choice in history.feedback
        ]
        insights: list[str] = []
        left_out: list[Claim] = []
        for choice, answer in zip(history.feedback, answers, strict=True):
            for insight in answer.value if isinstance(answer, Reply) else ():
                cleaned = clean(insight) if self.screen else None
                if cleaned is not None:
                    left_out += told(cleaned.removed, (choice.id,))
                insights += [insight] if cleaned is None else filter(None, [cleaned.text])
        return Written("\n".join(insights[-self.most :]) or None, claims=tuple(left_out))
