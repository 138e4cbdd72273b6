"""The Availability type, and its parts by day and by owner."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date as Day  # noqa: N812 # the field has the name
from typing import Annotated, Any, TypeAlias

import strawberry

from gateway.domain import free_times as domain
from gateway.domain.availability import AvailabilityRequest, by_owner
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import NodeId, NodeType, node_id, parse_node_id
from gateway.domain.models import CareUnitKey
from gateway.domain.pieces import InPieces
from gateway.domain.queries import TimeslotQuery, asked_each
from gateway.fetch.fetch_scope import earliest
from gateway.schema.context import Context, Info
from gateway.schema.coverage import Coverage, CoverageGap, CoverageGapReason
from gateway.schema.free_times import FreeTimes
from gateway.schema.loaders import LIST_OF, READS, Reads
from gateway.schema.next_free_time import NextFreeTime, NextSearch, OwnSlots, WithinDays, next_free_time
from gateway.schema.node import CARE_UNIT, HEALTHCARE_SERVICE, RESOURCE, UnitNode
from gateway.schema.prefetch import prefetch_of_units
from gateway.schema.scalars import DateTime
from gateway.schema.unit_availability import UnitAvailability, load_unit_availability, load_units_availability

_UNIT_UNKNOWN = "Its `name` is Leyr's id where its EHR's list of care units cannot be had, or does not hold it."
Searches: TypeAlias = Sequence[tuple[NextSearch, OwnSlots]]
NEXT_AFTER = (
    "What is free next behind the end of the range. It is looked for in growing stretches, with calls that are counted "
    "when they are made, one search for all parts; where it is not selected, nothing is. Null comes with an error."
)
IncludeEmpty: TypeAlias = Annotated[
    bool, strawberry.argument(description="Whether to give days too on which nothing is free.")
]


@strawberry.type(
    description=(
        "Free times of a local day, in the care unit's zone or in `timeZone`. It has no counterpart in FHIR R4."
    )
)
class AvailabilityDay(FreeTimes):
    """A day."""

    date: Day = strawberry.field(description="The day.")


@strawberry.type(
    description=(
        "Free times of one resource. It has no counterpart in FHIR R4; the resource is a PractitionerRole or Device."
    )
)
class ResourceAvailability(FreeTimes):
    """A resource's part."""

    key: strawberry.Private[CareUnitKey]
    searches: strawberry.Private[Searches]
    resource_id: strawberry.ID | None = strawberry.field(
        description="The node id of the resource, equal to `resource.id`. Null for slots that name none."
    )
    resource: UnitNode | None = strawberry.field(
        graphql_type=RESOURCE | None,
        description="The resource. Null where the care unit does not list it, and for slots that name none.",
    )
    coverage: Coverage = strawberry.field(description="Whether these are all free times of the resource in the range.")

    @strawberry.field(
        description=f"The care unit that it belongs to. {_UNIT_UNKNOWN}",
        graphql_type=CARE_UNIT,
        metadata={READS: Reads.CARE_UNITS},
    )
    async def care_unit(self, info: Info) -> UnitNode:
        """The care unit, from the EHR's list."""
        return await info.context.nodes.care_unit_or_its_id(self.key)

    @strawberry.field(description="Its free times by local day, in order.", metadata={READS: Reads.NOTHING})
    async def days(self, *, include_empty: IncludeEmpty = False) -> list[AvailabilityDay]:
        """The days."""
        return await days_of(self.free, include_empty=include_empty)

    @strawberry.field(description=NEXT_AFTER, metadata={READS: Reads.NOTHING})
    async def next_after(self, info: Info, *, within_days: WithinDays = 90) -> NextFreeTime | None:
        """The next free time."""
        return await next_free_time(info, self.searches, within_days)


@strawberry.type(
    description=(
        "Free times for one healthcare service. It has no counterpart in FHIR R4; the service is a HealthcareService."
    )
)
class HealthcareServiceAvailability(FreeTimes):
    """A healthcare service's part."""

    key: strawberry.Private[CareUnitKey]
    searches: strawberry.Private[Searches]
    healthcare_service_id: strawberry.ID | None = strawberry.field(
        description=(
            "The node id of the healthcare service, equal to `healthcareService.id`. Null for slots that name none."
        )
    )
    healthcare_service: UnitNode | None = strawberry.field(
        graphql_type=HEALTHCARE_SERVICE | None,
        description="The healthcare service. Null where the care unit does not list it, and for slots that name none.",
    )
    coverage: Coverage = strawberry.field(description="Whether these are all free times for the service in the range.")

    @strawberry.field(
        description=f"The care unit that offers it. {_UNIT_UNKNOWN}",
        graphql_type=CARE_UNIT,
        metadata={READS: Reads.CARE_UNITS},
    )
    async def care_unit(self, info: Info) -> UnitNode:
        """The care unit, from the EHR's list."""
        return await info.context.nodes.care_unit_or_its_id(self.key)

    @strawberry.field(description="Its free times by local day, in order.", metadata={READS: Reads.NOTHING})
    async def days(self, *, include_empty: IncludeEmpty = False) -> list[AvailabilityDay]:
        """The days."""
        return await days_of(self.free, include_empty=include_empty)

    @strawberry.field(description=NEXT_AFTER, metadata={READS: Reads.NOTHING})
    async def next_after(self, info: Info, *, within_days: WithinDays = 90) -> NextFreeTime | None:
        """The next free time."""
        return await next_free_time(info, self.searches, within_days)


@strawberry.type(
    description=("Free times of one care unit. It has no counterpart in FHIR R4; the care unit is a Location.")
)
class CareUnitAvailability(FreeTimes):
    """A care unit's part."""

    key: strawberry.Private[CareUnitKey]
    searches: strawberry.Private[Searches]
    time_zone: str = strawberry.field(
        description="The IANA time zone of its days: `timeZone` where that was given, else the care unit's own."
    )
    coverage: Coverage = strawberry.field(
        description="Whether these are all its free times in the range. A care unit that failed has none, and a gap."
    )
    as_of: DateTime | None = strawberry.field(
        description="When the oldest of its free times was read. Null where they could not be had."
    )

    @strawberry.field(
        description=f"The care unit. {_UNIT_UNKNOWN}", graphql_type=CARE_UNIT, metadata={READS: Reads.CARE_UNITS}
    )
    async def care_unit(self, info: Info) -> UnitNode:
        """The care unit, from the EHR's list."""
        return await info.context.nodes.care_unit_or_its_id(self.key)

    @strawberry.field(description="Its free times by local day, in order.", metadata={READS: Reads.NOTHING})
    async def days(self, *, include_empty: IncludeEmpty = False) -> list[AvailabilityDay]:
        """The days."""
        return await days_of(self.free, include_empty=include_empty)

    @strawberry.field(description=NEXT_AFTER, metadata={READS: Reads.NOTHING})
    async def next_after(self, info: Info, *, within_days: WithinDays = 90) -> NextFreeTime | None:
        """The next free time."""
        return await next_free_time(info, self.searches, within_days)


@strawberry.type(
    description=(
        "What is free in a range of days or instants, counted and grouped. All of it comes from one set of slots that "
        "is read once, so that a further field costs no further call for free times. It has no counterpart in FHIR R4, "
        "where it would be counted from Slot."
    )
)
class Availability(FreeTimes):
    """The whole of one or several care units."""

    units: strawberry.Private[Sequence[NextSearch]]
    searches: strawberry.Private[Searches]
    start: DateTime = strawberry.field(
        description=(
            "The first instant of the range. Of local days, what has begun when the request is answered is not free."
        )
    )
    end: DateTime = strawberry.field(description="The first instant after the range.")
    time_zone: str | None = strawberry.field(
        description=(
            "The IANA time zone of its days, such as `Europe/Stockholm`. Null where care units work in several and "
            "`timeZone` was not given: then each has days of its own."
        )
    )
    excluded_by_filter_count: int = strawberry.field(
        description=(
            "How many slots of the range weekday, time of day, notice and duration took away, of those whom the rest "
            "of the filter means."
        )
    )
    coverage: Coverage = strawberry.field(description="Whether these are all free times, and what may be missing.")
    as_of: DateTime = strawberry.field(description="When the oldest of its free times was read.")

    @strawberry.field(
        description=(
            "Free times by local day, in order. Where care units work in several zones, and `timeZone` was not given, "
            "a day holds what each has on its own date."
        ),
        metadata={READS: Reads.NOTHING},
    )
    async def days(self, *, include_empty: IncludeEmpty = False) -> list[AvailabilityDay]:
        """The days."""
        return await days_of(self.free, include_empty=include_empty)

    @strawberry.field(description=NEXT_AFTER, metadata={READS: Reads.NOTHING})
    async def next_after(self, info: Info, *, within_days: WithinDays = 90) -> NextFreeTime | None:
        """The next free time."""
        return await next_free_time(info, self.searches, within_days)

    @strawberry.field(
        description=(
            "Free times by resource: everybody whom the filter means, in the care unit's order, also who is fully "
            "booked. Behind them resources that slots name and the care unit does not list, and slots that name none. "
            "Null comes with an error, where the list of resources could not be had."
        ),
        metadata={READS: Reads.RESOURCES},
    )
    async def by_resource(self, info: Info) -> list[ResourceAvailability] | None:
        """The groups."""
        return [
            ResourceAvailability(resource_id=each.id, resource=each.node, **each.attributes)
            for each in await _groups(info.context, self.units, NodeType.RESOURCE)
        ]

    @strawberry.field(
        description=(
            "Free times by healthcare service: every service that the filter means, in the care unit's order, also "
            "what is fully booked. Behind them services that slots name and the care unit does not list, and slots "
            "that name none. Null comes with an error, where the list of services could not be had."
        ),
        metadata={READS: Reads.HEALTHCARE_SERVICES},
    )
    async def by_healthcare_service(self, info: Info) -> list[HealthcareServiceAvailability] | None:
        """The groups."""
        return [
            HealthcareServiceAvailability(
                healthcare_service_id=each.id, healthcare_service=each.node, **each.attributes
            )
            for each in await _groups(info.context, self.units, NodeType.HEALTHCARE_SERVICE)
        ]

    @strawberry.field(description="Free times by care unit, in the order in which they are asked for.")
    def by_care_unit(self, info: Info) -> list[CareUnitAvailability]:
        """The groups."""
        return [_of_unit(info.context, search) for search in self.units]


async def load_availability(info: Info, owner: UnitNode, request: AvailabilityRequest) -> Availability:
    """What a care unit, a resource or a service has free. Raises domain errors."""
    unit = await load_unit_availability(info.context, owner.key, request, owner.own_filters)
    return availability_of(info.context, request, [unit])


async def load_availability_of_units(info: Info, ids: Sequence[str], request: AvailabilityRequest) -> Availability:
    """What several care units have free. Raises domain errors."""
    context = info.context
    if not ids:
        raise BadUserInput("careUnitIds may not be empty")
    found = dict.fromkeys(context.named(text) for text in ids)
    wrong = next((each.type for each in found if each.type is not NodeType.CARE_UNIT), None)
    if wrong is not None:
        raise BadUserInput(f"This is the id of a {wrong}; pass the ids of CareUnits")
    for text in (*(request.filter.resource_ids or ()), *(request.filter.healthcare_service_ids or ())):
        # Leyr's own ids say nothing where no care unit is fixed.
        parse_node_id(text)
    keys = [each.care_unit for each in found if isinstance(each, NodeId)]
    prefetch_of_units(info, keys)
    return availability_of(context, request, await load_units_availability(context, keys, request))


def availability_of(context: Context, request: AvailabilityRequest, units: Sequence[UnitAvailability]) -> Availability:
    """The availability of care units that were read."""
    days = [unit.asked.days for unit in units]
    zones = {each.zone.key for each in days}
    start, end = min(each.window.start for each in days), max(each.window.end for each in days)
    zone = days[0].zone
    return Availability(
        free=(free := domain.FreeTimes(tuple(unit.free for unit in units))),
        timeslot_count=free.count,
        units=(searches := [NextSearch(context, unit, request) for unit in units]),
        searches=[(each, _all) for each in searches],
        start=DateTime(start.astimezone(zone).isoformat()),
        end=DateTime(end.astimezone(zone).isoformat()),
        time_zone=zone.key if len(zones) == 1 else None,
        excluded_by_filter_count=sum(unit.excluded for unit in units),
        coverage=Coverage.of(gap for unit in units for gap in unit.gaps),
        as_of=DateTime(context.read_at(earliest(unit.as_of for unit in units))),
    )


async def days_of(free: domain.FreeTimes, *, include_empty: bool) -> list[AvailabilityDay]:
    """The views of days."""
    found = await InPieces(free.days(include_empty=include_empty))
    return [AvailabilityDay(free=each, timeslot_count=each.count, date=day) for day, each in found]


def _all(slots: domain.SlotRange) -> domain.SlotRange:
    return slots


def _of_unit(context: Context, search: NextSearch) -> CareUnitAvailability:
    unit = search.unit
    free = domain.FreeTimes((unit.free,))
    return CareUnitAvailability(
        free=free,
        timeslot_count=free.count,
        key=unit.key,
        searches=[(search, _all)],
        time_zone=unit.asked.days.zone.key,
        coverage=Coverage.of(unit.gaps),
        as_of=None if unit.is_failed else DateTime(context.read_at(unit.as_of)),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """The free times of an owner, which is None for slots that name none."""

    search: NextSearch
    node_type: NodeType
    owner: str | None
    node: UnitNode | None
    slots: domain.SlotRange

    @property
    def unit(self) -> UnitAvailability:
        """What their care unit has."""
        return self.search.unit

    @property
    def id(self) -> strawberry.ID | None:
        """The owner's node id."""
        return None if self.owner is None else strawberry.ID(node_id(self.node_type, self.unit.key, self.owner))

    @property
    def attributes(self) -> dict[str, Any]:
        """What the types of groups have in common."""
        free = domain.FreeTimes((self.unit.free.within(self.slots),))
        coverage = Coverage.of(gap for gap in self.unit.gaps if self._concerns(gap))
        own = [(self.search, self._own)]
        return {"free": free, "timeslot_count": free.count, "key": self.unit.key, "coverage": coverage, "searches": own}

    def _own(self, slots: domain.SlotRange) -> domain.SlotRange:
        """The slots of the owner among others of the care unit."""
        if _sole(self.unit, self.node_type):
            return slots
        of = slots.slots.of_resource if self.node_type is NodeType.RESOURCE else slots.slots.of_service
        return slots.of_owner(of(self.owner))

    def _concerns(self, gap: CoverageGap) -> bool:
        if gap.reason is CoverageGapReason.OUTSIDE_EVERY_FILTER and self.node is not None:
            query = TimeslotQuery(self.unit.key, self.unit.asked.days.window)
            each = asked_each(query, self.search.context.profiles.of_unit(self.unit.key))
            return not (each.resources if self.node_type is NodeType.RESOURCE else each.services)
        of = gap.resource_id if self.node_type is NodeType.RESOURCE else gap.healthcare_service_id
        return of is None or of == self.id


async def _groups(context: Context, searches: Sequence[NextSearch], node_type: NodeType) -> list[_Group]:
    """The groups of all care units that did not fail, after each other. Raises domain errors."""
    searches = [search for search in searches if not search.unit.is_failed]
    for search in searches:
        context.loaders.start_lists(search.unit.key, LIST_OF[node_type])
    groups: list[_Group] = []
    for search in searches:
        unit = search.unit
        nodes = await context.nodes.listed(node_type, unit.key)
        found = await _by_owner(unit, node_type, nodes.by_id)
        groups += (_Group(search, node_type, owner, nodes.by_id.get(owner or ""), slots) for owner, slots in found)
    return groups


def _sole(unit: UnitAvailability, node_type: NodeType) -> bool:
    """Whether all slots are of one owner, also those that do not say so."""
    meant = unit.asked.resources if node_type is NodeType.RESOURCE else unit.asked.services
    return meant is not None and len(meant) == 1


async def _by_owner(
    unit: UnitAvailability, node_type: NodeType, listed: Collection[str]
) -> Sequence[tuple[str | None, domain.SlotRange]]:
    slots = unit.free.range
    of_resource = node_type is NodeType.RESOURCE
    meant = unit.asked.resources if of_resource else unit.asked.services
    if meant is not None and _sole(unit, node_type):
        return [(meant[0], slots)] if len(slots) or meant[0] in listed else []
    whole = slots.slots
    named, of = (whole.resource_ids, whole.of_resource) if of_resource else (whole.service_ids, whole.of_service)
    wanted = dict.fromkeys(each for each in listed if meant is None or each in meant)
    return await InPieces(by_owner(slots, wanted, named, of))
