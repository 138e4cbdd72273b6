"""The sockets of httpx2's connections: what it reads is counted, and all of them can be closed at once."""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context
from typing import Any

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream, ConnectError, ReadError, WriteError

from gateway.http_client.connector import ConnectConfig, Dialer
from gateway.http_client.failures import FailureKind, TransportError
from gateway.http_client.happy_eyeballs import Address

_READ_BYTES = 64 * 1024
_STATUS_LINE = b"HTTP/"
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class SocketDialer(Dialer[anyio.abc.SocketStream]):
    """Makes the sockets of Httpx2Client, to a server or its proxy."""

    def __init__(self, host: str, port: int, config: ConnectConfig) -> None:
        super().__init__(host, port, config)
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, _: asyncio.AbstractEventLoop, address: Address) -> anyio.abc.SocketStream:
        """See Dialer."""
        try:
            return await anyio.connect_tcp(address.host, self.port)
        except OSError as error:
            # anyio's own says that all attempts failed, of which there was one.
            raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None

    def drop(self, connection: anyio.abc.SocketStream) -> None:
        """See Dialer."""
        task = asyncio.get_running_loop().create_task(connection.aclose(), context=Context())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class Sockets(AsyncNetworkBackend):
    """Opens the sockets of one connection to Leyr, and keeps them until `close`."""

    def __init__(self, dialer: SocketDialer) -> None:
        self.dialer = dialer
        self._opened: list[anyio.abc.SocketStream] = []
        self.received = 0
        """The bytes that came, since it was last set to 0."""
        self.max_received = 0
        """After how many reading fails; 0 for never."""
        self.has_ended = False
        """Whether the peer has sent all that it will."""
        self.awaits_status_line = False
        """Whether what comes next has to begin as a response of HTTP/1.1 does."""
        self.top: NetworkStream | None = None
        """The stream that carries requests: within TLS, where that is used."""

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 # the dialer knows it
        port: int,  # noqa: ARG002 # as above
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 # each step has its own
        local_address: str | None = None,  # noqa: ARG002 # of no use here
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 # as above
    ) -> AsyncNetworkStream:
        """Connect to the first address that answers (RFC 8305)."""
        try:
            stream = await self.dialer.connect(asyncio.get_running_loop())
        except OSError as error:
            raise ConnectError from error
        self._opened.append(stream)
        self.top = NetworkStream(self, stream)
        return self.top

    def count(self, data: bytes) -> None:
        """Count bytes that came. Raises TransportError for too many, and for what begins as no answer does."""
        self.received += len(data)
        self.has_ended = not data
        if data and self.awaits_status_line:
            # h11 would wait for the end of a head, and others than web servers send none.
            self.awaits_status_line = False
            if not _STATUS_LINE.startswith(data[: len(_STATUS_LINE)]):
                raise TransportError(FailureKind.NOT_HTTP, "the answer is not HTTP")
        if self.max_received and self.received > self.max_received:
            raise TransportError(FailureKind.NOT_HTTP, "the answer is too long for what it holds")

    async def close(self) -> None:
        """Close all sockets at once; nothing more is sent or received."""
        opened, self._opened, self.top = self._opened, [], None
        for stream in opened:
            # One that broke may fail at this too, and nothing more is wanted of it; the others still have to be closed.
            with suppress(Exception):
                await stream.aclose()


class NetworkStream(AsyncNetworkStream):
    """A byte stream as httpx2 wants it: of a socket, or of TLS above one."""

    def __init__(self, sockets: Sockets, stream: Any) -> None:
        self._sockets = sockets
        self._stream = stream
        self._ahead: asyncio.Task[bytes] | None = None

    @property
    def has_more(self) -> bool:
        """Whether bytes or the end came that no request waits for."""
        return self._ahead is not None and self._ahead.done()

    def read_ahead(self) -> "asyncio.Task[bytes]":
        """Begin to read what the next `read` returns, so that what comes without a request does not go unseen."""
        self._ahead = asyncio.get_running_loop().create_task(self._read(_READ_BYTES), context=Context())
        return self._ahead

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 # as above
        """Read some bytes; none at the end."""
        ahead, self._ahead = self._ahead, None
        data = await (self._read(max_bytes) if ahead is None else ahead)
        self._sockets.count(data)
        return data

    async def _read(self, max_bytes: int) -> bytes:
        try:
            received: bytes = await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (*_BROKEN, OSError) as error:
            raise ReadError from error
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 # as above
        """Write all bytes."""
        if not buffer:
            return
        try:
            await self._stream.send(buffer)
        except (*_BROKEN, OSError) as error:
            raise WriteError from error

    async def aclose(self) -> None:
        """Close the socket below, without TLS's closing alert, for which it would have to wait."""
        if self._ahead is not None:
            self._ahead.cancel()
        await self._sockets.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 # as above
    ) -> AsyncNetworkStream:
        """Begin TLS; its end has to be said by the peer, or else an answer could be cut short unseen."""
        dialer = self._sockets.dialer
        try:
            async with asyncio.timeout(dialer.config.tls_seconds):
                wrapped = await TLSStream.wrap(
                    self._stream, server_side=False, hostname=server_hostname, ssl_context=ssl_context
                )
        except TimeoutError:
            raise TransportError(FailureKind.TLS_TIMEOUT, "no TLS in time") from None
        except (*_BROKEN, OSError) as error:
            # The host may have moved, and another one answer where it was.
            dialer.forget()
            raise ConnectError from error
        self._sockets.top = NetworkStream(self._sockets, wrapped)
        return self._sockets.top

    def get_extra_info(self, info: str) -> Any:
        """What httpx2 asks for: whether TLS agreed on HTTP/2, and whether an idle connection was closed."""
        if info == "ssl_object":
            return self._stream.extra(anyio.streams.tls.TLSAttribute.ssl_object, None)  # noqa: S610 # not Django's
        return self.has_more if info == "is_readable" else None
