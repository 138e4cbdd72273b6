"""What is free next behind the range of an availability, looked for in growing stretches of time."""

from asyncio import Lock, gather
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias

import strawberry

from gateway.domain.availability import AvailabilityRequest, filtered
from gateway.domain.errors import BadUserInput, GatewayError
from gateway.domain.free_times import SlotRange
from gateway.domain.models import Timeslot as Slot
from gateway.domain.pieces import InPieces
from gateway.domain.timeslots import instant
from gateway.domain.window import Window, days_later
from gateway.schema.context import Context, Info
from gateway.schema.coverage import CoverageGapReason
from gateway.schema.scalars import DateTime
from gateway.schema.timeslot import Timeslot, TimeslotViews
from gateway.schema.unit_availability import UnitAvailability, UnitReader

WithinDays: TypeAlias = Annotated[
    int,
    strawberry.argument(description="How many local days behind the end of the range to look at, from 1 to 366."),
]
_MOST_DAYS = 366
# A month that is empty is answered in three calls, were the next free time a hundred days away.
_FIRST_STRETCH, _GROWTH = 10, 3
_ENDS_IT = frozenset({CoverageGapReason.FAILED, CoverageGapReason.LIMIT})
OwnSlots: TypeAlias = Callable[[SlotRange], SlotRange]
"""Picks what an asker means out of a care unit's slots."""


@strawberry.type(
    description=(
        "What is free next behind the end of a range. It has no counterpart in FHIR R4; what it finds is a Slot."
    )
)
class NextFreeTime:
    """What a search found."""

    timeslot: Timeslot | None = strawberry.field(
        description="The first free slot behind the range. Null where none was found before `searchedUntil`."
    )
    searched_until: DateTime = strawberry.field(description="The instant before which the search looked.")
    complete: bool = strawberry.field(
        description=(
            "Whether all was looked at before `searchedUntil`, and that is as far as was asked, or a slot was found. "
            "False where a failure or a limit ended the search."
        )
    )


@dataclass(slots=True)
class _Stretch:
    window: Window
    slots: SlotRange | None
    is_whole: bool


@dataclass(slots=True, eq=False)
class NextSearch:
    """The search of one care unit, which serves all who ask for the next free time below one field."""

    context: Context
    unit: UnitAvailability
    request: AvailabilityRequest
    _stretches: list[_Stretch] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def asker(self, own: OwnSlots, within_days: int) -> "_Asker":
        """One who asks for the first slot of some, and has been told nothing yet."""
        limit = days_later(self.unit.asked.days.window.end, timedelta(days=within_days), self.unit.asked.days.zone)
        return _Asker(self, own, limit, self._start, is_whole=not self.unit.is_failed)

    @property
    def _start(self) -> datetime:
        """What is past is not looked at."""
        return max(self.unit.asked.days.window.end, self.context.queries.earliest)

    async def stretch(self, number: int) -> _Stretch:
        """What was found in a stretch behind those before it."""
        async with self._lock:
            if number == len(self._stretches):
                start = self._stretches[-1].window.end if number else self._start
                length = timedelta(days=_FIRST_STRETCH * _GROWTH**number)
                longest = min(length, self.context.widest_window)
                window = Window(start, days_later(start, longest, self.unit.asked.days.zone))
                self._stretches.append(await self._read(window))
            return self._stretches[number]

    async def _read(self, window: Window) -> _Stretch:
        asked = self.context.queries.later(self.unit.key, self.request, self.unit.asked, window)
        reader = UnitReader(self.context, self.unit.key, self.request)
        try:
            slots = await reader.slots(asked)
        except GatewayError:
            self.context.loaders.never_keep()
            return _Stretch(window, None, is_whole=False)
        zone, now = asked.days.zone, self.context.now
        found = await InPieces(filtered(slots, self.request.filter, zone, now))
        return _Stretch(window, found, not any(gap.reason in _ENDS_IT for gap in reader.gaps))


@dataclass(slots=True)
class _Asker:
    """How far the search of a care unit got for one who asks: the first slot, or until when there is none."""

    search: NextSearch
    own: OwnSlots
    limit: datetime
    until: datetime
    is_whole: bool
    number: int = 0
    slot: Slot | None = None
    starts: datetime | None = None

    def wants(self, found: datetime | None) -> bool:
        """Whether a further stretch may hold something earlier than what was found, of this care unit or another."""
        return self.is_whole and self.until < self.limit and (found is None or self.until <= found)

    async def look_on(self) -> None:
        """Look at the next stretch."""
        stretch = await self.search.stretch(self.number)
        self.is_whole = stretch.is_whole
        if stretch.slots is None:
            return
        first = self.own(stretch.slots).first
        starts = None if first is None else instant(first.start)
        if starts is not None and starts < self.limit:
            self.slot, self.starts = first, starts
            self._expire(starts)
        if stretch.is_whole or self.slot is not None:
            self.until, self.number = min(stretch.window.end, self.limit), self.number + 1

    def _expire(self, starts: datetime) -> None:
        """Let the answer be kept only as long as the slot leaves the notice."""
        notice = self.search.request.filter.minimum_notice
        if notice is not None:
            self.search.context.expire_at(starts - notice)


async def next_free_time(info: Info, searches: Sequence[tuple[NextSearch, OwnSlots]], within_days: int) -> NextFreeTime:
    """What is free next in one or several care units. Raises BadUserInput.

    All look at their stretches of one length at a time, and none looks behind what another has found.
    """
    if not 1 <= within_days <= _MOST_DAYS:
        raise BadUserInput(f"withinDays lies between 1 and {_MOST_DAYS}")
    askers = [search.asker(own, within_days) for search, own in searches]
    earliest: datetime | None = None
    while wanting := [each for each in askers if each.wants(earliest)]:
        if len(wanting) == 1:
            await wanting[0].look_on()
        else:
            await gather(*(each.look_on() for each in wanting))
        earliest = min((each.starts for each in askers if each.starts is not None), default=None)
    first = next((each for each in askers if each.slot is not None and each.starts == earliest), None)
    timeslot = None
    if first is not None and first.slot is not None:
        timeslot = info.context.made_once(first.search.unit.key, TimeslotViews).view(first.slot)
    zone = searches[0][0].unit.asked.days.zone
    return NextFreeTime(
        timeslot=timeslot,
        searched_until=DateTime(min(each.until for each in askers).astimezone(zone).isoformat()),
        complete=all(each.is_whole for each in askers),
    )
