"""Leyr's error envelope, read into domain errors.

The code decides before the status: `EMR_ERROR` and `UNKNOWN_ERROR` come with any status, an EHR's own 401
included (docs pages D15, D16). No text of the envelope is passed on; it may hold personal data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True, slots=True)
class ErrorEnvelope:
    """The envelope's fields that decide (leyr-api 6.1): class, detailed codes (6.3), and Leyr's reference."""

    code: str | None = None
    details: tuple[str, ...] = ()
    reference: str | None = None


def read_error_envelope(answer: Response) -> ErrorEnvelope:
    """The envelope of an answer; an empty one where the body is something else, such as a proxy's HTML.

    Each field is read by itself, so that an odd one does not hide the others.
    """
    try:
        found = msgspec.json.decode(answer.body)
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


def retry_after(answer: Response) -> float | None:
    """The seconds in `Retry-After`; its date form is left alone, since it depends on the upstream's clock."""
    text = answer.headers.get("retry-after")
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return min(float(text), 3600.0)


def error_for(answer: Response, envelope: ErrorEnvelope) -> GatewayError:
    """The domain error that an answer outside 2xx stands for."""
    reference = envelope.reference
    match envelope.code:
        case "EMR_ERROR":
            return _ehr_error(answer, reference)
        case "UNKNOWN_ERROR":
            return _unknown_error(answer, reference)
        case "SERVICE_UNAVAILABLE":
            return _unavailable(answer, reference, Origin.LEYR)
    for code in envelope.details:
        if code in _BY_DETAIL:
            kind, message, origin = _BY_DETAIL[code]
            return kind(message, origin=origin, reference=reference)
    return _by_status(answer, reference)


def _ehr_error(answer: Response, reference: str | None) -> GatewayError:
    match answer.status:
        case 401 | 403:
            return UpstreamRejectedCredentials(
                "The clinic's EHR refuses Leyr's login; the clinic has to renew it",
                origin=Origin.EHR,
                reference=reference,
            )
        case 429:
            return _rate_limited(answer, reference, Origin.EHR)
        case status if status >= _SERVER_ERROR:
            return _unavailable(answer, reference, Origin.EHR)
        case _:
            return UpstreamUnavailable("The clinic's EHR refused the request", origin=Origin.EHR, reference=reference)


def _unknown_error(answer: Response, reference: str | None) -> GatewayError:
    if answer.status == _TOO_MANY:
        return _rate_limited(answer, reference, Origin.LEYR)
    return UpstreamUnavailable(
        "Leyr reports an error that it does not know",
        origin=Origin.LEYR,
        reference=reference,
        retryable=answer.status >= _SERVER_ERROR,
    )


def _by_status(answer: Response, reference: str | None) -> GatewayError:
    if answer.status in _BY_STATUS:
        kind, message, origin = _BY_STATUS[answer.status]
        return kind(message, origin=origin, reference=reference)
    if answer.status == _TOO_MANY:
        return _rate_limited(answer, reference, Origin.LEYR)
    if answer.status >= _SERVER_ERROR or answer.status == _REQUEST_TIMEOUT:
        return _unavailable(answer, reference, Origin.LEYR)
    return UpstreamInvalidAnswer("Leyr's answer has an unexpected status", reference=reference)


def _unavailable(answer: Response, reference: str | None, origin: Origin) -> GatewayError:
    who = "The clinic's EHR" if origin is Origin.EHR else "Leyr"
    return UpstreamUnavailable(
        f"{who} is not available at the moment",
        origin=origin,
        retryable=True,
        reference=reference,
        retry_after=retry_after(answer),
    )


def _rate_limited(answer: Response, reference: str | None, origin: Origin) -> GatewayError:
    who = "the clinic's EHR" if origin is Origin.EHR else "Leyr"
    return UpstreamRateLimited(
        f"Too many requests for {who} at the moment",
        origin=origin,
        retryable=True,
        reference=reference,
        retry_after=retry_after(answer),
    )


_SERVER_ERROR = 500
_TOO_MANY = 429
_REQUEST_TIMEOUT = 408
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_Known: TypeAlias = tuple[type[GatewayError], str, Origin]
_BY_STATUS: Mapping[int, _Known] = {
    400: (UpstreamRefused, "Leyr refused the request as invalid", Origin.LEYR),
    401: (UpstreamRejectedCredentials, "Leyr refuses the gateway's credentials", Origin.LEYR),
    403: (UpstreamRejectedCredentials, "Leyr refuses the gateway's credentials", Origin.LEYR),
    404: (NotFound, "Leyr does not know this id", Origin.LEYR),
    422: (UpstreamRefused, "Leyr refused the request as invalid", Origin.LEYR),
    501: (UpstreamUnavailable, "Leyr does not offer this", Origin.LEYR),
}
_BY_DETAIL: Mapping[str, _Known] = {
    "INVALID_CARE_UNIT_ID": (NotFound, "There is no care unit with this id", Origin.CLIENT),
    "INVALID_RESOURCE_ID": (NotFound, "There is no resource with this id", Origin.CLIENT),
    "INVALID_HEALTHCARE_SERVICE_ID": (NotFound, "There is no healthcare service with this id", Origin.CLIENT),
    "MISSING_REQUIRED_FIELD": (FilterRequired, "The EHR wants a further filter", Origin.EHR),
    "NOT_SUPPORTED": (NotSupported, "The EHR does not support this", Origin.EHR),
    "BAD_INPUT": (UpstreamRefused, "The EHR refused the request as invalid", Origin.EHR),
    "MAX_ITEMS_EXCEEDED": (UpstreamRefused, "The EHR refused the request as too large", Origin.EHR),
}
