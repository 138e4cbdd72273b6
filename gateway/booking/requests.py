"""What callers ask of booking, and the texts that tell whether two requests with one key ask the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Protocol, TypeAlias

from gateway.domain.booking import BookingStep, Wish
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import NationalNumber, Patient, PatientByEmrId, PatientByLeyrId, PatientDetails


@dataclass(frozen=True, slots=True)
class BookRequest:
    """Book the first of one to five timeslots that is free, for a patient of one EHR."""

    step: ClassVar = BookingStep.BOOK
    wishes: tuple[Wish, ...]
    patient: Patient = field(repr=False)
    comment: str | None = field(default=None, repr=False)

    @property
    def care_unit(self) -> CareUnitKey:
        """The care unit of the first wish."""
        return self.wishes[0].timeslot.care_unit


@dataclass(frozen=True, slots=True)
class ConfirmRequest:
    """Confirm a booking or a cancellation by the code that the EHR sent to the patient."""

    step: ClassVar = BookingStep.CONFIRM
    care_unit: CareUnitKey
    appointment: str
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Cancel an appointment."""

    step: ClassVar = BookingStep.CANCEL
    care_unit: CareUnitKey
    appointment: str
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RescheduleRequest:
    """Move an appointment to another time, with its resource."""

    step: ClassVar = BookingStep.RESCHEDULE
    care_unit: CareUnitKey
    appointment: str
    wish: Wish
    comment: str | None = field(default=None, repr=False)


ChangeRequest: TypeAlias = ConfirmRequest | CancelRequest | RescheduleRequest
BookingRequest: TypeAlias = BookRequest | ChangeRequest


def wishes_of(request: BookingRequest) -> Sequence[Wish]:
    """The timeslots that a request may take, in order of preference."""
    match request:
        case BookRequest():
            return request.wishes
        case RescheduleRequest():
            return (request.wish,)
        case _:
            return ()


def leyr_id_of(request: BookingRequest) -> str | None:
    """Leyr's id of the patient, where a request names it."""
    if isinstance(request, BookRequest) and isinstance(request.patient, PatientByLeyrId):
        return request.patient.leyr_id
    return None


class Digests(Protocol):
    """Keyed digests of what may not be kept (a `BookingSecret`)."""

    def digest(self, purpose: str, *parts: str) -> bytes:
        """The digest of some texts for a purpose."""

    def digests(self, purpose: str, *parts: str) -> tuple[bytes, ...]:
        """The same, and behind it the one by the former secret, where there is one."""


def canonical(request: BookingRequest) -> tuple[str, ...]:
    """Texts that are equal where two requests ask the same, however their instants were written."""
    return tuple(_parts(request))


def _parts(request: BookingRequest) -> Iterator[str]:
    for wish in wishes_of(request):
        yield from ("wish", *_of_wish(wish))
    match request:
        case BookRequest():
            yield from ("patient", *_of_patient(request.patient), "comment", *_optional(request.comment))
        case ConfirmRequest():
            yield from (*request.care_unit, request.appointment, request.code)
        case CancelRequest() | RescheduleRequest():
            yield from (*request.care_unit, request.appointment, "comment", *_optional(request.comment))


def _of_wish(wish: Wish) -> Iterator[str]:
    slot: TimeslotId = wish.timeslot
    yield from slot.care_unit
    yield _instant(slot.start)
    yield from _optional(None if slot.end is None else _instant(slot.end))
    for each in (slot.resource, slot.service, wish.resource, wish.service):
        yield from _optional(each)


def _of_patient(patient: Patient) -> Iterator[str]:
    match patient:
        case PatientByLeyrId():
            yield from ("leyr", patient.leyr_id)
        case PatientByEmrId():
            yield from ("emr", patient.emr_id)
        case NationalNumber():
            yield from ("number", patient.country, patient.number)
        case PatientDetails():
            yield from ("details", patient.first_name, patient.last_name)
            number = patient.national_number
            yield from _optional(None if number is None else f"{number.country}:{number.number}")
            yield from ("phones", *patient.phones, "emails", *patient.emails)


def _optional(text: str | None) -> tuple[str, ...]:
    """How a text that may be missing is told from one that is empty."""
    return ("-",) if text is None else ("+", text)


def _instant(instant: datetime) -> str:
    try:
        return instant.astimezone(UTC).isoformat()
    except OverflowError:
        return instant.isoformat()
