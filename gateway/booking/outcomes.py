"""What an EHR's answers come to as outcomes, which of them a key is kept for, and for how long."""

from dataclasses import replace
from datetime import datetime, timedelta

from gateway.booking.appointment_lookup import time_of, time_of_appointment
from gateway.booking.backend import FreeTimes
from gateway.booking.journal import JournalEntry, JournalState
from gateway.booking.requests import BookingRequest, BookRequest, wishes_of
from gateway.domain.appointments import Appointment, AppointmentStatus, Capabilities, Support, deviations
from gateway.domain.booking import (
    KEYLESS,
    AwaitingConfirmation,
    Booked,
    BookingFailureReason,
    BookingStep,
    Cancelled,
    Outcome,
    Refused,
    Wish,
)
from gateway.domain.patients import identification
from gateway.domain.timeslots import instant
from gateway.domain.window import window_of_slot

KEPT_AFTER_START = timedelta(hours=1)


def not_sent(retry_after: float | None = None) -> Refused:
    """The outcome of what did not leave, and may be tried again with the same key."""
    return Refused(BookingFailureReason.NOT_SENT, retryable=True, retry_after=retry_after)


def in_progress() -> Refused:
    """The outcome of what is still being worked on."""
    return Refused(BookingFailureReason.IN_PROGRESS, retryable=True, retry_after=1.0)


def in_vain(request: BookingRequest, can: Capabilities, now: datetime) -> Refused | None:
    """Why a request is not begun that is known to be in vain. Raises BadUserInput for times beyond the calendar."""
    wishes = wishes_of(request)
    for wish in wishes:
        window_of_slot(wish.timeslot.start, wish.timeslot.end)
    if isinstance(request, BookRequest) and identification(request.patient) not in can.patient_by:
        return Refused(BookingFailureReason.NOT_SUPPORTED)
    supports = {
        BookingStep.BOOK: can.book,
        BookingStep.CONFIRM: can.confirm_by_code,
        BookingStep.CANCEL: can.cancel,
        BookingStep.RESCHEDULE: can.reschedule,
    }
    if supports[request.step] is Support.NO:
        return Refused(BookingFailureReason.NOT_SUPPORTED)
    if wishes and all(wish.timeslot.start <= now for wish in wishes):
        return Refused(BookingFailureReason.TIMESLOT_EXPIRED)
    return None


def of_booked(appointment: Appointment, wish: Wish, times: FreeTimes) -> Outcome:
    """The outcome of a booking or a move that the EHR has; its time is gone before anybody is told."""
    slot = wish.timeslot
    asked = replace(slot, resource=wish.resource, service=wish.service)
    differing = deviations(asked, appointment)
    resource = appointment.resource_id or wish.resource
    service = appointment.service_id or wish.service
    taken = time_of_appointment(appointment) if differing else time_of(wish)
    times.taken(slot.care_unit, resource, service, taken)
    if differing:
        times.changed(slot.care_unit, taken)
        times.changed(slot.care_unit, time_of(wish))
    if appointment.status is AppointmentStatus.AWAITING_CONFIRMATION:
        return AwaitingConfirmation(appointment)
    return Booked(appointment, differing)


def of_changed(step: BookingStep, appointment: Appointment) -> Outcome | None:
    """The outcome of a confirmation or a cancellation by what the EHR has then; None where that does not say it."""
    match step, appointment.status:
        case _, AppointmentStatus.CANCELLED:
            return Cancelled(appointment)
        case BookingStep.CANCEL, AppointmentStatus.AWAITING_CONFIRMATION:
            return AwaitingConfirmation(appointment)
        case BookingStep.CONFIRM, AppointmentStatus.BOOKED | AppointmentStatus.COMPLETED:
            return Booked(appointment)
        case _:
            return None


def is_keyless(outcome: Outcome) -> bool:
    """Whether an outcome is none of a sent call, so that no key is kept for it."""
    return isinstance(outcome, Refused) and outcome.reason in KEYLESS


def done(entry: JournalEntry, outcome: Outcome) -> JournalEntry:
    """The entry of a key whose outcome is certain, kept until after its appointment has begun."""
    expires_at = entry.expires_at
    if isinstance(outcome, Booked | AwaitingConfirmation | Cancelled):
        expires_at = max(expires_at, later(instant(outcome.appointment.start), KEPT_AFTER_START))
    return replace(entry, state=JournalState.DONE, outcome=outcome, expires_at=expires_at)


def later(at: datetime, by: timedelta) -> datetime:
    """An instant so much later, or the same at the end of the calendar."""
    try:
        return at + by
    except OverflowError:
        return at
