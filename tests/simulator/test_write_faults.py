"""Faults of writes: before the write, after it, in the middle of the answer, and writes that are made later."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.simulator.booking_client import BookingClient, TimeOfTests

BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.mark.parametrize(
    ("fault", "made"),
    [
        ({"fault": "cut", "write": "skipped"}, False),
        ({"fault": "cut"}, True),
        ({"fault": "cut", "write": "done"}, True),
        ({"fault": "cut_mid_body"}, True),
    ],
)
def test_a_cut_connection_leaves_open_whether_the_booking_was_made(
    bookings: BookingClient, fault: dict[str, Any], made: bool
) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault(**fault, endpoint="book_appointment", times=1)

    with pytest.raises(BROKEN):
        bookings.post(slot, patient)

    assert len(bookings.booked()) == made
    assert (slot in bookings.timeslots()) != made
    (attempt,) = bookings.attempts()
    assert (attempt["fault"], attempt["write"]) == (fault["fault"], "done" if made else "skipped")
    assert attempt["outcome"] == ("booked" if made else "not_written")
    assert attempt["status"] == (200 if fault["fault"] == "cut_mid_body" else None)


@pytest.mark.parametrize(
    ("fault", "status", "made"),
    [
        ({"fault": "service_unavailable"}, 503, True),
        ({"fault": "service_unavailable", "write": "skipped"}, 503, False),
        ({"fault": "emr_error_500"}, 500, True),
        ({"fault": "bad_gateway_html"}, 502, True),
        ({"fault": "html_200"}, 200, True),
        ({"fault": "truncated_json"}, 200, True),
        ({"fault": "empty_list"}, 200, True),
        ({"fault": "too_many_requests"}, 429, False),
        ({"fault": "too_many_requests", "write": "done"}, 429, True),
        ({"fault": "emr_error_401"}, 401, False),
        ({"fault": "unknown_error"}, 401, False),
        ({"fault": "redirect"}, 302, False),
    ],
)
def test_an_answer_that_tells_nothing_of_the_booking(
    bookings: BookingClient, fault: dict[str, Any], status: int, made: bool
) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault(**fault, endpoint="book_appointment", times=1)

    assert bookings.post(slot, patient).status_code == status
    assert len(bookings.booked()) == made


def test_a_late_booking_is_made_seconds_after_the_connection_broke(
    bookings: BookingClient, time_of_tests: TimeOfTests
) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("cut", write="late", seconds=3, endpoint="book_appointment", times=1)
    with pytest.raises(BROKEN):
        bookings.post(slot, patient)

    time_of_tests.seconds += 2.9
    assert bookings.booked() == bookings.listed() == []
    assert slot in bookings.timeslots()
    assert bookings.http.get("/__appointments").json()["late_writes"] == 1
    assert bookings.attempts()[0]["outcome"] == "waits"

    time_of_tests.seconds += 0.2
    assert slot not in bookings.timeslots()
    assert [each["status"] for each in bookings.listed()] == ["booked"]
    assert bookings.http.get("/__appointments").json()["late_writes"] == 0
    (attempt,) = bookings.attempts()
    assert (attempt["outcome"], attempt["write"], attempt["status"]) == ("booked", "late", None)
    assert bookings.booked()[0]["booked_by_call"] == attempt["number"]


def test_a_late_booking_loses_against_one_that_came_in_between(
    bookings: BookingClient, time_of_tests: TimeOfTests
) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("service_unavailable", write="late", seconds=3, endpoint="book_appointment", times=1)
    assert bookings.post(slot, patient).status_code == 503
    winner = bookings.book(slot)

    time_of_tests.seconds += 3

    assert [each["id"] for each in bookings.booked()] == [winner["id"]]
    assert [call["outcome"] for call in bookings.attempts()] == ["NO_TIMESLOTS_AVAILABLE", "booked"]


def test_a_late_booking_that_is_due_comes_before_the_next_one(
    bookings: BookingClient, time_of_tests: TimeOfTests
) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("service_unavailable", write="late", seconds=3, endpoint="book_appointment", times=1)
    bookings.post(slot, patient)
    time_of_tests.seconds += 3

    assert bookings.post(slot, patient).status_code == 400
    assert [call["outcome"] for call in bookings.attempts()] == ["booked", "NO_TIMESLOTS_AVAILABLE"]


def test_a_slow_ehr_books_before_it_answers(bookings: BookingClient) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("delay", write="late", seconds=0.05, endpoint="book_appointment", times=1)

    appointment = bookings.book(slot, patient)

    assert appointment["id"] == bookings.booked()[0]["id"]
    assert [(call["write"], call["outcome"]) for call in bookings.attempts()] == [("late", "booked")]


def test_a_client_that_leaves_a_slow_ehr_does_not_stop_the_booking(bookings: BookingClient) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("hang", endpoint="book_appointment", times=1)

    with pytest.raises(httpx.ReadTimeout):
        bookings.http.post(f"{bookings.base}/appointments", json={**slot, "patient_id": patient}, timeout=0.2)

    assert len(bookings.booked()) == 1


def test_reset_forgets_what_would_be_made_later(bookings: BookingClient, time_of_tests: TimeOfTests) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("service_unavailable", write="late", endpoint="book_appointment")
    bookings.post(slot, patient)
    bookings.http.post("/__reset")
    time_of_tests.seconds += 60

    assert bookings.booked() == []


def test_reset_forgets_the_bookings_under_way(bookings: BookingClient) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.fault("delay", write="late", seconds=0.5, endpoint="book_appointment")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bookings.post, slot, patient)
        while not bookings.attempts():
            assert not answer.done()
        bookings.http.post("/__reset")

    assert answer.result().status_code in (200, 503)
    assert bookings.booked() == []


@pytest.mark.parametrize(
    ("body", "endpoint", "status"),
    [({"status": "cancelled"}, "change_appointment", "cancelled"), ({"comment": "x"}, "change_appointment", "booked")],
)
def test_a_change_can_be_cut_after_it_was_made(
    bookings: BookingClient, body: dict[str, str], endpoint: str, status: str
) -> None:
    appointment = bookings.book(bookings.timeslots()[0])
    bookings.fault("cut", endpoint=endpoint, times=1)

    with pytest.raises(BROKEN):
        bookings.patch(appointment["id"], **body)

    assert bookings.listed() == [{**appointment, "status": status, "comment": body.get("comment")}]


def test_a_patient_can_be_created_without_an_answer_and_is_found_then(bookings: BookingClient) -> None:
    bookings.fault("service_unavailable", endpoint="create_patient", times=1)
    details = {"first_name": "Test", "last_name": "Testsson"}

    assert bookings.http.post(f"{bookings.base}/patients", json=details).status_code == 503
    bookings.patient(**details, external_id=None)
    assert [call["outcome"] for call in bookings.attempts("create_patient")] == ["created", "found"]


def test_the_header_says_what_becomes_of_the_write(bookings: BookingClient, time_of_tests: TimeOfTests) -> None:
    slots, patient = bookings.timeslots(), bookings.patient()
    for slot, fault in ((slots[0], "service_unavailable;skipped"), (slots[-1], "service_unavailable:3;late")):
        bookings.http.headers["x-simulator-fault"] = fault
        assert bookings.http.post(
            "/api/emrs/webdoc/care-units/L0_1/appointments", json={**slot, "patient_id": patient}
        ).status_code == 503  # fmt: skip
        del bookings.http.headers["x-simulator-fault"]
    time_of_tests.seconds += 3

    assert [each["resource_id"] for each in bookings.booked()] == [slots[-1]["resource_id"]]


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "drip", "write": "late"},
        {"fault": "cut_mid_body", "write": "skipped"},
        {"fault": "delay", "write": "skipped"},
        {"fault": "cut", "write": "maybe"},
        {"fault": "cut", "share": 1.1},
        {"fault": "cut", "seed": "x"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(bookings: BookingClient, fault: dict[str, Any]) -> None:
    assert bookings.http.post("/__faults", json=fault).status_code == 400


def drawn(bookings: BookingClient, seed: int) -> list[int]:
    bookings.http.post("/__reset")
    for fault, share in (("service_unavailable", 0.3), ("bad_gateway_html", 0.3), ("emr_error_500", 0.1)):
        bookings.fault(fault, endpoint="patients", share=share, seed=seed)
    path = f"{bookings.base}/patients"
    return [bookings.http.get(path, params={"last_name": "N"}).status_code for _ in range(200)]


def test_a_mixture_of_faults_is_drawn_by_its_seed(bookings: BookingClient) -> None:
    statuses = drawn(bookings, seed=1)

    assert statuses == drawn(bookings, seed=1)
    assert statuses != drawn(bookings, seed=2)
    # The shares of what the faults before them left: 60, 42 and 10 of 200.
    counts = Counter(statuses)
    assert 40 < counts[503] < 80
    assert 25 < counts[502] < 60
    assert 2 < counts[500] < 22
    assert 60 < counts[200] < 120


def test_mixed_faults_are_told_in_the_log_and_books_agree_with_it(
    bookings: BookingClient, time_of_tests: TimeOfTests
) -> None:
    for fault, write in (("service_unavailable", "skipped"), ("service_unavailable", "done"), ("cut", "late")):
        bookings.fault(fault, write=write, endpoint="book_appointment", share=0.25, seed=5)
    patient, slots = bookings.patient(), bookings.timeslots()[:60]
    for slot in slots:
        try:
            bookings.post(slot, patient)
        except BROKEN:
            continue
    time_of_tests.seconds += 10

    booked, attempts = bookings.booked(), bookings.attempts()

    made = {call["number"] for call in attempts if call["outcome"] == "booked"}
    assert {each["booked_by_call"] for each in booked} == made
    assert {call["write"] for call in attempts} == {"done", "skipped", "late"}
    assert {call["outcome"] for call in attempts} == {"booked", "not_written", "NO_TIMESLOTS_AVAILABLE"}
    assert len({(each["resource_id"], each["start"]) for each in booked}) == len(booked)
