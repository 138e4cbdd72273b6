"""Timeslots in order: sorted by start, then resource, then service, without duplicates."""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from datetime import datetime

from gateway.domain.models import Timeslot
from gateway.domain.window import Window


class TimeslotList:
    """An immutable, ordered list of timeslots that can be cut by window in logarithmic time."""

    __slots__ = ("_starts", "slots")

    def __init__(self, slots: Iterable[Timeslot] = ()) -> None:
        """Arrange slots in any order. Raises ValueError where a time is not an ISO 8601 instant with offset."""
        unique = _by_order(list(slots))
        order = sorted(unique)
        self.slots = tuple(unique[key] for key in order)
        self._starts = tuple(key[0] for key in order)

    def __len__(self) -> int:
        return len(self.slots)

    def within(self, window: Window) -> tuple[Timeslot, ...]:
        """The slots that belong to a window by their start."""
        low = bisect_left(self._starts, window.start.timestamp())
        high = bisect_left(self._starts, window.end.timestamp(), low)
        return self.slots[low:high]


def instant(text: str) -> datetime:
    """The instant that an ISO 8601 text with an offset names. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("no offset")
    return moment


def duration_minutes(slot: Timeslot) -> int | None:
    """Whole minutes from start to end; None where the end is not known."""
    if slot.end is None:
        return None
    return int((instant(slot.end) - instant(slot.start)).total_seconds() // 60)


_OrderKey = tuple[float, str, str, float]


def _by_order(slots: Collection[Timeslot]) -> dict[_OrderKey, Timeslot]:
    # Many slots share few times, so each text is read once.
    seconds = {text: instant(text).timestamp() for text in {slot.start for slot in slots}}
    ends = {text: instant(text).timestamp() for text in {slot.end for slot in slots} if text is not None}
    return {
        (
            seconds[slot.start],
            slot.resource_id or "",
            slot.healthcare_service_id or "",
            ends[slot.end] if slot.end is not None else 0.0,
        ): slot
        for slot in slots
    }
