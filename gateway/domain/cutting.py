"""Cutting a window into pieces that an EHR takes."""

from datetime import datetime, time, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from gateway.domain.window import Window


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
        end = _quiet_instant(earliest=window.end - left * longest, latest=start + longest, zone=zone)
        pieces.append(Window(start, end))
        start = end
    return (*pieces, Window(start, window.end))


def _quiet_instant(*, earliest: datetime, latest: datetime, zone: ZoneInfo) -> datetime:
    local = latest.astimezone(zone)
    midnight = datetime.combine(local.date(), time.min, tzinfo=zone).astimezone(latest.tzinfo)
    return midnight if earliest <= midnight <= latest else latest


def to_end_of_day(window: Window, profile_zone: ZoneInfo, longest: timedelta | None) -> Window:
    """The window, its end moved to the end of its last local day where that makes no further piece.

    So a window that moves with the clock stays inside what was fetched for the one before it.
    """
    local = window.end.astimezone(profile_zone)
    day_after = datetime.combine(local.date() + timedelta(days=1), time.min, tzinfo=profile_zone)
    if local.time() == time.min:
        return window
    longer = Window(window.start, day_after.astimezone(window.end.tzinfo))
    return window if longest is not None and ceil(longer.length / longest) > ceil(window.length / longest) else longer
