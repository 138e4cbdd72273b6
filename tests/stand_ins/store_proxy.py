"""A proxy between processes and a real store, which may drip, cut, swap, repeat or replace the store's replies."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_DEEP = (b"*", b"~", b">", b"%", b"|")
_LONG = (b"$", b"=", b"!")


def reply_end(data: bytes, start: int) -> int | None:
    """Where the RESP3 reply that begins at `start` ends; None where the rest is missing."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return None
    kind, count, end = data[start : start + 1], data[start + 1 : line], line + 2
    if kind in _LONG:
        end += max(0, int(count) + 2)
        return end if end <= len(data) else None
    if kind in _DEEP:
        for _ in range(int(count) * (2 if kind in {b"%", b"|"} else 1)):
            following = reply_end(data, end)
            if following is None:
                return None
            end = following
    return end


def replies_of(data: bytes) -> tuple[list[bytes], bytes]:
    """The complete replies, and what is left."""
    replies, start = [], 0
    while start < len(data) and (end := reply_end(data, start)) is not None:
        replies.append(data[start:end])
        start = end
    return replies, data[start:]


Rewrite = Callable[[Sequence[bytes]], Iterable[bytes]]


class StoreProxy:
    """An async context manager, on a unix socket of its own or on a port of `host`, there over TLS if told.

    `rewrite` gets the replies that came together.
    """

    def __init__(self, server: Path, path: Path, *, host: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.server, self.path = server, path
        self.host, self.tls = host, tls
        self.port = 0
        self.rewrite: Rewrite = lambda replies: replies
        self.pause = 0.0
        """Seconds before each byte, where it drips."""
        self.connections = 0
        self.requests: list[bytes] = []
        """What came from processes, as it came together."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if self.host is None:
            self._listener = await asyncio.start_unix_server(self._serve, self.path)
        else:
            self._listener = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
            self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_unix_connection(self.server)
        self._writers |= {writer, up_writer}
        both = [asyncio.create_task(self._up(reader, up_writer)), asyncio.create_task(self._down(up_reader, writer))]
        self._tasks |= {*both}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, up_writer):
            each.transport.abort()
        await asyncio.gather(*both, return_exceptions=True)
        self._writers -= {writer, up_writer}
        self._tasks -= {*both}

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**20):
                self.requests.append(data)
                writer.write(data)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rest = b""
        with suppress(OSError):
            while data := await reader.read(2**20):
                replies, rest = replies_of(rest + data)
                for each in self.rewrite(replies):
                    await self._send(each, writer)

    async def _send(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if not self.pause:
            writer.write(data)
            await writer.drain()
            return
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await asyncio.sleep(self.pause)
