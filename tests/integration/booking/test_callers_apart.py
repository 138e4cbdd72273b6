"""Appointments are their caller's: nobody else sees, confirms, cancels or moves them by any id that it can make."""

from base64 import b64encode
from collections.abc import Iterator

from tests.harness import Simulator
from tests.integration.booking.ehr import Ehr
from tests.integration.booking.page import OLA, Page, new_key

READ = "query($id: ID!) { appointment(id: $id) { leyrId } }"


def ids_made_of(sealed: str, leyr_id: str, own: str) -> Iterator[str]:
    """What somebody may try who knows an id that is not its own, and one that is."""
    mac, _, rest = sealed.partition(".")
    own_mac, _, own_rest = own.partition(".")
    yield from (sealed, f"{own_mac}.{rest}", f"{mac}.{own_rest}", f".{rest}", rest, mac, leyr_id, "", "a", "x" * 20_000)
    yield from (b64encode(f"Appointment:{text}".encode()).decode() for text in (leyr_id, f"webdoc/L0_1/{leyr_id}"))
    yield from (sealed + "a", sealed.upper(), sealed[:-2], sealed.replace(".", ".."), f"{sealed}.{rest}")
    yield from (
        sealed[:place] + ("a" if sealed[place] != "a" else "b") + sealed[place + 1 :]
        for place in range(0, len(sealed), 7)
    )


def test_no_id_of_anothers_appointment_does_anything(page: Page, other: Page, simulator: Simulator) -> None:
    first, second, third, *_ = page.slots()
    mine, theirs = page.book(first)["appointment"], other.book(second)["appointment"]
    before = len(simulator.calls())

    for made in ids_made_of(mine["id"], mine["leyrId"], theirs["id"]):
        read = other.ask(READ, id=made)
        assert read["data"] == {"appointment": None}, made
        assert [error["extensions"]["code"] for error in read["errors"]] == ["NOT_FOUND"]
        answers = [
            other.cancel(made),
            other.confirm(made, "123456"),
            other.do("reschedule", appointmentId=made, timeslotId=third["id"]),
        ]
        assert {(each["__typename"], each["reason"]) for each in answers} == {
            ("BookingRefused", "APPOINTMENT_NOT_FOUND")
        }

    assert len(simulator.calls()) == before
    assert [each["status"] for each in Ehr(simulator, "webdoc").appointments()] == ["booked", "booked"]
    assert page.ask(READ, id=mine["id"])["data"] == {"appointment": {"leyrId": mine["leyrId"]}}


def test_a_code_confirms_nobody_elses_booking(page: Page, other: Page, simulator: Simulator) -> None:
    anita = Ehr(simulator, "anitasystems")
    mine = page.book(page.slots("anitasystems")[0], patient=OLA)["appointment"]

    assert other.confirm(mine["id"], anita.code())["reason"] == "APPOINTMENT_NOT_FOUND"
    assert anita.appointments()[0]["status"] == "awaiting_confirmation"
    assert page.confirm(mine["id"], anita.code())["__typename"] == "AppointmentBooked"


def test_one_key_of_two_callers_is_two_bookings(page: Page, other: Page, simulator: Simulator) -> None:
    first, second, *_ = page.slots()
    key = new_key()

    mine = page.book(first, idempotencyKey=key)
    assert other.outcome(key) is None
    theirs = other.book(second, idempotencyKey=key)

    assert (mine["replayed"], theirs["replayed"]) == (False, False)
    assert len(Ehr(simulator, "webdoc").appointments()) == 2
    assert page.outcome(key) == {**mine, "replayed": True}
    assert other.outcome(key) == {**theirs, "replayed": True}


def test_one_key_of_two_mutations_is_two_keys(page: Page) -> None:
    key = new_key()
    booked = page.book(page.slots()[0], idempotencyKey=key)

    cancelled = page.cancel(booked["appointment"]["id"], idempotencyKey=key)

    assert (cancelled["__typename"], cancelled["replayed"]) == ("AppointmentCancelled", False)
