"""The Timeslot type."""

from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import lazy

from gateway.domain import models
from gateway.domain.ids import NodeType
from gateway.domain.timeslots import duration_minutes
from gateway.schema.compact import SAME_FOR, CompactList
from gateway.schema.context import Info, TimeslotFilter, checked_first
from gateway.schema.scalars import DateTime

if TYPE_CHECKING:
    from gateway.schema.care_unit import CareUnit
    from gateway.schema.healthcare_service import HealthcareService
    from gateway.schema.resource import Resource


@strawberry.type(
    description=(
        "A free time that can be booked. The same time may come several times, once for each resource or service "
        "that it is offered for. FHIR R4: Slot."
    )
)
class Timeslot:
    """A view of one slot within its care unit."""

    slot: strawberry.Private[models.Timeslot]
    key: strawberry.Private[models.CareUnitKey]
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
        description="Whole minutes from start to end. Null where the EHR gives no end.",
        metadata={SAME_FOR: ("start", "end")},
    )
    def duration_minutes(self) -> int | None:
        """The slot's length."""
        return duration_minutes(self.slot)

    @strawberry.field(
        description=(
            "Who or what would be booked. Null where the EHR does not name one, where the care unit does not list "
            "it, and, with an error, where the list could not be had."
        ),
        metadata={SAME_FOR: ("resource_id",)},
    )
    async def resource(self, info: Info) -> Annotated["Resource", lazy("gateway.schema.resource")] | None:
        """The resource, from the care unit's list."""
        wanted = self.slot.resource_id
        return None if wanted is None else (await info.context.loaders.resources(self.key)).by_id.get(wanted)

    @strawberry.field(
        description=(
            "The kind of visit. Null where the EHR does not name one, where the care unit does not list it, and, "
            "with an error, where the list could not be had."
        ),
        metadata={SAME_FOR: ("healthcare_service_id",)},
    )
    async def healthcare_service(
        self, info: Info
    ) -> Annotated["HealthcareService", lazy("gateway.schema.healthcare_service")] | None:
        """The healthcare service, from the care unit's list."""
        wanted = self.slot.healthcare_service_id
        return None if wanted is None else (await info.context.loaders.healthcare_services(self.key)).by_id.get(wanted)

    @strawberry.field(description="The care unit where it takes place.", metadata={SAME_FOR: ()})
    async def care_unit(self, info: Info) -> Annotated["CareUnit", lazy("gateway.schema.care_unit")]:
        """The care unit, from the EHR's list."""
        return await info.context.loaders.care_unit(self.key)


async def load_timeslots(
    info: Info, key: models.CareUnitKey, asked: TimeslotFilter, first: int | None
) -> CompactList[models.Timeslot, Timeslot]:
    """The free times of a care unit that a field asks for. Raises domain errors."""
    limit = checked_first(first)
    found = await info.context.loaders.timeslots(info.context.timeslot_query(key, asked))
    slots = found.slots if limit is None else found.slots[:limit]
    resources = info.context.node_ids(NodeType.RESOURCE, key)
    services = info.context.node_ids(NodeType.HEALTHCARE_SERVICE, key)

    def view(slot: models.Timeslot) -> Timeslot:
        return Timeslot(
            slot=slot,
            key=key,
            start=DateTime(slot.start),
            end=None if slot.end is None else DateTime(slot.end),
            resource_id=resources[slot.resource_id],
            healthcare_service_id=services[slot.healthcare_service_id],
        )

    translations = {"resource_id": resources, "healthcare_service_id": services}
    return CompactList(slots, view, translations, found.rendered, (*found.part, limit))
