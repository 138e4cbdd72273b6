"""A request's ids, which are the client's own only where they can be nothing else, and its line in the log."""

import json
from collections import Counter
from collections.abc import Callable
from io import StringIO
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import RequestLog, Trail, trail_of
from gateway.logging import build_log

OURS = "0b9f6a3e-0f5a-4f5a-9b9f-6a3e0f5a4f5a"
THEIRS = "9f1b6a3e-7f5a-4f5a-8b9f-6a3e0f5a4fff"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

uuids = st.uuids(allow_nil=True)
traceparents = st.builds(
    "00-{}-{}-{}".format,
    st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: text.strip("0")),
    st.text("0123456789abcdef", min_size=16, max_size=16).filter(lambda text: text.strip("0")),
    st.text("0123456789abcdef", min_size=2, max_size=2),
)


def trail(**headers: str) -> Trail:
    return trail_of({name.replace("_", "-").encode(): value for name, value in headers.items()}, lambda: OURS)


def lines(tell: Callable[[RequestLog], object]) -> list[dict[str, object]]:
    to = StringIO()
    tell(RequestLog(build_log("info", to)))
    return [json.loads(line) for line in to.getvalue().splitlines()]


def test_a_request_without_ids_gets_a_new_one() -> None:
    assert trail() == Trail(OURS, None)
    assert trail().trace_id is None
    assert trail().headers() == [(b"x-request-id", OURS.encode())]


def test_both_ids_are_echoed() -> None:
    found = trail(x_request_id=THEIRS, traceparent=TRACE)

    assert found.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert found.headers() == [(b"x-request-id", THEIRS.encode()), (b"traceparent", TRACE.encode())]


@given(uuids, st.sampled_from([str, lambda uuid: uuid.hex, lambda uuid: str(uuid).upper()]))
def test_a_uuid_is_taken_as_it_is_unless_it_may_be_personal(uuid: UUID, form: Callable[[UUID], str]) -> None:
    given_id = form(uuid)

    assert trail(x_request_id=given_id).request_id == (OURS if may_hold_a_personal_number(uuid.hex) else given_id)


@given(traceparents)
def test_a_trace_parent_is_taken_unless_it_may_be_personal(traceparent: str) -> None:
    may_be_personal = may_hold_a_personal_number(traceparent.replace("-", ""))

    assert trail(traceparent=traceparent).traceparent == (None if may_be_personal else traceparent)


@given(st.from_regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", fullmatch=True))
def test_what_may_be_personal_as_it_is_written_is_not_taken(text: str) -> None:
    assert trail(x_request_id=text).request_id == OURS or not may_hold_a_personal_number(text)


@given(st.integers(0, 26), st.sampled_from(["191212121212", "1212121212", "121212T121B", "31129912345"]))
def test_an_id_around_a_personal_number_is_not_taken(at: int, number: str) -> None:
    held = ("e" * at + number.replace("T", "a") + "e" * 32)[:32]
    assume(may_hold_a_personal_number(held))

    assert trail(x_request_id=held, traceparent=f"00-{held}-00f067aa0ba902b7-01") == Trail(OURS, None)
    apart = f"00-00f067aa0ba902b7{held[:16]}-{held[16:]}-01"
    assert trail(x_request_id=str(UUID(held)), traceparent=apart) == Trail(OURS, None)


@pytest.mark.parametrize(
    "request_id",
    [
        "",
        "191212121212",
        "a",
        f"{{{THEIRS}}}",
        f"urn:uuid:{THEIRS}",
        f" {THEIRS}",
        f"{THEIRS}\n",
        THEIRS.replace("-", "", 1),
        THEIRS[:-1],
        f"{THEIRS}0",
        THEIRS.replace("9", "g"),
        "٩f1b6a3e-7f5a-4f5a-8b9f-6a3e0f5a4fff",
    ],
)
def test_anything_but_a_uuid_is_not_taken(request_id: str) -> None:
    assert trail(x_request_id=request_id).request_id == OURS


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        TRACE.upper(),
        TRACE.replace("00-", "01-", 1),
        TRACE.replace("00-", "ff-", 1),
        f"{TRACE}-00",
        f"{TRACE}\n",
        TRACE[:-1],
        TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        TRACE.replace("00f067aa0ba902b7", "0" * 16),
        TRACE.replace("-", "_"),
        TRACE.replace("4bf9", "4bg9"),
    ],
)
def test_anything_but_a_trace_parent_of_version_00_is_not_taken(traceparent: str) -> None:
    assert trail(traceparent=traceparent).traceparent is None


def test_an_answered_operation_is_one_line() -> None:
    [line] = lines(
        lambda log: log.answered(
            Trail(THEIRS, TRACE),
            caller="booking-page",
            operation="query",
            document="0123456789abcdef" * 4,
            seconds=0.0002134,
            reads=Counter({CacheStatus.FETCHED: 3, CacheStatus.STALE: 1}),
            outcome="partial",
            status=200,
            codes={"UPSTREAM_UNAVAILABLE", "NOT_FOUND"},
        )
    )

    assert list(line) == [
        "timestamp",
        "level",
        "event",
        "request_id",
        "trace_id",
        "caller",
        "operation",
        "document",
        "duration_ms",
        "upstream_calls",
        "joined",
        "cached",
        "stale",
        "outcome",
        "status",
        "codes",
    ]
    assert list(line.values())[2:] == [
        "operation.answered",
        THEIRS,
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "booking-page",
        "query",
        "0123456789abcdef",
        0.213,
        3,
        0,
        0,
        1,
        "partial",
        200,
        ["NOT_FOUND", "UPSTREAM_UNAVAILABLE"],
    ]


def test_what_is_not_known_is_null_and_codes_are_bounded() -> None:
    [line] = lines(
        lambda log: log.answered(
            Trail(OURS),
            caller=None,
            operation=None,
            document="",
            seconds=1,
            reads={},
            outcome="refused",
            status=400,
            codes=[f"CODE_{number}" for number in range(100)],
        )
    )

    assert "trace_id" not in line
    assert line["caller"] == "anonymous"
    assert line["operation"] is None
    assert line["document"] is None
    assert line["duration_ms"] == 1000
    assert isinstance(line["codes"], list)
    assert len(line["codes"]) == 8


def test_a_refused_request_is_one_line() -> None:
    [line] = lines(
        lambda log: log.refused(Trail(OURS), caller=None, seconds=0.001, status=413, code="OPERATION_TOO_LARGE")
    )

    assert list(line.values())[2:] == ["request.refused", OURS, "anonymous", 1, 413, "OPERATION_TOO_LARGE"]


def test_a_fault_is_told_without_its_text() -> None:
    [line] = lines(lambda log: log.fault(Trail(OURS), ValueError("191212121212")))

    assert line["level"] == "error"
    assert line["request_id"] == OURS
    assert line["kind"] == "ValueError"
    assert "191212121212" not in repr(line)


def test_a_log_of_warnings_holds_no_line_for_each_request() -> None:
    to = StringIO()

    RequestLog(build_log("warning", to)).refused(Trail(OURS), caller=None, seconds=0, status=413, code="")

    assert to.getvalue() == ""
