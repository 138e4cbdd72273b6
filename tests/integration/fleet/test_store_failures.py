"""What a client sees of a shared store that hangs, dies, forgets, is full or refuses: nothing but right answers."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import Simulator
from tests.integration.booking.page import TOLVAN, new_key
from tests.integration.fleet.conftest import Client, Process, Start, at_once, midnight, serves, until
from tests.stand_ins.store_proxy import Rewrite, StoreProxy
from tests.stores import Store, running_store

UNIT = care_unit_id(CareUnitKey("webdoc", "L0_2"))
PATH = "/emrs/webdoc/care-units/L0_2/timeslots"
WEEK = (1, 8)
MOST_SECONDS_OVER = 0.2
# Of a machine that does other things too.
SLACK = 1.5
BOOK = "mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) { __typename } }"


class Proxied:
    """A proxy in front of a store, on a thread of its own."""

    def __init__(self, proxy: StoreProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self._loop = loop

    @property
    def url(self) -> str:
        return f"unix://{self.proxy.path}"

    def do(self, what: Callable[[], None]) -> None:
        """Do something on the proxy's loop."""

        async def run() -> None:
            what()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)


@contextmanager
def proxied(store: Store) -> Iterator[Proxied]:
    with TemporaryDirectory(prefix="proxy") as folder:
        loop = asyncio.new_event_loop()
        proxy = StoreProxy(store.socket, Path(folder, "s"))
        thread = Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(10)
        try:
            yield Proxied(proxy, loop)
        finally:
            asyncio.run_coroutine_threadsafe(proxy.__aexit__(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@dataclass(frozen=True)
class Beside:
    """Gateways over a store that a test spoils, one that shares nothing, and two that the store does not let in."""

    processes: Sequence[Process]
    alone: Client
    store: Store
    proxy: Proxied
    unknown: Process
    reader: Process

    @property
    def clients(self) -> Sequence[Client]:
        return [each.client for each in self.processes]

    def away(self, times: Sequence[int], event: str = "shared_store.away") -> None:
        """Wait until each process has said an event once more than it had."""
        for each, before in zip(self.processes, times, strict=True):
            until(lambda each=each, before=before: each.serving.events()[event] > before)  # type: ignore[misc] # of this round

    def said(self, event: str) -> Sequence[int]:
        return [each.serving.events()[event] for each in self.processes]


@pytest.fixture(scope="module")
def beside(start: Start) -> Iterator[Beside]:
    guarded = ("--requirepass", "right", "--user", "reader", "on", ">right", "~*", "&*", "+@all", "-@write")
    with running_store() as store, running_store(*guarded) as locked, proxied(store) as proxy:
        processes = [start(GATEWAY_SHARED_URL=proxy.url) for _ in range(2)]
        alone = start()
        unknown = start(GATEWAY_SHARED_URL=locked.url, GATEWAY_SHARED_PASSWORD="wrong")
        reader = start(GATEWAY_SHARED_URL=locked.url, GATEWAY_SHARED_USERNAME="reader", GATEWAY_SHARED_PASSWORD="right")
        for each in processes:
            serves(each).said("shared_store.up")
        yield Beside(processes, serves(alone).client, store, proxy, serves(unknown), serves(reader))


def timed(client: Client) -> tuple[float, Any]:
    """How long it takes to read a week anew, and what a page shows of it."""
    began = monotonic()
    page = client.page(UNIT, WEEK, **{"cache-control": "no-cache"})
    return monotonic() - began, page["timeslots"]


def assert_right(
    clients: Sequence[Client], beside: Beside, simulator: Simulator, spoils: Sequence[Callable[[], object]]
) -> None:
    """Ask gateways after each of some things that spoil the store, beside one that shares nothing."""
    ordinary, seconds = list[float](), list[float]()
    for number, spoil in enumerate(spoils):
        spoil()
        free = simulator.rest(PATH, start=midnight(WEEK[0]), end=midnight(WEEK[1]))
        truth = {(datetime.fromisoformat(each["start"]), each["resource_id"]) for each in free}

        (alone, slots), *found = at_once([partial(timed, each) for each in (beside.alone, *clients)], len(clients) + 1)

        for _, shown in found:
            starts = {(datetime.fromisoformat(each["start"]), each["resource"]["leyrId"]) for each in shown}
            assert starts == truth, number
        ordinary.append(alone)
        seconds += [took for took, _ in found]
        # So that an older answer would be another.
        wish = {"timeslotIds": [slots[0]["id"]], "patient": TOLVAN, "idempotencyKey": new_key()}
        assert beside.alone.data(BOOK, input=wish)["bookAppointment"]["__typename"] == "AppointmentBooked"
    assert median(seconds) <= SLACK * median(ordinary) + MOST_SECONDS_OVER, (seconds, ordinary)


def nothing() -> None:
    """Spoil nothing."""


def test_a_store_that_hangs_delays_no_answer(beside: Beside, simulator: Simulator) -> None:
    up, away = beside.said("shared_store.up"), beside.said("shared_store.away")
    beside.store.signal(signal.SIGSTOP)
    try:
        assert_right(beside.clients, beside, simulator, [nothing] * 3)
        beside.away(away)
    finally:
        beside.store.signal(signal.SIGCONT)
    beside.away(up, "shared_store.up")


def test_a_store_that_is_killed_and_starts_again_with_nothing_delays_no_answer(
    beside: Beside, simulator: Simulator
) -> None:
    up = beside.said("shared_store.up")

    assert_right(beside.clients, beside, simulator, [beside.store.kill, nothing, beside.store.start, nothing, nothing])

    beside.away(up, "shared_store.up")


def test_a_store_that_forgets_or_is_full_delays_no_answer(beside: Beside, simulator: Simulator) -> None:
    commands = (
        ("FLUSHALL",), ("SCRIPT", "FLUSH"), ("CONFIG", "SET", "maxmemory", "2mb"), ("CONFIG", "SET", "maxmemory", "1"),
        ("CONFIG", "SET", "maxmemory", "0"),
    )  # fmt: skip

    assert_right(beside.clients, beside, simulator, [partial(beside.store.command, *each) for each in commands])

    for each in beside.processes:
        assert {line["kind"] for line in each.serving.lines("shared_store.refused")} == {"OOM"}


def test_a_connection_that_is_cut_drips_or_swaps_replies_delays_no_answer(beside: Beside, simulator: Simulator) -> None:
    proxy = beside.proxy.proxy

    def swap(replies: Sequence[bytes]) -> Sequence[bytes]:
        return [*replies][::-1]

    def be(pause: float = 0.0, rewrite: Rewrite = list) -> None:
        proxy.pause, proxy.rewrite = pause, rewrite

    spoils: list[Callable[[], None]] = [
        proxy.cut,
        partial(be, pause=0.001),
        proxy.cut,
        partial(be, rewrite=swap),
        nothing,
    ]
    up = beside.said("shared_store.up")
    try:
        assert_right(beside.clients, beside, simulator, [partial(beside.proxy.do, each) for each in spoils])
    finally:
        beside.proxy.do(be)
    beside.away(up, "shared_store.up")


def test_a_store_that_lets_nobody_in_or_write_delays_no_answer_and_is_said_once(
    beside: Beside, simulator: Simulator
) -> None:
    assert_right([beside.unknown.client, beside.reader.client], beside, simulator, [nothing] * 3)

    (unknown,) = beside.unknown.serving.lines("shared_store.away")
    assert (unknown["reason"], "GATEWAY_SHARED_PASSWORD" in unknown["action"]) == ("login", True)
    refused = beside.reader.serving.lines("shared_store.refused")
    assert {each["kind"] for each in refused} == {"NOPERM"}
    assert len(refused) == 1
