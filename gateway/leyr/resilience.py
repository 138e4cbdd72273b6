"""Deadline, retries, circuit breaker and concurrency limit around every call to an EHR.

A call passes the breaker, which rejects it at once where the EHR is known to be down; then the concurrency limiter,
where it may wait for a permit; and is sent. After a temporary failure it goes the same way again, as long as the
call's deadline and the EHR's retry budget allow. Each attempt takes a permit of its own, so that no call keeps one
during its backoff. An attempt may outlast the deadline, which is that of the requests that wait for it.

Where an EHR takes only so many calls in a minute, each attempt first waits for its turn, and then for the permit: those
that wait for their turns hold none. One that got its permit too late for its turn takes another one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar

from gateway.domain.errors import (
    DeadlineExceeded,
    GatewayError,
    Origin,
    Overloaded,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import (
    FAILED_RESULTS,
    INCONCLUSIVE_RESULTS,
    AttemptError,
    CallEvents,
    CallResult,
    Rejection,
)
from gateway.leyr.call_quota import CallQuota, QuotaConfig, QuotaExhaustedError, QuotaSources, Turn
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig, SlowCalls, TimedCall
from gateway.leyr.concurrency_limit import ConcurrencyConfig, ConcurrencyLimiter, DetachedCalls
from gateway.leyr.retry import RetryBudget, RetryBudgetConfig, RetryConfig, RetryState

T = TypeVar("T")
Attempt: TypeAlias = Callable[[float], Awaitable[T]]
"""Makes one attempt within so many seconds. Raises AttemptError, or UpstreamInvalidAnswer."""

# A timeout after less than this share of an attempt's time says little about the EHR.
_CONCLUSIVE_SHARE = 0.5
_QUEUE_RETRY_SECONDS = 1.0
# After these it is known how long the next attempt for a list may take.
_TELLING_HOW_LONG = frozenset({CallResult.ANSWERED, CallResult.TIMED_OUT})
# After these it is not known whether Leyr can be reached.
_UNANSWERED = INCONCLUSIVE_RESULTS | {CallResult.UNREACHABLE, CallResult.TIMED_OUT}


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """How many seconds a call and each of its attempts may take, and the configuration of each part.

    Within `deadline_seconds` each attempt must begin, within `call_seconds` the last one ends. An attempt may take
    `attempt_seconds`, or twice as long as the last one for such a list did, where that is more; that of one of
    `long_endpoints` whatever the call may, but it is slow after `attempt_seconds`.
    """

    deadline_seconds: float = 10.0
    call_seconds: float = 20.0
    attempt_seconds: float = 5.0
    long_endpoints: frozenset[str] = frozenset(
        {"timeslots", "book_appointment", "change_appointment", "create_patient"}
    )
    retry: RetryConfig = field(default_factory=RetryConfig)
    retry_budget: RetryBudgetConfig = field(default_factory=RetryBudgetConfig)
    circuit_breaker: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig)
    concurrency: ConcurrencyConfig = field(default_factory=ConcurrencyConfig)
    quota: QuotaConfig = field(default_factory=QuotaConfig)


@dataclass(frozen=True, slots=True)
class PolicyDependencies:
    """The listener to events, a monotonic clock in seconds, random numbers from 0 up to 1, who calls, and quotas."""

    events: CallEvents = field(default_factory=CallEvents)
    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: Callable[[], float] = random.random
    caller: Callable[[], Hashable] = lambda: None
    quotas: QuotaSources = field(default_factory=QuotaSources)


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """The state of calls to one EHR; `retry_after` is the seconds until an open breaker lets one through.

    `failure` says why Leyr was not reached, until it answers again.
    """

    breaker: BreakerState
    retry_after: float | None
    limit: int
    in_flight: int
    waiting: int
    failure: FailureKind | None = None


class _Call(NamedTuple):
    """A call: what for, until when its attempts may begin, and when the last one ends."""

    endpoint: str
    deadline: float
    ends_at: float


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
        self._quota = CallQuota(emr, config.quota, dependencies.quotas, self._clock)
        self._conclusive_seconds = min(config.attempt_seconds, config.call_seconds) * _CONCLUSIVE_SHARE
        self._budget = RetryBudget(config.retry_budget)
        self._breaker = CircuitBreaker(config.circuit_breaker, on_change=self._breaker_changed)
        self._slow_calls = SlowCalls(self._breaker, config.attempt_seconds, self._clock)
        # How long an attempt for a list may take, where its EHR is slower than others.
        self._list_seconds: dict[str, float] = {}
        self._limiter = ConcurrencyLimiter(config.concurrency, clock=self._clock, on_change=self._limit_changed)
        self.detached = DetachedCalls(self._limiter)
        self._failure: FailureKind | None = None

    @property
    def health(self) -> UpstreamHealth:
        """The state as it is now."""
        state, limiter = self._breaker.state, self._limiter
        retry_after = None if state is BreakerState.CLOSED else self._breaker.wait_seconds(self._clock())
        counts = limiter.limit, limiter.in_flight, limiter.waiting
        return UpstreamHealth(state, retry_after, *counts, self._failure)

    def now(self) -> float:
        """The clock's time."""
        return self._clock()

    async def call(self, endpoint: str, attempt: Attempt[T], began: float | None = None) -> T:
        """Return what an attempt returns. Raises domain errors.

        `began` is when an earlier call began whose time this one shares, as that for the next page of a list does.
        """
        now = self._clock()
        began = now if began is None else began
        call = _Call(endpoint, began + self._config.deadline_seconds, began + self._config.call_seconds)
        self._budget.deposit(now)
        retries: RetryState | None = None
        while True:
            try:
                return await self._attempt(call, attempt, now)
            except AttemptError as failed:
                retries = retries or RetryState(failed.error, self._config.retry, self._rng)
                delay = self._delay(retries, failed, call.deadline)
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

    async def call_once(self, endpoint: str, attempt: Attempt[T], seconds: float, began: float) -> T:
        """Return what the only attempt returns, which may take so long since `began`. Raises AttemptError, as it is.

        For what must not be repeated; until it begins it may wait as long as any call. A process that was stopped
        meanwhile, and goes on later than that, does not make it.
        """
        now = self._clock()
        return await self._attempt(_Call(endpoint, now + self._config.deadline_seconds, began + seconds), attempt, now)

    async def _attempt(self, call: _Call, attempt: Attempt[T], now: float) -> T:
        if self._quota.is_limited:
            now = await self._acquire_within_quota(call, now)
        elif self._breaker.wait_seconds(now) or not self._limiter.try_acquire(now):
            now = await self._acquire(call.endpoint, now, call.deadline)
        seconds = call.ends_at - now
        if call.endpoint not in self._config.long_endpoints:
            seconds = min(seconds, self._list_seconds.get(call.endpoint, self._config.attempt_seconds))
        if seconds <= 0:
            # The wait took a little longer than it should have.
            self._limiter.release()
            raise self._rejected(call.endpoint, Rejection.NO_TURN, None)
        timed = self._begin(call, now)
        result, error = CallResult.ABANDONED, None
        try:
            found = await attempt(seconds)
            result = CallResult.ANSWERED
        except AttemptError as failed:
            if failed.result is CallResult.TIMED_OUT and seconds < self._conclusive_seconds:
                failed.result = CallResult.CUT_SHORT
            result, error = failed.result, failed.error
            if failed.failure is not None:
                self._failure = failed.failure
                self._events.unreachable(self._emr, call.endpoint, failed.failure)
            failed.is_last = asyncio.current_task() in self.detached
            raise
        except UpstreamInvalidAnswer:
            result = CallResult.INVALID_ANSWER
            raise
        finally:
            self._record(call, timed, result, error)
        return found

    def _begin(self, call: _Call, now: float) -> TimedCall:
        """Tell breaker and limiter of an attempt that begins."""
        timed = TimedCall(self._breaker.begin(), now)
        if call.endpoint in self._config.long_endpoints:
            self._slow_calls.begin(timed)
        self.detached.begin(self._caller())
        return timed

    def _record(self, call: _Call, timed: TimedCall, result: CallResult, error: GatewayError | None) -> None:
        """Tell breaker, limiter and listener of an attempt that ended, and release its permit.

        What the error says of the time to try again becomes what the gateway itself does.
        """
        now = self._clock()
        retry_after = None
        if error is not None and error.retry_after is not None:
            retry_after = error.retry_after = self._limiter.longest_pause(error.retry_after)
        self.detached.end()
        if result not in _UNANSWERED:
            self._failure = None
        self._learn_list_seconds(call.endpoint, result, now - timed.began)
        if result in INCONCLUSIVE_RESULTS or result in FAILED_RESULTS:
            self._slow_calls.ended(timed, timed_out=result is CallResult.TIMED_OUT)
            if result in INCONCLUSIVE_RESULTS:
                self._breaker.record_abandoned(timed.generation)
            elif timed.slow_since is None:
                self._breaker.record_failure(timed.generation, now, unreachable=result is CallResult.UNREACHABLE)
        else:
            if call.endpoint in self._config.long_endpoints:
                self._slow_calls.answered(timed, now)
            self._breaker.record_success(timed.generation, now, timed.slow_since)
            if result is CallResult.ANSWERED:
                self._limiter.succeeded(now)
            elif result is CallResult.RATE_LIMITED:
                self._limiter.rate_limited(now, timed.began, retry_after)
                pause = self._limiter.pause_seconds(now)
                if error is not None and pause:
                    error.retry_after = round(pause, 3)
        self._limiter.release()
        self._events.attempt_ended(self._emr, call.endpoint, result, now - timed.began)

    def _learn_list_seconds(self, endpoint: str, result: CallResult, took: float) -> None:
        """Give the next attempt for a list twice the time of this one: a list that is always slower has to come once.

        Attempts that time out together tell it once, and a quick answer that lists are quick again.
        """
        if endpoint not in self._config.long_endpoints and result in _TELLING_HOW_LONG:
            least = 0.0 if result is CallResult.ANSWERED else self._list_seconds.get(endpoint, 0.0)
            self._list_seconds[endpoint] = max(self._config.attempt_seconds, 2 * took, least)

    def _delay(self, retries: RetryState, failed: AttemptError, deadline: float) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        now = self._clock()
        delay = None if failed.is_last else retries.delay(failed, deadline - now)
        # The budget is asked last, since a withdrawal cannot be undone.
        if delay is None or self._breaker.wait_seconds(now + delay) or not self._budget.withdraw(now):
            return None
        return delay

    async def _acquire_within_quota(self, call: _Call, now: float) -> float:
        """Wait for a turn, then for a permit, and return the time when there are both. Raises AttemptError."""
        while True:
            if wait := self._breaker.wait_seconds(now):
                raise self._rejected(call.endpoint, Rejection.BREAKER_OPEN, wait)
            turn = await self._take_turn(call, now)
            try:
                if turn.at > now:
                    await self._sleep(turn.at - now)
                    now = self._clock()
                if self._breaker.wait_seconds(now) or not self._limiter.try_acquire(now):
                    now = await self._acquire(call.endpoint, now, call.deadline)
            except BaseException:
                turn.give_back()
                raise
            if not turn.is_past(now):
                return now
            self._limiter.release()
            turn.give_back()

    async def _take_turn(self, call: _Call, now: float) -> Turn:
        """Take a turn among the EHR's calls of a minute. Raises AttemptError where none comes before the deadline."""
        longest = max(0.0, call.deadline - now) if self.detached.may_wait() else 0.0
        try:
            return await self._quota.take(call.endpoint, longest)
        except QuotaExhaustedError as error:
            seconds = error.seconds
        raise self._rejected(call.endpoint, Rejection.QUOTA, seconds)

    async def _acquire(self, endpoint: str, now: float, deadline: float) -> float:
        """Wait for a permit, and return the time when there is one. Raises AttemptError."""
        wait, pause = self._breaker.wait_seconds(now), self._limiter.pause_seconds(now)
        if wait:
            raise self._rejected(endpoint, Rejection.BREAKER_OPEN, wait)
        if now + pause >= deadline:
            raise self._rejected(endpoint, Rejection.RATE_LIMITED, pause)
        caller = self._caller()
        if not self.detached.may_wait() or not self._limiter.may_wait(caller):
            raise self._rejected(endpoint, Rejection.QUEUE_FULL, _QUEUE_RETRY_SECONDS)
        self.detached.make_room(coming=1)
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
        is_lasting = reason is Rejection.BREAKER_OPEN and self._failure is not None and not self._failure.is_retryable
        seconds = None if retry_after is None or is_lasting else round(retry_after, 3)
        origin = Origin.GATEWAY if reason is Rejection.QUOTA else None
        error = kind(message, origin=origin, retryable=not is_lasting, retry_after=seconds)
        return AttemptError(error, CallResult.TURNED_AWAY)

    def _breaker_changed(self, state: BreakerState) -> None:
        if state is BreakerState.OPEN:
            # They would only wait for calls that have to time out first, and then be rejected as well.
            self._limiter.reject_waiting()
        self._events.breaker_changed(self._emr, state)

    def _limit_changed(self, limit: int) -> None:
        self.detached.make_room()
        self._events.limit_changed(self._emr, limit)


_REJECTIONS: Mapping[Rejection, tuple[type[GatewayError], str]] = {
    Rejection.BREAKER_OPEN: (
        UpstreamUnavailable,
        "Leyr or this EHR failed again and again, so it is left alone a while",
    ),
    Rejection.QUEUE_FULL: (Overloaded, "Too many calls to this EHR wait already"),
    Rejection.RATE_LIMITED: (UpstreamRateLimited, "Leyr or this EHR takes no more requests for a while"),
    Rejection.QUOTA: (UpstreamRateLimited, "This EHR takes only so many calls in a minute, and has had them"),
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

    def detach(self, task: "asyncio.Task[Any]") -> bool:
        """Let the call that a task makes go on though nobody waits for it; False where it must be cancelled."""
        return any(policy.detached.detach(task) for policy in self._policies.values())

    def attach(self, task: "asyncio.Task[Any]") -> None:
        """Somebody waits again for the call that a task makes."""
        for policy in self._policies.values():
            policy.detached.attach(task)

    async def close(self) -> None:
        """End the calls that nobody waits for."""
        calls = [task for policy in self._policies.values() for task in policy.detached.cancel_all()]
        await asyncio.gather(*calls, return_exceptions=True)

    def health(self) -> dict[str, UpstreamHealth]:
        """The state of each EHR that was called so far."""
        # A copy first: metrics are scraped in another thread.
        return {emr: policy.health for emr, policy in list(self._policies.items())}
