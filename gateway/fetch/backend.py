"""What fetching needs from outside: a scheduling system, and the care unit's lists as a request knows them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.domain.ehr_profile import FilterPolicy
from gateway.domain.errors import GatewayError
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.domain.planner import needed_lists
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists
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


async def load_listed_ids(
    queries: Sequence[TimeslotQuery], policy: FilterPolicy, care_unit: CareUnitKey, unit_lists: UnitListLoader
) -> ListedIds | GatewayError:
    """The ids that `plan` needs for these queries; lists that the request loads anyway cost no call."""
    if all(query.allowed_by(policy) for query in queries):
        return ListedIds()
    need = needed_lists(queries, policy, unit_lists.asked_for(care_unit))
    listed_ids, error = await _load(need, care_unit, unit_lists)
    if policy is FilterPolicy.ANY_ONE:
        # Either list will do: where one is empty or fails to load, the other is worth a call.
        if not (listed_ids.resources or listed_ids.services):
            listed_ids, other_error = await _load(~need, care_unit, unit_lists)
            error = error or other_error
        if listed_ids.resources or listed_ids.services:
            return listed_ids
    return error or listed_ids


async def _load(
    lists: UnitLists, care_unit: CareUnitKey, unit_lists: UnitListLoader
) -> tuple[ListedIds, GatewayError | None]:
    """Load lists concurrently; gives the ids of those that came, and the first failure."""
    loads = (
        _ids_or_error(unit_lists.resource_ids, care_unit, wanted=lists.resources),
        _ids_or_error(unit_lists.service_ids, care_unit, wanted=lists.services),
    )
    # A single list needs no task.
    resources, services = await asyncio.gather(*loads) if lists is UnitLists.BOTH else [await each for each in loads]
    errors = [each for each in (resources, services) if isinstance(each, GatewayError)]
    listed_ids = ListedIds(
        None if isinstance(resources, GatewayError) else resources,
        None if isinstance(services, GatewayError) else services,
    )
    return listed_ids, errors[0] if errors else None


async def _ids_or_error(
    load: Callable[[CareUnitKey], Awaitable[tuple[str, ...]]], care_unit: CareUnitKey, *, wanted: bool
) -> tuple[str, ...] | GatewayError | None:
    try:
        return await load(care_unit) if wanted else None
    except GatewayError as error:
        return error
