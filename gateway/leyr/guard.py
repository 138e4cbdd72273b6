"""Calm when an EHR is not: time, retries, breaker and gate around every call to it.

A call goes through the breaker, which refuses it at once where the EHR is known to be down; through the gate, where
it may wait for its turn; and out. What fails for a moment goes the same way again, as long as the call's time and
the EHR's retry budget last. Each attempt takes a permit of its own, so that nobody keeps one while it waits.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias, TypeVar

from gateway.domain.errors import (
    DeadlineExceeded,
    GatewayError,
    Overloaded,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from gateway.leyr.breaker import Breaker, BreakerRules, BreakerState
from gateway.leyr.budget import BudgetRules, RetryBudget
from gateway.leyr.gate import Gate
from gateway.leyr.observing import Observer, Unobserved
from gateway.leyr.outcomes import FAILURES, NO_SIGN, AttemptError, Outcome, Refusal
from gateway.leyr.pace import GateRules
from gateway.leyr.retrying import Retries, RetryRules

T = TypeVar("T")
Attempt: TypeAlias = Callable[[float], Awaitable[T]]
"""Makes one attempt within so many seconds. Raises AttemptError, or UpstreamInvalidAnswer."""

# An attempt that had less of its time than this says little about the EHR.
_TELLING_SHARE = 0.5
_QUEUE_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CallRules:
    """What a call may take: seconds in all, seconds an attempt, and the rules of each part."""

    deadline_seconds: float = 10.0
    attempt_seconds: float = 5.0
    retries: RetryRules = field(default_factory=RetryRules)
    budget: BudgetRules = field(default_factory=BudgetRules)
    breaker: BreakerRules = field(default_factory=BreakerRules)
    gate: GateRules = field(default_factory=GateRules)


@dataclass(frozen=True, slots=True)
class Outside:
    """Time in seconds that only grows, chance from 0 up to 1, and whoever watches."""

    observer: Observer = field(default_factory=Unobserved)
    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Condition:
    """How calls to one EHR fare; `retry_after` is the seconds until its breaker lets one through, where it is open."""

    breaker: BreakerState
    retry_after: float | None
    limit: int
    in_flight: int
    waiting: int


class Guard:
    """Everything that is kept about one EHR; to be used inside one loop."""

    def __init__(self, emr: str, rules: CallRules, outside: Outside) -> None:
        self._emr = emr
        self._rules = rules
        self._observer = outside.observer
        self._clock = outside.clock
        self._sleep = outside.sleep
        self._chance = outside.chance
        self._telling_seconds = min(rules.attempt_seconds, rules.deadline_seconds) * _TELLING_SHARE
        self._budget = RetryBudget(rules.budget)
        self._breaker = Breaker(rules.breaker, changed=self._breaker_changed)
        self._gate = Gate(rules.gate, clock=outside.clock, changed=lambda limit: outside.observer.gate(emr, limit))

    @property
    def condition(self) -> Condition:
        """As it is now."""
        wait = self._breaker.wait(self._clock())
        closed = self._breaker.state is BreakerState.CLOSED
        gate = self._gate
        return Condition(self._breaker.state, None if closed else wait, gate.limit, gate.in_flight, gate.waiting)

    async def call(self, endpoint: str, attempt: Attempt[T]) -> T:
        """What an attempt brings, within the deadline. Raises domain errors."""
        now = self._clock()
        deadline = now + self._rules.deadline_seconds
        self._budget.deposit(now)
        retries: Retries | None = None
        while True:
            try:
                return await self._attempted(endpoint, attempt, now, deadline)
            except AttemptError as failed:
                retries = retries or Retries(failed.error, self._rules.retries, self._chance)
                delay = self._delay(retries, failed, deadline)
            if delay is None:
                break
            self._observer.retried(self._emr)
            await self._sleep(delay)
            now = self._clock()
        told, retries = retries.told, None
        try:
            raise told
        finally:
            # An error keeps the frames that it left: one that kept the error would wait with it for the collector.
            del told

    async def _attempted(self, endpoint: str, attempt: Attempt[T], now: float, deadline: float) -> T:
        if self._breaker.wait(now) or not self._gate.enter(now):
            now = await self._turn(endpoint, now, deadline)
        given = min(self._rules.attempt_seconds, deadline - now)
        if given <= 0:
            # A wait took a little longer than it should have.
            self._gate.leave()
            raise self._refused(endpoint, Refusal.NO_TURN, None)
        turn = self._breaker.begin()
        outcome, retry_after = Outcome.ABANDONED, None
        try:
            answer = await attempt(given)
            outcome = Outcome.ANSWERED
        except AttemptError as failed:
            if failed.outcome is Outcome.TIMED_OUT and given < self._telling_seconds:
                failed.outcome = Outcome.CUT_SHORT
            outcome, retry_after = failed.outcome, failed.error.retry_after
            raise
        except UpstreamInvalidAnswer:
            outcome = Outcome.INVALID_ANSWER
            raise
        finally:
            self._ended(endpoint, outcome, turn, now, retry_after)
        return answer

    def _ended(self, endpoint: str, outcome: Outcome, turn: int, began: float, retry_after: float | None) -> None:
        now = self._clock()
        if outcome is Outcome.ANSWERED:
            self._breaker.answered(turn, now)
            self._gate.speed_up(now)
        elif outcome in NO_SIGN:
            self._breaker.abandoned(turn)
        elif outcome in FAILURES:
            self._breaker.failed(turn, now, unreachable=outcome is Outcome.UNREACHABLE)
        else:
            self._breaker.answered(turn, now)
            if outcome is Outcome.RATE_LIMITED:
                self._gate.slow_down(now, began, retry_after)
        self._gate.leave()
        self._observer.attempt(self._emr, endpoint, outcome, now - began)

    def _delay(self, retries: Retries, failed: AttemptError, deadline: float) -> float | None:
        now = self._clock()
        delay = retries.delay(failed, deadline - now, self._telling_seconds)
        # The budget goes last, since what is taken from it is gone.
        if delay is None or self._breaker.wait(now + delay) or not self._budget.withdraw(now):
            return None
        return delay

    async def _turn(self, endpoint: str, now: float, deadline: float) -> float:
        """Wait for a permit, and give the time when there is one. Raises AttemptError."""
        wait, pause = self._breaker.wait(now), self._gate.pause(now)
        if wait:
            raise self._refused(endpoint, Refusal.BREAKER_OPEN, wait)
        if now + pause >= deadline:
            raise self._refused(endpoint, Refusal.RATE_LIMITED, pause)
        if self._gate.is_full:
            raise self._refused(endpoint, Refusal.QUEUE_FULL, _QUEUE_RETRY_SECONDS)
        entered = await self._gate.wait(now, deadline - now)
        now = self._clock()
        wait = self._breaker.wait(now)
        if wait:
            if entered:
                self._gate.leave()
            raise self._refused(endpoint, Refusal.BREAKER_OPEN, wait)
        if not entered:
            raise self._refused(endpoint, Refusal.NO_TURN, None)
        return now

    def _refused(self, endpoint: str, reason: Refusal, retry_after: float | None) -> AttemptError:
        self._observer.turned_away(self._emr, endpoint, reason)
        kind, message = _REFUSALS[reason]
        seconds = None if retry_after is None else round(retry_after, 3)
        return AttemptError(kind(message, retryable=True, retry_after=seconds), Outcome.TURNED_AWAY)

    def _breaker_changed(self, state: BreakerState) -> None:
        if state is BreakerState.OPEN:
            # They would wait for calls that have to time out first, and hear the same then.
            self._gate.send_away()
        self._observer.breaker(self._emr, state)


_RULES = CallRules()
_OUTSIDE = Outside()
_REFUSALS: Mapping[Refusal, tuple[type[GatewayError], str]] = {
    Refusal.BREAKER_OPEN: (UpstreamUnavailable, "Leyr or this EHR failed again and again, so it is left alone a while"),
    Refusal.QUEUE_FULL: (Overloaded, "Too many calls to this EHR wait already"),
    Refusal.RATE_LIMITED: (UpstreamRateLimited, "Leyr or this EHR takes no more requests for a while"),
    Refusal.NO_TURN: (DeadlineExceeded, "Too many calls to this EHR were before this one"),
}


class Guards:
    """A guard for each EHR that was asked."""

    def __init__(self, rules: CallRules = _RULES, outside: Outside = _OUTSIDE) -> None:
        self._rules = rules
        self._outside = outside
        self._guards: dict[str, Guard] = {}

    def of(self, emr: str) -> Guard:
        """The guard of an EHR, which whoever asks has to know from its settings: it is kept for good."""
        guard = self._guards.get(emr)
        if guard is None:
            guard = self._guards[emr] = Guard(emr, self._rules, self._outside)
        return guard

    def snapshot(self) -> dict[str, Condition]:
        """The condition of each EHR that was asked so far."""
        # A copy first: whoever scrapes metrics may ask from another thread.
        return {emr: guard.condition for emr, guard in list(self._guards.items())}
