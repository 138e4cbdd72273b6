"""HttpClient, the interface that tests replace, and its implementation ConnectionPool.

The pool is the gateway's own: every answer of a cold gateway waits for some ten calls. Ten that come together cost
0.17 ms of CPU with it, 0.6 ms through aiohttp, 2.1 ms over httpx2's core, and 7.5 ms through httpx's client, or 10.9 ms
where sniffio is missing (measured with benchmarks/transport.py).
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from gateway.http_client.connection import BodyBudget, HttpConnection, Response, StaleConnectionError
from gateway.http_client.connector import ConnectConfig, Connector
from gateway.http_client.semaphore import ResizableSemaphore
from gateway.http_client.tls import resuming_context

_VISIBLE_ASCII = re.compile(r"[!-~]*").fullmatch


class PoolTimeoutError(ConnectionError):
    """No connection of the pool became free in time, so nothing was sent."""


class HttpClient(Protocol):
    """Sends GET requests to one host, with headers that are the same for all. Redirects are not followed."""

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:
        """Request a percent-encoded path and query.

        Raises TimeoutError where the whole response is not there after `timeout_seconds`, PoolTimeoutError, any other
        OSError (`failures.kind_of` tells its kind), ContentDecodingError, BodyTooLargeError for a body of more than
        `max_bytes`, and BodyBudgetError.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class WritingClient(Protocol):
    """Sends requests that change something, each once."""

    async def send(
        self, method: str, target: str, body: bytes, *, max_bytes: int, timeout_seconds: float = 60.0
    ) -> Response:
        """Send a body with a method to a percent-encoded path and query.

        Raises NotSentError where it is certain that nothing of it has left, and as `HttpClient.get` does where not.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class WholeClient(HttpClient, WritingClient, Protocol):
    """Reads and writes."""


HttpClientFactory: TypeAlias = Callable[[str, Mapping[str, str]], HttpClient]
"""Makes a client for a base URL and the headers of its requests."""

# Of large bodies together, from their arrival until they are read.
_MAX_BODY_BYTES = 256 * 1024 * 1024
_CONNECTING = ConnectConfig()


class ConnectionPool:
    """Keep-alive connections to one host; to be used inside one loop.

    A call that is cancelled closes its connection, so none can get stuck. ConcurrencyLimiter bounds the calls to one
    EHR; the bound here keeps file descriptors free for clients. Where it is reached, EHRs take turns.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None = None,
        connecting: ConnectConfig = _CONNECTING,
        # One request may need more connections than there are: it waits until EHRs that answer have given back theirs.
        pool_timeout_seconds: float = 2.0,
        # Four EHRs at their concurrency limit; with 1024 descriptors, what clients and their queue leave.
        max_connections: int = 256,
        max_keepalive_connections: int = 128,
        # Servers close idle connections after a while, some of them without saying so.
        keepalive_expiry_seconds: float = 15.0,
    ) -> None:
        """`base_url` has the scheme, host, port and path that precede all targets.

        A call waits up to `pool_timeout_seconds` for one of `max_connections`, and for a new one to be made as long as
        `connecting` says. Raises ValueError for a path or header that would not stay within its line of a request.
        """
        url = urlsplit(base_url)
        secure = url.scheme == "https"
        tls = (tls or resuming_context()) if secure else None
        self._bodies = BodyBudget(_MAX_BODY_BYTES)
        new_connection = partial(HttpConnection, bodies=self._bodies)
        self._connector = Connector(url, tls, connecting, new_connection)
        self._head_start = "GET " + _checked(url.path.rstrip("/"))
        self._head_end = _head_end(url.netloc.rpartition("@")[2], headers)
        self._pool_timeout_seconds = pool_timeout_seconds
        self._semaphore = ResizableSemaphore(max_connections)
        self._keepalive_expiry_seconds = keepalive_expiry_seconds
        self._max_keepalive_connections = max_keepalive_connections
        self._idle: deque[HttpConnection] = deque()
        self._busy: set[HttpConnection] = set()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_open = True

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:
        """See HttpClient. Raises ValueError, and sends nothing, where the target is not percent-encoded.

        A request on a kept connection that the server had closed meanwhile is sent once more, on a new connection.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        head = f"{self._head_start}{_checked(target)}{self._head_end}".encode("ascii")
        if not self._semaphore.try_acquire():
            # The first two segments of a path name an EHR.
            await self._acquire(loop, deadline, tuple(target.split("/", 3)[:3]))
            timeout_seconds = deadline - loop.time()
        try:
            kept = self._take_idle(loop)
            if kept is not None:
                try:
                    return await self._send(kept, loop, head, max_bytes, timeout_seconds)
                except StaleConnectionError:
                    pass
            connection = await self._connect(loop, deadline)
            response = await self._send(connection, loop, head, max_bytes, deadline - loop.time())
            connection.keep_tls_session()
            return response
        finally:
            self._semaphore.release()

    async def close(self) -> None:
        """Close all connections; calls that run or wait raise ConnectionError, and so do later ones."""
        self._is_open = False
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        self._semaphore.reject_waiting()
        self._connector.close()
        # Transports close in the loop's next turn.
        await asyncio.sleep(0)

    async def _acquire(self, loop: asyncio.AbstractEventLoop, deadline: float, part: tuple[str, ...]) -> None:
        """Wait for permission to use a connection, in turn with other parts of the host."""
        self._raise_if_closed()
        left = deadline - loop.time()
        if not await self._semaphore.acquire(min(self._pool_timeout_seconds, left), part):
            self._raise_if_closed()
            if left <= self._pool_timeout_seconds:
                raise TimeoutError
            raise PoolTimeoutError("all connections are in use")

    async def _send(
        self, connection: HttpConnection, loop: asyncio.AbstractEventLoop, head: bytes, max_bytes: int, seconds: float
    ) -> Response:
        """Send a request, and keep or close its connection afterwards."""
        self._busy.add(connection)
        try:
            return await connection.request(head, max_bytes, seconds)
        finally:
            self._busy.discard(connection)
            if connection.is_reusable and self._is_open and len(self._idle) < self._max_keepalive_connections:
                connection.idle_since = loop.time()
                self._idle.append(connection)
                if self._expiry_timer is None:
                    self._expiry_timer = loop.call_later(
                        self._keepalive_expiry_seconds, self._expire, loop, context=Context()
                    )
            else:
                connection.close()

    def _take_idle(self, loop: asyncio.AbstractEventLoop) -> HttpConnection | None:
        """The idle connection that was used last."""
        self._close_expired(loop)
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return None

    def _close_expired(self, loop: asyncio.AbstractEventLoop) -> None:
        latest = loop.time() - self._keepalive_expiry_seconds
        while self._idle and self._idle[0].idle_since <= latest:
            self._idle.popleft().close()

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        # Set anew when it goes off, not at each use of a connection: most connections are used again soon.
        self._expiry_timer = None
        self._close_expired(loop)
        if self._idle:
            when = self._idle[0].idle_since + self._keepalive_expiry_seconds
            self._expiry_timer = loop.call_at(when, self._expire, loop, context=Context())

    async def _connect(self, loop: asyncio.AbstractEventLoop, deadline: float) -> HttpConnection:
        self._raise_if_closed()
        # Transports and timers outlive the request of now. They keep the context in which they are made, and with it
        # what the request keeps there.
        connecting = loop.create_task(self._connector.connect(loop), context=Context())
        try:
            async with asyncio.timeout_at(deadline):
                connection = await connecting
        except (TimeoutError, asyncio.CancelledError):
            if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
                connecting.result().close()
            raise
        finally:
            # The task keeps an error, which keeps this frame.
            del connecting
        if not self._is_open:
            connection.close()
        self._raise_if_closed()
        return connection

    def _raise_if_closed(self) -> None:
        if not self._is_open:
            raise ConnectionError("the connections are closed")


def _head_end(host: str, headers: Mapping[str, str]) -> str:
    """The part of each request's head that follows the target."""
    fields = {"host": host, **headers, "accept-encoding": "gzip"}
    if not all(text.isascii() and text.isprintable() for field in fields.items() for text in field):
        # The text may be a credential, so the message does not quote it.
        raise ValueError("a header holds a character that cannot be sent")
    return " HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"


def _checked(target: str) -> str:
    if _VISIBLE_ASCII(target) is None:
        raise ValueError("a path or query is not percent-encoded")
    return target
