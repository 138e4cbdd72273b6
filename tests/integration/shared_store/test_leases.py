"""Waiting for what another process has begun: until it ended, its process died, or the store went away."""

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest

from gateway.shared_store.errors import StoreAwayError
from gateway.shared_store.event_log import BEFORE_ALL, Appended, Position
from tests.integration.shared_store.processes import Process, process
from tests.stores import Store, running_store, until


async def begun(holder: Process, log: str) -> tuple[Position, str]:
    """The event with which a process begins something, and its lease."""
    lease = holder.leases.new()
    appended = await holder.logs.append(log, b"began", after=BEFORE_ALL, lease=lease)
    assert isinstance(appended, Appended)
    holder.leases.hold(lease)
    return appended.position, lease


@pytest.mark.anyio
async def test_all_who_wait_return_with_the_next_event(server: Store) -> None:
    async with AsyncExitStack() as stack:
        holder, *others = [await stack.enter_async_context(process(server.socket)) for _ in range(4)]
        log = holder.logs.sealing.name("log", "landed")
        position, lease = await begun(holder, log)
        waits = [asyncio.create_task(each.leases.newer(log, position, [lease])) for each in others for _ in range(3)]

        # Longer than a lease that nobody renews.
        _, pending = await asyncio.wait(waits, timeout=1.5)
        assert len(pending) == len(waits)
        holder.logs.tell(log, b"landed")
        holder.leases.end(lease)

        async with asyncio.timeout(5):
            assert [list(each) for each in await asyncio.gather(*waits)] == [[]] * len(waits)


@pytest.mark.anyio
async def test_an_event_that_came_before_the_wait_is_not_waited_for(server: Store) -> None:
    async with process(server.socket) as holder, process(server.socket) as other:
        log = holder.logs.sealing.name("log", "early")
        position, lease = await begun(holder, log)
        await holder.logs.append(log, b"landed")
        # What comes after the message on the same connection has come after it.
        await other.logs.read(log)

        async with asyncio.timeout(5):
            assert list(await other.leases.newer(log, position, [lease])) == []
        holder.leases.end(lease)


@pytest.mark.anyio
async def test_a_lease_that_ended_without_an_event_is_told(server: Store) -> None:
    async with process(server.socket) as holder, process(server.socket) as other:
        log = holder.logs.sealing.name("log", "ended")
        position, lease = await begun(holder, log)
        waiting = asyncio.create_task(other.leases.newer(log, position, [lease]))
        await asyncio.sleep(0.1)
        holder.leases.end(lease)

        async with asyncio.timeout(5):
            assert list(await waiting) == [lease]
            assert list(await other.leases.newer(log, position, [lease])) == [lease]


@pytest.mark.anyio
async def test_a_lease_of_a_process_that_is_gone_ends_by_itself(server: Store) -> None:
    async with process(server.socket) as other:
        async with process(server.socket) as holder:
            log = holder.logs.sealing.name("log", "gone")
            position, lease = await begun(holder, log)
        async with asyncio.timeout(5):
            assert list(await other.leases.newer(log, position, [lease])) == [lease]


@pytest.mark.anyio
async def test_all_who_wait_are_told_when_the_store_goes_away() -> None:
    with running_store() as server:
        async with process(server.socket, seconds=0.15) as holder, process(server.socket, seconds=0.15) as other:
            for number, stop in ((signal.SIGSTOP, True), (signal.SIGKILL, False)):
                log = holder.logs.sealing.name("log", str(number))
                position, lease = await begun(holder, log)
                waits = [asyncio.create_task(other.leases.newer(log, position, [lease])) for _ in range(3)]
                await asyncio.sleep(0.1)
                server.signal(number)

                async with asyncio.timeout(5):
                    for each in waits:
                        with pytest.raises(StoreAwayError):
                            await each
                holder.leases.end(lease)
                if stop:
                    server.signal(signal.SIGCONT)
                    await until(lambda: holder.store.is_up and other.store.is_up)


@pytest.mark.anyio
async def test_a_wait_that_is_cancelled_leaves_nothing_behind(server: Store) -> None:
    async with process(server.socket) as holder, process(server.socket) as other:
        log = holder.logs.sealing.name("log", "cancelled")
        position, lease = await begun(holder, log)
        for seconds in (0, 0.001, 0.1):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await other.leases.newer(log, position, [lease])
        holder.leases.end(lease)
        await asyncio.sleep(0)
        left = {each for each in asyncio.all_tasks() if "Leases" in repr(each)}
        assert left == set()
