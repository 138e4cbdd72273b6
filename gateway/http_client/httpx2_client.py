"""HttpClient over httpx2, for what ConnectionPool does not speak: proxies, HTTP/2, and requests that change something.

httpx2's own pool holds a connection for ever where a call is cancelled while a proxy's tunnel is made, and tells no
HTTP/2 server of a cancelled call, whose unread bytes then fill the connection's window. So each connection has a pool
of its own here, which is closed after a call on it was cancelled or failed; a semaphore bounds how many there are.
It is httpx2's core that is used, since its client inflates bodies of any size.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from gateway.http_client.connection import BodyBudget, NotSentError, Response, StaleConnectionError
from gateway.http_client.connector import ConnectConfig
from gateway.http_client.failures import FailureKind, TransportError
from gateway.http_client.httpx2_exchange import Exchange
from gateway.http_client.network_stream import SocketDialer, Sockets
from gateway.http_client.pool import PoolTimeoutError
from gateway.http_client.proxies import Proxy
from gateway.http_client.semaphore import ResizableSemaphore
from gateway.http_client.tls import client_context

# Servers allow 100 calls at a time on a connection or more, as a rule.
_MAX_STREAMS = 64
_CONNECTING = ConnectConfig()
_MAX_BODY_BYTES = 256 * 1024 * 1024
_VISIBLE_ASCII = re.compile(r"[!-~]*").fullmatch


class _Channel:
    """One connection, with a pool of httpx2 that holds no other."""

    def __init__(self, sockets: Sockets, make_pool: Callable[[Sockets], httpcore2.AsyncConnectionPool]) -> None:
        self.sockets = sockets
        self.pool = make_pool(sockets)
        self.exchanges: set[Exchange] = set()
        """Those that use it now."""
        self.requests = 0
        self.idle_since = 0.0
        self.is_shared = False
        """Whether it is HTTP/2, so that several calls may use it."""
        self.is_usable = True
        self.has_carried = False
        """Whether a request may have been written to it."""

    def settle(self) -> None:
        """Find out, after a call, whether the connection may carry another."""
        [*connections] = self.pool.connections
        if len(connections) != 1:
            self.is_usable = False
        elif self.is_shared:
            self.is_usable = self.is_usable and connections[0].is_available()
        else:
            self.is_usable = self.is_usable and connections[0].is_idle() and not _has_more(connections[0])

    @property
    def calls(self) -> int:
        """How many use it now."""
        return len(self.exchanges)

    @property
    def has_room(self) -> bool:
        """Whether it takes one more call now: others would wait behind the calls that the server takes at a time."""
        if not self.is_shared:
            return not self.calls
        limits: list[int] = [_innermost(each)._max_streams for each in self.pool.connections]  # noqa: SLF001 # nothing public says so
        return self.calls < min([_MAX_STREAMS, *limits])

    def turn_away(self) -> None:
        """Send the calls that were not sent yet elsewhere, after one failed: no further one is begun here."""
        for exchange in self.exchanges:
            if not exchange.has_begun:
                exchange.fail(StaleConnectionError("closed"))

    async def close(self) -> None:
        self.is_usable = False
        await self.sockets.close()


def _has_more(connection: Any) -> bool:
    """Whether bytes came behind the response, which h11 would take for the next one."""
    more, has_ended = _innermost(connection)._h11_state.trailing_data  # noqa: SLF001 # nothing public says so
    return bool(more or has_ended)


def _innermost(connection: Any) -> Any:
    """What speaks HTTP, within what chooses its version or leads through a proxy."""
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    return connection


class Httpx2Client:
    """Keep-alive connections to one host, through a proxy or not; to be used inside one loop.

    A call that is cancelled or late ends at once; its connection is closed when no other call uses it.
    """

    def __init__(  # noqa: PLR0913 # those of ConnectionPool, and two more
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        proxy: Proxy | None = None,
        http2: bool = False,
        tls: ssl.SSLContext | None = None,
        connecting: ConnectConfig = _CONNECTING,
        pool_timeout_seconds: float = 2.0,
        max_connections: int = 256,
        max_keepalive_connections: int = 128,
        keepalive_expiry_seconds: float = 15.0,
    ) -> None:
        """See ConnectionPool; `http2` offers HTTP/2 to an https server. Raises ValueError in the same cases."""
        url = urlsplit(base_url)
        self._scheme, self._host, self._port = url.scheme, url.hostname or "", url.port
        self._path = _checked(url.path.rstrip("/"))
        self._headers = _header_lines(url.netloc.rpartition("@")[2], headers)
        self._tls = (tls or client_context()) if url.scheme == "https" else None
        self._proxy = None if proxy is None else _proxy_of(proxy)
        self._offers_http2 = http2 and url.scheme == "https"
        port = self._port or (80 if self._tls is None else 443)
        near = (self._host, port) if proxy is None else (proxy.host, proxy.port)
        self._is_forwarded = proxy is not None and self._tls is None and proxy.scheme in {"http", "https"}
        self._dialer = SocketDialer(*near, connecting)
        self._pool_timeout_seconds = pool_timeout_seconds
        self._max_keepalive_connections = max_keepalive_connections
        self._keepalive_expiry_seconds = keepalive_expiry_seconds
        self._semaphore = ResizableSemaphore(max_connections)
        self._bodies = BodyBudget(_MAX_BODY_BYTES)
        # Those that may take a call: idle, or shared. The one at the end was used last.
        self._open: deque[_Channel] = deque()
        self._exchanges: set[Exchange] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Done when it is known whether the connection that is made speaks HTTP/2.
        self._first: asyncio.Future[bool] | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._is_open = True

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:
        """See HttpClient. Raises ValueError, and sends nothing, where the target is not percent-encoded.

        A request on a kept connection that the server had closed meanwhile is sent once more, on a new connection.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        make = partial(self._request, b"GET", target)
        make()
        await self._acquire(deadline, target)
        try:
            channel = await self._take(deadline)
            try:
                return await self._exchange(channel, make(), max_bytes, deadline)
            except StaleConnectionError:
                return await self._exchange(self._new(), make(), max_bytes, deadline)
        finally:
            self._semaphore.release()

    async def send(
        self, method: str, target: str, body: bytes, *, max_bytes: int, timeout_seconds: float = 60.0
    ) -> Response:
        """Send a request that changes something, once, whatever happens.

        Raises NotSentError where nothing of it has left; after any other error it may have arrived. It has a connection
        of its own, since of a kept one it could not be told whether the server had closed it before the request came.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        request = self._request(method.encode("ascii"), target, body)
        try:
            self._raise_if_closed()
            await self._acquire(deadline, target)
        except (OSError, PoolTimeoutError) as error:
            raise NotSentError from error
        try:
            channel = self._new()
            try:
                return await self._exchange(channel, request, max_bytes, deadline)
            except Exception as error:
                has_refused = isinstance(error, TransportError) and error.kind is FailureKind.PROXY_REFUSED
                if has_refused or not channel.has_carried:
                    raise NotSentError from error
                raise
            finally:
                self._retire(channel)
        finally:
            self._semaphore.release()

    async def close(self) -> None:
        """Close all connections; calls that run or wait raise ConnectionError, and so do later ones."""
        self._is_open = False
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        self._semaphore.reject_waiting()
        self._dialer.close()
        for exchange in tuple(self._exchanges):
            exchange.fail(ConnectionError("the connections are closed"))
        while self._open:
            self._spawn(self._open.pop().close())
        # Calls give back their connections in the loop's next turn.
        await asyncio.sleep(0)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _request(self, method: bytes, target: str, body: bytes | None = None) -> httpcore2.Request:
        """Raises ValueError where the target is not percent-encoded."""
        path = f"{self._path}{_checked(target)}".encode("ascii")
        url = httpcore2.URL(scheme=self._scheme, host=self._host, port=self._port, target=path)
        length = [] if body is None else [("content-length", str(len(body)))]
        return httpcore2.Request(method, url, headers=[*self._headers, *length], content=body)

    async def _acquire(self, deadline: float, target: str) -> None:
        """Wait for permission to use a connection, in turn with other parts of the host."""
        if self._semaphore.try_acquire():
            return
        self._raise_if_closed()
        left = deadline - asyncio.get_running_loop().time()
        # The first two segments of a path name an EHR.
        part = tuple(target.split("/", 3)[:3])
        if not await self._semaphore.acquire(min(self._pool_timeout_seconds, left), part):
            self._raise_if_closed()
            if left <= self._pool_timeout_seconds:
                raise TimeoutError
            raise PoolTimeoutError("all connections are in use")

    async def _take(self, deadline: float) -> _Channel:
        """A connection that takes a call, or else a new one.

        Where it may turn out to speak HTTP/2, others wait for a connection that is made already, unless that fails.
        """
        self._raise_if_closed()
        has_failed = False
        while self._first is not None and not self._open and not has_failed:
            first, left = self._first, deadline - asyncio.get_running_loop().time()
            if not (await asyncio.wait({first}, timeout=left))[0]:
                raise TimeoutError
            has_failed = first.cancelled()
            self._raise_if_closed()
        self._close_expired()
        while self._open:
            channel = self._open.pop()
            if channel.is_usable and (channel.sockets.top is not None and not channel.sockets.top.has_more):
                if channel.has_room:
                    return channel
                # The call that ends next brings it back.
                continue
            if not channel.calls:
                self._spawn(channel.close())
        return self._new()

    def _new(self) -> _Channel:
        self._raise_if_closed()
        return _Channel(Sockets(self._dialer), self._make_pool)

    def _make_pool(self, sockets: Sockets) -> httpcore2.AsyncConnectionPool:
        return httpcore2.AsyncConnectionPool(
            ssl_context=self._tls,
            proxy=self._proxy,
            max_connections=1,
            http2=self._offers_http2,
            network_backend=sockets,
        )

    async def _exchange(
        self, channel: _Channel, request: httpcore2.Request, max_bytes: int, deadline: float
    ) -> Response:
        """Send a request, and keep or close its connection afterwards."""
        loop = asyncio.get_running_loop()
        exchange = Exchange(
            channel.sockets,
            self._bodies,
            max_bytes,
            is_first=not channel.requests,
            is_shared=channel.is_shared,
            is_forwarded=self._is_forwarded,
        )
        timer = loop.call_at(deadline, exchange.fail, TimeoutError())
        if not channel.requests:
            exchange.connected.add_done_callback(partial(self._connected, channel))
            if self._offers_http2 and self._first is None:
                self._first = exchange.connected
        channel.exchanges.add(exchange)
        channel.requests += 1
        if channel.is_shared and channel.has_room:
            self._open.append(channel)
        self._exchanges.add(exchange)
        task = self._spawn(exchange.run(channel.pool, request))
        try:
            return await exchange.ended
        finally:
            timer.cancel()
            task.cancel()
            # From here on it writes nothing that it has not begun to.
            channel.has_carried = channel.has_carried or exchange.has_begun
            exchange.connected.cancel()
            self._exchanges.discard(exchange)
            channel.exchanges.discard(exchange)
            self._give_back(channel, is_clean=exchange.is_clean)

    def _connected(self, channel: _Channel, connected: "asyncio.Future[bool]") -> None:
        """Let others use the connection too, where it is HTTP/2; it failed where the future was cancelled."""
        if self._first is connected:
            self._first = None
        if not connected.cancelled():
            self._offers_http2 = channel.is_shared = connected.result()
            if channel.is_shared and channel.is_usable and channel.has_room:
                self._open.append(channel)

    def _give_back(self, channel: _Channel, *, is_clean: bool) -> None:
        if is_clean:
            channel.settle()
        else:
            channel.turn_away()
        if not (is_clean and channel.is_usable and self._is_open):
            self._retire(channel)
        elif not channel.calls or channel not in self._open:
            self._keep(channel)

    def _keep(self, channel: _Channel) -> None:
        loop = asyncio.get_running_loop()
        channel.idle_since = loop.time()
        if channel in self._open:
            self._open.remove(channel)
        if len(self._open) >= self._max_keepalive_connections:
            self._retire(channel)
            return
        self._open.append(channel)
        if channel.sockets.top is not None and not channel.is_shared:
            channel.sockets.top.read_ahead().add_done_callback(partial(self._read_ahead, channel))
        if self._expiry_timer is None:
            self._expiry_timer = loop.call_later(self._keepalive_expiry_seconds, self._expire, context=Context())

    def _retire(self, channel: _Channel) -> None:
        """Let no further call use a connection, and close it when none does."""
        channel.is_usable = False
        if channel in self._open:
            self._open.remove(channel)
        if not channel.calls:
            self._spawn(channel.close())

    def _read_ahead(self, channel: _Channel, read: "asyncio.Task[bytes]") -> None:
        if not read.cancelled():
            read.exception()
        if not channel.calls:
            self._retire(channel)

    def _close_expired(self) -> None:
        latest = asyncio.get_running_loop().time() - self._keepalive_expiry_seconds
        for channel in tuple(self._open):
            if not channel.calls and channel.idle_since <= latest:
                self._retire(channel)

    def _expire(self) -> None:
        self._expiry_timer = None
        self._close_expired()
        if self._open:
            self._expiry_timer = asyncio.get_running_loop().call_later(
                self._keepalive_expiry_seconds, self._expire, context=Context()
            )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        # Its connection outlives the request of now, and so must not hold what that keeps in its context.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _raise_if_closed(self) -> None:
        if not self._is_open:
            raise ConnectionError("the connections are closed")


def _proxy_of(proxy: Proxy) -> httpcore2.Proxy:
    url = httpcore2.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/")
    login = None if proxy.login is None else (proxy.login[0].encode(), proxy.login[1].encode())
    return httpcore2.Proxy(url, login, ssl_context=client_context() if proxy.scheme == "https" else None)


def _header_lines(host: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    fields = {"host": host, **headers, "accept-encoding": "gzip"}
    if not all(text.isascii() and text.isprintable() for field in fields.items() for text in field):
        # The text may be a credential, so the message does not quote it.
        raise ValueError("a header holds a character that cannot be sent")
    return list(fields.items())


def _checked(target: str) -> str:
    if _VISIBLE_ASCII(target) is None:
        raise ValueError("a path or query is not percent-encoded")
    return target
