"""The FreeTimes interface: counts, times and pages of the free times of a part of an availability."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar, cast, overload

import strawberry
from strawberry import UNSET

from gateway.domain import free_times as domain
from gateway.domain import models
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import TimeslotId
from gateway.domain.pieces import SIMPLE, InPieces, Pieces, whole
from gateway.engine.lazy_list import LazyObjectList, MixedObjectList, as_list
from gateway.schema.context import Context, Info, checked_first
from gateway.schema.loaders import READS, Reads
from gateway.schema.scalars import DateTime
from gateway.schema.timeslot import First, Timeslot, TimeslotViews, given

T = TypeVar("T")

FirstTimes: TypeAlias = Annotated[
    int | None, strawberry.argument(description="At most so many times, the earliest ones. All when left out.")
]
AfterInstant: TypeAlias = Annotated[
    datetime | None, strawberry.argument(description="Only times after this instant. All when left out.")
]
AfterSlot: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description=(
            "Only slots behind this one: the cursor of an edge, which is the `id` of its slot. It goes on behind that "
            "place also when that slot is gone. From the first slot on when left out."
        )
    ),
]


@strawberry.type(
    description=(
        "A time at which something is free, whoever has it: what a patient sees. It has no counterpart in FHIR R4."
    )
)
class FreeTime:
    """The free times of one instant."""

    free: strawberry.Private[domain.FreeTimes]
    start: DateTime = strawberry.field(description="When it begins, with the offset that the EHR gave.")
    timeslot_count: int = strawberry.field(description="How many slots begin then, one for each who is free.")

    @classmethod
    def of(cls, free: domain.FreeTimes) -> "FreeTime":
        """The type's view of the free times of an instant."""
        slot = free.units[0].range.slots.slots[free.units[0].range.low]
        return cls(free=free, start=DateTime(slot.start), timeslot_count=free.count)

    @strawberry.field(description="The slots that begin then, sorted by resource, then service.")
    def timeslots(self, info: Info, *, first: First = UNSET) -> list[Timeslot]:
        """The slots of the instant."""
        page = whole(self.free.page(checked_first(given(first)), None))
        return as_list(timeslot_list(info.context, page.entries))


@strawberry.type(description="Where a page of slots begins and ends, as Relay's connections say it.")
class PageInfo:
    """What stands before and behind a page."""

    has_next_page: bool = strawberry.field(description="Whether there are slots behind this page.")
    has_previous_page: bool = strawberry.field(description="Whether there are slots before this page.")
    start_cursor: strawberry.ID | None = strawberry.field(
        description="The cursor of the first slot. Null where the page is empty."
    )
    end_cursor: strawberry.ID | None = strawberry.field(
        description=(
            "The cursor of the last slot, to be given as `after` for the next page. Null where the page is empty."
        )
    )


@strawberry.type(description="A slot in a connection.")
class TimeslotEdge:
    """A slot with its cursor."""

    cursor: strawberry.ID = strawberry.field(description="The `id` of the slot.")
    node: Timeslot = strawberry.field(description="The slot.")


@strawberry.type(
    description=(
        "A page of slots, as Relay's connections have it. Slots come sorted by start, then resource, then service."
    )
)
class TimeslotConnection:
    """A page."""

    page: strawberry.Private[domain.Page]
    total_count: int = strawberry.field(description="How many slots there are in all, on this page and on others.")

    @strawberry.field(description="The slots with their cursors.")
    def edges(self, info: Info) -> list[TimeslotEdge]:
        """The edges, each made when it is looked at."""
        views = _Views(info.context)
        return as_list(LazyObjectList(self.page.entries, views.edge, {}, computed={"cursor": views.cursor}))

    @strawberry.field(description="The slots.")
    def nodes(self, info: Info) -> list[Timeslot]:
        """The slots of the page."""
        return as_list(timeslot_list(info.context, self.page.entries))

    @strawberry.field(description="What stands before and behind this page.")
    def page_info(self, info: Info) -> PageInfo:
        """The cursors of the page's ends, and whether it goes on."""
        page, cursor = self.page, _Views(info.context).cursor
        ends = [strawberry.ID(cursor(page.entries[place])) for place in (0, len(page.entries) - 1) if page.entries]
        start, end = ends or (None, None)
        return PageInfo(
            has_next_page=page.has_next, has_previous_page=page.has_previous, start_cursor=start, end_cursor=end
        )


@strawberry.interface(
    description=(
        "Free times of a part of an availability: all of it, a day, a resource, a healthcare service, a care unit."
    )
)
class FreeTimes:
    """What every part of an availability has; it is found in slots that were read already."""

    free: strawberry.Private[domain.FreeTimes]
    timeslot_count: int = strawberry.field(
        description="How many slots are free: a time counts once for each resource and service that it is offered for."
    )

    @strawberry.field(description="At how many different times something is free: what a patient sees as times.")
    def distinct_start_count(self) -> int:
        """The number of instants."""
        return cast("int", now_or_in_pieces(self.free.distinct_starts(), self.free.count))

    @strawberry.field(description="The first free slot of this part. Null where nothing is free.")
    def first(self, info: Info) -> Timeslot | None:
        """The earliest slot."""
        found = self.free.first
        return None if found is None else _Views(info.context).timeslot(found)

    @strawberry.field(
        description="The different times, in order: what a patient sees. `[]` where nothing is free.",
        metadata={READS: Reads.NOTHING},
    )
    async def times(self, *, first: FirstTimes = UNSET, after: AfterInstant = UNSET) -> list[FreeTime]:
        """The slots by instant."""
        found = await InPieces(self.free.times(checked_first(given(first)), given(after)))
        return as_list(LazyObjectList(_TimeViews(found), _itself, {}))

    @strawberry.field(description="The slots in pages.", metadata={READS: Reads.NOTHING})
    async def timeslots(self, info: Info, *, first: First = UNSET, after: AfterSlot = UNSET) -> TimeslotConnection:
        """A page of the slots."""
        behind = _slot_id(info.context, given(after))
        page = await InPieces(self.free.page(checked_first(given(first)), behind))
        return TimeslotConnection(page=page, total_count=page.total)


def now_or_in_pieces(work: Pieces[T], size: int) -> T | InPieces[T]:
    """The result of work on so many slots, or what does it in pieces when it is awaited."""
    return whole(work) if size <= SIMPLE else InPieces(work)


def timeslot_list(context: Context, entries: domain.Entries) -> LazyObjectList[Any, Timeslot]:
    """The views of slots; those of one care unit are made as those of a `timeslots` field are."""
    if len(entries.units) != 1:
        return MixedObjectList(entries, _Views(context).timeslot, {})
    (unit,), places = entries.units, entries.places
    slots, views = unit.range.slots, context.made_once(unit.key, TimeslotViews)
    low, number = (places[0], len(places)) if places else (0, 0)
    part = (*slots.part, (low, low + number), number)
    return LazyObjectList(
        slots.slots[low : low + number], views.view, views.translations, slots.derived, part, computed=views.computed
    )


def _slot_id(context: Context, text: str | None) -> TimeslotId | None:
    found = None if text is None else context.named(text)
    if found is not None and not isinstance(found, TimeslotId):
        raise BadUserInput(
            f"This is the id of a {found.type}; pass the cursor of an edge, which is the id of a Timeslot"
        )
    return found


class _Views:
    """How entries of a page become views."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def timeslot(self, entry: tuple[domain.UnitFreeTimes, models.Timeslot]) -> Timeslot:
        """The view of a slot."""
        unit, slot = entry
        return self._context.made_once(unit.key, TimeslotViews).view(slot)

    def cursor(self, entry: tuple[domain.UnitFreeTimes, models.Timeslot]) -> str:
        """The id of a slot."""
        unit, slot = entry
        return self._context.timeslot_ids(unit.key)(slot)

    def edge(self, entry: tuple[domain.UnitFreeTimes, models.Timeslot]) -> TimeslotEdge:
        """The edge of a slot."""
        node = self.timeslot(entry)
        return TimeslotEdge(cursor=node.id, node=node)


class _TimeViews(Sequence[FreeTime]):
    """The views of times, each made when it is looked at."""

    def __init__(self, times: domain.Times) -> None:
        self._times = times

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, index: int) -> FreeTime: ...
    @overload
    def __getitem__(self, index: slice) -> list[FreeTime]: ...
    def __getitem__(self, index: int | slice) -> FreeTime | list[FreeTime]:
        """The view of a time, or those of several."""
        if isinstance(index, slice):
            return [FreeTime.of(each) for each in self._times[index]]
        return FreeTime.of(self._times[index])


def _itself(view: FreeTime) -> FreeTime:
    return view
