"""The catalogue: care units, resources and healthcare services, from_cache for minutes.

What is fresh is given as it is. What is stale is given while one call fetches it anew, and as long as that fails
(`Lifetimes`). What is older, or not known, is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES, CacheBudget, Lifetimes
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope
from gateway.fetch.single_flight import SharedCall

K = TypeVar("K", str, CareUnitKey)
T = TypeVar("T", CareUnit, Resource, HealthcareService)

# What one item takes as a struct, as a GraphQL object and in the index, and what answers may keep of it as bytes.
_ITEM_BYTES = 1_200
_RENDERED_ITEM_BYTES = 300
_LIST_BYTES = 1_000


class CatalogList(Generic[T]):
    """A list by Leyr id, in Leyr's order; of several items with one id the first counts.

    `views` is for whoever makes something of the items, to be kept as long as they are.
    """

    __slots__ = ("fragments", "items", "views")

    def __init__(self, items: Iterable[T]) -> None:
        self.items: dict[str, T] = {}
        for item in items:
            self.items.setdefault(item.id, item)
        self.fragments = FragmentCache(len(self.items) * _RENDERED_ITEM_BYTES)
        self.views: Any = None


@dataclass(slots=True)
class _Kept(Generic[T]):
    listed: CatalogList[T]
    fetched_at: float
    refreshed_at: float
    is_overdue: bool = False


Given: TypeAlias = CatalogList[T] | asyncio.Future[CatalogList[T]]


class CachedLists(Generic[K, T]):
    """The lists of one endpoint."""

    def __init__(
        self,
        endpoint: str,
        fetch: Callable[[K], Awaitable[Iterable[T]]],
        *,
        lifetimes: Lifetimes,
        memory: CacheBudget,
        clock: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._fetch: Callable[[K], Awaitable[Iterable[T]]] = fetch
        self._lifetimes = lifetimes
        self._budget = memory
        self._clock = clock
        self._kept: dict[K, _Kept[T]] = {}
        self._flights: dict[K, SharedCall[CatalogList[T]]] = {}

    def get(self, key: K, scope: FetchScope) -> Given[T]:
        """The list, now or later; the future raises domain errors.

        Raises OperationTooLarge where it is not known and the request has no calls left.
        """
        now = self._clock()
        kept = self._kept.get(key) if scope.may_use_cache else None
        if kept is not None:
            age = now - kept.fetched_at
            if age < self._lifetimes.fresh:
                return self._given(key, kept, CacheStatus.CACHED, scope)
            if age < self._lifetimes.served:
                due = now - kept.refreshed_at >= SECONDS_BETWEEN_REFRESHES and key not in self._flights
                if due and scope.has_calls_left:
                    # Nobody waits for a refresh, so it holds itself.
                    scope.take()
                    kept.refreshed_at = now
                    self._launch(key, now)
                return self._given(key, kept, CacheStatus.STALE, scope)
        return self._fetched(key, now, scope)

    def known(self, key: K, scope: FetchScope) -> CatalogList[T] | None:
        """The list, where it would be given at once."""
        kept = self._kept.get(key) if scope.may_use_cache else None
        there = kept is not None and self._clock() - kept.fetched_at < self._lifetimes.served
        return kept.listed if kept is not None and there else None

    def _given(self, key: K, kept: _Kept[T], origin: CacheStatus, scope: FetchScope) -> CatalogList[T]:
        self._budget.used((self._endpoint, key))
        read = FetchRecord(self._endpoint, _subject(key), origin, kept.fetched_at, kept.is_overdue)
        scope.note(read, kept.fetched_at + self._lifetimes.fresh)
        return kept.listed

    def _fetched(self, key: K, now: float, scope: FetchScope) -> "asyncio.Future[CatalogList[T]]":
        scope.take()
        call, origin = self._flights.get(key), CacheStatus.JOINED
        if call is None or not call.joinable or call.started < scope.since:
            call, origin = self._launch(key, now), CacheStatus.FETCHED
        else:
            call.hold()
        scope.hold(call)
        read = FetchRecord(self._endpoint, _subject(key), origin, call.started)
        scope.note(read, call.started + self._lifetimes.fresh)
        return scope.wait_for(call.outcome())

    def _launch(self, key: K, now: float) -> SharedCall[CatalogList[T]]:
        call: SharedCall[CatalogList[T]] = SharedCall(self._call(key, now), now, partial(self._landed, key))
        self._flights[key] = call
        return call

    async def _call(self, key: K, now: float) -> CatalogList[T]:
        listed = CatalogList(await self._fetch(key))
        if self._lifetimes.fresh:
            self._keep(key, listed, now)
        return listed

    def _keep(self, key: K, listed: CatalogList[T], fetched_at: float) -> None:
        earlier = self._kept.get(key)
        if earlier is not None and earlier.fetched_at > fetched_at:
            return
        size = _LIST_BYTES + len(listed.items) * (_ITEM_BYTES + _RENDERED_ITEM_BYTES)
        if self._budget.keep((self._endpoint, key), size, lambda: self._forget(key)):
            self._kept[key] = _Kept(listed, fetched_at, fetched_at)
        else:
            self._forget(key)

    def _forget(self, key: K) -> None:
        self._kept.pop(key, None)

    def _landed(self, key: K, call: SharedCall[CatalogList[T]]) -> None:
        kept = self._kept.get(key)
        if kept is not None and call.answer is None and call.joinable:
            kept.is_overdue = True
        if self._flights.get(key) is call:
            del self._flights[key]


class Catalog:
    """The three lists of Leyr that change rarely."""

    def __init__(
        self, backend: SchedulingBackend, *, lifetimes: Lifetimes, memory: CacheBudget, clock: Callable[[], float]
    ) -> None:
        self.care_units: CachedLists[str, CareUnit] = CachedLists(
            "care-units", backend.care_units, lifetimes=lifetimes, memory=memory, clock=clock
        )
        self.resources: CachedLists[CareUnitKey, Resource] = CachedLists(
            "resources", backend.resources, lifetimes=lifetimes, memory=memory, clock=clock
        )
        self.healthcare_services: CachedLists[CareUnitKey, HealthcareService] = CachedLists(
            "healthcare-services", backend.healthcare_services, lifetimes=lifetimes, memory=memory, clock=clock
        )


def _subject(key: str | CareUnitKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)
