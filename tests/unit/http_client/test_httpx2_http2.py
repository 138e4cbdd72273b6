"""Httpx2Client over HTTP/2: connections are shared, answers bounded, and no cancelled call harms another."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from gateway.http_client.connection import BodyTooLargeError
from gateway.http_client.connector import ConnectConfig
from gateway.http_client.content_encoding import ContentDecodingError
from gateway.http_client.failures import TransportError
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.proxies import Proxy
from tests.stand_ins import proxy as stand_in
from tests.stand_ins.http2_server import Answer, Http2Server
from tests.unit.http_client.scripted_server import MAX_BYTES, MEBIBYTE, RESPONSE, Server, answering, bodies, until

SILENT = Answer(status=0)


@asynccontextmanager
async def client_of(url: str, trust: ssl.SSLContext, **options: Any) -> AsyncIterator[Httpx2Client]:
    client = Httpx2Client(url, {"x-secret": "secret"}, http2=True, tls=trust, **options)
    try:
        async with asyncio.timeout(30):
            yield client
    finally:
        await client.close()


async def test_concurrent_calls_share_a_connection_and_get_their_own_responses(
    tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async with (
        Http2Server(tls, lambda path: Answer(path.encode(), seconds=0.001)) as server,
        client_of(f"{server.url}/api", trust) as client,
    ):
        for _ in range(2):
            found = await asyncio.gather(*(client.get(f"/{n}", max_bytes=MAX_BYTES) for n in range(60)))
            assert [response.body for response in found] == [b"/api/%d" % n for n in range(60)]

    assert server.connections == 1
    assert {request["x-secret"] for request in server.requests} == {"secret"}
    assert {request[":authority"] for request in server.requests} == {f"127.0.0.1:{server.port}"}


async def test_more_calls_than_a_connection_takes_get_further_ones(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Http2Server(tls, lambda _: Answer(seconds=0.01)) as server, client_of(server.url, trust) as client:
        found = await asyncio.gather(*(client.get("/", max_bytes=MAX_BYTES) for _ in range(150)))

    assert [response.body for response in found] == [b"[1]"] * 150
    assert server.connections == 3


@pytest.mark.parametrize("streams", [1, 3])
async def test_no_call_waits_behind_those_that_the_server_takes_at_a_time(
    tls: ssl.SSLContext, trust: ssl.SSLContext, streams: int
) -> None:
    def answer(path: str) -> Answer:
        return SILENT if path == "/silent" else Answer()

    async with Http2Server(tls, answer, streams) as server, client_of(server.url, trust) as client:
        for _ in range(2):
            hanging = [asyncio.create_task(client.get("/silent", max_bytes=MAX_BYTES)) for _ in range(streams)]
            await until(lambda: [each[":path"] for each in server.requests[-streams:]] == ["/silent"] * streams)

            assert await bodies(client, 2) == [b"[1]"] * 2

            for call in hanging:
                call.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_server_without_http2_is_asked_over_http1(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Server(answering(RESPONSE), tls=tls) as server, client_of(server.url, trust) as client:
        assert [each.body for each in await asyncio.gather(*(client.get("/", max_bytes=9) for _ in range(5)))] == [
            b"[1]"
        ] * 5
        assert await bodies(client, 3) == [b"[1]"] * 3

    assert server.connections == 5


async def test_http2_goes_through_a_tunnel(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Http2Server(tls) as server, stand_in.Proxy(server.port) as proxy:
        way = Proxy.from_url(f"127.0.0.1:{proxy.port}")
        async with client_of("https://leyr.example/api", trust, proxy=way) as client:
            found = await asyncio.gather(*(client.get("/", max_bytes=MAX_BYTES) for _ in range(20)))

    assert [response.body for response in found] == [b"[1]"] * 20
    assert server.connections == len(proxy.asked) == 1


async def test_large_and_compressed_bodies_are_bounded(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    gzipped = (("content-encoding", "gzip"),)
    answers = {
        "/whole": Answer(b"x" * MEBIBYTE),
        "/packed": Answer(gzip.compress(b"x" * MEBIBYTE), gzipped),
        "/bomb": Answer(gzip.compress(bytes(16 * MEBIBYTE)), gzipped),
        "/large": Answer(b"x" * (MEBIBYTE + 1)),
        "/broken": Answer(b"canary", gzipped),
    }
    async with Http2Server(tls, answers.__getitem__) as server, client_of(server.url, trust) as client:
        for path, error in (
            ("/bomb", BodyTooLargeError),
            ("/large", BodyTooLargeError),
            ("/broken", ContentDecodingError),
        ):
            with pytest.raises(error):
                await client.get(path, max_bytes=MEBIBYTE)
        for path in ("/whole", "/packed"):
            assert (await client.get(path, max_bytes=MEBIBYTE)).body == b"x" * MEBIBYTE


async def test_a_call_past_its_deadline_ends_and_the_others_go_on(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    def answer(path: str) -> Answer:
        return SILENT if path == "/silent" else Answer(seconds=0.2)

    async with Http2Server(tls, answer) as server, client_of(server.url, trust) as client:
        await bodies(client, 1)
        others = [asyncio.create_task(client.get("/", max_bytes=MAX_BYTES)) for _ in range(5)]
        with pytest.raises(TimeoutError):
            await client.get("/silent", max_bytes=MAX_BYTES, timeout_seconds=0.05)
        assert [response.body for response in await asyncio.gather(*others)] == [b"[1]"] * 5
        assert await bodies(client, 1) == [b"[1]"]
        # The connection with the call that was given up carries no other, and is closed after the last.
        await until(lambda: server.open == 1)

    assert server.connections == 2


async def test_a_connection_that_the_server_ends_is_replaced(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with (
        Http2Server(tls, lambda _: Answer(says_goodbye=True)) as server,
        client_of(server.url, trust) as client,
    ):
        for _ in range(3):
            assert await bodies(client, 1) == [b"[1]"]
            await until(lambda: server.open == 0)

    assert len(server.requests) == 3


@pytest.mark.parametrize("seed", range(2))
async def test_after_1200_cancelled_calls_all_ten_permits_are_usable(
    tls: ssl.SSLContext, trust: ssl.SSLContext, seed: int
) -> None:
    rng = Random(seed)  # noqa: S311 # the cases of a test
    # Bodies that nobody reads would fill the window of their connection.
    body = b"x" * 300_000
    async with (
        Http2Server(tls, lambda _: Answer(body, seconds=0.002)) as server,
        client_of(server.url, trust, max_connections=10, pool_timeout_seconds=20) as client,
    ):
        for _ in range(12):
            calls = [asyncio.create_task(client.get("/", max_bytes=MEBIBYTE)) for _ in range(100)]
            await asyncio.sleep(rng.random() * 0.05)
            for call in rng.sample(calls, 100):
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        found = await asyncio.gather(*(client.get("/", max_bytes=MEBIBYTE) for _ in range(20)))
        assert [len(response.body) for response in found] == [len(body)] * 20
        await until(lambda: server.open <= 10)


async def test_a_request_that_the_server_ends_is_a_reset(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Http2Server(tls, lambda _: Answer(resets=True)) as server, client_of(server.url, trust) as client:
        with pytest.raises(TransportError) as failed:
            await bodies(client, 1)

    assert failed.value.kind == "reset"


async def test_where_a_server_drops_its_connections_no_call_waits(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Http2Server(tls, lambda _: Answer(drops=True)) as server, client_of(server.url, trust) as client:
        endings = await asyncio.gather(*(bodies(client, 1) for _ in range(20)), return_exceptions=True)

    assert {each.kind if isinstance(each, TransportError) else each for each in endings} == {"reset"}


async def test_close_fails_the_calls_that_run(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Http2Server(tls, lambda _: SILENT) as server, client_of(server.url, trust) as client:
        calls = [asyncio.create_task(client.get("/", max_bytes=MAX_BYTES)) for _ in range(10)]
        await until(lambda: len(server.requests) == 10)
        await client.close()
        endings = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: server.open == 0)

    assert all(isinstance(ending, ConnectionError) for ending in endings)


async def test_where_no_connection_is_made_all_that_wait_for_it_fail_in_time(trust: ssl.SSLContext) -> None:
    async with stand_in.Proxy(0, "is silent") as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        async with client_of(url, trust, connecting=ConnectConfig(tls_seconds=0.1)) as client:
            calls = (client.get("/", max_bytes=MAX_BYTES) for _ in range(20))
            endings = await asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises(TimeoutError):
                await client.get("/", max_bytes=MAX_BYTES, timeout_seconds=0.02)

    assert {each.kind for each in endings if isinstance(each, TransportError)} == {"tls_timeout"}
