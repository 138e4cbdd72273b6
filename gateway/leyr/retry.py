"""Whether and when a call is tried again, and how many retries an EHR's calls may cost all together.

Every call is a read, so a repetition changes nothing at Leyr. Backoff and a number of attempts bound what one call
does; where all calls fail they still multiply the load by that number, just when the upstream can bear it least.
stamina and tenacity bound a call and know nothing of the others, so the budget is the gateway's own, after Finagle's
RetryBudget (and tower's): calls are deposits that are worth a share of a retry each, and lose their worth after a
while.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.errors import GatewayError
from gateway.leyr.call_events import LOCAL_RESULTS, AttemptError, CallResult
from gateway.leyr.circuit_breaker import RollingWindow


@dataclass(frozen=True, slots=True)
class RetryBudgetConfig:
    """Within `seconds`, retries may be a share of the calls, or so many a second where that is more."""

    share: float = 0.1
    least_per_second: float = 2.0
    seconds: float = 10.0


_CONFIG = RetryBudgetConfig()


class RetryBudget:
    """Who has it asks before each retry. `now` is a monotonic clock's seconds.

    Finagle adds what calls are worth to the least; here the greater of the two counts, so that beyond 20 calls a
    second there is never more than one retry to ten calls.
    """

    __slots__ = ("_calls", "_least", "_retries", "_share")

    def __init__(self, rules: RetryBudgetConfig = _CONFIG) -> None:
        self._share = rules.share
        self._least = rules.least_per_second * rules.seconds
        self._calls = RollingWindow(rules.seconds)
        self._retries = RollingWindow(rules.seconds)

    def deposit(self, now: float) -> None:
        """A call begins; its retries are no calls."""
        self._calls.add(now)

    def withdraw(self, now: float) -> bool:
        """Take a retry, where there is one left."""
        if self._retries.total(now) + 1 > max(self._share * self._calls.total(now), self._least):
            return False
        self._retries.add(now)
        return True


_FOR_A_MOMENT = frozenset({CallResult.UNREACHABLE, CallResult.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """So many attempts, the first included. The longest wait doubles with each, from `base_seconds` to a bound."""

    attempts: int = 3
    base_seconds: float = 0.05
    longest_seconds: float = 1.0


class RetryState:
    """One call that failed at least once; made for its first failure.

    500 is not tried again: it comes from a bug more often than from a bad moment. What timed out is, once and no
    more: a lost packet or a worker that hangs is worth a second look, and where the EHR itself is slow, the budget
    and the breaker see to it that few calls get one.
    """

    __slots__ = ("_attempts", "_chance", "_rules", "_timed_out", "told")

    def __init__(self, first: GatewayError, rules: RetryConfig, chance: Callable[[], float]) -> None:
        """`chance` gives numbers from 0 up to 1."""
        self._rules = rules
        self._chance = chance
        self._attempts = 0
        self._timed_out = False
        self.told = first
        """What to raise where no attempt succeeds.

        An upstream that said what is wrong goes before our running out of time later: it has an origin and a
        reference, and says when to come again.
        """

    def delay(self, failed: AttemptError, left: float, least: float) -> float | None:
        """Seconds until the next attempt; None where there is none.

        `left` is the call's remaining time, `least` what an attempt needs where the EHR is as slow as it was.
        """
        self._attempts += 1
        if failed.result not in LOCAL_RESULTS:
            self.told = failed.error
        wait, needed = self._wait(failed), 0.0
        if failed.result is CallResult.TIMED_OUT:
            if self._timed_out:
                return None
            self._timed_out, needed = True, least
        if wait is None or self._attempts >= self._rules.attempts or wait + needed >= left:
            return None
        return wait

    def _wait(self, failed: AttemptError) -> float | None:
        """Anything from 0 to the bound, so that calls that failed together do not come back together."""
        rules, asked = self._rules, failed.error.retry_after
        bound = min(rules.base_seconds * 2.0 ** (self._attempts - 1), rules.longest_seconds)
        match failed.result:
            case CallResult.TIMED_OUT:
                return self._chance() * bound
            case CallResult.RATE_LIMITED if asked is not None:
                return asked + self._chance() * bound
            case outcome if outcome in _FOR_A_MOMENT:
                return (asked or 0.0) + self._chance() * bound
            case _:
                return None
