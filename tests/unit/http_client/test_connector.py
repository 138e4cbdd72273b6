"""Connecting: lookups that are slow, shared or out of date, and hosts with addresses that do not answer."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.failures import FailureKind, kind_of
from gateway.http_client.happy_eyeballs import Address
from gateway.http_client.pool import HttpClient
from gateway.http_client.resolver import Resolver, look_up
from tests.processes import run_python
from tests.unit.http_client.conftest import ClientType
from tests.unit.http_client.scripted_server import RESPONSE, Peer, Server, answering, bodies, open_sockets, until

# All of 127.0.0.0/8 is this machine; nobody listens at the first of these.
REFUSING, SILENT, HERE = (Address(f"127.0.0.{n}", socket.AF_INET) for n in (3, 2, 1))
# A broadcast address, to which no TCP goes.
NOWHERE = Address("255.255.255.255", socket.AF_INET)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@dataclass
class Names:
    """A name server that answers with `addresses` once it is `released`, or raises `error`."""

    addresses: list[Address] = field(default_factory=lambda: [HERE])
    error: Exception | None = None
    lookups: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.released.set()

    async def look_up(self, host: str, _: int) -> list[Address]:
        assert host == "leyr.example"
        self.lookups += 1
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return self.addresses


@asynccontextmanager
async def named(client: ClientType, port: int, names: Names, **seconds: float) -> AsyncIterator[HttpClient]:
    """A client that knows the server by its name only."""
    config = ConnectConfig(look_up=names.look_up, **seconds)
    connections = client(f"http://leyr.example:{port}", {}, connecting=config)
    try:
        async with asyncio.timeout(30):
            yield connections
    finally:
        await connections.close()


@contextmanager
def silent_listener(port: int, host: str = SILENT.host) -> Iterator[None]:
    """Listens where its queue is full, so that the system answers no further SYN."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        full = [socket.socket() for _ in range(4)]
        for each in full:
            each.settimeout(0)
            each.connect_ex((host, port))
        try:
            yield
        finally:
            for each in full:
                each.close()


async def failure(connections: HttpClient) -> FailureKind:
    with pytest.raises(OSError, match=r".") as failed:
        await bodies(connections, 1)
    return kind_of(failed.value)


async def test_a_host_whose_first_address_is_silent_is_reached_by_the_second(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        with silent_listener(server.port):
            async with named(client, server.port, Names([SILENT, HERE])) as connections:
                assert await bodies(connections, 1) == [b"[1]"]


async def test_the_address_that_answered_is_tried_first_by_those_who_come_next() -> None:
    resolver = Resolver("leyr.example", 80, Names([SILENT, HERE]).look_up)
    assert await resolver.addresses(1.0) == (SILENT, HERE)

    resolver.prefer(HERE)

    assert resolver.kept(asyncio.get_running_loop().time()) == (HERE, SILENT)


@pytest.mark.parametrize("first", [REFUSING, NOWHERE, Address("2001:db8::1%nowhere", socket.AF_INET6)])
async def test_a_host_whose_first_address_fails_is_reached_by_the_second(client: ClientType, first: Address) -> None:
    async with Server(answering(RESPONSE)) as server, named(client, server.port, Names([first, HERE])) as connections:
        assert await bodies(connections, 1) == [b"[1]"]


async def test_connections_of_addresses_that_came_second_are_closed(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        before = open_sockets()
        with silent_listener(server.port):
            async with named(client, server.port, Names([SILENT, HERE])) as connections:
                await bodies(connections, 1)
        await until(lambda: open_sockets() <= before)


@pytest.mark.parametrize("addresses", [[SILENT, HERE], [REFUSING, HERE], [HERE, Address("127.0.0.1", 0)]])
async def test_a_call_that_is_cancelled_while_addresses_are_tried_leaves_no_socket_open(
    client: ClientType,
    addresses: list[Address],
) -> None:
    async with Server(answering(RESPONSE)) as server:
        before = open_sockets()
        with silent_listener(server.port):
            for turns in range(20):
                async with named(client, server.port, Names(addresses)) as connections:
                    call = asyncio.create_task(bodies(connections, 1))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    call.cancel()
                    await asyncio.gather(call, return_exceptions=True)
        await until(lambda: open_sockets() <= before)


KINDS = {
    FailureKind.REFUSED: [REFUSING],
    FailureKind.NO_ROUTE: [NOWHERE],
    FailureKind.CONNECT_TIMEOUT: [SILENT],
    FailureKind.NAME_NOT_FOUND: [],
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure_to_connect_has_its_kind(client: ClientType, kind: FailureKind) -> None:
    async with Server(answering(RESPONSE)) as server:
        with silent_listener(server.port):
            # What fails at once must not be late on a machine that does other things too.
            seconds = 0.05 if kind is FailureKind.CONNECT_TIMEOUT else 20
            async with named(client, server.port, Names(KINDS[kind]), connect_seconds=seconds) as connections:
                assert await failure(connections) is kind


async def test_of_several_failures_the_one_that_says_most_is_raised(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        with silent_listener(server.port):
            names = Names([NOWHERE, REFUSING, SILENT])
            async with named(client, server.port, names, connect_seconds=1) as connections:
                assert await failure(connections) is FailureKind.REFUSED


async def test_a_name_that_is_not_found_is_said_to_each_that_waits_and_looked_up_again(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        names = Names(error=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        async with named(client, server.port, names) as connections:
            assert set(await asyncio.gather(*(failure(connections) for _ in range(9)))) == {FailureKind.NAME_NOT_FOUND}
            assert names.lookups == 1

            names.error = None
            assert await bodies(connections, 1) == [b"[1]"]


@pytest.mark.parametrize("host", [f"{'a' * 64}.example", "leyr..example"])
async def test_a_name_that_cannot_be_one_is_not_found(client: ClientType, host: str) -> None:
    connections = client(f"http://{host}:1", {})

    assert await failure(connections) is FailureKind.NAME_NOT_FOUND
    await connections.close()


async def test_a_connection_that_is_reset_or_carries_something_else_has_its_kind(client: ClientType) -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.drop(reset=True)

    async with (
        Server(reset, answering(b"SSH-2.0-OpenSSH\r\n")) as server,
        named(client, server.port, Names()) as connections,
    ):
        assert await failure(connections) is FailureKind.RESET
        assert await failure(connections) is FailureKind.NOT_HTTP


async def test_many_calls_wait_for_one_slow_lookup_and_those_that_leave_do_not_end_it(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        names = Names()
        names.released.clear()
        async with named(client, server.port, names) as connections:
            calls = [asyncio.create_task(bodies(connections, 1)) for _ in range(64)]
            await until(lambda: names.lookups == 1)
            for call in calls[:32]:
                call.cancel()
            await asyncio.sleep(0)
            names.released.set()

            assert await asyncio.gather(*calls[32:]) == [[b"[1]"]] * 32
            await asyncio.gather(*(bodies(connections, 1) for _ in range(50)))

    assert names.lookups == 1


async def test_a_lookup_that_takes_too_long_fails_its_calls_and_serves_the_next(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        names = Names()
        names.released.clear()
        async with named(client, server.port, names, lookup_seconds=0.01) as connections:
            assert await failure(connections) is FailureKind.LOOKUP_TIMEOUT
            assert await failure(connections) is FailureKind.LOOKUP_TIMEOUT
            names.released.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert await bodies(connections, 1) == [b"[1]"]

    assert names.lookups == 1


async def test_a_host_that_moved_is_found_at_its_new_address(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        names = Names([REFUSING])
        async with named(client, server.port, names) as connections:
            assert await failure(connections) is FailureKind.REFUSED
            names.addresses = [HERE]
            assert await bodies(connections, 1) == [b"[1]"]

    assert names.lookups == 2


async def test_a_host_that_did_not_move_is_not_tried_twice(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server:
        names = Names([NOWHERE])
        async with named(client, server.port, names) as connections:
            assert await failure(connections) is FailureKind.NO_ROUTE
            assert await failure(connections) is FailureKind.NO_ROUTE

    assert names.lookups == 2


async def test_addresses_are_kept_for_a_while_and_then_looked_up_again() -> None:
    names, loop = Names(), asyncio.get_running_loop()
    resolver = Resolver("leyr.example", 80, names.look_up, keep_seconds=10)
    now = loop.time()
    await resolver.addresses(1.0)

    assert resolver.kept(now + 9) == (HERE,)
    assert resolver.kept(now + 11) == ()


async def test_the_system_is_asked_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def getaddrinfo(*query: Any, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(query)
        return [(socket.AF_INET6, 1, 6, "", ("::1", 80, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    assert await look_up("leyr.example", 80) == [Address("::1", socket.AF_INET6), HERE]
    assert asked == [("leyr.example", 80)]


async def test_a_name_that_is_none_raises_value_error() -> None:
    with pytest.raises(ValueError, match=r"idna|label"):
        await look_up("a" * 70, 80)


HANGING = """
import asyncio, socket, sys, time
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.pool import ConnectionPool

async def call():
    client = {"own": ConnectionPool, "httpx2": Httpx2Client}[sys.argv[1]]("http://leyr.example", {})
    try:
        await client.get("/", max_bytes=9, timeout_seconds=0.05)
    except TimeoutError:
        print("late")
    await client.close()

asyncio.run(call())
"""


@pytest.mark.parametrize("which", ["own", "httpx2"])
def test_a_lookup_that_hangs_delays_no_stop(which: str) -> None:
    before = time.monotonic()

    assert run_python("-c", HANGING, which).stdout == "late\n"

    assert time.monotonic() - before < 30
