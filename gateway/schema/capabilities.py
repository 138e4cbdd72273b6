"""The Capabilities type: what an EHR can do with appointments."""

from enum import Enum

import strawberry

from gateway.domain import appointments


@strawberry.enum(
    description="Whether an EHR can do something. What is not known may be tried; the EHR's answer decides."
)
class Support(Enum):
    """The values by their names."""

    YES = strawberry.enum_value("YES", description="It can.")
    NO = strawberry.enum_value("NO", description="It cannot: a mutation comes to NOT_SUPPORTED.")
    UNKNOWN = strawberry.enum_value("UNKNOWN", description="Leyr does not say; a mutation tries it.")


@strawberry.enum(description="A way in which a patient may be named. New ones may come.")
class PatientIdentification(Enum):
    """The values by their names."""

    LEYR_ID = strawberry.enum_value("LEYR_ID", description="By Leyr's own id.")
    EMR_ID = strawberry.enum_value("EMR_ID", description="By the EHR's id.")
    NATIONAL_NUMBER = strawberry.enum_value("NATIONAL_NUMBER", description="By a national identity number.")
    DETAILS = strawberry.enum_value("DETAILS", description="By name, number and contacts; the EHR finds or makes it.")


@strawberry.enum(description="What an EHR may want to be told of a patient whom it has to find or to make.")
class PatientDetail(Enum):
    """The values by their names."""

    FIRST_NAME = strawberry.enum_value("FIRST_NAME", description="`firstName`.")
    LAST_NAME = strawberry.enum_value("LAST_NAME", description="`lastName`.")
    NATIONAL_NUMBER = strawberry.enum_value("NATIONAL_NUMBER", description="`nationalNumber`.")
    PHONE = strawberry.enum_value("PHONE", description="At least one of `phones`.")
    EMAIL = strawberry.enum_value("EMAIL", description="At least one of `emails`.")


@strawberry.type(
    description=(
        "What an EHR can do with appointments, as far as it is known, so that a page can decide before it draws a "
        "button. FHIR R4: CapabilityStatement."
    )
)
class Capabilities:
    """A view of a profile's capabilities."""

    book: Support = strawberry.field(description="Whether appointments can be booked.")
    confirm_by_code: Support = strawberry.field(
        description="Whether the EHR sends the patient a code by which a booking or a cancellation is confirmed."
    )
    cancel: Support = strawberry.field(description="Whether appointments can be cancelled.")
    reschedule: Support = strawberry.field(description="Whether appointments can be moved to another time.")
    list_appointments: Support = strawberry.field(
        description=(
            "Whether appointments can be listed: only then `appointment` works, and only then it is found out what "
            "became of a booking whose answer was lost."
        )
    )
    checks_timeslots: Support = strawberry.field(
        description=(
            "Whether the EHR itself refuses a time that is not free. Where it does not, the gateway asks whether the "
            "time is free just before it books."
        )
    )
    patient_by: list[PatientIdentification] = strawberry.field(
        description="How patients may be named to this EHR; which of these a caller may use is set in the gateway."
    )
    required_patient_details: list[PatientDetail] = strawberry.field(
        description="What the EHR wants to be told of a patient that is named by details; it may want more."
    )
    maximum_comment_length: int | None = strawberry.field(
        description="How many characters a comment may have. Null where it is not known."
    )

    @classmethod
    def of(cls, found: appointments.Capabilities) -> "Capabilities":
        """The type's view of a profile's."""
        return cls(
            book=Support[found.book.name],
            confirm_by_code=Support[found.confirm_by_code.name],
            cancel=Support[found.cancel.name],
            reschedule=Support[found.reschedule.name],
            list_appointments=Support[found.list_appointments.name],
            checks_timeslots=Support[found.checks_timeslots.name],
            patient_by=[each for each in PatientIdentification if each.name in found.patient_by],
            required_patient_details=[each for each in PatientDetail if each.name in found.required_patient_details],
            maximum_comment_length=found.maximum_comment_length,
        )
