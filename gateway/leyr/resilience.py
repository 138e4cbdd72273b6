"""Deadline, retries, circuit breaker and concurrency limit around every call to an EHR.

A call passes the breaker, which rejects it at once where the EHR is known to be down; then the concurrency limiter,
where it may wait for a permit; and is sent. After a temporary failure it goes the same way again, as long as the
call's deadline and the EHR's retry budget allow. Each attempt takes a permit of its own, so that no call keeps one
during its backoff.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
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

# A timeout after less than this share of an attempt's time says little about the EHR.
_CONCLUSIVE_SHARE = 0.5
_QUEUE_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """How many seconds a call and each of its attempts may take, and the configuration of each part."""

    deadline_seconds: float = 10.0
    attempt_seconds: float = 5.0
    retry: RetryConfig = field(default_factory=RetryConfig)
    retry_budget: RetryBudgetConfig = field(default_factory=RetryBudgetConfig)
    circuit_breaker: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig)
    concurrency: ConcurrencyConfig = field(default_factory=ConcurrencyConfig)


@dataclass(frozen=True, slots=True)
class PolicyDependencies:
    """The listener to events, a monotonic clock in seconds, random numbers from 0 up to 1, and who calls now."""

    events: CallEvents = field(default_factory=CallEvents)
    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: Callable[[], float] = random.random
    caller: Callable[[], Hashable] = lambda: None


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """The state of calls to one EHR; `retry_after` is the seconds until an open breaker lets one through."""

    breaker: BreakerState
    retry_after: float | None
    limit: int
    in_flight: int
    waiting: int


class UpstreamPolicy:
    """Makes the calls to one EHR, and keeps its breaker, limiter and retry budget; to be used inside one loop."""

    def __init__(self, emr: str, config: PolicyConfig, dependencies: PolicyDependencies) -> None:
        self._emr = emr
        self._config = config
        self._events = dependencies.events
        self._clock = dependencies.clock
        self._sleep = dependencies.sleep
        self._rng = dependencies.rng
        self._caller = dependencies.caller
        self._conclusive_seconds = min(config.attempt_seconds, config.deadline_seconds) * _CONCLUSIVE_SHARE
        self._budget = RetryBudget(config.retry_budget)
        self._breaker = CircuitBreaker(config.circuit_breaker, on_change=self._breaker_changed)
        self._limiter = ConcurrencyLimiter(
            config.concurrency, clock=self._clock, on_change=partial(self._events.limit_changed, emr)
        )

    @property
    def health(self) -> UpstreamHealth:
        """The state as it is now."""
        state, limiter = self._breaker.state, self._limiter
        retry_after = None if state is BreakerState.CLOSED else self._breaker.wait_seconds(self._clock())
        return UpstreamHealth(state, retry_after, limiter.limit, limiter.in_flight, limiter.waiting)

    def now(self) -> float:
        """The clock's time."""
        return self._clock()

    async def call(self, endpoint: str, attempt: Attempt[T], began: float | None = None) -> T:
        """Return what an attempt returns within the deadline. Raises domain errors.

        `began` is when an earlier call began whose time this one shares, as that for the next page of a list does.
        """
        now = self._clock()
        deadline = (now if began is None else began) + self._config.deadline_seconds
        self._budget.deposit(now)
        retries: RetryState | None = None
        while True:
            try:
                return await self._attempt(endpoint, attempt, now, deadline)
            except AttemptError as failed:
                retries = retries or RetryState(failed.error, self._config.retry, self._rng)
                delay = self._delay(retries, failed, deadline)
            if delay is None:
                break
            self._events.retried(self._emr)
            await self._sleep(delay)
            now = self._clock()
        error, retries = retries.error_to_raise, None
        try:
            raise error
        finally:
            # The error keeps this frame, so a variable of the frame that kept the error would make a cycle.
            del error

    async def _attempt(self, endpoint: str, attempt: Attempt[T], now: float, deadline: float) -> T:
        if self._breaker.wait_seconds(now) or not self._limiter.try_acquire(now):
            now = await self._acquire(endpoint, now, deadline)
        seconds = min(self._config.attempt_seconds, deadline - now)
        if seconds <= 0:
            # The wait took a little longer than it should have.
            self._limiter.release()
            raise self._rejected(endpoint, Rejection.NO_TURN, None)
        generation = self._breaker.begin()
        result, error = CallResult.ABANDONED, None
        try:
            found = await attempt(seconds)
            result = CallResult.ANSWERED
        except AttemptError as failed:
            if failed.result is CallResult.TIMED_OUT and seconds < self._conclusive_seconds:
                failed.result = CallResult.CUT_SHORT
            result, error = failed.result, failed.error
            raise
        except UpstreamInvalidAnswer:
            result = CallResult.INVALID_ANSWER
            raise
        finally:
            self._record(endpoint, result, generation, now, error)
        return found

    def _record(
        self, endpoint: str, result: CallResult, generation: int, began: float, error: GatewayError | None
    ) -> None:
        """Tell breaker, limiter and listener of an attempt that ended, and release its permit.

        What the error says of the time to try again becomes what the gateway itself does.
        """
        now = self._clock()
        retry_after = None
        if error is not None and error.retry_after is not None:
            retry_after = error.retry_after = self._limiter.longest_pause(error.retry_after)
        if result is CallResult.ANSWERED:
            self._breaker.record_success(generation, now)
            self._limiter.succeeded(now)
        elif result in INCONCLUSIVE_RESULTS:
            self._breaker.record_abandoned(generation)
        elif result in FAILED_RESULTS:
            self._breaker.record_failure(generation, now, unreachable=result is CallResult.UNREACHABLE)
        else:
            self._breaker.record_success(generation, now)
            if result is CallResult.RATE_LIMITED:
                self._limiter.rate_limited(now, began, retry_after)
                pause = self._limiter.pause_seconds(now)
                if error is not None and pause:
                    error.retry_after = round(pause, 3)
        self._limiter.release()
        self._events.attempt_ended(self._emr, endpoint, result, now - began)

    def _delay(self, retries: RetryState, failed: AttemptError, deadline: float) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        now = self._clock()
        delay = retries.delay(failed, deadline - now, self._conclusive_seconds)
        # The budget is asked last, since a withdrawal cannot be undone.
        if delay is None or self._breaker.wait_seconds(now + delay) or not self._budget.withdraw(now):
            return None
        return delay

    async def _acquire(self, endpoint: str, now: float, deadline: float) -> float:
        """Wait for a permit, and return the time when there is one. Raises AttemptError."""
        wait, pause = self._breaker.wait_seconds(now), self._limiter.pause_seconds(now)
        if wait:
            raise self._rejected(endpoint, Rejection.BREAKER_OPEN, wait)
        if now + pause >= deadline:
            raise self._rejected(endpoint, Rejection.RATE_LIMITED, pause)
        caller = self._caller()
        if not self._limiter.may_wait(caller):
            raise self._rejected(endpoint, Rejection.QUEUE_FULL, _QUEUE_RETRY_SECONDS)
        acquired = await self._limiter.acquire(now, deadline - now, caller)
        now = self._clock()
        wait = self._breaker.wait_seconds(now)
        if acquired and not wait:
            return now
        if acquired:
            self._limiter.release()
        if wait:
            raise self._rejected(endpoint, Rejection.BREAKER_OPEN, wait)
        if acquired is None:
            raise self._rejected(endpoint, Rejection.QUEUE_FULL, _QUEUE_RETRY_SECONDS)
        raise self._rejected(endpoint, Rejection.NO_TURN, None)

    def _rejected(self, endpoint: str, reason: Rejection, retry_after: float | None) -> AttemptError:
        self._events.rejected(self._emr, endpoint, reason)
        kind, message = _REJECTIONS[reason]
        seconds = None if retry_after is None else round(retry_after, 3)
        return AttemptError(kind(message, retryable=True, retry_after=seconds), CallResult.TURNED_AWAY)

    def _breaker_changed(self, state: BreakerState) -> None:
        if state is BreakerState.OPEN:
            # They would only wait for calls that have to time out first, and then be rejected as well.
            self._limiter.reject_waiting()
        self._events.breaker_changed(self._emr, state)


_REJECTIONS: Mapping[Rejection, tuple[type[GatewayError], str]] = {
    Rejection.BREAKER_OPEN: (
        UpstreamUnavailable,
        "Leyr or this EHR failed again and again, so it is left alone a while",
    ),
    Rejection.QUEUE_FULL: (Overloaded, "Too many calls to this EHR wait already"),
    Rejection.RATE_LIMITED: (UpstreamRateLimited, "Leyr or this EHR takes no more requests for a while"),
    Rejection.NO_TURN: (DeadlineExceeded, "Too many calls to this EHR were before this one"),
}


class UpstreamPolicies:
    """The policy of each EHR, made at its first call and kept."""

    def __init__(self, config: PolicyConfig, dependencies: PolicyDependencies) -> None:
        self._config = config
        self._dependencies = dependencies
        self._policies: dict[str, UpstreamPolicy] = {}

    def of(self, emr: str) -> UpstreamPolicy:
        """The policy of a configured EHR; others must not be asked for, since policies are never removed."""
        policy = self._policies.get(emr)
        if policy is None:
            policy = self._policies[emr] = UpstreamPolicy(emr, self._config, self._dependencies)
        return policy

    def health(self) -> dict[str, UpstreamHealth]:
        """The state of each EHR that was called so far."""
        # A copy first: metrics are scraped in another thread.
        return {emr: policy.health for emr, policy in list(self._policies.items())}
