"""Event logs over a real server: of several who want to append after the same event one does, and all hear of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from os import urandom
from pathlib import Path

import pytest

from gateway.shared_store.errors import StoreRefusedError
from gateway.shared_store.event_log import BEFORE_ALL, Appended, EventLogs, EventMessage, LogPage, NewValue
from gateway.shared_store.sealing import Sealing
from tests.stores import Heard, Store, store_at, store_up, until


@asynccontextmanager
async def process(
    path: Path, secret: bytes = b"secret", happened: Heard | None = None
) -> AsyncIterator[tuple[EventLogs, list[EventMessage]]]:
    heard: list[EventMessage] = []
    events = happened or Heard()
    store = store_at(path, events)
    logs = EventLogs(store, Sealing(secret, ("test",), lambda: urandom(32), events.store_garbage))
    logs.follow(heard.append)
    async with store_up(store):
        yield logs, heard


@pytest.mark.anyio
async def test_of_processes_that_append_after_the_same_event_one_does_and_all_hear_of_it(server: Store) -> None:
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(process(server.socket)) for _ in range(4)]
        name = fleet[0][0].sealing.name("log", "one")
        answers = await asyncio.gather(
            *(
                logs.append(name, b"began %d" % place, after=BEFORE_ALL, lease=f"l{place}")
                for place, (logs, _) in enumerate(fleet)
            )
        )
        (done,) = [each for each in answers if isinstance(each, Appended)]
        others = [each for each in answers if isinstance(each, LogPage)]
        assert len(others) == 3
        assert all(page.events[0].position == done.position for page in others)
        for _, heard in fleet:
            await until(lambda heard=heard: bool(heard))  # type: ignore[misc] # bound at once
            assert heard[0].event == others[0].events[0].event


@pytest.mark.anyio
async def test_a_value_opens_under_its_own_name_and_for_its_own_secret_alone(server: Store) -> None:
    async with process(server.socket) as (logs, _), process(server.socket, b"other") as (strangers, _):
        name, other = logs.sealing.name("value", "a"), logs.sealing.name("value", "b")
        await logs.append(logs.sealing.name("log", "two"), b"landed", value=NewValue(name, b"slots", 10_000))
        assert await logs.values([name, other]) == [b"slots", None]
        assert await strangers.values([name]) == [None]


@pytest.mark.anyio
async def test_what_others_write_to_a_log_is_garbage_and_is_counted(server: Store) -> None:
    happened = Heard()
    async with process(server.socket, happened=happened) as (logs, heard):
        name = logs.sealing.name("log", "three")
        server.command("XADD", f"leyr-gateway:log:{name}", "1-1", "a", "b", "c", "d")
        server.command("XADD", f"leyr-gateway:log:{name}", "2-1", "e", "forged")
        page = await logs.read(name)
        assert [each.event for each in page.events] == [None, None]
        for message in ("", "a|b", "a|1-1|x|y", f"{name}|0-0|1-1|forged", "\udcff".encode("utf-8", "replace").decode()):
            server.command("PUBLISH", "leyr-gateway:events", message)
        await until(lambda: len(heard) == 1)
        assert heard[0].event is None
        await until(lambda: happened.events.count("garbage") == 7)


@pytest.mark.anyio
async def test_a_log_that_somebody_made_something_else_is_begun_anew(server: Store) -> None:
    async with process(server.socket) as (logs, _):
        name = logs.sealing.name("log", "four")
        server.command("SET", f"leyr-gateway:log:{name}", "text")
        with pytest.raises(StoreRefusedError):
            await logs.read(name)
        assert isinstance(await logs.append(name, b"began", after=BEFORE_ALL), Appended)
        assert [each.event for each in (await logs.read(name)).events] == [b"began"]


@pytest.mark.anyio
async def test_thousands_of_values_and_leases_are_read_at_once(server: Store) -> None:
    async with process(server.socket) as (logs, _):
        names = [logs.sealing.name("value", str(number)) for number in range(9_000)]
        await logs.append("five", b"x", lease="held", value=NewValue(names[8_500], b"there", 10_000))
        found = await logs.values(names)
        assert (len(found), found[8_500], found.count(None)) == (9_000, b"there", 8_999)
        assert await logs.alive(["held", *names]) == [True, *([False] * 9_000)]
