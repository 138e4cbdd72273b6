"""Call events: the result of each error response, and which listeners hear of what."""

import json

import pytest
import structlog
from structlog.testing import LogCapture

from gateway.http_client.connection import Response
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import (
    FAILED_RESULTS,
    INCONCLUSIVE_RESULTS,
    LOCAL_RESULTS,
    CallEvents,
    CallEventsFanOut,
    CallResult,
    LoggedCallEvents,
    Rejection,
    result_of,
)
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.error_mapping import error_for, read_error_envelope
from tests.unit.leyr.scripted_ehr import RecordedCallEvents
from tests.unit.leyr.test_error_mapping import NOW

NOT_SUPPORTED = {"code": "BAD_REQUEST", "errors": [{"error_code": "NOT_SUPPORTED"}]}
ERROR_RESPONSES = [
    (429, {}, CallResult.RATE_LIMITED),
    (429, {"code": "EMR_ERROR"}, CallResult.RATE_LIMITED),
    (429, {"code": "UNKNOWN_ERROR"}, CallResult.RATE_LIMITED),
    (503, {"code": "SERVICE_UNAVAILABLE"}, CallResult.UNAVAILABLE),
    (503, {"code": "EMR_ERROR"}, CallResult.UNAVAILABLE),
    (502, {}, CallResult.UNAVAILABLE),
    (504, {}, CallResult.UNAVAILABLE),
    (500, {}, CallResult.FAILED),
    (500, {"code": "EMR_ERROR"}, CallResult.FAILED),
    (500, {"code": "UNKNOWN_ERROR"}, CallResult.FAILED),
    (507, {}, CallResult.FAILED),
    (501, {}, CallResult.REFUSED),
    (400, NOT_SUPPORTED, CallResult.REFUSED),
    (500, NOT_SUPPORTED, CallResult.REFUSED),
    (503, NOT_SUPPORTED, CallResult.REFUSED),
    (400, {"code": "BAD_REQUEST"}, CallResult.REFUSED),
    (400, {"code": "EMR_ERROR"}, CallResult.REFUSED),
    (401, {"code": "EMR_ERROR"}, CallResult.REFUSED),
    (401, {"code": "UNKNOWN_ERROR"}, CallResult.REFUSED),
    (401, {}, CallResult.REFUSED),
    (403, {}, CallResult.REFUSED),
    (404, {}, CallResult.REFUSED),
    (408, {}, CallResult.REFUSED),
    (422, {}, CallResult.REFUSED),
    (302, {}, CallResult.INVALID_ANSWER),
    (418, {}, CallResult.INVALID_ANSWER),
]


@pytest.mark.parametrize(("status", "envelope", "result"), ERROR_RESPONSES)
def test_an_error_response_has_one_call_result(status: int, envelope: object, result: CallResult) -> None:
    response = Response(status, {}, json.dumps(envelope).encode())

    assert result_of(error_for(response, read_error_envelope(response), NOW), status) is result


def test_call_results_that_are_responses_never_count_as_failed_inconclusive_or_local() -> None:
    responses = {CallResult.ANSWERED, CallResult.REFUSED, CallResult.RATE_LIMITED, CallResult.INVALID_ANSWER}

    assert not responses & (FAILED_RESULTS | INCONCLUSIVE_RESULTS | LOCAL_RESULTS)
    assert not FAILED_RESULTS & INCONCLUSIVE_RESULTS
    assert set(CallResult) == responses | FAILED_RESULTS | INCONCLUSIVE_RESULTS | {CallResult.TURNED_AWAY}


def test_events_that_an_operator_should_act_on_are_logged_and_all_reach_every_listener() -> None:
    lines, first, last = LogCapture(), RecordedCallEvents(), RecordedCallEvents()
    log = structlog.wrap_logger(None, processors=[lines], wrapper_class=structlog.make_filtering_bound_logger(0))
    events = CallEventsFanOut([LoggedCallEvents(log), first, CallEvents(), last])

    events.attempt_ended("webdoc", "timeslots", CallResult.ANSWERED, 0.5)
    events.unreachable("webdoc", "timeslots", FailureKind.TLS_EXPIRED)
    events.rejected("webdoc", "timeslots", Rejection.QUEUE_FULL)
    events.retried("webdoc")
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED):
        events.breaker_changed("webdoc", state)
    for limit in (32, 33, 34, 17, 18):
        events.limit_changed("webdoc", limit)

    assert first == last
    assert first == RecordedCallEvents(
        [(CallResult.ANSWERED, 0.5)],
        [Rejection.QUEUE_FULL],
        1,
        [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED],
        [32, 33, 34, 17, 18],
        failures=[FailureKind.TLS_EXPIRED],
    )
    logged = [(line["event"], line["log_level"], line.get("limit")) for line in lines.entries]
    assert lines.entries[0]["kind"] == "tls_expired"
    assert logged == [
        ("upstream.unreachable", "warning", None),
        ("upstream.breaker_opened", "warning", None),
        ("upstream.breaker_closed", "info", None),
        ("upstream.slowed_down", "warning", 32),
        ("upstream.slowed_down", "warning", 17),
    ]
    assert all(line["emr"] == "webdoc" for line in lines.entries)
    assert all(line.get("action") for line in lines.entries if line["log_level"] == "warning")


@pytest.mark.parametrize("failure", FailureKind)
def test_each_kind_of_failure_is_logged_with_what_to_do_about_it(failure: FailureKind) -> None:
    lines = LogCapture()
    log = structlog.wrap_logger(None, processors=[lines], wrapper_class=structlog.make_filtering_bound_logger(0))

    LoggedCallEvents(log).unreachable("webdoc", "timeslots", failure)

    assert lines.entries[0]["action"]
