"""HttpClient: how many connections there may be, and how calls wait for one."""

import asyncio
from random import Random

import pytest

from gateway.http_client.pool import HttpClient, PoolTimeoutError
from tests.unit.http_client.conftest import ClientType
from tests.unit.http_client.scripted_server import (
    MAX_BYTES,
    RESPONSE,
    Peer,
    Server,
    answering,
    bodies,
    opened,
    silent,
    until,
)


def called(connections: HttpClient, number: int, timeout_seconds: float = 60) -> list["asyncio.Task[object]"]:
    return [asyncio.create_task(_get(connections, timeout_seconds)) for _ in range(number)]


async def _get(connections: HttpClient, timeout_seconds: float) -> object:
    return (await connections.get("/", max_bytes=MAX_BYTES, timeout_seconds=timeout_seconds)).body


async def slow(peer: Peer) -> None:
    """Responds to everything a moment later."""
    while await peer.request():
        await asyncio.sleep(0.001)
        await peer.send(RESPONSE)


async def test_more_calls_than_max_connections_wait_for_a_connection(client: ClientType) -> None:
    async with Server(slow) as server, opened(client, server, max_connections=3) as connections:
        found = await asyncio.gather(*called(connections, 60))

    assert found == [b"[1]"] * 60
    assert server.connections == 3


async def test_parts_of_the_host_take_turns_where_all_connections_are_in_use(client: ClientType) -> None:
    async with (
        Server(slow) as server,
        opened(client, server, max_connections=1, pool_timeout_seconds=30) as connections,
    ):
        targets = [*["/emrs/slow/units?a"] * 20, "/emrs/well/units?b", "/emrs/well/units?c"]
        gets = [asyncio.create_task(connections.get(each, max_bytes=MAX_BYTES)) for each in targets]
        await asyncio.gather(*gets)

        order = [head.split(b"?")[1][:1] for head in server.heads]

    assert b"".join(order).startswith(b"aabac")


async def test_a_call_without_a_connection_after_the_pool_timeout_fails_and_sends_nothing(client: ClientType) -> None:
    async with (
        Server(silent) as server,
        opened(client, server, max_connections=2, pool_timeout_seconds=0.01) as connections,
    ):
        calls = called(connections, 2)
        await until(lambda: len(server.heads) == 2)

        with pytest.raises(PoolTimeoutError, match="in use"):
            await bodies(connections, 1)

        assert len(server.heads) == 2
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_the_timeout_of_a_call_includes_the_wait_for_a_connection(client: ClientType) -> None:
    async with (
        Server(silent) as server,
        opened(client, server, max_connections=1, pool_timeout_seconds=5) as connections,
    ):
        calls = called(connections, 1)
        await until(lambda: len(server.heads) == 1)

        with pytest.raises(TimeoutError):
            await connections.get("/", max_bytes=MAX_BYTES, timeout_seconds=0.01)

        # What is left of a call's time is all that its attempt gets.
        late = called(connections, 1, timeout_seconds=0.05)
        await asyncio.sleep(0.01)
        calls[0].cancel()
        assert [type(each) for each in await asyncio.gather(*late, return_exceptions=True)] == [TimeoutError]
        await asyncio.gather(*calls, return_exceptions=True)


async def test_after_the_wait_a_kept_connection_has_the_rest_of_the_timeout(client: ClientType) -> None:
    async def once_slowly(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.35)
        await peer.send(RESPONSE)
        await silent(peer)

    async def passed(pieces: int) -> None:
        # A pause of the machine, however long, takes no more than one of them.
        for _ in range(pieces):
            await asyncio.sleep(0.05)

    async with (
        Server(once_slowly) as server,
        opened(client, server, max_connections=1, pool_timeout_seconds=5) as connections,
    ):
        (first,) = called(connections, 1)
        await until(lambda: len(server.heads) == 1)
        # With all of its time from the moment on when there is a connection it would take 0.75 seconds.
        too_long = asyncio.create_task(passed(13))

        with pytest.raises(TimeoutError):
            await connections.get("/", max_bytes=MAX_BYTES, timeout_seconds=0.4)

        assert not too_long.done()
        too_long.cancel()
        assert await first == b"[1]"


async def test_a_connection_that_fails_releases_its_permit(client: ClientType) -> None:
    async with Server(silent) as server:
        pass

    async with opened(client, server, max_connections=2) as connections:
        for _ in range(5):
            with pytest.raises(OSError, match=r"refused|Connect"):
                await bodies(connections, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_after_1200_cancelled_calls_all_ten_connections_are_usable(client: ClientType, seed: int) -> None:
    rng = Random(seed)  # noqa: S311 # the cases of a test
    async with (
        Server(slow) as server,
        opened(client, server, max_connections=10, pool_timeout_seconds=2) as connections,
    ):
        for _ in range(12):
            calls = called(connections, 100)
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(0)
            for call in rng.sample(calls, 100):
                call.cancel()
                if rng.random() < 0.1:
                    await asyncio.sleep(0)
            await asyncio.gather(*calls, return_exceptions=True)

        assert await asyncio.gather(*called(connections, 20)) == [b"[1]"] * 20
        await until(lambda: server.open <= 10)


async def test_close_fails_the_calls_that_wait_for_a_connection(client: ClientType) -> None:
    async with (
        Server(silent) as server,
        opened(client, server, max_connections=1, pool_timeout_seconds=60) as connections,
    ):
        calls = called(connections, 5)
        await until(lambda: len(server.heads) == 1)
        await connections.close()
        endings = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(ending, ConnectionError) for ending in endings)
    assert not any(isinstance(ending, PoolTimeoutError) for ending in endings)


async def test_calls_that_share_few_connections_get_their_own_responses(client: ClientType) -> None:
    async def echoing(peer: Peer) -> None:
        while head := await peer.request():
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + head.split()[1][1:5])

    async with Server(echoing) as server, opened(client, server, max_connections=4) as connections:
        responses = await asyncio.gather(*(connections.get(f"/{n:04}", max_bytes=MAX_BYTES) for n in range(400)))

    assert [response.body for response in responses] == [b"%04d" % n for n in range(400)]
    assert server.connections == 4


async def test_a_pool_opens_as_many_connections_as_there_are_concurrent_calls(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server, opened(client, server, max_connections=100) as connections:
        assert await asyncio.gather(*called(connections, 100)) == [b"[1]"] * 100

    assert server.connections == 100
