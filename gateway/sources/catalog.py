"""The catalogue: care units, resources and healthcare services, remembered for minutes.

What is fresh is given as it is. What is stale is given while one call fetches it anew, and as long as that fails
(`Lifetimes`). What is older, or not known, is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.domain.rendered import Rendered
from gateway.sources.backend import SchedulingBackend
from gateway.sources.flights import Flight
from gateway.sources.memory import SECONDS_BETWEEN_REFRESHES, Lifetimes, Memory
from gateway.sources.reading import Origin, Read, Reading

K = TypeVar("K", str, CareUnitKey)
T = TypeVar("T", CareUnit, Resource, HealthcareService)

# What one item takes as a struct, as a GraphQL object and in the index, and what answers may keep of it as bytes.
_ITEM_BYTES = 1_200
_RENDERED_ITEM_BYTES = 300
_LIST_BYTES = 1_000


class Listed(Generic[T]):
    """A list by Leyr id, in Leyr's order; of several items with one id the first counts.

    `views` is for whoever makes something of the items, to be kept as long as they are.
    """

    __slots__ = ("items", "rendered", "views")

    def __init__(self, items: Iterable[T]) -> None:
        self.items: dict[str, T] = {}
        for item in items:
            self.items.setdefault(item.id, item)
        self.rendered = Rendered(len(self.items) * _RENDERED_ITEM_BYTES)
        self.views: Any = None


@dataclass(slots=True)
class _Kept(Generic[T]):
    listed: Listed[T]
    fetched_at: float
    refreshed_at: float
    is_overdue: bool = False


Given: TypeAlias = Listed[T] | asyncio.Future[Listed[T]]


class RememberedLists(Generic[K, T]):
    """The lists of one endpoint."""

    def __init__(
        self,
        endpoint: str,
        fetch: Callable[[K], Awaitable[Iterable[T]]],
        *,
        lifetimes: Lifetimes,
        memory: Memory,
        clock: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._fetch: Callable[[K], Awaitable[Iterable[T]]] = fetch
        self._lifetimes = lifetimes
        self._memory = memory
        self._clock = clock
        self._kept: dict[K, _Kept[T]] = {}
        self._flights: dict[K, Flight[Listed[T]]] = {}

    def get(self, key: K, reading: Reading) -> Given[T]:
        """The list, now or later; the future raises domain errors.

        Raises OperationTooLarge where it is not known and the request has no calls left.
        """
        now = self._clock()
        kept = self._kept.get(key) if reading.may_remember else None
        if kept is not None:
            age = now - kept.fetched_at
            if age < self._lifetimes.fresh:
                return self._given(key, kept, Origin.CACHED, reading)
            if age < self._lifetimes.served:
                due = now - kept.refreshed_at >= SECONDS_BETWEEN_REFRESHES and key not in self._flights
                if due and reading.has_calls_left:
                    # Nobody waits for a refresh, so it holds itself.
                    reading.take()
                    kept.refreshed_at = now
                    self._launch(key, now)
                return self._given(key, kept, Origin.STALE, reading)
        return self._fetched(key, now, reading)

    def known(self, key: K, reading: Reading) -> Listed[T] | None:
        """The list, where it would be given at once."""
        kept = self._kept.get(key) if reading.may_remember else None
        there = kept is not None and self._clock() - kept.fetched_at < self._lifetimes.served
        return kept.listed if kept is not None and there else None

    def _given(self, key: K, kept: _Kept[T], origin: Origin, reading: Reading) -> Listed[T]:
        self._memory.used((self._endpoint, key))
        read = Read(self._endpoint, _subject(key), origin, kept.fetched_at, kept.is_overdue)
        reading.note(read, kept.fetched_at + self._lifetimes.fresh)
        return kept.listed

    def _fetched(self, key: K, now: float, reading: Reading) -> "asyncio.Future[Listed[T]]":
        reading.take()
        flight, origin = self._flights.get(key), Origin.JOINED
        if flight is None or not flight.joinable or flight.started < reading.since:
            flight, origin = self._launch(key, now), Origin.FETCHED
        else:
            flight.hold()
        reading.hold(flight)
        read = Read(self._endpoint, _subject(key), origin, flight.started)
        reading.note(read, flight.started + self._lifetimes.fresh)
        return reading.wait_for(flight.outcome())

    def _launch(self, key: K, now: float) -> Flight[Listed[T]]:
        flight: Flight[Listed[T]] = Flight(self._call(key, now), now, partial(self._landed, key))
        self._flights[key] = flight
        return flight

    async def _call(self, key: K, now: float) -> Listed[T]:
        listed = Listed(await self._fetch(key))
        if self._lifetimes.fresh:
            self._keep(key, listed, now)
        return listed

    def _keep(self, key: K, listed: Listed[T], fetched_at: float) -> None:
        earlier = self._kept.get(key)
        if earlier is not None and earlier.fetched_at > fetched_at:
            return
        size = _LIST_BYTES + len(listed.items) * (_ITEM_BYTES + _RENDERED_ITEM_BYTES)
        if self._memory.keep((self._endpoint, key), size, lambda: self._forget(key)):
            self._kept[key] = _Kept(listed, fetched_at, fetched_at)
        else:
            self._forget(key)

    def _forget(self, key: K) -> None:
        self._kept.pop(key, None)

    def _landed(self, key: K, flight: Flight[Listed[T]]) -> None:
        kept = self._kept.get(key)
        if kept is not None and flight.answer is None and flight.joinable:
            kept.is_overdue = True
        if self._flights.get(key) is flight:
            del self._flights[key]


class Catalog:
    """The three lists of Leyr that change rarely."""

    def __init__(
        self, backend: SchedulingBackend, *, lifetimes: Lifetimes, memory: Memory, clock: Callable[[], float]
    ) -> None:
        self.care_units: RememberedLists[str, CareUnit] = RememberedLists(
            "care-units", backend.care_units, lifetimes=lifetimes, memory=memory, clock=clock
        )
        self.resources: RememberedLists[CareUnitKey, Resource] = RememberedLists(
            "resources", backend.resources, lifetimes=lifetimes, memory=memory, clock=clock
        )
        self.healthcare_services: RememberedLists[CareUnitKey, HealthcareService] = RememberedLists(
            "healthcare-services", backend.healthcare_services, lifetimes=lifetimes, memory=memory, clock=clock
        )


def _subject(key: str | CareUnitKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)
