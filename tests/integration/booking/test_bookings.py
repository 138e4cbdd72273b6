"""Booking over HTTP, on the simulated Leyr with a journal: what a page does, and what everybody sees then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.harness import CACHES_ON, Gateway

SECRET = "a secret of booking with 32 characters"
KINDS = ("leyr_id", "emr_id", "national_number", "details")
SLOTS = """query($emr: String) { careUnits(emr: $emr) { id timeslots(first: 3) { id start resource { name } } } }"""
SHOWN = """__typename
  ... on BookingSuccess { replayed appointment { id status start careUnit { name } resource { name } } }
  ... on BookingFailure { reason retryable replayed }
  ... on BookingRefused { problems { code } }"""
TAKEN = "... on TimeslotTaken { alternatives { id } }"
BOOK = f"mutation($input: BookAppointmentInput!) {{ bookAppointment(input: $input) {{ {SHOWN} {TAKEN} }} }}"
CANCEL = f"mutation($input: CancelAppointmentInput!) {{ cancelAppointment(input: $input) {{ {SHOWN} }} }}"
SWEDE = {"details": {"firstName": "Tolvan", "lastName": "Tolvansson"}}
Serve = Callable[..., Gateway]


@pytest.fixture
def booking(serve_gateway: Serve, tmp_path: Path) -> Gateway:
    """A gateway on which everybody may book, in every way."""
    return serve_gateway(
        **CACHES_ON,
        gateway_journal=tmp_path / "journal.sqlite",
        gateway_booking_secret=SECRET,
        gateway_anonymous_booking=True,
        gateway_anonymous_patient_by=KINDS,
    )


def slots(gateway: Gateway, emr: str = "webdoc") -> list[dict[str, Any]]:
    """The first free times of the first care unit that has some."""
    units = gateway.data(SLOTS, emr=emr)["careUnits"]
    found: list[dict[str, Any]] = next(unit["timeslots"] for unit in units if len(unit["timeslots"]) > 1)
    return found


def book(gateway: Gateway, slot: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    given = {"idempotencyKey": key or str(uuid4()), "timeslotIds": [slot], "patient": SWEDE, **more}
    found: dict[str, Any] = gateway.data(BOOK, input=given)["bookAppointment"]
    return found


def test_a_booking_is_made_once_for_its_key_and_everybody_sees_it(booking: Gateway) -> None:
    slot, key = slots(booking)[0], str(uuid4())

    first, again = book(booking, slot["id"], key), book(booking, slot["id"], key)

    assert (first["__typename"], first["replayed"]) == ("AppointmentBooked", False)
    assert (again["__typename"], again["replayed"]) == ("AppointmentBooked", True)
    assert again["appointment"] == first["appointment"]
    assert first["appointment"]["status"] == "BOOKED"
    assert slot["id"] not in [each["id"] for each in slots(booking)]
    outcome = booking.data(f"query($key: String!) {{ bookingOutcome(idempotencyKey: $key) {{ {SHOWN} }} }}", key=key)
    assert outcome["bookingOutcome"]["appointment"] == first["appointment"]


def test_a_key_stands_for_one_thing(booking: Gateway) -> None:
    (first, second, *_), key = slots(booking), str(uuid4())
    book(booking, first["id"], key)

    found = book(booking, second["id"], key)

    assert (found["__typename"], found["reason"]) == ("BookingRefused", "KEY_MISMATCH")


def test_a_taken_time_has_alternatives_without_it(booking: Gateway) -> None:
    slot = slots(booking)[0]
    book(booking, slot["id"])

    found = book(booking, slot["id"])

    assert (found["__typename"], found["reason"]) == ("TimeslotTaken", "TIMESLOT_TAKEN")
    assert found["alternatives"]
    assert slot["id"] not in [each["id"] for each in found["alternatives"]]


def test_the_next_wish_is_booked_when_the_first_is_taken(booking: Gateway) -> None:
    first, second, *_ = slots(booking)
    book(booking, first["id"])

    found = book(booking, first["id"], timeslotIds=[first["id"], second["id"]])

    assert found["appointment"]["start"] == second["start"]


def test_an_appointment_is_cancelled_by_its_id(booking: Gateway) -> None:
    slot = slots(booking, "cliniko")[0]
    booked = book(booking, slot["id"])
    given = {"idempotencyKey": str(uuid4()), "appointmentId": booked["appointment"]["id"]}

    found = booking.data(CANCEL, input=given)["cancelAppointment"]

    assert (found["__typename"], found["appointment"]["status"]) == ("AppointmentCancelled", "CANCELLED")
    again = booking.data(CANCEL, input={**given, "idempotencyKey": str(uuid4())})["cancelAppointment"]
    assert again["reason"] == "ALREADY_CANCELLED"


def test_without_the_right_nothing_is_sent(serve_gateway: Serve, tmp_path: Path) -> None:
    gateway = serve_gateway(gateway_journal=tmp_path / "journal.sqlite", gateway_booking_secret=SECRET)
    slot = slots(gateway)[0]
    given = {"idempotencyKey": str(uuid4()), "timeslotIds": [slot["id"]], "patient": SWEDE}

    answer = gateway.ask(BOOK, input=given)

    assert answer["data"] == {"bookAppointment": None}
    assert [each["extensions"]["code"] for each in answer["errors"]] == ["FORBIDDEN"]


def test_each_booking_is_one_line_of_the_log_with_nothing_of_a_patient(booking: Gateway) -> None:
    book(booking, slots(booking)[0]["id"])

    (line,) = [each for each in booking.lines() if each["event"] == "booking.answered"]
    assert (line["caller"], line["emr"], line["kind"], line["outcome"]) == ("anonymous", "webdoc", "book", "booked")
    assert "Tolvan" not in str(booking.lines())


def test_nothing_of_a_patient_is_in_the_journal_or_in_the_log(booking: Gateway, tmp_path: Path) -> None:
    number = {"country": "NO", "number": "262586 05879"}
    ola = {"firstName": "Olanordmann", "lastName": "Nordmannola", "nationalNumber": number, "phones": ["+4722225555"]}
    slot = slots(booking, "konfidens")[0]
    given = {"patient": {"details": ola}, "comment": "secret-comment"}

    found = book(booking, slot["id"], "a-key-that-is-not-kept-as-it-is", **given)

    assert found["__typename"] == "AppointmentBooked"
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    said = booking.log.getvalue().encode()
    canaries = (b"Olanordmann", b"Nordmannola", b"26258605879", b"22225555", b"secret-comment", b"a-key-that-is")
    assert kept
    assert [each for each in canaries if each in kept or each in said] == []
