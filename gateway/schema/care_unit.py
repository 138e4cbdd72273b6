"""The Emr and CareUnit types."""

import strawberry
from strawberry import UNSET

from gateway.domain import models
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import NodeType, care_unit_id
from gateway.engine.lazy_list import as_list
from gateway.schema.context import Info, TimeslotFilter
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.loaders import READS, Reads
from gateway.schema.node import Node
from gateway.schema.resource import Resource
from gateway.schema.timeslot import End, First, HealthcareServiceId, ResourceId, Start, Timeslot, given, load_timeslots


@strawberry.type(
    description=(
        "A clinic's record system (EHR, in Leyr's paths `emr`) that this gateway is configured to reach. "
        "It has no counterpart in FHIR R4."
    )
)
class Emr:
    """One configured EHR."""

    code: str = strawberry.field(description="Leyr's code of the EHR, such as `webdoc`; what `careUnits(emr:)` takes.")
    name: str = strawberry.field(description="The EHR's name for people; the code where no name is configured.")
    time_zone: str = strawberry.field(
        description="The IANA time zone in which the EHR's clinics are assumed to work, such as `Europe/Stockholm`."
    )

    @classmethod
    def of(cls, profile: EhrProfile) -> "Emr":
        """The type's view of a profile."""
        return cls(code=profile.code, name=profile.name, time_zone=profile.time_zone.key)


@strawberry.type(description="A clinic, or a part of one, where care is given. FHIR R4: Location.")
class CareUnit(Node):
    """A view of a care unit within its EHR."""

    leyr_id: str = strawberry.field(description="Leyr's own id, unique only within the EHR.")
    emr_id: str | None = strawberry.field(
        description="The EHR's id, for information and support. Null where Leyr gives none."
    )
    emr: Emr = strawberry.field(description="The EHR that holds its data.")
    name: str = strawberry.field(description="The name to show: Leyr's name, else Leyr's id.")

    @classmethod
    def of(cls, unit: models.CareUnit, profile: EhrProfile) -> "CareUnit":
        """The type's view of what Leyr lists."""
        key = models.CareUnitKey(profile.code, unit.id)
        return cls(
            id=strawberry.ID(care_unit_id(key)),
            key=key,
            leyr_id=unit.id,
            emr_id=unit.emr_id,
            emr=Emr.of(profile),
            name=unit.display_name,
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
