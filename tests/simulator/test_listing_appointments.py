"""The list of appointments, and what the simulator itself tells: its recorded calls and what the EHR really holds."""

import hashlib
from datetime import datetime, timedelta

import pytest

from tests.simulator.booking_client import WINDOW, BookingClient, TimeOfTests, error_codes


def test_the_list_is_filtered_by_patient_resource_and_start(bookings: BookingClient) -> None:
    other = bookings.patient(first_name="Test", external_id=None)
    slots = bookings.timeslots()
    first, second = slots[0], next(slot for slot in slots if slot["resource_id"] != slots[0]["resource_id"])
    one, two = bookings.book(first), bookings.book(second, other)

    assert bookings.listed() == [two, one]
    assert bookings.listed(**WINDOW) == [two, one]
    assert bookings.listed(patient_id="se_personal_number:191212121212") == [one]
    assert bookings.listed(patient_id=other, **WINDOW) == [two]
    assert bookings.listed(resource_id=first["resource_id"]) == [one]
    assert bookings.listed(patient_id=other, resource_id=first["resource_id"]) == []
    late = (datetime.fromisoformat(second["start"]) + timedelta(seconds=1)).isoformat()
    assert bookings.listed(start=second["start"], end=late, resource_id=second["resource_id"]) == [two]
    assert bookings.listed(start=late, resource_id=second["resource_id"]) == []
    assert bookings.listed(end=second["start"], resource_id=second["resource_id"]) == []


def test_a_filter_that_cannot_be_read_is_refused(bookings: BookingClient) -> None:
    path = f"{bookings.base}/appointments"

    assert error_codes(bookings.http.get(path, params={"patient_id": "nobody"})) == ["INVALID_PATIENT_ID"]
    assert error_codes(bookings.http.get(path, params={"resource_id": "R99"})) == ["INVALID_RESOURCE_ID"]
    assert "errors" not in bookings.http.get(path, params={"start": "2026-03-03"}).json()
    assert "errors" not in bookings.http.get(path, params=[("end", WINDOW["end"]), ("end", WINDOW["end"])]).json()


def test_anita_lists_no_appointments_and_others_may_wrap_them(bookings: BookingClient) -> None:
    anita = bookings.at("anitasystems")
    assert error_codes(anita.http.get(f"{anita.base}/appointments")) == ["NOT_SUPPORTED"]
    bookings.switch(wrapped_lists=True)
    assert bookings.http.get(f"{bookings.base}/appointments").json() == {"items": []}


def test_cancelled_appointments_may_be_missing_and_past_ones_completed(
    bookings: BookingClient, time_of_tests: TimeOfTests
) -> None:
    first, second = (bookings.book(slot) for slot in (bookings.timeslots()[0], bookings.timeslots()[-1]))
    third = bookings.book(bookings.timeslots()[0])
    bookings.patch(third["id"], status="cancelled")
    assert [each["status"] for each in bookings.listed()] == ["cancelled", "booked", "booked"]

    bookings.switch(lists_cancelled=False, completes_past=True)
    time_of_tests.seconds += 10 * 24 * 60 * 60

    assert bookings.listed() == [second, {**first, "status": "completed"}]


def test_a_recorded_call_tells_what_was_done(bookings: BookingClient) -> None:
    slot, patient = bookings.timeslots()[0], bookings.patient()
    appointment = bookings.book(slot, "se_personal_number:191212121212")
    bookings.post(slot, patient)
    bookings.patch(appointment["id"], status="cancelled")
    bookings.patch("A1", status="cancelled")
    bookings.listed(patient_id="se_personal_number:191212121212")

    calls = [call for call in bookings.http.get("/__calls").json()["calls"] if "number" in call]

    assert [call["number"] for call in calls] == [1, 2, 3, 4, 5, 6]
    assert [(call["operation"], call["outcome"], call.get("patient"), call.get("appointment")) for call in calls] == [
        ("create_patient", "found", patient, None),
        ("book", "booked", patient, appointment["id"]),
        ("book", "NO_TIMESLOTS_AVAILABLE", patient, None),
        ("cancel", "cancelled", patient, appointment["id"]),
        ("cancel", "INVALID_APPOINTMENT_ID", None, None),
        ("list_appointments", "listed", patient, None),
    ]
    assert {name: calls[1][name] for name in ("method", "path", "endpoint", "emr", "care_unit", "status")} == {
        "method": "POST",
        "path": "/api/emrs/webdoc/care-units/L0_1/appointments",
        "endpoint": "book_appointment",
        "emr": "webdoc",
        "care_unit": "L0_1",
        "status": 200,
    }
    assert (calls[1]["fault"], calls[1]["write"]) == (None, "done")


@pytest.mark.parametrize(
    ("path", "shown", "query"),
    [
        ("/patients/se_personal_number:191212121212", "/patients/se_personal_number:*", ""),
        ("/patients/se_personal_number%3A191212121212", "/patients/se_personal_number:*", ""),
        ("/patients/191212121212", "/patients/*", ""),
        ("/patients/191212121212/medical-notes", "/patients/*/medical-notes", ""),
        ("/resources/se_personal_number:191212121212", "/resources/se_personal_number:*", ""),
        ("/patients?first_name=Tolvan&last_name=191212121212", "/patients", "first_name=*&last_name=*"),
        ("/patients?first%5Fname=Tolvan", "/patients", "first%5Fname=*"),
        ("/appointments?patient_id=191212121212", "/appointments", "patient_id=*"),
        (
            "/appointments?resource_id=se_personal_number%3A191212121212&start=x",
            "/appointments",
            "resource_id=se_personal_number:*&start=x",
        ),
    ],
)
def test_a_recorded_call_shows_nobodys_name_or_number(
    bookings: BookingClient, path: str, shown: str, query: str
) -> None:
    bookings.http.get(bookings.base + path)

    answer = bookings.http.get("/__calls")

    # The client may have asked for the care units before.
    call = answer.json()["calls"][-1]
    assert (call["path"], call["query"]) == (bookings.base + shown, query)
    assert not any(secret in answer.text for secret in ("191212121212", "Tolvan"))


def test_a_booking_is_recorded_without_its_body(bookings: BookingClient) -> None:
    bookings.book(bookings.timeslots()[0], "se_personal_number:191212121212", comment="for Tolvan")

    for page in ("/__calls", "/__appointments"):
        assert not any(secret in bookings.http.get(page).text for secret in ("191212121212", "Tolvan"))


def test_the_ehrs_appointments_tell_which_call_booked_and_cancelled_them(bookings: BookingClient) -> None:
    slot = bookings.timeslots()[0]
    appointment = bookings.book(slot, comment="one of many")
    bookings.at("takecare").book(bookings.at("takecare").timeslots()[0])
    bookings.patch(appointment["id"], status="cancelled")

    (shown,) = bookings.booked()

    booked, *_, cancelled = bookings.attempts("book_appointment", "change_appointment")
    assert datetime.fromisoformat(shown.pop("start")) == datetime.fromisoformat(slot["start"])
    assert datetime.fromisoformat(shown.pop("end")) == datetime.fromisoformat(slot["end"])
    assert shown == {
        "emr": "webdoc",
        "care_unit": "L0_1",
        "id": appointment["id"],
        "status": "cancelled",
        "resource_id": slot["resource_id"],
        "healthcare_service_id": slot["healthcare_service_id"],
        "patient_id": bookings.patient(),
        "comment_sha256": hashlib.sha256(b"one of many").hexdigest(),
        "code": None,
        "cancellation": None,
        "booked_by_call": booked["number"],
        "cancelled_by_calls": [cancelled["number"]],
    }
    everywhere = bookings.http.get("/__appointments").json()
    assert [each["emr"] for each in everywhere["appointments"]] == ["webdoc", "takecare"]
    assert everywhere["late_writes"] == 0
    one_unit = bookings.http.get("/__appointments", params={"care_unit": "L0_2"}).json()
    assert one_unit["appointments"] == []


@pytest.mark.parametrize("switches", [{"unsupported": ["sing"]}, {"capacity": 0}, {"created_status": 204}])
def test_bad_switches_of_booking_are_refused(bookings: BookingClient, switches: dict[str, object]) -> None:
    answer = bookings.http.patch("/__manners/webdoc", json=switches)

    assert answer.status_code == 400
    assert "booking_answer" in answer.json()["error"]


def test_what_the_documentation_tells_of_each_ehr(bookings: BookingClient) -> None:
    shown = bookings.http.get("/__manners").json()

    assert {emr: each["unsupported"] for emr, each in shown.items() if each["unsupported"]} == {
        "kaddio": ["update", "cancel"],
        "anitasystems": ["list_appointments", "search_patients", "get_patient"],
    }
    assert [emr for emr, each in shown.items() if not each["checks_timeslots"]] == ["cliniko"]
    needs_code = [(each["booking_needs_code"], each["cancelling_needs_code"]) for each in shown.values()]
    assert [emr for emr, needs in zip(shown, needs_code, strict=True) if any(needs)] == ["anitasystems"]
    required = {emr: each["required_patient_detail"] for emr, each in shown.items()}
    assert {emr: detail for emr, detail in required.items() if detail != "nothing"} == {
        "takecare": "se_personal_number",
        "anitasystems": "phone",
        "konfidens": "no_personal_number",
    }
    bookings.switch(unsupported=["book"], checks_timeslots=False)
    bookings.switch(unsupported=None, checks_timeslots=None)
    assert bookings.http.get("/__manners").json() == shown
