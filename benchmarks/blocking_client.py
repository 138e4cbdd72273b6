"""A client that waits for bytes in a thread, so that what it measures is the server and no event loop of its own."""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_TAIL_BYTES = 64 * 1024
_CHUNK_BYTES = 128 * 1024
_SLOW_SECONDS = 2.0
_SLOW_BUFFER_BYTES = 4096
_CODE = re.compile(rb'"code":"([A-Z_]+)"')


class Answer(NamedTuple):
    """The status of an answer, the length of its body in bytes, the error codes at its end, and its seconds."""

    status: int
    size: int
    codes: tuple[str, ...]
    seconds: float


class Connection:
    """A connection that sends one request after the other; each wait takes `timeout` seconds at most."""

    def __init__(self, url: str, timeout: float, *, source: str = "127.0.0.1", is_slow: bool = False) -> None:
        """`source` is the client's own address; with `is_slow` little is received ahead. Raises OSError."""
        parts = urlsplit(url)
        self._socket = socket.socket()
        if is_slow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
        self._socket.settimeout(timeout)
        try:
            self._socket.bind((source, 0))
            self._socket.connect((parts.hostname, parts.port))
        except OSError:
            self._socket.close()
            raise
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timeout = timeout
        self._buffer = bytearray(_CHUNK_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> Answer:
        """Send a request and take its answer. Raises TimeoutError after the time-out in all, OSError and EOFError."""
        began = time.monotonic()
        self._socket.sendall(request)
        head, begun = self._head(began + self._timeout)
        length = int(re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)[1])  # type: ignore[index] # each answer has one
        tail, received = bytearray(begun), len(begun)
        while received < length:
            chunk = self._receive(began + self._timeout)
            received += len(chunk)
            tail += chunk
            del tail[:-_TAIL_BYTES]
        found = dict.fromkeys(code.decode() for code in _CODE.findall(tail))
        return Answer(int(head.split(b" ", 2)[1]), length, tuple(found), time.monotonic() - began)

    def take_slowly(self, request: bytes, chunk: int, until: float) -> int:
        """Send a request, and take so many bytes every two seconds until a moment; the bytes taken. Raises OSError."""
        self._socket.sendall(request)
        taken = 0
        while time.monotonic() < until:
            received = self._socket.recv(chunk)
            if not received:
                break
            taken += len(received)
            time.sleep(min(_SLOW_SECONDS, max(0.0, until - time.monotonic())))
        return taken

    def _head(self, deadline: float) -> tuple[bytes, bytes]:
        found = bytearray()
        while b"\r\n\r\n" not in found:
            found += self._receive(deadline)
        head, _, begun = bytes(found).partition(b"\r\n\r\n")
        return head, begun

    def _receive(self, deadline: float) -> memoryview:
        """Some bytes, which are overwritten by the next."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        count = self._socket.recv_into(self._buffer)
        if count == 0:
            raise EOFError
        return memoryview(self._buffer)[:count]


@dataclass(slots=True)
class Probe:
    """Sends one request again and again from a thread, while the block runs, and keeps the worst that came of it.

    `cpu_seconds` tells the server's processor time: `worst_cpu_seconds` is the most that passed during one request.
    """

    url: str
    request: bytes
    every_seconds: float
    timeout: float
    cpu_seconds: Callable[[], float]
    worst_seconds: float = 0.0
    worst_cpu_seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    _is_over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                connection = Connection(self.url, self.timeout)
            except OSError:
                self.unanswered += 1
                self._is_over.wait(self.every_seconds)
                continue
            with suppress(OSError, EOFError), connection:
                while not self._is_over.is_set():
                    self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        """Ask once, and wait until it is time for the next. Raises OSError and EOFError."""
        began, cpu = time.monotonic(), self.cpu_seconds()
        try:
            self.statuses[connection.ask(self.request).status] += 1
        except (OSError, EOFError):
            self.unanswered += 1
            raise
        finally:
            seconds = time.monotonic() - began
            self.worst_seconds = max(self.worst_seconds, seconds)
            self.worst_cpu_seconds = max(self.worst_cpu_seconds, self.cpu_seconds() - cpu)
            self._is_over.wait(max(0.0, self.every_seconds - seconds))
