"""A server that sends the bytes that a script says, and keeps the heads of requests."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.pool import ConnectionPool, HttpClient

MEBIBYTE = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._server.heads.append(head)
        return head

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces so that each arrives by itself."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            # The client lives in the same loop, which looks at its sockets once a turn.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    @property
    def resumes(self) -> bool:
        """Whether the client resumed a session of TLS."""
        return bool(self._writer.get_extra_info("ssl_object").session_reused)

    async def abandoned(self) -> None:
        while await self._reader.read(65536):
            pass

    def drop(self, *, reset: bool = False) -> None:
        """Close the connection without TLS's close_notify."""
        if reset:
            connection: socket.socket = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def open_sockets() -> int:
    return sum(descriptor.is_socket() for descriptor in Path("/dev/fd").iterdir())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 # what is waited for lies in the kernel
            await asyncio.sleep(0.001)


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


class Server:
    """Runs a script for each connection, the last one for all further; when it is left, no socket may be open."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self._scripts = scripts
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._sockets = open_sockets()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, backlog=512)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        # Servers of other tests, in threads of their own, may close some meanwhile.
        await until(lambda: open_sockets() <= self._sockets)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        self._tasks.add(asyncio.get_running_loop().create_task(self._run(script, reader, writer)))

    async def _run(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(Peer(self, reader, writer))
        finally:
            self.open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def answering(*pieces: bytes) -> Script:
    """Sends the same response to every request."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(*pieces)

    return script


def closing_after(*pieces: bytes, reset: bool = False) -> Script:
    """Responds to one request and closes the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if reset:
            peer.drop(reset=True)

    return script


def endless(start: bytes, piece: bytes) -> Script:
    """Responds to one request until the client has had enough."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while True:
            await peer.send(piece)

    return script


def sized(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([OK[:-2], *fields, b"content-length: %d" % len(body), b"", body])


def chunked(chunks: Iterable[bytes], *fields: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return b"\r\n".join([OK[:-2], *fields, b"transfer-encoding: chunked", b"", body + b"0", trailers + b"\r\n"])


MAX_BYTES = 1000
RESPONSE = sized(b"[1]")


C = TypeVar("C", bound=HttpClient)


# The server shares this loop, so a step may take as long as all else that runs here.
PATIENT = ConnectConfig(lookup_seconds=20, connect_seconds=20, tls_seconds=20)


@asynccontextmanager
async def opened(client: Callable[..., C], server: Server, **options: Any) -> AsyncIterator[C]:
    connections = client(server.url, {}, **{"connecting": PATIENT, **options})
    try:
        async with asyncio.timeout(30):
            yield connections
    finally:
        await connections.close()


pool = partial(opened, ConnectionPool)


async def bodies(connections: HttpClient, calls: int) -> list[bytes | bytearray]:
    return [(await connections.get("/", max_bytes=MAX_BYTES)).body for _ in range(calls)]


async def silent(peer: Peer) -> None:
    """Reads requests and never responds."""
    while await peer.request():
        pass
