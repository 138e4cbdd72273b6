"""Whether an EHR is asked at all: the circuit breaker, as a state machine without a clock.

The bounds are those that are widely used: a window of 30 seconds and a first break of 5 (Polly), half of the calls
failing (Hystrix, resilience4j), five failures in a row (Envoy's outlier detection). Hystrix wants 20 calls before it
judges and Polly 100; a clinic's EHR gets few, so it is 10 here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_SLOTS = 10


class RollingWindow:
    """A count of the last `seconds`, which forgets a tenth of them at a time."""

    __slots__ = ("_counts", "_slot", "_total", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _SLOTS
        self._counts = [0] * _SLOTS
        self._slot = 0
        self._total = 0

    def add(self, now: float) -> None:
        """It happened once more."""
        slot = int(now / self._width)
        if slot != self._slot:
            self._forget(slot)
        self._counts[self._slot % _SLOTS] += 1
        self._total += 1

    def total(self, now: float) -> int:
        """How often it happened."""
        self._forget(int(now / self._width))
        return self._total

    def clear(self) -> None:
        """It never happened."""
        self._counts = [0] * _SLOTS
        self._total = 0

    def _forget(self, slot: int) -> None:
        passed = slot - self._slot
        if passed <= 0:
            return
        for each in range(self._slot + 1, self._slot + 1 + min(passed, _SLOTS)):
            self._total -= self._counts[each % _SLOTS]
            self._counts[each % _SLOTS] = 0
        self._slot = slot


# A probe is on its way, and nobody knows for how long.
_PROBE_SECONDS = 1.0


class BreakerState(StrEnum):
    """Closed lets calls through, open lets none, half-open lets one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """When it opens: see `CircuitBreaker.failed`. A break is twice as long as the one before, up to the longest."""

    window_seconds: float = 30.0
    least_calls: int = 10
    failing_share: float = 0.5
    in_a_row: int = 5
    first_break_seconds: float = 5.0
    longest_break_seconds: float = 60.0


_CONFIG = CircuitBreakerConfig()


class CircuitBreaker:
    """Asked before each call, told after it. `now` is a monotonic clock's seconds.

    A turn is what a call gets at its beginning and gives back with what became of it, once. Turns from before the
    last change of state count no more: what began while an EHR was well says nothing about whether it is again.
    """

    __slots__ = (
        "_answers",
        "_break",
        "_changed",
        "_failures",
        "_in_a_row",
        "_probing",
        "_retry_at",
        "_rules",
        "_turn",
        "_unreachable_in_a_row",
        "state",
    )

    def __init__(
        self, rules: CircuitBreakerConfig = _CONFIG, *, changed: Callable[[BreakerState], None] = lambda _: None
    ) -> None:
        """`changed` is told each new state."""
        self._rules = rules
        self._changed = changed
        self.state = BreakerState.CLOSED
        self._turn = 0
        self._answers = RollingWindow(rules.window_seconds)
        self._failures = RollingWindow(rules.window_seconds)
        self._in_a_row = 0
        self._unreachable_in_a_row = 0
        self._break = rules.first_break_seconds
        self._retry_at = 0.0
        self._probing = False

    def wait(self, now: float) -> float:
        """Seconds until a call may be tried; 0 where one may go now."""
        if self.state is BreakerState.CLOSED:
            return 0.0
        if self.state is BreakerState.OPEN:
            return max(0.0, self._retry_at - now)
        return _PROBE_SECONDS if self._probing else 0.0

    def begin(self) -> int:
        """Take a turn, where there is nothing to wait for."""
        if self.state is not BreakerState.CLOSED:
            self._probing = True
            if self.state is BreakerState.OPEN:
                self._become(BreakerState.HALF_OPEN)
        return self._turn

    def answered(self, turn: int, now: float) -> None:
        """There was an answer, be it a refusal: the EHR can be reached."""
        if turn != self._turn:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._close()
        self._answers.add(now)
        self._in_a_row = self._unreachable_in_a_row = 0

    def failed(self, turn: int, now: float, *, unreachable: bool) -> None:
        """There was none, or one that says that something is broken.

        Too many in a row that found no connection open it at once. So do too many in a row of any kind, where
        nothing else is remembered: an EHR that is asked every few minutes would never make a share of many. With
        answers to set them against, failures count by their share alone, since among a thousand calls a second's
        trouble is five in a row as well.
        """
        if turn != self._turn:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._break = min(self._break * 2, self._rules.longest_break_seconds)
            self._open(now)
            return
        self._failures.add(now)
        self._in_a_row += 1
        self._unreachable_in_a_row = self._unreachable_in_a_row + 1 if unreachable else 0
        if self._is_enough(now):
            self._open(now)

    def abandoned(self, turn: int) -> None:
        """Nobody waited for what would come. A probe gives its place to the next call."""
        if turn == self._turn:
            self._probing = False

    def _is_enough(self, now: float) -> bool:
        rules = self._rules
        answers, failures = self._answers.total(now), self._failures.total(now)
        calls = answers + failures
        return (
            self._unreachable_in_a_row >= rules.in_a_row
            or (self._in_a_row >= rules.in_a_row and not answers)
            or (calls >= rules.least_calls and failures >= rules.failing_share * calls)
        )

    def _open(self, now: float) -> None:
        self._retry_at = now + self._break
        self._become(BreakerState.OPEN)

    def _close(self) -> None:
        self._break = self._rules.first_break_seconds
        self._answers.clear()
        self._failures.clear()
        self._become(BreakerState.CLOSED)

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._turn += 1
        self._probing = state is BreakerState.HALF_OPEN
        self._changed(state)
