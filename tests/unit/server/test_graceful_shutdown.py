"""What a stopping server does to its listening socket."""

import socket
import sys

import pytest

from gateway.server.graceful_shutdown import has_pending_connections, stop_accepting
from gateway.server.serving import listening_socket


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the filter")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_stop_accepting_drops_new_handshakes_and_leaves_pending_connections_alone(host: str) -> None:
    with listening_socket(host, 0) as bound, socket.create_connection(bound.getsockname()[:2]) as waiting:
        assert stop_accepting(bound)
        with pytest.raises(TimeoutError):
            socket.create_connection(bound.getsockname()[:2], timeout=0.2)

        assert has_pending_connections(bound)
        accepted, _ = bound.accept()
        assert not has_pending_connections(bound)
        with accepted:
            waiting.sendall(b"asked")
            assert accepted.recv(9) == b"asked"
            accepted.sendall(b"told")
            assert waiting.recv(9) == b"told"
