"""The shared store as this process sees it: up or away, for all that is done with it at once.

All scripts of one turn of the event loop leave as one pipeline, over one connection, and no request ever waits for a
connection to be made. When the server does not answer in time, everything that waits is told so at once, and so is
whoever asks next, until the connection stands again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

from gateway.shared_store.address import Command, Connect, ServerMessage, StoreAddress, StoreConnection
from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script, ScriptResult
from gateway.shared_store.server_clock import ServerClock

_LEAST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_CONNECT_SECONDS = 2.0
_MOST_WAITING = 10_000
_ECHO_BYTES = 8
_MESSAGE_PARTS = 3


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the store is, how long an answer may take, and what all names in it begin with."""

    address: StoreAddress
    timeout_seconds: float = 0.15
    prefix: str = "leyr-gateway:"


class StoreEvents(Protocol):
    """Who is told what happens between this process and the store; called on the event loop."""

    def store_up(self) -> None:
        """The store answers, for the first time or again."""

    def store_away(self, reason: AwayReason) -> None:
        """The store does not answer any more, or a first or a further connection failed."""

    def store_refused(self, kind: str) -> None:
        """The server answered a script with an error."""

    def store_garbage(self) -> None:
        """Something in the store is not what a process with this secret wrote under that name."""


@dataclass(slots=True, eq=False)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[bytes | str | int]
    answer: "asyncio.Future[ScriptResult] | None"
    echo: bytes = b""
    sent: float = 0.0
    due: float = 0.0
    is_whole: bool = False

    def command(self, prefix: str) -> Command:
        """The command: by the script's digest, or with its whole text after the server said that it has none."""
        verb = ("EVAL" if self.is_whole else "EVALSHA") + ("_RO" if self.script.only_reads else "")
        named = self.script.text if self.is_whole else self.script.sha
        keys = [prefix + each for each in self.keys]
        return [verb, named, len(keys), *keys, *self.arguments, self.echo]


class SharedStore:
    """Runs scripts on the server. An async context manager, which connects in the background."""

    def __init__(
        self,
        config: StoreConfig,
        events: StoreEvents,
        *,
        connect: Connect,
        clock: Callable[[], float],
        new_secret: Callable[[], bytes],
        chance: Callable[[], float],
    ) -> None:
        self._config = config
        self._events = events
        self._clock = clock
        self._echo = new_secret()[:_ECHO_BYTES]
        self._chance = chance
        self._connect = connect
        self._connection: StoreConnection | None = None
        self._number = 0
        self._queued: list[_Call] = []
        self._sent: deque[_Call] = deque()
        self._channels: dict[bytes, Callable[[bytes], None]] = {}
        self._on_up: list[Callable[[], None]] = []
        self._on_away: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()
        self.clock = ServerClock()
        self.away_reason = AwayReason.NOT_CONNECTED

    @property
    def is_up(self) -> bool:
        """Whether the store answers, as far as is known."""
        return self._connection is not None

    def follow(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        """Call back with each message of a channel; to be said before the store is entered."""
        self._channels[(self._config.prefix + channel).encode()] = on_message

    def channel(self, name: str) -> str:
        """The whole name of a channel, for scripts that publish."""
        return self._config.prefix + name

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call back whenever the store begins to answer: messages may have been missed before."""
        self._on_up.append(callback)

    def on_away(self, callback: Callable[[], None]) -> None:
        """Call back whenever it ends to answer."""
        self._on_away.append(callback)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> ScriptResult:
        """Run a script. Raises StoreAwayError, within the time limit, and StoreRefusedError."""
        answer: asyncio.Future[ScriptResult] = asyncio.get_running_loop().create_future()
        self._queue(_Call(script, keys, arguments, answer))
        return await answer

    def tell(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> None:
        """Run a script whose result nobody waits for, if the store is up."""
        with suppress(StoreAwayError):  # what is told to nobody is missed by nobody
            self._queue(_Call(script, keys, arguments, None))

    def _queue(self, call: _Call) -> None:
        if self._connection is None:
            raise StoreAwayError(self.away_reason)
        if len(self._queued) + len(self._sent) >= _MOST_WAITING:
            raise StoreAwayError(AwayReason.FULL)
        if not self._queued:
            asyncio.get_running_loop().call_soon(self._flush)
        self._queued.append(call)

    def _flush(self) -> None:
        connection, calls = self._connection, self._queued
        if connection is None or not calls:
            return
        self._queued = []
        now, due = self._clock(), asyncio.get_running_loop().time() + self._config.timeout_seconds
        for each in calls:
            self._number += 1
            each.echo, each.sent, each.due = self._echo + self._number.to_bytes(8, "big"), now, due
        self._sent.extend(calls)
        self._watch()
        self._start(self._write(connection, [each.command(self._config.prefix) for each in calls]))

    async def _write(self, connection: StoreConnection, commands: Sequence[Command]) -> None:
        try:
            await connection.write(commands)
        except StoreAwayError as error:
            self._lose(connection, error.reason)

    def _watch(self) -> None:
        """See to it that the call that was sent first is answered in time."""
        if self._timer is None and self._sent:
            self._timer = asyncio.get_running_loop().call_at(self._sent[0].due, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if self._sent and self._connection is not None:
            now = asyncio.get_running_loop().time()
            if self._sent[0].due <= now:
                self._lose(self._connection, AwayReason.TIMEOUT)
        self._watch()

    def _start(self, work: Any) -> None:  # a coroutine
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        self._start(self._stay_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        connection = self._connection
        if connection is not None:
            self._lose(connection, AwayReason.CLOSED)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if connection is not None:
            # What was begun to close it was cancelled with the rest.
            await connection.close()

    async def _stay_connected(self) -> None:
        pause = _LEAST_PAUSE
        while True:
            try:
                connection = await self._opened()
            except StoreAwayError as error:
                self.away_reason = error.reason
                self._events.store_away(error.reason)
            else:
                pause = _LEAST_PAUSE
                self._lost.clear()
                self._connection = connection
                self._events.store_up()
                for callback in self._on_up:
                    callback()
                await self._read(connection)
                await self._lost.wait()
                await connection.close()
            await asyncio.sleep(pause * (0.5 + self._chance() / 2))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _opened(self) -> StoreConnection:
        """A connection that follows all channels and has told the server's time."""
        seconds = max(_CONNECT_SECONDS, self._config.timeout_seconds)
        connection = await self._connect(self._config.address, seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._greet(connection)
        except TimeoutError:
            await connection.close()
            raise StoreAwayError(AwayReason.TIMEOUT) from None
        except StoreAwayError:
            await connection.close()
            raise
        return connection

    async def _greet(self, connection: StoreConnection) -> None:
        """Follow all channels and ask for the server's time. Raises StoreAwayError."""
        if self._channels:
            await connection.write([["SUBSCRIBE", *self._channels]])
            for _ in self._channels:
                confirmed = await connection.read()
                if not isinstance(confirmed, ServerMessage):
                    raise StoreAwayError(_reason_of_refusal(confirmed))
        sent = self._clock()
        await connection.write([["TIME"]])
        seconds_and_micros = await connection.read()
        while isinstance(seconds_and_micros, ServerMessage):
            seconds_and_micros = await connection.read()
        if not isinstance(seconds_and_micros, list):
            raise StoreAwayError(_reason_of_refusal(seconds_and_micros))
        self.clock.note(sent, self._clock(), _micros(*seconds_and_micros))

    async def _read(self, connection: StoreConnection) -> None:
        try:
            while self._connection is connection:
                reply = await connection.read()
                if isinstance(reply, ServerMessage):
                    self._take_message(reply)
                else:
                    self._take_reply(connection, reply)
        except StoreAwayError as error:
            self._lose(connection, error.reason)

    def _take_message(self, message: ServerMessage) -> None:
        if len(message) == _MESSAGE_PARTS and message[0] == b"message":
            handler = self._channels.get(message[1])
            if handler is not None and isinstance(message[2], bytes):
                handler(message[2])

    def _take_reply(self, connection: StoreConnection, reply: Any) -> None:  # as the server sends it
        if not self._sent:
            self._lose(connection, AwayReason.PROTOCOL)
            return
        call = self._sent.popleft()
        if isinstance(reply, StoreRefusedError):
            self._take_refusal(connection, call, reply)
            return
        if not isinstance(reply, list) or len(reply) < 4 or reply[0] != call.echo:  # noqa: PLR2004 # echo, time, value
            self._sent.appendleft(call)
            self._lose(connection, AwayReason.PROTOCOL)
            return
        received = self._clock()
        server_time = _micros(reply[1], reply[2])
        self.clock.note(call.sent, received, server_time)
        if call.answer is not None and not call.answer.done():
            call.answer.set_result(ScriptResult(reply[3], server_time, call.sent, received))

    def _take_refusal(self, connection: StoreConnection, call: _Call, refusal: StoreRefusedError) -> None:
        if refusal.kind == "NOSCRIPT" and not call.is_whole:
            call.is_whole = True
            call.sent = self._clock()
            self._sent.append(call)
            self._start(self._write(connection, [call.command(self._config.prefix)]))
            return
        self._events.store_refused(refusal.kind)
        if call.answer is not None and not call.answer.done():
            call.answer.set_exception(refusal)

    def _lose(self, connection: StoreConnection, reason: AwayReason) -> None:
        """Let everything that waits go on alone."""
        if self._connection is not connection:
            return
        self._connection, self.away_reason = None, reason
        self._lost.set()
        waiting = [*self._sent, *self._queued]
        self._sent.clear()
        self._queued = []
        for call in waiting:
            if call.answer is not None and not call.answer.done():
                call.answer.set_exception(StoreAwayError(reason))
        self._events.store_away(reason)
        self._start(connection.close())
        for callback in self._on_away:
            callback()


def _micros(seconds: Any, micros: Any) -> int:  # as the server sends it
    try:
        return int(seconds) * 1_000_000 + int(micros)
    except (TypeError, ValueError):
        raise StoreAwayError(AwayReason.PROTOCOL) from None


def _reason_of_refusal(reply: object) -> AwayReason:
    if isinstance(reply, StoreRefusedError):
        return {"NOPERM": AwayReason.PERMISSION, "NOAUTH": AwayReason.LOGIN, "WRONGPASS": AwayReason.LOGIN}.get(
            reply.kind, AwayReason.PROTOCOL
        )
    return AwayReason.PROTOCOL
