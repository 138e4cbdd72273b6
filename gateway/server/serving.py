"""Serve ASGI applications on sockets, in the main thread until a signal or in a thread of their own."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from errno import EACCES, EADDRINUSE
from functools import partial
from math import inf
from threading import Thread
from typing import cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from gateway.server.graceful_shutdown import GracefulServer, ShutdownTimeouts
from gateway.server.protocol import GracefulProtocol, Readiness
from gateway.server.request_head import ConnectionLimits, ErrorBody, ErrorHeaders, no_headers, plain_text

if sys.platform != "win32":
    import resource

_START_SECONDS = 30
_CLEAN_UP_SECONDS = 5
_LIMITS = ConnectionLimits()
_STOP = ShutdownTimeouts()
_BACKLOG = 2048
_HIGHEST_PORT = 65_535
_OF_PORT = frozenset({EADDRINUSE, EACCES})
# It would kill at once; Windows has none.
_QUIT = () if sys.platform == "win32" else (signal.SIGQUIT,)


class BindError(Exception):
    """The address cannot be listened on; the message says which and why."""


class PortRefusedError(BindError):
    """Another port of the same host may be had."""


class StartError(Exception):
    """A server ended before it served."""


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen on an address; connections wait until they are served, port 0 takes a free one. Raises BindError."""
    return listening_sockets(host, port, 1)[0]


def listening_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Listen on an address with several sockets, among which Linux shares out the connections. Raises BindError."""
    listeners: list[socket.socket] = []
    # The system's own look-up takes what is left of a greater number without its highest bits.
    if not 0 <= port <= _HIGHEST_PORT:
        raise BindError(f"cannot listen on {host} port {port}: a port is a number from 0 to {_HIGHEST_PORT}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        for place in range(count):
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if place:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            if count > 1 and not place:
                # Only now, so that a port is refused that another program shares with whoever asks.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                address = listener.getsockname()
        for listener in listeners:
            listener.listen()
    # A host that no name server could be asked for is a UnicodeError.
    except (OSError, UnicodeError) as error:
        for listener in listeners:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        refused = PortRefusedError if getattr(error, "errno", None) in _OF_PORT else BindError
        raise refused(f"cannot listen on {host} port {port}: {reason}") from None
    return listeners


def url_of(listener: socket.socket) -> str:
    """Give the URL under which this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    limits: ConnectionLimits = _LIMITS,
    error_body: ErrorBody = plain_text,
    error_headers: ErrorHeaders = no_headers,
    stop: ShutdownTimeouts = _STOP,
    readiness: Readiness | None = None,
    log: structlog.typing.FilteringBoundLogger | None = None,
) -> bool:
    """Serve until SIGINT, SIGTERM or SIGQUIT, then stop within `stop`. False where the application did not start.

    `readiness` ends with the first signal, `error_body` and `error_headers` make the responses to what the server
    itself rejects, and the stop is written to `log`.
    """
    _raise_file_limit()
    server = _server(app, limits, error_body, error_headers, stop=stop, readiness=readiness or Readiness(), log=log)
    # uvicorn handles signals only while it runs; before and after it too, a stop by a signal must be a success.
    for number in (signal.SIGINT, signal.SIGTERM, *_QUIT):
        signal.signal(number, server.handle_exit)
    if sys.platform != "win32":
        # A worker lets them wait until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, *_QUIT))
    _freeze_garbage_collector()
    server.run(sockets=[listener])
    return server.started


def _raise_file_limit() -> None:
    """Let the process have as many file descriptors as it may: it often starts with 1024."""
    if sys.platform != "win32":
        _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Some systems say that there is no limit and have one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _file_limit() -> float:
    if sys.platform != "win32":
        soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft_limit != resource.RLIM_INFINITY:
            return soft_limit
    return inf


def _freeze_garbage_collector() -> None:
    """Keep the garbage collector away from what lives as long as the process.

    A full collection walks every object there is: 20 ms for the modules and the schema alone, in the middle of some
    response. Slots and rows are not tracked at all, so what is left to collect are small cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@contextmanager
def serve_in_thread(
    app: ASGIApp,
    listener: socket.socket,
    *,
    limits: ConnectionLimits = _LIMITS,
    error_body: ErrorBody = plain_text,
    error_headers: ErrorHeaders = no_headers,
    stop: ShutdownTimeouts = _STOP,
) -> Iterator[str]:
    """Serve in a thread while the block runs, then stop within `stop`; gives the URL. Raises StartError."""
    server = _server(app, limits, error_body, error_headers, stop=stop, readiness=Readiness())
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _wait_for_start(server, thread)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(timeout=stop.grace_seconds + _CLEAN_UP_SECONDS)


def server_in_loop(app: ASGIApp, *, stop: ShutdownTimeouts = _STOP) -> uvicorn.Server:
    """A server whose `serve` may run in the main thread's loop beside others: it takes no signals."""
    return _server(app, _LIMITS, plain_text, no_headers, stop=stop, readiness=Readiness(), kind=_SignalsElsewhere)


class _SignalsElsewhere(GracefulServer):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


def _wait_for_start(server: uvicorn.Server, thread: Thread) -> None:
    for _ in range(_START_SECONDS * 100):
        if server.started:
            return
        thread.join(timeout=0.01)
        if not thread.is_alive():
            break
    raise StartError("the simulator did not start")


def _server(
    app: ASGIApp,
    limits: ConnectionLimits,
    error_body: ErrorBody,
    error_headers: ErrorHeaders,
    *,
    stop: ShutdownTimeouts,
    readiness: Readiness,
    log: structlog.typing.FilteringBoundLogger | None = None,
    kind: type[GracefulServer] = GracefulServer,
) -> GracefulServer:
    # Where no descriptor is left, asyncio's loop tries again as often as connections wait, each time twice as busily,
    # and the application can open no connection. So clients get half of them, and those that are accepted all at once
    # before they can be dropped a quarter.
    descriptors = _file_limit()
    limits = replace(limits, connections=int(min(limits.connections, descriptors // 2)))
    protocol = partial(
        GracefulProtocol,
        limits=limits,
        error_body=error_body,
        error_headers=error_headers,
        # Connections without a request, the one that has been so for longest first.
        idle={},
        readiness=readiness,
    )
    config = uvicorn.Config(
        app,
        # uvicorn only calls it.
        http=cast("type[asyncio.Protocol]", protocol),
        # It would hold the URLs of GET queries, and so what clients put in variables.
        access_log=False,
        # Its own would print what libraries say of requests and errors; `gateway.logging` handles their messages.
        log_config=None,
        server_header=False,
        proxy_headers=False,
        lifespan="auto",
        ws="none",
        backlog=int(min(_BACKLOG, descriptors // 4)),
    )
    return kind(config, stop, readiness, log)
