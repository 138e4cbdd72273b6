"""How many retries an EHR's calls may cost all together.

Waits and a number of attempts bound what one call does; where all calls fail they still multiply the load by that
number, just when the upstream can bear it least. stamina and tenacity bound a call and know nothing of the others,
so this is the gateway's own, after Finagle's RetryBudget (and tower's): calls are deposits that are worth a share
of a retry each, and lose their worth after a while.
"""

from dataclasses import dataclass

from gateway.leyr.rolling import RollingCount


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """Within `seconds`, retries may be a share of the calls, or so many a second where that is more."""

    share: float = 0.1
    least_per_second: float = 2.0
    seconds: float = 10.0


_RULES = BudgetRules()


class RetryBudget:
    """Who has it asks before each retry. `now` is a monotonic clock's seconds.

    Finagle adds what calls are worth to the least; here the greater of the two counts, so that beyond 20 calls a
    second there is never more than one retry to ten calls.
    """

    __slots__ = ("_calls", "_least", "_retries", "_share")

    def __init__(self, rules: BudgetRules = _RULES) -> None:
        self._share = rules.share
        self._least = rules.least_per_second * rules.seconds
        self._calls = RollingCount(rules.seconds)
        self._retries = RollingCount(rules.seconds)

    def deposit(self, now: float) -> None:
        """A call begins; its retries are no calls."""
        self._calls.add(now)

    def withdraw(self, now: float) -> bool:
        """Take a retry, where there is one left."""
        if self._retries.total(now) + 1 > max(self._share * self._calls.total(now), self._least):
            return False
        self._retries.add(now)
        return True
