"""Maps Leyr's error responses to domain errors.

The envelope's code decides before the status: `EMR_ERROR` and `UNKNOWN_ERROR` come with any status, an EHR's own 401
included (docs pages D15, D16). No text of the envelope is passed on; it may hold personal data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

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
    """The envelope's fields that decide (leyr-api 6.1): class, detailed codes (6.3), and Leyr's reference."""

    code: str | None = None
    details: tuple[str, ...] = ()
    reference: str | None = None


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
    details = [each.get("error_code") for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    # Documented to be a UUID; anything else may be text that must not be passed on.
    is_uuid = isinstance(instance, str) and _UUID.fullmatch(instance)
    return ErrorEnvelope(
        code if isinstance(code, str) else None,
        tuple(each for each in details if isinstance(each, str)),
        instance if is_uuid else None,
    )


def retry_after(response: Response) -> float | None:
    """The seconds in `Retry-After`, at most an hour; its date form is ignored, since it needs the upstream's clock."""
    text = response.headers.get("retry-after")
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return min(float(text), 3600.0)


def error_for(response: Response, envelope: ErrorEnvelope) -> GatewayError:
    """The domain error for a response outside 2xx, with Leyr's reference."""
    error = _error_for(response, envelope)
    error.reference = envelope.reference
    return error


def _error_for(response: Response, envelope: ErrorEnvelope) -> GatewayError:
    match envelope.code:
        case "EMR_ERROR":
            return _by_status(response, Origin.EHR)
        case "UNKNOWN_ERROR" if response.status != HTTPStatus.TOO_MANY_REQUESTS:
            is_server_error = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return UpstreamUnavailable("Leyr reports an error that it does not know", retryable=is_server_error)
        case "UNKNOWN_ERROR":
            return _temporary(response, UpstreamRateLimited, Origin.LEYR)
        case "SERVICE_UNAVAILABLE":
            return _temporary(response, UpstreamUnavailable, Origin.LEYR)
    for code in envelope.details:
        if code in _BY_DETAIL:
            kind, message, origin = _BY_DETAIL[code]
            return kind(message, origin=origin)
    return _by_status(response, Origin.LEYR)


def _by_status(response: Response, origin: Origin) -> GatewayError:
    status = response.status
    if (origin, status) in _BY_STATUS:
        kind, message = _BY_STATUS[origin, status]
        return kind(message, origin=origin)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _temporary(response, UpstreamRateLimited, origin)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _temporary(response, UpstreamUnavailable, origin)
    if origin is Origin.EHR:
        return UpstreamUnavailable("The clinic's EHR refused the request", origin=origin)
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return _temporary(response, UpstreamUnavailable, origin)
    return UpstreamInvalidAnswer("Leyr's answer has an unexpected status")


def _temporary(response: Response, kind: type[GatewayError], origin: Origin) -> GatewayError:
    message = _TEMPORARY_MESSAGES[kind, origin]
    return kind(message, origin=origin, retryable=True, retry_after=retry_after(response))


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
