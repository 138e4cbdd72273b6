"""An HTTP/2 server over TLS, whose answers a test decides; the frames are hyper-h2's."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, WindowUpdated
from h2.settings import SettingCodes, Settings

_FRAME = 16_384


@dataclass(frozen=True)
class Answer:
    """What a request gets; none at all where `status` is 0, and where `says_goodbye` it is the connection's last.

    Where it `resets`, the request is ended instead, and where it `drops`, the connection.
    """

    body: bytes = b"[1]"
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    seconds: float = 0.0
    says_goodbye: bool = False
    resets: bool = False
    drops: bool = False


@dataclass
class Http2Server:
    """Answers each request by its path; `streams` are the calls at a time that a connection takes."""

    tls: ssl.SSLContext
    answer: Callable[[str], Answer] = lambda _: Answer()
    streams: int = 100
    requests: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self.tls.set_alpn_protocols(["h2"])
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls, backlog=512)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.get_running_loop().create_task(self._run(reader, writer)))

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await _Connection(self, reader, writer).serve()
        finally:
            self.open -= 1
            writer.transport.abort()


class _Connection:
    def __init__(self, server: Http2Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._widened = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        # A limit that is set on those there are would count from the client's acknowledgement on, and not be sent.
        limit = {SettingCodes.MAX_CONCURRENT_STREAMS: self._server.streams}
        self._h2.local_settings = Settings(client=False, initial_values=limit)
        self._h2.initiate_connection()
        self._flush()
        try:
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        self._begin(event)
                    elif isinstance(event, WindowUpdated):
                        self._widened.set()
                    elif isinstance(event, DataReceived):
                        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                    elif isinstance(event, ConnectionTerminated):
                        return
                self._flush()
        finally:
            for each in self._answers:
                each.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)

    def _begin(self, event: RequestReceived) -> None:
        headers = {name.decode(): value.decode() for name, value in event.headers or ()}
        self._server.requests.append(headers)
        answer = self._server.answer(headers[":path"])
        self._answers.add(asyncio.get_running_loop().create_task(self._answer(event.stream_id or 0, answer)))

    async def _answer(self, stream: int, answer: Answer) -> None:
        await asyncio.sleep(answer.seconds)
        if not answer.status:
            return
        if answer.drops:
            self._writer.transport.abort()
            return
        if answer.resets:
            self._h2.reset_stream(stream)
            self._flush()
            return
        self._h2.send_headers(stream, [(":status", str(answer.status)), *answer.headers])
        left = answer.body
        while left:
            room = min(self._h2.local_flow_control_window(stream), _FRAME)
            if not room:
                self._widened.clear()
                self._flush()
                await self._widened.wait()
                continue
            self._h2.send_data(stream, left[:room])
            left = left[room:]
        self._h2.end_stream(stream)
        if answer.says_goodbye:
            self._h2.close_connection(last_stream_id=stream)
        self._flush()
        if answer.says_goodbye:
            await self._writer.drain()
            self._writer.close()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
