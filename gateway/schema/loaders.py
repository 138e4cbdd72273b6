"""What one request reads: however often a query mentions a list, it is read once.

There is no DataLoader here. Leyr has no bulk endpoint, so lists are read one by one; and timeslots are planned
together by the turn of the loop, which takes a call_soon. aiodataloader would add a task and some ten microseconds
to each of the hundreds of loads that a query nested in resources makes, and its waiters hang where a batch is
cancelled (as of 0.4.3).
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from enum import Flag, auto
from typing import Any, TypeVar

from gateway.domain import models
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, NotFound
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import ListedIds, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.catalog import Catalog, CatalogList, Given
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.fetch.timeslot_fetcher import TimeslotFetcher

T = TypeVar("T", models.CareUnit, models.Resource, models.HealthcareService)


READS = "reads"
"""Metadata of a field: what its resolver reads from upstream (`Reads`); prefetching and the cost check look there."""


class Reads(Flag):
    """What a field may read: a list of the EHR, a list of the care unit, or timeslots."""

    NOTHING = 0
    CARE_UNITS = auto()
    RESOURCES = auto()
    HEALTHCARE_SERVICES = auto()
    TIMESLOTS = auto()

    @property
    def unit_lists(self) -> int:
        """How many lists of a care unit are among them, each of which is one call."""
        return (self & ~(Reads.CARE_UNITS | Reads.TIMESLOTS)).value.bit_count()


class Loaders:
    """The lists and timeslots of one request."""

    def __init__(self, catalog: Catalog, steps: TimeslotCalls, scope: FetchScope) -> None:
        self._catalog = catalog
        self._steps = steps
        self._scope = scope
        self._care_units: dict[str, Given[models.CareUnit]] = {}
        self._resources: dict[CareUnitKey, Given[models.Resource]] = {}
        self._services: dict[CareUnitKey, Given[models.HealthcareService]] = {}
        self._readers: dict[CareUnitKey, TimeslotFetcher] = {}
        self._timeslots: dict[TimeslotQuery, TimeslotList | asyncio.Future[TimeslotList]] = {}
        self._unconfirmed: set[TimeslotQuery] = set()
        self._batches: dict[CareUnitKey, list[TimeslotQuery]] = {}
        self._planning: set[asyncio.Task[None]] = set()

    def allow_calls(self, most: int) -> None:
        """Let the request make so many upstream calls."""
        self._scope.most_calls = most

    def start_care_units(self, emr: str) -> Given[models.CareUnit]:
        """Read the care units of an EHR, unless that was begun."""
        given = self._care_units.get(emr)
        if given is None:
            given = self._care_units[emr] = self._catalog.care_units.get(emr, self._scope)
        return given

    def start_resources(self, care_unit: CareUnitKey) -> Given[models.Resource]:
        """Read the resources of a care unit, unless that was begun."""
        given = self._resources.get(care_unit)
        if given is None:
            given = self._resources[care_unit] = self._catalog.resources.get(care_unit, self._scope)
        return given

    def start_healthcare_services(self, care_unit: CareUnitKey) -> Given[models.HealthcareService]:
        """Read the healthcare services of a care unit, unless that was begun."""
        given = self._services.get(care_unit)
        if given is None:
            given = self._services[care_unit] = self._catalog.healthcare_services.get(care_unit, self._scope)
        return given

    def start_lists(self, care_unit: CareUnitKey, reads: Reads) -> None:
        """Read the lists among `reads` that concern a care unit, unless that was begun."""
        if Reads.RESOURCES in reads:
            self.start_resources(care_unit)
        if Reads.HEALTHCARE_SERVICES in reads:
            self.start_healthcare_services(care_unit)
        if Reads.CARE_UNITS in reads:
            self.start_care_units(care_unit.emr)

    def start_timeslots(self, query: TimeslotQuery) -> "TimeslotList | asyncio.Future[TimeslotList]":
        """Read the slots of a query, unless that was begun; what one turn of the loop asks is planned together."""
        given = self._timeslots.get(query)
        if given is None:
            given = self._timeslots[query] = self._begun(query)
        return given

    def start_confirmed(self, query: TimeslotQuery, unconfirmed: UnitLists) -> None:
        """Read the slots of a query as soon as lists have confirmed its ids."""
        if query not in self._unconfirmed:
            self._unconfirmed.add(query)
            self._keep_going(self._start_confirmed(query, unconfirmed))

    async def confirm_ids_exist(self, query: TimeslotQuery, unconfirmed: UnitLists) -> None:
        """Wait for the lists that must hold the ids of a query before these leave in a URL. Raises NotFound."""
        if unconfirmed.services:
            self.start_healthcare_services(query.care_unit)
        if unconfirmed.resources and query.resource not in (await _landed(self.start_resources(query.care_unit))).items:
            raise NotFound("There is no Resource with this id")
        if unconfirmed.services:
            services = await _landed(self.start_healthcare_services(query.care_unit))
            if query.service not in services.items:
                raise NotFound("There is no HealthcareService with this id")

    async def care_units(self, emr: str) -> CatalogList[models.CareUnit]:
        """The care units of an EHR."""
        self._scope.asked += 1
        return await _landed(self.start_care_units(emr))

    async def resources(self, care_unit: CareUnitKey) -> CatalogList[models.Resource]:
        """The resources of a care unit."""
        self._scope.asked += 1
        return await _landed(self.start_resources(care_unit))

    async def healthcare_services(self, care_unit: CareUnitKey) -> CatalogList[models.HealthcareService]:
        """The healthcare services of a care unit."""
        self._scope.asked += 1
        return await _landed(self.start_healthcare_services(care_unit))

    async def timeslots(self, query: TimeslotQuery) -> TimeslotList:
        """The free timeslots of a query."""
        self._scope.asked += 1
        given = self.start_timeslots(query)
        return given if isinstance(given, TimeslotList) else await given

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        """Which lists cost this request nothing, since it reads them anyway or they are from_cache."""
        known = self.known(care_unit)
        return UnitLists(
            care_unit in self._resources or known.resources is not None,
            care_unit in self._services or known.services is not None,
        )

    def profile(self, care_unit: CareUnitKey) -> EhrProfile:
        """What is known of the care unit's EHR. Raises BadUserInput where it is not configured."""
        return self._steps.profile(care_unit)

    def configured_profile(self, emr: str) -> EhrProfile:
        """The profile of an EHR code. Raises BadUserInput where it is not configured."""
        return self._steps.profiles.of(emr)

    def known_care_units(self, emr: str) -> CatalogList[models.CareUnit] | None:
        """The care units of an EHR, where they are there already."""
        return _there(self._care_units.get(emr)) or self._catalog.care_units.known(emr, self._scope)

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        """The lists as far as they are there already."""
        resources = self._catalog.resources.known(care_unit, self._scope)
        services = self._catalog.healthcare_services.known(care_unit, self._scope)
        return ListedIds(
            _ids(self._resources.get(care_unit) or resources), _ids(self._services.get(care_unit) or services)
        )

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""
        return tuple((await _landed(self.start_resources(care_unit))).items)

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""
        return tuple((await _landed(self.start_healthcare_services(care_unit))).items)

    def close(self) -> None:
        """Abandon what nobody waits for any more."""
        for task in self._planning:
            task.cancel()
        self._scope.close()
        # Readers know these loaders: left joined, they would keep every slot until the collector comes by.
        self._readers.clear()
        self._timeslots.clear()

    def _begun(self, query: TimeslotQuery) -> "TimeslotList | asyncio.Future[TimeslotList]":
        reader = self._readers.get(query.care_unit)
        if reader is None:
            reader = TimeslotFetcher(query.care_unit, self._steps, unit_lists=self, scope=self._scope)
            self._readers[query.care_unit] = reader
        from_cache = reader.from_cache(query)
        if from_cache is not None:
            return from_cache
        loop = asyncio.get_running_loop()
        if query.care_unit not in self._batches:
            self._batches[query.care_unit] = []
            loop.call_soon(self._plan, query.care_unit, reader)
        self._batches[query.care_unit].append(query)
        future: asyncio.Future[TimeslotList] = loop.create_future()
        future.add_done_callback(_observe)
        return self._scope.wait_for(future)

    def _plan(self, care_unit: CareUnitKey, reader: TimeslotFetcher) -> None:
        self._keep_going(self._answer(self._batches.pop(care_unit), reader))

    def _keep_going(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._planning.add(task)
        task.add_done_callback(self._planning.discard)

    async def _start_confirmed(self, query: TimeslotQuery, unconfirmed: UnitLists) -> None:
        # Whoever waits for the query waits for the same lists, and reports what is wrong with them.
        with suppress(GatewayError):
            await self.confirm_ids_exist(query, unconfirmed)
            self.start_timeslots(query)

    async def _answer(self, queries: list[TimeslotQuery], reader: TimeslotFetcher) -> None:
        try:
            await reader.answer(queries, self._deliver)
        except Exception as error:  # noqa: BLE001 # whatever it is, it belongs to those who wait
            for query in queries:
                self._deliver(query, error)

    def _deliver(self, query: TimeslotQuery, answer: TimeslotList | Exception) -> None:
        future = self._timeslots.get(query)
        if not isinstance(future, asyncio.Future) or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


async def _landed(given: Given[T]) -> CatalogList[T]:
    return given if isinstance(given, CatalogList) else await given


def _ids(given: Given[T] | None) -> tuple[str, ...] | None:
    """The ids of a list that is there."""
    listed = _there(given)
    return None if listed is None else tuple(listed.items)


def _there(given: Given[T] | None) -> CatalogList[T] | None:
    """A list that is there; None for one that is awaited, that failed, or that nobody asked for."""
    if isinstance(given, asyncio.Future):
        landed = given.done() and not given.cancelled() and given.exception() is None
        return given.result() if landed else None
    return given


def _observe(future: "asyncio.Future[TimeslotList]") -> None:
    """Let a failure pass that nobody waited for."""
    if not future.cancelled():
        future.exception()
