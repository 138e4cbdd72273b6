"""Timeslots in order: sorted by start, then resource, then service, without duplicates."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from datetime import datetime
from itertools import groupby, islice
from operator import attrgetter, itemgetter, lt
from typing import Any, TypeAlias

from gateway.domain.models import Timeslot
from gateway.domain.window import Window

_SortKey: TypeAlias = tuple[Any, Any, Any]


class TimeslotList:
    """An immutable, ordered list of timeslots that can be cut by window and by owner without looking at each.

    `derived` is for what others make of the whole list, to be kept as long as the list and shared with all its parts;
    `part` says which part of that whole this list is.
    """

    __slots__ = ("_by_resource", "_by_service", "derived", "part", "slots", "text_bytes")

    def __init__(
        self, slots: Iterable[Timeslot] = (), *, times: Collection[str] | None = None, text_bytes: int | None = None
    ) -> None:
        """Sort slots that come in any order; `instant` must be able to read their times, which the decoder checks.

        `times` are the texts of all their times, where the caller has them; `text_bytes` is the most that all their
        texts may take in memory, where the caller knows.
        """
        self._set(_sorted(list(slots), times), None, (), text_bytes)

    def _set(
        self, slots: Sequence[Timeslot], derived: object, part: tuple[Hashable, ...], text_bytes: int | None = None
    ) -> None:
        self.slots = tuple(slots)
        self.derived: Any = derived
        self.part = part
        self.text_bytes = text_bytes
        self._by_resource: dict[str | None, TimeslotList] | None = None
        self._by_service: dict[str | None, TimeslotList] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def within(self, window: Window) -> "TimeslotList":
        """The slots that belong to a window by their start."""
        low, high = self._bounds(window)
        return self if low == 0 and high == len(self.slots) else self._part(self.slots[low:high], (low, high))

    def _bounds(self, window: Window) -> tuple[int, int]:
        """The indices of the first slot of a window, and of the first after it."""
        slots = self.slots
        if not slots:
            return 0, 0
        low = 0 if instant(slots[0].start) >= window.start else bisect_left(slots, window.start, key=_start)
        if instant(slots[-1].start) < window.end:
            return low, len(slots)
        return low, bisect_left(slots, window.end, low, key=_start)

    def of_resource(self, resource: str | None) -> "TimeslotList":
        """The slots that name a resource; None for those that name none."""
        if self._by_resource is None:
            self._by_resource = self._grouped("resource_id")
        return self._by_resource.get(resource, _EMPTY)

    def of_service(self, service: str | None) -> "TimeslotList":
        """The slots that name a healthcare service; None for those that name none."""
        if self._by_service is None:
            self._by_service = self._grouped("healthcare_service_id")
        return self._by_service.get(service, _EMPTY)

    def where(self, wanted: Callable[[Timeslot], bool]) -> "TimeslotList":
        """The slots for which a condition is true."""
        return _presorted(list(filter(wanted, self.slots)))

    def _grouped(self, owner: str) -> "dict[str | None, TimeslotList]":
        groups: defaultdict[str | None, list[Timeslot]] = defaultdict(list)
        named = map(attrgetter(owner), self.slots)
        for name, slot in zip(named, self.slots, strict=True):
            groups[name].append(slot)
        return {name: self._part(group, (owner, name)) for name, group in groups.items()}

    def _part(self, slots: Sequence[Timeslot], part: Hashable) -> "TimeslotList":
        return _presorted(slots, self.derived, (*self.part, part))


def joined(lists: Iterable[TimeslotList]) -> TimeslotList:
    """Several lists as one."""
    filled = [each for each in lists if each.slots]
    if len(filled) > 1:
        return TimeslotList(slot for each in filled for slot in each.slots)
    return filled[0] if filled else _EMPTY


def _presorted(slots: Sequence[Timeslot], derived: object = None, part: tuple[Hashable, ...] = ()) -> TimeslotList:
    made = TimeslotList.__new__(TimeslotList)
    made._set(slots, derived, part)  # noqa: SLF001 # another way to make one, kept out of the public constructor
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


def _start(slot: Timeslot) -> datetime:
    return instant(slot.start)


def _sorted(slots: list[Timeslot], times: Collection[str] | None) -> list[Timeslot]:
    """Slots in order; many EHRs send them so, and then nothing is moved."""
    try:
        if _is_rising(_sort_keys(slots, times)):
            return slots
    except TypeError:
        # A slot that names no owner stands beside one that does, and None has no place in the order of texts.
        pass
    return _sorted_by_instant(slots)


def _sort_keys(slots: Sequence[Timeslot], times: Collection[str] | None) -> list[_SortKey]:
    starts = set(map(attrgetter("start"), slots)) if times is None else times
    forms = {(len(text), text[19:]) for text in starts}
    # Times of one offset sort as text. Else many slots share few times, so each text is read once.
    if len(forms) <= 1 and "" not in {offset for _, offset in forms}:
        return list(map(attrgetter("start", "resource_id", "healthcare_service_id"), slots))
    seconds = {text: instant(text).timestamp() for text in starts}
    return [(seconds[slot.start], slot.resource_id, slot.healthcare_service_id) for slot in slots]


def _sorted_by_instant(slots: Iterable[Timeslot]) -> list[Timeslot]:
    """Slots in order. Many share few instants, so sorting within each costs less than sorting all."""
    texts: defaultdict[str, list[Timeslot]] = defaultdict(list)
    for slot in slots:
        texts[slot.start].append(slot)
    instants: defaultdict[float, list[Timeslot]] = defaultdict(list)
    for text, group in texts.items():
        instants[instant(text).timestamp()] += group
    ordered: list[Timeslot] = []
    for at in sorted(instants):
        ordered += _sorted_by_owner(instants[at])
    return ordered


def _sorted_by_owner(slots: list[Timeslot]) -> list[Timeslot]:
    """Slots of one instant in the order of their resources and services, without duplicates."""
    if len(slots) == 1:
        return slots
    owner: Callable[[Timeslot], tuple[Any, Any]] = attrgetter("resource_id", "healthcare_service_id")
    try:
        slots.sort(key=owner)
    except TypeError:
        owner = _owner_or_empty
        slots.sort(key=owner)
    owners = list(map(owner, slots))
    return slots if _is_rising(owners) else _without_duplicates(slots, owners)


def _owner_or_empty(slot: Timeslot) -> tuple[str, str]:
    return slot.resource_id or "", slot.healthcare_service_id or ""


def _is_rising(keys: Sequence[tuple[Any, ...]]) -> bool:
    return all(map(lt, keys, islice(keys, 1, None)))


def _without_duplicates(slots: Sequence[Timeslot], owners: Sequence[tuple[Any, Any]]) -> list[Timeslot]:
    """Of slots of one instant that are alike in owner and end, the last one; where only the ends differ, by end."""
    # Most duplicates are equal in every field.
    distinct = {(owner, slot.end): slot for owner, slot in zip(owners, slots, strict=True)}
    if len(distinct) == len(set(owners)):
        return list(distinct.values())
    kept: list[Timeslot] = []
    for _, group in groupby(zip(owners, slots, strict=True), key=itemgetter(0)):
        by_end = {0.0 if slot.end is None else instant(slot.end).timestamp(): slot for _, slot in group}
        kept += [by_end[end] for end in sorted(by_end)]
    return kept


_EMPTY = TimeslotList()
