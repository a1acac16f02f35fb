"""Calls on their way: equal ones are made once, whoever asks.

A flight is one call; a seat in it is one request that waits for it. Seats belong to drives (one a
``Client.run``), which may stand in several threads.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple

from palate.models.llm.engine import TooLong
from palate.models.llm.ledger import Who
from palate.models.llm.program import Message
from palate.models.llm.records import Kept
from palate.models.llm.wire import Fault, Request

__all__ = ["ELSEWHERE", "STOPPED", "Flight", "Flights", "Landed", "Outcome", "Seat", "Turn"]


class Turn(NamedTuple):
    """A call that was not made."""

    why: str


ELSEWHERE = Turn("another process makes this call")
STOPPED = Turn("nobody wanted it any more")

Outcome = Kept | Fault | TooLong | Turn | BaseException
"""What became of a flight; an exception (other than TooLong) ends every run that waits for it."""


class Landed(NamedTuple):
    """What a drive is told: whose seat, what came, and whether this seat paid for it."""

    seat: "Seat"
    outcome: Outcome
    paid: bool
    fresh: bool


@dataclass(eq=False, slots=True)
class Seat:
    """A request that waits for a call.

    Attributes:
        inbox: Where its drive listens.
        ticket: The drive's own note.
        who: On whose behalf it asks.
        wanted: Whether its drive still wants the call to be made.
        flight: The call, until it has landed.
    """

    inbox: "SimpleQueue[Landed]"
    ticket: Any
    who: Who
    wanted: bool = True
    flight: "Flight | None" = None


@dataclass(eq=False, slots=True)
class Flight:
    """One call: its content, and the seats in it. The first seat pays.

    Attributes:
        sent: Whether a worker has it, or will.
        landed: Whether its seats were told what became of it.
    """

    key: str
    request: Request
    messages: Sequence[Message]
    seats: list[Seat]
    sent: bool = False
    landed: bool = False

    def wanted(self) -> bool:
        """Whether anybody still wants the call to be made."""
        return any(seat.wanted for seat in self.seats)

    @property
    def payer(self) -> Who:
        """On whose behalf the call is made."""
        return self.seats[0].who


class Flights:
    """All calls on their way of a session, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()

    def board(self, key: str, request: Request, messages: Sequence[Message], seat: Seat) -> Flight | None:
        """Take a seat in the call of this key; return the flight if it is a new one, to be sent off."""
        with self._lock:
            flight = seat.flight = self._flights.get(key)
            if flight is not None:
                flight.seats.append(seat)
                return None
            flight = seat.flight = Flight(key, request, messages, [seat])
            self._flights[key] = flight
            return flight

    def land(self, flight: Flight, outcome: Outcome, paid: bool) -> None:
        """Tell every seat what became of the call; nothing is told twice."""
        with self._lock:
            if flight.landed:
                return
            flight.landed = True
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            seats = list(flight.seats)
        for place, seat in enumerate(seats):
            seat.flight = None  # nothing of a call outlives it, whenever garbage is looked for
            seat.inbox.put(Landed(seat, outcome, paid and place == 0, paid))

    def leave(self, seat: Seat) -> bool:
        """Want a call no more; True if it is not to be awaited either: it is over, or others want it."""
        seat.wanted = False
        flight = seat.flight
        if flight is None:
            return True
        if not flight.sent:  # the drive was interrupted between taking a seat and sending the flight off
            self.land(flight, STOPPED, paid=False)
        return flight.landed or flight.wanted()
