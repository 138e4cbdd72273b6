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
from gateway.leyr.call_events import (
    FAILED_RESULTS,
    INCONCLUSIVE_RESULTS,
    AttemptError,
    CallEvents,
    CallResult,
    Rejection,
)
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from gateway.leyr.concurrency_limit import ConcurrencyConfig, ConcurrencyLimiter
from gateway.leyr.retry import RetryBudget, RetryBudgetConfig, RetryConfig, RetryState

T = TypeVar("T")
Attempt: TypeAlias = Callable[[float], Awaitable[T]]
"""Makes one attempt within so many seconds. Raises AttemptError, or UpstreamInvalidAnswer."""

# An attempt that had less of its time than this says little about the EHR.
_TELLING_SHARE = 0.5
_QUEUE_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """What a call may take: seconds in all, seconds an attempt, and the rules of each part."""

    deadline_seconds: float = 10.0
    attempt_seconds: float = 5.0
    retries: RetryConfig = field(default_factory=RetryConfig)
    budget: RetryBudgetConfig = field(default_factory=RetryBudgetConfig)
    breaker: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig)
    gate: ConcurrencyConfig = field(default_factory=ConcurrencyConfig)


@dataclass(frozen=True, slots=True)
class PolicyDependencies:
    """Time in seconds that only grows, chance from 0 up to 1, and whoever watches."""

    events: CallEvents = field(default_factory=CallEvents)
    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """How calls to one EHR fare; `retry_after` is the seconds until its breaker lets one through, where it is open."""

    breaker: BreakerState
    retry_after: float | None
    limit: int
    in_flight: int
    waiting: int


class UpstreamPolicy:
    """Everything that is kept about one EHR; to be used inside one loop."""

    def __init__(self, emr: str, rules: PolicyConfig, outside: PolicyDependencies) -> None:
        self._emr = emr
        self._rules = rules
        self._events = outside.events
        self._clock = outside.clock
        self._sleep = outside.sleep
        self._chance = outside.chance
        self._telling_seconds = min(rules.attempt_seconds, rules.deadline_seconds) * _TELLING_SHARE
        self._budget = RetryBudget(rules.budget)
        self._breaker = CircuitBreaker(rules.breaker, changed=self._breaker_changed)
        self._gate = ConcurrencyLimiter(
            rules.gate, clock=outside.clock, changed=lambda limit: outside.events.limit_changed(emr, limit)
        )

    @property
    def condition(self) -> UpstreamHealth:
        """As it is now."""
        wait = self._breaker.wait(self._clock())
        closed = self._breaker.state is BreakerState.CLOSED
        gate = self._gate
        return UpstreamHealth(self._breaker.state, None if closed else wait, gate.limit, gate.in_flight, gate.waiting)

    async def call(self, endpoint: str, attempt: Attempt[T]) -> T:
        """What an attempt brings, within the deadline. Raises domain errors."""
        now = self._clock()
        deadline = now + self._rules.deadline_seconds
        self._budget.deposit(now)
        retries: RetryState | None = None
        while True:
            try:
                return await self._attempted(endpoint, attempt, now, deadline)
            except AttemptError as failed:
                retries = retries or RetryState(failed.error, self._rules.retries, self._chance)
                delay = self._delay(retries, failed, deadline)
            if delay is None:
                break
            self._events.retried(self._emr)
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
            raise self._refused(endpoint, Rejection.NO_TURN, None)
        turn = self._breaker.begin()
        outcome, retry_after = CallResult.ABANDONED, None
        try:
            answer = await attempt(given)
            outcome = CallResult.ANSWERED
        except AttemptError as failed:
            if failed.result is CallResult.TIMED_OUT and given < self._telling_seconds:
                failed.result = CallResult.CUT_SHORT
            outcome, retry_after = failed.result, failed.error.retry_after
            raise
        except UpstreamInvalidAnswer:
            outcome = CallResult.INVALID_ANSWER
            raise
        finally:
            self._ended(endpoint, outcome, turn, now, retry_after)
        return answer

    def _ended(self, endpoint: str, outcome: CallResult, turn: int, began: float, retry_after: float | None) -> None:
        now = self._clock()
        if outcome is CallResult.ANSWERED:
            self._breaker.answered(turn, now)
            self._gate.speed_up(now)
        elif outcome in INCONCLUSIVE_RESULTS:
            self._breaker.abandoned(turn)
        elif outcome in FAILED_RESULTS:
            self._breaker.failed(turn, now, unreachable=outcome is CallResult.UNREACHABLE)
        else:
            self._breaker.answered(turn, now)
            if outcome is CallResult.RATE_LIMITED:
                self._gate.slow_down(now, began, retry_after)
        self._gate.leave()
        self._events.attempt_ended(self._emr, endpoint, outcome, now - began)

    def _delay(self, retries: RetryState, failed: AttemptError, deadline: float) -> float | None:
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
            raise self._refused(endpoint, Rejection.BREAKER_OPEN, wait)
        if now + pause >= deadline:
            raise self._refused(endpoint, Rejection.RATE_LIMITED, pause)
        if self._gate.is_full:
            raise self._refused(endpoint, Rejection.QUEUE_FULL, _QUEUE_RETRY_SECONDS)
        entered = await self._gate.wait(now, deadline - now)
        now = self._clock()
        wait = self._breaker.wait(now)
        if wait:
            if entered:
                self._gate.leave()
            raise self._refused(endpoint, Rejection.BREAKER_OPEN, wait)
        if not entered:
            raise self._refused(endpoint, Rejection.NO_TURN, None)
        return now

    def _refused(self, endpoint: str, reason: Rejection, retry_after: float | None) -> AttemptError:
        self._events.rejected(self._emr, endpoint, reason)
        kind, message = _REFUSALS[reason]
        seconds = None if retry_after is None else round(retry_after, 3)
        return AttemptError(kind(message, retryable=True, retry_after=seconds), CallResult.TURNED_AWAY)

    def _breaker_changed(self, state: BreakerState) -> None:
        if state is BreakerState.OPEN:
            # They would wait for calls that have to time out first, and hear the same then.
            self._gate.send_away()
        self._events.breaker_changed(self._emr, state)


_RULES = PolicyConfig()
_OUTSIDE = PolicyDependencies()
_REFUSALS: Mapping[Rejection, tuple[type[GatewayError], str]] = {
    Rejection.BREAKER_OPEN: (
        UpstreamUnavailable,
        "Leyr or this EHR failed again and again, so it is left alone a while",
    ),
    Rejection.QUEUE_FULL: (Overloaded, "Too many calls to this EHR wait already"),
    Rejection.RATE_LIMITED: (UpstreamRateLimited, "Leyr or this EHR takes no more requests for a while"),
    Rejection.NO_TURN: (DeadlineExceeded, "Too many calls to this EHR were before this one"),
}


class UpstreamPolicies:
    """A policy for each EHR that was asked."""

    def __init__(self, rules: PolicyConfig = _RULES, outside: PolicyDependencies = _OUTSIDE) -> None:
        self._rules = rules
        self._outside = outside
        self._policies: dict[str, UpstreamPolicy] = {}

    def of(self, emr: str) -> UpstreamPolicy:
        """The policy of an EHR, which whoever asks has to know from its settings: it is kept for good."""
        policy = self._policies.get(emr)
        if policy is None:
            policy = self._policies[emr] = UpstreamPolicy(emr, self._rules, self._outside)
        return policy

    def snapshot(self) -> dict[str, UpstreamHealth]:
        """The condition of each EHR that was asked so far."""
        # A copy first: whoever scrapes metrics may ask from another thread.
        return {emr: policy.condition for emr, policy in list(self._policies.items())}
