"""Local days of a time zone: when each begins, and which of them a window touches.

A day may last 23 or 25 hours, and where clocks are put forward at midnight its first instant is no midnight.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from gateway.domain.errors import BadUserInput
from gateway.domain.window import Window

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, at which a zone's date is this day or a later one."""
    midnight = datetime.combine(day, time.min, zone)
    earlier, later = (midnight.replace(fold=fold).astimezone(UTC) for fold in (1, 0))
    if later <= earlier:
        # Once, as nearly always, or twice, where clocks are put back to it: then the first of them counts.
        return later
    # Clocks skip it: it lies between what the offsets before and behind the gap make of it.
    while later - earlier > _SECOND:
        middle = (earlier + (later - earlier) / 2).replace(microsecond=0)
        if middle.astimezone(zone).date() < day:
            earlier = middle
        else:
            later = middle
    return later


@dataclass(frozen=True)
class CalendarDays:
    """So many local days of a zone that follow each other, as far as they lie inside a window."""

    first: date
    count: int
    zone: ZoneInfo
    window: Window

    @classmethod
    def of_window(cls, window: Window, zone: ZoneInfo) -> "CalendarDays":
        """The days that a window touches."""
        first = window.start.astimezone(zone).date()
        last = (window.end - timedelta.resolution).astimezone(zone).date()
        return cls(first, (last - first).days + 1, zone, window)

    @cached_property
    def ends(self) -> dict[date, datetime]:
        """The first instant after each day, none behind the window; a day that the zone skips is left out."""
        found: dict[date, datetime] = {}
        begins, last = self.window.start, self.window.end
        for number in range(self.count):
            day = self.first + number * _DAY
            ends = min(day_start(day + _DAY, self.zone), last)
            if ends > begins:
                found[day] = begins = ends
        return found

    def __iter__(self) -> Iterator[date]:
        return iter(self.ends)


def window_of_days(first: date, count: int, zone: ZoneInfo, *, most: int) -> Window:
    """The stretch of so many local days. Raises BadUserInput where there is none, or more than `most`."""
    if count < 1:
        raise BadUserInput("count must be at least 1")
    if count > most:
        raise BadUserInput(f"The range is longer than {most} days; ask for a shorter one")
    try:
        return Window(day_start(first, zone), day_start(first + count * _DAY, zone))
    except BadUserInput:
        raise BadUserInput("The days of the range do not exist in this time zone") from None
