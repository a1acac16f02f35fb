"""What came of the search for a better prompt, and how it is told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from palate.persona.gains import Figure
from palate.persona.theta import Theta

__all__ = ["Outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a search.

    Attributes:
        theta: The prompt that is kept, with the record of how it came about.
        best: The best prompt found; the starting prompt where none was better.
        start: Where the search began.
        gained: Whether ``best`` was shown to gain on users that had no say.
        before: Gain of ``start`` over the judge without personas, on the users of the verdict; None where it
            could not be measured.
        after: The same of ``best``.
        difference: ``after`` less ``before``, paired by user.
        held_out: Whether the users of the verdict had no say; otherwise the figures are too good.
        ended: Why the search ended early, "" if it did not.
        tried: Prompts that were judged on all users that choose.
        notes: Calls of the proposing model that failed.
        counts: ``personas`` and ``comparisons`` asked for, those ``unread`` and ``silent``.
    """

    theta: Theta
    best: Theta
    start: Theta
    gained: bool
    before: Figure | None
    after: Figure | None
    difference: Figure | None
    held_out: bool
    ended: str = ""
    tried: int = 0
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int]

    @property
    def finished(self) -> bool:
        """Whether the search ran to its end."""
        return not self.ended

    def lines(self) -> Iterator[str]:
        """Yield what came of it, for people."""
        yield f"Prompts judged on all users that choose: {self.tried}"
        yield from self._failures()
        if self.ended:
            yield f"Ended early: {self.ended}"
        if self.best.words == self.start.words:
            found = "No better prompt was found" + ("" if self.finished else " so far")
            yield f"{found}: the starting prompt is kept"
            return
        if self.difference is None:
            yield "The best prompt so far was not tested on users that had no say"
        else:
            whose = "held-out users" if self.held_out else "the users that chose it, which is too good"
            yield f"On {whose}: the starting prompt {self.before}; the best prompt {self.after}"
            yield f"Difference: {self.difference}"
        if self.gained:
            yield "The new prompt is kept"
        elif self.theta.words == self.start.words:
            yield "Nothing was shown to be gained: the starting prompt is kept, unless keep is best"
        else:
            yield "The best prompt is kept, as asked, though nothing was shown to be gained"

    def _failures(self) -> Iterator[str]:
        counts = {"unread": 0, "personas": 0, "silent": 0, "comparisons": 0, **self.counts}
        if self.notes:
            yield f"{self.notes[0]} (failed calls of this kind: {len(self.notes)})"
        if counts["unread"]:
            yield f"{counts['unread']} of {counts['personas']} personas could not be read; they count as none"
        if counts["silent"]:
            yield f"{counts['silent']} of {counts['comparisons']} comparisons got no opinion and do not count"
