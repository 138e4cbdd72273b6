"""Moving, cancelling and confirming an appointment, in one step or by a code."""

from typing import Any

import pytest

from tests.simulator.booking_client import BookingClient, Slot, error_codes


def times_of_one_resource(client: BookingClient) -> tuple[Slot, Slot]:
    """Two free times of one resource for one service."""
    slots = client.timeslots()
    first = slots[0]
    owner = {name: first[name] for name in ("resource_id", "healthcare_service_id")}
    other = next(each for each in slots[1:] if owner.items() <= each.items() and each["start"] >= first["end"])
    return first, other


def test_a_cancelled_appointment_stays_in_the_list_and_its_time_comes_back(bookings: BookingClient) -> None:
    before = bookings.timeslots()
    appointment = bookings.book(before[0])

    answer = bookings.patch(appointment["id"], status="cancelled", comment="ill")

    assert answer.status_code == 200
    assert answer.json() == {**appointment, "status": "cancelled", "comment": "ill"}
    assert bookings.timeslots() == before
    assert bookings.listed() == [answer.json()]
    assert bookings.book(before[0])["id"] != appointment["id"]


def test_cancelling_twice_is_refused_or_answered_like_the_first_time(bookings: BookingClient) -> None:
    appointment = bookings.book(bookings.timeslots()[0])
    bookings.patch(appointment["id"], status="cancelled")

    assert error_codes(bookings.patch(appointment["id"], status="cancelled")) == ["BAD_INPUT"]
    bookings.switch(cancelling_twice="accepted")
    assert bookings.patch(appointment["id"], status="cancelled").json()["status"] == "cancelled"


def test_an_appointment_moves_to_a_free_time_and_leaves_its_own(bookings: BookingClient) -> None:
    first, other = times_of_one_resource(bookings)
    appointment = bookings.book(first)

    moved = bookings.patch(appointment["id"], start=other["start"], end=other["end"], comment="later").json()

    assert moved == {**appointment, "start": other["start"], "end": other["end"], "comment": "later"}
    assert first in bookings.timeslots()
    assert other not in bookings.timeslots()


def test_a_move_to_a_time_that_is_taken_changes_nothing(bookings: BookingClient) -> None:
    first, other = times_of_one_resource(bookings)
    appointment = bookings.book(first)
    bookings.book(other)

    answer = bookings.patch(appointment["id"], start=other["start"], end=other["end"], comment="later")

    assert error_codes(answer) == ["NO_TIMESLOTS_AVAILABLE"]
    assert appointment in bookings.listed()


def test_an_appointment_moves_to_another_resource_at_its_time(bookings: BookingClient) -> None:
    slots = bookings.timeslots()
    same = ("start", "end", "healthcare_service_id")
    first, other = next(
        (one, two)
        for one in slots
        for two in slots
        if one["resource_id"] != two["resource_id"] and all(one[name] == two[name] for name in same)
    )
    appointment = bookings.book(first)

    moved = bookings.patch(appointment["id"], resource_id=other["resource_id"]).json()

    assert moved == {**appointment, "resource_id": other["resource_id"]}
    assert other not in bookings.timeslots()


def test_a_comment_alone_changes_no_time(bookings: BookingClient) -> None:
    appointment = bookings.book(bookings.timeslots()[0])

    assert bookings.patch(appointment["id"], comment="new").json() == {**appointment, "comment": "new"}
    assert error_codes(bookings.patch(appointment["id"], comment="x" * 201)) == ["INVALID_COMMENT_LENGTH"]


@pytest.mark.parametrize(
    "body",
    [
        {"start": "2026-03-03T08:00:00+01:00"},
        {"end": "2026-03-03T08:00:00+01:00"},
        {"status": "booked"},
        {"status": 1},
        {"confirmation": "1234"},
        {"confirmation": {}},
    ],
)
def test_a_change_that_cannot_be_read_is_refused(bookings: BookingClient, body: dict[str, Any]) -> None:
    appointment = bookings.book(bookings.timeslots()[0])

    answer = bookings.patch(appointment["id"], **body)

    assert (answer.status_code, answer.json()["code"], "errors" in answer.json()) == (400, "BAD_REQUEST", False)
    assert bookings.listed() == [appointment]


def test_an_id_that_nothing_has_is_refused_and_so_is_one_of_another_care_unit(bookings: BookingClient) -> None:
    appointment = bookings.book(bookings.timeslots()[0])
    elsewhere = bookings.base.replace("L0_1", "L0_2")

    assert error_codes(bookings.patch("nothing", status="cancelled")) == ["INVALID_APPOINTMENT_ID"]
    answer = bookings.http.patch(f"{elsewhere}/appointments/{appointment['id']}", json={"status": "cancelled"})
    assert error_codes(answer) == ["INVALID_APPOINTMENT_ID"]


def test_a_cancelled_appointment_does_not_move(bookings: BookingClient) -> None:
    appointment = bookings.book(bookings.timeslots()[0])
    bookings.patch(appointment["id"], status="cancelled")

    assert error_codes(bookings.patch(appointment["id"], comment="again")) == ["BAD_INPUT"]


def test_a_booking_that_awaits_its_code_holds_the_time_and_gets_a_new_id(bookings: BookingClient) -> None:
    anita = bookings.at("anitasystems")
    slot = anita.timeslots()[0]
    appointment = anita.book(slot)
    (booked,) = anita.booked()
    assert appointment["status"] == booked["status"] == "awaiting_confirmation"
    assert slot not in anita.timeslots()
    assert error_codes(anita.post(slot)) == ["NO_TIMESLOTS_AVAILABLE"]

    assert error_codes(anita.confirm(appointment["id"], "wrong")) == ["BAD_INPUT"]
    confirmed = anita.confirm(appointment["id"], booked["code"]).json()

    assert confirmed == {**appointment, "id": confirmed["id"], "status": "booked"}
    assert confirmed["id"] != appointment["id"]
    assert error_codes(anita.confirm(appointment["id"], booked["code"])) == ["INVALID_APPOINTMENT_ID"]
    assert error_codes(anita.confirm(confirmed["id"], booked["code"])) == ["BAD_INPUT"]


def test_a_confirmed_booking_may_keep_its_id(bookings: BookingClient) -> None:
    anita = bookings.at("anitasystems")
    anita.switch(confirming_changes_id=False)
    appointment = anita.book(anita.timeslots()[0])

    assert anita.confirm(appointment["id"], anita.booked()[0]["code"]).json() == {**appointment, "status": "booked"}


def test_cancelling_by_code_gives_a_new_id_and_keeps_the_time_until_then(bookings: BookingClient) -> None:
    anita = bookings.at("anitasystems")
    anita.switch(booking_needs_code=False, unsupported=[])
    slot = anita.timeslots()[0]
    appointment = anita.book(slot)

    first, second = (anita.patch(appointment["id"], status="cancelled").json() for _ in range(2))

    assert first["status"] == second["status"] == "awaiting_confirmation"
    assert len({appointment["id"], first["id"], second["id"]}) == 3
    assert anita.listed() == [appointment]
    assert slot not in anita.timeslots()
    cancellation = anita.booked()[0]["cancellation"]
    assert cancellation["id"] == second["id"]
    assert error_codes(anita.confirm(first["id"], cancellation["code"])) == ["INVALID_APPOINTMENT_ID"]
    assert error_codes(anita.confirm(second["id"], "wrong")) == ["BAD_INPUT"]

    cancelled = anita.confirm(second["id"], cancellation["code"]).json()

    assert cancelled == {**appointment, "id": second["id"], "status": "cancelled"}
    assert anita.listed() == [{**appointment, "status": "cancelled"}]
    assert slot in anita.timeslots()
    assert error_codes(anita.confirm(second["id"], cancellation["code"])) == ["BAD_INPUT"]


@pytest.mark.parametrize(
    ("emr", "body"),
    [
        ("kaddio", {"comment": "x"}),
        ("kaddio", {"status": "cancelled"}),
        ("webdoc", {"confirmation": {"code": "123456"}}),
    ],
)
def test_what_an_ehr_cannot_do_is_not_supported(bookings: BookingClient, emr: str, body: dict[str, Any]) -> None:
    client = bookings.at(emr)
    appointment = client.book(client.timeslots()[0])

    assert error_codes(client.patch(appointment["id"], **body)) == ["NOT_SUPPORTED"]


@pytest.mark.parametrize("operation", ["book", "update", "cancel", "confirm", "list_appointments", "create_patient"])
def test_any_operation_can_be_switched_off(bookings: BookingClient, operation: str) -> None:
    appointment, slot = bookings.book(bookings.timeslots()[0]), bookings.timeslots()[0]
    patient = bookings.patient()
    bookings.switch(unsupported=[operation])
    asked = {
        "book": lambda: bookings.post(slot, patient),
        "update": lambda: bookings.patch(appointment["id"], comment="x"),
        "cancel": lambda: bookings.patch(appointment["id"], status="cancelled"),
        "confirm": lambda: bookings.confirm(appointment["id"], "1"),
        "list_appointments": lambda: bookings.http.get(f"{bookings.base}/appointments"),
        "create_patient": lambda: bookings.http.post(f"{bookings.base}/patients", json={}),
    }

    assert error_codes(asked[operation]()) == ["NOT_SUPPORTED"]
