"""The free times of care units, invented for 60 days and kept as finished JSON, and all that is invented with them.

A resource has working hours, a lunch break, weekends off, and booked times, which are missing from its free times.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from importlib.resources import files
from operator import attrgetter
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.clinics import (
    CareUnit,
    Clinic,
    HealthcareService,
    Resource,
    invent_care_units,
    invent_clinic,
    rng,
)
from gateway.simulator.ehrs import EHRS

DAYS = 60
_SATURDAY, _SUNDAY = 5, 6
_SATURDAY_HOURS = (9 * 60, 13 * 60)
_CLINIC_OPENS_ON_SATURDAY = 0.2
_WORKS_ON_SATURDAY = 0.4
_OTHER_SERVICE_TOO = 0.3
_LISTED_TWICE = 0.006


class Timeslot(NamedTuple):
    """A free time; start and end are seconds since 1970, rank is its position in unsorted answers."""

    start: float
    end: float
    resource_id: str
    service_id: str
    rank: int


def invent_timeslots(clinic: Clinic, zone: ZoneInfo, today: date, name: tuple[object, ...]) -> list[Timeslot]:
    """Invent the free times of a care unit, sorted; `name` seeds the random numbers."""
    random = rng(*name, "calendar")
    saturdays = {
        day
        for day in range(DAYS)
        if (today + timedelta(day)).weekday() == _SATURDAY and random.random() < _CLINIC_OPENS_ON_SATURDAY
    }
    slots: list[Timeslot] = []
    for resource in clinic.resources:
        resource_random = rng(*name, "times", resource.id)
        for day, half_day in _working_hours(today, saturdays, resource_random):
            midnight = datetime.combine(today + timedelta(day), time(), zone)
            # Near days are nearly booked up, distant ones half free.
            for minute, service in _free_minutes(resource, half_day, 0.12 + 0.45 * day / DAYS, resource_random):
                # Clock arithmetic within one zone: 09:00 stays 09:00 on the day the clocks change.
                start = (midnight + timedelta(minutes=minute)).timestamp()
                slots.append(Timeslot(start, start + service.minutes * 60, resource.id, service.id, 0))
    ranks = list(range(len(slots)))
    random.shuffle(ranks)
    return sorted(slot._replace(rank=rank) for slot, rank in zip(slots, ranks, strict=True))


def _working_hours(today: date, saturdays: set[int], random: Random) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the half days that a resource works: the day's number, and the hours in minutes after midnight."""
    lunch = random.choice((11 * 60 + 30, 12 * 60))
    morning = (random.choice((480, 510, 540)), lunch)
    afternoon = (lunch + random.choice((30, 45, 60)), random.choice((930, 960, 1020)))
    weekdays = random.sample(range(5), random.choice((3, 4, 5, 5)))
    week_of_leave = random.randrange(16)  # most have none within the 60 days
    for day in range(DAYS):
        weekday = (today + timedelta(day)).weekday()
        if weekday == _SUNDAY or day // 7 == week_of_leave:
            continue
        if weekday in weekdays:
            yield day, morning
            yield day, afternoon
        elif weekday == _SATURDAY and day in saturdays and random.random() < _WORKS_ON_SATURDAY:
            yield day, _SATURDAY_HOURS


def _free_minutes(
    resource: Resource, half_day: tuple[int, int], free_share: float, random: Random
) -> Iterator[tuple[int, HealthcareService]]:
    """Yield what is free of half a day given to one service, and which other services fit into the same times."""
    main = random.choice(resource.services)
    for minute in range(half_day[0], half_day[1] - main.minutes + 1, main.minutes):
        if random.random() >= free_share:
            continue
        yield minute, main
        if random.random() < _LISTED_TWICE:
            yield minute, main
        for other in resource.services:
            if other is not main and other.minutes <= main.minutes and random.random() < _OTHER_SERVICE_TOO:
                yield minute, other


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """The parameters of a timeslots call; times are seconds since 1970."""

    start: float
    end: float
    resource_id: str | None
    service_id: str | None


class Calendar:
    """The free times of one care unit, sorted by start, and the JSON of each in every format asked so far."""

    def __init__(self, slots: Sequence[Timeslot], zone: ZoneInfo) -> None:
        self._slots = slots
        self._zone = zone
        self._texts = cache(self._serialize)

    def find(self, query: SlotQuery, *, by_start: bool) -> list[Timeslot]:
        """Give the slots that a query holds, in the order of an answer."""
        low = bisect_left(self._slots, query.start, key=attrgetter("start"))
        high = bisect_left(self._slots, query.end, key=attrgetter("start"))
        found = [
            slot
            for slot in self._slots[low:high]
            if (by_start or slot.end <= query.end)
            and query.resource_id in (None, slot.resource_id)
            and query.service_id in (None, slot.service_id)
        ]
        return sorted(found, key=attrgetter("rank"))

    def at(self, start: float, end: float) -> list[Timeslot]:
        """Give the slots that begin and end exactly then, taken ones too."""
        low = bisect_left(self._slots, start, key=attrgetter("start"))
        high = bisect_right(self._slots, start, lo=low, key=attrgetter("start"))
        return [slot for slot in self._slots[low:high] if slot.end == end]

    def write(self, slots: Sequence[Timeslot], behaviour: Behaviour) -> bytes:
        """Write slots as a JSON array."""
        texts = self._texts(behaviour.resource_ids, behaviour.service_ids, behaviour.time_format)
        return b"[" + b",".join([texts[slot.rank] for slot in slots]) + b"]"

    def _serialize(self, resource_ids: str, service_ids: str, time_format: str) -> list[bytes]:
        zone: tzinfo = UTC if time_format == "utc" else self._zone
        texts = [b""] * len(self._slots)
        for slot in self._slots:
            texts[slot.rank] = orjson.dumps(
                {
                    "start": datetime.fromtimestamp(slot.start, zone),
                    "end": datetime.fromtimestamp(slot.end, zone),
                    "resource_id": slot.resource_id if resource_ids == "named" else None,
                    "healthcare_service_id": slot.service_id if service_ids == "named" else None,
                    "x_simulated": True,
                },
                option=orjson.OPT_UTC_Z,
            )
        return texts


@cache
def time_zone(name: str) -> ZoneInfo:
    """A zone by the rules of the tzdata package, so that every machine invents the same."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


class World:
    """Every EHR's clinics and free times, invented when they are first asked for.

    The size is bounded by the settings. Callers have checked that the EHR and the care unit exist.
    """

    def __init__(self, *, seed: int, scale: int, today: date, care_units: int | None = None) -> None:
        self.seed, self._scale, self._today, self._units = seed, scale, today, care_units
        self.care_units = cache(self._invent_care_units)
        """Gives an EHR's care units by id, in Leyr's order."""
        self.clinic = cache(self._invent_clinic)
        """Gives the resources and services of a care unit."""
        self.calendar = cache(self._invent_calendar)
        """Gives the free times of a care unit."""

    def _invent_care_units(self, emr: str) -> dict[str, CareUnit]:
        return {unit.id: unit for unit in invent_care_units(EHRS[emr], self.seed, self._units)}

    def _invent_clinic(self, emr: str, care_unit: str) -> Clinic:
        units = self.care_units(emr)
        first = next(iter(units)) == care_unit
        return invent_clinic(EHRS[emr], units[care_unit], self.seed, self._scale, first=first)

    def _invent_calendar(self, emr: str, care_unit: str) -> Calendar:
        zone = time_zone(EHRS[emr].country.zone)
        slots = invent_timeslots(self.clinic(emr, care_unit), zone, self._today, (self.seed, emr, care_unit))
        return Calendar(slots, zone)
