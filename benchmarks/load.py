"""The load: connections that each send a request, wait for its answer, and send the next, for a bounded time."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlencode, urlsplit

import httptools

from benchmarks.scenarios import DOCUMENTS, View, Window

_LONGEST_ANSWER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much to ask: so many connections, until the time is over or so many requests were sent."""

    connections: int
    seconds: float
    most: int


@dataclass(slots=True)
class Asked:
    """What came of it; every answer that was waited for is in it."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def latency(self, share: float) -> float:
        """The time, in seconds, within which a share of the answers came."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


def graphql_request(url: str, view: View, window: Window) -> bytes:
    """A GraphQL query as it goes over the wire."""
    body = json.dumps(
        {"query": DOCUMENTS[view], "variables": {"start": window.start, "end": window.end}}, separators=(",", ":")
    ).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\naccept: application/json\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def rest_request(url: str, view: View, window: Window) -> bytes:
    """The same wish to the join by hand."""
    path = f"/{view.replace('_', '-')}?{urlencode({'start': window.start, 'end': window.end})}"
    return f"GET {path} HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\naccept: application/json\r\n\r\n".encode()


async def ask(url: str, request: Callable[[], bytes], judge: Callable[[int, bytes], None], bounds: Bounds) -> Asked:
    """Send requests and judge every answer; what was sent is waited for. Raises what `judge` raises, and OSError."""
    asked = Asked()
    began = time.perf_counter()
    left = bounds.most

    def next_request() -> bytes | None:
        nonlocal left
        if left == 0 or time.perf_counter() - began >= bounds.seconds:
            return None
        left -= 1
        return request()

    host, _, port = urlsplit(url).netloc.partition(":")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(bounds.seconds + _LONGEST_ANSWER_SECONDS):
        made = [
            await loop.create_connection(lambda: _Connection(next_request, judge, asked.latencies), host, int(port))
            for _ in range(min(bounds.connections, bounds.most))
        ]
        try:
            for _, connection in made:
                connection.send_next()
            await asyncio.gather(*(connection.done for _, connection in made))
        finally:
            for transport, _ in made:
                transport.close()
    asked.seconds = time.perf_counter() - began
    return asked


class _Connection(asyncio.Protocol):
    """One connection; httptools calls its `on_` methods while it parses an answer."""

    def __init__(
        self, request: Callable[[], bytes | None], judge: Callable[[int, bytes], None], latencies: list[float]
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._judge = judge
        self._latencies = latencies
        self._pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self) -> None:
        """Send the next request, or be done where there is none."""
        request = self._request()
        if request is None:
            self.done.set_result(None)
            return
        self._parser = httptools.HttpResponseParser(self)
        self._pieces = []
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._latencies.append(time.perf_counter() - self._sent_at)
        try:
            self._judge(self._parser.get_status_code(), b"".join(self._pieces))
        except Exception as error:  # noqa: BLE001 # a parser's callback cannot raise; `ask` raises it
            self._fail(error)
            return
        self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
