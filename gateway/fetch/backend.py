"""What fetching needs from outside: a scheduling system, and the care unit's lists as a request knows them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from gateway.domain.errors import GatewayError
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.domain.queries import ListedIds, Step, UnitLists
from gateway.domain.timeslots import TimeslotList


class SchedulingBackend(Protocol):
    """Every method is one upstream call, and raises domain errors only."""

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        """The care units of an EHR."""

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        """The resources of a care unit."""

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        """The healthcare services of a care unit."""

    async def timeslots(self, step: Step) -> TimeslotList:
        """The free timeslots that one step asks for."""


class UnitListLoader(Protocol):
    """The lists of a care unit as one request knows them."""

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        """The lists that the request loads anyway."""

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        """The ids of the lists that have been loaded; their numbers decide which calls save cost."""

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""


class ListFailures(NamedTuple):
    """The errors with which lists of a care unit failed to load."""

    resources: GatewayError | None = None
    services: GatewayError | None = None

    def of(self, lists: UnitLists) -> GatewayError | None:
        """The failure of a query that is spread over these lists."""
        return (self.resources if lists.resources else None) or (self.services if lists.services else None)


async def load_listed_ids(
    lists: UnitLists, care_unit: CareUnitKey, unit_lists: UnitListLoader
) -> tuple[ListedIds, ListFailures]:
    """The ids of these lists, loaded at once, and what failed; lists that the request loads anyway cost no call."""
    if lists is UnitLists.NONE:
        return ListedIds(), ListFailures()
    loads = (
        _ids_or_error(unit_lists.resource_ids, care_unit, wanted=lists.resources),
        _ids_or_error(unit_lists.service_ids, care_unit, wanted=lists.services),
    )
    # A single list needs no task.
    resources, services = await asyncio.gather(*loads) if lists is UnitLists.BOTH else [await each for each in loads]
    found = [None if isinstance(each, GatewayError) else each for each in (resources, services)]
    failed = [each if isinstance(each, GatewayError) else None for each in (resources, services)]
    return ListedIds(*found), ListFailures(*failed)


async def _ids_or_error(
    load: Callable[[CareUnitKey], Awaitable[tuple[str, ...]]], care_unit: CareUnitKey, *, wanted: bool
) -> tuple[str, ...] | GatewayError | None:
    try:
        return await load(care_unit) if wanted else None
    except GatewayError as error:
        return error
