"""The ids of a request."""

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.http.request_context import RequestIds, request_ids

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


def ids(**headers: str) -> RequestIds:
    return request_ids({name.replace("_", "-").encode(): value for name, value in headers.items()}, lambda: OURS)


def test_a_request_without_ids_gets_a_new_one() -> None:
    assert ids() == RequestIds(OURS, None)
    assert ids().trace_id is None
    assert ids().headers() == [(b"x-request-id", OURS.encode())]


def test_both_ids_are_echoed() -> None:
    found = ids(x_request_id=THEIRS, traceparent=TRACE)

    assert found.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert found.headers() == [(b"x-request-id", THEIRS.encode()), (b"traceparent", TRACE.encode())]


@given(uuids, st.sampled_from([str, lambda uuid: uuid.hex, lambda uuid: str(uuid).upper()]))
def test_a_request_id_is_kept_if_it_is_a_uuid_and_not_personal(uuid: UUID, form: Callable[[UUID], str]) -> None:
    given_id = form(uuid)

    assert ids(x_request_id=given_id).request_id == (OURS if may_hold_a_personal_number(uuid.hex) else given_id)


@given(traceparents)
def test_a_trace_parent_is_kept_unless_it_may_be_personal(traceparent: str) -> None:
    may_be_personal = may_hold_a_personal_number(traceparent.replace("-", ""))

    assert ids(traceparent=traceparent).traceparent == (None if may_be_personal else traceparent)


@given(st.from_regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", fullmatch=True))
def test_a_request_id_that_may_be_personal_as_written_is_replaced(text: str) -> None:
    assert ids(x_request_id=text).request_id == OURS or not may_hold_a_personal_number(text)


@given(st.integers(0, 26), st.sampled_from(["191212121212", "1212121212", "121212T121B", "31129912345"]))
def test_ids_that_contain_a_personal_number_are_replaced(at: int, number: str) -> None:
    held = ("e" * at + number.replace("T", "a") + "e" * 32)[:32]
    assume(may_hold_a_personal_number(held))

    assert ids(x_request_id=held, traceparent=f"00-{held}-00f067aa0ba902b7-01") == RequestIds(OURS, None)
    apart = f"00-00f067aa0ba902b7{held[:16]}-{held[16:]}-01"
    assert ids(x_request_id=str(UUID(held)), traceparent=apart) == RequestIds(OURS, None)


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
def test_a_request_id_that_is_no_uuid_is_replaced(request_id: str) -> None:
    assert ids(x_request_id=request_id).request_id == OURS


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
def test_a_trace_parent_of_another_version_or_form_is_ignored(traceparent: str) -> None:
    assert ids(traceparent=traceparent).traceparent is None
