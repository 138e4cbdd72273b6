"""A model of an EHR that knows whose every slot is, refuses what its profile forbids, and counts its calls."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.errors import FilterRequired, GatewayError, NotFound, UpstreamUnavailable
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource, Timeslot
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window

UNIT = CareUnitKey("model", "unit")
RESOURCES = ("r1", "r2", "r3")
SERVICES = ("s1", "s2")
EVERYTHING = ListedIds(RESOURCES, SERVICES)
# The lists leave them out, and Leyr knows them all the same.
UNLISTED_RESOURCE, UNLISTED_SERVICE = "r9", "s9"
DAY = timedelta(days=1)
START = datetime(2026, 10, 20, tzinfo=UTC)


def window(first: float, last: float) -> Window:
    """From so many days after START to so many days after START."""
    return Window(START + first * DAY, START + last * DAY)


def query(first: float, last: float, resource: str | None = None, service: str | None = None) -> TimeslotQuery:
    return TimeslotQuery(UNIT, window(first, last), resource, service)


@dataclass(frozen=True)
class TrueSlot:
    """A slot with its true owner, which it may not name; None where it has none, so that no filter finds it."""

    start: datetime
    resource: str | None
    service: str | None
    names_resource: bool = True
    names_service: bool = True

    def shown(self) -> Timeslot:
        return Timeslot(
            self.start.isoformat(),
            (self.start + timedelta(minutes=20)).isoformat(),
            self.resource if self.names_resource else None,
            self.service if self.names_service else None,
        )


class ModelEhr:
    """One care unit's EHR; every timeslots call is checked against the profile.

    Calls may be answered with slots of so much time before and after their windows. An EHR that `knows_lists_alone`
    refuses to filter by the ids that they leave out, though its slots name them.
    """

    def __init__(
        self,
        slots: Sequence[TrueSlot],
        profile: EhrProfile,
        *,
        sick_at: datetime | None = None,
        spill: timedelta = timedelta(0),
        knows_lists_alone: bool = False,
    ) -> None:
        self.slots = slots
        self._strangers = [] if knows_lists_alone else [UNLISTED_RESOURCE, UNLISTED_SERVICE]
        self.spill = spill
        self.profile = profile
        self.sick_at = sick_at
        self.refusal: Callable[[], GatewayError] = lambda: FilterRequired("a filter is missing")
        self.calls: list[Step] = []
        self.most_at_once = 0
        self._at_once = 0

    def owned(self, query: TimeslotQuery) -> TimeslotList:
        """The truth: the slots that start in the window and are of the resource and service."""
        return TimeslotList(
            slot.shown()
            for slot in self.slots
            if query.window.start <= slot.start < query.window.end
            and query.resource in {None, slot.resource}
            and query.service in {None, slot.service}
        )

    def expected(self, query: TimeslotQuery) -> TimeslotList:
        """What the query's answer must be: the truth, or its union over what the profile spreads the query over."""
        policy, fan_out = self.profile.filter_policy, self.profile.fan_out
        if query.allowed_by(policy):
            return self.owned(query)
        pairs: set[tuple[str | None, str | None]] = {(query.resource, query.service)}
        if policy is FilterPolicy.ANY_ONE:
            by_resource = fan_out in {FanOut.RESOURCES, FanOut.BOTH}
            by_service = fan_out in {FanOut.SERVICES, FanOut.BOTH}
            pairs = {(each, None) for each in RESOURCES if by_resource}
            pairs |= {(None, each) for each in SERVICES if by_service}
        if policy in {FilterPolicy.RESOURCE, FilterPolicy.BOTH}:
            pairs = {(each, service) for resource, service in pairs for each in ([resource] if resource else RESOURCES)}
        if policy in {FilterPolicy.SERVICE, FilterPolicy.BOTH}:
            pairs = {(resource, each) for resource, service in pairs for each in ([service] if service else SERVICES)}
        found = [self.owned(replace(query, resource=resource, service=service)) for resource, service in pairs]
        return TimeslotList(slot for each in found for slot in each.slots)

    def fetch(self, step: Step) -> TimeslotList:
        self.calls.append(step)
        longest = self.profile.longest_window
        assert longest is None or step.window.length <= longest
        if not step.allowed_by(self.profile.filter_policy):
            raise self.refusal()
        if step.resource not in {None, *RESOURCES, *self._strangers}:
            raise NotFound("no such id")
        if step.service not in {None, *SERVICES, *self._strangers}:
            raise NotFound("no such id")
        if self.sick_at is not None and step.window.start <= self.sick_at < step.window.end:
            raise UpstreamUnavailable("sick")
        spilt = Window(step.window.start - self.spill, step.window.end + self.spill)
        return self.owned(step.within(spilt))

    async def timeslots(self, step: Step) -> TimeslotList:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        return self.fetch(step)

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        raise NotFound(emr)

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        return [Resource(each) for each in RESOURCES if care_unit == UNIT]

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        return [HealthcareService(each) for each in SERVICES if care_unit == UNIT]


class ModelUnitLists:
    """The unit's lists as a request knows them; `loaded` are those that it loads anyway."""

    def __init__(
        self, loaded: UnitLists, *, resources: tuple[str, ...] = RESOURCES, services: tuple[str, ...] = SERVICES
    ) -> None:
        self.loaded = loaded
        self.fetched: list[str] = []
        self._resources = resources
        self._services = services

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        return self.loaded if care_unit == UNIT else UnitLists.NONE

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        loaded = self.asked_for(care_unit)
        return ListedIds(
            self._resources if loaded.resources else None,
            self._services if loaded.services else None,
        )

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        self.fetched.append("resources")
        return self._resources if care_unit == UNIT else ()

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        self.fetched.append("services")
        return self._services if care_unit == UNIT else ()
