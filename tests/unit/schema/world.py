"""A made-up world of several EHRs, every word of which says whose it is, and which counts the calls to it."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import FilterRequired, NotFound
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource, Timeslot
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from tests.unit.schema.graph import NOW


@dataclass
class Unit:
    """A care unit: Leyr's ids of what it has, and on how many days somebody is free."""

    resources: Sequence[str] = ("r1", "r2")
    services: Sequence[str] = ("s1", "s2")
    days: int = 3


@dataclass
class World:
    """A scheduling system that answers from memory."""

    units: dict[CareUnitKey, Unit]
    profiles: dict[str, EhrProfile] = field(default_factory=dict)
    names_resource: bool = True
    calls: list[tuple[str, ...]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    turns: Mapping[str, int] = field(default_factory=dict)
    """How many turns of the loop an endpoint takes to answer; one where nothing is said."""

    @property
    def count(self) -> int:
        """How many calls there were."""
        return len(self.calls)

    def counts(self) -> Counter[str]:
        """How many calls each endpoint got."""
        return Counter(call[0] for call in self.calls)

    def forget(self) -> None:
        """Count anew."""
        self.calls.clear()
        self.steps.clear()

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        await self._called("care-units", emr)
        return [
            CareUnit(key.care_unit, emr_id=mark("care unit", key, "ehr"), name=mark("care unit", key))
            for key in self.units
            if key.emr == emr
        ]

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        await self._called("resources", *care_unit)
        return [Resource(each, name=mark("resource", care_unit, each)) for each in self._unit(care_unit).resources]

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        await self._called("healthcare-services", *care_unit)
        return [
            HealthcareService(each, name=mark("service", care_unit, each)) for each in self._unit(care_unit).services
        ]

    async def timeslots(self, step: Step) -> TimeslotList:
        self.steps.append(step)
        await self._called("timeslots", *step.care_unit)
        unit = self._unit(step.care_unit)
        profile = self.profiles.get(step.care_unit.emr)
        if profile is not None:
            assert profile.longest_window is None or step.window.length <= profile.longest_window
            if not step.allowed_by(profile.filter_policy):
                raise FilterRequired("a filter is missing")
        if step.resource not in {None, *unit.resources} or step.service not in {None, *unit.services}:
            raise NotFound("no such id")
        return TimeslotList(self._free(unit, step))

    def free(self, key: CareUnitKey) -> list[Timeslot]:
        """What is free in a care unit."""
        return self._free(self._unit(key), Step(key, Window(NOW, NOW + timedelta(days=366))))

    def _free(self, unit: Unit, step: Step) -> list[Timeslot]:
        found = []
        for day in range(unit.days):
            start = NOW + timedelta(days=day, hours=9)
            for number, resource in enumerate(unit.resources):
                service = unit.services[(number + day) % len(unit.services)] if unit.services else None
                belongs = step.resource in {None, resource} and step.service in {None, service}
                if belongs and step.window.start <= start < step.window.end:
                    named = resource if self.names_resource else None
                    end = start + timedelta(minutes=20)
                    found.append(Timeslot(start.isoformat(), end.isoformat(), named, service))
        return found

    async def _called(self, *call: str) -> None:
        self.calls.append(call)
        for _ in range(self.turns.get(call[0], 1)):
            await asyncio.sleep(0)

    def _unit(self, key: CareUnitKey) -> Unit:
        if key not in self.units:
            raise NotFound("no such care unit")
        return self.units[key]


def mark(kind: str, key: CareUnitKey, leyr_id: str = "") -> str:
    """A name that tells whose it is."""
    return f"<{kind} {leyr_id} of {key.care_unit} in {key.emr}>"


def traces(world: World, key: CareUnitKey) -> set[str]:
    """Whatever in an answer would tell of a care unit: names and node ids of it and of all in it."""
    unit = world.units[key]
    return {
        care_unit_id(key),
        mark("care unit", key),
        mark("care unit", key, "ehr"),
        *(mark("resource", key, each) for each in unit.resources),
        *(mark("service", key, each) for each in unit.services),
        *(node_id(NodeType.RESOURCE, key, each) for each in unit.resources),
        *(node_id(NodeType.HEALTHCARE_SERVICE, key, each) for each in unit.services),
    }
