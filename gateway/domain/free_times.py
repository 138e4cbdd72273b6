"""Free times of one or several care units: counted, grouped by instant and by day, and given in pages.

Everything is found by bisection in slots that are in order, so that no slot is looked at that is not asked for.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from heapq import merge
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import TypeAlias, overload

from gateway.domain.calendar_days import CalendarDays
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.pieces import PIECE, Pieces
from gateway.domain.timeslots import TimeslotList, instant

_Place: TypeAlias = tuple[datetime, int, str, str, datetime]
# What the order of slots takes for the end of one that has none.
_NO_END = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SlotRange:
    """The slots of a list from one position to another; all slots of an instant are inside, or none of them."""

    slots: TimeslotList
    low: int
    high: int

    @classmethod
    def of(cls, slots: TimeslotList) -> "SlotRange":
        """All slots of a list, as a range of the longest list that is indexed."""
        return cls(slots.whole or slots, slots.offset, slots.offset + len(slots))

    def __len__(self) -> int:
        return self.high - self.low

    @property
    def first(self) -> Timeslot | None:
        """The first slot."""
        return self.slots.slots[self.low] if self.low < self.high else None

    @property
    def listed(self) -> TimeslotList:
        """The slots as a list of their own."""
        return TimeslotList.presorted(self.slots.slots[self.low : self.high])

    def before(self, end: datetime, low: int) -> int:
        """The position behind the last slot that starts before an instant, from a position on that is not behind it."""
        return bisect_left(self.slots.slots, end, low, self.high, key=_start)

    def cut(self, start: datetime, end: datetime) -> "SlotRange":
        """The slots that start inside a window."""
        low = self.before(start, self.low)
        return SlotRange(self.slots, low, self.before(end, low))

    def of_owner(self, slots: TimeslotList) -> "SlotRange":
        """The slots of this range that the list of an owner's slots holds, which was made of the same list."""
        if not len(self) or len(self) == len(self.slots):
            return SlotRange(slots, 0, len(slots) if len(self) else 0)
        first, last = _start(self.slots.slots[self.low]), _start(self.slots.slots[self.high - 1])
        low = bisect_left(slots.slots, first, key=_start)
        return SlotRange(slots, low, bisect_right(slots.slots, last, low, key=_start))

    def positions(self, low: int) -> "array[int]":
        """The positions, from one on, of those slots that are the first of their instant."""
        found = self.slots.first_positions
        return found[bisect_left(found, low) : bisect_left(found, self.high)]


@dataclass(frozen=True)
class UnitFreeTimes:
    """Free times of one care unit, with the days that they are counted by."""

    key: CareUnitKey
    range: SlotRange
    days: CalendarDays

    def within(self, slots: SlotRange) -> "UnitFreeTimes":
        """The same care unit's free times of another range."""
        return UnitFreeTimes(self.key, slots, self.days)

    def by_day(self, *, include_empty: bool) -> Iterator[tuple[date, SlotRange]]:
        """The slots of each day; days without any only where they are wanted."""
        slots, low = self.range, self.range.low
        if not len(slots) and not include_empty:
            return
        for day, ends in self.days.ends.items():
            high = slots.before(ends, low)
            if high > low or include_empty:
                yield day, SlotRange(slots.slots, low, high)
            low = high

    def starts(self, low: int) -> Iterator[tuple[datetime, int]]:
        """The instants, from a position on, each with the position behind its last slot."""
        slots, ends = self.range.slots.slots, self.range.positions(low)
        ends.append(self.range.high)
        return ((_start(slots[place]), end) for place, end in pairwise(ends))


@dataclass(frozen=True)
class FreeTimes:
    """Free times of a part of an availability: all of it, a day, an owner, an instant.

    Those of several care units are in order of their start, and within an instant in the order of the care units.
    """

    units: tuple[UnitFreeTimes, ...]

    @cached_property
    def count(self) -> int:
        """How many slots there are."""
        return sum(len(unit.range) for unit in self.units)

    @property
    def first(self) -> tuple[UnitFreeTimes, Timeslot] | None:
        """The first slot, with its care unit."""
        found = [(unit, slot) for unit in self.units if (slot := unit.range.first) is not None]
        return min(found, key=lambda each: _start(each[1]), default=None)

    def distinct_starts(self) -> Pieces[int]:
        """At how many instants something is free."""
        if len(self.units) == 1:
            (unit,) = self.units
            return len(unit.range.positions(unit.range.low))
        found: set[datetime] = set()
        for unit in self.units:
            starts = unit.starts(unit.range.low)
            while some := [start for start, _ in islice(starts, PIECE)]:
                found.update(some)
                yield
        return len(found)

    def days(self, *, include_empty: bool) -> "Pieces[list[tuple[date, FreeTimes]]]":
        """The free times of each day, in the order of the days."""
        found: dict[date, list[UnitFreeTimes]] = {}
        for number, unit in enumerate(self.units):
            if number:
                yield
            for day, slots in unit.by_day(include_empty=include_empty):
                found.setdefault(day, []).append(unit.within(slots))
        return [(day, FreeTimes(tuple(found[day]))) for day in sorted(found)]

    def times(self, first: int | None, after: datetime | None) -> "Pieces[Times]":
        """The free times of each instant, at most so many of those behind an instant."""
        lows = [_low_behind(unit.range, after) for unit in self.units]
        if len(self.units) == 1:
            (unit,) = self.units
            positions = unit.range.positions(lows[0])
            positions.append(unit.range.high)
            count = len(positions) - 1 if first is None else min(first, len(positions) - 1)
            return Times(self.units, positions[:count], positions[1 : count + 1])
        several = [
            _numbered(number, unit.starts(low)) for number, (unit, low) in enumerate(zip(self.units, lows, strict=True))
        ]
        ends, which, places, highs = array("I", [0]), array("I"), array("I"), array("I")
        instants = groupby(merge(*several), key=itemgetter(0))
        pause_at = PIECE
        for _, group in islice(instants, first):
            for _, number, high in group:
                which.append(number)
                places.append(lows[number])
                highs.append(high)
                lows[number] = high
            ends.append(len(which))
            if len(which) >= pause_at:
                pause_at = len(which) + PIECE
                yield
        return Times(self.units, places, highs, which, ends)

    def page(self, first: int | None, after: TimeslotId | None) -> "Pieces[Page]":
        """At most so many slots, of those behind one whose id is given, whether that is still free or not."""
        lows = [self._low_of_page(unit, number, after) for number, unit in enumerate(self.units)]
        has_previous = any(low > unit.range.low for low, unit in zip(lows, self.units, strict=True))
        left = sum(unit.range.high - low for low, unit in zip(lows, self.units, strict=True))
        size = left if first is None else min(first, left)
        entries: Entries
        if len(self.units) == 1:
            entries = Entries(self.units, None, range(lows[0], lows[0] + size))
        else:
            entries = yield from self._merged(lows, size)
        return Page(entries, has_previous, size < left, self.count)

    def _low_of_page(self, unit: UnitFreeTimes, number: int, after: TimeslotId | None) -> int:
        slots = unit.range
        if after is None:
            return slots.low
        order = next((order for order, each in enumerate(self.units) if each.key == after.care_unit), -1)
        place = after.start, order, after.resource or "", after.service or "", after.end or _NO_END
        return bisect_right(slots.slots.slots, place, slots.low, slots.high, key=lambda slot: _place(slot, number))

    def _merged(self, lows: Sequence[int], size: int) -> "Pieces[Entries]":
        which, places = array("I"), array("I")
        several = [
            _numbered(number, _each(unit.range, low))
            for number, (unit, low) in enumerate(zip(self.units, lows, strict=True))
        ]
        for count, (_, number, place) in enumerate(islice(merge(*several), size)):
            which.append(number)
            places.append(place)
            if count % PIECE == PIECE - 1:
                yield
        return Entries(self.units, which, places)


@dataclass(frozen=True, eq=False)
class Times(Sequence[FreeTimes]):
    """Free times by instant, made when one is looked at.

    `places` are where the slots of an instant begin in a care unit, and `highs` where they end. Of several care units
    only those that have something then are held, by their numbers in `which`; `ends` is up to where those of each
    instant are, 0 before the first.
    """

    units: tuple[UnitFreeTimes, ...]
    places: "array[int]"
    highs: "array[int]"
    which: "array[int] | None" = None
    ends: "array[int] | None" = None

    def __len__(self) -> int:
        return len(self.places) if self.ends is None else len(self.ends) - 1

    def start(self, index: int) -> str:
        """The start of the first slot of an instant, as the EHR wrote it."""
        place = index if self.ends is None else self.ends[index]
        return self._unit(place).range.slots.slots[self.places[place]].start

    def size(self, index: int) -> int:
        """How many slots an instant has."""
        return sum(self.highs[place] - self.places[place] for place in self._range(index))

    def _range(self, index: int) -> range:
        """Where what is held of an instant stands."""
        return range(index, index + 1) if self.ends is None else range(self.ends[index], self.ends[index + 1])

    def _unit(self, place: int) -> UnitFreeTimes:
        return self.units[0 if self.which is None else self.which[place]]

    @overload
    def __getitem__(self, index: int) -> FreeTimes: ...
    @overload
    def __getitem__(self, index: slice) -> list[FreeTimes]: ...
    def __getitem__(self, index: int | slice) -> FreeTimes | list[FreeTimes]:
        """The free times of an instant, or those of several."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        found = []
        for place in self._range(index):
            unit = self._unit(place)
            found.append(unit.within(SlotRange(unit.range.slots, self.places[place], self.highs[place])))
        return FreeTimes(tuple(found))


@dataclass(frozen=True, eq=False)
class Entries(Sequence[tuple[UnitFreeTimes, Timeslot]]):
    """Slots in order, each with its care unit, found when one is looked at.

    `which` are the numbers of the care units; None where there is but one.
    """

    units: tuple[UnitFreeTimes, ...]
    which: "array[int] | None"
    places: "range | array[int]"

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> tuple[UnitFreeTimes, Timeslot]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[UnitFreeTimes, Timeslot]]: ...
    def __getitem__(self, index: int | slice) -> tuple[UnitFreeTimes, Timeslot] | list[tuple[UnitFreeTimes, Timeslot]]:
        """A slot with its care unit, or several."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        unit = self.units[0 if self.which is None else self.which[index]]
        return unit, unit.range.slots.slots[self.places[index]]


@dataclass(frozen=True, slots=True)
class Page:
    """Some slots, and what stands before and behind them."""

    entries: Entries
    has_previous: bool
    has_next: bool
    total: int


def _each(slots: SlotRange, low: int) -> Iterator[tuple[datetime, int]]:
    """The start of each slot from a position on, with its position."""
    return ((_start(slots.slots.slots[place]), place) for place in range(low, slots.high))


def _numbered(number: int, several: Iterator[tuple[datetime, int]]) -> Iterator[tuple[datetime, int, int]]:
    """What is merged with that of other care units, in the order of these where the instants are one."""
    return ((start, number, place) for start, place in several)


def _low_behind(slots: SlotRange, after: datetime | None) -> int:
    return slots.low if after is None else bisect_right(slots.slots.slots, after, slots.low, slots.high, key=_start)


def _place(slot: Timeslot, order: int) -> _Place:
    end = _NO_END if slot.end is None else instant(slot.end)
    return _start(slot), order, slot.resource_id or "", slot.healthcare_service_id or "", end


def _start(slot: Timeslot) -> datetime:
    return instant(slot.start)
