"""How tests ask for bookings, and read what they came to."""

from gateway.booking.requests import BookRequest
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    BookingFailureReason,
    BookingResult,
    Cancelled,
    Outcome,
    Refused,
    Wish,
)
from gateway.domain.ids import TimeslotId
from gateway.domain.patients import Country, NationalNumber, Patient, PatientByLeyrId
from tests.unit.booking.model_ehr import slot
from tests.unit.booking.processes import Machine, Process

TOLVAN = PatientByLeyrId("tolvan")
NUMBER = NationalNumber(Country.SE, "191212121212")
Reason = BookingFailureReason


def request(*slots: TimeslotId, patient: Patient = TOLVAN) -> BookRequest:
    return BookRequest(Wish.all_of(slots or (slot(),)), patient)


def book(machine: Machine, process: Process, key: str, asked: BookRequest | None = None) -> BookingResult:
    result = machine.run(process, process.bookings.book("page", key, asked or request()))
    assert isinstance(result, BookingResult)
    return result


def reason(outcome: Outcome) -> BookingFailureReason:
    assert isinstance(outcome, Refused)
    return outcome.reason


def appointment_of(result: BookingResult) -> str:
    assert isinstance(result.outcome, Booked | AwaitingConfirmation | Cancelled)
    return result.outcome.appointment.leyr_id
