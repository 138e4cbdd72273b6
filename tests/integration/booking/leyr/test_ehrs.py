"""What EHRs do differently: codes, national numbers, what they cannot do, and what they book otherwise than asked."""

from pathlib import Path
from typing import Any

import pytest

from gateway.booking.journal import JournalEntry, JournalState
from gateway.booking.sqlite_journal import SqliteJournal
from gateway.domain.appointments import Appointment, AppointmentDeviation, AppointmentStatus, deviations
from gateway.domain.booking import Booked, BookingProblem, BookingStep, Refused, Wish
from gateway.domain.booking import BookingFailureReason as Reason
from gateway.domain.booking_answers import FoundPatient, SlotRefused
from gateway.domain.errors import NotSupported
from gateway.domain.patients import Country, NationalNumber, PatientByLeyrId, PatientDetails
from gateway.leyr.appointments_client import AppointmentsClient
from tests.harness import NOW, Simulator
from tests.integration.booking.ehr import NORWEGIAN_NUMBER, OLA, SWEDISH_NUMBER, Ehr, when
from tests.integration.booking.leyr.conftest import ClientFactory


async def patient_of(client: AppointmentsClient, ehr: Ehr) -> FoundPatient:
    found = await client.find_or_make_patient(ehr.unit, ehr.details)
    assert isinstance(found, FoundPatient)
    return found


async def booked(client: AppointmentsClient, ehr: Ehr, wish: Wish) -> Appointment:
    answer = await client.book(wish, await patient_of(client, ehr), None)
    assert isinstance(answer, Appointment), answer
    return answer


async def test_anita_books_and_cancels_by_codes_under_new_ids(simulator: Simulator, client_of: ClientFactory) -> None:
    anita = Ehr(simulator, "anitasystems")
    wish = anita.wishes()[0]
    async with client_of() as client:
        awaiting = await booked(client, anita, wish)
        assert awaiting.status is AppointmentStatus.AWAITING_CONFIRMATION

        wrong = await client.confirm(anita.unit, awaiting.leyr_id, "no code")
        assert isinstance(wrong, Refused)
        assert (wrong.reason, wrong.retryable) == (Reason.CODE_WRONG, False)

        confirmed = await client.confirm(anita.unit, awaiting.leyr_id, anita.code())
        assert isinstance(confirmed, Appointment)
        assert confirmed.status is AppointmentStatus.BOOKED
        assert confirmed.leyr_id != awaiting.leyr_id

        cancelling = await client.cancel(anita.unit, confirmed.leyr_id, None)
        assert isinstance(cancelling, Appointment)
        assert cancelling.status is AppointmentStatus.AWAITING_CONFIRMATION
        assert cancelling.leyr_id != confirmed.leyr_id
        assert anita.appointments()[0]["status"] == "booked"

        cancelled = await client.confirm(anita.unit, cancelling.leyr_id, anita.code())
        assert isinstance(cancelled, Appointment)
        assert cancelled.status is AppointmentStatus.CANCELLED
        with pytest.raises(NotSupported):
            await client.appointments(anita.unit, when(wish))
    assert [each["status"] for each in anita.appointments()] == ["cancelled"]


async def test_anita_wants_a_telephone_number(simulator: Simulator, client_of: ClientFactory) -> None:
    anita = Ehr(simulator, "anitasystems")
    async with client_of() as client:
        answer = await client.find_or_make_patient(anita.unit, PatientDetails("Ola", "Nordmann"))

    assert isinstance(answer, Refused)
    assert (answer.reason, answer.problems) == (Reason.PATIENT_REJECTED, (BookingProblem("MISSING_REQUIRED_FIELD"),))


@pytest.mark.parametrize("change", ["cancel", "reschedule"])
async def test_kaddio_cannot_change_appointments(simulator: Simulator, client_of: ClientFactory, change: str) -> None:
    kaddio = Ehr(simulator, "kaddio")
    first, second = kaddio.wishes()[:2]
    async with client_of() as client:
        appointment = await booked(client, kaddio, first)
        answer = await (
            client.cancel(kaddio.unit, appointment.leyr_id, None)
            if change == "cancel"
            else client.reschedule(kaddio.unit, appointment.leyr_id, second, None)
        )

    assert isinstance(answer, Refused)
    assert (answer.reason, answer.retryable) == (Reason.NOT_SUPPORTED, False)
    assert [each["status"] for each in kaddio.appointments()] == ["booked"]


async def test_konfidens_takes_norwegian_numbers_alone(simulator: Simulator, client_of: ClientFactory) -> None:
    konfidens = Ehr(simulator, "konfidens")
    wish = konfidens.wishes()[0]
    async with client_of() as client:
        swedish = await client.book(wish, NationalNumber(Country.SE, SWEDISH_NUMBER), None)
        unnumbered = await client.find_or_make_patient(konfidens.unit, PatientDetails("Kari", "Nordmann"))
        norwegian = await client.book(wish, NationalNumber(Country.NO, NORWEGIAN_NUMBER), None)

    assert isinstance(swedish, Refused)
    assert swedish.reason is Reason.NOT_SUPPORTED
    assert isinstance(unnumbered, Refused)
    assert unnumbered.reason is Reason.PATIENT_REJECTED
    assert isinstance(norwegian, Appointment)
    assert "_number" not in str([(call["path"], call["query"]) for call in simulator.calls()])


async def test_an_unknown_patient_is_rejected(webdoc: Ehr, client_of: ClientFactory) -> None:
    async with client_of() as client:
        answer = await client.book(webdoc.wishes()[0], PatientByLeyrId("nobody"), None)

    assert isinstance(answer, Refused)
    assert (answer.reason, answer.problems) == (
        Reason.PATIENT_REJECTED,
        (BookingProblem("INVALID_PATIENT_ID", "patient"),),
    )


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("shape", ["list", "object"])
async def test_an_appointment_is_read_in_every_form(
    webdoc: Ehr, client_of: ClientFactory, shape: str, status: int, optional: bool
) -> None:
    webdoc.simulator.behaviour("webdoc", booking_answer=shape, created_status=status, optional_fields=optional)
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        answer = await booked(client, webdoc, wish)

    assert answer.leyr_id == webdoc.appointments()[0]["id"]
    assert (answer.resource_id == wish.resource) is optional
    assert deviations(wish.timeslot, answer) == ()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("start", {AppointmentDeviation.START, AppointmentDeviation.END}),
        ("end", {AppointmentDeviation.END}),
        ("resource", {AppointmentDeviation.RESOURCE}),
        ("service", {AppointmentDeviation.HEALTHCARE_SERVICE}),
    ],
)
async def test_what_is_booked_otherwise_is_told(
    webdoc: Ehr, client_of: ClientFactory, other: str, told: set[AppointmentDeviation]
) -> None:
    webdoc.simulator.behaviour("webdoc", books_other=other)
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        answer = await booked(client, webdoc, wish)

    # The next start may have another service's length.
    assert told <= set(deviations(wish.timeslot, answer)) <= told | {AppointmentDeviation.HEALTHCARE_SERVICE}


async def test_two_refusals_are_two_problems(webdoc: Ehr, client_of: ClientFactory) -> None:
    async with client_of() as client:
        answer = await client.book(webdoc.wishes()[0], PatientByLeyrId("nobody"), "x" * 201)

    assert isinstance(answer, Refused)
    assert answer.problems == (
        BookingProblem("INVALID_PATIENT_ID", "patient"),
        BookingProblem("INVALID_COMMENT_LENGTH", "comment"),
    )


async def test_a_patient_who_is_booked_already_is_told_and_cannot_be_tried_again(
    webdoc: Ehr, client_of: ClientFactory
) -> None:
    webdoc.simulator.behaviour("webdoc", patient_overlaps="refused")
    wishes = webdoc.wishes()
    first, second = next(
        (one, other)
        for number, one in enumerate(wishes)
        for other in wishes[number + 1 :]
        if one.resource != other.resource and when(one).overlaps(when(other))
    )
    async with client_of() as client:
        await booked(client, webdoc, first)
        patient = await patient_of(client, webdoc)
        elsewhere, again = await client.book(second, patient, None), await client.book(first, patient, None)

    for answer in (elsewhere, again):
        assert isinstance(answer, Refused)
        assert (answer.reason, answer.retryable) == (Reason.PATIENT_ALREADY_BOOKED, False)
    assert isinstance(again, Refused)
    assert {each.code for each in again.problems} == {"NO_TIMESLOTS_AVAILABLE", "BAD_INPUT"}


async def test_a_time_that_has_room_for_three_takes_three(webdoc: Ehr, client_of: ClientFactory) -> None:
    webdoc.simulator.behaviour("webdoc", capacity=3)
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await patient_of(client, webdoc)
        answers = [await client.book(wish, patient, None) for _ in range(5)]

    assert [type(each) for each in answers] == [Appointment] * 3 + [SlotRefused] * 2


async def test_a_move_frees_one_time_and_takes_another(webdoc: Ehr, client_of: ClientFactory) -> None:
    first, *others = webdoc.wishes()
    # A move keeps the kind of visit.
    second = next(each for each in others if (each.resource, each.service) == (first.resource, first.service))
    async with client_of() as client:
        appointment = await booked(client, webdoc, first)
        moved = await client.reschedule(webdoc.unit, appointment.leyr_id, second, None)
        listed = await client.appointments(webdoc.unit, when(second), resource=second.resource)

    assert isinstance(moved, Appointment)
    assert moved.leyr_id == appointment.leyr_id
    assert [each.appointment for each in listed.items] == [moved]
    assert first in webdoc.wishes()


@pytest.mark.parametrize("wrapped", [False, True])
async def test_appointments_are_listed_for_a_time_with_their_patients(
    webdoc: Ehr, client_of: ClientFactory, wrapped: bool
) -> None:
    webdoc.simulator.behaviour("webdoc", wrapped_lists=wrapped)
    wishes = webdoc.wishes()
    async with client_of() as client:
        patient = await patient_of(client, webdoc)
        appointment = await client.book(wishes[0], patient, None)
        listed = await client.appointments(webdoc.unit, when(wishes[0]), resource=wishes[0].resource)

    assert [(each.appointment, each.patient_id) for each in listed.items] == [(appointment, patient.patient_id)]


async def test_journal_keeps_what_leyr_answered_and_nobodys_number(
    simulator: Simulator, client_of: ClientFactory, tmp_path: Path
) -> None:
    konfidens, path = Ehr(simulator, "konfidens"), tmp_path / "journal.sqlite"
    wish, number = konfidens.wishes()[0], NationalNumber(Country.NO, NORWEGIAN_NUMBER)
    entry: dict[str, Any] = {"caller": "page", "input": b"digest", "owner": "", "care_unit": konfidens.unit}
    claimed = JournalEntry(
        b"key", BookingStep.BOOK, state=JournalState.CLAIMED, expires_at=wish.timeslot.start, **entry
    )
    async with SqliteJournal(path, lambda: "a" * 32, lambda: NOW) as journal, client_of() as client:
        assert await journal.claim(claimed) is None
        answer = await client.book(wish, number, "Comment of the patient")
        assert isinstance(answer, Appointment)
        outcome = Booked(answer)
        done = JournalEntry(
            b"key",
            BookingStep.BOOK,
            state=JournalState.DONE,
            expires_at=wish.timeslot.start,
            wish=wish,
            outcome=outcome,
            **entry,
        )
        assert await journal.write(done)
        held = _bytes_in(tmp_path)
    async with SqliteJournal(path, lambda: "b" * 32, lambda: NOW) as journal:
        found = await journal.find(b"key")

    assert found is not None
    assert found.outcome == outcome
    texts = (NORWEGIAN_NUMBER, OLA.first_name, OLA.last_name, "Comment of the patient")
    assert [each for each in texts if each.encode() in held + _bytes_in(tmp_path)] == []


def _bytes_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir() if each.is_file())
