"""Booking as one caller may do it: within its rights and its rate, with appointment ids that are sealed to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.booking.booking_secret import AppointmentKey, BookingSecret
from gateway.booking.requests import BookingRequest, BookRequest, CancelRequest, ConfirmRequest, RescheduleRequest
from gateway.domain.appointments import Appointment, BookingRights
from gateway.domain.booking import (
    BookingFailureReason,
    BookingProblem,
    BookingResult,
    BookingStep,
    Refused,
    checked_idempotency_key,
)
from gateway.domain.errors import Forbidden
from gateway.domain.models import Access, CareUnitKey
from gateway.domain.patients import Patient, identification, identity

NO_JOURNAL = BookingResult(Refused(BookingFailureReason.NOT_SUPPORTED, (BookingProblem("BOOKING_IS_NOT_CONFIGURED"),)))
"""What every request is answered where there is no journal: it cannot be tried again until there is one."""
APPOINTMENT_NOT_FOUND = BookingResult(Refused(BookingFailureReason.APPOINTMENT_NOT_FOUND))
"""What becomes of an appointment id that was not sealed to the caller, whatever it names."""


class Bookings(Protocol):
    """What books: at most once for each caller, step and key."""

    async def book(self, caller: str, key: str, request: BookRequest) -> BookingResult:
        """Book the first wish that is free."""

    async def confirm(self, caller: str, key: str, request: ConfirmRequest) -> BookingResult:
        """Confirm an appointment or its cancellation by a code."""

    async def cancel(self, caller: str, key: str, request: CancelRequest) -> BookingResult:
        """Cancel an appointment."""

    async def reschedule(self, caller: str, key: str, request: RescheduleRequest) -> BookingResult:
        """Move an appointment."""

    async def outcome(self, caller: str, key: str) -> BookingResult | None:
        """What became of the booking with a key; None where none is known."""

    async def knows(self, caller: str, step: BookingStep, key: str) -> bool:
        """Whether something was asked with a key before."""

    async def appointment(self, care_unit: CareUnitKey, leyr_id: str) -> Appointment | None:
        """An appointment as the EHR lists it now; None where it lists none. Raises domain errors."""


@dataclass(frozen=True, slots=True)
class BookingEvent:
    """What a request came to, for logs and metrics; nothing in it is a patient's. `emr` is empty where none is known.

    `outcome` is a reason of failure, or what became of the appointment.
    """

    caller: str
    emr: str
    step: BookingStep
    outcome: str
    seconds: float
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class BookingService:
    """What all callers share; `bookings` is None where there is no journal.

    `take` counts a request of a caller with a key, and where it is a booking the digest of its patient, and says how
    many seconds to wait where there were too many.
    """

    bookings: Bookings | None
    secret: BookingSecret
    take: Callable[[str, str, int, bytes | None], float]
    tell: Callable[[BookingEvent], None]
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class CallerBookings:
    """The bookings of one caller, whose `caller` name is in logs too; so many a minute may be new ones."""

    caller: str
    rights: BookingRights
    per_minute: int
    access: Access
    service: BookingService

    def check_may_book(self) -> None:
        """Raises Forbidden where the caller may not book."""
        if not self.rights.may_book:
            raise Forbidden("You may not book here")

    def check_may_name(self, patient: Patient) -> None:
        """Raises Forbidden where the caller may not name patients in such a way, whether there is one or not."""
        if identification(patient) not in self.rights.patient_by:
            raise Forbidden("You may not name a patient in this way")

    def seal(self, appointment: Appointment) -> str:
        """The id under which this caller knows an appointment."""
        return self.service.secret.seal(AppointmentKey(appointment.care_unit, appointment.leyr_id), self.caller)

    def opened(self, appointment_id: str) -> AppointmentKey | None:
        """The appointment of an id that was sealed to this caller. Raises Forbidden where it may not be seen now."""
        found = self.service.secret.open(appointment_id, self.caller)
        if found is not None and not self.access.sees(found.care_unit):
            raise Forbidden("You may not see this care unit")
        return found

    async def ask(self, key: str, request: BookingRequest | None) -> BookingResult:
        """Do what a request asks, at most once; without one the appointment that it means was not found.

        Raises BadUserInput for a key that is none.
        """
        checked_idempotency_key(key)
        if request is None:
            return APPOINTMENT_NOT_FOUND
        began = self.service.clock()
        refusal = self._refusal(key, request)
        if refusal is None or await self._is_known(key, request):
            result = await self._done(key, request)
        else:
            result = refusal
        self.service.tell(
            BookingEvent(
                self.caller,
                request.care_unit.emr,
                request.step,
                outcome_name(result),
                self.service.clock() - began,
                result.replayed,
            )
        )
        return result

    async def outcome(self, key: str) -> BookingResult | None:
        """What became of the booking with a key. Raises BadUserInput."""
        checked_idempotency_key(key)
        bookings = self.service.bookings
        return None if bookings is None else await bookings.outcome(self.caller, key)

    def _refusal(self, key: str, request: BookingRequest) -> BookingResult | None:
        """Why nothing is begun; a request is counted once for its key, so that asking again is free."""
        if self.service.bookings is None:
            return NO_JOURNAL
        patient = self._patient(request) if isinstance(request, BookRequest) else None
        wait = self.service.take(self.caller, f"{request.step} {key}", self.per_minute, patient)
        if not wait:
            return None
        return BookingResult(Refused(BookingFailureReason.NOT_SENT, retryable=True, retry_after=wait))

    async def _is_known(self, key: str, request: BookingRequest) -> bool:
        """Whether it was asked before, and counted by another process or before a restart.

        Of what was sent then, nobody may be told that it was not.
        """
        bookings = self.service.bookings
        return bookings is not None and await bookings.knows(self.caller, request.step, key)

    def _patient(self, request: BookRequest) -> bytes:
        return self.service.secret.digest("rate", request.care_unit.emr, *identity(request.patient))

    async def _done(self, key: str, request: BookingRequest) -> BookingResult:
        bookings = self.service.bookings
        match request:
            case _ if bookings is None:
                return NO_JOURNAL
            case BookRequest():
                return await bookings.book(self.caller, key, request)
            case ConfirmRequest():
                return await bookings.confirm(self.caller, key, request)
            case CancelRequest():
                return await bookings.cancel(self.caller, key, request)
            case RescheduleRequest():
                return await bookings.reschedule(self.caller, key, request)


def outcome_name(result: BookingResult) -> str:
    """An outcome as logs and metrics call it: a reason of failure in lower case, or what became of the appointment."""
    match result.outcome:
        case Refused(reason=reason):
            return reason.value.lower()
        case other:
            return _NAMES[type(other).__name__]


_NAMES = {
    "Booked": "booked",
    "AwaitingConfirmation": "awaiting_confirmation",
    "Cancelled": "cancelled",
    "Taken": "timeslot_taken",
    "Unknown": "outcome_unknown",
}
OUTCOMES = tuple(dict.fromkeys((*_NAMES.values(), *(each.value.lower() for each in BookingFailureReason))))
"""All of them: the closed set that labels metrics."""
