"""What an availability must be, found by looking at every slot that an EHR has."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby, product
from typing import Any
from zoneinfo import ZoneInfo

from gateway.domain.ids import NodeType, TimeslotIds, node_id
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import TimeslotQuery
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window, time_zone

WEEKDAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
PART = "timeslotCount distinctStartCount first { id }"
DAYS = f"{{ date {PART} }}"
GROUP = f"{PART} times {{ start timeslotCount }} days {DAYS} every: days(includeEmpty: true) {{ date timeslotCount }}"
SELECTION = f"""{{
  start end timeZone {GROUP} excludedByFilterCount
  times {{ start timeslotCount timeslots {{ id }} }}
  timeslots {{ totalCount nodes {{ id }} edges {{ cursor node {{ id }} }} pageInfo {{ hasNextPage hasPreviousPage }} }}
  byResource {{ resourceId resource {{ id }} {GROUP} }}
  byHealthcareService {{ healthcareServiceId healthcareService {{ id }} {GROUP} }}
  coverage {{ complete gaps {{ resourceId healthcareServiceId reason }} }}
}}"""


@dataclass
class Model:
    """One care unit: what it answers to a query, in which zone, whom it lists, and now."""

    key: CareUnitKey
    answer: Callable[[TimeslotQuery], TimeslotList | None]
    zone: ZoneInfo
    resources: Sequence[str]
    services: Sequence[str]
    now: datetime
    own: tuple[str | None, str | None] = (None, None)
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def filter(self) -> dict[str, Any]:
        found: dict[str, Any] = self.asked.get("filter") or {}
        return found

    @property
    def local(self) -> ZoneInfo:
        """The zone whose days are meant."""
        zone: str | None = self.asked.get("zone")
        return self.zone if zone is None else time_zone(zone)

    def window(self) -> Window:
        span = self.asked.get("range") or {}
        if "instants" in span:
            return Window(*(datetime.fromisoformat(span["instants"][name]) for name in ("start", "end")))
        days = span.get("days") or {}
        today = self.now.astimezone(self.local).date()
        first = date.fromisoformat(days["from"]) if days.get("from") else today
        last = first + timedelta(days=days.get("count", 30))
        return Window(self.first_minute(first), self.first_minute(last))

    def first_minute(self, day: date) -> datetime:
        """The first minute whose local date is a day or a later one."""
        minute = datetime.combine(day, time(), UTC) - timedelta(hours=16)
        while minute.astimezone(self.local).date() < day:
            minute += timedelta(minutes=1)
        return minute

    def owners(self, name: str, own: str | None) -> list[str | None]:
        given = self.filter.get(name)
        if given is None:
            return [own]
        return [each for each in dict.fromkeys(given) if own in {None, each}]

    def slots(self) -> tuple[list[Timeslot], int]:
        """What is free and meant, and how many the time filters took away."""
        window, services = self.window(), self.owners("healthcareServiceIds", self.own[1])
        names = self.filter.get("healthcareServiceNames")
        if names is not None:
            wanted = {name.strip().casefold() for name in names}
            named: list[str | None] = [each for each in self.services if each.casefold() in wanted]
            services = named if services == [None] else [each for each in services if each in named]
        if "instants" not in (self.asked.get("range") or {}) and window.start < self.now:
            window = Window(self.now, window.end) if self.now < window.end else window
        pairs = product(self.owners("resourceIds", self.own[0]), services)
        answers = [self.answer(TimeslotQuery(self.key, window, *pair)) for pair in pairs]
        found = TimeslotList(slot for each in answers if each is not None for slot in each.slots).slots
        if "instants" not in (self.asked.get("range") or {}):
            found = tuple(slot for slot in found if instant(slot.start) >= self.now)
        meant = [slot for slot in found if self.is_meant(slot)]
        return meant, len(found) - len(meant)

    def is_meant(self, slot: Timeslot) -> bool:
        local = instant(slot.start).astimezone(self.local)
        weekdays, hours = self.filter.get("weekdays"), self.filter.get("timeOfDay")
        notice, duration = self.filter.get("minimumNoticeMinutes"), self.filter.get("minimumDurationMinutes")
        if weekdays is not None and WEEKDAYS[local.weekday()] not in weekdays:
            return False
        if hours is not None:
            first, last = time.fromisoformat(hours["from"]), time.fromisoformat(hours["to"])
            is_in = first <= local.time() < last if first < last else local.time() >= first or local.time() < last
            if not is_in:
                return False
        if notice is not None and instant(slot.start) < self.now + timedelta(minutes=notice):
            return False
        if duration is None:
            return True
        return slot.end is not None and instant(slot.end) - instant(slot.start) >= timedelta(minutes=duration)

    def ids(self, slots: Iterable[Timeslot]) -> list[dict[str, str]]:
        write = TimeslotIds(self.key)
        return [{"id": write(slot)} for slot in slots]

    def part(self, slots: Sequence[Timeslot]) -> dict[str, Any]:
        return {
            "timeslotCount": len(slots),
            "distinctStartCount": len({instant(slot.start) for slot in slots}),
            "first": self.ids(slots[:1])[0] if slots else None,
        }

    def days(self, slots: Sequence[Timeslot]) -> list[dict[str, Any]]:
        groups = groupby(slots, key=lambda slot: instant(slot.start).astimezone(self.local).date())
        return [{"date": day.isoformat(), **self.part(list(group))} for day, group in groups]

    def every_day(self, slots: Sequence[Timeslot]) -> list[dict[str, Any]]:
        counts = {day["date"]: day["timeslotCount"] for day in self.days(slots)}
        window, zone = self.window(), self.local
        minutes = range(int((window.end - window.start) / timedelta(minutes=30)))
        dates = ((window.start + each * timedelta(minutes=30)).astimezone(zone).date() for each in minutes)
        return [{"date": f"{day}", "timeslotCount": counts.get(f"{day}", 0)} for day in dict.fromkeys(dates)]

    def times(self, slots: Sequence[Timeslot], *, with_slots: bool = False) -> list[dict[str, Any]]:
        found = []
        for _, group in groupby(slots, key=lambda slot: instant(slot.start)):
            several = list(group)
            entry: dict[str, Any] = {"start": several[0].start, "timeslotCount": len(several)}
            found.append({**entry, "timeslots": self.ids(several)} if with_slots else entry)
        return found

    def group(self, slots: Sequence[Timeslot]) -> dict[str, Any]:
        days, every = self.days(slots), self.every_day(slots)
        return {**self.part(slots), "times": self.times(slots), "days": days, "every": every}

    def groups(self, slots: Sequence[Timeslot], kind: NodeType) -> list[dict[str, Any]]:
        is_resource = kind is NodeType.RESOURCE
        name = "resource" if is_resource else "healthcareService"
        listed = self.resources if is_resource else self.services
        attribute = "resource_id" if is_resource else "healthcare_service_id"
        meant = self.meant_owners(kind)
        if meant is not None and len(meant) == 1:
            owned = {meant[0]: list(slots)} if slots or meant[0] in listed else {}
        else:
            of = {slot: getattr(slot, attribute) for slot in slots}
            owners = [each for each in listed if meant is None or each in meant]
            owners += sorted({each for each in of.values() if each is not None} - {*owners})
            owned = {each: [slot for slot in slots if of[slot] == each] for each in owners}
            if None in of.values():
                owned[None] = [slot for slot in slots if of[slot] is None]
        found = []
        for owner, own in owned.items():
            id_ = None if owner is None else node_id(kind, self.key, owner)
            node = {"id": id_} if owner in listed else None
            found.append({f"{name}Id": id_, name: node, **self.group(own)})
        return found

    def meant_owners(self, kind: NodeType) -> list[str | None] | None:
        """Those whom the filter means; None where it means all."""
        if kind is NodeType.RESOURCE:
            found = self.owners("resourceIds", self.own[0])
        else:
            found = self.owners("healthcareServiceIds", self.own[1])
            names = self.filter.get("healthcareServiceNames")
            if names is not None:
                wanted = {name.strip().casefold() for name in names}
                named: list[str | None] = [each for each in self.services if each.casefold() in wanted]
                found = named if found == [None] else [each for each in found if each in named]
        return None if found == [None] else found

    def availability(self) -> dict[str, Any]:
        """All but the coverage."""
        slots, excluded = self.slots()
        window, ids = self.window(), self.ids(slots)
        return {
            "start": window.start.astimezone(self.local).isoformat(),
            "end": window.end.astimezone(self.local).isoformat(),
            "timeZone": self.local.key,
            **self.group(slots),
            "times": self.times(slots, with_slots=True),
            "excludedByFilterCount": excluded,
            "timeslots": {
                "totalCount": len(slots),
                "nodes": ids,
                "edges": [{"cursor": each["id"], "node": each} for each in ids],
                "pageInfo": {"hasNextPage": False, "hasPreviousPage": False},
            },
            "byResource": self.groups(slots, NodeType.RESOURCE),
            "byHealthcareService": self.groups(slots, NodeType.HEALTHCARE_SERVICE),
        }
