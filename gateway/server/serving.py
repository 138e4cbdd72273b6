"""Running ASGI applications on sockets until a signal says stop."""

import ctypes
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf
from threading import Thread

import structlog
import uvicorn
from starlette.types import ASGIApp

from gateway.server.graceful_shutdown import GracefulServer, Readiness, ShutdownTimeouts, configured_protocol
from gateway.server.request_head import ConnectionLimits, ErrorBody, plain_text

if sys.platform != "win32":
    import resource

_START_SECONDS = 30
_CLEAN_UP_SECONDS = 5
_LIMITS = ConnectionLimits()
_STOP = ShutdownTimeouts()
# Whoever connects is on this machine, where connecting takes no time.
_STOP_BESIDE = ShutdownTimeouts(handshake_seconds=0)
_BACKLOG = 2048
_MEBIBYTE = 1024 * 1024
# malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, which goes up to 32 MiB.
_HEAP = {-1: 64 * _MEBIBYTE, -2: 4 * _MEBIBYTE, -3: 32 * _MEBIBYTE}


class BindError(Exception):
    """The address cannot be listened on; the message says which and why."""


class StartError(Exception):
    """A server ended before it served."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that takes connections, which wait until they are served; port 0 takes a free one. Raises BindError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BindError(f"cannot listen on {host} port {port}: {reason}") from None
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL under which this machine reaches a bound socket."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    bound: socket.socket,
    *,
    limits: ConnectionLimits = _LIMITS,
    error_body: ErrorBody = plain_text,
    stop: ShutdownTimeouts = _STOP,
    readiness: Readiness | None = None,
    log: structlog.typing.FilteringBoundLogger | None = None,
) -> bool:
    """Serve until SIGINT or SIGTERM, then stop as `stop` says. False where the application did not start.

    `readiness` ends with the first signal, and `log` is told of the stop.
    """
    _open_more_files()
    server = _server(app, limits, error_body, stop=stop, readiness=readiness or Readiness(), log=log)
    # Before and after uvicorn takes signals too: stopping as told is a success, not a death.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    _spare_the_collector()
    _keep_the_heap()
    server.run(sockets=[bound])
    return server.started


def _open_more_files() -> None:
    """Let the process have as many descriptors as it may: it often starts with 1024."""
    if sys.platform != "win32":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Some systems say that there is no limit and have one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _descriptors() -> float:
    if sys.platform != "win32":
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY:
            return most
    return inf


def _spare_the_collector() -> None:
    """Keep the cycle collector away from what lives as long as the process.

    A full collection walks every object there is: 20 ms for the modules and the schema alone, in the middle of
    whatever answer it falls into. Slots and rows are not tracked at all, so what is left to find are small cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _keep_the_heap() -> None:
    """Let glibc keep the memory of one large answer for the next, instead of giving it back and fetching it again.

    That took a sixth of the processor time of an answer of 10 MB. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, size in _HEAP.items():
            mallopt(parameter, size)


@contextmanager
def serve_in_thread(
    app: ASGIApp,
    bound: socket.socket,
    *,
    limits: ConnectionLimits = _LIMITS,
    error_body: ErrorBody = plain_text,
    stop: ShutdownTimeouts = _STOP_BESIDE,
) -> Iterator[str]:
    """Serve in a thread of its own while the block runs, then stop at once; gives the URL. Raises StartError."""
    server = _server(app, limits, error_body, stop=stop, readiness=Readiness())
    thread = Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        _await_start(server, thread)
        yield url_of(bound)
    finally:
        server.should_exit = True
        thread.join(timeout=stop.grace_seconds + _CLEAN_UP_SECONDS)


def _await_start(server: uvicorn.Server, thread: Thread) -> None:
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
    *,
    stop: ShutdownTimeouts,
    readiness: Readiness,
    log: structlog.typing.FilteringBoundLogger | None = None,
) -> GracefulServer:
    # Where no descriptor is left, asyncio's loop tries again as often as connections wait, each time twice as busily,
    # and every call to Leyr fails. So clients get half of them, and a quarter those that are taken all at once before
    # they can be dropped.
    descriptors = _descriptors()
    limits = replace(limits, connections=int(min(limits.connections, descriptors // 2)))
    return GracefulServer(
        uvicorn.Config(
            app,
            http=configured_protocol(limits, readiness, error_body),
            # It would hold the URLs of GET queries, and so whatever clients put in variables.
            access_log=False,
            # Its own would print what libraries say of requests and errors; gateway.logging.silence_others is instead.
            log_config=None,
            server_header=False,
            proxy_headers=False,
            lifespan="auto",
            ws="none",
            backlog=int(min(_BACKLOG, descriptors // 4)),
        ),
        stop,
        readiness,
        log,
    )
