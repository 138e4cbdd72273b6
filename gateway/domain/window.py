"""Half-open windows of time, time zones, and how windows are cut into pieces that an EHR accepts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from math import ceil
from zoneinfo import ZoneInfo

from gateway.domain.errors import BadUserInput

# Now is the beginning of a second, which is over when a call arrives; nobody books what begins within the next one.
ON_THE_WAY = timedelta(seconds=2)

_SHORTEST_CUT = timedelta(hours=1)
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)


# As many as there are zones; a name that is none is not kept.
@lru_cache(maxsize=1_024)
def time_zone(name: str) -> ZoneInfo:
    """The IANA time zone of a name, by the rules of the tzdata package. Raises ValueError for an unknown name.

    `ZoneInfo(name)` would prefer the machine's own files, so that two machines could cut days in different places.
    """
    if _ZONE_NAME.fullmatch(name) is None:
        raise ValueError("not a known IANA time zone")
    try:
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
            return ZoneInfo.from_file(rules, key=name)
    except (OSError, ValueError):
        # No file, a folder, or a file that holds no time zone.
        raise ValueError("not a known IANA time zone") from None


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of time: `start` belongs to it, `end` does not.

    Both carry an offset. Raises BadUserInput where `end` is not after `start`.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() is None or self.end.utcoffset() is None:
            raise BadUserInput("start and end need an offset, such as +01:00 or Z")
        if self.end <= self.start:
            raise BadUserInput("end must be after start")

    @property
    def length(self) -> timedelta:
        """The stretch from start to end."""
        return self.end - self.start

    def contains(self, other: "Window") -> bool:
        """Whether every instant of `other` is inside this window."""
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: "Window") -> bool:
        """Whether both windows have an instant in common."""
        return self.start < other.end and other.start < self.end

    def intersection(self, other: "Window") -> "Window | None":
        """The stretch that lies in both windows; None where there is none."""
        if other.contains(self):
            return self
        if self.contains(other):
            return other
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Window(start, end) if start < end else None


def requested_window(
    start: datetime | None,
    end: datetime | None,
    *,
    now: datetime,
    default: timedelta,
    widest: timedelta,
    zone: ZoneInfo,
) -> Window:
    """The window that a query asks for: without a start from `now` on, without an end `default` long.

    Raises BadUserInput where it is empty, wider than so many days of the calendar in `zone`, or beyond the calendar.
    """
    try:
        first = start or now
        window = Window(first, end or first + default)
        # A client that counts in days of 24 hours must not be refused because clocks are put forward meanwhile.
        too_wide = window.length > widest and window.end > days_later(first, widest, zone)
    except OverflowError:
        raise BadUserInput("start or end lies beyond the calendar") from None
    if too_wide:
        raise BadUserInput(f"The window is wider than {widest.days} days; ask for a shorter one")
    return window


def window_of_slot(start: datetime, end: datetime | None) -> Window:
    """The window that a call for one slot asks: all of it, as some EHRs leave out what ends after their window.

    Never more than a day, since an end far away is an EHR's way of saying that there is none. In whole seconds, as what
    an EHR makes of fractions is unknown. Raises BadUserInput where it is beyond the calendar.
    """
    length = _LEAST_OF_A_SLOT if end is None else min(max(end - start, _LEAST_OF_A_SLOT), _MOST_OF_A_SLOT)
    try:
        first = start.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        first = None
    if first is None or not _FIRST_YEAR <= first.year <= _LAST_YEAR:
        raise BadUserInput("The timeslot lies beyond the calendar")
    return Window(first, first + timedelta(seconds=ceil((start - first + length).total_seconds())))


def days_later(start: datetime, days: timedelta, zone: ZoneInfo) -> datetime:
    """The instant at which local clocks show the same time so many days later; the last one where they do so twice."""
    local = start.astimezone(zone).replace(tzinfo=None) + days
    return max(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


def subtract(windows: Iterable[Window], taken: Window) -> list[Window]:
    """The stretches of windows that lie outside another."""
    left = []
    for window in windows:
        if not window.overlaps(taken):
            left.append(window)
            continue
        if window.start < taken.start:
            left.append(Window(window.start, taken.start))
        if taken.end < window.end:
            left.append(Window(taken.end, window.end))
    return left


def cut(window: Window, longest: timedelta | None, zone: ZoneInfo) -> tuple[Window, ...]:
    """The fewest pieces no longer than `longest` that make up the window.

    Whether an EHR returns a slot that straddles the end of a call's window is unknown (leyr-api 4), so the
    pieces meet at a local midnight wherever that costs no further call.
    """
    if longest is None or window.length <= longest:
        return (window,)
    count = ceil(window.length / longest)
    pieces = []
    start = window.start
    for left in range(count - 1, 0, -1):
        end = _midnight_or_latest(earliest=window.end - left * longest, latest=start + longest, zone=zone)
        pieces.append(Window(start, end))
        start = end
    return (*pieces, Window(start, window.end))


def _midnight_or_latest(*, earliest: datetime, latest: datetime, zone: ZoneInfo) -> datetime:
    local = latest.astimezone(zone)
    midnight = datetime.combine(local.date(), time.min, tzinfo=zone).astimezone(latest.tzinfo)
    return midnight if earliest <= midnight <= latest else latest


def halves(window: Window, zone: ZoneInfo) -> tuple[Window, Window] | None:
    """Two windows that make up one; None where it is an hour long or shorter.

    They meet at the local midnight that is nearest to the middle, else at a full hour, since few slots straddle these.
    """
    if window.length <= _SHORTEST_CUT:
        return None
    middle = window.start + window.length / 2
    local = middle.astimezone(zone)
    midnights = (datetime.combine(local.date() + timedelta(days=day), time.min, zone) for day in (0, 1))
    hour = middle - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    for candidates in (midnights, (hour, hour + _SHORTEST_CUT)):
        inside = [each.astimezone(UTC) for each in candidates]
        inside = [each for each in inside if window.start < each < window.end]
        if inside:
            seam = min(inside, key=lambda each: abs(each - middle)).astimezone(window.start.tzinfo)
            return Window(window.start, seam), Window(seam, window.end)
    raise AssertionError("a window longer than an hour holds a full hour")


def to_end_of_day(window: Window, zone: ZoneInfo, longest: timedelta | None) -> Window:
    """The window rounded up to the end of its last local day, where that makes no further piece.

    So a window that moves with the clock stays inside what was fetched for the one before it.
    """
    local = window.end.astimezone(zone)
    day_after = datetime.combine(local.date() + timedelta(days=1), time.min, tzinfo=zone)
    if local.time() == time.min:
        return window
    longer = Window(window.start, day_after.astimezone(window.end.tzinfo))
    return window if longest is not None and ceil(longer.length / longest) > ceil(window.length / longest) else longer


# Room on both sides, so that no change of time zone leaves the calendar.
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_LEAST_OF_A_SLOT = timedelta(minutes=1)
_MOST_OF_A_SLOT = timedelta(days=1)
