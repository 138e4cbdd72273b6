"""The circuit breaker that decides whether an EHR is called at all, and what it makes of calls that are slow.

It is the gateway's own, since pybreaker counts failures in a row, and neither the share of them nor slow calls.

The thresholds are those that are widely used: a window of 30 seconds and a first break of 5 (Polly), half of the calls
failing (Hystrix, resilience4j), five consecutive failures (Envoy's outlier detection). Hystrix wants 20 calls before it
judges and Polly 100; a clinic's EHR gets few, so it is 10 here.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum

_SLOTS = 10


class RollingWindow:
    """Counts the events of the last `seconds`; a tenth of the window expires at a time."""

    def __init__(self, seconds: float) -> None:
        self._slot_seconds = seconds / _SLOTS
        self._counts = [0] * _SLOTS
        self._slot = 0
        self._total = 0

    def add(self, now: float) -> None:
        """Count an event that happens now."""
        slot = int(now / self._slot_seconds)
        if slot != self._slot:
            self._expire(slot)
        self._counts[self._slot % _SLOTS] += 1
        self._total += 1

    def total(self, now: float) -> int:
        """How many events there were in the window that ends now."""
        self._expire(int(now / self._slot_seconds))
        return self._total

    def remove(self, then: float, now: float) -> None:
        """Forget an event that was added at `then`, unless the window has passed it."""
        self._expire(int(now / self._slot_seconds))
        slot = int(then / self._slot_seconds)
        if slot > self._slot - _SLOTS and self._counts[slot % _SLOTS]:
            self._counts[slot % _SLOTS] -= 1
            self._total -= 1

    def clear(self) -> None:
        """Forget all events."""
        self._counts = [0] * _SLOTS
        self._total = 0

    def _expire(self, slot: int) -> None:
        passed = slot - self._slot
        if passed <= 0:
            return
        for each in range(self._slot + 1, self._slot + 1 + min(passed, _SLOTS)):
            self._total -= self._counts[each % _SLOTS]
            self._counts[each % _SLOTS] = 0
        self._slot = slot


# A loop's timers may go off a little early.
_SHORTEST_TIMER_SECONDS = 0.001
# How long to wait for a probe that is in flight; when it will end is not known.
_PROBE_SECONDS = 1.0


class BreakerState(StrEnum):
    """Closed lets calls through, open lets none, half-open lets one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """When the breaker opens: see `CircuitBreaker.record_failure`. Breaks double, up to the maximum."""

    window_seconds: float = 30.0
    min_calls: int = 10
    failure_ratio: float = 0.5
    consecutive_failures: int = 5
    base_break_seconds: float = 5.0
    max_break_seconds: float = 60.0


class CircuitBreaker:
    """A state machine without a clock: asked before each call by `wait_seconds`, told of its end by `record_` methods.

    Each change of state begins a new generation. `begin` returns the current one, and results of calls of an earlier
    generation are ignored: a call that began while an EHR was well does not tell whether it is well again.
    `now` is a monotonic clock's seconds.

    A slow call counts as a failure as long as it is not answered: nobody can tell whether its EHR hangs. The answer
    makes it a success, and where slow calls alone had opened the breaker, it closes at once: the EHR works, slowly.
    """

    def __init__(
        self, config: CircuitBreakerConfig, *, on_change: Callable[[BreakerState], None] = lambda _: None
    ) -> None:
        """`on_change` gets each new state."""
        self._config = config
        self._on_change = on_change
        self.state = BreakerState.CLOSED
        self._generation = 0
        self._successes = RollingWindow(config.window_seconds)
        self._failures = RollingWindow(config.window_seconds)
        self._consecutive_failures = 0
        self._consecutive_unreachable = 0
        self._break_seconds = config.base_break_seconds
        self._half_open_at = 0.0
        self._is_probing = False
        # Of the first calls that were slow when the breaker opened, where it opened for such calls.
        self._slow_since: int | None = None

    def wait_seconds(self, now: float) -> float:
        """Seconds until a call may be tried; 0 where it may begin now."""
        if self.state is BreakerState.CLOSED:
            return 0.0
        if self.state is BreakerState.OPEN:
            return max(0.0, self._half_open_at - now)
        return _PROBE_SECONDS if self._is_probing else 0.0

    def begin(self) -> int:
        """Begin a call, which is a probe unless the breaker is closed; only where `wait_seconds` is 0."""
        if self.state is not BreakerState.CLOSED:
            self._is_probing = True
            if self.state is BreakerState.OPEN:
                self._change(BreakerState.HALF_OPEN)
        return self._generation

    def record_success(self, generation: int, now: float, slow_since: float | None = None) -> None:
        """Record a call that got a response, even one about an error of the request: the EHR can be reached.

        `slow_since` is when it was recorded as slow, if it was.
        """
        if slow_since is not None and self._slow_since is not None and generation >= self._slow_since:
            self._close()
        elif generation != self._generation:
            return
        elif self.state is BreakerState.HALF_OPEN:
            self._close()
        elif slow_since is not None:
            self._failures.remove(slow_since, now)
        self._successes.add(now)
        self._consecutive_failures = self._consecutive_unreachable = 0

    def record_slow(self, generation: int, now: float) -> None:
        """Record a call that is not answered yet: as a failure until it is, and as none beside that."""
        if generation != self._generation:
            return
        since = generation if self._slow_since is None else self._slow_since
        self.record_failure(generation, now, unreachable=False)
        if self.state is BreakerState.OPEN:
            self._slow_since = since

    def record_failure(self, generation: int, now: float, *, unreachable: bool) -> None:
        """Record a call that got no response, or a 5xx.

        Too many consecutive calls that were unreachable open the breaker at once. So do too many consecutive failures
        of any kind where the window has no success: an EHR that is called every few minutes would never reach
        `min_calls`. With successes in the window only the ratio counts, since a short disturbance among a thousand
        calls makes five consecutive failures as well.
        """
        if generation != self._generation:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._break_seconds = min(self._break_seconds * 2, self._config.max_break_seconds)
            self._open(now)
            return
        self._failures.add(now)
        self._consecutive_failures += 1
        self._consecutive_unreachable = self._consecutive_unreachable + 1 if unreachable else 0
        if self._has_failed_enough(now):
            self._open(now)

    def record_abandoned(self, generation: int) -> None:
        """Record a call that shows neither success nor failure; after a probe the next call may be one."""
        if generation == self._generation:
            self._is_probing = False

    def _has_failed_enough(self, now: float) -> bool:
        config = self._config
        successes, failures = self._successes.total(now), self._failures.total(now)
        calls = successes + failures
        return (
            self._consecutive_unreachable >= config.consecutive_failures
            or (self._consecutive_failures >= config.consecutive_failures and not successes)
            or (calls >= config.min_calls and failures >= config.failure_ratio * calls)
        )

    def _close(self) -> None:
        self._break_seconds = self._config.base_break_seconds
        self._successes.clear()
        self._failures.clear()
        self._change(BreakerState.CLOSED)

    def _open(self, now: float) -> None:
        self._slow_since = None
        self._half_open_at = now + self._break_seconds
        self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._generation += 1
        self._is_probing = state is BreakerState.HALF_OPEN
        if state is BreakerState.CLOSED:
            self._slow_since = None
        self._on_change(state)


# How much longer than of late a call may take before it is slow, and how fast "of late" forgets a slow answer: after
# 20 quick ones an eighth is left.
_SLOWER = 1.5
_WEIGHT_OF_QUICKER = 0.1


@dataclass(slots=True, eq=False)
class TimedCall:
    """A call that runs: the breaker's generation, when it began, and since when it has been slow, if it is."""

    generation: int
    began: float
    slow_since: float | None = None


class SlowCalls:
    """Tells a breaker which of the calls that run are slow.

    A call is slow after `least_seconds`, or half as long again as answers take of late where that is more. So an EHR
    that needs longer than others is known for it from its first answer on, and is not taken for one that hangs.
    "Of late" is a peak EWMA, as in Finagle: a slower answer counts at once, a quicker one by a tenth.
    """

    def __init__(self, breaker: CircuitBreaker, least_seconds: float, clock: Callable[[], float]) -> None:
        """`clock` is that of the breaker's times."""
        self.seconds = least_seconds
        """After how many seconds a call is slow."""
        self._breaker = breaker
        self._least_seconds = least_seconds
        self._clock = clock
        self._usual = 0.0
        # Not slow yet, in the order in which they began.
        self._running: dict[TimedCall, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: TimedCall) -> None:
        """Watch a call that begins now."""
        self._running[call] = None
        if self._timer is None:
            self._schedule(self.seconds)

    def answered(self, call: TimedCall, now: float) -> None:
        """A call got a response."""
        self._running.pop(call, None)
        took = now - call.began
        self._usual = max(took, self._usual + (took - self._usual) * _WEIGHT_OF_QUICKER)
        self.seconds = max(self._least_seconds, _SLOWER * self._usual)

    def ended(self, call: TimedCall, *, timed_out: bool) -> None:
        """A call ended without a response; after a timeout nothing is left of what answers took."""
        self._running.pop(call, None)
        if timed_out:
            self._usual, self.seconds = 0.0, self._least_seconds

    def _schedule(self, seconds: float) -> None:
        # One timer for the first that may become slow: nearly all calls end before.
        loop = asyncio.get_running_loop()
        # It outlives the request that runs now, so it must not hold what that one keeps in its context.
        self._timer = loop.call_later(max(seconds, _SHORTEST_TIMER_SECONDS), self._look, context=Context())

    def _look(self) -> None:
        self._timer = None
        now = self._clock()
        while self._running:
            call = next(iter(self._running))
            left = call.began + self.seconds - now
            if left > 0:
                self._schedule(left)
                return
            del self._running[call]
            call.slow_since = now
            self._breaker.record_slow(call.generation, now)
