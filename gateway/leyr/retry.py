"""Whether and when a call is retried, and how many retries all calls to an EHR may cost together.

Every call is a read, so a repetition changes nothing at Leyr. Backoff and a number of attempts bound what one call
does; where all calls fail they still multiply the load by that number, just when the upstream can bear it least.
stamina and tenacity bound a call and know nothing of the others, so the budget is the gateway's own, after Finagle's
RetryBudget (and tower's): each call deposits a fraction of a retry, which expires after a while.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.errors import GatewayError
from gateway.leyr.call_events import LOCAL_RESULTS, AttemptError, CallResult
from gateway.leyr.circuit_breaker import RollingWindow


@dataclass(frozen=True, slots=True)
class RetryBudgetConfig:
    """Within the window, retries may be `ratio` of the calls, or so many a second where that is more."""

    ratio: float = 0.1
    min_per_second: float = 2.0
    window_seconds: float = 10.0


class RetryBudget:
    """Asked before each retry. `now` is a monotonic clock's seconds.

    Finagle adds what calls deposit to the minimum; here the greater of the two counts, so that beyond 20 calls a
    second there is never more than one retry to ten calls.
    """

    def __init__(self, config: RetryBudgetConfig) -> None:
        self._ratio = config.ratio
        self._min_retries = config.min_per_second * config.window_seconds
        self._calls = RollingWindow(config.window_seconds)
        self._retries = RollingWindow(config.window_seconds)

    def deposit(self, now: float) -> None:
        """Count a call at its beginning; its retries are no calls."""
        self._calls.add(now)

    def withdraw(self, now: float) -> bool:
        """Take one retry out of the budget, if there is one left."""
        if self._retries.total(now) + 1 > max(self._ratio * self._calls.total(now), self._min_retries):
            return False
        self._retries.add(now)
        return True


_TEMPORARY_RESULTS = frozenset({CallResult.UNREACHABLE, CallResult.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Attempts include the first. The longest backoff doubles with each, from the base up to the maximum."""

    max_attempts: int = 3
    base_backoff_seconds: float = 0.05
    max_backoff_seconds: float = 1.0


class RetryState:
    """The failed attempts of one call; made when the first one fails.

    500 is not retried: it comes from a bug more often than from a passing failure. Nor is a timeout: a slow EHR would
    get the same question again while it still works on the first, and no second attempt is sooner than the first. Nor
    is a wrong certificate, which stays wrong.
    """

    def __init__(self, first: GatewayError, config: RetryConfig, rng: Callable[[], float]) -> None:
        """`rng` returns numbers from 0 up to 1."""
        self._config = config
        self._rng = rng
        self._attempts = 0
        self.error_to_raise = first
        """What the call raises if no attempt succeeds.

        An error that an upstream sent is preferred to a later one of the gateway's own, such as a timeout: it has an
        origin and a reference, and says when to try again.
        """

    def delay(self, failed: AttemptError, remaining_seconds: float) -> float | None:
        """Seconds until the next attempt, which must begin within `remaining_seconds`; None where there is none."""
        self._attempts += 1
        if failed.result not in LOCAL_RESULTS:
            self.error_to_raise = failed.error
        delay = self._backoff(failed)
        if delay is None or self._attempts >= self._config.max_attempts or delay >= remaining_seconds:
            return None
        return delay

    def _backoff(self, failed: AttemptError) -> float | None:
        """A random backoff, so that calls that failed together are not retried together; None for no retry."""
        config, retry_after = self._config, failed.error.retry_after
        longest = min(config.base_backoff_seconds * 2.0 ** (self._attempts - 1), config.max_backoff_seconds)
        match failed.result:
            case CallResult.RATE_LIMITED if retry_after is not None:
                return retry_after + self._rng() * longest
            case CallResult.UNREACHABLE if not failed.error.retryable:
                return None
            case result if result in _TEMPORARY_RESULTS:
                return (retry_after or 0.0) + self._rng() * longest
            case _:
                return None
