"""What a stopping server does to its listening socket."""

import socket
from contextlib import ExitStack
from functools import partial

import pytest
import uvicorn

from gateway.server.graceful_shutdown import GracefulServer, ShutdownTimeouts
from gateway.server.protocol import GracefulProtocol, Readiness
from gateway.server.request_head import ConnectionLimits, no_headers, plain_text
from gateway.server.serving import listening_socket
from tests.stand_ins.echo_application import Echo

GET = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
WAITING = 100


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_whoever_waits_to_be_accepted_is_answered_and_nobody_else(host: str) -> None:
    readiness = Readiness()
    protocol = partial(
        GracefulProtocol,
        limits=ConnectionLimits(),
        error_body=plain_text,
        error_headers=no_headers,
        idle={},
        readiness=readiness,
    )
    config = uvicorn.Config(Echo(), http=protocol, log_config=None, ws="none")  # type: ignore[arg-type] # it only calls it
    config.load()
    server = GracefulServer(config, ShutdownTimeouts(), readiness)
    server.lifespan = config.lifespan_class(config)
    listener = listening_socket(host, 0)
    address = listener.getsockname()[:2]
    await server.startup([listener])

    with ExitStack() as stack:
        # The loop takes no step in between, so all of them are in the queue when the stop begins.
        clients = [stack.enter_context(socket.create_connection(address, 20)) for _ in range(WAITING)]
        for client in clients:
            client.sendall(GET)
        await server.shutdown([listener])

        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
