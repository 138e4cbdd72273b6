"""The Emr type."""

import strawberry

from gateway.domain.ehr_profile import EhrProfile


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
