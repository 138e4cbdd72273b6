"""The shared store as this process sees it: up or away, for all that is done with it at once.

All scripts of one turn of the event loop leave as one pipeline, over one connection, and no request ever waits for a
connection to be made. When the server does not answer in time, everything that waits is told so at once, and so is
whoever asks next, until the connection stands again.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, Self

from gateway.shared_store.address import Connect, ServerMessage
from gateway.shared_store.errors import AWAY_FOR, AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.pipeline import Argument, Pipeline, PipelineEvents, StoreConfig
from gateway.shared_store.script import Script, ScriptResult
from gateway.shared_store.server_clock import ServerClock

__all__ = ["SharedStore", "StoreConfig", "StoreEvents"]

_LEAST_PAUSE, _FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 1.0, 5.0
# One that was lost sooner counts as a failure to connect, so that a broken server is not tried twice a second.
_STEADY_SECONDS = 10.0
_CONNECT_SECONDS = 2.0
_CLOSE_SECONDS = 1.0
# So often its clock is noted there, so that a server that hangs is found before a request waits for it, too.
_NOTE_SECONDS = 5.0
_SECRET_BYTES = 8
_MESSAGE_PARTS = 3
_MOST_DIGITS = 16
# KEYS: the last time of the server's clock that any process heard of; ARGV: ms for which it is kept. It tells processes
# that start later that the clock was put back. Whatever else somebody put there is none.
_PROBE = Script("local found = redis.pcall('GET', KEYS[1]) return type(found) == 'string' and found", only_reads=True)
_KEEP_TIME = Script(
    """\
local now = redis.call('TIME')
local micros = tonumber(now[1]) * 1000000 + tonumber(now[2])
local found = redis.pcall('GET', KEYS[1])
if micros > (type(found) == 'string' and tonumber(found) or 0) then
  redis.call('SET', KEYS[1], string.format('%.0f', micros), 'PX', ARGV[1])
end
return 1
"""
)
_CLOCK_KEY = "clock"
_CLOCK_KEPT_MILLISECONDS = 86_400_000
# What stands for the server's clock among the kinds of errors.
_CLOCK_WAS_SET = "CLOCK"


class StoreEvents(Protocol):
    """Who is told what happens between this process and the store; called on the event loop."""

    def store_up(self) -> None:
        """The store answers, for the first time or again."""

    def store_away(self, reason: AwayReason) -> None:
        """The store does not answer any more, or a first or a further connection failed."""

    def store_refused(self, kind: str) -> None:
        """The server answered a script with an error; or FULL, where a call was not sent; or CLOCK, when it was set."""

    def store_garbage(self) -> None:
        """Something in the store is not what a process with this secret wrote under that name."""


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
        self._new_secret = new_secret
        self._chance = chance
        self._connect = connect
        self._pipeline: Pipeline | None = None
        self._channels: dict[bytes, Callable[[bytes], None]] = {}
        self._on_up: list[Callable[[], None]] = []
        self._on_away: list[Callable[[], None]] = []
        self._on_answer: list[Callable[[float], None]] = []
        self._connector: asyncio.Task[None] | None = None
        self._confirmed = 0
        self.clock = ServerClock()
        self.away_reason = AwayReason.NOT_CONNECTED

    @property
    def is_up(self) -> bool:
        """Whether the store answers, as far as is known."""
        return self._pipeline is not None

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

    def on_answer(self, callback: Callable[[float], None]) -> None:
        """Call back with the seconds that each answer took."""
        self._on_answer.append(callback)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> ScriptResult:
        """Run a script. Raises StoreAwayError, within the time limit, and StoreRefusedError."""
        if self._pipeline is None:
            raise StoreAwayError(self.away_reason)
        try:
            answer = self._pipeline.run(script, keys, arguments)
        except StoreAwayError as error:
            self._note_full(error.reason)
            raise
        return await answer

    def tell(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Run a script whose result nobody waits for, if the store is up."""
        if self._pipeline is not None:
            try:
                self._pipeline.tell(script, keys, arguments)
            except StoreAwayError as error:  # what is told to nobody is missed by nobody
                self._note_full(error.reason)

    def _note_full(self, reason: AwayReason) -> None:
        if reason is AwayReason.FULL:
            self._events.store_refused("FULL")

    async def __aenter__(self) -> Self:
        self._connector = asyncio.get_running_loop().create_task(self._stay_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.away_reason = AwayReason.CLOSED
        pipeline, connector = self._pipeline, self._connector
        if connector is not None:
            connector.cancel()
            await asyncio.wait({connector}, timeout=_CLOSE_SECONDS)
        if pipeline is not None:
            pipeline.close()
            with suppress(TimeoutError):  # the process ends in any case, and the socket with it
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pipeline.wait_closed()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            began = loop.time()
            try:
                await self._serve(await self._opened())
            except StoreAwayError as error:
                self._note_failure(error.reason)
            except Exception as error:  # noqa: BLE001 # what ends this task would take the store away for good
                loop.call_exception_handler({"message": "the shared store's connection failed", "exception": error})
                self._note_failure(AwayReason.PROTOCOL)
            pause = _FIRST_PAUSE if loop.time() - began > _STEADY_SECONDS else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(_LEAST_PAUSE + self._chance() * (pause - _LEAST_PAUSE))

    def _note_failure(self, reason: AwayReason) -> None:
        self.away_reason = reason
        self._events.store_away(reason)

    async def _opened(self) -> Pipeline:
        """A pipeline over a new connection that follows all channels and has run a script. Raises StoreAwayError."""
        connection = await self._connect(self._config.address, max(_CONNECT_SECONDS, self._config.timeout_seconds))
        self._confirmed = 0
        heard = PipelineEvents(self._take_answer, self._take_refusal, self._take_message, self._lose)
        secret = self._new_secret()[:_SECRET_BYTES]
        pipeline = Pipeline(connection, self._config, heard, self._clock, secret)
        try:
            pipeline.subscribe(list(self._channels))
            is_first = not self.clock.is_known
            last = (await pipeline.run(_PROBE, [_CLOCK_KEY], [])).value
        except StoreRefusedError as error:
            pipeline.close()
            raise StoreAwayError(AWAY_FOR.get(error.kind, AwayReason.PROTOCOL)) from None
        except BaseException:
            pipeline.close()
            raise
        if self._confirmed != len(self._channels):
            pipeline.close()
            raise StoreAwayError(AwayReason.PROTOCOL)
        if is_first and self._was_put_back(last):
            self._events.store_refused(_CLOCK_WAS_SET)
        return pipeline

    def _was_put_back(self, last: object) -> bool:
        """Whether the server's clock was put back before this process was there to see it."""
        if not isinstance(last, bytes) or not last.isdigit() or len(last) > _MOST_DIGITS:
            return False
        return self.clock.note_former(self._clock(), int(last), _NOTE_SECONDS)

    async def _serve(self, pipeline: Pipeline) -> None:
        """Use a pipeline until it is lost."""
        if pipeline.lost.done():
            raise StoreAwayError(pipeline.lost.result())
        self._pipeline = pipeline
        self._events.store_up()
        self._call_back(self._on_up)
        while not pipeline.lost.done():
            await asyncio.wait({pipeline.lost}, timeout=_NOTE_SECONDS)
            self.tell(_KEEP_TIME, [_CLOCK_KEY], [_CLOCK_KEPT_MILLISECONDS])

    def _take_answer(self, result: ScriptResult) -> None:
        if self.clock.note(result.sent, result.received, result.server_time):
            self._events.store_refused(_CLOCK_WAS_SET)
        for callback in self._on_answer:
            callback(result.received - result.sent)

    def _take_refusal(self, kind: str) -> None:
        # Before, it says why the store is away.
        if self.is_up:
            self._events.store_refused(kind)

    def _take_message(self, message: ServerMessage) -> None:
        if len(message) != _MESSAGE_PARTS:
            return
        kind, channel, payload = message
        # A hostile server's may be a list, which is no key.
        handler = self._channels.get(channel) if isinstance(channel, bytes) else None
        if kind == b"subscribe":
            self._confirmed += handler is not None
        elif kind == b"message" and handler is not None and isinstance(payload, bytes) and self.is_up:
            handler(payload)

    def _lose(self, pipeline: Pipeline, reason: AwayReason) -> None:
        if self._pipeline is pipeline:
            self._pipeline = None
            self._note_failure(reason)
            self._call_back(self._on_away)

    def _call_back(self, callbacks: Sequence[Callable[[], None]]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 # the others are to hear of it too
                context = {"message": "who follows the shared store failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
