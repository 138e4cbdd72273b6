"""Maps Leyr's error responses to domain errors.

The envelope's code decides before the status: `EMR_ERROR` and `UNKNOWN_ERROR` come with any status, an EHR's own 401
included (docs pages D15, D16). A refusal without an envelope is not Leyr's, but of something in front of it.

No text of the envelope is passed on; it may hold personal data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import chain

import msgspec

from gateway.domain.errors import (
    FilterRequired,
    GatewayError,
    NotFound,
    NotSupported,
    Origin,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamRejectedCredentials,
    UpstreamUnavailable,
)
from gateway.http_client.connection import Response

# The documented one takes less than a kilobyte; what is larger would take long to read.
_MAX_ENVELOPE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ErrorEnvelope:
    """The envelope's fields that decide (leyr-api 6.1): class, detailed codes (6.3), and Leyr's reference.

    `emr_errors` are the EHR's own words beside the detailed codes, where they are texts; they are compared only.
    """

    code: str | None = None
    details: tuple[str, ...] = ()
    reference: str | None = None
    emr_errors: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing shows that Leyr wrote the response."""
        return self.code is None and self.reference is None and not self.details


def read_error_envelope(response: Response) -> ErrorEnvelope:
    """The envelope of a response; an empty one where the body is large, or something else, such as a proxy's HTML.

    Each field is read by itself, so that an odd one does not hide the others.
    """
    try:
        found = msgspec.json.decode(response.body) if len(response.body) <= _MAX_ENVELOPE_BYTES else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ErrorEnvelope()
    if not isinstance(found, dict):
        return ErrorEnvelope()
    code, errors, instance = found.get("code"), found.get("errors"), found.get("instance")
    rows = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    details, words = [each.get("error_code") for each in rows], [_words(each.get("emr_error")) for each in rows]
    # Documented to be a UUID; anything else may be text that must not be passed on.
    is_uuid = isinstance(instance, str) and _UUID.fullmatch(instance)
    return ErrorEnvelope(
        code if isinstance(code, str) else None,
        tuple(each for each in details if isinstance(each, str)),
        instance if is_uuid else None,
        tuple(chain.from_iterable(words)),
    )


def _words(emr_error: object) -> list[str]:
    """The texts of an EHR's own error, which is a text or an object (leyr-api 6.1)."""
    values = emr_error.values() if isinstance(emr_error, dict) else [emr_error]
    return [each for each in values if isinstance(each, str)]


def retry_after(response: Response, now: datetime) -> float | None:
    """The seconds in `Retry-After`, at most an hour.

    A date is measured from the response's own `Date`, since clocks differ; from `now` where there is none.
    """
    text = response.headers.get("retry-after")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text), _MAX_RETRY_SECONDS)
    until = _date(text)
    if until is None:
        return None
    sent = _date(response.headers.get("date")) or now
    return min(max((until - sent).total_seconds(), 0.0), _MAX_RETRY_SECONDS)


_MAX_RETRY_SECONDS = 3600.0
_LONGEST_DATE = 64


def _date(text: str | None) -> datetime | None:
    """An HTTP date (RFC 9110, section 5.6.7), in any of its three forms."""
    if text is None or len(text) > _LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def error_for(response: Response, envelope: ErrorEnvelope, now: datetime) -> GatewayError:
    """The domain error for a response outside 2xx that came `now`, with Leyr's reference."""
    if envelope.is_empty and response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        # A firewall forbids for a while, as a rule; what wants to know who asks will want to know it again.
        is_retryable = response.status == HTTPStatus.FORBIDDEN
        return UpstreamUnavailable("Something in front of Leyr refused the request", retryable=is_retryable)
    error = _error_for(response, envelope, now)
    error.reference = envelope.reference
    return error


def _error_for(response: Response, envelope: ErrorEnvelope, now: datetime) -> GatewayError:
    match envelope.code:
        case "EMR_ERROR":
            return _by_status(response, Origin.EHR, now)
        case "UNKNOWN_ERROR" if response.status != HTTPStatus.TOO_MANY_REQUESTS:
            is_server_error = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return UpstreamUnavailable("Leyr reports an error that it does not know", retryable=is_server_error)
        case "UNKNOWN_ERROR":
            return _temporary(response, UpstreamRateLimited, Origin.LEYR, now)
        case "SERVICE_UNAVAILABLE":
            return _temporary(response, UpstreamUnavailable, Origin.LEYR, now)
    for code in envelope.details:
        if code in _BY_DETAIL:
            kind, message, origin = _BY_DETAIL[code]
            return kind(message, origin=origin)
    return _by_status(response, Origin.LEYR, now)


def _by_status(response: Response, origin: Origin, now: datetime) -> GatewayError:
    status = response.status
    if (origin, status) in _BY_STATUS:
        kind, message = _BY_STATUS[origin, status]
        return kind(message, origin=origin)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _temporary(response, UpstreamRateLimited, origin, now)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _temporary(response, UpstreamUnavailable, origin, now)
    if origin is Origin.EHR:
        return UpstreamUnavailable("The clinic's EHR refused the request", origin=origin)
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return _temporary(response, UpstreamUnavailable, origin, now)
    return UpstreamInvalidAnswer("Leyr's answer has an unexpected status")


def _temporary(response: Response, kind: type[GatewayError], origin: Origin, now: datetime) -> GatewayError:
    message = _TEMPORARY_MESSAGES[kind, origin]
    return kind(message, origin=origin, retryable=True, retry_after=retry_after(response, now))


_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TEMPORARY_MESSAGES: Mapping[tuple[type[GatewayError], Origin], str] = {
    (UpstreamUnavailable, Origin.EHR): "The clinic's EHR is not available at the moment",
    (UpstreamUnavailable, Origin.LEYR): "Leyr is not available at the moment",
    (UpstreamRateLimited, Origin.EHR): "Too many requests for the clinic's EHR at the moment",
    (UpstreamRateLimited, Origin.LEYR): "Too many requests for Leyr at the moment",
}
_LEYR_LOGIN = (UpstreamRejectedCredentials, "Leyr refuses the gateway's credentials")
_EHR_LOGIN = (UpstreamRejectedCredentials, "The clinic's EHR refuses Leyr's login; the clinic has to renew it")
_BY_STATUS: Mapping[tuple[Origin, int], tuple[type[GatewayError], str]] = {
    (Origin.LEYR, 400): (UpstreamRefused, "Leyr refused the request as invalid"),
    (Origin.LEYR, 401): _LEYR_LOGIN,
    (Origin.LEYR, 403): _LEYR_LOGIN,
    (Origin.LEYR, 404): (NotFound, "Leyr does not know this id"),
    (Origin.LEYR, 422): (UpstreamRefused, "Leyr refused the request as invalid"),
    (Origin.LEYR, 501): (UpstreamUnavailable, "Leyr does not offer this"),
    (Origin.EHR, 401): _EHR_LOGIN,
    (Origin.EHR, 403): _EHR_LOGIN,
}
_BY_DETAIL: Mapping[str, tuple[type[GatewayError], str, Origin]] = {
    "INVALID_CARE_UNIT_ID": (NotFound, "There is no care unit with this id", Origin.CLIENT),
    "INVALID_RESOURCE_ID": (NotFound, "There is no resource with this id", Origin.CLIENT),
    "INVALID_HEALTHCARE_SERVICE_ID": (NotFound, "There is no healthcare service with this id", Origin.CLIENT),
    "MISSING_REQUIRED_FIELD": (FilterRequired, "The EHR wants a further filter", Origin.EHR),
    "NOT_SUPPORTED": (NotSupported, "The EHR does not support this", Origin.EHR),
    "BAD_INPUT": (UpstreamRefused, "The EHR refused the request as invalid", Origin.EHR),
    "MAX_ITEMS_EXCEEDED": (UpstreamRefused, "The EHR refused the request as too large", Origin.EHR),
}
