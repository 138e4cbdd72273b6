"""What fetching needs from a scheduling system, and from a request: the lists of a care unit."""

import asyncio
from collections.abc import Iterable, Sequence
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


class UnitListLoader(Protocol):
    """The lists of a care unit as one request knows them."""

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        """Which lists the request fetches anyway."""
        ...

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        """The lists as far as they are there already; how long they are decides which calls are worth it."""
        ...

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""
        ...

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""
        ...


async def load_listed_ids(
    queries: Iterable[TimeslotQuery], policy: FilterPolicy, care_unit: CareUnitKey, unit_lists: UnitListLoader
) -> ListedIds | GatewayError:
    """What `plan` needs for these queries; lists that the request fetches anyway cost nothing."""
    need = needed_lists(queries, policy, unit_lists.asked_for(care_unit))
    if need == UnitLists():
        return ListedIds()
    listed_ids, error = await _lists(need, care_unit, unit_lists)
    if policy is FilterPolicy.ANY_ONE:
        # Either list will do: where one is empty or cannot be had, the other is worth a call.
        if not (listed_ids.resources or listed_ids.services):
            listed_ids, other_error = await _lists(
                UnitLists(not need.resources, not need.services), care_unit, unit_lists
            )
            error = error or other_error
        if listed_ids.resources or listed_ids.services:
            return listed_ids
    return error or listed_ids


async def _lists(
    wanted: UnitLists, care_unit: CareUnitKey, unit_lists: UnitListLoader
) -> tuple[ListedIds, GatewayError | None]:
    """The wanted lists at once, and the first failure among them."""
    fetches = {
        "resources": unit_lists.resource_ids if wanted.resources else None,
        "services": unit_lists.service_ids if wanted.services else None,
    }
    names = [name for name, fetch in fetches.items() if fetch]
    found = await asyncio.gather(*(fetch(care_unit) for fetch in fetches.values() if fetch), return_exceptions=True)
    lists: dict[str, tuple[str, ...]] = {}
    failure: GatewayError | None = None
    for name, each in zip(names, found, strict=True):
        if isinstance(each, GatewayError):
            failure = failure or each
        elif isinstance(each, BaseException):
            raise each
        else:
            lists[name] = each
    return ListedIds(**lists), failure
