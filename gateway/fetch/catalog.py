"""The catalogue: care units, resources and healthcare services, cached for minutes.

A fresh list is given as it is. A stale one is given while one call fetches it anew, and as long as that fails
(`Lifetimes`). One that is older, or not cached, has to be waited for. Where several processes share a store, one of
them calls for all (`SharedLists`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from sys import getsizeof
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from msgspec.structs import astuple

from gateway.domain.call_count import FURTHER_CALLS
from gateway.domain.errors import DeadlineExceeded, RateLimited
from gateway.domain.models import CareUnit, CareUnitKey, CatalogItem, HealthcareService, Items, Resource
from gateway.fetch.backend import SchedulingBackend, count_for_any
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES, CacheConfig, Lifetimes
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope, IncompleteReason
from gateway.fetch.single_flight import SharedCall

K = TypeVar("K", str, CareUnitKey)
T = TypeVar("T", bound=CatalogItem)

# What one item takes as a struct, as a GraphQL object and in the index without its texts, and what others may derive.
_ITEM_BYTES = 400
_DERIVED_ITEM_BYTES = 300
_LIST_BYTES = 1_200
_DERIVED_LIST_BYTES = 1_500
# What is known of a list to hear of newer ones.
_FOLLOWED_BYTES = 400
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


ListKey: TypeAlias = str | CareUnitKey


@dataclass(slots=True, eq=False)
class ListRead:
    """A read that is under way, and the requests that wait for it.

    It brings nothing that was requested before `oldest`, which is not before `since`; `fetched_at` is when it was, as
    far as that is known. One that `takes_stale` may bring what is to be fetched anew.
    """

    since: float
    takes_stale: bool
    fetched_at: float = 0.0
    oldest: float = -inf
    origin: CacheStatus = CacheStatus.FETCHED
    waiting: list[FetchScope] = field(default_factory=list)

    def begin(self, now: float) -> None:
        """A call to Leyr begins, which one of those who wait may make. Raises RateLimited and DeadlineExceeded."""
        self.fetched_at = self.oldest = now
        if self.waiting:
            *others, last = self.waiting
            for scope in others:
                with suppress(RateLimited, DeadlineExceeded):  # then another one may, and the last says why not
                    scope.begin_call()
                    return
            last.begin_call()

    def take(self, fetched_at: float, origin: CacheStatus) -> None:
        """What another process fetched is taken."""
        self.fetched_at = self.oldest = fetched_at
        self.origin = origin


class SharedLists(Protocol[T]):
    """The lists of one endpoint that several processes share."""

    async def read(self, key: ListKey, read: ListRead, fetch: Callable[[Any], Awaitable[Iterable[T]]]) -> Iterable[T]:
        """The list, from another process or by an own call, of which `read` is told. Raises domain errors."""

    def keep(self, key: ListKey, fetched_at: float) -> None:
        """This process has a list that was requested then."""

    def drop(self, key: ListKey) -> None:
        """This process has a list no more."""

    def on_newer(self, take: Callable[[ListKey, Items[T], float], None]) -> None:
        """Give each list that another process fetched later than the one that this process has."""


class ShareLists(Protocol):
    """Makes the lists of an endpoint shared ones."""

    def __call__(self, endpoint: str, kind: type[T], lifetimes: Lifetimes) -> SharedLists[T]:
        """The lists of items of that kind."""


ListOrFuture: TypeAlias = CatalogList[T] | asyncio.Future[CatalogList[T]]


class CachedLists(Generic[K, T]):
    """The lists of one endpoint."""

    def __init__(
        self,
        endpoint: str,
        fetch: Callable[[K], Awaitable[Iterable[T]]],
        config: CacheConfig,
        shared: SharedLists[T] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._fetch: Callable[[K], Awaitable[Iterable[T]]] = fetch
        self._config = config
        self._lifetimes = config.lifetimes
        self._clock = config.clock
        self._cached: dict[K, _Entry[T]] = {}
        self._pending: dict[K, SharedCall[CatalogList[T]]] = {}
        self._reads: dict[K, ListRead] = {}
        self._shared = shared
        if shared is not None:
            shared.on_newer(self._take_newer)

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
                    self._start(key, now, ListRead(entry.fetched_at, takes_stale=False))
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
        self, key: K, place: int, scope: FetchScope, read: ListRead, answer: "asyncio.Future[CatalogList[T]]"
    ) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        if self._shared is not None:
            recorded = scope.reads[place]
            origin = recorded.origin if recorded.origin is CacheStatus.JOINED else read.origin
            found = recorded._replace(origin=origin, fetched_at=read.fetched_at)
            scope.correct(place, found, read.fetched_at + self._lifetimes.fresh)
        self._use(key, answer.result(), read.fetched_at, scope)

    def _wait(self, key: K, now: float, scope: FetchScope) -> "asyncio.Future[CatalogList[T]]":
        scope.on_ehr(_subject(key)[0])
        call, origin = self._pending.get(key), CacheStatus.JOINED
        if call is None or not call.joinable or self._reads[key].oldest < scope.since:
            # Where lists are shared, a call is taken from the caller's budget when it is known to be made.
            scope.count_calls(joined=0 if self._shared is None else 1)
            call, origin = self._start(key, now, ListRead(scope.since, takes_stale=True)), CacheStatus.FETCHED
        else:
            scope.count_calls(joined=1)
            call.acquire()
        read = self._reads[key]
        read.waiting.append(scope)
        scope.release_on_close(call)
        # What is not known before the answer comes is recorded as if the call began now.
        place, record = len(scope.reads), FetchRecord(self._endpoint, _subject(key), origin, read.fetched_at)
        scope.record(record, read.fetched_at + self._lifetimes.fresh)
        answer = scope.wait_for(call.wait())
        use = partial(self._use_answer, key, place, scope, read)
        if answer.done():
            use(answer)
        else:
            answer.add_done_callback(use)
        return answer

    def _start(self, key: K, now: float, read: ListRead) -> SharedCall[CatalogList[T]]:
        read.fetched_at, read.oldest = now, now if self._shared is None else read.since
        call: SharedCall[CatalogList[T]] = SharedCall(self._call(key, read), now, partial(self._on_done, key, read))
        self._pending[key], self._reads[key] = call, read
        return call

    async def _call(self, key: K, read: ListRead) -> CatalogList[T]:
        # The task keeps its context, so what is set there would keep requests in a cycle.
        counting = FURTHER_CALLS.set(partial(_count_for_one, read.waiting))
        try:
            shared = self._shared
            items = await (self._fetch(key) if shared is None else shared.read(key, read, self._fetch))
            listed = CatalogList(items, self._config.new_derived)
        finally:
            FURTHER_CALLS.reset(counting)
        if self._lifetimes.fresh or len(listed.items) > _MANY_ITEMS:
            listed.bytes = listed.size(key)
        if self._lifetimes.fresh:
            self._keep(key, listed, read.fetched_at)
        if listed.bytes > _LARGE_LIST_BYTES:
            for scope in read.waiting:
                scope.count_list(listed, listed.bytes)
        return listed

    def _keep(self, key: K, listed: CatalogList[T], fetched_at: float) -> None:
        earlier = self._cached.get(key)
        if earlier is not None and earlier.fetched_at > fetched_at:
            return
        size = listed.bytes if self._shared is None else listed.bytes + _FOLLOWED_BYTES
        if self._config.budget.keep((self._endpoint, key), size, lambda: self._evict(key)):
            self._cached[key] = _Entry(listed, fetched_at, fetched_at)
            if self._shared is not None:
                self._shared.keep(key, fetched_at)
        else:
            self._evict(key)

    def _take_newer(self, key: Any, items: Items[T], fetched_at: float) -> None:
        """Put what another process fetched later in the place of a list that is cached."""
        if key in self._cached:
            listed = CatalogList(items, self._config.new_derived)
            listed.bytes = listed.size(key)
            self._keep(key, listed, fetched_at)

    def _evict(self, key: K) -> None:
        self._cached.pop(key, None)
        if self._shared is not None:
            self._shared.drop(key)

    def _on_done(self, key: K, read: ListRead, call: SharedCall[CatalogList[T]]) -> None:
        call.started = read.fetched_at
        entry = self._cached.get(key)
        if entry is not None and call.answer is None and call.joinable:
            entry.is_overdue = True
        if self._pending.get(key) is not call:
            return
        del self._pending[key], self._reads[key]
        is_stale = read.origin is CacheStatus.STALE and call.answer is not None
        if is_stale and any(scope.may_refresh() for scope in read.waiting):
            # Nobody waits for it.
            now = self._clock()
            if entry is not None:
                entry.refreshed_at = now
            self._start(key, now, ListRead(read.fetched_at, takes_stale=False))


class Catalog:
    """The three lists of Leyr that change rarely."""

    def __init__(self, backend: SchedulingBackend, config: CacheConfig, share: ShareLists | None = None) -> None:
        def shared(endpoint: str, kind: type[T]) -> SharedLists[T] | None:
            # What is not kept is not shared either.
            return share(endpoint, kind, config.lifetimes) if share is not None and config.lifetimes.fresh else None

        self.care_units: CachedLists[str, CareUnit] = CachedLists(
            "care-units", backend.care_units, config, shared("care-units", CareUnit)
        )
        self.resources: CachedLists[CareUnitKey, Resource] = CachedLists(
            "resources", backend.resources, config, shared("resources", Resource)
        )
        of_services = shared("healthcare-services", HealthcareService)
        self.healthcare_services: CachedLists[CareUnitKey, HealthcareService] = CachedLists(
            "healthcare-services", backend.healthcare_services, config, of_services
        )


def _count_for_one(waiting: Sequence[FetchScope], calls: int) -> None:
    """Count the calls for further pages of a list; nobody is asked for those of one that nobody waits for."""
    if waiting:
        count_for_any([scope.count_further_calls for scope in waiting], calls)


def _subject(key: str | CareUnitKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)
