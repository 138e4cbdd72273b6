"""The Timeslot type, and the arguments that `timeslots` fields share."""

from datetime import datetime, timedelta
from typing import Annotated, TypeAlias, TypeVar

import strawberry
from strawberry import UNSET

from gateway.domain import models
from gateway.domain.errors import NotFound, Origin
from gateway.domain.ids import NodeType, TimeslotId
from gateway.domain.timeslots import TimeslotList, duration_minutes
from gateway.domain.window import Window
from gateway.engine.lazy_list import DEPENDS_ONLY_ON, LazyObjectList
from gateway.schema.context import Context, Info, checked_first
from gateway.schema.loaders import READS, Reads
from gateway.schema.node import CARE_UNIT, HEALTHCARE_SERVICE, RESOURCE, UnitNode
from gateway.schema.scalars import DateTime
from gateway.schema.timeslot_queries import CheckedQuery, TimeslotFilter

T = TypeVar("T")

Start: TypeAlias = Annotated[
    datetime | None,
    strawberry.argument(
        description=(
            "First instant of the window; a slot belongs to the window by its start. Now when left out. At an EHR that "
            "knows nothing of the past, what lies before now holds no slot."
        )
    ),
]
End: TypeAlias = Annotated[
    datetime | None,
    strawberry.argument(
        description=(
            "First instant after the window, so not part of it. When left out, 30 days after `start`, or as far as "
            "the gateway grants, if that is less."
        )
    ),
]
ResourceId: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="Only slots of this resource of the care unit: its node id, or its `leyrId`. All when left out."
    ),
]
HealthcareServiceId: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="Only slots of this service of the care unit: its node id, or its `leyrId`. All when left out."
    ),
]
First: TypeAlias = Annotated[
    int | None,
    strawberry.argument(description="At most so many slots, the earliest ones. All when left out."),
]


def given(value: T | None) -> T | None:
    """The argument's value; None where it was left out or given as null."""
    return None if value is UNSET else value


@strawberry.type(
    description=(
        "A free time that can be booked. The same time may come several times, once for each resource or service "
        "that it is offered for. FHIR R4: Slot."
    )
)
class Timeslot(UnitNode):
    """A view of one slot within its care unit."""

    slot: strawberry.Private[models.Timeslot]
    id: strawberry.ID = strawberry.field(
        description=(
            "The node id: opaque, and unique in the whole graph, so fit for client caches. It holds the EHR, the care "
            "unit, start, end, resource and healthcare service, so a slot that differs in one of them is another one, "
            "with another id. `timeslot(id:)` tells whether it is still free."
        )
    )
    start: DateTime = strawberry.field(description="When it begins, with the offset that the EHR gave.")
    end: DateTime | None = strawberry.field(
        description="When it ends, with the offset that the EHR gave. Null where the EHR does not say."
    )
    resource_id: strawberry.ID | None = strawberry.field(
        description="The node id of the resource, equal to `resource.id`. Null where the EHR does not name one."
    )
    healthcare_service_id: strawberry.ID | None = strawberry.field(
        description=(
            "The node id of the healthcare service, equal to `healthcareService.id`. "
            "Null where the EHR does not name one."
        )
    )

    @strawberry.field(
        description=(
            "Whole minutes from start to end. Null where the EHR gives no end, or one that is thousands of years away."
        ),
        metadata={DEPENDS_ONLY_ON: ("start", "end")},
    )
    def duration_minutes(self) -> int | None:
        """The slot's length."""
        return duration_minutes(self.slot)

    @strawberry.field(
        description=(
            "Who or what would be booked. Null where the EHR does not name one, where the care unit does not list "
            "it, and, with an error, where the list could not be had."
        ),
        graphql_type=RESOURCE | None,
        metadata={DEPENDS_ONLY_ON: ("resource_id",), READS: Reads.RESOURCES},
    )
    async def resource(self, info: Info) -> UnitNode | None:
        """The resource, from the care unit's list."""
        wanted = self.slot.resource_id
        if wanted is None:
            return None
        return (await info.context.nodes.listed(NodeType.RESOURCE, self.key)).by_id.get(wanted)

    @strawberry.field(
        description=(
            "The kind of visit. Null where the EHR does not name one, where the care unit does not list it, and, "
            "with an error, where the list could not be had."
        ),
        graphql_type=HEALTHCARE_SERVICE | None,
        metadata={DEPENDS_ONLY_ON: ("healthcare_service_id",), READS: Reads.HEALTHCARE_SERVICES},
    )
    async def healthcare_service(self, info: Info) -> UnitNode | None:
        """The healthcare service, from the care unit's list."""
        wanted = self.slot.healthcare_service_id
        if wanted is None:
            return None
        return (await info.context.nodes.listed(NodeType.HEALTHCARE_SERVICE, self.key)).by_id.get(wanted)

    @strawberry.field(
        description="The care unit where it takes place.",
        graphql_type=CARE_UNIT,
        metadata={DEPENDS_ONLY_ON: (), READS: Reads.CARE_UNITS},
    )
    async def care_unit(self, info: Info) -> UnitNode:
        """The care unit, from the EHR's list."""
        return await info.context.nodes.care_unit(self.key)


class TimeslotViews:
    """How the slots of a care unit become views, and how a list makes their attributes without them."""

    def __init__(self, context: Context, key: models.CareUnitKey) -> None:
        self._key = key
        self._ids = context.timeslot_ids(key)
        self._resources = context.node_ids(NodeType.RESOURCE, key)
        self._services = context.node_ids(NodeType.HEALTHCARE_SERVICE, key)
        self.translations = {"resource_id": self._resources, "healthcare_service_id": self._services}
        self.computed = {"id": self._ids}

    def view(self, slot: models.Timeslot) -> Timeslot:
        """The view of a slot."""
        return Timeslot(
            id=strawberry.ID(self._ids(slot)),
            key=self._key,
            slot=slot,
            start=DateTime(slot.start),
            end=None if slot.end is None else DateTime(slot.end),
            resource_id=self._resources[slot.resource_id],
            healthcare_service_id=self._services[slot.healthcare_service_id],
        )


async def load_timeslots(
    info: Info, owner: UnitNode, asked: TimeslotFilter, first: int | None
) -> LazyObjectList[models.Timeslot, Timeslot]:
    """The free times that a field of a node asks for. Raises domain errors."""
    limit = checked_first(first)
    context = info.context
    checked = context.queries.timeslot_query(owner.key, asked, *owner.own_filters)
    query, unconfirmed = checked
    if query is None or unconfirmed is not None:
        found = await found_timeslots(context, checked)
    else:
        found = await context.loaders.timeslots(query)
    if query is not None:
        context.expire_with_first(query, found)
    slots = found.slots if limit is None else found.slots[:limit]
    views = context.made_once(owner.key, TimeslotViews)
    # Not the limit, which a client chooses: what is kept must not hold numbers of theirs.
    part = (*found.part, len(slots))
    return LazyObjectList(slots, views.view, views.translations, found.derived, part, computed=views.computed)


async def load_timeslot(info: Info, wanted: TimeslotId) -> Timeslot | None:
    """The slot of an id as Leyr has it now; None where it is gone. Raises domain errors."""
    context = info.context
    try:
        await context.nodes.confirm_care_unit(wanted.care_unit)
    except NotFound as error:
        _check_is_gone(error)
        return None
    asked = context.queries.query_of_timeslot(wanted)
    slot = await _found_slot(context, asked, wanted)
    if isinstance(slot, NotFound) and asked.query is not None:
        # Lists may leave out whose it is, and Leyr then refuse to filter by that, though free it is.
        for wider in context.queries.wider_queries(asked.query):
            slot = await _found_slot(context, wider, wanted)
            if isinstance(slot, models.Timeslot):
                break
    if not isinstance(slot, models.Timeslot):
        return None
    return context.made_once(wanted.care_unit, TimeslotViews).view(slot)


async def _found_slot(context: Context, asked: CheckedQuery, wanted: TimeslotId) -> models.Timeslot | NotFound | None:
    """The slot of an id in the answer to a query, or why there is none: its care unit, resource or service is gone."""
    try:
        found = await found_timeslots(context, asked)
    except NotFound as error:
        _check_is_gone(error)
        return error
    # A long slot's window holds many others.
    at_once = found.within(Window(wanted.start, wanted.start + timedelta.resolution))
    return next(filter(wanted.is_of, at_once.slots), None)


def _check_is_gone(error: NotFound) -> None:
    """With its care unit, its resource or its service a slot is gone too; a bare 404 may mean anything."""
    if error.origin is not Origin.CLIENT:
        raise error


async def found_timeslots(context: Context, checked: CheckedQuery) -> TimeslotList:
    """The answer to a query, when lists have confirmed what they have to. Raises domain errors."""
    query, unconfirmed = checked
    if query is None:
        return TimeslotList()
    if unconfirmed is not None:
        await context.loaders.confirm_ids_exist(query, unconfirmed)
    return await context.loaders.timeslots(query)
