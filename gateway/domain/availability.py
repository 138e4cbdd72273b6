"""What is asked of an availability, a range, a time zone and filters, and which free times that leaves to whom."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.domain.calendar_days import CalendarDays, window_of_days
from gateway.domain.errors import BadUserInput
from gateway.domain.free_times import SlotRange
from gateway.domain.models import HealthcareService, Timeslot
from gateway.domain.pieces import Pieces, batches
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window, requested_window, time_zone

_DAYS = 30


@dataclass(frozen=True, slots=True)
class DayRange:
    """So many local days from one on, which is today where it is None."""

    first: date | None = None
    count: int = _DAYS


@dataclass(frozen=True, slots=True)
class InstantRange:
    """From one instant until another."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class TimeOfDayRange:
    """From a local time until another, which is on the next day where it is earlier."""

    start: time
    end: time

    def holds(self, local: time) -> bool:
        """Whether a local time belongs to it."""
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


@dataclass(frozen=True, slots=True)
class AvailabilityFilter:
    """Which free times are meant; None where all are.

    Ids are as the client gave them, weekdays count from Monday, which is 0.
    """

    resource_ids: tuple[str, ...] | None = None
    healthcare_service_ids: tuple[str, ...] | None = None
    healthcare_service_names: tuple[str, ...] | None = None
    weekdays: frozenset[int] | None = None
    time_of_day: TimeOfDayRange | None = None
    minimum_notice: timedelta | None = None
    minimum_duration: timedelta | None = None

    def __post_init__(self) -> None:
        if self.time_of_day is not None and self.time_of_day.start == self.time_of_day.end:
            raise BadUserInput("from and to of timeOfDay must differ")
        for name in ("minimum_notice", "minimum_duration"):
            length = getattr(self, name)
            if length is not None and length < timedelta(0):
                raise BadUserInput(f"{_field_name(name)} may not be negative")

    @property
    def looks_at_slots(self) -> bool:
        """Whether each slot has to be looked at."""
        return self.weekdays is not None or self.time_of_day is not None or self.minimum_duration is not None

    def names(self, services: Iterable[HealthcareService]) -> list[str]:
        """The ids of those services that are named, whatever their case and the spaces around."""
        wanted = {name.strip().casefold() for name in self.healthcare_service_names or ()}
        return [service.id for service in services if service.display_name.strip().casefold() in wanted]

    def earliest(self, now: datetime) -> datetime | None:
        """The earliest start that leaves the minimum notice."""
        return None if self.minimum_notice is None else now + self.minimum_notice


def _field_name(name: str) -> str:
    first, *others = name.split("_")
    return f"{first}{''.join(map(str.capitalize, others))}Minutes"


ALL_FREE_TIMES = AvailabilityFilter()


@dataclass(frozen=True, slots=True)
class AvailabilityRequest:
    """The arguments of an `availability` field; without a range, thirty days from today."""

    range: DayRange | InstantRange | None = None
    zone: str | None = None
    filter: AvailabilityFilter = ALL_FREE_TIMES

    def zone_within(self, own: ZoneInfo) -> ZoneInfo:
        """The zone whose days are meant, of a care unit in a zone of its own. Raises BadUserInput."""
        if self.zone is None:
            return own
        try:
            return time_zone(self.zone)
        except ValueError:
            raise BadUserInput("timeZone is no IANA time zone, such as Europe/Stockholm") from None

    @property
    def most_queries(self) -> int:
        """How many pairs of a resource and a service it may ask a care unit for."""
        services = len(self.filter.healthcare_service_ids or self.filter.healthcare_service_names or ())
        return max(1, len(self.filter.resource_ids or ())) * max(1, services)

    def days(self, now: datetime, zone: ZoneInfo, widest: timedelta) -> CalendarDays:
        """The local days that are asked for, with the window that they make. Raises BadUserInput."""
        if isinstance(self.range, InstantRange):
            window = requested_window(
                self.range.start, self.range.end, now=now, default=widest, widest=widest, zone=zone
            )
            return CalendarDays.of_window(window, zone)
        asked = self.range or DayRange(count=min(_DAYS, widest.days))
        first = asked.first or now.astimezone(zone).date()
        window = window_of_days(first, asked.count, zone, most=widest.days)
        return CalendarDays(first, asked.count, zone, window)

    def window(self, days: CalendarDays, now: datetime) -> Window | None:
        """The window in which something can be free: of local days, what has begun is not. None where all is past."""
        window = days.window
        if isinstance(self.range, InstantRange) or window.start >= now:
            return window
        return Window(now.astimezone(UTC), window.end) if now < window.end else None


def filtered(found: SlotRange, asked: AvailabilityFilter, zone: ZoneInfo, now: datetime) -> Pieces[SlotRange]:
    """The slots that weekday, time of day, notice and duration let through.

    One whose end is unknown is not known to last as long as is wanted.
    """
    earliest = asked.earliest(now)
    if earliest is not None:
        found = SlotRange(found.slots, found.before(earliest, found.low), found.high)
    if not asked.looks_at_slots:
        return found
    known: dict[str, bool] = {}
    kept: list[Timeslot] = []
    for some in batches(found.slots.slots[found.low : found.high]):
        for slot in some:
            is_meant = known.get(slot.start)
            if is_meant is None:
                is_meant = known[slot.start] = _is_at(instant(slot.start).astimezone(zone), asked)
            if is_meant and (asked.minimum_duration is None or _lasts(slot, asked.minimum_duration)):
                kept.append(slot)
        yield
    return found if len(kept) == len(found) else SlotRange.of(TimeslotList.presorted(kept))


def _is_at(local: datetime, asked: AvailabilityFilter) -> bool:
    return (asked.weekdays is None or local.weekday() in asked.weekdays) and (
        asked.time_of_day is None or asked.time_of_day.holds(local.time())
    )


def _lasts(slot: Timeslot, least: timedelta) -> bool:
    return slot.end is not None and instant(slot.end) - instant(slot.start) >= least


def by_owner(
    slots: SlotRange,
    listed: Collection[str],
    named: Collection[str | None],
    of: Callable[[str | None], TimeslotList],
) -> Pieces[list[tuple[str | None, SlotRange]]]:
    """The slots of each owner: of those that are `listed` also without any, in their order; then of all others.

    `named` are the owners that the slots of the range's list name, and `of` gives those of one. The others are unlisted
    owners by their id, and at last None, for slots that name no owner.
    """
    found: list[tuple[str | None, SlotRange]] = [(each, slots.of_owner(of(each))) for each in listed]
    others = sorted(each for each in named if each is not None and each not in listed)
    for some in batches([*others, *([None] if None in named else [])]):
        yield
        groups = ((each, slots.of_owner(of(each))) for each in some)
        found += [(each, group) for each, group in groups if len(group)]
    return found
