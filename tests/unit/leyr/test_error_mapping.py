"""Leyr's error responses: which domain error each stands for, and that none of their text comes through."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from gateway.leyr.call_events import CallResult, result_of
from gateway.leyr.error_mapping import ErrorEnvelope, error_for, read_error_envelope, retry_after

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
INSTANCE = "6f1c8f0e-2f0b-4d3e-9d63-0a6d6f1f3b11"
CODES = [None, "BAD_REQUEST", "UNAUTHORIZED", "EMR_ERROR", "UNKNOWN_ERROR", "SERVICE_UNAVAILABLE", "NEW"]
DETAILS = ["INVALID_CARE_UNIT_ID", "MISSING_REQUIRED_FIELD", "NOT_SUPPORTED", "BAD_INPUT", "NEW"]


def failure(
    status: int, code: str | None = None, *details: str, wait: str | None = None, **fields: Any
) -> GatewayError:
    envelope = {"code": code, "status": status, "instance": INSTANCE, **fields}
    if details:
        envelope["errors"] = [{"error_code": detail, "details": "text", "path": None} for detail in details]
    headers = {} if wait is None else {"retry-after": wait}
    response = Response(status, headers, json.dumps(envelope).encode())
    return error_for(response, read_error_envelope(response), NOW)


@pytest.mark.parametrize(
    ("status", "code", "kind", "origin", "retryable"),
    [
        # The code decides first.
        (401, "EMR_ERROR", UpstreamRejectedCredentials, Origin.EHR, False),
        (403, "EMR_ERROR", UpstreamRejectedCredentials, Origin.EHR, False),
        (400, "EMR_ERROR", UpstreamUnavailable, Origin.EHR, False),
        (404, "EMR_ERROR", UpstreamUnavailable, Origin.EHR, False),
        (429, "EMR_ERROR", UpstreamRateLimited, Origin.EHR, True),
        (500, "EMR_ERROR", UpstreamUnavailable, Origin.EHR, True),
        (503, "EMR_ERROR", UpstreamUnavailable, Origin.EHR, True),
        (401, "UNKNOWN_ERROR", UpstreamUnavailable, Origin.LEYR, False),
        (429, "UNKNOWN_ERROR", UpstreamRateLimited, Origin.LEYR, True),
        (500, "UNKNOWN_ERROR", UpstreamUnavailable, Origin.LEYR, True),
        (503, "SERVICE_UNAVAILABLE", UpstreamUnavailable, Origin.LEYR, True),
        (400, "SERVICE_UNAVAILABLE", UpstreamUnavailable, Origin.LEYR, True),
        # Then the status.
        (401, "UNAUTHORIZED", UpstreamRejectedCredentials, Origin.LEYR, False),
        (400, "BAD_REQUEST", UpstreamRefused, Origin.LEYR, False),
        (400, "NEW", UpstreamRefused, Origin.LEYR, False),
        (403, None, UpstreamRejectedCredentials, Origin.LEYR, False),
        (404, None, NotFound, Origin.LEYR, False),
        (408, None, UpstreamUnavailable, Origin.LEYR, True),
        (409, None, UpstreamInvalidAnswer, Origin.LEYR, False),
        (418, None, UpstreamInvalidAnswer, Origin.LEYR, False),
        (422, None, UpstreamRefused, Origin.LEYR, False),
        (429, None, UpstreamRateLimited, Origin.LEYR, True),
        (500, None, UpstreamUnavailable, Origin.LEYR, True),
        (501, None, UpstreamUnavailable, Origin.LEYR, False),
        (502, None, UpstreamUnavailable, Origin.LEYR, True),
        (504, None, UpstreamUnavailable, Origin.LEYR, True),
        (302, None, UpstreamInvalidAnswer, Origin.LEYR, False),
    ],
)
def test_the_code_and_then_the_status_decide_the_error(
    status: int, code: str | None, kind: type[GatewayError], origin: Origin, *, retryable: bool
) -> None:
    error = failure(status, code)

    assert type(error) is kind
    assert error.origin is origin
    assert error.retryable is retryable
    assert error.reference == INSTANCE


@pytest.mark.parametrize(
    ("detail", "kind", "origin"),
    [
        ("INVALID_CARE_UNIT_ID", NotFound, Origin.CLIENT),
        ("INVALID_RESOURCE_ID", NotFound, Origin.CLIENT),
        ("INVALID_HEALTHCARE_SERVICE_ID", NotFound, Origin.CLIENT),
        ("MISSING_REQUIRED_FIELD", FilterRequired, Origin.EHR),
        ("NOT_SUPPORTED", NotSupported, Origin.EHR),
        ("BAD_INPUT", UpstreamRefused, Origin.EHR),
        ("MAX_ITEMS_EXCEEDED", UpstreamRefused, Origin.EHR),
        ("NEW", UpstreamRefused, Origin.LEYR),
    ],
)
def test_the_detailed_code_decides_the_error_of_a_bad_request(
    detail: str, kind: type[GatewayError], origin: Origin
) -> None:
    error = failure(400, "BAD_REQUEST", detail)

    assert type(error) is kind
    assert error.origin is origin
    assert error.reference == INSTANCE


def test_an_unknown_detailed_code_does_not_hide_a_known_one() -> None:
    assert type(failure(400, "BAD_REQUEST", "NEW", "INVALID_RESOURCE_ID")) is NotFound


@pytest.mark.parametrize(("code", "kind"), [("EMR_ERROR", UpstreamUnavailable), ("UNKNOWN_ERROR", UpstreamUnavailable)])
def test_the_code_decides_before_the_detailed_code(code: str, kind: type[GatewayError]) -> None:
    assert type(failure(400, code, "INVALID_RESOURCE_ID")) is kind


@pytest.mark.parametrize(
    ("status", "code"), [(429, None), (503, None), (429, "EMR_ERROR"), (503, "SERVICE_UNAVAILABLE")]
)
def test_retry_after_is_passed_on(status: int, code: str | None) -> None:
    assert failure(status, code, wait="7").retry_after == 7.0


SENT = {"date": "Wed, 21 Oct 2026 07:00:00 GMT"}


@pytest.mark.parametrize(
    ("text", "headers", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:40 GMT", {}, 40.0),
        ("Wed, 21 Oct 2026 07:28:40 +0000", {}, 40.0),
        ("Wednesday, 21-Oct-26 07:28:40 GMT", {}, 40.0),
        ("Wed Oct 21 07:28:40 2026", {}, 40.0),
        # The clock of whoever sent it may be half an hour slow.
        ("Wed, 21 Oct 2026 07:00:40 GMT", SENT, 40.0),
        ("Wed, 21 Oct 2026 07:28:40 GMT", {"date": "soon"}, 40.0),
        ("Wed, 21 Oct 2026 06:59:00 GMT", SENT, 0.0),
        ("Thu, 22 Oct 2026 07:28:40 GMT", {}, 3600.0),
        ("Wed, 32 Oct 2026 07:28:40 GMT", {}, None),
        ("Wed, 21 Oct 99999999999999999999 07:28:40 GMT", {}, None),
        ("Wed, 21 Oct 2026 07:28:40 GMT" + " " * 100, {}, None),
        ("soon", {}, None),
    ],
)
def test_retry_after_as_a_date_is_measured_from_the_responses_own_date(
    text: str, headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(Response(503, {"retry-after": text, **headers}, b""), NOW) == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>403 Forbidden</h1></html>",
        b'{"message": "Forbidden"}',
        b'{"type": "about:blank", "title": "Forbidden", "status": 403, "instance": "8f2c-ARN"}',
        b"[]",
    ],
)
@pytest.mark.parametrize(("status", "retryable"), [(401, False), (403, True)])
def test_a_refusal_without_an_envelope_is_not_of_leyr(body: bytes, status: int, *, retryable: bool) -> None:
    response = Response(status, {}, body)

    error = error_for(response, read_error_envelope(response), NOW)

    assert type(error) is UpstreamUnavailable
    assert error.retryable is retryable
    assert result_of(error, status) is CallResult.REFUSED


@pytest.mark.parametrize(
    "instance", [None, "", "19121212-1212", "Anna", f"{INSTANCE} Anna", f"{INSTANCE}\n", INSTANCE[1:]]
)
def test_an_instance_that_is_no_uuid_is_not_passed_on_as_reference(instance: str | None) -> None:
    assert failure(400, "BAD_REQUEST", instance=instance).reference is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"EMR_ERROR"',
        b"[" * 20_000,
        b'{"code": "\xff"}',
        b'{"code": 1}',
        b'{"code": "EMR_',
    ],
)
def test_without_an_envelope_the_status_decides_the_error(body: bytes) -> None:
    response = Response(502, {}, body)

    assert read_error_envelope(response) == ErrorEnvelope()
    assert type(error_for(response, read_error_envelope(response), NOW)) is UpstreamUnavailable


@settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine
@given(st.integers(300, 599), st.sampled_from(CODES), st.lists(st.sampled_from(DETAILS), max_size=2))
def test_no_text_of_the_envelope_is_passed_on(status: int, code: str | None, details: list[str]) -> None:
    secret = "Tolvan Tolvansson 19121212-1212"
    fields = {"title": secret, "detail": secret, "type": secret, "instance": secret}
    errors = [{"error_code": each, "details": secret, "path": secret, "emr_error": secret} for each in details]
    response = Response(status, {}, json.dumps({"code": code, **fields, "errors": errors}).encode())

    error = error_for(response, read_error_envelope(response), NOW)

    assert "Tolv" not in f"{error.message} {error} {error!r} {error.reference}"
    assert error.message


@settings(max_examples=200, deadline=None)  # as above
@given(st.text(min_size=4).filter(lambda text: "\x00" not in text), st.integers(300, 599))
def test_unknown_codes_are_not_passed_on(text: str, status: int) -> None:
    plain, named = failure(status, None), failure(status, f"<{text}>", f"<{text}>", detail=text)

    assert named.message == plain.message


@settings(max_examples=200, deadline=None)  # as above
@given(st.binary(), st.integers(300, 599))
def test_any_response_is_mapped_to_a_domain_error(body: bytes, status: int) -> None:
    response = Response(status, {}, body)

    assert isinstance(error_for(response, read_error_envelope(response), NOW), GatewayError)


@pytest.mark.parametrize("errors", [{}, ["text"], [{"error_code": 1}], "text", 7, None, [[]]])
def test_an_odd_field_does_not_hide_the_code(errors: object) -> None:
    body = json.dumps({"code": "EMR_ERROR", "errors": errors, "instance": 5}).encode()

    error = error_for(Response(401, {}, body), read_error_envelope(Response(401, {}, body)), NOW)

    assert (error.code, error.origin) == ("UPSTREAM_REJECTED_CREDENTIALS", Origin.EHR)


def test_a_large_error_body_is_no_envelope() -> None:
    body = b'{"code":"EMR_ERROR","errors":[' + b"[]," * 30_000 + b"[]]}"

    assert read_error_envelope(Response(400, {}, body)) == ErrorEnvelope()
    assert read_error_envelope(Response(400, {}, body[:3_000] + b"[]]}")).code == "EMR_ERROR"
