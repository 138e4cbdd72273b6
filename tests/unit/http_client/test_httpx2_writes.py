"""Requests that change something: each is sent once, and it is certain where nothing of it was."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from gateway.http_client.connection import NotSentError, Response
from gateway.http_client.connector import ConnectConfig
from gateway.http_client.failures import FailureKind, TransportError, kind_of
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.pool import PoolTimeoutError
from gateway.http_client.proxies import Proxy
from tests.stand_ins import proxy as stand_in
from tests.stand_ins.http2_server import Answer, Http2Server
from tests.unit.http_client.scripted_server import (
    MAX_BYTES,
    OK,
    Peer,
    Script,
    Server,
    opened,
    sized,
    until,
)

BODY = b'{"start":"2026-12-01T09:00:00+01:00"}'
CREATED = b"HTTP/1.1 201 Created\r\ncontent-length: 3\r\n\r\n[1]"


class Writes:
    """A script that counts the requests that came whole."""

    def __init__(self, *pieces: bytes, drops: bool = False) -> None:
        self.bodies: list[bytes] = []
        self._pieces = pieces
        self._drops = drops

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.request():
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.bodies.append(await peer._reader.readexactly(length))  # noqa: SLF001 # the stand-in reads heads only
            await peer.send(*self._pieces)
            if self._drops:
                return


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[Httpx2Client]:
    client = Httpx2Client(url, {"content-type": "application/json"}, **options)
    try:
        async with asyncio.timeout(60):
            yield client
    finally:
        await client.close()


async def write(client: Httpx2Client, method: str = "POST", timeout_seconds: float = 30) -> Response:
    return await client.send(method, "/appointments", BODY, max_bytes=MAX_BYTES, timeout_seconds=timeout_seconds)


async def reason_not_sent(client: Httpx2Client, **options: Any) -> BaseException:
    with pytest.raises(NotSentError) as failed:
        await write(client, **options)
    assert failed.value.__cause__ is not None
    return failed.value.__cause__


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_body_arrives_whole_with_its_method_and_headers_on_a_connection_of_its_own(method: str) -> None:
    script = Writes(CREATED)
    async with Server(script) as server, opened(Httpx2Client, server) as client:
        found = [await write(client, method) for _ in range(3)]
        await until(lambda: server.open == 0)

    assert [(each.status, bytes(each.body)) for each in found] == [(201, b"[1]")] * 3
    assert script.bodies == [BODY] * 3
    assert server.connections == 3
    assert {head.partition(b" ")[0] for head in server.heads} == {method.encode()}


async def test_a_body_goes_over_http2_too(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with (
        Http2Server(tls, lambda _: Answer(b"[2]", status=201)) as server,
        client_of(f"{server.url}/api", http2=True, tls=trust) as client,
    ):
        found = await write(client)

    assert (found.status, bytes(found.body)) == (201, b"[2]")
    assert [(each[":method"], each[":path"]) for each in server.requests] == [("POST", "/api/appointments")]


async def test_a_request_that_finds_no_server_was_not_sent() -> None:
    async with Server(Writes(CREATED)) as server:
        url = server.url
    async with client_of(url) as client:
        assert kind_of(await reason_not_sent(client)) is FailureKind.REFUSED


async def test_a_request_to_a_server_that_is_not_trusted_was_not_sent(tls: ssl.SSLContext) -> None:
    script = Writes(CREATED)
    async with Server(script, tls=tls) as server, opened(Httpx2Client, server) as client:
        assert kind_of(await reason_not_sent(client)) is FailureKind.TLS_UNTRUSTED
    assert script.bodies == []


async def test_a_request_whose_time_is_over_before_there_is_a_connection_was_not_sent(trust: ssl.SSLContext) -> None:
    async def no_tls(peer: Peer) -> None:
        await peer.abandoned()

    async with Server(no_tls) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with client_of(url, tls=trust, connecting=ConnectConfig(60, 60, 60)) as client:
            assert isinstance(await reason_not_sent(client, timeout_seconds=0.1), TimeoutError)


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_request_that_found_no_free_connection_was_not_sent(*, is_closed: bool) -> None:
    script = Writes()
    async with (
        Server(script) as server,
        opened(Httpx2Client, server, max_connections=1, pool_timeout_seconds=0.05) as client,
    ):
        first = asyncio.create_task(write(client))
        await until(lambda: len(script.bodies) == 1)
        if is_closed:
            await client.close()
        cause = await reason_not_sent(client)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    assert isinstance(cause, ConnectionError if is_closed else PoolTimeoutError)
    assert script.bodies == [BODY]


@pytest.mark.parametrize("status", [b"403 Forbidden", b"502 Bad Gateway", b"407 Proxy Authentication Required"])
async def test_a_request_for_which_a_proxy_makes_no_tunnel_was_not_sent(status: bytes, trust: ssl.SSLContext) -> None:
    async with stand_in.Proxy(1, "refuses", status=status) as proxy:
        way = Proxy.from_url(f"http://127.0.0.1:{proxy.port}")
        async with client_of("https://leyr.example/api", proxy=way, tls=trust) as client:
            assert kind_of(await reason_not_sent(client)) is FailureKind.PROXY_REFUSED


async def test_a_request_that_a_forwarding_proxy_wants_a_login_for_was_not_sent() -> None:
    async with stand_in.Proxy(1, "refuses", status=b"407 Proxy Authentication Required") as proxy:
        way = Proxy.from_url(f"http://127.0.0.1:{proxy.port}")
        async with client_of("http://leyr.example/api", proxy=way) as client:
            assert kind_of(await reason_not_sent(client)) is FailureKind.PROXY_REFUSED


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_breaks_before_an_answer_leaves_it_open_whether_it_arrived(*, reset: bool) -> None:
    arrived = Writes()

    async def script(peer: Peer) -> None:
        await peer.request()
        arrived.bodies.append(b"")
        if reset:
            peer.drop(reset=True)

    async with Server(script) as server, opened(Httpx2Client, server) as client:
        with pytest.raises(TransportError):
            await write(client)
    assert (server.connections, len(arrived.bodies)) == (1, 1)


@pytest.mark.parametrize("place", range(len(CREATED)))
async def test_an_answer_that_is_cut_anywhere_is_an_error_and_the_request_is_not_sent_again(place: int) -> None:
    script = Writes(CREATED[:place], drops=True)
    async with Server(script) as server, opened(Httpx2Client, server) as client:
        with pytest.raises((ConnectionError, OSError)) as failed:
            await write(client)

    assert not isinstance(failed.value, NotSentError)
    assert script.bodies == [BODY]
    assert server.connections == 1


async def test_a_request_that_is_not_answered_in_time_may_have_arrived() -> None:
    script = Writes()
    async with Server(script) as server, opened(Httpx2Client, server) as client:
        with pytest.raises(TimeoutError):
            await write(client, timeout_seconds=0.3)
    assert script.bodies == [BODY]


async def test_an_answer_after_an_informational_one_is_read() -> None:
    script = Writes(b"HTTP/1.1 103 Early Hints\r\n\r\n" + CREATED)
    async with Server(script) as server, opened(Httpx2Client, server) as client:
        assert (await write(client)).status == 201


def slow(random: Random) -> Script:
    async def script(peer: Peer) -> None:
        await asyncio.sleep(random.random() * 0.01)
        await peer.request()
        await asyncio.sleep(random.random() * 0.01)
        await peer.send(OK[: random.randrange(len(OK))], sized(b"[1]")[len(OK) :])

    return script


async def test_twelve_hundred_that_are_cancelled_at_any_moment_leave_nothing_behind() -> None:
    random = Random(1)  # noqa: S311 # not for secrets
    async with Server(slow(random)) as server, opened(Httpx2Client, server, max_connections=10) as client:
        for _ in range(12):
            tasks = [asyncio.create_task(write(client)) for _ in range(100)]
            for task in tasks:
                asyncio.get_running_loop().call_later(random.random() * 0.02, task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: server.open == 0)
        script = Writes(CREATED)
        server._scripts = (script,)  # noqa: SLF001 # from now on it answers
        assert (await write(client)).status == 201
        assert script.bodies == [BODY]
