"""ConnectionPool: idle connections expire, and closed ones leave nothing in memory."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import httptools
import pytest

from gateway.http_client.connection import HttpConnection
from gateway.http_client.pool import ConnectionPool
from tests.unit.http_client.scripted_server import (
    MAX_BYTES,
    OK,
    RESPONSE,
    Peer,
    Script,
    Server,
    answering,
    bodies,
    closing_after,
    pool,
    silent,
    sized,
    until,
)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


Left: TypeAlias = Callable[[], list[Any]]


@pytest.fixture
def left() -> Iterator[Left]:
    """What there is of connections that was not there before; the collector does not come meanwhile."""
    gc.collect()
    before = {id(each): each for each in of_connections()}
    gc.disable()
    yield lambda: [each for each in of_connections() if id(each) not in before]
    gc.enable()


def of_connections() -> list[Any]:
    return [each for each in gc.get_objects() if type(each) in {HttpConnection, httptools.HttpResponseParser}]


async def asked(connections: ConnectionPool, calls: int) -> None:
    """So many calls at once."""
    await asyncio.gather(*(connections.get("/", max_bytes=MAX_BYTES) for _ in range(calls)))


async def cancelled(calls: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel all of them."""
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def a_moment_later(peer: Peer) -> None:
    """Responds long after those that respond at once."""
    await peer.request()
    await asyncio.sleep(0.05)
    await peer.send(RESPONSE)
    await peer.abandoned()


async def half(peer: Peer) -> None:
    """Sends the beginning of a response."""
    await peer.request()
    await peer.send(OK + b"content-length: 4\r\n\r\n[1")
    await peer.abandoned()


async def test_idle_connections_are_closed_after_their_expiry_without_further_calls() -> None:
    async with Server(answering(RESPONSE)) as server, pool(server, keepalive_expiry_seconds=0.05) as connections:
        await asked(connections, 3)
        await until(lambda: server.open == 0)
        assert await bodies(connections, 1) == [b"[1]"]
        await until(lambda: server.open == 0)

    assert server.connections == 4


async def test_connections_that_became_idle_later_are_closed_too() -> None:
    async with (
        Server(answering(RESPONSE), a_moment_later) as server,
        pool(server, keepalive_expiry_seconds=0.08) as connections,
    ):
        await asked(connections, 2)
        await until(lambda: server.open == 0)

    assert server.connections == 2


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("is_closed", [True, False])
async def test_no_timer_refers_to_a_pool_that_is_closed_or_empty(is_closed: bool) -> None:
    async with Server(answering(RESPONSE)) as server:
        connections = ConnectionPool(server.url, {}, keepalive_expiry_seconds=60 if is_closed else 0.05)
        await asked(connections, 3)
        if is_closed:
            await connections.close()
        await until(lambda: server.open == 0)
        closed = weakref.ref(connections)

        # A timer would hold it.
        del connections
        assert closed() is None


@pytest.mark.parametrize(
    "script",
    [silent, half, closing_after(), closing_after(OK, reset=True), closing_after(sized(b"[1]", b"connection: close"))],
    ids=["silent", "half", "cut", "reset", "whole"],
)
async def test_a_closed_connection_is_freed_without_the_garbage_collector(script: Script, left: Left) -> None:
    async with Server(script) as server, pool(server) as connections:
        for _ in range(2):
            calls = [connections.get("/", max_bytes=MAX_BYTES, timeout_seconds=0.3) for _ in range(5)]
            await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: server.open == 0 and left() == [])


# asyncio's own `create_connection` keeps what was cancelled in cycles of its own.
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
@pytest.mark.parametrize("turns", range(3, 10))
async def test_a_cancelled_call_is_freed_without_the_garbage_collector(turns: int, left: Left) -> None:
    async with Server(silent) as server, pool(server) as connections:
        calls = [asyncio.create_task(asked(connections, 1)) for _ in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancelled(calls)
        # What was cancelled knows where.
        calls.clear()
        await until(lambda: server.connections == 20 and server.open == 0 and left() == [])
