"""The calls that one connection carries: sent together, answered in their order, and all in time or none.

Each call has an echo that its answer repeats. So an answer that was swapped, lost or given twice on the way shows, and
takes the connection away before anybody gets what another one asked for.

Scripts run in the order in which they were given. Only one that the server was told to forget meanwhile (SCRIPT FLUSH)
runs after those behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.shared_store.address import Command, ServerMessage, StoreAddress, StoreConnection
from gateway.shared_store.errors import AWAY_FOR, AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script, ScriptResult

_MOST_CALLS = 10_000
_MOST_BYTES = 32 * 1024 * 1024
_MOST_BYTES_MEANWHILE = 128 * 1024 * 1024
_LAST_TIME = 2**53
_REPLY_PARTS = 5
# One turn of the loop to come to the sockets, one in which they are read, and one since uvloop turns otherwise.
_TURNS = 3
_LOOK_AGAIN_SECONDS = 0.001

Argument = bytes | str | int


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the store is, how long an answer may take, and what all names in it begin with."""

    address: StoreAddress
    timeout_seconds: float = 0.15
    prefix: str = "leyr-gateway:"


@dataclass(frozen=True, slots=True)
class PipelineEvents:
    """Who is told what comes: of each answer the result, of errors their kind, messages, and the end."""

    answered: Callable[[ScriptResult], None]
    refused: Callable[[str], None]
    message: Callable[[ServerMessage], None]
    lost: Callable[["Pipeline", AwayReason], None]


@dataclass(slots=True, eq=False)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument]
    answer: "asyncio.Future[ScriptResult] | None"
    is_whole: bool = False
    echo: bytes = b""
    packed: bytes = b""
    sent: float = 0.0
    due: float = 0.0
    received_before: int = 0

    def command(self, prefix: str) -> Command:
        """The command: by the script's digest, or with its whole text where the server may not have it."""
        verb = ("EVAL" if self.is_whole else "EVALSHA") + ("_RO" if self.script.only_reads else "")
        named = self.script.text if self.is_whole else self.script.sha
        keys = [prefix + each for each in self.keys]
        return [verb, named, len(keys), *keys, *self.arguments, self.echo]

    @property
    def is_unwanted(self) -> bool:
        """Whether it was cancelled, and nobody else counts on its script."""
        return self.answer is not None and self.answer.cancelled() and not self.is_whole

    def fail(self, error: StoreAwayError | StoreRefusedError) -> None:
        """Let who waits go on alone."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)


class Pipeline:
    """The calls over one connection, until it is lost; `clock` is this process's, `secret` is of this connection."""

    def __init__(
        self,
        connection: StoreConnection,
        config: StoreConfig,
        events: PipelineEvents,
        clock: Callable[[], float],
        secret: bytes,
    ) -> None:
        self._connection = connection
        self._config = config
        self._events = events
        self._clock = clock
        self._secret = secret
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._queued: list[_Call] = []
        self._sent: deque[_Call] = deque()
        self._bytes = 0
        # Digests of those that the server has: each is sent whole once, so that nothing overtakes one that it lacks.
        self._known: set[str] = set()
        self._before: list[bytes] = []
        self._timer: asyncio.Handle | None = None
        # uvloop's timers of the next turn do not say for when they are.
        self._timer_due = 0.0
        self.lost: asyncio.Future[AwayReason] = self._loop.create_future()
        connection.start(self)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> "asyncio.Future[ScriptResult]":
        """Run a script; the future may be cancelled. Raises StoreAwayError."""
        answer: asyncio.Future[ScriptResult] = self._loop.create_future()
        self._add(_Call(script, keys, arguments, answer))
        return answer

    def tell(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Run a script whose result nobody waits for. Raises StoreAwayError."""
        self._add(_Call(script, keys, arguments, None))

    def subscribe(self, channels: Sequence[bytes]) -> None:
        """Follow channels, before the next call, which fails where that is refused; a message confirms each."""
        if channels:
            self._before = [self._connection.pack(["SUBSCRIBE", *channels])]

    def close(self) -> None:
        """End it, and let everything that waits go on alone."""
        self._lose(AwayReason.CLOSED)

    async def wait_closed(self) -> None:
        """Wait until its connection is closed."""
        await self._connection.wait_closed()

    def _add(self, call: _Call) -> None:
        if self.lost.done():
            raise StoreAwayError(self.lost.result())
        self._number += 1
        call.echo = self._secret + self._number.to_bytes(8, "big")
        call.is_whole = call.script.sha not in self._known
        call.packed = self._connection.pack(call.command(self._config.prefix))
        if (
            len(self._queued) + len(self._sent) >= _MOST_CALLS
            or self._bytes + len(call.packed) + self._connection.unsent > _MOST_BYTES
        ):
            raise StoreAwayError(AwayReason.FULL)
        self._known.add(call.script.sha)
        self._queue(call)

    def _queue(self, call: _Call) -> None:
        if not self._queued:
            self._loop.call_soon(self._flush)
        self._queued.append(call)
        self._bytes += len(call.packed)

    def _flush(self) -> None:
        calls = [each for each in self._queued if not each.is_unwanted]
        self._queued = []
        self._bytes = 0
        if self.lost.done() or not calls:
            return
        now, due = self._clock(), self._loop.time() + self._config.timeout_seconds
        for each in calls:
            each.sent, each.received_before = now, self._connection.received
            each.due = each.due or due
        self._sent.extend(calls)
        self._connection.send([*self._before, *(each.packed for each in calls)])
        self._before = []
        for each in calls:
            each.packed = b""
        self._watch(min(each.due for each in calls))

    def _watch(self, due: float) -> None:
        """See to it that what is due then was answered."""
        if self._timer is not None and self._timer_due > due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer, self._timer_due = self._loop.call_at(due, self._check_time), due

    def _check_time(self) -> None:
        self._timer = None
        if self._sent and not self.lost.done():
            now, due = self._loop.time(), self._first_due
            self._judge(now + min(max(0.0, now - due), self._config.timeout_seconds), _TURNS, self._connection.received)

    @property
    def _first_due(self) -> float:
        # Not always that of the first: one whose script the server lacked was sent twice.
        return min(each.due for each in self._sent)

    def _judge(self, until: float, turns: int, received: int) -> None:
        """Give up, unless the answers are in the socket already: this process may have been held, not the server.

        As long as it was held itself, it goes on to read what comes, and to send what the server could not have read.
        """
        if self.lost.done() or not self._sent:
            return
        now, due = self._loop.time(), self._first_due
        if due > now:
            self._watch(due)
        elif turns:
            self._loop.call_soon(self._judge, until, turns - 1, received)
        elif now < until and (self._connection.received != received or self._connection.unsent):
            self._loop.call_later(_LOOK_AGAIN_SECONDS, self._judge, until, _TURNS, self._connection.received)
        else:
            self._lose(AwayReason.TIMEOUT)

    def reply_received(self, reply: Any) -> None:  # as the server sends it
        """Give the answer to who waits for it."""
        if isinstance(reply, ServerMessage):
            self._events.message(reply)
            return
        if not self._sent:
            self._lose(AwayReason.PROTOCOL)
            return
        call = self._sent[0]
        if isinstance(reply, StoreRefusedError):
            self._take_refusal(call, reply)
            return
        server_time = _server_time(reply, call.echo)
        if server_time is None or self._connection.received - call.received_before > _MOST_BYTES_MEANWHILE:
            self._lose(AwayReason.PROTOCOL)
            return
        self._sent.popleft()
        result = ScriptResult(reply[4], server_time, call.sent, self._clock())
        self._events.answered(result)
        if reply[3] == 1:
            if call.answer is not None and not call.answer.done():
                call.answer.set_result(result)
        else:
            self._refuse(call, _error_in_script(reply[4]))

    def _take_refusal(self, call: _Call, refusal: StoreRefusedError) -> None:
        if AWAY_FOR.get(refusal.kind) in {AwayReason.LOADING, AwayReason.LOGIN}:
            # Nothing else will be answered otherwise.
            self._lose(AWAY_FOR[refusal.kind])
            return
        self._sent.popleft()
        if refusal.kind == "NOSCRIPT" and not call.is_whole and not call.is_unwanted:
            self._known.clear()
            call.is_whole = True
            call.packed = self._connection.pack(call.command(self._config.prefix))
            self._queue(call)
            return
        self._refuse(call, refusal)

    def _refuse(self, call: _Call, refusal: StoreRefusedError) -> None:
        self._events.refused(refusal.kind)
        call.fail(refusal)

    def connection_lost(self, reason: AwayReason) -> None:
        """Let everything that waits go on alone."""
        self._lose(reason)

    def _lose(self, reason: AwayReason) -> None:
        if self.lost.done():
            return
        self.lost.set_result(reason)
        self._connection.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [*self._sent, *self._queued]
        self._sent.clear()
        self._queued = []
        for call in waiting:
            call.fail(StoreAwayError(reason))
        self._events.lost(self, reason)


def _server_time(reply: object, echo: bytes) -> int | None:
    """The server's time that a reply came with, in microseconds; None for one that does not answer this call."""
    if not isinstance(reply, list) or len(reply) != _REPLY_PARTS or reply[0] != echo:
        return None
    try:
        micros = int(reply[1]) * 1_000_000 + int(reply[2])
    except (TypeError, ValueError):
        return None
    return micros if 0 < micros < _LAST_TIME else None


def _error_in_script(value: object) -> StoreRefusedError:
    return StoreRefusedError.of(value.decode(errors="replace") if isinstance(value, bytes) else "")
