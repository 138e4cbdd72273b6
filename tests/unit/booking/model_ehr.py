"""A model of an EHR that keeps appointments, and of free times over it; what a call comes to is the test's choice."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from hashlib import sha256
from hmac import digest

from gateway.domain.appointments import Appointment, AppointmentStatus, Capabilities, TimeRange
from gateway.domain.booking import BookingFailureReason, Refused, Wish
from gateway.domain.booking_answers import (
    AppointmentList,
    FoundPatient,
    ListedAppointment,
    Lost,
    NotSent,
    PatientAnswer,
    SlotRefused,
    WriteAnswer,
)
from gateway.domain.errors import NotSupported, UpstreamUnavailable
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import NationalNumber, Patient, PatientByEmrId, PatientByLeyrId, PatientDetails
from gateway.domain.timeslots import instant

UNIT = CareUnitKey("model", "unit")
START = datetime(2026, 11, 30, 8, tzinfo=UTC)
CODE = "123456"


class Fate(Enum):
    """What a call that writes comes to."""

    ANSWERED = auto()
    REFUSED = auto()
    NOT_SENT = auto()
    LOST_BEFORE = auto()
    LOST_AFTER = auto()
    LANDS_LATE = auto()


@dataclass
class Kept:
    """An appointment in the EHR, and for whom it was made: `comment` says by which key."""

    appointment: Appointment
    patient: str
    comment: str | None


def slot(minutes: int = 60, resource: str | None = "r1", service: str | None = "s1") -> TimeslotId:
    start = START + timedelta(hours=24, minutes=minutes)
    return TimeslotId(UNIT, start, start + timedelta(minutes=20), resource, service)


def leyr_id(patient: Patient | FoundPatient) -> str:
    """By which id the EHR's list has a patient, however a call named him."""
    match patient:
        case FoundPatient():
            return patient.leyr_id or patient.patient_id
        case PatientByLeyrId():
            return patient.leyr_id
        case PatientByEmrId():
            return f"leyr-{patient.emr_id}"
        case NationalNumber():
            return f"leyr-{patient.number}"
        case PatientDetails():
            return f"leyr-{patient.first_name}"


@dataclass
class ModelAppointments:
    """The backend. Calls take `seconds`, and go on at the EHR when whoever made them is dead."""

    capacity: int = 1
    checks: bool = True
    lists: bool = True
    lists_all: bool = True
    is_list_sick: bool = False
    asks_for_code: bool = False
    seconds: float = 1.0
    list_seconds: float = 0.2
    landing_seconds: float = 8.0
    fate: Callable[[], Fate] = lambda: Fate.ANSWERED
    kept: dict[str, Kept] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    booked_as: Callable[[Appointment], Appointment] = lambda appointment: appointment
    _under_way: set["asyncio.Task[WriteAnswer]"] = field(default_factory=set)

    async def book(self, wish: Wish, patient: Patient | FoundPatient, comment: str | None) -> WriteAnswer:
        assert not isinstance(patient, PatientDetails)
        return await self._call("book", lambda: self._book(wish, leyr_id(patient), comment))

    async def find_or_make_patient(self, care_unit: CareUnitKey, details: PatientDetails) -> PatientAnswer:
        assert care_unit == UNIT
        fate = self.fate()
        self.calls.append("patient")
        await asyncio.sleep(self.seconds)
        match fate:
            case Fate.ANSWERED:
                return FoundPatient(f"emr_id:{details.first_name}", leyr_id(details))
            case Fate.REFUSED:
                return Refused(BookingFailureReason.PATIENT_REJECTED)
            case Fate.NOT_SENT:
                return NotSent(2.0)
            case _:
                return Lost()

    async def confirm(self, care_unit: CareUnitKey, appointment: str, code: str) -> WriteAnswer:
        assert care_unit == UNIT
        return await self._call("confirm", lambda: self._confirm(appointment, code))

    async def cancel(self, care_unit: CareUnitKey, appointment: str, comment: str | None) -> WriteAnswer:
        assert care_unit == UNIT
        assert comment is None
        return await self._call("cancel", lambda: self._change(appointment, _cancelled))

    async def reschedule(
        self, care_unit: CareUnitKey, appointment: str, wish: Wish, comment: str | None
    ) -> WriteAnswer:
        assert care_unit == UNIT
        assert comment is None
        end = wish.timeslot.end

        def moved(before: Appointment) -> Appointment:
            start, ends = wish.timeslot.start.isoformat(), None if end is None else end.isoformat()
            return replace(before, start=start, end=ends, resource_id=wish.resource)

        def move() -> WriteAnswer:
            return SlotRefused() if self._is_full(wish) else self._change(appointment, moved)

        return await self._call("reschedule", move)

    async def appointments(
        self, care_unit: CareUnitKey, when: TimeRange, *, resource: str | None = None, patient_id: str | None = None
    ) -> AppointmentList:
        self.calls.append("list")
        if not self.lists:
            raise NotSupported("no list")
        await asyncio.sleep(self.list_seconds)
        if self.is_list_sick:
            raise UpstreamUnavailable("sick")
        found = [
            ListedAppointment(each.appointment, each.patient)
            for each in self.kept.values()
            if care_unit == each.appointment.care_unit
            and when.overlaps(_when(each.appointment))
            and resource in {None, each.appointment.resource_id}
            and patient_id in {None, each.patient}
        ]
        return AppointmentList(found, is_complete=self.lists_all)

    def book_at_the_desk(self, wish: Wish, patient: str) -> None:
        """Book as the clinic itself does, by no key."""
        self._book(wish, patient, None)

    def is_free(self, wanted: TimeslotId) -> bool:
        return not self._is_full(Wish(wanted, wanted.resource, wanted.service), always=True)

    def of_key(self, key: str) -> list[Kept]:
        return [each for each in self.kept.values() if each.comment == key]

    @property
    def is_busy(self) -> bool:
        return bool(self._under_way)

    async def _call(self, name: str, write: Callable[[], WriteAnswer]) -> WriteAnswer:
        fate = self.fate()
        if fate is Fate.NOT_SENT:
            return NotSent(2.0)
        self.calls.append(name)
        # The EHR works on although whoever called is dead.
        task = asyncio.get_running_loop().create_task(self._answer(fate, write), context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if fate in {Fate.LOST_BEFORE, Fate.LOST_AFTER, Fate.LANDS_LATE}:
            await asyncio.sleep(self.seconds)
            return Lost("reference")
        return await asyncio.shield(task)

    async def _answer(self, fate: Fate, write: Callable[[], WriteAnswer]) -> WriteAnswer:
        await asyncio.sleep(self.seconds / 2)
        if fate is Fate.LOST_BEFORE:
            return Lost()
        if fate is Fate.REFUSED:
            return Refused(BookingFailureReason.REJECTED_BY_EHR)
        if fate is Fate.LANDS_LATE:
            await asyncio.sleep(self.seconds / 2 + self.landing_seconds)
        answer = write()
        await asyncio.sleep(self.seconds / 2)
        return answer

    def _book(self, wish: Wish, patient: str, comment: str | None) -> WriteAnswer:
        if self._is_full(wish):
            return SlotRefused()
        wanted = wish.timeslot
        end = None if wanted.end is None else wanted.end.isoformat()
        status = "awaiting_confirmation" if self.asks_for_code else "booked"
        made = self.booked_as(
            Appointment(UNIT, f"a{len(self.kept)}", status, wanted.start.isoformat(), end, wish.resource, wish.service)
        )
        self.kept[made.leyr_id] = Kept(made, patient, comment)
        return made

    def _confirm(self, appointment: str, code: str) -> WriteAnswer:
        if code != CODE:
            return Refused(BookingFailureReason.CODE_WRONG)
        return self._change(appointment, _booked)

    def _change(self, appointment: str, change: Callable[[Appointment], Appointment]) -> WriteAnswer:
        kept = self.kept.get(appointment)
        if kept is None:
            return Refused(BookingFailureReason.APPOINTMENT_NOT_FOUND)
        if kept.appointment.status is AppointmentStatus.CANCELLED:
            return Refused(BookingFailureReason.ALREADY_CANCELLED)
        kept.appointment = change(kept.appointment)
        return kept.appointment

    def _is_full(self, wish: Wish, *, always: bool = False) -> bool:
        if not (self.checks or always):
            return False
        same = [
            each
            for each in self.kept.values()
            if each.appointment.status is not AppointmentStatus.CANCELLED
            and each.appointment.resource_id == wish.resource
            and _when(each.appointment).overlaps(TimeRange.of(wish.timeslot.start, wish.timeslot.end))
        ]
        return len(same) >= self.capacity


def _cancelled(before: Appointment) -> Appointment:
    return replace(before, status_raw="cancelled")


def _booked(before: Appointment) -> Appointment:
    return replace(before, status_raw="booked")


def _when(appointment: Appointment) -> TimeRange:
    return TimeRange.of(instant(appointment.start), None if appointment.end is None else instant(appointment.end))


@dataclass
class ModelFreeTimes:
    """Free times by what the EHR has; what bookings say of them is written down."""

    ehr: ModelAppointments
    told: list[tuple[str, TimeRange]] = field(default_factory=list)
    asked: int = 0
    is_sick: bool = False

    async def is_free(self, wanted: TimeslotId) -> bool:
        self.asked += 1
        is_free = self.ehr.is_free(wanted)
        await asyncio.sleep(0.3)
        if self.is_sick:
            raise UpstreamUnavailable("sick", retry_after=3.0)
        return is_free

    def taken(self, care_unit: CareUnitKey, resource: str | None, service: str | None, when: TimeRange) -> None:
        assert care_unit == UNIT
        assert service in {None, "s1", "s2"}
        self.told.append((f"taken {resource}", when))

    def changed(self, care_unit: CareUnitKey, when: TimeRange) -> None:
        assert care_unit == UNIT
        self.told.append(("changed", when))

    async def tell_others(self) -> None:
        """There are none."""


class ModelDigests:
    """Keyed digests under one secret, or two."""

    def __init__(self, *secrets: bytes) -> None:
        self._secrets = secrets or (b"secret",)

    def digest(self, purpose: str, *parts: str) -> bytes:
        return self.digests(purpose, *parts)[0]

    def digests(self, purpose: str, *parts: str) -> tuple[bytes, ...]:
        message = repr((purpose, parts)).encode()
        return tuple(digest(secret, message, sha256) for secret in self._secrets)


ANYTHING = Capabilities()
