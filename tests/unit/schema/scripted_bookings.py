"""Booking that comes to what a test says, and remembers what it was asked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.booking.booking_secret import BookingSecret
from gateway.booking.caller_bookings import BookingEvent, BookingService, CallerBookings
from gateway.booking.requests import BookingRequest, BookRequest, CancelRequest, ConfirmRequest, RescheduleRequest
from gateway.domain.appointments import Appointment, BookingRights, PatientIdentification
from gateway.domain.booking import Booked, BookingResult, BookingStep, Outcome
from gateway.domain.models import EVERYTHING, Access, CareUnitKey

KEY = "a-key-of-sixteen-characters"
ALL_KINDS = BookingRights(may_book=True, patient_by=frozenset(PatientIdentification))
SECRET = BookingSecret(b"a secret of at least 32 bytes, made for tests")


@dataclass
class ScriptedBookings:
    """See `Bookings`."""

    outcome_of: Outcome
    is_replayed: bool = False
    asked: list[tuple[str, str, BookingRequest]] = field(default_factory=list)
    read: list[tuple[CareUnitKey, str]] = field(default_factory=list)
    known: dict[str, BookingResult] = field(default_factory=dict)

    async def book(self, caller: str, key: str, request: BookRequest) -> BookingResult:
        return self._noted(caller, key, request)

    async def confirm(self, caller: str, key: str, request: ConfirmRequest) -> BookingResult:
        return self._noted(caller, key, request)

    async def cancel(self, caller: str, key: str, request: CancelRequest) -> BookingResult:
        return self._noted(caller, key, request)

    async def reschedule(self, caller: str, key: str, request: RescheduleRequest) -> BookingResult:
        return self._noted(caller, key, request)

    async def outcome(self, caller: str, key: str) -> BookingResult | None:
        return self.known.get(f"{caller} {key}")

    async def knows(self, caller: str, step: BookingStep, key: str) -> bool:
        return step is BookingStep.BOOK and f"{caller} {key}" in self.known

    async def appointment(self, care_unit: CareUnitKey, leyr_id: str) -> Appointment | None:
        self.read.append((care_unit, leyr_id))
        assert isinstance(self.outcome_of, Booked)
        return self.outcome_of.appointment

    def _noted(self, caller: str, key: str, request: BookingRequest) -> BookingResult:
        self.asked.append((caller, key, request))
        return BookingResult(self.outcome_of, self.is_replayed)


def no_limit(*_: Any) -> float:
    return 0.0


def service_of(
    bookings: ScriptedBookings | None,
    take: Callable[[str, str, int, bytes | None], float] = no_limit,
    events: list[BookingEvent] | None = None,
) -> BookingService:
    """What all callers share."""
    told: list[BookingEvent] = [] if events is None else events
    return BookingService(bookings, SECRET, take, told.append, lambda: 0.0)


def bookings_of(
    service: BookingService, caller: str = "page", rights: BookingRights = ALL_KINDS, access: Access = EVERYTHING
) -> CallerBookings:
    """The bookings of one caller."""
    return CallerBookings(caller, rights, 60, access, service)
