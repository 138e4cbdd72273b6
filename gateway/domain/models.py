"""The items of Leyr's lists, as structs that msgspec decodes straight from upstream bytes, and which a caller may see.

Unknown fields are ignored, and optional ones that are missing or cannot be read are None (leyr-api 11.1); an empty text
counts as missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeVar

from msgspec import Meta, Struct

T = TypeVar("T")

NonEmpty = Annotated[str, Meta(min_length=1)]


class CareUnitKey(NamedTuple):
    """The identity of a care unit: Leyr's ids are not known to be unique across EHRs."""

    emr: str
    care_unit: str


class CatalogItem(Struct, frozen=True, gc=False):
    """An item of a list that changes rarely."""

    id: NonEmpty
    emr_id: NonEmpty | None = None
    name: NonEmpty | None = None
    first_name: NonEmpty | None = None
    last_name: NonEmpty | None = None

    @property
    def display_name(self) -> str:
        """The name, else first and last name, else the id: which of them Leyr sends is undocumented."""
        if self.name and (name := self.name.strip()):
            return name
        full = " ".join(part.strip() for part in (self.first_name, self.last_name) if part and part.strip())
        return full or self.id


class Items(list[T]):
    """The items of a list as they came, and how many rows of it were dropped since they cannot be used."""

    __slots__ = ("dropped",)

    def __init__(self, items: Iterable[T] = (), dropped: int = 0) -> None:
        super().__init__(items)
        self.dropped = dropped


class CareUnit(CatalogItem, frozen=True, gc=False):
    """A clinic, or a part of one, where care is given."""


class Resource(CatalogItem, frozen=True, gc=False):
    """A person or a thing that can be booked."""


class HealthcareService(CatalogItem, frozen=True, gc=False):
    """A kind of visit."""


class Timeslot(Struct, frozen=True, gc=False):
    """A free time, its instants as the EHR wrote them: RFC 3339 text with an offset."""

    start: NonEmpty
    end: NonEmpty | None = None
    resource_id: NonEmpty | None = None
    healthcare_service_id: NonEmpty | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Which EHRs and care units a caller may see; None stands for all.

    Where both are given, a caller sees the care units that are listed and whose EHR is listed too.
    """

    emrs: frozenset[str] | None = None
    care_units: frozenset[CareUnitKey] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything may be seen."""
        return self.emrs is None and self.care_units is None

    def sees_emr(self, code: str) -> bool:
        """Whether an EHR may be seen, or at least one of its care units."""
        if self.emrs is not None and code not in self.emrs:
            return False
        return self.care_units is None or any(key.emr == code for key in self.care_units)

    def sees(self, care_unit: CareUnitKey) -> bool:
        """Whether a care unit, and all that belongs to it, may be seen."""
        if self.emrs is not None and care_unit.emr not in self.emrs:
            return False
        return self.care_units is None or care_unit in self.care_units


EVERYTHING = Access()
