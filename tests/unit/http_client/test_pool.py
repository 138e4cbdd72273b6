"""How many connections there may be, and what becomes of calls that find none free."""

import asyncio
from random import Random

import pytest

from gateway.http_client.pool import ConnectionPool, PoolTimeoutError
from tests.unit.http_client.scripted_server import ANSWER, LARGEST, Peer, Server, answering, bodies, pool, silent, until


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def called(connections: ConnectionPool, number: int, within: float = 60) -> list["asyncio.Task[object]"]:
    return [asyncio.create_task(_get(connections, within)) for _ in range(number)]


async def _get(connections: ConnectionPool, within: float) -> object:
    return (await connections.get("/", largest=LARGEST, within=within)).body


async def slow(peer: Peer) -> None:
    """Answers everything a moment later."""
    while await peer.request():
        await asyncio.sleep(0.001)
        await peer.send(ANSWER)


async def test_more_calls_than_connections_take_turns() -> None:
    async with Server(slow) as server, pool(server, most_open=3) as connections:
        found = await asyncio.gather(*called(connections, 60))

    assert found == [b"[1]"] * 60
    assert server.connections == 3


async def test_a_call_that_finds_no_connection_in_time_says_so_and_sends_nothing() -> None:
    async with Server(silent) as server, pool(server, most_open=2, wait_seconds=0.01) as connections:
        calls = called(connections, 2)
        await until(lambda: len(server.heads) == 2)

        with pytest.raises(PoolTimeoutError, match="in use"):
            await bodies(connections, 1)

        assert len(server.heads) == 2
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_waiting_for_a_connection_counts_as_time() -> None:
    async with Server(silent) as server, pool(server, most_open=1, wait_seconds=5) as connections:
        calls = called(connections, 1)
        await until(lambda: len(server.heads) == 1)

        with pytest.raises(TimeoutError):
            await connections.get("/", largest=LARGEST, within=0.01)

        # What is left of a call's time is all that its attempt gets.
        late = called(connections, 1, within=0.05)
        await asyncio.sleep(0.01)
        calls[0].cancel()
        assert [type(each) for each in await asyncio.gather(*late, return_exceptions=True)] == [TimeoutError]
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_kept_connection_gets_what_is_left_of_a_calls_time() -> None:
    async def once_slowly(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.35)
        await peer.send(ANSWER)
        await silent(peer)

    async def passed(pieces: int) -> None:
        # A pause of the machine, however long, takes no more than one of them.
        for _ in range(pieces):
            await asyncio.sleep(0.05)

    async with Server(once_slowly) as server, pool(server, most_open=1, wait_seconds=5) as connections:
        (first,) = called(connections, 1)
        await until(lambda: len(server.heads) == 1)
        # With all of its time from the moment on when there is a connection it would take 0.75 seconds.
        too_long = asyncio.create_task(passed(13))

        with pytest.raises(TimeoutError):
            await connections.get("/", largest=LARGEST, within=0.4)

        assert not too_long.done()
        too_long.cancel()
        assert await first == b"[1]"


async def test_a_connection_that_fails_leaves_its_place() -> None:
    async with Server(silent) as server:
        pass

    async with pool(server, most_open=2) as connections:
        for _ in range(5):
            with pytest.raises(OSError, match=r"refused|Connect"):
                await bodies(connections, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_twelve_hundred_cancelled_calls_leave_ten_connections_as_good_as_new(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 # the cases of a test
    async with Server(slow) as server, pool(server, most_open=10, wait_seconds=2) as connections:
        for _ in range(12):
            calls = called(connections, 100)
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            for call in chance.sample(calls, 100):
                call.cancel()
                if chance.random() < 0.1:
                    await asyncio.sleep(0)
            await asyncio.gather(*calls, return_exceptions=True)

        assert await asyncio.gather(*called(connections, 20)) == [b"[1]"] * 20
        await until(lambda: server.open <= 10)


async def test_closing_sends_away_those_that_wait() -> None:
    async with Server(silent) as server, pool(server, most_open=1, wait_seconds=60) as connections:
        calls = called(connections, 5)
        await until(lambda: len(server.heads) == 1)
        await connections.close()
        endings = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(ending, ConnectionError) for ending in endings)
    assert not any(isinstance(ending, PoolTimeoutError) for ending in endings)


async def test_answers_go_to_whoever_asked_however_often_places_change_hands() -> None:
    async def echoing(peer: Peer) -> None:
        while head := await peer.request():
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + head.split()[1][1:5])

    async with Server(echoing) as server, pool(server, most_open=4) as connections:
        replies = await asyncio.gather(*(connections.get(f"/{n:04}", largest=LARGEST) for n in range(400)))

    assert [reply.body for reply in replies] == [b"%04d" % n for n in range(400)]
    assert server.connections == 4


async def test_a_pool_of_many_connections_serves_them_all_at_once() -> None:
    async with Server(answering(ANSWER)) as server, pool(server, most_open=100) as connections:
        assert await asyncio.gather(*called(connections, 100)) == [b"[1]"] * 100

    assert server.connections == 100
