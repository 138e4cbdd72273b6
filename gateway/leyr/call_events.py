"""What became of an attempt to call Leyr, and who is told of it."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

import structlog

from gateway.domain.errors import (
    GatewayError,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from gateway.leyr.circuit_breaker import BreakerState


class CallResult(StrEnum):
    """A closed set, so that it can label metrics."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """An answer that speaks of the request, or of the clinic's own affairs."""
    RATE_LIMITED = "rate_limited"
    INVALID_ANSWER = "invalid_answer"
    UNAVAILABLE = "unavailable"
    """502, 503 or 504: somebody on the way says that it is for now."""
    FAILED = "failed"
    """Any other 5xx."""
    UNREACHABLE = "unreachable"
    """No connection, or one that broke."""
    TIMED_OUT = "timed_out"
    CUT_SHORT = "cut_short"
    """Timed out, when there had been too little time left to tell anything by that."""
    NO_CONNECTION = "no_connection"
    """The gateway's own connections were all in use."""
    TURNED_AWAY = "turned_away"
    """Not sent: see Rejection."""
    ABANDONED = "abandoned"
    """Nobody waited for it any more."""


class Rejection(StrEnum):
    """Why an attempt was not made."""

    BREAKER_OPEN = "breaker_open"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    NO_TURN = "no_turn"


FAILED_RESULTS = frozenset({CallResult.UNAVAILABLE, CallResult.FAILED, CallResult.UNREACHABLE, CallResult.TIMED_OUT})
"""What counts against an EHR."""
LOCAL_RESULTS = frozenset(
    {CallResult.TIMED_OUT, CallResult.CUT_SHORT, CallResult.NO_CONNECTION, CallResult.TURNED_AWAY}
)
"""What tells only of the gateway's own limits."""
INCONCLUSIVE_RESULTS = frozenset({CallResult.CUT_SHORT, CallResult.NO_CONNECTION, CallResult.ABANDONED})
"""What says nothing about an EHR, good or bad."""


class AttemptError(Exception):
    """One attempt failed: `error` is for the caller, `outcome` for what decides about the next."""

    def __init__(self, error: GatewayError, outcome: CallResult) -> None:
        super().__init__(error.message)
        self.error = error
        self.outcome = outcome


def result_of(error: GatewayError, status: int) -> CallResult:
    """What an answer that became an error stands for.

    The error goes before the status, as Leyr's code does: an EHR that does not support something may say so with any.
    """
    match error:
        case UpstreamRateLimited():
            return CallResult.RATE_LIMITED
        case UpstreamInvalidAnswer():
            return CallResult.INVALID_ANSWER
        case UpstreamUnavailable() if status in _FOR_NOW:
            return CallResult.UNAVAILABLE
        # 501 is about what was asked for, however well the server is.
        case UpstreamUnavailable() if status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED:
            return CallResult.FAILED
        case _:
            return CallResult.REFUSED


_FOR_NOW = frozenset({502, 503, 504})
_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501


ENDPOINTS = ("care_units", "resources", "healthcare_services", "timeslots")
"""By the names that the client gives them."""


class CallEvents(Protocol):
    """Told while it happens, inside the loop: no method may raise or wait.

    Labels come from closed sets: configured EHR codes, the client's four endpoints, and enumerations.
    """

    def attempt(self, emr: str, endpoint: str, outcome: CallResult, seconds: float) -> None:
        """A request was sent, and this became of it after so long."""
        ...

    def turned_away(self, emr: str, endpoint: str, reason: Rejection) -> None:
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


class NoCallEvents:
    """An observer that looks away; others may extend it."""

    def attempt(self, emr: str, endpoint: str, outcome: CallResult, seconds: float) -> None:
        """See CallEvents."""

    def turned_away(self, emr: str, endpoint: str, reason: Rejection) -> None:
        """See CallEvents."""

    def retried(self, emr: str) -> None:
        """See CallEvents."""

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See CallEvents."""

    def gate(self, emr: str, limit: int) -> None:
        """See CallEvents."""


class CallEventsFanOut:
    """Tells each of several observers, in their order."""

    def __init__(self, observers: Iterable[CallEvents]) -> None:
        self._observers = tuple(observers)

    def attempt(self, emr: str, endpoint: str, outcome: CallResult, seconds: float) -> None:
        """See CallEvents."""
        for each in self._observers:
            each.attempt(emr, endpoint, outcome, seconds)

    def turned_away(self, emr: str, endpoint: str, reason: Rejection) -> None:
        """See CallEvents."""
        for each in self._observers:
            each.turned_away(emr, endpoint, reason)

    def retried(self, emr: str) -> None:
        """See CallEvents."""
        for each in self._observers:
            each.retried(emr)

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See CallEvents."""
        for each in self._observers:
            each.breaker(emr, state)

    def gate(self, emr: str, limit: int) -> None:
        """See CallEvents."""
        for each in self._observers:
            each.gate(emr, limit)


class LoggedCallEvents:
    """Logs what an operator should know, and passes everything on."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, then: CallEvents) -> None:
        self._log = log
        self._then = then
        self._limits: dict[str, int] = {}
        # Told of each call, so it is no method of its own.
        self.attempt = then.attempt
        self.turned_away = then.turned_away
        self.retried = then.retried

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See CallEvents."""
        if state is BreakerState.OPEN:
            self._log.warning("upstream.breaker_opened", emr=emr, action="see whether Leyr and this EHR are up")
        elif state is BreakerState.CLOSED:
            self._log.info("upstream.breaker_closed", emr=emr)
        self._then.breaker(emr, state)

    def gate(self, emr: str, limit: int) -> None:
        """See CallEvents."""
        # It climbs back in many small steps, and nobody has to act on those.
        if limit < self._limits.get(emr, limit + 1):
            self._log.warning("upstream.slowed_down", emr=emr, limit=limit, action="ask for a higher rate limit")
        self._limits[emr] = limit
        self._then.gate(emr, limit)
