"""Catalogues of several processes over one real store, in one event loop."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from os import urandom
from pathlib import Path
from time import monotonic
from typing import Self

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import RateLimited, UpstreamUnavailable
from gateway.domain.models import CareUnitKey, Items, Resource
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog, CatalogList
from gateway.fetch.fetch_scope import CacheStatus, FetchScope, ReadTime
from gateway.fetch.shared_lists import ListSharing, SharedLists
from gateway.shared_store.reads import ReadOutcome, SharedRead
from tests.integration.shared_store.processes import Process, process
from tests.unit.model_ehr import UNIT, ModelEhr

MINUTES = Lifetimes(300, 86_400)


class Staff(ModelEhr):
    """A clinic whose people change; it answers when it is told to, or at once."""

    def __init__(self) -> None:
        super().__init__([], EhrProfile("model", "Model"))
        self.names = ["r1"]
        self.is_sick = False
        self.dropped = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked_at = 0.0
        self.asked: Counter[CareUnitKey] = Counter()

    @property
    def count(self) -> int:
        """How many calls there were."""
        return self.asked.total()

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        self.asked[care_unit] += 1
        self.asked_at = monotonic()
        names, is_sick, dropped = list(self.names), self.is_sick, self.dropped
        await self.gate.wait()
        if is_sick:
            raise UpstreamUnavailable("sick")
        return Items((Resource(each, name=f"{each} of the staff") for each in names), dropped)


@dataclass
class Answer:
    """What one request got."""

    names: list[str]
    origin: CacheStatus
    fetched_at: float
    dropped: int

    @property
    def instant(self) -> int:
        """When it was requested, as all processes say."""
        assert isinstance(self.fetched_at, ReadTime)
        return self.fetched_at.microseconds


def cached(catalog: Catalog, unit: CareUnitKey = UNIT) -> list[str] | None:
    """The ids that a request would get without waiting."""
    listed = catalog.resources.known(unit, FetchScope(monotonic()))
    return None if listed is None else list(listed.items)


async def ask(
    catalog: Catalog,
    unit: CareUnitKey = UNIT,
    *,
    no_cache: bool = False,
    take_calls: Callable[[int], None] | None = None,
) -> Answer:
    """What one request gets."""
    now = monotonic()
    scope = FetchScope(now, now) if no_cache else FetchScope(now)
    scope.take_calls = take_calls
    try:
        given = catalog.resources.get(unit, scope)
        listed = given if isinstance(given, CatalogList) else await given
        (read,) = scope.reads
        assert scope.catalog_as_of == read.fetched_at
        return Answer(list(listed.items), read.origin, scope.catalog_as_of, listed.dropped)
    finally:
        scope.close()


@dataclass
class Gateway:
    """The catalogue of one process."""

    process: Process
    catalog: Catalog
    outcomes: list[ReadOutcome]
    calls_left: float = inf
    taken: int = 0
    """How many calls were taken from the callers' budget."""

    def cached(self) -> list[str] | None:
        """The ids that a request would get without waiting."""
        return cached(self.catalog)

    async def ask(self, *, no_cache: bool = False) -> Answer:
        """What one request gets."""
        return await ask(self.catalog, no_cache=no_cache, take_calls=self._take_calls)

    def _take_calls(self, calls: int) -> None:
        if calls > self.calls_left:
            raise RateLimited("too many calls", retry_after=1)
        self.taken += calls
        self.calls_left -= calls


@dataclass
class Told:
    """What came of looking into the store."""

    outcomes: list[ReadOutcome] = field(default_factory=list)

    def shared_read(self, what: SharedRead, outcome: ReadOutcome) -> None:
        assert what is SharedRead.LIST
        self.outcomes.append(outcome)


@dataclass
class Fleet:
    """Catalogues over one store, under a secret of their own; an async context manager."""

    path: Path
    seconds: float = 2.0
    secret: bytes = field(default_factory=lambda: urandom(16))
    lease_milliseconds: int = 1_000
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def join(
        self, clinic: SchedulingBackend, lifetimes: Lifetimes = MINUTES, *, secret: bytes | None = None
    ) -> Gateway:
        """A further process, which is connected."""
        entered = process(
            self.path,
            secret=secret or self.secret,
            seconds=self.seconds,
            lease_milliseconds=self.lease_milliseconds,
        )
        joined = await self._stack.enter_async_context(entered)
        told = Told()
        sharing = ListSharing(joined.logs, joined.leases, told, monotonic)
        config = CacheConfig(lifetimes, CacheBudget(100_000_000), monotonic)
        return Gateway(joined, Catalog(clinic, config, lambda *which: SharedLists(sharing, *which)), told.outcomes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()
