"""The HealthcareService type."""

import strawberry
from strawberry import UNSET

from gateway.domain import models
from gateway.domain.ids import NodeType, node_id
from gateway.engine.lazy_list import as_list
from gateway.schema.availability import Availability, load_availability
from gateway.schema.availability_input import Filter, Range, TimeZone, requested
from gateway.schema.context import Info
from gateway.schema.loaders import READS, Reads
from gateway.schema.node import CARE_UNIT, UnitNode
from gateway.schema.timeslot import End, First, ResourceId, Start, Timeslot, given, load_timeslots
from gateway.schema.timeslot_queries import TimeslotFilter
from gateway.schema.timeslots_arguments import ASKS


@strawberry.type(description="A kind of visit that a care unit offers. FHIR R4: HealthcareService.")
class HealthcareService(UnitNode):
    """A view of a healthcare service within its care unit."""

    leyr_id: str = strawberry.field(description="Leyr's own id, unique only within the care unit.")
    emr_id: str | None = strawberry.field(
        description="The EHR's id, for information and support. Null where Leyr gives none."
    )
    name: str = strawberry.field(description="The name to show: Leyr's name, else Leyr's id.")

    @property
    def own_filters(self) -> tuple[str | None, str | None]:
        """See UnitNode."""
        return None, self.leyr_id

    @classmethod
    def of(cls, service: models.HealthcareService, key: models.CareUnitKey) -> "HealthcareService":
        """The type's view of what Leyr lists."""
        return cls(
            id=strawberry.ID(node_id(NodeType.HEALTHCARE_SERVICE, key, service.id)),
            key=key,
            leyr_id=service.id,
            emr_id=service.emr_id,
            name=service.display_name,
        )

    @strawberry.field(
        description="The care unit that offers it.", graphql_type=CARE_UNIT, metadata={READS: Reads.CARE_UNITS}
    )
    async def care_unit(self, info: Info) -> UnitNode:
        """The care unit, from the EHR's list."""
        return await info.context.nodes.care_unit(self.key)

    @strawberry.field(
        description=(
            "Free times for this service, sorted by start, then resource, without duplicates. `[]` means that "
            "nothing is free; null comes with an error."
        ),
        metadata={READS: Reads.TIMESLOTS},
    )
    async def timeslots(
        self,
        info: Info,
        *,
        start: Start = UNSET,
        end: End = UNSET,
        resource_id: ResourceId = UNSET,
        first: First = UNSET,
    ) -> list[Timeslot] | None:
        """Free times inside the window."""
        asked = TimeslotFilter(given(start), given(end), given(resource_id))
        return as_list(await load_timeslots(info, self, asked, given(first)))

    @strawberry.field(
        description=(
            "What is free for this service in a range of days: counts, days, times, and whose they are, all from one "
            "set of slots. Null comes with an error, and never means that nothing is free."
        ),
        metadata={READS: Reads.TIMESLOTS, ASKS: requested},
    )
    async def availability(
        self,
        info: Info,
        *,
        range: Range = UNSET,  # noqa: A002 # GraphQL's name
        time_zone: TimeZone = UNSET,
        filter: Filter = UNSET,  # noqa: A002 # as before
    ) -> Availability | None:
        """What is free."""
        return await load_availability(info, self, requested(range, time_zone, filter))
