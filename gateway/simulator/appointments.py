"""The appointments of each care unit: their states, their codes, and how many each time of a resource has.

Times are seconds since 1970. Nothing here looks whether a change is allowed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import count
from typing import Literal, NamedTuple

from gateway.simulator.clinics import invent_emr_id, rng
from gateway.simulator.ehrs import EHRS
from gateway.simulator.patients import Patient

MOST_APPOINTMENTS = 50_000
"""In one care unit."""
LONGEST_SECONDS = 24 * 60 * 60
"""The longest appointment."""
_HOUR_SECONDS = 60 * 60
Status = Literal["booked", "awaiting_confirmation", "cancelled"]


class BookedTime(NamedTuple):
    """When, with whom and for what an appointment is."""

    start: float
    end: float
    resource_id: str
    service_id: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What has to be confirmed: the code, and the id under which it is sent."""

    id: str
    code: str


@dataclass(slots=True, eq=False)
class Appointment:
    """An appointment, cancelled ones too."""

    id: str
    emr_id: str | None
    patient: Patient
    time: BookedTime
    comment: str | None
    call: int
    """The number of the call that booked it."""
    status: Status = "booked"
    booking: Confirmation | None = None
    """What confirms the booking, while it is awaited."""
    cancellation: Confirmation | None = None
    """What confirms the cancellation, while it is awaited."""
    cancelled_by: list[int] = field(default_factory=list)
    """The numbers of the calls that cancelled it, or asked to."""

    def to_json(self, zone: tzinfo, *, now: float | None, optional_fields: bool) -> dict[str, object]:
        """Give Leyr's JSON; `now` completes what has ended, `optional_fields` adds what no documentation shows."""
        ended = now is not None and self.status == "booked" and self.time.end <= now
        documented = {
            "id": self.id,
            "status": "completed" if ended else self.status,
            "care_unit_id": self.patient.care_unit,
            "start": datetime.fromtimestamp(self.time.start, zone),
            "end": datetime.fromtimestamp(self.time.end, zone),
            "comment": self.comment,
        }
        if not optional_fields:
            return documented
        return {
            **documented,
            "emr_id": self.emr_id,
            "patient_id": self.patient.id,
            "resource_id": self.time.resource_id,
            "healthcare_service_id": self.time.service_id,
            "x_simulated": True,
        }


class Schedule:
    """The appointments of one care unit."""

    def __init__(self, emr: str, care_unit: str, seed: int, changes: Iterator[int]) -> None:
        self._ehr, self._care_unit = EHRS[emr], care_unit
        self._random = rng(seed, emr, care_unit, "appointments")
        self._changes = changes
        self._numbers = count(1)
        self._appointments: dict[str, Appointment] = {}
        self._cancellations: dict[str, Appointment] = {}
        self._taken: defaultdict[tuple[str, int], list[Appointment]] = defaultdict(list)
        self._of_patient: defaultdict[str, list[Appointment]] = defaultdict(list)
        self.version = 0
        """Another number after each change, and 0 where there never was an appointment."""

    def __len__(self) -> int:
        return len(self._appointments)

    def __iter__(self) -> Iterator[Appointment]:
        return iter(self._appointments.values())

    def find(self, identifier: str) -> Appointment | None:
        """Find an appointment by its id."""
        return self._appointments.get(identifier)

    def find_by_cancellation(self, identifier: str) -> Appointment | None:
        """Find the appointment whose cancellation has this id, confirmed or not."""
        return self._cancellations.get(identifier)

    def at(self, time: BookedTime) -> Iterable[Appointment]:
        """Give what a resource has at a time, in part or as a whole."""
        found = {}
        for hour in _hours(time):
            for each in self._taken.get((time.resource_id, hour), ()):
                if each.time.start < time.end and time.start < each.time.end:
                    found[each.id] = each
        return found.values()

    def has(self, patient: Patient, start: float, end: float) -> bool:
        """Has the patient an appointment at a time, in part or as a whole?"""
        return any(
            each.status != "cancelled" and each.time.start < end and start < each.time.end
            for each in self._of_patient.get(patient.id, ())
        )

    def book(
        self, patient: Patient, time: BookedTime, *, comment: str | None, call: int, needs_code: bool
    ) -> Appointment:
        """Add an appointment."""
        number = next(self._numbers)
        identifier = self._ehr.make_id("appointment", self._care_unit, number, self._random)
        emr_id = invent_emr_id(self._ehr, "ap", number, self._random)
        appointment = Appointment(identifier, emr_id, patient, time, comment, call)
        if needs_code:
            appointment.status = "awaiting_confirmation"
            appointment.booking = Confirmation(identifier, self._code())
        self._appointments[identifier] = appointment
        self._of_patient[patient.id].append(appointment)
        self._take(appointment)
        return appointment

    def move(self, appointment: Appointment, time: BookedTime) -> None:
        """Give an appointment another time."""
        self._free(appointment)
        appointment.time = time
        self._take(appointment)

    def cancel(self, appointment: Appointment) -> None:
        """Make the appointment's time free again."""
        self._free(appointment)
        appointment.status = "cancelled"
        appointment.booking = appointment.cancellation = None

    def ask_to_cancel(self, appointment: Appointment) -> str:
        """Give the new id under which the cancellation is to be confirmed; a former one is not known any more."""
        if appointment.cancellation is not None:
            del self._cancellations[appointment.cancellation.id]
        appointment.cancellation = Confirmation(self._new_id(), self._code())
        self._cancellations[appointment.cancellation.id] = appointment
        return appointment.cancellation.id

    def confirm_booking(self, appointment: Appointment, *, new_id: bool) -> None:
        """Make an appointment booked that awaited its code."""
        appointment.status, appointment.booking = "booked", None
        if new_id:
            del self._appointments[appointment.id]
            appointment.id = self._new_id()
            self._appointments[appointment.id] = appointment

    def _new_id(self) -> str:
        return self._ehr.make_id("appointment", self._care_unit, next(self._numbers), self._random)

    def _code(self) -> str:
        return f"{self._random.randrange(10**6):06d}"

    def _take(self, appointment: Appointment) -> None:
        for hour in _hours(appointment.time):
            self._taken[appointment.time.resource_id, hour].append(appointment)
        self.version = next(self._changes)

    def _free(self, appointment: Appointment) -> None:
        for hour in _hours(appointment.time):
            taken = self._taken[appointment.time.resource_id, hour]
            if appointment in taken:
                taken.remove(appointment)
        self.version = next(self._changes)


class Schedules:
    """The schedules of all care units, empty until something is booked."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._changes = count(1)
        self._schedules: dict[tuple[str, str], Schedule] = {}

    def of(self, emr: str, care_unit: str) -> Schedule:
        """Give the schedule of a care unit; callers have checked that it exists."""
        if (emr, care_unit) not in self._schedules:
            self._schedules[emr, care_unit] = Schedule(emr, care_unit, self._seed, self._changes)
        return self._schedules[emr, care_unit]

    def items(self) -> Iterable[tuple[tuple[str, str], Schedule]]:
        """Give every schedule that was opened, with its EHR and care unit."""
        return self._schedules.items()

    def clear(self) -> None:
        """Forget every appointment."""
        self._schedules.clear()


def _hours(time: BookedTime) -> range:
    return range(int(time.start // _HOUR_SECONDS), int(-(-time.end // _HOUR_SECONDS)))
