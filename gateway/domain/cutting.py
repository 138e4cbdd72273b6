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
