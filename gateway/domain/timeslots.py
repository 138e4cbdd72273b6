"""Timeslots in order: sorted by start, then resource, then service, without duplicates."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime

from gateway.domain.models import Timeslot
from gateway.domain.window import Window


class TimeslotList:
    """An immutable, ordered list of timeslots that can be cut by window and by owner without looking at each."""

    __slots__ = ("_by_resource", "_by_service", "_starts", "slots")

    def __init__(self, slots: Iterable[Timeslot] = ()) -> None:
        """Arrange slots in any order. Raises ValueError where a time is not an ISO 8601 instant with offset."""
        self._set(*_arranged(slots))

    def _set(self, slots: Iterable[Timeslot], starts: Iterable[float]) -> None:
        self.slots = tuple(slots)
        self._starts = tuple(starts)
        self._by_resource: dict[str | None, TimeslotList] | None = None
        self._by_service: dict[str | None, TimeslotList] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def within(self, window: Window) -> "TimeslotList":
        """The slots that belong to a window by their start."""
        low = bisect_left(self._starts, window.start.timestamp())
        high = bisect_left(self._starts, window.end.timestamp(), low)
        whole = low == 0 and high == len(self.slots)
        return self if whole else _in_order(self.slots[low:high], self._starts[low:high])

    def of_resource(self, resource: str | None) -> "TimeslotList":
        """The slots that name a resource; None for those that name none."""
        if self._by_resource is None:
            self._by_resource = self._grouped([slot.resource_id for slot in self.slots])
        return self._by_resource.get(resource, _EMPTY)

    def of_service(self, service: str | None) -> "TimeslotList":
        """The slots that name a healthcare service; None for those that name none."""
        if self._by_service is None:
            self._by_service = self._grouped([slot.healthcare_service_id for slot in self.slots])
        return self._by_service.get(service, _EMPTY)

    def where(self, wanted: Callable[[Timeslot], bool]) -> "TimeslotList":
        """The slots that a test lets through."""
        kept = [(slot, start) for slot, start in zip(self.slots, self._starts, strict=True) if wanted(slot)]
        return _in_order([slot for slot, _ in kept], [start for _, start in kept])

    def _grouped(self, owners: Iterable[str | None]) -> "dict[str | None, TimeslotList]":
        groups: defaultdict[str | None, tuple[list[Timeslot], list[float]]] = defaultdict(lambda: ([], []))
        for owner, slot, start in zip(owners, self.slots, self._starts, strict=True):
            slots, starts = groups[owner]
            slots.append(slot)
            starts.append(start)
        return {owner: _in_order(*group) for owner, group in groups.items()}


def _in_order(slots: Iterable[Timeslot], starts: Iterable[float]) -> TimeslotList:
    made = TimeslotList.__new__(TimeslotList)
    made._set(slots, starts)  # noqa: SLF001 # another way to make one, kept out of the public constructor
    return made


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


def _arranged(slots: Iterable[Timeslot]) -> tuple[list[Timeslot], list[float]]:
    """Slots in order and the instants of their starts."""
    given = list(slots)
    # Many slots share few times, so each text is read once, and only slots of one instant are compared.
    seconds = {text: instant(text).timestamp() for text in {slot.start for slot in given}}
    groups: defaultdict[float, list[Timeslot]] = defaultdict(list)
    for slot in given:
        groups[seconds[slot.start]].append(slot)
    ordered: list[Timeslot] = []
    starts: list[float] = []
    for start in sorted(groups):
        group = _of_one_instant(groups[start])
        ordered += group
        starts += [start] * len(group)
    return ordered, starts


def _of_one_instant(slots: list[Timeslot]) -> list[Timeslot]:
    """By resource, then service, then end, without duplicates."""
    if len(slots) == 1:
        return slots
    owned = {(slot.resource_id or "", slot.healthcare_service_id or ""): slot for slot in slots}
    if len(owned) == len(slots):
        return [owned[owner] for owner in sorted(owned)]
    unique = {
        (
            slot.resource_id or "",
            slot.healthcare_service_id or "",
            0.0 if slot.end is None else instant(slot.end).timestamp(),
        ): slot
        for slot in slots
    }
    return [unique[key] for key in sorted(unique)]


_EMPTY = TimeslotList()
