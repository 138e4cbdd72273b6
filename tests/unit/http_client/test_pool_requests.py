"""ConnectionPool: what it sends, and to which address."""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.happy_eyeballs import Address
from gateway.http_client.pool import ConnectionPool
from tests.unit.http_client.scripted_server import MAX_BYTES, RESPONSE, Server, answering, pool


class Detour(asyncio.SelectorEventLoop):
    """A loop for which every address is the test's server, which takes everything for plain."""

    port: int
    asked: tuple[object, object]

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override] # as it is called
        self.asked = (host, port)
        return await super().create_connection(factory, "127.0.0.1", self.port)

    async def start_tls(self, transport: Any, *_: Any, **__: Any) -> Any:
        return transport


async def found(host: str, port: int) -> list[Address]:
    assert (host, port) in {("leyr.example", 80), ("leyr.example", 443), ("leyr.example", 8080)}
    return [Address("192.0.2.1", socket.AF_INET)]


@pytest.mark.parametrize(
    ("base_url", "asked", "host", "start"),
    [
        ("http://leyr.example", ("192.0.2.1", 80), b"leyr.example", b""),
        ("http://leyr.example/", ("192.0.2.1", 80), b"leyr.example", b""),
        ("https://leyr.example/api", ("192.0.2.1", 443), b"leyr.example", b"/api"),
        ("http://leyr.example:8080/api/v1/", ("192.0.2.1", 8080), b"leyr.example:8080", b"/api/v1"),
        ("http://127.0.0.1:8080/a%2Fb", ("127.0.0.1", 8080), b"127.0.0.1:8080", b"/a%2Fb"),
        ("http://[::1]:8080", ("::1", 8080), b"[::1]:8080", b""),
    ],
)
def test_a_request_has_a_host_header_and_the_target_unchanged(
    base_url: str, asked: tuple[str, int], host: bytes, start: bytes
) -> None:
    async def request(loop: Detour) -> bytes:
        async with Server(answering(RESPONSE)) as server:
            loop.port = server.port
            headers = {"x-name": "a value", "accept": "application/json"}
            config = ConnectConfig(look_up=found)
            connections = ConnectionPool(base_url, headers, tls=ssl.create_default_context(), connecting=config)
            await connections.get("/a%2Fb/%C3%A9?c=%2B&d=%20;e", max_bytes=MAX_BYTES)
            await connections.close()
            return server.heads[0]

    loop = Detour()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        lines = runner.run(request(loop)).split(b"\r\n")

    assert loop.asked == asked
    assert lines[:2] == [b"GET %b/a%%2Fb/%%C3%%A9?c=%%2B&d=%%20;e HTTP/1.1" % start, b"host: " + host]
    assert lines[2:] == [b"x-name: a value", b"accept: application/json", b"accept-encoding: gzip", b"", b""]


@pytest.mark.parametrize(
    "bad", ["\r", "\n", "\r\nx: y", " ", " HTTP/1.1\r\n\r\nGET /", "\t", "\0", "\x7f", "é", "\u2028"]
)
async def test_a_target_that_is_not_percent_encoded_is_not_sent(bad: str) -> None:
    async with Server(answering(RESPONSE)) as server, pool(server) as connections:
        for target in (f"/a{bad}", f"/a{bad}b"):
            with pytest.raises(ValueError, match="percent-encoded"):
                await connections.get(target, max_bytes=MAX_BYTES)

    assert server.connections == 0


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\n", "a\0", "é"])
def test_a_header_that_would_not_stay_within_its_line_raises_without_quoting_it(bad: str) -> None:
    for headers in ({bad: "value"}, {"name": bad}):
        with pytest.raises(ValueError, match="cannot be sent") as failure:
            ConnectionPool("http://127.0.0.1", headers)
        assert bad not in str(failure.value)
