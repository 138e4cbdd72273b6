"""Gateways in one event loop that share a real store, each with a clock of its own that stands still until moved."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from os import urandom
from pathlib import Path
from typing import Any

from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from gateway.fetch.shared_timeslots import SharedTimeslots
from gateway.shared_store.address import StoreAddress
from gateway.shared_store.connection import ServerConnection
from gateway.shared_store.errors import AwayReason, StoreAwayError
from gateway.shared_store.event_log import EventLogs
from gateway.shared_store.leases import Leases
from gateway.shared_store.reads import ReadOutcome, SharedRead
from gateway.shared_store.script import Script
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.server_clock import ServerClock
from gateway.shared_store.store import SharedStore, StoreConfig
from tests.stores import until
from tests.unit.asking import Gateway

_PROBE = Script("return 1", only_reads=True)
_TURNS = 40
_MOST_ROUNDS = 500


class Silent:
    """Hears of the store, and says nothing."""

    def store_up(self) -> None: ...

    def store_away(self, reason: AwayReason) -> None: ...

    def store_refused(self, kind: str) -> None: ...

    def store_garbage(self) -> None: ...

    def shared_read(self, what: SharedRead, outcome: ReadOutcome) -> None: ...


class FixedClock(ServerClock):
    """The server's clock is that of the test, which this process's is ahead of by a fixed time."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self._ahead = ahead

    def note(self, sent: float, received: float, server_time: int) -> bool:  # noqa: ARG002 # the base's signature
        return False

    def to_server(self, seconds: float) -> int:
        return round((seconds - self._ahead) * 1_000_000)

    def to_local(self, server_time: int) -> float:
        return server_time / 1_000_000 + self._ahead


class Shifted:
    """An EHR as a gateway sees it whose clock is ahead of the test's."""

    def __init__(self, ehr: SchedulingBackend, ahead: float) -> None:
        self._ehr = ehr
        self._ahead = ahead

    async def timeslots(self, step: Step) -> TimeslotList:
        answer = (await self._ehr.timeslots(step)).copy()
        if answer.began is not None:
            answer.began += self._ahead
        if answer.last_began is not None:
            answer.last_began += self._ahead
        return answer

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        return await self._ehr.care_units(emr)

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        return await self._ehr.resources(care_unit)

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        return await self._ehr.healthcare_services(care_unit)


class Link:
    """A gateway's way to the store, which a test may cut and mend."""

    def __init__(self) -> None:
        self._is_cut = False
        self._connection: ServerConnection | None = None

    async def open(self, address: StoreAddress, seconds: float) -> ServerConnection:
        if self._is_cut:
            raise StoreAwayError(AwayReason.UNREACHABLE)
        self._connection = await ServerConnection.open(address, seconds)
        return self._connection

    def cut(self) -> None:
        self._is_cut = True
        if self._connection is not None:
            self._connection.connection_lost(None)

    def mend(self) -> None:
        self._is_cut = False


class HeldLeases(Leases):
    """Leases of which a test sees which are held."""

    def __init__(self, *others: Any) -> None:
        super().__init__(*others)
        self.held: set[str] = set()

    def hold(self, lease: str) -> None:
        self.held.add(lease)
        super().hold(lease)

    def end(self, lease: str) -> None:
        self.held.discard(lease)
        super().end(lease)


class Fleet:
    """So many gateways over one store; `now` is the test's clock."""

    def __init__(
        self,
        count: int,
        socket: Path,
        ehr: SchedulingBackend,
        profiles: Callable[[], Profiles],
        lifetimes: Lifetimes,
        now: Callable[[], float],
        *,
        most_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        # Another secret has other names, so that no example meets what another one left.
        secret, self._answers, self._stack = urandom(32), 0, AsyncExitStack()
        self.gateways: list[Gateway] = []
        self.stores: list[SharedStore] = []
        self.logs: list[EventLogs] = []
        self.links: list[Link] = []
        self.leases: list[HeldLeases] = []
        for number in range(count):
            ahead = 100.0 * number
            clock = _ahead(now, ahead)
            gateway = Gateway(Shifted(ehr, ahead), profiles(), lifetimes, most_bytes=most_bytes, clock=clock)
            link = Link()
            store = SharedStore(
                StoreConfig(StoreAddress(path=str(socket)), timeout_seconds=20),
                Silent(),
                connect=link.open,
                clock=clock,
                new_secret=_secret,
                chance=lambda: 0.0,
            )
            store.clock = FixedClock(ahead)
            store.on_answer(self._count)
            logs = EventLogs(store, Sealing(secret, ("fleet",), _secret), lease_milliseconds=60_000)
            leases = HeldLeases(logs, _secret)
            shared = SharedTimeslots(gateway.calls, logs, leases, Silent(), new_secret=_secret, clock=clock)
            if lifetimes.fresh:
                gateway.calls.share(shared)
            self.gateways.append(gateway)
            self.stores.append(store)
            self.logs.append(logs)
            self.links.append(link)
            self.leases.append(leases)

    def _count(self, _: float) -> None:
        self._answers += 1

    @property
    def answers(self) -> int:
        """How much the store has answered to all of them."""
        return self._answers

    async def start(self) -> None:
        ready = [asyncio.Event() for _ in self.stores]
        for store, up in zip(self.stores, ready, strict=True):
            store.on_up(up.set)
            await self._stack.enter_async_context(store)
        for up in ready:
            await asyncio.wait_for(up.wait(), 20)

    def cut(self, number: int) -> None:
        """Let one gateway lose the store; it finds it again when that is mended."""
        self.links[number].cut()
        assert not self.stores[number].is_up

    async def mend(self, number: int) -> None:
        self.links[number].mend()
        await until(lambda: self.stores[number].is_up)
        await self.settle()

    async def stop(self) -> None:
        await self._stack.aclose()

    async def settle(self) -> None:
        """Wait until all that was said has been heard, and what follows from it has been done."""
        quiet = 0
        for _ in range(_MOST_ROUNDS):
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            before = self._answers
            await asyncio.gather(*(store.run(_PROBE, [], []) for store in self.stores if store.is_up))
            quiet = quiet + 1 if self._answers - before <= len(self.stores) else 0
            if quiet > 1:
                return
        raise AssertionError("the store is never quiet")


def _ahead(now: Callable[[], float], ahead: float) -> Callable[[], float]:
    return lambda: now() + ahead


def _secret() -> bytes:
    return urandom(32)
