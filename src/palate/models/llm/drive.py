"""Drives many conversations with models at once, and gives their results in order.

    tasks -> asking (generators) -> tickets -> kept answers, or seats in flights -> answers -> results

The drive itself stands in one thread, the caller's; workers make the calls. A task is begun only when the
workers would soon have nothing to do, the oldest task's requests go first, and results that wait for an
older one are bounded. So memory does not grow with the number of tasks.

However a drive ends (an error, Ctrl-C, a consumer that leaves), no new call is sent, and calls that are on
their way are awaited, because their answers are paid for. A second Ctrl-C does not wait.
"""

import heapq
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from palate.core import current_job
from palate.models.llm.caller import expected_tokens
from palate.models.llm.desk import Desk
from palate.models.llm.engine import TooLong
from palate.models.llm.flights import ELSEWHERE, Landed, Seat, Turn
from palate.models.llm.ledger import Who
from palate.models.llm.program import count_tokens
from palate.models.llm.records import Kept, Use
from palate.models.llm.ticket import Ticket, Unreadable
from palate.models.llm.wire import Answer, Asking, Fault, Reply, Request

__all__ = ["Drive", "Task"]

T = TypeVar("T")
_AHEAD = 2  # calls handed to a model's workers, for each of them
_HELD = 16  # results that wait for an older one, for each worker
_NOTED = 256  # uses of kept answers that are written together
_WAIT, _LONGEST_WAIT = 0.05, 1.0  # seconds between looks at what another process makes
_LOOK = 0.25


class Task(NamedTuple, Generic[T]):
    """A conversation to be driven.

    Attributes:
        asking: The generator.
        user: Whom it is about, "" for nobody.
        method: What traces and costs name as its method.
    """

    asking: Asking[T]
    user: str = ""
    method: str = ""


class _Asking:
    """A conversation under way."""

    __slots__ = ("answers", "chain", "generator", "index", "method", "missing", "unkept", "user")

    def __init__(self, index: int, task: Task[Any]) -> None:
        self.index, self.generator = index, task.asking
        self.user, self.method = task.user, task.method
        self.answers: list[Answer | None] = []
        self.missing = self.chain = 0
        self.unkept = False


class Drive(Generic[T]):
    """One run of tasks.

    Args:
        desk: What the session's clients share.
        spec: The model that is asked where a request names none.
        tasks: What is driven.
    """

    def __init__(self, desk: Desk, spec: str, tasks: Iterable[Task[T]]) -> None:
        self._desk, self._spec = desk, spec
        self._tasks = iter(tasks)
        self._plan = desk.plan
        self._ledger = desk.ledger if desk.plan is None else desk.plan.ledger
        self._order = itertools.count()
        self._inbox: SimpleQueue[Landed] = SimpleQueue()
        self._active: dict[int, _Asking] = {}
        self._done: dict[int, T] = {}
        self._begun = self._given = 0
        self._more = True
        self._ready: dict[str, list[tuple[int, int, Ticket]]] = {}
        self._out: dict[str, int] = {}
        self._seats: set[Seat] = set()
        self._later: list[tuple[float, int, Ticket]] = []
        self._uses: list[tuple[str, Use]] = []
        self._calls = self._chain = 0

    def run(self) -> Iterator[T]:
        """Yield the tasks' results in their order.

        Raises:
            ModelError: If the key is refused, the model is not known, the endpoint is down, or the budget is
                spent. Answers that came before are kept.
            ConfigError: If a program's own words are longer than what the model reads.
            StorageError: If answers cannot be kept.
        """
        try:
            while True:
                self._fill()
                while self._given in self._done:
                    self._given += 1
                    yield self._done.pop(self._given - 1)
                    self._fill()
                if not self._active and not self._more:
                    return
                if self._active:
                    self._listen()
        finally:
            self._stop()

    # ---- tasks --------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Send what can be sent, and begin tasks while the workers would soon be idle."""
        while True:
            self._send()
            if not self._more or not self._hungry() or self._given in self._done:
                return
            task = next(self._tasks, None)
            if task is None:
                self._more = False
                return
            asking = self._active[self._begun] = _Asking(self._begun, task)
            self._begun += 1
            self._advance(asking, None)

    def _hungry(self) -> bool:
        most = self._desk.settings.concurrency
        room = _AHEAD * most * max(1, len(self._out))
        waiting = len(self._seats) + sum(map(len, self._ready.values()))
        return waiting < room and len(self._active) < 4 * room and len(self._done) < _HELD * most

    def _advance(self, asking: _Asking, answers: Sequence[Answer] | None) -> None:
        """Send a conversation its answers, again and again until it has to wait or ends."""
        while True:
            try:
                requests = asking.generator.send(answers)  # type: ignore[arg-type]
            except StopIteration as end:
                self._done[asking.index] = end.value
                self._chain = max(self._chain, asking.chain)
                del self._active[asking.index]
                return
            except BaseException:
                del self._active[asking.index]
                raise
            asking.answers, asking.missing = [None] * len(requests), len(requests)
            asking.unkept = False
            self._place([self._ticket(asking, slot, r) for slot, r in enumerate(requests)])
            asking.chain += asking.unkept
            if asking.missing:
                return
            answers = asking.answers  # type: ignore[assignment]

    def _ticket(self, asking: _Asking, slot: int, request: Request) -> Ticket:
        caller = self._desk.caller(request.lm or self._spec)
        who = Who(asking.method, asking.user, request.program.name)
        ticket = Ticket(caller, request, who, asking, slot)
        ticket.write()
        if not ticket.fits() and ticket.key not in self._desk.kept([ticket.key]):
            ticket.write(caller.facts.limit)
        self._ledger.add(who, requests=1, shortened=ticket.shortened)
        return ticket

    # ---- tickets ------------------------------------------------------------------------------

    def _place(self, tickets: list[Ticket]) -> None:
        """Answer tickets from the store, and make the others ready to be sent."""
        while tickets:
            kept = self._desk.kept({ticket.key for ticket in tickets})
            again: list[Ticket] = []
            for ticket in tickets:
                if ticket.key in kept:
                    again += self._take(ticket, kept[ticket.key], paid=False, fresh=False)
                elif self._plan is not None:
                    self._rehearse(ticket)
                else:
                    self._push(ticket)
            tickets = again

    def _push(self, ticket: Ticket) -> None:
        heap = self._ready.setdefault(ticket.caller.spec, [])
        heapq.heappush(heap, (ticket.asking.index, next(self._order), ticket))

    def _send(self) -> None:
        """Give tickets a seat, the oldest task's first, as many as the workers will soon take."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._push(heapq.heappop(self._later)[2])
        room = _AHEAD * self._desk.settings.concurrency
        for spec, heap in self._ready.items():
            while heap and self._out.setdefault(spec, 0) < room:
                ticket = heapq.heappop(heap)[2]
                seat = Seat(self._inbox, ticket, ticket.who)
                self._seats.add(seat)
                self._out[spec] += 1
                flight = self._desk.flights.board(ticket.key, ticket.request, ticket.messages, seat)
                if flight is not None:
                    ticket.caller.send(flight)

    def _listen(self) -> None:
        """Wait until a call has landed, and take in all that have."""
        wait = _LOOK  # a Ctrl-C that another thread caught is seen when this one wakes
        if self._later:
            wait = min(wait, max(0.0, self._later[0][0] - time.monotonic()))
        try:
            landed = self._inbox.get(timeout=wait)
            while True:
                self._land(landed)
                landed = self._inbox.get_nowait()
        except Empty:
            return

    def _land(self, landed: Landed) -> None:
        ticket: Ticket = landed.seat.ticket
        self._leave(landed.seat)
        outcome = landed.outcome
        if isinstance(outcome, Kept):
            self._place(self._take(ticket, outcome, landed.paid, landed.fresh))
        elif isinstance(outcome, Turn):
            if outcome is ELSEWHERE:
                self._wait_for(ticket)
            else:
                self._push(ticket)  # it was given up for another drive, as ours took its seat
            return
        elif isinstance(outcome, TooLong):
            if ticket.shorten(outcome):
                self._ledger.add(ticket.who, shortened=1)
                self._place([ticket])
            else:
                self._answer(ticket, ticket.fault("too long", str(outcome)))
        elif isinstance(outcome, Fault):
            self._answer(ticket, outcome)
        else:
            raise outcome
        if not ticket.asking.missing:
            self._advance(ticket.asking, ticket.asking.answers)

    def _wait_for(self, ticket: Ticket) -> None:
        """Look again in a while: another process makes this call."""
        wait = min(_LONGEST_WAIT, _WAIT * 1.3**ticket.waits)
        ticket.waits += 1
        heapq.heappush(self._later, (time.monotonic() + wait, next(self._order), ticket))

    def _leave(self, seat: Seat) -> None:
        self._seats.discard(seat)
        self._out[seat.ticket.caller.spec] -= 1

    # ---- answers ------------------------------------------------------------------------------

    def _take(self, ticket: Ticket, kept: Kept, paid: bool, fresh: bool) -> list[Ticket]:
        """Read an answer; return the ticket if the answer has to be asked for again."""
        ticket.paid |= paid
        who, c = ticket.who, kept.completion
        if not paid:
            self._note(ticket.key, Use(who.user, who.method))
            if self._plan is None or self._plan.first(ticket.key):
                self._ledger.add(who, shared=fresh, kept=not fresh)
            else:
                self._ledger.add(who, shared=1)
        try:
            value = ticket.read(c)
        except Unreadable as problem:
            if paid:
                self._desk.store.mark(ticket.key, problem.kind)
            if ticket.retell(problem, c.text):
                self._ledger.add(who, repairs=1)
                return [ticket]
            self._answer(ticket, ticket.fault(problem.kind, str(problem)))
            return []
        reply = Reply(
            c.text,
            value,
            c.tokens_in,
            c.tokens_out,
            kept.seconds,
            c.logprobs,
            ticket.paid,
            ticket.key,
            c.finish,
        )
        self._answer(ticket, reply)
        return []

    def _answer(self, ticket: Ticket, answer: Answer) -> None:
        if isinstance(answer, Fault):
            self._ledger.fault(ticket.who, answer.kind)
        ticket.asking.answers[ticket.slot] = answer
        ticket.asking.missing -= 1

    def _rehearse(self, ticket: Ticket) -> None:
        """Answer with the program's example, and count the call that would be made."""
        plan, request = self._plan, ticket.request
        assert plan is not None
        completion, value = plan.answer(request.program, ticket.key)
        tokens_in = expected_tokens(ticket.messages)
        tokens_out = min(count_tokens(request.program.example), request.longest)
        first = plan.first(ticket.key)
        if first:
            plan.add(ticket.who, ticket.caller.spec, tokens_in, tokens_out, ticket.caller.facts.price)
            self._calls += 1
        else:
            self._ledger.add(ticket.who, shared=1)
        ticket.asking.unkept = True
        reply = Reply(completion.text, value, tokens_in, tokens_out, paid=first, key=ticket.key)
        self._answer(ticket, reply)

    def _note(self, key: str, use: Use) -> None:
        """Note whom an answer served, many at a time."""
        if self._plan is None:
            self._uses.append((key, use))
            if len(self._uses) >= _NOTED:
                self._write_uses()

    def _write_uses(self) -> None:
        uses, self._uses = self._uses, []
        if uses:
            self._desk.store.used(uses)

    # ---- the end ------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Send nothing more, await what is on its way, end all conversations."""
        flights = self._desk.flights
        self._seats = {seat for seat in self._seats if not flights.leave(seat)}
        if self._seats:
            current_job().tell("answers that are on their way and paid for", 0, len(self._seats))
        while self._seats:
            with suppress(Empty):
                self._inbox.get(timeout=_LOOK)
            self._seats = {seat for seat in self._seats if not flights.leave(seat)}
        if self._plan is not None:
            self._plan.ran(self._calls, self._chain)
        with ExitStack() as ends:
            ends.callback(self._write_uses)
            for asking in reversed(self._active.values()):  # the last callback is called first
                ends.callback(asking.generator.close)
            self._active.clear()
