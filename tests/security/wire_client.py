"""An application that tells what it received, and a client that writes bytes by hand."""

import asyncio
import json
import select
import socket
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

PIECE = b"x" * 65_536


@dataclass
class Echo:
    """An ASGI application; it answers with what it received, or as the path says.

    `/large` sends many pieces, `/huge` one large one, `/early` answers before it has read the body, `/waiting` waits
    for `released`.
    """

    pieces: int = 320
    called: list[str] = field(default_factory=list)
    broken_off: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    released: Event = field(default_factory=Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        self.called.append(path)
        body = b"" if path == "/early" else await self._body(path, receive)
        if body is not None:
            if path == "/waiting":
                await asyncio.to_thread(self.released.wait)
            await self._answer(scope, body, send)
        self.ended.append(path)

    async def _body(self, path: str, receive: Receive) -> bytes | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.broken_off.append(path)
                return None
            piece: bytes = message["body"]
            body += piece
            if not message["more_body"]:
                return body

    async def _answer(self, scope: Scope, body: bytes, send: Send) -> None:
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "headers": [name.decode("latin-1") for name, _ in scope["headers"]],
            "body": body[:1_000].decode("latin-1"),
            "size": len(body),
        }
        pieces = {"/large": [PIECE] * self.pieces, "/huge": [PIECE * self.pieces]}
        sent = pieces.get(scope["path"], [json.dumps(told).encode()])
        length = str(sum(map(len, sent))).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for number, piece in enumerate(sent, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(sent)})


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection to a server; what it sends is what is given, byte for byte."""

    def __init__(self, url: str, *, buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.socket.settimeout(10)
        self.socket.connect((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *pieces: bytes) -> Self:
        for piece in pieces:
            self.socket.sendall(piece)
        return self

    def send_until_cut(self, piece: bytes, most: int) -> int:
        """Send a piece again and again; the number of bytes that went before the server ended it."""
        for number in range(most // len(piece)):
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return number * len(piece)
        raise AssertionError("the server takes it all")

    def answer(self, *, to: str = "GET") -> Answered:
        """The next answer."""
        line = self._file.readline()
        status = int(line.split()[1])
        headers = {}
        while (line := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name] = value.strip()
        if status == 100:
            return Answered(status, headers, b"")
        body = b"" if to == "HEAD" else self._file.read(int(headers["content-length"]))
        return Answered(status, headers, body)

    def ends(self) -> bool:
        """Nothing more comes, and the server has closed its side."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def is_dropped(self) -> bool:
        """Is the connection reset? What has come is not read for this."""
        poll = select.poll()
        poll.register(self.socket, 0)
        return bool(poll.poll(0))
