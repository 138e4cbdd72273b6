"""The Emr and CareUnit types."""

from typing import cast

import strawberry
from strawberry import UNSET

from gateway.domain import models
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import NodeType, care_unit_id, emr_id
from gateway.engine.lazy_list import as_list
from gateway.schema.availability import Availability, load_availability
from gateway.schema.availability_input import Filter, Range, TimeZone, requested
from gateway.schema.capabilities import Capabilities
from gateway.schema.context import Info
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.loaders import READS, Reads
from gateway.schema.lookahead import FINDS, CareUnitsOfParent
from gateway.schema.node import EmrScope, Node, UnitNode
from gateway.schema.prefetch import prefetch
from gateway.schema.resource import Resource
from gateway.schema.timeslot import End, First, HealthcareServiceId, ResourceId, Start, Timeslot, given, load_timeslots
from gateway.schema.timeslot_queries import TimeslotFilter
from gateway.schema.timeslots_arguments import ASKS
from gateway.schema.upstream_cost import check_upstream_cost


@strawberry.type(
    description=(
        "A clinic's record system (EHR, in Leyr's paths `emr`) that this gateway is configured to reach. "
        "It has no counterpart in FHIR R4."
    )
)
class Emr(Node):
    """One configured EHR."""

    id: strawberry.ID = strawberry.field(
        description="The node id: opaque, stable and unique in the whole graph, so fit for client caches."
    )
    code: str = strawberry.field(
        description="Leyr's code of the EHR, such as `webdoc`; what `emr(code:)` and `careUnits(emr:)` take."
    )
    name: str = strawberry.field(description="The EHR's name for people; the code where no name is configured.")
    time_zone: str = strawberry.field(
        description="The IANA time zone in which the EHR's clinics are assumed to work, such as `Europe/Stockholm`."
    )
    capabilities: Capabilities = strawberry.field(description="What the EHR can do with appointments.")

    @classmethod
    def of(cls, profile: EhrProfile) -> "Emr":
        """The type's view of a profile."""
        return cls(
            id=strawberry.ID(emr_id(profile.code)),
            code=profile.code,
            name=profile.name,
            time_zone=profile.time_zone.key,
            capabilities=Capabilities.of(profile.capabilities),
        )

    @strawberry.field(
        description="The care units of the EHR, as `careUnits(emr:)` gives them. Null comes with an error.",
        metadata={FINDS: CareUnitsOfParent(), READS: Reads.CARE_UNITS},
    )
    async def care_units(self, info: Info) -> "list[CareUnit] | None":
        """The care units, in Leyr's order."""
        return await load_care_units(info, self.code)


@strawberry.type(description="A clinic, or a part of one, where care is given. FHIR R4: Location.")
class CareUnit(UnitNode):
    """A view of a care unit within its EHR."""

    leyr_id: str = strawberry.field(description="Leyr's own id, unique only within the EHR.")
    emr_id: str | None = strawberry.field(
        description="The EHR's id, for information and support. Null where Leyr gives none."
    )
    emr: Emr = strawberry.field(description="The EHR that holds its data.")
    name: str = strawberry.field(description="The name to show: Leyr's name, else Leyr's id.")
    time_zone: str = strawberry.field(
        description=(
            "The IANA time zone in which it is assumed to work, such as `Europe/Stockholm`; that of its EHR unless the "
            "gateway is told another."
        )
    )
    capabilities: Capabilities = strawberry.field(description="What can be done with appointments here.")

    @classmethod
    def of(cls, unit: models.CareUnit, within: EmrScope) -> "CareUnit":
        """The type's view of what Leyr lists."""
        key = models.CareUnitKey(within.code, unit.id)
        return cls(
            id=strawberry.ID(care_unit_id(key)),
            key=key,
            leyr_id=unit.id,
            emr_id=unit.emr_id,
            emr=cast("Emr", within.emr),
            name=unit.display_name,
            time_zone=within.zone_of(key),
            capabilities=cast("Emr", within.emr).capabilities,
        )

    @strawberry.field(
        description="The people and things that can be booked here. Null comes with an error.",
        metadata={READS: Reads.RESOURCES},
    )
    async def resources(self, info: Info) -> list[Resource] | None:
        """The resources, in Leyr's order."""
        return (await info.context.nodes.listed(NodeType.RESOURCE, self.key)).all

    @strawberry.field(
        description="The kinds of visit that are offered here. Null comes with an error.",
        metadata={READS: Reads.HEALTHCARE_SERVICES},
    )
    async def healthcare_services(self, info: Info) -> list[HealthcareService] | None:
        """The healthcare services, in Leyr's order."""
        return (await info.context.nodes.listed(NodeType.HEALTHCARE_SERVICE, self.key)).all

    @strawberry.field(
        description=(
            "Free times here, sorted by start, then resource, then service, without duplicates. `[]` means that "
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
        healthcare_service_id: HealthcareServiceId = UNSET,
        first: First = UNSET,
    ) -> list[Timeslot] | None:
        """Free times inside the window."""
        asked = TimeslotFilter(given(start), given(end), given(resource_id), given(healthcare_service_id))
        return as_list(await load_timeslots(info, self, asked, given(first)))

    @strawberry.field(
        description=(
            "What is free here in a range of days: counts, days, times, and whose they are, all from one set of slots. "
            "Null comes with an error, and never means that nothing is free."
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


async def load_care_units(info: Info, emr: str) -> list[CareUnit]:
    """The care units of an EHR that the caller may see, with all that is asked of them begun. Raises domain errors.

    They are a list of its own where some are left out, since bytes are kept of the whole list.
    """
    listed: list[CareUnit] = (await info.context.nodes.care_units(emr)).all
    access = info.context.access
    units = listed if access.is_whole else [unit for unit in listed if access.sees(unit.key)]
    check_upstream_cost(info)
    prefetch(info, units)
    return units
