"""What became of each attempt to call Leyr, and the events that metrics, traces and the log are made from."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from http import HTTPStatus

import structlog

from gateway.domain.errors import GatewayError, UpstreamInvalidAnswer, UpstreamRateLimited, UpstreamUnavailable
from gateway.http_client.failures import FailureKind
from gateway.leyr.circuit_breaker import BreakerState


class CallResult(StrEnum):
    """What an attempt came to; a closed set, so that it can label metrics."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """An error response about the request itself, or about the clinic's own affairs."""
    RATE_LIMITED = "rate_limited"
    INVALID_ANSWER = "invalid_answer"
    UNAVAILABLE = "unavailable"
    """502, 503 or 504: a server or a proxy says that the failure is temporary."""
    FAILED = "failed"
    """Any other 5xx."""
    UNREACHABLE = "unreachable"
    """No connection, or one that broke."""
    LOST = "lost"
    """The connection broke after something was sent that is to be sent once."""
    TIMED_OUT = "timed_out"
    CUT_SHORT = "cut_short"
    """Timed out after so short a time that nothing follows about the EHR."""
    NO_CONNECTION = "no_connection"
    """The gateway's own connections were all in use."""
    TURNED_AWAY = "turned_away"
    """Rejected before it was sent: see Rejection."""
    ABANDONED = "abandoned"
    """Cancelled, since nobody waited for it any more."""


class Rejection(StrEnum):
    """Why an attempt was not sent."""

    BREAKER_OPEN = "breaker_open"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    """The pause that the EHR asked for ends after the deadline."""
    NO_TURN = "no_turn"
    """No permit became free before the deadline."""
    QUOTA = "quota"
    """As many calls as the EHR takes in a minute were made."""


FAILED_RESULTS = frozenset(
    {CallResult.UNAVAILABLE, CallResult.FAILED, CallResult.UNREACHABLE, CallResult.TIMED_OUT, CallResult.LOST}
)
"""The circuit breaker counts these as failures of the EHR."""
LOCAL_RESULTS = frozenset(
    {CallResult.TIMED_OUT, CallResult.CUT_SHORT, CallResult.NO_CONNECTION, CallResult.TURNED_AWAY}
)
"""These come from the gateway's own limits: no upstream sent an error."""
INCONCLUSIVE_RESULTS = frozenset({CallResult.CUT_SHORT, CallResult.NO_CONNECTION, CallResult.ABANDONED})
"""These tell the circuit breaker nothing about an EHR."""


class AttemptError(Exception):
    """One attempt failed: `error` is for the caller, `result` decides about the next attempt.

    `failure` says why Leyr was not reached; None where it was.
    """

    def __init__(self, error: GatewayError, result: CallResult, failure: FailureKind | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.result = result
        self.failure = failure
        self.is_last = False
        """Whether nobody waits for another attempt."""


def result_of(error: GatewayError, status: int) -> CallResult:
    """The result of an attempt whose response was mapped to `error`.

    The error goes before the status, as Leyr's code does: an EHR that does not support something may say so with any.
    """
    match error:
        case UpstreamRateLimited():
            return CallResult.RATE_LIMITED
        case UpstreamInvalidAnswer():
            return CallResult.INVALID_ANSWER
        case UpstreamUnavailable() if status in {502, 503, 504}:
            return CallResult.UNAVAILABLE
        # 501 is about what was asked for, however well the server is.
        case UpstreamUnavailable() if (
            status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
        ):
            return CallResult.FAILED
        case _:
            return CallResult.REFUSED


class CallEvents:
    """Methods that UpstreamPolicy calls as things happen, inside the loop; none may raise or wait.

    Here they do nothing, so that a subclass defines those that it needs. Arguments come from closed sets: configured
    EHR codes, the client's endpoints, and enumerations.
    """

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        """A request was sent, and came to `result` after `seconds`."""

    def unreachable(self, emr: str, endpoint: str, failure: FailureKind) -> None:
        """An attempt did not reach Leyr, or its connection broke."""

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:
        """An attempt was rejected before it was sent."""

    def retried(self, emr: str) -> None:
        """A call will be tried again."""

    def breaker_changed(self, emr: str, state: BreakerState) -> None:
        """An EHR's circuit breaker changed its state."""

    def limit_changed(self, emr: str, limit: int) -> None:
        """From now on `limit` calls to an EHR may be in flight."""


class CallEventsFanOut(CallEvents):
    """Passes each event on to several listeners, in their order."""

    def __init__(self, listeners: Iterable[CallEvents]) -> None:
        self._listeners = tuple(listeners)
        # The one event of every call goes only to those that define its method.
        self._of_attempts = [
            each for each in self._listeners if type(each).attempt_ended is not CallEvents.attempt_ended
        ]

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:  # noqa: D102 # inherited
        for each in self._of_attempts:
            each.attempt_ended(emr, endpoint, result, seconds)

    def unreachable(self, emr: str, endpoint: str, failure: FailureKind) -> None:  # noqa: D102 # inherited
        for each in self._listeners:
            each.unreachable(emr, endpoint, failure)

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: D102 # inherited
        for each in self._listeners:
            each.rejected(emr, endpoint, reason)

    def retried(self, emr: str) -> None:  # noqa: D102 # inherited
        for each in self._listeners:
            each.retried(emr)

    def breaker_changed(self, emr: str, state: BreakerState) -> None:  # noqa: D102 # inherited
        for each in self._listeners:
            each.breaker_changed(emr, state)

    def limit_changed(self, emr: str, limit: int) -> None:  # noqa: D102 # inherited
        for each in self._listeners:
            each.limit_changed(emr, limit)


class LoggedCallEvents(CallEvents):
    """Logs the events that an operator should act on."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._limits: dict[str, int] = {}

    def unreachable(self, emr: str, endpoint: str, failure: FailureKind) -> None:
        """Log each attempt; the circuit breaker sees to it that there are few."""
        self._log.warning(
            "upstream.unreachable", emr=emr, endpoint=endpoint, kind=failure.value, action=_ACTIONS[failure]
        )

    def breaker_changed(self, emr: str, state: BreakerState) -> None:
        """Log that calls to an EHR stop, or go on."""
        if state is BreakerState.OPEN:
            self._log.warning("upstream.breaker_opened", emr=emr, action="see whether Leyr and this EHR are up")
        elif state is BreakerState.CLOSED:
            self._log.info("upstream.breaker_closed", emr=emr)

    def limit_changed(self, emr: str, limit: int) -> None:
        """Log a decrease only: the limit climbs back in many small steps, and nobody has to act on those."""
        if limit < self._limits.get(emr, limit + 1):
            self._log.warning("upstream.slowed_down", emr=emr, limit=limit, action="ask for a higher rate limit")
        self._limits[emr] = limit


_NAMES = "see whether LEYR_BASE_URL names the right host, and whether this machine's name servers know it"
_ROUTES = "see whether a firewall or a proxy stands between this machine and LEYR_BASE_URL"
_SERVER = "see whether LEYR_BASE_URL has the right host and port, and whether Leyr is up"
_ACTIONS: Mapping[FailureKind, str] = {
    FailureKind.LOOKUP_TIMEOUT: _NAMES,
    FailureKind.NAME_NOT_FOUND: _NAMES,
    FailureKind.NO_ROUTE: _ROUTES,
    FailureKind.CONNECT_TIMEOUT: _ROUTES,
    FailureKind.REFUSED: _SERVER,
    FailureKind.PROXY_REFUSED: "see whether the proxy lets this machine through to LEYR_BASE_URL",
    FailureKind.TLS_TIMEOUT: _ROUTES,
    FailureKind.TLS_UNTRUSTED: "name the authority that signed the certificate in SSL_CERT_FILE, if you trust it",
    FailureKind.TLS_EXPIRED: "have the certificate of LEYR_BASE_URL renewed, or set this machine's clock",
    FailureKind.TLS_FAILED: "see whether LEYR_BASE_URL speaks TLS on this port",
    FailureKind.RESET: _SERVER,
    FailureKind.NOT_HTTP: _SERVER,
    FailureKind.OTHER: _SERVER,
}
