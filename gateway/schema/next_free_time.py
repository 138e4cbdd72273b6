"""What is free next behind the range of an availability, looked for in growing stretches of time."""

from asyncio import Lock, gather
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
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

    async def next(self, own: OwnSlots, within_days: int) -> tuple[Slot | None, datetime, bool]:
        """The first slot of an asker, until when was searched, and whether that is all."""
        zone = self.unit.asked.days.zone
        limit = days_later(self.unit.asked.days.window.end, timedelta(days=within_days), zone)
        until, is_whole, number = self._start, not self.unit.is_failed, 0
        while is_whole and until < limit:
            stretch = await self._stretch(number)
            if stretch.slots is None:
                return None, until, False
            first, is_whole = own(stretch.slots).first, stretch.is_whole
            if first is not None and instant(first.start) < limit:
                return first, min(stretch.window.end, limit), is_whole
            if is_whole:
                until, number = min(stretch.window.end, limit), number + 1
        return None, until, is_whole

    @property
    def _start(self) -> datetime:
        """What is past is not looked at."""
        return max(self.unit.asked.days.window.end, self.context.queries.earliest)

    async def _stretch(self, number: int) -> _Stretch:
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
            self.context.loaders.fresh_for(0)
            return _Stretch(window, None, is_whole=False)
        zone, now = asked.days.zone, self.context.now
        found = await InPieces(filtered(slots, self.request.filter, zone, now))
        return _Stretch(window, found, not any(gap.reason in _ENDS_IT for gap in reader.gaps))


async def next_free_time(info: Info, searches: Sequence[tuple[NextSearch, OwnSlots]], within_days: int) -> NextFreeTime:
    """What is free next in one or several care units. Raises BadUserInput."""
    if not 1 <= within_days <= _MOST_DAYS:
        raise BadUserInput(f"withinDays lies between 1 and {_MOST_DAYS}")
    if len(searches) == 1:
        ((search, own),) = searches
        found = [await search.next(own, within_days)]
    else:
        found = await gather(*(search.next(own, within_days) for search, own in searches))
    slots = [
        (instant(slot.start), number, search.unit.key, slot)
        for number, ((search, _), (slot, _, _)) in enumerate(zip(searches, found, strict=True))
        if slot is not None
    ]
    timeslot = None
    if slots:
        _, _, key, slot = min(slots, key=itemgetter(0, 1))
        timeslot = info.context.made_once(key, TimeslotViews).view(slot)
    until = min(until for _, until, _ in found)
    zone = searches[0][0].unit.asked.days.zone
    return NextFreeTime(
        timeslot=timeslot,
        searched_until=DateTime(until.astimezone(zone).isoformat()),
        complete=all(is_whole for _, _, is_whole in found),
    )
