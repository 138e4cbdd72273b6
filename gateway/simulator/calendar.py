"""A care unit's free times for 60 days: working hours, lunch, weekends off, booked holes.

They are invented once, found by bisection, and kept as finished JSON.
"""

import math
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.clinics import Clinic, HealthcareService, Resource, rng

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
    random = rng(*name, "calendar")
    saturdays = {
        day
        for day in range(DAYS)
        if (today + timedelta(day)).weekday() == _SATURDAY and random.random() < _CLINIC_OPENS_ON_SATURDAY
    }
    found: list[Timeslot] = []
    for resource in clinic.resources:
        own = rng(*name, "times", resource.id)
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


_Wording = tuple[bool, bool, bool]
"""Whether the resource is told, whether the service is told, whether times are in UTC."""


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """What a timeslots call asks; times are seconds since 1970."""

    start: float
    end: float
    resource_id: str | None
    service_id: str | None


class SlotRange(NamedTuple):
    """Which slots a query finds; windows that differ only where nothing begins or ends come down to one slot_range."""

    resource_id: str | None
    service_id: str | None
    low: int
    high: int
    last_end: float


class _FilteredSlots(NamedTuple):
    """The slots of one filter in pending, with their starts, and their ends in an pending of their own."""

    slots: list[Timeslot]
    starts: list[float]
    ends: list[float]


class Calendar:
    """The free times of one care unit."""

    def __init__(self, slots: Sequence[Timeslot], zone: ZoneInfo) -> None:
        self._slots = slots
        self._zone = zone
        self._by_filter: dict[tuple[str | None, str | None], _FilteredSlots] = {}
        self._texts: dict[_Wording, list[bytes]] = {}

    def slot_range(self, query: SlotQuery, *, by_start: bool) -> SlotRange:
        """Look up which slots a query finds."""
        _, starts, ends = self._filtered(query.resource_id, query.service_id)
        low, high = bisect_left(starts, query.start), bisect_left(starts, query.end)
        ended = bisect_right(ends, query.end)
        last_end = math.inf if by_start else ends[ended - 1] if ended else -math.inf
        return SlotRange(query.resource_id, query.service_id, low, high, last_end)

    def find(self, slot_range: SlotRange) -> list[Timeslot]:
        """Give the slots of a slot_range, in the pending in which an answer gives them."""
        slots = self._filtered(slot_range.resource_id, slot_range.service_id).slots[slot_range.low : slot_range.high]
        return sorted((slot for slot in slots if slot.end <= slot_range.last_end), key=lambda slot: slot.rank)

    def write(self, slots: Sequence[Timeslot], behaviour: Behaviour) -> bytes:
        """Write slots as a JSON array."""
        wording = (
            behaviour.resource_ids == "named",
            behaviour.service_ids == "named",
            behaviour.time_format == "utc",
        )
        texts = self._texts.get(wording)
        if texts is None:
            texts = self._texts[wording] = self._word(*wording)
        return b"[" + b",".join([texts[slot.rank] for slot in slots]) + b"]"

    def _filtered(self, resource_id: str | None, service_id: str | None) -> _FilteredSlots:
        # Ids are checked before they come here, so there are no more shelves than resources times services.
        filtered = self._by_filter.get((resource_id, service_id))
        if filtered is None:
            slots = [
                slot
                for slot in self._slots
                if resource_id in (None, slot.resource_id) and service_id in (None, slot.service_id)
            ]
            filtered = _FilteredSlots(slots, [slot.start for slot in slots], sorted(slot.end for slot in slots))
            self._by_filter[resource_id, service_id] = filtered
        return filtered

    def _word(self, resource_told: bool, service_told: bool, utc: bool) -> list[bytes]:  # noqa: FBT001 # a wording, unpacked
        zone: tzinfo = UTC if utc else self._zone
        texts = [b""] * len(self._slots)
        for slot in self._slots:
            texts[slot.rank] = orjson.dumps(
                {
                    "start": datetime.fromtimestamp(slot.start, zone),
                    "end": datetime.fromtimestamp(slot.end, zone),
                    "resource_id": slot.resource_id if resource_told else None,
                    "healthcare_service_id": slot.service_id if service_told else None,
                    "x_simulated": True,
                },
                option=orjson.OPT_UTC_Z,
            )
        return texts


class BodyCache:
    """Finished bodies of recent timeslots answers, at most so many bytes of them."""

    def __init__(self, max_bytes: int = 64 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bodies: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> bytes | None:
        """Give the body that was kept under a key."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def keep(self, key: tuple[object, ...], body: bytes) -> None:
        """Keep a body; the longest unused ones give way."""
        self._bodies[key] = body
        self._bytes += len(body)
        while self._bytes > self._max_bytes:
            _, dropped = self._bodies.popitem(last=False)
            self._bytes -= len(dropped)
