"""What whoever measures is told of the calls to Leyr."""

from collections.abc import Iterable
from typing import Protocol

import structlog

from gateway.leyr.breaker import BreakerState
from gateway.leyr.outcomes import Outcome, Refusal

ENDPOINTS = ("care_units", "resources", "healthcare_services", "timeslots")
"""By the names that the client gives them."""


class Observer(Protocol):
    """Told while it happens, inside the loop: no method may raise or wait.

    Labels come from closed sets: configured EHR codes, the client's four endpoints, and enumerations.
    """

    def attempt(self, emr: str, endpoint: str, outcome: Outcome, seconds: float) -> None:
        """A request was sent, and this became of it after so long."""
        ...

    def turned_away(self, emr: str, endpoint: str, reason: Refusal) -> None:
        """An attempt was not made."""
        ...

    def retried(self, emr: str) -> None:
        """A call will be tried again."""
        ...

    def breaker(self, emr: str, state: BreakerState) -> None:
        """An EHR's breaker changed."""
        ...

    def gate(self, emr: str, limit: int) -> None:
        """So many calls to an EHR may be in flight from now on."""
        ...


class Unobserved:
    """An observer that looks away; others may extend it."""

    def attempt(self, emr: str, endpoint: str, outcome: Outcome, seconds: float) -> None:
        """See Observer."""

    def turned_away(self, emr: str, endpoint: str, reason: Refusal) -> None:
        """See Observer."""

    def retried(self, emr: str) -> None:
        """See Observer."""

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See Observer."""

    def gate(self, emr: str, limit: int) -> None:
        """See Observer."""


class Several:
    """Tells each of several observers, in their order."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def attempt(self, emr: str, endpoint: str, outcome: Outcome, seconds: float) -> None:
        """See Observer."""
        for each in self._observers:
            each.attempt(emr, endpoint, outcome, seconds)

    def turned_away(self, emr: str, endpoint: str, reason: Refusal) -> None:
        """See Observer."""
        for each in self._observers:
            each.turned_away(emr, endpoint, reason)

    def retried(self, emr: str) -> None:
        """See Observer."""
        for each in self._observers:
            each.retried(emr)

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See Observer."""
        for each in self._observers:
            each.breaker(emr, state)

    def gate(self, emr: str, limit: int) -> None:
        """See Observer."""
        for each in self._observers:
            each.gate(emr, limit)


class LoggedChanges:
    """Logs what an operator should know, and passes everything on."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, then: Observer) -> None:
        self._log = log
        self._then = then
        self._limits: dict[str, int] = {}
        # Told of each call, so it is no method of its own.
        self.attempt = then.attempt
        self.turned_away = then.turned_away
        self.retried = then.retried

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See Observer."""
        if state is BreakerState.OPEN:
            self._log.warning("upstream.breaker_opened", emr=emr, action="see whether Leyr and this EHR are up")
        elif state is BreakerState.CLOSED:
            self._log.info("upstream.breaker_closed", emr=emr)
        self._then.breaker(emr, state)

    def gate(self, emr: str, limit: int) -> None:
        """See Observer."""
        # It climbs back in many small steps, and nobody has to act on those.
        if limit < self._limits.get(emr, limit + 1):
            self._log.warning("upstream.slowed_down", emr=emr, limit=limit, action="ask for a higher rate limit")
        self._limits[emr] = limit
        self._then.gate(emr, limit)
