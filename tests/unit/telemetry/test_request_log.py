"""The request log: one line for each request, and one for each fault."""

import json
from collections import Counter
from io import StringIO

from gateway.booking.caller_bookings import BookingEvent
from gateway.domain.booking import BookingStep
from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import RequestIds, RequestRecord
from gateway.logging import build_log
from gateway.telemetry.request_log import BookingLog, RequestLog

OURS = "0b9f6a3e-0f5a-4f5a-9b9f-6a3e0f5a4f5a"
THEIRS = "9f1b6a3e-7f5a-4f5a-8b9f-6a3e0f5a4fff"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REJECTED = RequestRecord(RequestIds(OURS), 413, 0.001, "OPERATION_TOO_LARGE", codes=("OPERATION_TOO_LARGE",))


def lines(request: RequestRecord) -> list[dict[str, object]]:
    to = StringIO()
    RequestLog(build_log("info", to)).finished(request)
    return [json.loads(line) for line in to.getvalue().splitlines()]


def test_an_operation_is_one_line() -> None:
    [line] = lines(
        RequestRecord(
            RequestIds(THEIRS, TRACE),
            200,
            0.0002134,
            caller="booking-page",
            operation_type="query",
            document_hash="0123456789abcdef" * 4,
            reads=Counter({CacheStatus.FETCHED: 3, CacheStatus.STALE: 1}),
            outcome="partial",
            codes=["UPSTREAM_UNAVAILABLE", "NOT_FOUND", "NOT_FOUND"],
        )
    )

    assert list(line)[:2] == ["timestamp", "level"]
    assert list(line.items())[2:] == [
        ("event", "operation.answered"),
        ("request_id", THEIRS),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("caller", "booking-page"),
        ("operation", "query"),
        ("document", "0123456789abcdef"),
        ("duration_ms", 0.213),
        ("upstream_calls", 3),
        ("joined", 0),
        ("shared", 0),
        ("cached", 0),
        ("stale", 1),
        ("outcome", "partial"),
        ("status", 200),
        ("codes", ["NOT_FOUND", "UPSTREAM_UNAVAILABLE"]),
    ]


def test_unknown_fields_are_null_and_codes_are_bounded() -> None:
    [line] = lines(RequestRecord(RequestIds(OURS), 400, 1, codes=[f"CODE_{number}" for number in range(100)]))

    assert "trace_id" not in line
    assert line["caller"] == "anonymous"
    assert line["operation"] is None
    assert line["document"] is None
    assert line["duration_ms"] == 1000
    assert isinstance(line["codes"], list)
    assert len(line["codes"]) == 8


def test_a_rejected_request_is_one_line() -> None:
    [line] = lines(REJECTED)

    assert list(line.values())[2:] == ["request.refused", OURS, "anonymous", 1, 413, "OPERATION_TOO_LARGE"]


def test_a_fault_is_logged_without_its_text() -> None:
    to = StringIO()

    RequestLog(build_log("info", to)).fault(RequestIds(OURS), ValueError("191212121212"))

    line = json.loads(to.getvalue())
    assert line["level"] == "error"
    assert line["request_id"] == OURS
    assert line["kind"] == "ValueError"
    assert "191212121212" not in repr(line)


def test_a_log_level_of_warning_omits_request_lines() -> None:
    to = StringIO()

    RequestLog(build_log("warning", to)).finished(REJECTED)

    assert to.getvalue() == ""


def test_a_booking_is_one_line_with_nothing_of_a_patient() -> None:
    stream = StringIO()
    log = BookingLog(build_log("info", stream))

    log.booked(BookingEvent("page", "webdoc", BookingStep.BOOK, "booked", 0.25))
    log.booked(BookingEvent("page", "webdoc", BookingStep.CANCEL, "outcome_unknown", 20.0, is_replayed=True))

    first, second = map(json.loads, stream.getvalue().splitlines())
    del first["timestamp"]
    assert first == {
        "level": "info",
        "event": "booking.answered",
        "caller": "page",
        "emr": "webdoc",
        "kind": "book",
        "outcome": "booked",
        "replayed": False,
        "duration_ms": 250.0,
    }
    assert (second["level"], second["replayed"]) == ("warning", True)
