"""HttpClient to Leyr over HTTP: the seam that tests replace.

The pool is the gateway's own. Ten calls that come together cost 0.15 ms of CPU so, 0.47 ms through aiohttp's client
and far more through httpx's (measured with benchmarks/transport.py, whose readme has the figures), and every answer
of a cold gateway waits for some ten calls.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from gateway.http_client.connection import HttpConnection, Response, StaleConnectionError
from gateway.http_client.semaphore import ResizableSemaphore

_CONNECT_SECONDS = 1.0
_WAIT_SECONDS = 0.25
# Four EHRs at their gates' limit; with 1024 descriptors, what clients and their queue leave.
_MOST_OPEN = 256
# Servers give kept connections up after a while, some of them without saying so.
_IDLE_SECONDS = 15.0
_MOST_IDLE = 128
_VISIBLE = re.compile(r"[!-~]*").fullmatch


class PoolTimeoutError(ConnectionError):
    """All connections that there may be were in use, so nothing was sent."""


class HttpClient(Protocol):
    """Sends GET requests to one host with headers that were given once. Redirects are not followed."""

    async def get(self, target: str, *, largest: int, within: float = 60.0) -> Response:
        """Ask for a percent-encoded path and query.

        Raises TimeoutError after `within` seconds, PoolTimeoutError, any other OSError, ContentDecodingError, and
        BodyTooLargeError for a body of more than `largest` bytes.
        """
        ...

    async def close(self) -> None:
        """Give the sockets back."""
        ...


HttpClientFactory: TypeAlias = Callable[[str, Mapping[str, str]], HttpClient]


class ConnectionPool:
    """Kept-alive connections; to be used inside one loop.

    A call that is cancelled takes its connection with it, so none can be stuck. How many calls run at once is for
    the client to say, an EHR at a time; the bound here keeps descriptors for others.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None = None,
        connect_seconds: float = _CONNECT_SECONDS,
        wait_seconds: float = _WAIT_SECONDS,
        idle_seconds: float = _IDLE_SECONDS,
        most_idle: int = _MOST_IDLE,
        most_open: int = _MOST_OPEN,
    ) -> None:
        """`base_url` names scheme, host, port and the path that all targets stand below.

        A call waits `wait_seconds` for one of `most_open` connections, and `connect_seconds` for a new one to be made.
        Raises ValueError for what would not stay within its line of a request.
        """
        url = urlsplit(base_url)
        secure = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if secure else 80)
        self._tls = (tls or ssl.create_default_context()) if secure else None
        self._start = "GET " + _visible(url.path.rstrip("/"))
        self._rest = _rest_of_head(url.netloc.rpartition("@")[2], headers)
        self._connect_seconds = connect_seconds
        self._wait_seconds = wait_seconds
        self._semaphore = ResizableSemaphore(most_open)
        self._idle_seconds = idle_seconds
        self._most_idle = most_idle
        self._idle: deque[HttpConnection] = deque()
        self._busy: set[HttpConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_open = True

    async def get(self, target: str, *, largest: int, within: float = 60.0) -> Response:
        """See HttpClient. Raises ValueError, and sends nothing, where the target is not percent-encoded."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        deadline = loop.time() + within
        head = f"{self._start}{_visible(target)}{self._rest}".encode("ascii")
        if not self._semaphore.take():
            await self._wait(loop, deadline)
            within = deadline - loop.time()
        try:
            kept = self._kept(loop)
            if kept is not None:
                try:
                    return await self._exchanged(kept, loop, head, largest, within)
                except StaleConnectionError:
                    pass
            connection = await self._connected(loop, deadline)
            return await self._exchanged(connection, loop, head, largest, deadline - loop.time())
        finally:
            self._semaphore.give_back()

    async def close(self) -> None:
        """See HttpClient."""
        self._is_open = False
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._semaphore.send_away()
        # Transports close in the loop's next turn.
        await asyncio.sleep(0)

    async def _wait(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Wait for a place."""
        self._refuse_when_closed()
        left = deadline - loop.time()
        if not await self._semaphore.wait(min(self._wait_seconds, left)):
            self._refuse_when_closed()
            if left <= self._wait_seconds:
                raise TimeoutError
            raise PoolTimeoutError("all connections are in use")

    async def _exchanged(
        self, connection: HttpConnection, loop: asyncio.AbstractEventLoop, head: bytes, largest: int, within: float
    ) -> Response:
        self._busy.add(connection)
        try:
            return await connection.request(head, largest, within)
        finally:
            self._busy.discard(connection)
            self._keep_or_close(connection, loop)

    def _keep_or_close(self, connection: HttpConnection, loop: asyncio.AbstractEventLoop) -> None:
        if connection.reusable and self._is_open and len(self._idle) < self._most_idle:
            connection.idle_since = loop.time()
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = loop.call_later(self._idle_seconds, self._sweep_idle, loop)
        else:
            connection.close()

    def _kept(self, loop: asyncio.AbstractEventLoop) -> HttpConnection | None:
        """The connection that was used last."""
        self._close_old(loop)
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    def _close_old(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give back those that have waited too long."""
        too_old = loop.time() - self._idle_seconds
        while self._idle and self._idle[0].idle_since <= too_old:
            self._idle.popleft().close()

    def _sweep_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        # Moved when it goes off, not whenever a connection is used: a call takes some, and the last is soon back.
        self._sweep = None
        self._close_old(loop)
        if self._idle:
            self._sweep = loop.call_at(self._idle[0].idle_since + self._idle_seconds, self._sweep_idle, loop)

    async def _connected(self, loop: asyncio.AbstractEventLoop, deadline: float) -> HttpConnection:
        self._refuse_when_closed()
        latest = loop.time() + self._connect_seconds
        connection = HttpConnection(loop)
        try:
            async with asyncio.timeout_at(min(latest, deadline)):
                await loop.create_connection(lambda: connection, self._host, self._port, ssl=self._tls)
        except (TimeoutError, asyncio.CancelledError) as given_up:
            # uvloop gives the socket back and tells nobody.
            connection.close()
            if isinstance(given_up, TimeoutError) and latest <= deadline:
                raise ConnectionError("no connection in time") from None
            raise
        if not self._is_open:
            connection.close()
        self._refuse_when_closed()
        return connection

    def _refuse_when_closed(self) -> None:
        if not self._is_open:
            raise ConnectionError("the connections are closed")


def _rest_of_head(host: str, headers: Mapping[str, str]) -> str:
    """What follows the target."""
    fields = {"host": host, **headers, "accept-encoding": "gzip"}
    if not all(text.isascii() and text.isprintable() for field in fields.items() for text in field):
        # The text may be a credential, so it is left out.
        raise ValueError("a header holds a character that cannot be sent")
    return " HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"


def _visible(text: str) -> str:
    if _VISIBLE(text) is None:
        raise ValueError("a path or query is not percent-encoded")
    return text
