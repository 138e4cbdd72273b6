"""Which time a booking or a move gets: one that is free and the only one that fits, or what a behaviour makes of it."""

from dataclasses import dataclass

from gateway.simulator.appointments import LONGEST_SECONDS, Appointment, BookedTime, Schedule
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.calendar import Calendar, SlotQuery
from gateway.simulator.clinics import Clinic
from gateway.simulator.http_messages import invalid, rejected

_FIVE_MINUTES = 5 * 60
_THE_YEAR_2100 = 4_102_444_800
_SEARCHED_SECONDS = 60 * LONGEST_SECONDS


@dataclass(frozen=True, slots=True)
class WantedTime:
    """What a client asks for; a resource or service that it does not name may be any."""

    start: float
    end: float
    resource_id: str | None
    service_id: str | None


@dataclass(frozen=True, slots=True)
class FreeTimes:
    """The times of one care unit that can be booked now."""

    clinic: Clinic
    calendar: Calendar
    schedule: Schedule
    behaviour: Behaviour

    def is_full(self, time: BookedTime, *, but: Appointment | None = None) -> bool:
        """Are there as many appointments at this time as there is room for, not counting one?"""
        return sum(other is not but for other in self.schedule.at(time)) >= self.behaviour.capacity

    def choose(self, wanted: WantedTime, *, but: Appointment | None = None) -> BookedTime:
        """Choose what is booked, or what an appointment moves to. Raises LeyrError."""
        if wanted.end <= wanted.start:
            raise invalid("body", "end", message="end must be after start (type=value_error)")
        if wanted.end - wanted.start > LONGEST_SECONDS or not 0 <= wanted.start < _THE_YEAR_2100:
            raise rejected("BAD_INPUT", "The appointment is too long, or in another age")
        return self._other(self._as_wanted(wanted, but), but)

    def _as_wanted(self, wanted: WantedTime, but: Appointment | None) -> BookedTime:
        if not self.behaviour.checks_timeslots and wanted.resource_id is not None and wanted.service_id is not None:
            return BookedTime(wanted.start, wanted.end, wanted.resource_id, wanted.service_id)
        # A time that is listed twice is one time.
        fitting = {
            BookedTime(slot.start, slot.end, slot.resource_id, slot.service_id)
            for slot in self.calendar.at(wanted.start, wanted.end)
            if wanted.resource_id in (None, slot.resource_id) and wanted.service_id in (None, slot.service_id)
        }
        if self.behaviour.checks_timeslots:
            fitting = {time for time in fitting if not self.is_full(time, but=but)}
        if not fitting:
            raise rejected("NO_TIMESLOTS_AVAILABLE", "No timeslots available for the given parameters")
        if len(fitting) > 1:
            raise rejected("AMBIGUOUS_TIMESLOTS", "More than one timeslot matches the given parameters")
        return fitting.pop()

    def _other(self, time: BookedTime, but: Appointment | None) -> BookedTime:
        """Give what an EHR books that books otherwise than asked; the same where there is nothing else."""
        match self.behaviour.books_other:
            case "end":
                return time._replace(end=time.end + _FIVE_MINUTES)
            case "start":
                query = SlotQuery(time.end, time.end + _SEARCHED_SECONDS, time.resource_id, time.service_id)
                later = sorted(slot[:4] for slot in self.calendar.find(query, by_start=True))
                others = [BookedTime(*slot) for slot in later]
            case "resource":
                ids = [resource.id for resource in self.clinic.resources if resource.id != time.resource_id]
                others = [time._replace(resource_id=identifier) for identifier in ids]
            case "service":
                ids = [service.id for service in self.clinic.services if service.id != time.service_id]
                others = [time._replace(service_id=identifier) for identifier in ids]
            case _:
                return time
        return next((other for other in others if not self.is_full(other, but=but)), time)
