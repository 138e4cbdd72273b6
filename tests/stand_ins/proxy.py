"""Proxies between the gateway and what it calls: HTTP's, with tunnels and without, and SOCKS5."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit

Behaviour: TypeAlias = Literal["works", "is silent", "dies at once", "dies after", "refuses"]


class Proxy:
    """An HTTP proxy that leads to `port` of this machine, whatever host it is asked for: names need not exist."""

    def __init__(
        self, port: int, behaviour: Behaviour = "works", *, login: str | None = None, status: bytes = b"403 Forbidden"
    ) -> None:
        """`dies after` means after the first bytes of an answer; `refuses` with `status`."""
        self._to = port
        self._behaviour = behaviour
        self._login = None if login is None else b"basic " + b64encode(login.encode()).lower()
        self._status = status
        self.asked: list[str] = []
        """What clients asked for: host and port of a tunnel, or else a URL."""
        self.heads: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._run(reader, writer)))

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.serve(reader, writer)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, asked, _ = head.split(b" ", 2)
        self.asked.append(asked.decode())
        if self._behaviour == "dies at once":
            return
        if self._behaviour == "is silent":
            await reader.read()
        elif self._behaviour == "refuses":
            await self._refuse(reader, writer, self._status)
        elif self._login is not None and self._login not in head.lower():
            await self._refuse(reader, writer, b"407 Proxy Authentication Required")
        elif method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self.relay(reader, writer)
        else:
            # As a server of its own gets it: with the path alone.
            target = urlsplit(asked.decode())
            path = f"{target.path or '/'}{'?' if target.query else ''}{target.query}".encode()
            await self.relay(reader, writer, head.replace(asked, path, 1))

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: bytes) -> None:
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)
        await reader.read()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        """Pass bytes on in both directions, until either side has enough."""
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            onward.write(first)
            answers = self._passed(onward_reader, writer.write, once=self._behaviour == "dies after")
            both = [asyncio.ensure_future(each) for each in (self._passed(reader, onward.write), answers)]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            onward.transport.abort()

    async def _passed(
        self, reader: asyncio.StreamReader, write: Callable[[bytes], None], *, once: bool = False
    ) -> None:
        while data := await reader.read(65536):
            write(data[:20] if once else data)
            if once:
                # The bytes go out before the connection is reset.
                await asyncio.sleep(0.01)
                return


class Socks5Proxy(Proxy):
    """A SOCKS5 proxy (RFC 1928) that takes names, and a user name and password (RFC 1929) where it wants a login."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._behaviour == "is silent":
            await reader.read()
        _version, methods = await reader.readexactly(2)
        offered = await reader.readexactly(methods)
        wanted = 0 if self._login is None else 2
        writer.write(bytes([5, wanted if wanted in offered else 255]))
        if wanted not in offered:
            await reader.read()
        if wanted:
            name = await self._text(reader, skipped=1)
            password = await self._text(reader)
            given = b"basic " + b64encode(name + b":" + password).lower()
            writer.write(bytes([1, given != self._login]))
        _version, _command, _, kind = await reader.readexactly(4)
        host = (
            await self._text(reader) if kind == 3 else b".".join(b"%d" % each for each in await reader.readexactly(4))
        )
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{host.decode()}:{port}")
        is_allowed = self._behaviour != "refuses"
        writer.write(bytes([5, 0 if is_allowed else 2, 0, 1, 0, 0, 0, 0, 0, 0]))
        if is_allowed:
            await self.relay(reader, writer)

    async def _text(self, reader: asyncio.StreamReader, *, skipped: int = 0) -> bytes:
        *_, length = await reader.readexactly(skipped + 1)
        return await reader.readexactly(length)


@contextmanager
def in_thread(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, as it serves from a thread of its own."""
    started, loop, stopped = Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with proxy:
            started.set()
            await stopped.wait()

    thread = Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()
