"""The one error tree. Every message here is safe to show to a client: it never quotes input or upstream text."""

from enum import StrEnum
from typing import ClassVar


class Origin(StrEnum):
    """Where a failure arose."""

    CLIENT = "client"
    GATEWAY = "gateway"
    LEYR = "leyr"
    EHR = "ehr"


class GatewayError(Exception):
    """A failure that a client can act on.

    `code` is stable and machine-readable, `retryable` says whether the same request may succeed later,
    `reference` is what to quote to support: Leyr's `instance` where there is one, else the request's own,
    which the error response adds. `retry_after` is in seconds.
    """

    code: ClassVar[str] = "INTERNAL"
    default_origin: ClassVar[Origin] = Origin.GATEWAY

    def __init__(
        self,
        message: str,
        *,
        origin: Origin | None = None,
        retryable: bool = False,
        reference: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.origin = origin or self.default_origin
        self.retryable = retryable
        self.reference = reference
        self.retry_after = retry_after


class CallerError(GatewayError):
    """The request must change before it can succeed."""

    code = "BAD_USER_INPUT"
    default_origin = Origin.CLIENT


class BadUserInput(CallerError):
    """A value is malformed or out of bounds."""


class NotFound(CallerError):
    """The id is well formed, but names nothing."""

    code = "NOT_FOUND"


class OperationTooLarge(CallerError):
    """A limit would be passed; the message says which, by how much, and what the limit is."""

    code = "OPERATION_TOO_LARGE"


class UnknownDocument(CallerError):
    """The request names a document by its hash, and the gateway does not have it."""

    code = "PERSISTED_QUERY_NOT_FOUND"


class NoAutomaticDocuments(UnknownDocument):
    """The request names a document by its hash, and no document is registered here; the client should stop trying."""

    code = "PERSISTED_QUERY_NOT_SUPPORTED"


class Unauthenticated(CallerError):
    """The request does not prove who sends it."""

    code = "UNAUTHENTICATED"


class Forbidden(CallerError):
    """The caller is known, and may not have this."""

    code = "FORBIDDEN"


class RateLimited(CallerError):
    """The caller sends more requests or makes more upstream calls than it was granted; `retry_after` says when next."""

    code = "RATE_LIMITED"


class UpstreamError(GatewayError):
    """Leyr or the clinic's EHR did not deliver."""

    code = "UPSTREAM_UNAVAILABLE"
    default_origin = Origin.LEYR


class NotSupported(UpstreamError):
    """The EHR cannot do what was asked."""

    code = "NOT_SUPPORTED"
    default_origin = Origin.EHR


class FilterRequired(NotSupported):
    """The EHR does not list timeslots without a filter that the call left out."""


class UpstreamRefused(UpstreamError):
    """Leyr found the request invalid for a reason that it does not itemise."""

    code = "BAD_USER_INPUT"


class UpstreamUnavailable(UpstreamError):
    """No answer, or an answer that says: not now."""


class UpstreamRateLimited(UpstreamError):
    """Too many requests for Leyr or for the EHR behind it."""

    code = "UPSTREAM_RATE_LIMITED"


class UpstreamRejectedCredentials(UpstreamError):
    """Leyr refuses the gateway's credentials (origin leyr), or the EHR refuses Leyr's (origin ehr)."""

    code = "UPSTREAM_REJECTED_CREDENTIALS"


class UpstreamInvalidAnswer(UpstreamError):
    """The answer is not what Leyr's documentation promises."""

    code = "UPSTREAM_INVALID_ANSWER"


class UpstreamAnswerTooLarge(UpstreamInvalidAnswer):
    """The answer is larger than the gateway reads; that to a shorter window may not be."""


class DeadlineExceeded(GatewayError):
    """The answer did not come in the time that the request had."""

    code = "DEADLINE_EXCEEDED"


class Overloaded(GatewayError):
    """The gateway answers as many requests as it can already."""

    code = "OVERLOADED"


class Internal(GatewayError):
    """A fault of the gateway itself; the log has the details under the reference."""
