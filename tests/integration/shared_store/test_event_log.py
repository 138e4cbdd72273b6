"""Event logs over a real server: of several who want to append after the same event one does, and all hear of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from os import urandom
from pathlib import Path
from time import monotonic

import pytest

from gateway.shared_store.address import StoreAddress
from gateway.shared_store.connection import ServerConnection
from gateway.shared_store.errors import AwayReason
from gateway.shared_store.event_log import BEFORE_ALL, Appended, EventLogs, EventMessage, LogPage, NewEvent, NewValue
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore, StoreConfig
from tests.stores import Store, running_store


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


class Heard:
    def __init__(self) -> None:
        self.events: list[str] = []

    def store_up(self) -> None:
        self.events.append("up")

    def store_away(self, reason: AwayReason) -> None:
        self.events.append(reason)

    def store_refused(self, kind: str) -> None:
        self.events.append(kind)

    def store_garbage(self) -> None:
        self.events.append("garbage")


@asynccontextmanager
async def process(path: Path, secret: bytes = b"secret") -> AsyncIterator[tuple[EventLogs, list[EventMessage]]]:
    heard: list[EventMessage] = []
    store = SharedStore(
        StoreConfig(StoreAddress(path=str(path))),
        Heard(),
        connect=ServerConnection.open,
        clock=monotonic,
        new_secret=lambda: urandom(32),
        chance=lambda: 0.5,
    )
    logs = EventLogs(store, Sealing(secret, ("test",), lambda: urandom(32)))
    logs.follow(heard.append)
    up = asyncio.Event()
    store.on_up(up.set)
    async with store:
        async with asyncio.timeout(10):
            await up.wait()
        yield logs, heard


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.mark.anyio
async def test_of_processes_that_append_after_the_same_event_one_does_and_all_hear_of_it(server: Store) -> None:
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(process(server.socket)) for _ in range(4)]
        name = fleet[0][0].sealing.name("log", "one")
        answers = await asyncio.gather(
            *(
                logs.append(name, [NewEvent(b"began %d" % place, f"l{place}")], after=BEFORE_ALL)
                for place, (logs, _) in enumerate(fleet)
            )
        )
        (done,) = [each for each in answers if isinstance(each, Appended)]
        others = [each for each in answers if isinstance(each, LogPage)]
        assert len(others) == 3
        assert all(page.events[0].position == done.position for page in others)
        for logs, heard in fleet:
            await until(lambda heard=heard: bool(heard))  # type: ignore[misc] # bound at once
            assert logs.opened(heard[0]) == others[0].events[0].event


@pytest.mark.anyio
async def test_a_value_opens_under_its_own_name_and_for_its_own_secret_alone(server: Store) -> None:
    async with process(server.socket) as (logs, _), process(server.socket, b"other") as (strangers, _):
        name, other = logs.sealing.name("value", "a"), logs.sealing.name("value", "b")
        await logs.append(
            logs.sealing.name("log", "two"), [NewEvent(b"landed")], value=NewValue(name, b"slots", 10_000)
        )
        assert await logs.values([name, other]) == [b"slots", None]
        assert await strangers.values([name]) == [None]
