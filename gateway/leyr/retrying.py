"""Whether and when one call is tried again. Every call is a read, so a repetition changes nothing at Leyr."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.errors import GatewayError
from gateway.leyr.outcomes import UNTOLD, AttemptError, Outcome

_FOR_A_MOMENT = frozenset({Outcome.UNREACHABLE, Outcome.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class RetryRules:
    """So many attempts, the first included. The longest wait doubles with each, from `base_seconds` to a bound."""

    attempts: int = 3
    base_seconds: float = 0.05
    longest_seconds: float = 1.0


class Retries:
    """One call that failed at least once; made for its first failure.

    500 is not tried again: it comes from a bug more often than from a bad moment. What timed out is, once and no
    more: a lost packet or a worker that hangs is worth a second look, and where the EHR itself is slow, the budget
    and the breaker see to it that few calls get one.
    """

    __slots__ = ("_attempts", "_chance", "_rules", "_timed_out", "told")

    def __init__(self, first: GatewayError, rules: RetryRules, chance: Callable[[], float]) -> None:
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
        if failed.outcome not in UNTOLD:
            self.told = failed.error
        wait, needed = self._wait(failed), 0.0
        if failed.outcome is Outcome.TIMED_OUT:
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
        match failed.outcome:
            case Outcome.TIMED_OUT:
                return self._chance() * bound
            case Outcome.RATE_LIMITED if asked is not None:
                return asked + self._chance() * bound
            case outcome if outcome in _FOR_A_MOMENT:
                return (asked or 0.0) + self._chance() * bound
            case _:
                return None
