"""Request-scoped loaders: however often a query mentions a list, it is fetched once and viewed once."""

from asyncio import Future
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from aiodataloader import DataLoader

from gateway.domain import models
from gateway.domain.ehr import EhrProfile
from gateway.domain.errors import GatewayError, NotFound
from gateway.domain.ids import NodeId, NodeType
from gateway.domain.models import CareUnitKey
from gateway.domain.planning import Lists, TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.sources.backend import SchedulingBackend
from gateway.sources.profiles import Profiles
from gateway.sources.timeslots import TimeslotReader

if TYPE_CHECKING:
    from gateway.schema.care_unit import CareUnit
    from gateway.schema.healthcare_service import HealthcareService
    from gateway.schema.resource import Resource

K = TypeVar("K")
V = TypeVar("V")
L = TypeVar("L", models.CareUnit, models.Resource, models.HealthcareService)
# An exception in the list fails its own key; aiodataloader does so, but its types do not say it.
_BatchLoad: TypeAlias = Callable[[list[K]], Coroutine[Any, Any, list[V]]]


@dataclass(frozen=True, slots=True)
class Views:
    """How what Leyr lists becomes GraphQL objects; handed in, so that the types may use the loaders."""

    care_unit: Callable[[models.CareUnit, EhrProfile], "CareUnit"]
    resource: Callable[[models.Resource, CareUnitKey], "Resource"]
    healthcare_service: Callable[[models.HealthcareService, CareUnitKey], "HealthcareService"]


class Loaders:
    """The lists and timeslots that one request has asked for; `close` abandons what is still in flight."""

    def __init__(self, backend: SchedulingBackend, profiles: Profiles, views: Views) -> None:
        self._backend = backend
        self._profiles = profiles
        self._views = views
        self._care_units: DataLoader[str, Mapping[str, CareUnit]] = _one_by_one(self._fetch_care_units)
        self._resources: DataLoader[CareUnitKey, Mapping[str, Resource]] = _one_by_one(self._fetch_resources)
        self._services: DataLoader[CareUnitKey, Mapping[str, HealthcareService]] = _one_by_one(self._fetch_services)
        self._timeslots: dict[CareUnitKey, tuple[TimeslotReader, DataLoader[TimeslotQuery, TimeslotList]]] = {}
        self._asked_for: dict[CareUnitKey, Lists] = {}

    def care_units(self, emr: str) -> "Future[Mapping[str, CareUnit]]":
        """The care units of an EHR by Leyr id, in Leyr's order."""
        return self._care_units.load(emr)

    def resources(self, care_unit: CareUnitKey) -> "Future[Mapping[str, Resource]]":
        """The resources of a care unit by Leyr id, in Leyr's order."""
        self._asked_for[care_unit] = replace(self.asked_for(care_unit), resources=True)
        return self._resources.load(care_unit)

    def healthcare_services(self, care_unit: CareUnitKey) -> "Future[Mapping[str, HealthcareService]]":
        """The healthcare services of a care unit by Leyr id, in Leyr's order."""
        self._asked_for[care_unit] = replace(self.asked_for(care_unit), services=True)
        return self._services.load(care_unit)

    async def care_unit(self, key: CareUnitKey) -> "CareUnit":
        """One care unit, from the EHR's list. Raises NotFound."""
        found = (await self.care_units(key.emr)).get(key.care_unit)
        if found is None:
            raise NotFound("There is no CareUnit with this id")
        return found

    async def node(self, wanted: NodeId) -> "CareUnit | Resource | HealthcareService":
        """Whatever a node id names, from the list that holds it. Raises NotFound."""
        found: Resource | HealthcareService | None
        match wanted.type:
            case NodeType.CARE_UNIT:
                return await self.care_unit(wanted.care_unit)
            case NodeType.RESOURCE:
                found = (await self.resources(wanted.care_unit)).get(wanted.leyr_id)
            case NodeType.HEALTHCARE_SERVICE:
                found = (await self.healthcare_services(wanted.care_unit)).get(wanted.leyr_id)
        if found is None:
            raise NotFound(f"There is no {wanted.type} with this id")
        return found

    def timeslots(self, query: TimeslotQuery) -> "Future[TimeslotList]":
        """The free timeslots of a query; what one turn of the loop asks of a care unit is planned together."""
        if query.care_unit not in self._timeslots:
            reader = TimeslotReader(query.care_unit, self._backend, self._profiles, rosters=self)
            self._timeslots[query.care_unit] = (
                reader,
                DataLoader(batch_load_fn=cast("_BatchLoad[TimeslotQuery, TimeslotList]", reader.answer)),
            )
        return self._timeslots[query.care_unit][1].load(query)

    def asked_for(self, care_unit: CareUnitKey) -> Lists:
        """Which lists this request fetches anyway."""
        return self._asked_for.get(care_unit, Lists())

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""
        return tuple(await self.resources(care_unit))

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""
        return tuple(await self.healthcare_services(care_unit))

    def close(self) -> None:
        """Abandon the timeslot calls that nobody waits for any more."""
        for reader, _ in self._timeslots.values():
            reader.close()

    async def _fetch_care_units(self, emr: str) -> "Mapping[str, CareUnit]":
        profile = self._profiles.of(emr)
        return _by_id(await self._backend.care_units(emr), lambda found: self._views.care_unit(found, profile))

    async def _fetch_resources(self, key: CareUnitKey) -> "Mapping[str, Resource]":
        return _by_id(await self._backend.resources(key), lambda found: self._views.resource(found, key))

    async def _fetch_services(self, key: CareUnitKey) -> "Mapping[str, HealthcareService]":
        services = await self._backend.healthcare_services(key)
        return _by_id(services, lambda found: self._views.healthcare_service(found, key))


def _by_id(listed: Iterable[L], view: Callable[[L], V]) -> dict[str, V]:
    """Views by Leyr id; of several with one id the first counts, since they cannot be told apart later."""
    views: dict[str, V] = {}
    for each in listed:
        if each.id not in views:
            views[each.id] = view(each)
    return views


def _one_by_one(fetch: Callable[[K], Awaitable[V]]) -> DataLoader[K, V]:
    """A loader without batches: Leyr has no bulk endpoint, and a slow clinic must not hold up the others."""

    async def load(keys: list[K]) -> list[V | GatewayError]:
        try:
            return [await fetch(key) for key in keys]
        except GatewayError as error:
            return [error] * len(keys)

    return DataLoader(batch_load_fn=cast("_BatchLoad[K, V]", load), batch=False)
