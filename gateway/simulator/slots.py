"""The free times of a clinic for 60 days: working hours, lunch, weekends off, booked holes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.simulator.chance import chance
from gateway.simulator.clinics import Clinic, HealthcareService, Resource

DAYS = 60
_SATURDAY, _SUNDAY = 5, 6
_SATURDAY_HOURS = (9 * 60, 13 * 60)
_CLINIC_OPENS_ON_SATURDAY = 0.2
_WORKS_ON_SATURDAY = 0.4
_OTHER_SERVICE_TOO = 0.3
_SAID_TWICE = 0.006


class Timeslot(NamedTuple):
    """A free time; start and end are seconds since 1970, rank is its place in unsorted answers."""

    start: float
    end: float
    resource_id: str
    service_id: str
    rank: int


@dataclass(frozen=True, slots=True)
class _Rota:
    """When somebody works; times of day in minutes after midnight."""

    morning: tuple[int, int]
    afternoon: tuple[int, int]
    weekdays: frozenset[int]
    week_of_leave: int


def free_times(clinic: Clinic, zone: ZoneInfo, today: date, name: tuple[object, ...]) -> list[Timeslot]:
    """Invent the free times of a care unit; the name tells its seed from others'."""
    random = chance(*name, "calendar")
    saturdays = {
        day
        for day in range(DAYS)
        if (today + timedelta(day)).weekday() == _SATURDAY and random.random() < _CLINIC_OPENS_ON_SATURDAY
    }
    found: list[Timeslot] = []
    for resource in clinic.resources:
        own = chance(*name, "times", resource.id)
        for day, start, service in _openings(resource, today, saturdays, own):
            midnight = datetime.combine(today + timedelta(day), time(), zone)
            # Clock arithmetic within one zone: 09:00 stays 09:00 on the day the clocks change.
            begins = (midnight + timedelta(minutes=start)).timestamp()
            found.append(Timeslot(begins, begins + service.minutes * 60, resource.id, service.id, 0))
    ranks = list(range(len(found)))
    random.shuffle(ranks)
    return sorted(slot._replace(rank=rank) for slot, rank in zip(found, ranks, strict=True))


def _openings(
    resource: Resource, today: date, saturdays: set[int], random: Random
) -> Iterator[tuple[int, int, HealthcareService]]:
    """Yield the day's number, the minute of the day and the service of each free time."""
    rota = _draw_rota(random)
    for day in range(DAYS):
        weekday = (today + timedelta(day)).weekday()
        for hours in _hours(rota, day, weekday, random, saturday=day in saturdays):
            # Who asks early finds more: near days are nearly full, distant ones half empty.
            for start, service in _session(resource, hours, 0.12 + 0.45 * day / DAYS, random):
                yield day, start, service


def _draw_rota(random: Random) -> _Rota:
    lunch = random.choice((11 * 60 + 30, 12 * 60))
    return _Rota(
        morning=(random.choice((480, 510, 540)), lunch),
        afternoon=(lunch + random.choice((30, 45, 60)), random.choice((930, 960, 1020))),
        weekdays=frozenset(random.sample(range(5), random.choice((3, 4, 5, 5)))),
        week_of_leave=random.randrange(16),  # most have none within the 60 days
    )


def _hours(rota: _Rota, day: int, weekday: int, random: Random, *, saturday: bool) -> tuple[tuple[int, int], ...]:
    if weekday == _SUNDAY or day // 7 == rota.week_of_leave:
        return ()
    if weekday == _SATURDAY:
        return (_SATURDAY_HOURS,) if saturday and random.random() < _WORKS_ON_SATURDAY else ()
    return (rota.morning, rota.afternoon) if weekday in rota.weekdays else ()


def _session(
    resource: Resource, hours: tuple[int, int], openness: float, random: Random
) -> Iterator[tuple[int, HealthcareService]]:
    """Yield what is free of half a day given to one service, and what else fits into the same times."""
    main = random.choice(resource.services)
    for start in range(hours[0], hours[1] - main.minutes + 1, main.minutes):
        if random.random() >= openness:
            continue
        yield start, main
        if random.random() < _SAID_TWICE:
            yield start, main
        for other in resource.services:
            if other is not main and other.minutes <= main.minutes and random.random() < _OTHER_SERVICE_TOO:
                yield start, other
