"""The catalogue: care units, resources and healthcare services, cached for minutes.

A fresh list is given as it is. A stale one is given while one call fetches it anew, and as long as that fails
(`Lifetimes`). One that is older, or not cached, has to be waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from sys import getsizeof
from typing import Any, Generic, TypeAlias, TypeVar

from msgspec.structs import astuple

from gateway.domain.call_count import FURTHER_CALLS
from gateway.domain.models import CareUnit, CareUnitKey, CatalogItem, HealthcareService, Items, Resource
from gateway.fetch.backend import SchedulingBackend, count_for_any
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES, CacheConfig
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope, IncompleteReason
from gateway.fetch.single_flight import SharedCall

K = TypeVar("K", str, CareUnitKey)
T = TypeVar("T", bound=CatalogItem)

# What one item takes as a struct, as a GraphQL object and in the index without its texts, and what others may derive.
_ITEM_BYTES = 400
_DERIVED_ITEM_BYTES = 300
_LIST_BYTES = 1_200
_DERIVED_LIST_BYTES = 1_500
# Without a cache the size of shorter lists is not found out: it would take longer than all else.
_MANY_ITEMS = 200
# What smaller lists hold together is bounded by the number of calls.
_LARGE_LIST_BYTES = 10_000


class CatalogList(Generic[T]):
    """A list by Leyr id, in Leyr's order; of several items with one id the first counts.

    `derived` and `views` are for what others make of the items, to be kept as long as the list. `dropped` is how many
    rows are missing since they cannot be used, `bytes` its size, where that was found out.
    """

    __slots__ = ("bytes", "derived", "dropped", "items", "views")

    def __init__(self, items: Iterable[T], new_derived: Callable[[int], object] = lambda _: None) -> None:
        self.items: dict[str, T] = {}
        for item in items:
            self.items.setdefault(item.id, item)
        self.dropped = items.dropped if isinstance(items, Items) else 0
        self.derived: Any = new_derived(self._derived_bytes)
        self.views: Any = None
        self.bytes = 0

    @property
    def _derived_bytes(self) -> int:
        return _DERIVED_LIST_BYTES + len(self.items) * _DERIVED_ITEM_BYTES

    def size(self, key: str | CareUnitKey) -> int:
        """About how many bytes the list of a care unit or an EHR takes, with all that is made of it."""
        size = _LIST_BYTES + self._derived_bytes
        for item in self.items.values():
            size += _ITEM_BYTES + sum(map(getsizeof, astuple(item)))
            name = item.display_name
            if name is not item.name:
                size += getsizeof(name)
        # Each node id holds the key and an id in base64; there what is not ASCII takes three characters a byte.
        paths = len(self.items) * _path_bytes("".join(key)) + _path_bytes("".join(self.items))
        return size + sum(map(getsizeof, [key] if isinstance(key, str) else key)) + 4 * paths // 3


def _path_bytes(text: str) -> int:
    """The most bytes that a text takes in the path of a node id."""
    return len(text) if text.isascii() else 3 * len(text.encode())


@dataclass(slots=True)
class _Entry(Generic[T]):
    listed: CatalogList[T]
    fetched_at: float
    refreshed_at: float
    is_overdue: bool = False


ListOrFuture: TypeAlias = CatalogList[T] | asyncio.Future[CatalogList[T]]


class CachedLists(Generic[K, T]):
    """The lists of one endpoint."""

    def __init__(self, endpoint: str, fetch: Callable[[K], Awaitable[Iterable[T]]], config: CacheConfig) -> None:
        self._endpoint = endpoint
        self._fetch: Callable[[K], Awaitable[Iterable[T]]] = fetch
        self._config = config
        self._lifetimes = config.lifetimes
        self._clock = config.clock
        self._cached: dict[K, _Entry[T]] = {}
        self._pending: dict[K, SharedCall[CatalogList[T]]] = {}
        self._waiting: dict[K, list[FetchScope]] = {}

    def get(self, key: K, scope: FetchScope) -> ListOrFuture[T]:
        """The list, now or later; the future raises domain errors.

        Raises OperationTooLarge, RateLimited and the like where it is not cached and the request may make no call.
        """
        now = self._clock()
        entry = self._cached.get(key)
        if entry is not None and entry.fetched_at > scope.since:
            age = now - entry.fetched_at
            if age < self._lifetimes.fresh:
                return self._from_cache(key, entry, CacheStatus.CACHED, scope)
            if age < self._lifetimes.served:
                due = now - entry.refreshed_at >= SECONDS_BETWEEN_REFRESHES and key not in self._pending
                if due and scope.may_refresh():
                    # No request waits for a refresh, so its first holder never releases it.
                    entry.refreshed_at = now
                    self._start(key, now)
                return self._from_cache(key, entry, CacheStatus.STALE, scope)
        return self._wait(key, now, scope)

    def known(self, key: K, scope: FetchScope) -> CatalogList[T] | None:
        """The list, where `get` would give it now."""
        entry = self._cached.get(key)
        oldest = max(scope.since, self._clock() - self._lifetimes.served)
        return None if entry is None or entry.fetched_at <= oldest else entry.listed

    def _from_cache(self, key: K, entry: _Entry[T], origin: CacheStatus, scope: FetchScope) -> CatalogList[T]:
        self._config.budget.touch((self._endpoint, key))
        read = FetchRecord(self._endpoint, _subject(key), origin, entry.fetched_at, entry.is_overdue)
        scope.record(read, entry.fetched_at + self._lifetimes.fresh)
        self._use(key, entry.listed, entry.fetched_at, scope)
        return entry.listed

    def _use(self, key: K, listed: CatalogList[T], fetched_at: float, scope: FetchScope) -> None:
        """Tell the request how old a list is, and whether it is whole."""
        scope.catalog_as_of = min(scope.catalog_as_of, fetched_at)
        if listed.dropped:
            emr = _subject(key)[0]
            scope.report_incomplete(self._endpoint, emr, IncompleteReason.ROWS_DROPPED, key, listed.dropped)

    def _use_answer(
        self, key: K, fetched_at: float, scope: FetchScope, answer: "asyncio.Future[CatalogList[T]]"
    ) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._use(key, answer.result(), fetched_at, scope)

    def _wait(self, key: K, now: float, scope: FetchScope) -> "asyncio.Future[CatalogList[T]]":
        scope.on_ehr(_subject(key)[0])
        call, origin = self._pending.get(key), CacheStatus.JOINED
        if call is None or not call.joinable or call.started < scope.since:
            scope.count_calls()
            call, origin = self._start(key, now), CacheStatus.FETCHED
        else:
            scope.count_calls(joined=1)
            call.acquire()
        self._waiting[key].append(scope)
        scope.release_on_close(call)
        read = FetchRecord(self._endpoint, _subject(key), origin, call.started)
        scope.record(read, call.started + self._lifetimes.fresh)
        answer = scope.wait_for(call.wait())
        use = partial(self._use_answer, key, call.started, scope)
        if answer.done():
            use(answer)
        else:
            answer.add_done_callback(use)
        return answer

    def _start(self, key: K, now: float) -> SharedCall[CatalogList[T]]:
        waiting: list[FetchScope] = []
        call: SharedCall[CatalogList[T]] = SharedCall(self._call(key, now, waiting), now, partial(self._on_done, key))
        self._pending[key], self._waiting[key] = call, waiting
        return call

    async def _call(self, key: K, now: float, waiting: Sequence[FetchScope]) -> CatalogList[T]:
        # The task keeps its context, so what is set there would keep requests in a cycle.
        counting = FURTHER_CALLS.set(partial(_count_for_one, waiting))
        try:
            listed = CatalogList(await self._fetch(key), self._config.new_derived)
        finally:
            FURTHER_CALLS.reset(counting)
        if self._lifetimes.fresh or len(listed.items) > _MANY_ITEMS:
            listed.bytes = listed.size(key)
        if self._lifetimes.fresh:
            self._keep(key, listed, now)
        if listed.bytes > _LARGE_LIST_BYTES:
            for scope in waiting:
                scope.count_list(listed, listed.bytes)
        return listed

    def _keep(self, key: K, listed: CatalogList[T], fetched_at: float) -> None:
        earlier = self._cached.get(key)
        if earlier is not None and earlier.fetched_at > fetched_at:
            return
        if self._config.budget.keep((self._endpoint, key), listed.bytes, lambda: self._evict(key)):
            self._cached[key] = _Entry(listed, fetched_at, fetched_at)
        else:
            self._evict(key)

    def _evict(self, key: K) -> None:
        self._cached.pop(key, None)

    def _on_done(self, key: K, call: SharedCall[CatalogList[T]]) -> None:
        entry = self._cached.get(key)
        if entry is not None and call.answer is None and call.joinable:
            entry.is_overdue = True
        if self._pending.get(key) is call:
            del self._pending[key], self._waiting[key]


class Catalog:
    """The three lists of Leyr that change rarely."""

    def __init__(self, backend: SchedulingBackend, config: CacheConfig) -> None:
        self.care_units: CachedLists[str, CareUnit] = CachedLists("care-units", backend.care_units, config)
        self.resources: CachedLists[CareUnitKey, Resource] = CachedLists("resources", backend.resources, config)
        self.healthcare_services: CachedLists[CareUnitKey, HealthcareService] = CachedLists(
            "healthcare-services", backend.healthcare_services, config
        )


def _count_for_one(waiting: Sequence[FetchScope], calls: int) -> None:
    """Count the calls for further pages of a list; nobody is asked for those of one that nobody waits for."""
    if waiting:
        count_for_any([scope.count_further_calls for scope in waiting], calls)


def _subject(key: str | CareUnitKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)
