"""What the sources need from a scheduling system."""

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.domain.planning import Lists, Roster, Step
from gateway.domain.timeslots import TimeslotList


class SchedulingBackend(Protocol):
    """Every method is one upstream call, and raises domain errors only."""

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        """The care units of an EHR."""
        ...

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        """The resources of a care unit."""
        ...

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        """The healthcare services of a care unit."""
        ...

    async def timeslots(self, step: Step) -> TimeslotList:
        """The free timeslots that one step asks for."""
        ...


class Rosters(Protocol):
    """The lists of a care unit as one request knows them."""

    def asked_for(self, care_unit: CareUnitKey) -> Lists:
        """Which lists the request fetches anyway."""
        ...

    def known(self, care_unit: CareUnitKey) -> Roster:
        """The lists as far as they are there already; how long they are decides which calls are worth it."""
        ...

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""
        ...

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""
        ...
