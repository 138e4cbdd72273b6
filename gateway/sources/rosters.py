"""The lists of a care unit that a plan needs."""

import asyncio
from collections.abc import Iterable

from gateway.domain.ehr import FilterPolicy
from gateway.domain.errors import GatewayError
from gateway.domain.models import CareUnitKey
from gateway.domain.planning import Lists, Roster, TimeslotQuery, roster_need
from gateway.sources.backend import Rosters


async def roster_for(
    queries: Iterable[TimeslotQuery], policy: FilterPolicy, care_unit: CareUnitKey, rosters: Rosters
) -> Roster | GatewayError:
    """What `plan` needs for these queries; lists that the request fetches anyway cost nothing."""
    need = roster_need(queries, policy, rosters.asked_for(care_unit))
    if need == Lists():
        return Roster()
    roster, error = await _lists(need, care_unit, rosters)
    if policy is FilterPolicy.ANY_ONE:
        # Either list will do: where one is empty or cannot be had, the other is worth a call.
        if not (roster.resources or roster.services):
            roster, other_error = await _lists(Lists(not need.resources, not need.services), care_unit, rosters)
            error = error or other_error
        if roster.resources or roster.services:
            return roster
    return error or roster


async def _lists(wanted: Lists, care_unit: CareUnitKey, rosters: Rosters) -> tuple[Roster, GatewayError | None]:
    """The wanted lists at once, and the first failure among them."""
    fetches = {
        "resources": rosters.resource_ids if wanted.resources else None,
        "services": rosters.service_ids if wanted.services else None,
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
    return Roster(**lists), failure
