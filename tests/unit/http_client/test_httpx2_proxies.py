"""Httpx2Client through proxies: tunnels, logins, refusals, silence, and calls that are cancelled."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.failures import TransportError
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.proxies import Proxy
from tests.stand_ins import proxy as stand_in
from tests.unit.http_client.scripted_server import (
    MAX_BYTES,
    RESPONSE,
    Peer,
    Server,
    answering,
    bodies,
    silent,
    until,
)

LOGIN = "clinic:p%40ss-canary"
SECRETS = ("p@ss-canary", "p%40ss-canary", "secret-canary")
HASTY, PATIENT = ConnectConfig(0.05, 0.05, 60), ConnectConfig(60, 60, 60)
BOTH = pytest.mark.parametrize("kind", [stand_in.Proxy, stand_in.Socks5Proxy])


@asynccontextmanager
async def through(
    proxy: stand_in.Proxy,
    trust: ssl.SSLContext,
    *,
    login: str = "",
    url: str = "https://leyr.example/api",
    **options: Any,
) -> AsyncIterator[Httpx2Client]:
    scheme = "socks5" if isinstance(proxy, stand_in.Socks5Proxy) else "http"
    way = Proxy.from_url(f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{proxy.port}")
    client = Httpx2Client(url, {"x-secret": "secret-canary"}, proxy=way, tls=trust, **options)
    try:
        async with asyncio.timeout(30):
            yield client
    finally:
        await client.close()


async def failure(client: Httpx2Client) -> str | None:
    with pytest.raises(TransportError) as failed:
        await bodies(client, 1)
    shown = [failed.value, failed.value.__context__, failed.value.__cause__]
    assert not any(secret in f"{each!r}{each}" for each in shown for secret in SECRETS)
    return failed.value.kind


@BOTH
async def test_requests_share_a_tunnel_of_a_proxy_that_finds_the_name(
    kind: type[stand_in.Proxy], tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async with (
        Server(answering(RESPONSE), tls=tls) as server,
        kind(server.port) as proxy,
        through(proxy, trust) as client,
    ):
        assert await bodies(client, 3) == [b"[1]"] * 3

    assert proxy.asked == ["leyr.example:443"]
    assert server.connections == 1
    assert all(head.startswith(b"GET /api/ HTTP/1.1\r\nhost: leyr.example\r\n") for head in server.heads)
    # What is for Leyr alone the proxy does not see.
    assert all(b"secret-canary" not in head for head in proxy.heads)


@BOTH
async def test_the_proxys_password_goes_to_the_proxy_alone(
    kind: type[stand_in.Proxy], tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async with (
        Server(answering(RESPONSE), tls=tls) as server,
        kind(server.port, login="clinic:p@ss-canary") as proxy,
        through(proxy, trust, login=LOGIN) as client,
    ):
        assert await bodies(client, 1) == [b"[1]"]
        assert not any(secret in f"{vars(client)!r}" for secret in SECRETS[:2])

    assert all(b"proxy-authorization" not in head.lower() for head in server.heads)


@pytest.mark.parametrize("url", ["https://leyr.example/api", "http://leyr.example/api"])
@pytest.mark.parametrize("login", ["", "clinic:wrong"])
async def test_a_proxy_that_wants_another_login_has_refused(trust: ssl.SSLContext, login: str, url: str) -> None:
    async with (
        Server(answering(RESPONSE)) as server,
        stand_in.Proxy(server.port, login="clinic:p@ss-canary") as proxy,
        through(proxy, trust, login=login, url=url) as client,
    ):
        assert [await failure(client) for _ in range(3)] == ["proxy_refused"] * 3

    assert server.heads == []


@BOTH
async def test_a_proxy_that_forbids_has_refused(kind: type[stand_in.Proxy], trust: ssl.SSLContext) -> None:
    async with (
        Server(answering(RESPONSE)) as server,
        kind(server.port, "refuses") as proxy,
        through(proxy, trust) as client,
    ):
        assert [await failure(client) for _ in range(3)] == ["proxy_refused"] * 3

    assert server.heads == []


async def test_an_http_url_is_forwarded_without_a_tunnel(trust: ssl.SSLContext) -> None:
    async with (
        Server(answering(RESPONSE)) as server,
        stand_in.Proxy(server.port) as proxy,
        through(proxy, trust, url="http://leyr.example/api") as client,
    ):
        assert await bodies(client, 1) == [b"[1]"]

    assert proxy.asked == ["http://leyr.example/api/"]
    assert server.heads[0].startswith(b"GET /api/ HTTP/1.1\r\n")


@BOTH
async def test_a_silent_proxy_is_given_up_before_the_call_is_late(
    kind: type[stand_in.Proxy], trust: ssl.SSLContext
) -> None:
    async with kind(0, "is silent") as proxy, through(proxy, trust, connecting=HASTY) as client:
        assert await failure(client) == "connect_timeout"


async def test_an_answer_may_take_longer_than_a_tunnel(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.6)
        await peer.send(RESPONSE)

    async with (
        Server(slow, tls=tls) as server,
        stand_in.Proxy(server.port) as proxy,
        through(proxy, trust, connecting=ConnectConfig(0.5, 0.5, 60)) as client,
    ):
        assert await bodies(client, 1) == [b"[1]"]


async def test_a_silent_proxy_holds_no_call_past_its_deadline(trust: ssl.SSLContext) -> None:
    async with stand_in.Proxy(0, "is silent") as proxy, through(proxy, trust, connecting=PATIENT) as client:
        with pytest.raises(TimeoutError):
            await client.get("/", max_bytes=MAX_BYTES, timeout_seconds=0.05)


async def test_a_proxy_that_dies_before_or_inside_an_answer_is_a_reset(
    tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async with Server(answering(RESPONSE), tls=tls) as server:
        for behaviour in ("dies at once", "dies after"):
            async with stand_in.Proxy(server.port, behaviour) as proxy, through(proxy, trust) as client:
                assert await failure(client) == "reset"

    async with (
        Server(answering(RESPONSE)) as server,
        stand_in.Proxy(server.port, "dies after") as proxy,
        through(proxy, trust, url="http://leyr.example") as client,
    ):
        assert await failure(client) == "reset"


async def test_no_proxy_at_its_port_is_refused(trust: ssl.SSLContext) -> None:
    async with stand_in.Proxy(0) as proxy:
        pass
    async with through(proxy, trust) as client:
        assert await failure(client) == "refused"


async def test_a_server_behind_a_proxy_needs_a_trusted_certificate(tls: ssl.SSLContext) -> None:
    async with (
        Server(answering(RESPONSE), tls=tls) as server,
        stand_in.Proxy(server.port) as proxy,
        through(proxy, ssl.create_default_context()) as client,
    ):
        assert await failure(client) == "tls_untrusted"

    assert server.heads == []


@BOTH
@pytest.mark.parametrize("seed", range(2))
async def test_after_1200_cancelled_calls_all_ten_tunnels_are_usable(
    kind: type[stand_in.Proxy], tls: ssl.SSLContext, trust: ssl.SSLContext, seed: int
) -> None:
    async def slow(peer: Peer) -> None:
        while await peer.request():
            await asyncio.sleep(0.002)
            await peer.send(RESPONSE)

    rng = Random(seed)  # noqa: S311 # the cases of a test
    async with (
        Server(slow, tls=tls) as server,
        kind(server.port) as proxy,
        through(proxy, trust, max_connections=10, pool_timeout_seconds=20) as client,
    ):
        for _ in range(12):
            calls = [asyncio.create_task(client.get("/", max_bytes=MAX_BYTES)) for _ in range(100)]
            # From before the tunnel is asked for until some were answered.
            await asyncio.sleep(rng.random() * 0.03)
            for call in rng.sample(calls, 100):
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        found = await asyncio.gather(*(client.get("/", max_bytes=MAX_BYTES) for _ in range(20)))
        assert [response.body for response in found] == [b"[1]"] * 20
        await until(lambda: server.open <= 10)


async def test_close_fails_the_calls_that_wait_for_a_proxy(trust: ssl.SSLContext) -> None:
    async with stand_in.Proxy(0, "is silent") as proxy, through(proxy, trust) as client:
        calls = [asyncio.create_task(client.get("/", max_bytes=MAX_BYTES)) for _ in range(5)]
        await until(lambda: len(proxy.heads) == 5)
        await client.close()
        endings = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(ending, ConnectionError) for ending in endings)


async def test_a_silent_server_holds_no_call_past_its_deadline(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Server(silent, tls=tls) as server, stand_in.Proxy(server.port) as proxy, through(proxy, trust) as client:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await client.get("/", max_bytes=MAX_BYTES, timeout_seconds=0.05)
        await until(lambda: server.open == 0)
