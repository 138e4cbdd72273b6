"""ConnectionPool, where it does more than the contract: whom it connects to, and what it reads that others refuse."""

import asyncio
from typing import Any

import pytest

from gateway.http_client.pool import ConnectionPool
from tests.unit.http_client.scripted_server import MAX_BYTES, RESPONSE, Server, answering, bodies, pool


async def test_a_server_of_http_1_0_may_keep_its_connection() -> None:
    response = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\n[1]"
    async with Server(answering(response)) as server, pool(server) as connections:
        assert await bodies(connections, 5) == [b"[1]"] * 5

    assert server.connections == 1


async def test_the_first_bytes_of_another_protocol_end_the_call() -> None:
    async with Server(answering(b"SSH-2.0-OpenSSH_9.9\r\n")) as server, pool(server) as connections:
        with pytest.raises(ConnectionError, match="not HTTP"):
            await bodies(connections, 1)


class Detour(asyncio.SelectorEventLoop):
    """A loop for which every host is the test's server."""

    port: int
    asked: tuple[object, object]

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override] # as it is called
        self.asked = (host, port)
        return await super().create_connection(factory, "127.0.0.1", self.port)


@pytest.mark.parametrize(
    ("base_url", "asked", "host", "start"),
    [
        ("http://leyr.example", ("leyr.example", 80), b"leyr.example", b""),
        ("http://leyr.example/", ("leyr.example", 80), b"leyr.example", b""),
        ("https://leyr.example/api", ("leyr.example", 443), b"leyr.example", b"/api"),
        ("http://leyr.example:8080/api/v1/", ("leyr.example", 8080), b"leyr.example:8080", b"/api/v1"),
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
            connections = ConnectionPool(base_url, {"x-name": "a value", "accept": "application/json"})
            await connections.get("/a%2Fb/%C3%A9?c=%2B&d=%20;e", max_bytes=MAX_BYTES)
            await connections.close()
            return server.heads[0]

    loop = Detour()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        lines = runner.run(request(loop)).split(b"\r\n")

    assert loop.asked == asked
    assert lines[:2] == [b"GET %b/a%%2Fb/%%C3%%A9?c=%%2B&d=%%20;e HTTP/1.1" % start, b"host: " + host]
    assert lines[2:] == [b"x-name: a value", b"accept: application/json", b"accept-encoding: gzip", b"", b""]
