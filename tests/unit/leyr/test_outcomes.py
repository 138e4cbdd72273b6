"""What each answer says about the attempts to come."""

import json

import pytest
import structlog
from structlog.testing import LogCapture

from gateway.leyr.breaker import BreakerState
from gateway.leyr.observing import LoggedChanges
from gateway.leyr.outcomes import FAILURES, NO_SIGN, UNTOLD, Outcome, Refusal, outcome_of
from gateway.leyr.problems import error_for, read_problem
from gateway.leyr.transport import Answer
from tests.unit.leyr.scripted_ehr import Witness

NOT_SUPPORTED = {"code": "BAD_REQUEST", "errors": [{"error_code": "NOT_SUPPORTED"}]}
ANSWERS = [
    (429, {}, Outcome.RATE_LIMITED),
    (429, {"code": "EMR_ERROR"}, Outcome.RATE_LIMITED),
    (429, {"code": "UNKNOWN_ERROR"}, Outcome.RATE_LIMITED),
    (503, {"code": "SERVICE_UNAVAILABLE"}, Outcome.UNAVAILABLE),
    (503, {"code": "EMR_ERROR"}, Outcome.UNAVAILABLE),
    (502, {}, Outcome.UNAVAILABLE),
    (504, {}, Outcome.UNAVAILABLE),
    (500, {}, Outcome.FAILED),
    (500, {"code": "EMR_ERROR"}, Outcome.FAILED),
    (500, {"code": "UNKNOWN_ERROR"}, Outcome.FAILED),
    (507, {}, Outcome.FAILED),
    (501, {}, Outcome.REFUSED),
    (400, NOT_SUPPORTED, Outcome.REFUSED),
    (500, NOT_SUPPORTED, Outcome.REFUSED),
    (503, NOT_SUPPORTED, Outcome.REFUSED),
    (400, {"code": "BAD_REQUEST"}, Outcome.REFUSED),
    (400, {"code": "EMR_ERROR"}, Outcome.REFUSED),
    (401, {"code": "EMR_ERROR"}, Outcome.REFUSED),
    (401, {"code": "UNKNOWN_ERROR"}, Outcome.REFUSED),
    (401, {}, Outcome.REFUSED),
    (403, {}, Outcome.REFUSED),
    (404, {}, Outcome.REFUSED),
    (408, {}, Outcome.REFUSED),
    (422, {}, Outcome.REFUSED),
    (302, {}, Outcome.INVALID_ANSWER),
    (418, {}, Outcome.INVALID_ANSWER),
]


@pytest.mark.parametrize(("status", "envelope", "outcome"), ANSWERS)
def test_an_answer_that_is_an_error_has_an_outcome(status: int, envelope: object, outcome: Outcome) -> None:
    answer = Answer(status, json.dumps(envelope).encode())

    assert outcome_of(error_for(answer, read_problem(answer)), status) is outcome


def test_answers_are_never_held_against_an_ehr() -> None:
    answers = {Outcome.ANSWERED, Outcome.REFUSED, Outcome.RATE_LIMITED, Outcome.INVALID_ANSWER}

    assert not answers & (FAILURES | NO_SIGN | UNTOLD)
    assert not FAILURES & NO_SIGN
    assert set(Outcome) == answers | FAILURES | NO_SIGN | {Outcome.TURNED_AWAY}


def test_what_an_operator_should_know_is_logged_and_all_is_passed_on() -> None:
    lines, witness = LogCapture(), Witness()
    log = structlog.wrap_logger(None, processors=[lines], wrapper_class=structlog.make_filtering_bound_logger(0))
    observer = LoggedChanges(log, witness)

    observer.attempt("webdoc", "timeslots", Outcome.ANSWERED, 0.5)
    observer.turned_away("webdoc", "timeslots", Refusal.QUEUE_FULL)
    observer.retried("webdoc")
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED):
        observer.breaker("webdoc", state)
    for limit in (32, 33, 34, 17, 18):
        observer.gate("webdoc", limit)

    assert witness == Witness(
        [(Outcome.ANSWERED, 0.5)],
        [Refusal.QUEUE_FULL],
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
