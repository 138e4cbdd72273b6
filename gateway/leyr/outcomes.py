"""What became of one attempt to call Leyr, and what that means for the attempts to come."""

from enum import StrEnum

from gateway.domain.errors import (
    GatewayError,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamUnavailable,
)


class Outcome(StrEnum):
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
    """Not sent: see Refusal."""
    ABANDONED = "abandoned"
    """Nobody waited for it any more."""


class Refusal(StrEnum):
    """Why an attempt was not made."""

    BREAKER_OPEN = "breaker_open"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    NO_TURN = "no_turn"


FAILURES = frozenset({Outcome.UNAVAILABLE, Outcome.FAILED, Outcome.UNREACHABLE, Outcome.TIMED_OUT})
"""What counts against an EHR."""
UNTOLD = frozenset({Outcome.TIMED_OUT, Outcome.CUT_SHORT, Outcome.NO_CONNECTION, Outcome.TURNED_AWAY})
"""What tells only of the gateway's own limits."""
NO_SIGN = frozenset({Outcome.CUT_SHORT, Outcome.NO_CONNECTION, Outcome.ABANDONED})
"""What says nothing about an EHR, good or bad."""


class AttemptError(Exception):
    """One attempt failed: `error` is for the caller, `outcome` for what decides about the next."""

    def __init__(self, error: GatewayError, outcome: Outcome) -> None:
        super().__init__(error.message)
        self.error = error
        self.outcome = outcome


def outcome_of(error: GatewayError, status: int) -> Outcome:
    """What an answer that became an error stands for.

    The error goes before the status, as Leyr's code does: an EHR that does not support something may say so with any.
    """
    match error:
        case UpstreamRateLimited():
            return Outcome.RATE_LIMITED
        case UpstreamInvalidAnswer():
            return Outcome.INVALID_ANSWER
        case UpstreamUnavailable() if status in _FOR_NOW:
            return Outcome.UNAVAILABLE
        # 501 is about what was asked for, however well the server is.
        case UpstreamUnavailable() if status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED:
            return Outcome.FAILED
        case _:
            return Outcome.REFUSED


_FOR_NOW = frozenset({502, 503, 504})
_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501
