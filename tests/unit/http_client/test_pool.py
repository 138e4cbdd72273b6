"""ConnectionPool, where it does more than the contract: whom it connects to, and what it reads that others refuse."""

import pytest

from gateway.http_client.connector import ConnectConfig
from tests.unit.http_client.scripted_server import Peer, Server, answering, bodies, pool


async def test_a_server_of_http_1_0_may_keep_its_connection() -> None:
    response = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\n[1]"
    async with Server(answering(response)) as server, pool(server) as connections:
        assert await bodies(connections, 5) == [b"[1]"] * 5

    assert server.connections == 1


async def test_the_first_bytes_of_another_protocol_end_the_call() -> None:
    async with Server(answering(b"SSH-2.0-OpenSSH_9.9\r\n")) as server, pool(server) as connections:
        with pytest.raises(ConnectionError, match="not HTTP"):
            await bodies(connections, 1)


async def test_connecting_fails_where_there_is_no_tls_in_its_time() -> None:
    async with Server(Peer.abandoned) as server:
        server.url = server.url.replace("http:", "https:")
        async with pool(server, connecting=ConnectConfig(tls_seconds=0.05)) as connections:
            with pytest.raises(ConnectionError, match="in time"):
                await bodies(connections, 1)
