"""What each answer says about the attempts to come."""

import json

import pytest
import structlog
from structlog.testing import LogCapture

from gateway.http_client.connection import Response
from gateway.leyr.call_events import (
    FAILED_RESULTS,
    INCONCLUSIVE_RESULTS,
    LOCAL_RESULTS,
    CallResult,
    LoggedCallEvents,
    Rejection,
    result_of,
)
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.error_mapping import error_for, read_error_envelope
from tests.unit.leyr.scripted_ehr import Witness

NOT_SUPPORTED = {"code": "BAD_REQUEST", "errors": [{"error_code": "NOT_SUPPORTED"}]}
ANSWERS = [
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


@pytest.mark.parametrize(("status", "envelope", "outcome"), ANSWERS)
def test_an_answer_that_is_an_error_has_an_outcome(status: int, envelope: object, outcome: CallResult) -> None:
    answer = Response(status, {}, json.dumps(envelope).encode())

    assert result_of(error_for(answer, read_error_envelope(answer)), status) is outcome


def test_answers_are_never_held_against_an_ehr() -> None:
    answers = {CallResult.ANSWERED, CallResult.REFUSED, CallResult.RATE_LIMITED, CallResult.INVALID_ANSWER}

    assert not answers & (FAILED_RESULTS | INCONCLUSIVE_RESULTS | LOCAL_RESULTS)
    assert not FAILED_RESULTS & INCONCLUSIVE_RESULTS
    assert set(CallResult) == answers | FAILED_RESULTS | INCONCLUSIVE_RESULTS | {CallResult.TURNED_AWAY}


def test_what_an_operator_should_know_is_logged_and_all_is_passed_on() -> None:
    lines, witness = LogCapture(), Witness()
    log = structlog.wrap_logger(None, processors=[lines], wrapper_class=structlog.make_filtering_bound_logger(0))
    observer = LoggedCallEvents(log, witness)

    observer.attempt("webdoc", "timeslots", CallResult.ANSWERED, 0.5)
    observer.turned_away("webdoc", "timeslots", Rejection.QUEUE_FULL)
    observer.retried("webdoc")
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED):
        observer.breaker("webdoc", state)
    for limit in (32, 33, 34, 17, 18):
        observer.gate("webdoc", limit)

    assert witness == Witness(
        [(CallResult.ANSWERED, 0.5)],
        [Rejection.QUEUE_FULL],
        1,
        [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED],
        [32, 33, 34, 17, 18],
    )
    told = [(line["event"], line["log_level"], line.get("limit")) for line in lines.entries]
    assert told == [
        ("upstream.breaker_opened", "warning", None),
        ("upstream.breaker_closed", "info", None),
        ("upstream.slowed_down", "warning", 32),
        ("upstream.slowed_down", "warning", 17),
    ]
    assert all(line["emr"] == "webdoc" for line in lines.entries)
    assert all(line.get("action") for line in lines.entries if line["log_level"] == "warning")
