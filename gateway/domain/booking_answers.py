"""What calls about appointments and patients are answered, told apart by what is certain then."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.domain.appointments import Appointment
from gateway.domain.booking import Refused


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request did not leave this machine: breaker, rate, no connection. The same may be tried again."""

    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The request left, and there is no answer that says what became of it: broken, too late, 5xx, unreadable."""

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class SlotRefused:
    """Leyr says that the timeslot is not free (`NO_TIMESLOTS_AVAILABLE`)."""

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class ListedAppointment:
    """An appointment in a list, with Leyr's id of its patient, which is compared and goes no further."""

    appointment: Appointment
    patient_id: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppointmentList:
    """What an EHR lists; where it is not complete, there is more of it that could not be read."""

    items: Sequence[ListedAppointment]
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class FoundPatient:
    """A patient whom the EHR found or made.

    `patient_id` is what a booking names: Leyr's id, or the EHR's with its prefix; `leyr_id` is what lists have, or
    `emr_id`, the EHR's own.
    """

    patient_id: str = field(repr=False)
    leyr_id: str | None = field(default=None, repr=False)
    emr_id: str | None = field(default=None, repr=False)


PatientAnswer: TypeAlias = FoundPatient | Refused | NotSent | Lost
WriteAnswer: TypeAlias = Appointment | SlotRefused | Refused | NotSent | Lost
