"""Booking: who gets a time, what is refused, and what the free times show afterwards."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.simulator.booking_client import BookingClient, error_codes


def test_a_booked_time_is_an_appointment_and_no_longer_free(bookings: BookingClient) -> None:
    slot = bookings.timeslots()[5]

    appointment = bookings.book(slot, comment="first visit")

    assert appointment == {
        "id": "A70001",
        "status": "booked",
        "care_unit_id": "L0_1",
        "start": slot["start"],
        "end": slot["end"],
        "comment": "first visit",
        "emr_id": appointment["emr_id"],
        "patient_id": bookings.patient(),
        "resource_id": slot["resource_id"],
        "healthcare_service_id": slot["healthcare_service_id"],
        "x_simulated": True,
    }
    assert slot not in bookings.timeslots()


def test_a_booking_takes_the_time_for_every_service_and_leaves_all_other_times(bookings: BookingClient) -> None:
    before = bookings.timeslots()
    times = Counter((slot["resource_id"], slot["start"]) for slot in before)
    slot = next(slot for slot in before if times[slot["resource_id"], slot["start"]] == 2)

    bookings.book(slot)

    taken = (slot["resource_id"], slot["start"])
    assert bookings.timeslots() == [each for each in before if (each["resource_id"], each["start"]) != taken]


def test_a_repeated_booking_is_a_second_attempt(bookings: BookingClient) -> None:
    slot = bookings.timeslots()[0]
    bookings.book(slot)

    answer = bookings.post(slot)

    assert error_codes(answer) == ["NO_TIMESLOTS_AVAILABLE"]
    assert answer.json()["errors"][0]["emr_error"] is None
    assert len(bookings.booked()) == 1


def test_of_many_that_want_one_time_one_gets_it(bookings: BookingClient) -> None:
    bookings.switch(latency_ms=2, latency_jitter=1)
    slot, patient = bookings.timeslots()[0], bookings.patient()

    with ThreadPoolExecutor(24) as pool:
        answers = [*pool.map(lambda _: bookings.post(slot, patient), range(24))]

    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 23}
    assert Counter(call["outcome"] for call in bookings.attempts()) == {"booked": 1, "NO_TIMESLOTS_AVAILABLE": 23}
    assert [each["status"] for each in bookings.booked()] == ["booked"]


def test_a_time_with_room_for_three_takes_three_and_is_listed_until_then(bookings: BookingClient) -> None:
    bookings.switch(capacity=3)
    slot = bookings.timeslots()[0]

    for _ in range(3):
        assert slot in bookings.timeslots()
        bookings.book(slot)

    assert slot not in bookings.timeslots()
    assert error_codes(bookings.post(slot)) == ["NO_TIMESLOTS_AVAILABLE"]


def test_an_ehr_that_does_not_check_books_two_at_a_time_and_shows_it_as_taken(bookings: BookingClient) -> None:
    cliniko = bookings.at("cliniko")
    slot = cliniko.timeslots()[0]

    first, second = cliniko.book(slot), cliniko.book(slot)

    assert first["id"] != second["id"]
    assert [each["status"] for each in cliniko.booked()] == ["booked", "booked"]
    assert slot not in cliniko.timeslots()
    # A time that never was free is no obstacle either.
    night = {**slot, "start": "2026-03-08T03:00:00+01:00", "end": "2026-03-08T03:30:00+01:00"}
    assert cliniko.book(night)["start"] == night["start"]


def test_a_time_that_is_not_offered_is_refused(bookings: BookingClient) -> None:
    slot = bookings.timeslots()[0]
    later = {name: (datetime.fromisoformat(slot[name]) + timedelta(minutes=1)).isoformat() for name in ("start", "end")}

    for changes in (later, {"end": later["end"]}):
        assert error_codes(bookings.post(slot, **changes)) == ["NO_TIMESLOTS_AVAILABLE"]


def test_the_same_instant_in_another_offset_is_the_same_time(bookings: BookingClient) -> None:
    slot = bookings.timeslots()[0]
    utc = {name: datetime.fromisoformat(slot[name]).astimezone().isoformat() for name in ("start", "end")}

    assert bookings.book(slot, **utc)["start"] == slot["start"]


def test_a_booking_without_resource_or_service_is_refused_only_where_several_fit(bookings: BookingClient) -> None:
    slots = bookings.timeslots()
    times = Counter((slot["start"], slot["end"]) for slot in slots)
    alone = next(slot for slot in slots if times[slot["start"], slot["end"]] == 1)
    crowded = next(slot for slot in slots if times[slot["start"], slot["end"]] > 2)

    nobody: dict[str, None] = {"resource_id": None, "healthcare_service_id": None}
    assert bookings.book(alone, **nobody)["resource_id"] == alone["resource_id"]
    assert error_codes(bookings.post(crowded, **nobody)) == ["AMBIGUOUS_TIMESLOTS"]


def test_the_last_of_several_times_that_fit_is_no_longer_ambiguous(bookings: BookingClient) -> None:
    slots = bookings.timeslots()
    times = Counter((slot["start"], slot["end"], slot["healthcare_service_id"]) for slot in slots)
    (start, end, service), _ = next(item for item in times.items() if item[1] == 2)
    first, last = (s for s in slots if (s["start"], s["end"], s["healthcare_service_id"]) == (start, end, service))

    assert error_codes(bookings.post(first, resource_id=None)) == ["AMBIGUOUS_TIMESLOTS"]
    bookings.book(first)
    assert bookings.book(last, resource_id=None)["resource_id"] == last["resource_id"]
    assert error_codes(bookings.post(first, resource_id=None)) == ["NO_TIMESLOTS_AVAILABLE"]


def test_ids_of_resources_and_patients_may_be_typed(bookings: BookingClient) -> None:
    resources = {each["id"]: each["emr_id"] for each in bookings.http.get(f"{bookings.base}/resources").json()}
    slot = next(slot for slot in bookings.timeslots() if resources[slot["resource_id"]])

    appointment = bookings.book(
        slot, "se_personal_number:191212121212", resource_id=f"emr_id:{resources[slot['resource_id']]}"
    )

    assert (appointment["resource_id"], appointment["patient_id"]) == (slot["resource_id"], bookings.patient())


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"patient_id": "nobody"}, ["INVALID_PATIENT_ID"]),
        ({"patient_id": "se_personal_number:1"}, ["INVALID_PATIENT_ID"]),
        ({"patient_id": "shoe_size:44"}, ["INVALID_PATIENT_ID_TYPE"]),
        ({"patient_id": "no_personal_number:26258605879"}, ["PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED"]),
        ({"resource_id": "R99"}, ["INVALID_RESOURCE_ID"]),
        ({"healthcare_service_id": "B99"}, ["INVALID_HEALTHCARE_SERVICE_ID"]),
        ({"comment": "x" * 201}, ["INVALID_COMMENT_LENGTH"]),
        ({"start": "2026-03-03T08:00:00+01:00", "end": "2026-03-05T08:00:00+01:00"}, ["BAD_INPUT"]),
        ({"start": "1926-03-03T08:00:00+01:00", "end": "1926-03-03T08:20:00+01:00"}, ["BAD_INPUT"]),
        (
            {"patient_id": "nobody", "resource_id": "R99", "comment": "x" * 201},
            ["INVALID_PATIENT_ID", "INVALID_RESOURCE_ID", "INVALID_COMMENT_LENGTH"],
        ),
    ],
)
def test_each_wrong_value_is_told_and_nothing_booked(
    bookings: BookingClient, changes: dict[str, str], codes: list[str]
) -> None:
    assert error_codes(bookings.post(bookings.timeslots()[0], **changes)) == codes
    assert bookings.booked() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"start": "2026-03-03T08:00:00+01:00"}',
        b'{"start": "2026-03-03", "end": "2026-03-03T08:20:00+01:00", "patient_id": "P301"}',
        b'{"start": "2026-03-03T08:00:00+01:00", "end": "2026-03-03T08:00:00+01:00", "patient_id": "P301"}',
        b'{"start": "2026-03-03T08:00:00+01:00", "end": "2026-03-03T08:20:00+01:00", "patient_id": 301}',
        b'{"start": "2026-03-03T08:00:00+01:00", "end": "2026-03-03T08:20:00+01:00", "comment": "%s"}'
        % (b"x" * 70_000),
    ],
)
def test_a_body_that_is_no_booking_is_a_bad_request_without_error_codes(bookings: BookingClient, body: bytes) -> None:
    answer = bookings.http.post(f"{bookings.base}/appointments", content=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert "validation error" in answer.json()["detail"]
    assert "errors" not in answer.json()


def test_a_patient_who_is_booked_already_is_told_beside_the_time_that_is_taken(bookings: BookingClient) -> None:
    bookings.switch(patient_overlaps="refused")
    slot = bookings.timeslots()[0]
    bookings.book(slot)

    answer = bookings.post(slot)

    assert error_codes(answer) == ["NO_TIMESLOTS_AVAILABLE", "BAD_INPUT"]
    assert [error["emr_error"] for error in answer.json()["errors"]] == [None, "PATIENT_ALREADY_BOOKED"]
    other = bookings.patient(first_name="Test", external_id=None)
    assert error_codes(bookings.post(slot, other)) == ["NO_TIMESLOTS_AVAILABLE"]


def changed_fields(slot: dict[str, Any], appointment: dict[str, Any]) -> set[str]:
    return {name for name in slot if name in appointment and slot[name] != appointment[name]}


@pytest.mark.parametrize(
    ("books_other", "changed"),
    [
        ("start", {"start", "end"}),
        ("end", {"end"}),
        ("resource", {"resource_id"}),
        ("service", {"healthcare_service_id"}),
    ],
)
def test_an_ehr_that_books_otherwise_than_asked_says_what_it_booked(
    bookings: BookingClient, books_other: str, changed: set[str]
) -> None:
    bookings.switch(books_other=books_other)
    slot = bookings.lonely_timeslot()

    appointment = bookings.book(slot)

    assert changed_fields(slot, appointment) == changed
    (booked,) = bookings.booked()
    assert [booked[name] for name in ("resource_id", "healthcare_service_id")] == [
        appointment[name] for name in ("resource_id", "healthcare_service_id")
    ]
    assert (slot in bookings.timeslots()) == (books_other in ("start", "resource"))


@pytest.mark.parametrize(("switches", "status"), [({}, 200), ({"created_status": 201}, 201)])
def test_booking_is_answered_with_200_or_201(bookings: BookingClient, switches: dict[str, object], status: int) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    bookings.switch(**switches)

    assert bookings.post(slot, patient).status_code == status


def test_booking_may_be_answered_with_an_object_of_documented_fields(bookings: BookingClient) -> None:
    bookings.switch(booking_answer="object", optional_fields=False, time_format="utc")

    appointment = bookings.post(bookings.timeslots()[0], comment=None).json()

    assert set(appointment) == {"id", "status", "care_unit_id", "start", "end", "comment"}
    assert appointment["start"].endswith("Z")


def test_the_same_calls_give_the_same_ids_after_a_reset(bookings: BookingClient) -> None:
    def ids(emr: str) -> tuple[str, str]:
        client = bookings.at(emr)
        return client.book(client.timeslots()[3])["id"], client.patient(first_name="Test", external_id=None)

    before = [ids(emr) for emr in ("webdoc", "kaddio", "physica")]
    bookings.http.post("/__reset")

    assert bookings.booked() == []
    assert [ids(emr) for emr in ("webdoc", "kaddio", "physica")] == before


@pytest.mark.parametrize("emr", ["kaddio", "cliniko", "takecare", "anitasystems", "konfidens", "pridok", "physica"])
def test_every_ehr_books(bookings: BookingClient, emr: str) -> None:
    client = bookings.at(emr)

    appointment = client.book(client.timeslots()[-1])

    assert appointment["status"] == ("awaiting_confirmation" if emr == "anitasystems" else "booked")
    assert appointment["id"] != appointment["emr_id"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_on_an_appointment_are_not_allowed(bookings: BookingClient, method: str) -> None:
    answer = bookings.http.request(method, f"{bookings.base}/appointments/A1")

    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


def test_changing_several_appointments_at_once_is_not_simulated(bookings: BookingClient) -> None:
    answer = bookings.http.patch(f"{bookings.base}/appointments", json={"ids": ["A1"], "status": "cancelled"})

    assert answer.status_code == 405


def test_writes_need_credentials(bookings: BookingClient) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    wrong = BookingClient(httpx.Client(base_url=bookings.http.base_url, headers={"x-leyr-client-id": "simulator"}))
    body = {**slot, "patient_id": patient}

    with wrong.http as http:
        answer = http.post(f"{bookings.base}/appointments", json=body)

    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert bookings.booked() == []
