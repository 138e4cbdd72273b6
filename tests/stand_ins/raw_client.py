"""An HTTP client that writes and reads bytes by hand, for requests that libraries refuse to send."""

import json
import select
import socket
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit


class RawResponse(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
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

    def answer(self, *, to: str = "GET") -> RawResponse:
        """The next answer."""
        line = self._file.readline()
        status = int(line.split()[1])
        headers = {}
        while (line := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name] = value.strip()
        if status == 100:
            return RawResponse(status, headers, b"")
        body = b"" if to == "HEAD" else self._file.read(int(headers["content-length"]))
        return RawResponse(status, headers, body)

    def ends(self) -> bool:
        """Whether nothing more comes because the server has closed its side."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def is_dropped(self) -> bool:
        """Whether the connection is reset; nothing is read for this."""
        poll = select.poll()
        poll.register(self.socket, 0)
        return bool(poll.poll(0))
