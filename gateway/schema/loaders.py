"""What one request reads: however often a query mentions a list, it is read once.

Lists are read one by one, since Leyr has no bulk endpoint that a batch of them could be read from. Timeslots are: what
one turn of the loop asks of a care unit is a batch of its DataLoader, and planned together.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from enum import Flag, auto
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from aiodataloader import DataLoader

from gateway.domain import models
from gateway.domain.errors import GatewayError, NotFound
from gateway.domain.ids import NodeType
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import ListedIds, TimeslotQuery, UnitLists, lists_spread_over
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.catalog import CachedLists, Catalog, CatalogList, ListOrFuture
from gateway.fetch.coverage import QueryCoverage
from gateway.fetch.fetch_scope import FetchScope, IncompleteReason
from gateway.fetch.request_answers import AnswerSummary
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.fetch.timeslot_fetcher import AnsweredParts, TimeslotFetcher, answered_parts

K = TypeVar("K", str, CareUnitKey)
T = TypeVar("T", bound=models.CatalogItem)
Pending: TypeAlias = "asyncio.Future[TimeslotList]"

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


LIST_OF = {
    NodeType.CARE_UNIT: Reads.CARE_UNITS,
    NodeType.RESOURCE: Reads.RESOURCES,
    NodeType.HEALTHCARE_SERVICE: Reads.HEALTHCARE_SERVICES,
    NodeType.EMR: Reads.NOTHING,
    NodeType.TIMESLOT: Reads.NOTHING,
}
"""The list of the catalogue that holds the nodes of a type."""


class ListLoader(Generic[K, T]):
    """The lists of one endpoint for one request; futures raise domain errors."""

    __slots__ = ("_cached", "_read", "_scope")

    def __init__(self, cached: CachedLists[K, T], scope: FetchScope) -> None:
        self._cached: CachedLists[K, T] = cached
        self._scope = scope
        self._read: dict[K, ListOrFuture[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._read

    def start(self, key: K) -> ListOrFuture[T]:
        """Read a list, unless the request did before."""
        given = self._read.get(key)
        if given is None:
            given = self._read[key] = self._cached.get(key, self._scope)
        return given

    async def load(self, key: K) -> CatalogList[T]:
        """The list that a field asks for."""
        self._scope.asked += 1
        given = self.start(key)
        return given if isinstance(given, CatalogList) else await given

    async def read(self, key: K) -> CatalogList[T]:
        """The list, for whatever else needs it."""
        given = self.start(key)
        return given if isinstance(given, CatalogList) else await given

    def cached(self, key: K) -> CatalogList[T] | None:
        """The list that the cache would give at once."""
        return self._cached.known(key, self._scope)

    def known(self, key: K) -> CatalogList[T] | None:
        """The list where it is there: read and not awaited or failed, or not read and in the cache."""
        given = self._read.get(key)
        if given is None:
            return self.cached(key)
        if isinstance(given, CatalogList):
            return given
        return given.result() if given.done() and not given.cancelled() and not given.exception() else None


class Loaders:
    """The lists and timeslots of one request."""

    def __init__(self, catalog: Catalog, calls: TimeslotCalls, scope: FetchScope) -> None:
        self.care_units: ListLoader[str, models.CareUnit] = ListLoader(catalog.care_units, scope)
        self.resources: ListLoader[CareUnitKey, models.Resource] = ListLoader(catalog.resources, scope)
        self.services: ListLoader[CareUnitKey, models.HealthcareService] = ListLoader(
            catalog.healthcare_services, scope
        )
        self.unit_lists: dict[NodeType, ListLoader[CareUnitKey, Any]] = {
            NodeType.RESOURCE: self.resources,
            NodeType.HEALTHCARE_SERVICE: self.services,
        }
        self.profiles = calls.profiles
        self._calls = calls
        self._scope = scope
        self._coverages: dict[CareUnitKey, QueryCoverage] = {}
        self._batches: dict[CareUnitKey, DataLoader[TimeslotQuery, Pending]] = {}
        self._timeslots: dict[TimeslotQuery, TimeslotList | asyncio.Future[Pending]] = {}
        self._unconfirmed: set[TimeslotQuery] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def allow(self, calls: int, slots: int, list_bytes: int) -> None:
        """Let the request make so many upstream calls, and read so many timeslots, and so many bytes of other lists."""
        self._scope.most_calls, self._scope.most_slots, self._scope.most_list_bytes = calls, slots, list_bytes

    def fresh_for(self, seconds: float) -> None:
        """Let the answer count as fresh for no longer than so many seconds from the beginning of the request."""
        self._scope.fresh_until = min(self._scope.fresh_until, self._scope.started + seconds)

    def never_keep(self) -> None:
        """Keep no answer of this request: it is its caller's own and means now, or it tells a failure as data."""
        self._scope.is_kept = False

    def ask_anew(self, care_unit: CareUnitKey) -> None:
        """Read no timeslots of a care unit that were requested before this request began."""
        self._scope.ask_anew(care_unit)

    def start_lists(self, care_unit: CareUnitKey, reads: Reads) -> None:
        """Read the lists among `reads` that concern a care unit. Raises OperationTooLarge."""
        for node_type, loader in self.unit_lists.items():
            if LIST_OF[node_type] in reads:
                loader.start(care_unit)
        if Reads.CARE_UNITS in reads:
            self.care_units.start(care_unit.emr)

    def start_timeslots(self, query: TimeslotQuery) -> "TimeslotList | asyncio.Future[Pending]":
        """Read the slots of a query, unless that was begun; its batch gives a future of them within a few turns."""
        given = self._timeslots.get(query)
        if given is None:
            given = self._timeslots[query] = self._started(query)
        return given

    def start_confirmed(self, query: TimeslotQuery, unconfirmed: UnitLists) -> None:
        """Read the slots of a query as soon as lists have confirmed its ids."""
        if query not in self._unconfirmed:
            self._unconfirmed.add(query)
            self._run(self._start_confirmed(query, unconfirmed))

    async def confirm_ids_exist(self, query: TimeslotQuery, unconfirmed: UnitLists) -> None:
        """Wait for the lists that must hold the ids of a query before these leave in a URL. Raises NotFound."""
        if unconfirmed.services:
            self.services.start(query.care_unit)
        if unconfirmed.resources and query.resource not in (await self.resources.read(query.care_unit)).items:
            raise NotFound("There is no Resource with this id")
        if unconfirmed.services and query.service not in (await self.services.read(query.care_unit)).items:
            raise NotFound("There is no HealthcareService with this id")

    async def timeslots(self, query: TimeslotQuery) -> TimeslotList:
        """The free timeslots of a query that a field asks for."""
        self._scope.asked += 1
        given = self.start_timeslots(query)
        found = given if isinstance(given, TimeslotList) else await (await given)
        self._report_spread(query)
        return found

    async def answered_parts(self, query: TimeslotQuery, error: GatewayError) -> AnsweredParts | None:
        """What is known of a query that failed with an error; None where that is nothing."""
        coverage = self._coverages.get(query.care_unit)
        found = None if coverage is None else await answered_parts(coverage, query, error)
        if found is not None:
            self._report_spread(query)
        return found

    def _report_spread(self, query: TimeslotQuery) -> None:
        if self.is_spread(query):
            reason = IncompleteReason.OUTSIDE_EVERY_FILTER
            self._scope.report_incomplete("timeslots", query.care_unit.emr, reason, query, 1)

    def is_spread(self, query: TimeslotQuery) -> bool:
        """Whether the answer to a query lacks what lies outside every filter."""
        profile = self.profiles.of_unit(query.care_unit)
        return profile.needs_unit_lists and lists_spread_over(query, profile) is not UnitLists.NONE

    def summary(self, query: TimeslotQuery) -> AnswerSummary:
        """Of what the answer to a query was made, which was delivered."""
        return self._coverages[query.care_unit].answers.summary(query)

    def known_care_units(self, emr: str) -> CatalogList[models.CareUnit] | None:
        """The care units of an EHR, where they are there already."""
        return self.care_units.known(emr) or self.care_units.cached(emr)

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        """The lists that cost this request nothing, since it reads them anyway or the cache holds them."""
        known = self.known(care_unit)
        return UnitLists.of(
            resources=care_unit in self.resources or known.resources is not None,
            services=care_unit in self.services or known.services is not None,
        )

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        """The ids of a care unit's lists, as far as they are there already."""
        resources, services = self.resources.known(care_unit), self.services.known(care_unit)
        return ListedIds(
            None if resources is None else tuple(resources.items), None if services is None else tuple(services.items)
        )

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""
        return tuple((await self.resources.read(care_unit)).items)

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""
        return tuple((await self.services.read(care_unit)).items)

    def close(self) -> None:
        """Cancel the reads that no other request waits for."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        self._scope.close()
        # Coverages refer to these loaders: unbroken, the cycle would keep every slot until the collector runs.
        self._coverages.clear()
        self._batches.clear()
        self._timeslots.clear()

    def _started(self, query: TimeslotQuery) -> "TimeslotList | asyncio.Future[Pending]":
        coverage = self._coverages.get(query.care_unit)
        if coverage is None:
            coverage = QueryCoverage(query.care_unit, self._calls, unit_lists=self, scope=self._scope)
            self._coverages[query.care_unit] = coverage
        found = coverage.from_cache(query)
        if found is not None:
            return found
        batches = self._batches.get(query.care_unit)
        if batches is None:
            load = partial(self._load_batch, TimeslotFetcher(coverage))
            batches = self._batches[query.care_unit] = DataLoader(load, cache=False, loop=asyncio.get_running_loop())
        return batches.load(query)

    async def _load_batch(self, fetcher: TimeslotFetcher, queries: list[TimeslotQuery]) -> list[Pending]:
        """Begin to answer queries, and give a future for each at once.

        A DataLoader tells those that wait for a batch nothing of its cancellation (as of 0.4.3), so none lasts until
        the answers are there. Nor does an early answer have to wait for the others of its batch then.
        """
        loop = asyncio.get_running_loop()
        answers: dict[TimeslotQuery, Pending] = {query: loop.create_future() for query in queries}
        for future in answers.values():
            if self._is_closed:
                future.cancel()
            else:
                future.add_done_callback(_mark_retrieved)
                self._scope.wait_for(future)
        if not self._is_closed:
            self._run(_answer(fetcher, answers))
        return list(answers.values())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_confirmed(self, query: TimeslotQuery, unconfirmed: UnitLists) -> None:
        # The resolver that waits for the query waits for the same lists, and reports what is wrong with them.
        with suppress(GatewayError):
            await self.confirm_ids_exist(query, unconfirmed)
            self.start_timeslots(query)


async def _answer(fetcher: TimeslotFetcher, answers: dict[TimeslotQuery, Pending]) -> None:
    def deliver(query: TimeslotQuery, answer: TimeslotList | Exception) -> None:
        future = answers[query]
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    try:
        await fetcher.answer(list(answers), deliver)
    except Exception as error:  # noqa: BLE001 # whatever it is, it belongs to the fields that wait
        for query in answers:
            deliver(query, error)


def _mark_retrieved(future: Pending) -> None:
    """Keep asyncio from reporting a failure that no field waited for."""
    if not future.cancelled():
        future.exception()
