"""What Leyr's lists hold, as structs that msgspec decodes straight from upstream bytes.

Unknown fields are ignored and missing optional ones are None (leyr-api 11.1); an empty id or time counts as missing.
"""

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

NonEmpty = Annotated[str, Meta(min_length=1)]


class CareUnitKey(NamedTuple):
    """What names a care unit: Leyr's ids are not known to be unique across EHRs."""

    emr: str
    care_unit: str


class _Named(Struct, frozen=True, gc=False):
    id: NonEmpty
    emr_id: str | None = None
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None

    @property
    def display_name(self) -> str:
        """The name, else first and last name, else the id: which of them Leyr sends is undocumented."""
        if self.name and (name := self.name.strip()):
            return name
        full = " ".join(part.strip() for part in (self.first_name, self.last_name) if part and part.strip())
        return full or self.id


class CareUnit(_Named, frozen=True, gc=False):
    """A clinic, or a part of one, where care is given."""


class Resource(_Named, frozen=True, gc=False):
    """A person or a thing that can be booked."""


class HealthcareService(_Named, frozen=True, gc=False):
    """A kind of visit."""


class Timeslot(Struct, frozen=True, gc=False):
    """A free time, its instants as the EHR wrote them: RFC 3339 text with an offset."""

    start: NonEmpty
    end: NonEmpty | None = None
    resource_id: NonEmpty | None = None
    healthcare_service_id: NonEmpty | None = None
