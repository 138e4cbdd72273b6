"""The Appointment type, which is no node: its id is sealed to the caller to whom it was given."""

from enum import Enum

import strawberry

from gateway.domain import appointments
from gateway.domain.ids import NodeType
from gateway.domain.models import CareUnitKey
from gateway.schema.context import Context, Info
from gateway.schema.loaders import READS, Reads
from gateway.schema.node import CARE_UNIT, HEALTHCARE_SERVICE, RESOURCE, UnitNode
from gateway.schema.scalars import DateTime


@strawberry.enum(description="The state of an appointment. New states may come; `statusRaw` has Leyr's own word.")
class AppointmentStatus(Enum):
    """The values by their names."""

    BOOKED = strawberry.enum_value("BOOKED", description="It will take place.")
    AWAITING_CONFIRMATION = strawberry.enum_value(
        "AWAITING_CONFIRMATION", description="The patient was sent a code, which has to be given first."
    )
    COMPLETED = strawberry.enum_value("COMPLETED", description="It has taken place.")
    CANCELLED = strawberry.enum_value("CANCELLED", description="It will not take place.")
    UNKNOWN = strawberry.enum_value("UNKNOWN", description="A state that this gateway does not know.")


@strawberry.enum(description="What an EHR booked otherwise than asked.")
class AppointmentDeviation(Enum):
    """The values by their names."""

    START = strawberry.enum_value("START", description="It begins at another time.")
    END = strawberry.enum_value("END", description="It ends at another time.")
    RESOURCE = strawberry.enum_value("RESOURCE", description="It is with another resource.")
    HEALTHCARE_SERVICE = strawberry.enum_value(
        "HEALTHCARE_SERVICE", description="It is for another healthcare service."
    )


@strawberry.type(
    description=(
        "An appointment that this caller booked or changed, without anything that says whose it is. It is no `Node`: "
        "its id is sealed to the caller to whom it was given. FHIR R4: Appointment."
    )
)
class Appointment:
    """A view of an appointment for one caller."""

    key: strawberry.Private[CareUnitKey]
    resource_id: strawberry.Private[str | None]
    service_id: strawberry.Private[str | None]
    id: strawberry.ID = strawberry.field(
        description="What `appointment` and the mutations take. It is of no use to any other caller."
    )
    leyr_id: str = strawberry.field(description="Leyr's own id, for support; no argument takes it.")
    status: AppointmentStatus = strawberry.field(description="The state.")
    status_raw: str = strawberry.field(description="Leyr's own word for the state, such as `awaiting_confirmation`.")
    start: DateTime = strawberry.field(description="The instant when it begins, with the offset that the EHR gave.")
    end: DateTime | None = strawberry.field(
        description="The instant when it ends, with the offset that the EHR gave. Null where the EHR gives none."
    )

    @classmethod
    def of(cls, found: appointments.Appointment, context: Context) -> "Appointment":
        """The type's view for the request's caller."""
        return cls(
            key=found.care_unit,
            resource_id=found.resource_id,
            service_id=found.service_id,
            id=strawberry.ID(context.bookings.seal(found)),
            leyr_id=found.leyr_id,
            status=AppointmentStatus[found.status.name],
            status_raw=found.status_raw,
            start=DateTime(found.start),
            end=None if found.end is None else DateTime(found.end),
        )

    @strawberry.field(
        description=(
            "The care unit where it takes place. Where the EHR's list cannot be had, it has Leyr's id for a name, so "
            "that no booking goes without an answer."
        ),
        graphql_type=CARE_UNIT,
        metadata={READS: Reads.CARE_UNITS},
    )
    async def care_unit(self, info: Info) -> UnitNode:
        """The care unit, from the EHR's list."""
        return await info.context.nodes.care_unit_or_its_id(self.key)

    @strawberry.field(
        description=(
            "Who or what is booked. Null where the EHR does not name one, where the care unit does not list it, and, "
            "with an error, where the list could not be had."
        ),
        graphql_type=RESOURCE | None,
        metadata={READS: Reads.RESOURCES},
    )
    async def resource(self, info: Info) -> UnitNode | None:
        """The resource, from the care unit's list."""
        return await info.context.nodes.listed_one(NodeType.RESOURCE, self.key, self.resource_id)

    @strawberry.field(
        description=(
            "The kind of visit. Null where the EHR does not name one, where the care unit does not list it, and, "
            "with an error, where the list could not be had."
        ),
        graphql_type=HEALTHCARE_SERVICE | None,
        metadata={READS: Reads.HEALTHCARE_SERVICES},
    )
    async def healthcare_service(self, info: Info) -> UnitNode | None:
        """The healthcare service, from the care unit's list."""
        return await info.context.nodes.listed_one(NodeType.HEALTHCARE_SERVICE, self.key, self.service_id)
