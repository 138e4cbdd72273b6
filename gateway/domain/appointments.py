"""Appointments as Leyr answers them, what an EHR booked otherwise than asked, and what an EHR can do with them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.timeslots import instant


class AppointmentStatus(StrEnum):
    """Leyr's words for the state of an appointment (leyr-api 8.1); the list is open, so others are UNKNOWN."""

    BOOKED = "booked"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    UNKNOWN = ""

    @classmethod
    def of(cls, raw: str) -> "AppointmentStatus":
        """The status that Leyr's word stands for."""
        return cls.__members__.get(raw.strip().upper(), cls.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Appointment:
    """An appointment without anything that says whose it is; instants are RFC 3339 text as the EHR wrote them."""

    care_unit: CareUnitKey
    leyr_id: str
    status_raw: str
    start: str
    end: str | None = None
    resource_id: str | None = None
    service_id: str | None = None

    @property
    def status(self) -> AppointmentStatus:
        """The status."""
        return AppointmentStatus.of(self.status_raw)


class AppointmentDeviation(StrEnum):
    """What an EHR booked otherwise than asked."""

    START = "START"
    END = "END"
    RESOURCE = "RESOURCE"
    HEALTHCARE_SERVICE = "HEALTHCARE_SERVICE"


def deviations(asked: TimeslotId, booked: Appointment) -> tuple[AppointmentDeviation, ...]:
    """What of an appointment differs from the timeslot that was asked for; what either leaves out does not differ."""
    differing = {
        AppointmentDeviation.START: instant(booked.start) != asked.start,
        AppointmentDeviation.END: None not in (booked.end, asked.end) and instant(booked.end or "") != asked.end,
        AppointmentDeviation.RESOURCE: None not in (booked.resource_id, asked.resource)
        and booked.resource_id != asked.resource,
        AppointmentDeviation.HEALTHCARE_SERVICE: None not in (booked.service_id, asked.service)
        and booked.service_id != asked.service,
    }
    return tuple(each for each, is_so in differing.items() if is_so)


class Support(StrEnum):
    """Whether an EHR can do something; what is not known is tried, and Leyr's answer decides."""

    YES = "YES"
    NO = "NO"
    UNKNOWN = "UNKNOWN"


class PatientIdentification(StrEnum):
    """The ways in which a patient may be named."""

    LEYR_ID = "LEYR_ID"
    EMR_ID = "EMR_ID"
    NATIONAL_NUMBER = "NATIONAL_NUMBER"
    DETAILS = "DETAILS"


class PatientDetail(StrEnum):
    """What an EHR may want to be told of a patient whom it has to find or to make."""

    FIRST_NAME = "FIRST_NAME"
    LAST_NAME = "LAST_NAME"
    NATIONAL_NUMBER = "NATIONAL_NUMBER"
    PHONE = "PHONE"
    EMAIL = "EMAIL"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an EHR can do with appointments (leyr-api 3.4 and 5.2); a care unit's are its EHR's."""

    book: Support = Support.UNKNOWN
    confirm_by_code: Support = Support.UNKNOWN
    cancel: Support = Support.UNKNOWN
    reschedule: Support = Support.UNKNOWN
    list_appointments: Support = Support.UNKNOWN
    checks_timeslots: Support = Support.UNKNOWN
    patient_by: frozenset[PatientIdentification] = frozenset(PatientIdentification)
    required_patient_details: frozenset[PatientDetail] = frozenset()
    maximum_comment_length: int | None = None


@dataclass(frozen=True, slots=True)
class BookingRights:
    """Whether a caller may book, and how it may name patients."""

    may_book: bool = False
    patient_by: frozenset[PatientIdentification] = frozenset({PatientIdentification.DETAILS})


NO_BOOKING = BookingRights()
_LONGEST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """When an appointment takes a resource's time; one whose end is unknown takes a minute, and none more than a day.

    An end far away is an EHR's way of saying that there is none.
    """

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime | None) -> "TimeRange":
        """The range from a start to an end."""
        if end is None or end <= start:
            return cls(start, start + timedelta(minutes=1))
        return cls(start, end if end - start <= _LONGEST else start + _LONGEST)

    def overlaps(self, other: "TimeRange") -> bool:
        """Whether they have an instant in common."""
        return self.start < other.end and other.start < self.end
