"""How fast one model is asked: pauses that it demands, for all its callers, and when it counts as down.

A 429 is about the model, not about one call: all calls of the model wait for as long as the endpoint says, or
for a time that doubles with every pause in which no answer came. Then only half as many calls as before are
made at a time, and one more for every round of answers, until another 429 or the limit that was set.
"""

import random
import threading
import time
from collections.abc import Callable

__all__ = ["LONGEST_PAUSE", "Pace", "pause"]

FIRST_WAIT = 0.5
"""Seconds before a call is sent again for the first time; doubled with every time."""
LONGEST_WAIT = 60.0
LONGEST_PAUSE = 900.0
"""Seconds; an endpoint that asks for a longer pause is as good as down."""
_IN_A_ROW = 5  # calls that failed for good, with no answer between them: nothing is to be had there
_REJECTED = 20
_LOOK = 0.1


def pause(times: int) -> float:
    """Return how long to wait, in seconds, after so many failures: doubled each time, with jitter."""
    return float(min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(times - 1, 16)) * random.uniform(0.5, 1.0))


class Pace:
    """Lets calls of one model begin.

    Args:
        most: Calls at the same time.
        patience: Pauses in a row without an answer before a call is given up.
    """

    def __init__(self, most: int, patience: int) -> None:
        self.most, self.patience = most, patience
        self.answered = False
        self._allowed, self._active = float(most), 0
        self._until = self._cut = 0.0
        self._pauses = self._failed = 0
        self._change = threading.Condition()

    def enter(self, wanted: Callable[[], bool]) -> bool:
        """Wait until a call may begin; False if it is wanted no more."""
        with self._change:
            while True:
                rest = self._until - time.monotonic()
                if rest <= 0 and self._active < int(self._allowed):
                    self._active += 1
                    return True
                if not wanted():
                    return False
                self._change.wait(min(rest, _LOOK) if rest > 0 else _LOOK)

    @property
    def rest(self) -> float:
        """Seconds until the next call may begin."""
        return max(0.0, self._until - time.monotonic())

    def leave(self) -> None:
        """A call has ended, in whichever way."""
        with self._change:
            self._active -= 1
            self._change.notify()

    def answer(self) -> None:
        """An answer came: go a little faster, and forget failures."""
        with self._change:
            self._allowed = min(float(self.most), self._allowed + 1.0 / self._allowed)
            self._pauses = self._failed = 0
            self.answered = True
            self._change.notify()

    def limited(self, wait: float | None) -> bool:
        """A call was turned away by a rate limit: all wait. False if patience is at an end."""
        now = time.monotonic()
        with self._change:
            if now >= self._cut:  # the first of those that were on their way together
                self._pauses += 1
                self._allowed = max(1.0, self._allowed / 2)
                wait = pause(self._pauses) if wait is None else wait
                self._cut = now + FIRST_WAIT / 2
            if wait is not None:
                self._until = max(self._until, now + wait)
                self._cut = max(self._cut, self._until)
            return self._pauses <= self.patience

    def hold(self, wait: float) -> None:
        """Let all wait, as the endpoint asks; its speed stays as it is."""
        with self._change:
            self._until = max(self._until, time.monotonic() + wait)

    def failed(self, rejected: bool = False) -> bool:
        """A call was given up. True if so many were, one after another, that nothing is to be had there.

        Args:
            rejected: Whether the request itself was turned down. That tells of the endpoint only where it
                has never answered, and after more calls: some requests may well be bad.
        """
        with self._change:
            self._failed += 1
            if rejected:
                return not self.answered and self._failed >= _REJECTED
            return self._failed >= _IN_A_ROW
