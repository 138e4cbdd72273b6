"""Booking over HTTP as a page does it: booked, confirmed, cancelled, moved, at EHRs that differ."""

from datetime import datetime

import pytest

from tests.harness import Simulator
from tests.integration.booking.ehr import NORWEGIAN_NUMBER, Ehr
from tests.integration.booking.page import OLA, TOLVAN, Page, new_key


def test_booked_time_is_there_once_and_the_same_key_books_nothing_more(page: Page, simulator: Simulator) -> None:
    slot, key = page.slots()[0], new_key()

    first = page.book(slot, idempotencyKey=key)
    again = page.book(slot, idempotencyKey=key)

    assert (first["__typename"], first["replayed"], first["deviations"]) == ("AppointmentBooked", False, [])
    assert first["appointment"]["status"] == "BOOKED"
    assert datetime.fromisoformat(first["appointment"]["start"]) == datetime.fromisoformat(slot["start"])
    assert again == {**first, "replayed": True}
    assert page.outcome(key) == again
    ehr = Ehr(simulator, "webdoc")
    assert [each["id"] for each in ehr.appointments()] == [first["appointment"]["leyrId"]]
    assert len(ehr.writes()) == 1


def test_key_with_other_input_is_a_mismatch_that_shows_nothing(page: Page, simulator: Simulator) -> None:
    first, second, *_ = page.slots()
    key = new_key()
    page.book(first, idempotencyKey=key)

    other = page.book(second, idempotencyKey=key)

    assert (other["__typename"], other["reason"]) == ("BookingRefused", "KEY_MISMATCH")
    assert "appointment" not in other
    assert len(Ehr(simulator, "webdoc").writes()) == 1


def test_book_cancel_and_book_again_with_a_new_key(page: Page, simulator: Simulator) -> None:
    slot, key = page.slots()[0], new_key()
    first = page.book(slot, idempotencyKey=key)

    cancelled = page.cancel(first["appointment"]["id"])
    second = page.book(slot)
    replayed = page.book(slot, idempotencyKey=key)

    assert cancelled["__typename"] == "AppointmentCancelled"
    assert second["__typename"] == "AppointmentBooked"
    assert second["appointment"]["leyrId"] != first["appointment"]["leyrId"]
    assert replayed == {**first, "replayed": True}
    assert [each["status"] for each in Ehr(simulator, "webdoc").appointments()] == ["cancelled", "booked"]


def test_cancelling_twice_is_one_call(page: Page, simulator: Simulator) -> None:
    appointment = page.book(page.slots()[0])["appointment"]["id"]
    page.cancel(appointment)

    again = page.cancel(appointment)

    assert again["reason"] == "ALREADY_CANCELLED"
    assert len(Ehr(simulator, "webdoc").writes("change_appointment")) == 1


def test_the_next_wish_is_taken_only_where_the_first_is_gone(page: Page, other: Page, simulator: Simulator) -> None:
    first, second, *_ = page.slots()
    other.book(first)

    answer = page.book(first, second)

    assert answer["__typename"] == "AppointmentBooked"
    assert datetime.fromisoformat(answer["appointment"]["start"]) == datetime.fromisoformat(second["start"])
    assert len(Ehr(simulator, "webdoc").appointments()) == 2


def test_anita_books_and_cancels_by_codes(page: Page, simulator: Simulator) -> None:
    anita = Ehr(simulator, "anitasystems")
    booking = page.book(page.slots("anitasystems")[0], patient=OLA)
    assert booking["__typename"] == "AppointmentAwaitingConfirmation"
    appointment = booking["appointment"]["id"]

    assert page.confirm(appointment, "000000x")["reason"] == "CODE_WRONG"
    confirmed = page.confirm(appointment, anita.code())
    assert (confirmed["__typename"], confirmed["appointment"]["status"]) == ("AppointmentBooked", "BOOKED")
    cancelling = page.cancel(confirmed["appointment"]["id"])
    assert cancelling["__typename"] == "AppointmentAwaitingConfirmation"
    assert cancelling["appointment"]["id"] != confirmed["appointment"]["id"]
    assert anita.appointments()[0]["status"] == "booked"
    cancelled = page.confirm(cancelling["appointment"]["id"], anita.code())

    assert cancelled["__typename"] == "AppointmentCancelled"
    assert [each["status"] for each in anita.appointments()] == ["cancelled"]


def test_five_wrong_codes_end_a_confirmation(page: Page, simulator: Simulator) -> None:
    anita = Ehr(simulator, "anitasystems")
    appointment = page.book(page.slots("anitasystems")[0], patient=OLA)["appointment"]["id"]

    reasons = [page.confirm(appointment, f"wrong{number}")["reason"] for number in range(5)]
    right = page.confirm(appointment, anita.code())

    assert reasons[:4] == ["CODE_WRONG"] * 4
    assert right["reason"] == "TOO_MANY_ATTEMPTS"
    assert len(anita.writes("change_appointment")) == 5
    assert anita.appointments()[0]["status"] == "awaiting_confirmation"


def test_kaddio_cannot_move_or_cancel_and_is_not_asked_to(page: Page, simulator: Simulator) -> None:
    first, second, *_ = page.slots("kaddio")
    appointment = page.book(first)["appointment"]["id"]

    moved = page.do("reschedule", appointmentId=appointment, timeslotId=second["id"])

    assert (moved["__typename"], moved["reason"], moved["retryable"]) == ("BookingRefused", "NOT_SUPPORTED", False)
    assert Ehr(simulator, "kaddio").writes("change_appointment") == []
    assert [each["status"] for each in Ehr(simulator, "kaddio").appointments()] == ["booked"]


def test_konfidens_takes_a_norwegian_number(page: Page, simulator: Simulator) -> None:
    number = {"nationalNumber": {"country": "NO", "number": NORWEGIAN_NUMBER}}

    answer = page.book(page.slots("konfidens")[0], patient=number)

    assert answer["__typename"] == "AppointmentBooked", answer
    assert len(Ehr(simulator, "konfidens").appointments()) == 1
    assert "_number" not in str([(call["path"], call["query"]) for call in simulator.calls()])


@pytest.mark.parametrize(("other", "told"), [("end", ["END"]), ("resource", ["RESOURCE"]), ("start", ["START", "END"])])
def test_what_is_booked_otherwise_is_told_and_both_times_are_read_again(
    page: Page, simulator: Simulator, other: str, told: list[str]
) -> None:
    simulator.behaviour("webdoc", books_other=other)
    slot = page.slots()[0]

    answer = page.book(slot)

    assert set(told) <= set(answer["deviations"]) <= {*told, "HEALTHCARE_SERVICE"}
    (held,) = Ehr(simulator, "webdoc").appointments()
    assert answer["appointment"]["resource"]["leyrId"] == held["resource_id"]


def test_two_refusals_are_two_problems(page: Page) -> None:
    answer = page.book(page.slots()[0], patient={"leyrId": "nobody"}, comment="x" * 201)

    assert (answer["reason"], answer["retryable"]) == ("PATIENT_REJECTED", False)
    assert answer["problems"] == [
        {"code": "INVALID_PATIENT_ID", "inputField": "patient"},
        {"code": "INVALID_COMMENT_LENGTH", "inputField": "comment"},
    ]


def test_a_patient_who_is_booked_already_is_told_so_and_not_to_try_again(page: Page, simulator: Simulator) -> None:
    simulator.behaviour("webdoc", patient_overlaps="refused")
    slots = page.slots()
    first, second = next(
        (one, other)
        for number, one in enumerate(slots)
        for other in slots[number + 1 :]
        if one["resourceId"] != other["resourceId"] and one["start"] == other["start"]
    )
    page.book(first)

    answer = page.book(second)

    assert (answer["reason"], answer["retryable"]) == ("PATIENT_ALREADY_BOOKED", False)
    assert len(Ehr(simulator, "webdoc").appointments()) == 1


def test_a_move_takes_the_new_time_and_frees_the_old_one(page: Page) -> None:
    first, *others = page.slots()
    second = next(
        each for each in others
        if (each["resourceId"], each["healthcareServiceId"]) == (first["resourceId"], first["healthcareServiceId"])
    )  # fmt: skip
    appointment = page.book(first)["appointment"]

    moved = page.do("reschedule", appointmentId=appointment["id"], timeslotId=second["id"])
    free = {each["id"] for each in page.slots()}

    assert moved["__typename"] == "AppointmentBooked"
    assert datetime.fromisoformat(moved["appointment"]["start"]) == datetime.fromisoformat(second["start"])
    assert first["id"] in free
    assert second["id"] not in free


def test_an_appointment_is_read_from_the_ehr(page: Page) -> None:
    booked = page.book(page.slots()[0], patient=TOLVAN)["appointment"]

    answer = page.ask("query($id: ID!) { appointment(id: $id) { leyrId status } }", id=booked["id"])

    assert answer["data"] == {"appointment": {"leyrId": booked["leyrId"], "status": "BOOKED"}}
