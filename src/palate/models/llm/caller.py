"""Asks one model: worker threads that take flights, make the call, and see it through what can go wrong.

Before a call is sent it is claimed in the store (other processes then wait for it) and its cost is reserved;
its answer is committed before anybody is told. What may pass is tried again: rate limits for as long as the
endpoint asks, failures of the server, time-outs and broken connections after a wait that doubles. What will
not pass ends the run: a refused key, an unknown model, an endpoint that answers nobody, a spent budget.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING

from palate.core import ConfigError, EndpointDown, KeyRefused, UnknownModel
from palate.models.llm.budget import Cost
from palate.models.llm.engine import (
    BrokenOff,
    Closes,
    Completion,
    Disconnected,
    Engine,
    EngineError,
    Forbidden,
    NoSuchModel,
    RateLimited,
    Refused,
    Rejected,
    ServerFailed,
    TimedOut,
    TooLong,
    Unsupported,
    identity,
    make_engine,
)
from palate.models.llm.facts import Facts
from palate.models.llm.flights import ELSEWHERE, STOPPED, Flight, Outcome
from palate.models.llm.pace import LONGEST_PAUSE, Pace, pause
from palate.models.llm.program import Message
from palate.models.llm.records import Kept, Use, pack
from palate.models.llm.wire import Fault, Request

if TYPE_CHECKING:
    from palate.models.llm.desk import Desk

__all__ = ["Caller", "expected_tokens"]

_MARGIN = 30.0  # seconds that a claim outlives the call's own time
_UNHEARD = 3  # tries at an address where nobody has ever answered
_KINDS: dict[type[EngineError], str] = {
    RateLimited: "rate limit",
    TimedOut: "timeout",
    Refused: "refused",
    TooLong: "too long",
    BrokenOff: "truncated",
}
_GO_ON = "Answers so far are kept: the same command goes on from them"


def expected_tokens(messages: Sequence[Message]) -> int:
    """Return a cautious estimate of a prompt's tokens, in any script."""
    return 8 + sum(4 + len(m.content.encode("utf-8", "replace")) * 2 // 7 for m in messages)


@dataclass(slots=True)
class _Tries:
    """How often one call was tried, how it was sent last, and until when it is claimed."""

    sent: Request
    until: float
    failed: int = 0
    limited: int = 0


class Caller:
    """Asks one model.

    Args:
        spec: The model's name; ``identity`` is what its answers are kept under.
        desk: What the session's clients share.
    """

    def __init__(self, spec: str, desk: "Desk") -> None:
        self.spec, self._desk = spec, desk
        self.identity = identity(spec)
        settings = desk.settings
        self.pace = Pace(settings.concurrency, settings.retries)
        self._queue: SimpleQueue[Flight | None] = SimpleQueue()
        self._team: list[threading.Thread] = []
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._ratio = 1.0  # the most that a prompt had of its expected tokens

    @cached_property
    def facts(self) -> Facts:
        """What is known of the model: what it reads, what it costs, what it does not take."""
        facts = Facts(self.spec, self._desk.settings.context, self._desk.settings.prices)
        facts.recall(self._desk.learned(self.spec))
        return facts

    def send(self, flight: Flight) -> None:
        """Take a flight on.

        Raises:
            ConfigError: If the model's name cannot be read, or money is capped and its price is not known.
            MissingExtra: If asking it needs packages that are not installed.
        """
        settings = self._desk.settings
        if settings.budget and settings.budget.dollars is not None and self.facts.price is None:
            raise ConfigError(
                f"the budget of {settings.budget} caps money, and the price of {self.spec} is not known: say "
                f"--price {self.spec}=IN,OUT in dollars a million tokens, or cap calls or tokens"
            )
        with self._lock:
            if self._engine is None:
                self._engine = make_engine(self.spec, settings.timeout, settings.concurrency)
            if len(self._team) < settings.concurrency:
                worker = threading.Thread(target=self._work, name=f"palate-lm-{len(self._team)}", daemon=True)
                self._team.append(worker)
                worker.start()
        self._queue.put(flight)
        flight.sent = True

    def close(self) -> None:
        """End the workers that wait, and close the engine."""
        for _ in self._team:
            self._queue.put(None)
        until = time.monotonic() + 0.3
        for worker in self._team:  # one that still waits for an answer ends with the process
            worker.join(max(0.0, until - time.monotonic()))
        if isinstance(self._engine, Closes):
            self._engine.close()
        self._team, self._engine = [], None

    def learned(self, name: str, value: float, told: str) -> None:
        """Remember something that was found out about the model, and tell it with the costs."""
        self._desk.store.learn(self.spec, name, value)
        self._desk.ledger.note(f"{self.spec} {told}")

    # ---- one flight ---------------------------------------------------------------------------

    def _work(self) -> None:
        while (flight := self._queue.get()) is not None:
            paid = False
            outcome: Outcome
            try:
                outcome, paid = self._fly(flight)
            except BaseException as error:  # told to whoever waits; a worker does not die of it
                outcome = error
            self._desk.flights.land(flight, outcome, paid)

    def _fly(self, flight: Flight) -> tuple[Outcome, bool]:
        """Make a call unless it is not wanted, kept, or made by another process."""
        if not flight.wanted():
            return STOPPED, False
        store = self._desk.store
        claim = store.claim(flight.key, self.pace.rest + self._desk.settings.timeout + _MARGIN)
        if not claim.mine:
            return claim.kept or ELSEWHERE, False
        if claim.interrupted:
            self._desk.ledger.add(flight.payer, interrupted=1)
        kept: Outcome | None = None
        try:
            kept = self._until_answered(flight)
        finally:
            if not isinstance(kept, Kept):
                store.drop(flight.key)
        return kept, isinstance(kept, Kept)

    def _until_answered(self, flight: Flight) -> Outcome:
        """Try until there is an answer, or there will be none."""
        tries = _Tries(flight.request, time.monotonic() + self._desk.settings.timeout + _MARGIN)
        while True:
            if not self.pace.enter(flight.wanted):
                return STOPPED
            try:
                if not self._still_mine(flight, tries):
                    return ELSEWHERE
                tries.sent = self.facts.adapted(flight.request)
                return self._once(flight, tries.sent) or STOPPED
            except EngineError as error:
                failure = error
            finally:
                self.pace.leave()
            outcome = self._after(failure, flight, tries)
            if outcome is not None:
                return outcome
            self._desk.ledger.add(flight.payer, retries=1)
            needed = self.pace.rest + self._desk.settings.timeout + _MARGIN
            tries.until = time.monotonic() + needed
            self._desk.store.extend(flight.key, needed)

    def _still_mine(self, flight: Flight, tries: _Tries) -> bool:
        """Keep the claim for as long as a call may take; False if it was lost while the call waited."""
        needed = self._desk.settings.timeout + _MARGIN
        if not tries.failed and not tries.limited and tries.until - time.monotonic() > needed - _MARGIN / 2:
            return True  # claimed just now
        tries.until = time.monotonic() + needed
        return self._desk.store.extend(flight.key, needed)

    def _once(self, flight: Flight, request: Request) -> Kept | None:
        """Send a call once and keep its answer; None if it is not wanted after all."""
        reserved = self._expected(flight)
        if not self._desk.purse.reserve(reserved, flight.wanted):
            return None
        engine, spent = self._engine, Cost()
        if engine is None:
            self._desk.purse.settle(reserved, spent)
            return None
        began = time.monotonic()
        try:
            answer = engine.complete(self.spec, flight.messages, request)
            seconds = time.monotonic() - began
            kept = Kept(self._counted(answer, flight.messages), seconds)
            spent = self._spent(kept.completion)
            self._keep(flight, kept, spent)
        except (TimedOut, BrokenOff):
            spent = self._expected(flight, answer=False)  # the endpoint may have charged the prompt
            raise
        finally:
            self._desk.purse.settle(reserved, spent)
        self.pace.answer()
        return kept

    def _keep(self, flight: Flight, kept: Kept, spent: Cost) -> None:
        """Commit an answer, then count it."""
        who, c = flight.payer, kept.completion
        call = pack(flight.key, self.spec, flight.request, flight.messages, c, kept.seconds, time.time())
        self._desk.store.put(call, [Use(who.user, who.method)])
        self._desk.ledger.add(
            who,
            paid=1,
            tokens_in=c.tokens_in,
            tokens_out=c.tokens_out,
            seconds=kept.seconds,
            dollars=spent.dollars,
            unpriced=self.facts.price is None,
        )

    # ---- costs --------------------------------------------------------------------------------

    def _expected(self, flight: Flight, answer: bool = True) -> Cost:
        tokens_in = self._ratio * expected_tokens(flight.messages)
        longest, price = flight.request.longest if answer else 0, self.facts.price
        dollars = 0.0 if price is None else price.of(tokens_in, longest)
        return Cost(1, tokens_in + longest, dollars)

    def _spent(self, completion: Completion) -> Cost:
        tokens_in, tokens_out = completion.tokens_in, completion.tokens_out
        price = self.facts.price
        return Cost(1, tokens_in + tokens_out, 0.0 if price is None else price.of(tokens_in, tokens_out))

    def _counted(self, completion: Completion, messages: Sequence[Message]) -> Completion:
        """Fill in tokens that the endpoint did not count, and learn from those that it did."""
        expected = expected_tokens(messages)
        if completion.tokens_in:
            self._ratio = max(self._ratio, completion.tokens_in / expected)
        return completion._replace(
            tokens_in=completion.tokens_in or expected,
            tokens_out=completion.tokens_out or len(completion.text.encode("utf-8", "replace")) * 2 // 7 + 1,
        )

    # ---- what can go wrong --------------------------------------------------------------------

    def _after(self, error: EngineError, flight: Flight, tries: _Tries) -> Outcome | None:
        """Decide what an error means; None tries again, after what has to be waited for."""
        match error:
            case Forbidden():
                raise KeyRefused(
                    f"{error}. Put the provider's key into the environment, such as OPENAI_API_KEY. {_GO_ON}"
                )
            case NoSuchModel():
                raise UnknownModel(
                    f"{error}. Name a model that the endpoint has, such as --lm openai/gpt-4o-mini, or "
                    f"--lm openai/NAME@http://HOST:PORT/v1. {_GO_ON}"
                )
            case TooLong():
                return error
            case BrokenOff():
                return Fault(_KINDS[BrokenOff], str(error))
            case Unsupported(setting=setting) if self._without(setting, tries.sent):
                return None
            case RateLimited():
                return self._limited(error, tries)
            case Unsupported() | Refused() | Rejected():
                return self._give_up(error)
        return self._failed(error, flight, tries)

    def _without(self, setting: str, sent: Request) -> bool:
        """Leave a setting out from now on; False if the call was sent without it already."""
        if self.facts.adapted(sent) != sent:
            return True  # another call found out while this one was on its way
        if not self.facts.leave_out(setting):
            return False
        self.learned(setting, 1.0, f"takes no {setting}: its calls are made without")
        return True

    def _limited(self, error: RateLimited, tries: _Tries) -> Outcome | None:
        tries.limited += 1
        if (error.wait or 0.0) > LONGEST_PAUSE:
            raise EndpointDown(f"{error}: it asks for a pause of {error.wait:,.0f} seconds. {_GO_ON}")
        patient = self.pace.limited(error.wait)
        if patient and tries.limited <= 5 * (1 + self._desk.settings.retries):
            return None
        return self._give_up(error)

    def _failed(self, error: EngineError, flight: Flight, tries: _Tries) -> Outcome | None:
        tries.failed += 1
        refused = isinstance(error, Disconnected) and error.refused
        if refused and not self.pace.answered and tries.failed >= _UNHEARD:
            raise EndpointDown(f"{error}. Start the endpoint, or mend its address. {_GO_ON}")
        if tries.failed > self._desk.settings.retries:
            return self._give_up(error)
        wait = pause(tries.failed)
        if isinstance(error, ServerFailed) and error.wait is not None:
            self.pace.hold(min(error.wait, LONGEST_PAUSE))
            wait = 0.0
        until = time.monotonic() + wait
        while flight.wanted() and (rest := until - time.monotonic()) > 0:
            time.sleep(min(rest, 0.1))
        return None

    def _give_up(self, error: EngineError) -> Outcome:
        if isinstance(error, Refused):
            return Fault("refused", str(error))
        if self.pace.failed(rejected=isinstance(error, Rejected | Unsupported)):
            raise EndpointDown(
                f"{error}. Call after call fails, with up to {self._desk.settings.retries} retries. {_GO_ON}"
            )
        return Fault(_KINDS.get(type(error), "server"), str(error))
