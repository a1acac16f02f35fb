"""One rule of the filter: what a statement asks for, the pattern that finds it, and what takes it back.

firm      nothing takes it back: the pattern holds its own negation
plain     a negation before it in its clause, or words of protection
topic     also words of fiction, work, study or news in the statement, for the subject alone is no request
subject   words of daily life too; and it counts only where the statement wishes for answers
"""

from typing import Literal, NamedTuple

__all__ = ["Rule"]


class Rule(NamedTuple):
    """What asks for harm of one kind.

    Attributes:
        why: What a statement that matches asks for.
        pattern: Part of a regular expression, with names of word lists in angle brackets.
        guard: What may take the match back: see this file's head.
    """

    why: str
    pattern: str
    guard: Literal["firm", "plain", "topic", "subject"] = "plain"
