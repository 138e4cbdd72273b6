"""The catalogue's lists over the shared store: of all processes that want a list, one calls Leyr, and all take it.

Each list has a log of events, in which its calls begin, land and fail, and one value: the list as the newest of these
calls brought it. Whoever would call Leyr looks there first. A list that is fresh is taken, with its true age. Where
another process's call is under way, its end is waited for. Else this process says that it begins, calls, and leaves
the list to the others. A stale list is taken too where a request would have to wait otherwise, and then fetched anew.

Nobody is worse off than alone. A call of another process that fails, dies or brings nothing of use is followed by an
own one; when the store goes away, each process calls for itself.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from math import inf
from typing import Any, Generic, TypeVar

from cachetools import LRUCache
from msgspec.msgpack import Decoder

from gateway.domain.models import CatalogItem, Items
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.catalog import ListKey, ListRead
from gateway.fetch.fetch_scope import CacheStatus, ReadTime
from gateway.fetch.list_events import (
    Began,
    Failed,
    Landed,
    StoredList,
    decoded_event,
    decoded_items,
    decoded_list,
    encoded_event,
    encoded_list,
    events_of,
    pending_leases,
)
from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.event_log import BEFORE_ALL, Appended, EventLogs, EventMessage, LogPage, NewValue, Position
from gateway.shared_store.leases import Leases
from gateway.shared_store.reads import ReadEvents, ReadOutcome, SharedRead

T = TypeVar("T", bound=CatalogItem)

_MICROSECONDS, _MILLISECONDS = 1_000_000, 1_000
# Longer lists are each process's own.
_MOST_BYTES = 8 * 1024 * 1024
# What is longer is sealed and opened in a thread, since each takes some tenths of a millisecond; sealed, it is shorter.
_PLAIN_BYTES_AT_ONCE = 64 * 1024
_SEALED_BYTES_AT_ONCE = 16 * 1024
_MOST_LOOKS = 100
_MOST_LANDING = 4
_MOST_HEARD = 1_000
# A log knows for a minute and a half what landed; then it cannot be told whether a slower call is still the newest.
_LONGEST_CALL_SECONDS = 80.0
# As long as that a call of another process is waited for, whose process may live and never say what became of it.
_LONGEST_WAIT_SECONDS = 30.0
_SHORTEST_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ListSharing:
    """What the lists of all endpoints are shared over, and the process's clock."""

    logs: EventLogs
    leases: Leases
    reads: ReadEvents
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    items: Items[T]
    fetched_at: ReadTime
    origin: CacheStatus


@dataclass(frozen=True, slots=True)
class _Begun:
    """A call of this process, of which the others know."""

    log: str
    name: str
    lease: str
    position: Position
    fetched_at: ReadTime


@dataclass(slots=True)
class _Wait:
    """How long a process still waits for others: after a first failure about as long again as it has waited."""

    began: float
    until: float
    lease: str = ""
    ended: set[str] = field(default_factory=set)
    failures: int = 0

    def choose(self, pending: Sequence[str], now: float) -> str:
        """The lease to wait for, of those whose calls are under way; "" where there is none, or no time left."""
        if self.lease and self.lease not in pending:
            self.lease = ""
            if not self.failures:
                self.until = now + max(now - self.began, _SHORTEST_WAIT_SECONDS)
            self.failures += 1
        if now >= self.until:
            return ""
        if not self.lease and pending:
            self.lease = pending[-1]
        return self.lease


class SharedLists(Generic[T]):
    """The lists of one endpoint, over the store."""

    def __init__(self, sharing: ListSharing, endpoint: str, kind: type[T], lifetimes: Lifetimes) -> None:
        self._logs, self._leases, self._clock = sharing.logs, sharing.leases, sharing.clock
        self._reads = sharing.reads
        self._endpoint = endpoint
        self._decoder: Decoder[list[T]] = Decoder(list[kind])  # type: ignore[valid-type] # known at run time alone
        self._lifetimes = lifetimes
        self._kept: dict[str, tuple[ListKey, float]] = {}
        self._reading: Counter[str] = Counter()
        # When the newest list was requested of which a message told, while this process was about to have one.
        self._heard: LRUCache[str, int] = LRUCache(_MOST_HEARD)
        self._behind: dict[str, None] = {}
        self._catching_up: asyncio.Task[None] | None = None
        self._landing = asyncio.Semaphore(_MOST_LANDING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_newer: Callable[[ListKey, Items[T], float], None] | None = None
        self._logs.follow(self._take_message)
        self._logs.store.on_up(self._look_again)

    async def read(self, key: ListKey, read: ListRead, fetch: Callable[[Any], Awaitable[Iterable[T]]]) -> Iterable[T]:
        """The list, from another process or by an own call; `read` is told when it was requested. Raises domain errors.

        The own call is made in the same task.
        """
        log = self._log(key)
        self._reading[log] += 1
        try:
            return await self._read(key, read, fetch)
        finally:
            self._reading[log] -= 1
            if not self._reading[log]:
                del self._reading[log]

    async def _read(self, key: ListKey, read: ListRead, fetch: Callable[[Any], Awaitable[Iterable[T]]]) -> Iterable[T]:
        found: _Found[T] | _Begun | None = None
        if self._logs.is_up:
            with suppress(StoreAwayError, StoreRefusedError):  # then this process calls alone
                found = await self._found_or_begun(key, read)
        if isinstance(found, _Found):
            read.take(found.fetched_at, found.origin)
            return found.items
        if found is None:
            read.begin(self._clock())
            return await fetch(key)
        self._leases.hold(found.lease)
        try:
            read.begin(found.fetched_at)
            items = await fetch(key)
        except BaseException:
            # It failed, or nobody waits for it any more, or may make it.
            self._fail(found.log, found.lease)
            raise
        self._start(self._land(found, items))
        return items

    def keep(self, key: ListKey, fetched_at: float) -> None:
        """This process has a list that was requested then: hear of newer ones."""
        log = self._log(key)
        self._kept[log] = key, fetched_at
        if log in self._heard and self._is_newer(self._heard.pop(log), fetched_at):
            self._catch_up(log)

    def drop(self, key: ListKey) -> None:
        """This process has a list no more."""
        self._kept.pop(self._log(key), None)

    def on_newer(self, take: Callable[[ListKey, Items[T], float], None]) -> None:
        """Give each list that another process fetched later than the one that this process has."""
        self._on_newer = take

    def _log(self, key: ListKey) -> str:
        return self._logs.sealing.name("list", self._endpoint, *_parts(key))

    def _name(self, key: ListKey) -> str:
        return self._logs.sealing.name("items of a list", self._endpoint, *_parts(key))

    # Looking before calling.

    async def _found_or_begun(self, key: ListKey, read: ListRead) -> "_Found[T] | _Begun | None":
        """A list to take, or the beginning of an own call; None where this process is to call by itself.

        Raises StoreAwayError and StoreRefusedError.
        """
        log, name, now = self._log(key), self._name(key), self._clock()
        wait = _Wait(now, now + _LONGEST_WAIT_SECONDS)
        for _ in range(_MOST_LOOKS):
            sent = self._clock()
            page, sealed = await self._logs.read_with_value(log, name)
            found = await self._usable(await self._opened(name, sealed), page, sent, read)
            if found is not None:
                self._tell(ReadOutcome.JOINED if wait.lease or wait.failures else ReadOutcome.HIT)
                return found
            events = events_of(page)
            if wait.lease and any(isinstance(each, Landed) and each.lease == wait.lease for _, each in events):
                # It is too long to be shared, or the store has no room for it.
                break
            pending = pending_leases(events, wait.ended, _surely_after(read.since, page, sent))
            after = page.events[-1].position if page.events else BEFORE_ALL
            if wait.choose(pending, self._clock()):
                await self._wait(log, after, wait)
                continue
            begun = await self._begun(log, name, None if pending else after)
            if begun is not None:
                self._tell(ReadOutcome.LED)
                return begun
        self._tell(ReadOutcome.MISS)
        return None

    async def _wait(self, log: str, after: Position, wait: _Wait) -> None:
        """Wait until some call has ended, or the process whose call is waited for."""
        with suppress(TimeoutError):  # then this process calls too
            async with asyncio.timeout(wait.until - self._clock()):
                while not wait.ended.intersection([wait.lease]):
                    wait.ended.update(await self._leases.newer(log, after, [wait.lease]))
                    page = await self._logs.read(log, after)
                    # Those who ask for what is true now begin calls of their own, time and again.
                    if not page.events or any(not isinstance(event, Began) for _, event in events_of(page)):
                        break
                    after = page.events[-1].position

    async def _begun(self, log: str, name: str, after: Position | None) -> _Begun | None:
        """Say that this process calls; None where others have said something meanwhile."""
        lease, sent = self._leases.new(), self._clock()
        try:
            appended = await self._logs.append(log, encoded_event(Began(lease)), after=after, lease=lease)
        except asyncio.CancelledError:
            # It may have been written all the same.
            self._fail(log, lease)
            raise
        if not isinstance(appended, Appended):
            return None
        return _Begun(log, name, lease, appended.position, ReadTime(sent, appended.server_time))

    async def _usable(
        self, stored: StoredList | None, page: LogPage, sent: float, read: ListRead
    ) -> "_Found[T] | None":
        """What is kept, where the request may have it."""
        if stored is None:
            return None
        fetched_at = self._requested_at(stored, page, sent)
        age = self._clock() - fetched_at
        if fetched_at <= read.since or age >= (self._lifetimes.served if read.takes_stale else self._lifetimes.fresh):
            return None
        items = await decoded_items(self._decoder, stored)
        origin = CacheStatus.SHARED if age < self._lifetimes.fresh else CacheStatus.STALE
        return None if items is None else _Found(items, fetched_at, origin)

    def _requested_at(self, stored: StoredList, page: LogPage, sent: float) -> ReadTime:
        """When a list was requested; where the clocks leave that open, the earliest that it can have been."""
        age = (page.server_time - stored.began) / _MICROSECONDS
        seconds = min(sent - age, self._logs.store.clock.to_local(stored.began))
        # What is from the future is from before the server's clock was put back, nobody knows when.
        return ReadTime(seconds if age >= 0 else -inf, stored.began)

    async def _opened(self, name: str, sealed: object) -> StoredList | None:
        """What a process with this secret has kept under a name."""
        opened, is_long = self._logs.sealing.open, isinstance(sealed, bytes) and len(sealed) > _SEALED_BYTES_AT_ONCE
        return decoded_list(await asyncio.to_thread(opened, name, sealed) if is_long else opened(name, sealed))

    # Leaving a list to the others.

    async def _land(self, begun: _Begun, items: Iterable[T]) -> None:
        """Leave a list to the other processes, and end the lease of its call."""
        is_told = False
        try:
            with suppress(StoreAwayError, StoreRefusedError):  # then the others call for themselves
                async with self._landing:
                    plain = await encoded_list(items, begun.fetched_at.microseconds, _MOST_BYTES)
                    await self._append_landed(begun, b"" if plain is None else await self._sealed(begun.name, plain))
                is_told = True
        finally:
            if is_told:
                self._leases.end(begun.lease)
            else:
                self._fail(begun.log, begun.lease)

    def _fail(self, log: str, lease: str) -> None:
        """Tell the others that a call brings nothing."""
        self._logs.tell(log, encoded_event(Failed(lease)))
        self._leases.end(lease)

    async def _sealed(self, name: str, plain: bytes) -> bytes:
        seal = self._logs.sealing.seal
        return seal(name, plain) if len(plain) <= _PLAIN_BYTES_AT_ONCE else await asyncio.to_thread(seal, name, plain)

    async def _append_landed(self, begun: _Begun, sealed: bytes) -> None:
        """Say that a call landed; its list is kept, unless that of a call that began later is.

        Raises StoreAwayError and StoreRefusedError.
        """
        event = Landed(begun.lease, begun.fetched_at.microseconds)
        after, is_newest = begun.position, True
        for _ in range(_MOST_LOOKS):
            age = self._clock() - begun.fetched_at
            left = int((self._lifetimes.served - age) * _MILLISECONDS)
            is_kept = sealed and is_newest and left > 0 and age < _LONGEST_CALL_SECONDS
            value = NewValue(begun.name, b"", left, sealed) if is_kept else None
            appended = await self._logs.append(begun.log, encoded_event(event), after=after, value=value)
            if isinstance(appended, Appended):
                return
            after = appended.events[-1].position
            landed = [each for _, each in events_of(appended) if isinstance(each, Landed)]
            is_newest = is_newest and all(each.began < event.began for each in landed)

    # Following what the others fetch.

    def _take_message(self, message: EventMessage) -> None:
        log = message.log
        kept = self._kept.get(log)
        if kept is None and log not in self._reading:
            return
        event = decoded_event(message.event)
        if not isinstance(event, Landed):
            return
        if log in self._reading:
            self._heard[log] = max(event.began, self._heard.get(log, 0))
        if kept is not None and self._is_newer(event.began, kept[1]):
            self._catch_up(log)

    def _look_again(self) -> None:
        """Messages may have been missed while the store was away."""
        self._catch_up(*self._kept)

    def _catch_up(self, *logs: str) -> None:
        self._behind.update(dict.fromkeys(logs))
        if self._behind and self._catching_up is None:
            self._catching_up = self._start(self._take_newer())

    async def _take_newer(self) -> None:
        """Take newer lists of other processes in place of those that this process has, one after the other."""
        try:
            while self._behind:
                log = next(iter(self._behind))
                del self._behind[log]
                kept = self._kept.get(log)
                if kept is not None:
                    await self._take_one(log, *kept)
        except (StoreAwayError, StoreRefusedError):
            # When it is up again, all are looked at.
            self._behind.clear()
        finally:
            self._catching_up = None

    async def _take_one(self, log: str, key: ListKey, fetched_at: float) -> None:
        sent, name = self._clock(), self._name(key)
        page, sealed = await self._logs.read_with_value(log, name)
        stored = await self._opened(name, sealed)
        if stored is None or not self._is_newer(stored.began, fetched_at):
            return
        found = await self._usable(stored, page, sent, ListRead(-inf, takes_stale=True))
        if found is not None and self._on_newer is not None:
            self._on_newer(key, found.items, found.fetched_at)

    def _is_newer(self, began: int, fetched_at: float) -> bool:
        """Whether a list that was requested at a time of the server is newer than one that this process has."""
        if isinstance(fetched_at, ReadTime):
            return began > fetched_at.microseconds
        return self._logs.store.clock.to_local(began) > fetched_at

    def _tell(self, outcome: ReadOutcome) -> None:
        self._reads.shared_read(SharedRead.LIST, outcome)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        # A context of its own, since that of a request's call holds the request.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _parts(key: ListKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)


def _surely_after(since: float, page: LogPage, sent: float) -> Position:
    """The first position of what was surely appended after a time of this process's clock."""
    if since == -inf:
        return BEFORE_ALL
    return page.server_time // _MILLISECONDS + int((since - sent) * _MILLISECONDS) + 1, 0
