"""A server that stops without dropping anybody.

A signal ends readiness at once. After SIGTERM the server *drains*: it goes on as before until load balancers have seen
that, and each response says that it is the last of its connection. Then it closes its listening sockets and *finishes*
what is in flight within the *grace period*. SIGINT, which a person sends, leaves out the drain. Each further signal
ends what is being waited for: the drain, then the grace period.

HTTP/1.1 has no word for closing an idle connection, so a request may be on its way to one; a moment's wait lets it in.
Closing a listening socket resets whoever is connected and not yet accepted, and connections that are being made. So
before that, no new connection may be made and the accept queue must be empty.
"""

import asyncio
import ctypes
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.server.protocol import LimitedProtocol
from gateway.server.request_head import ConnectionLimits, ErrorBody
from gateway.server.timeouts import has_unread

# asm-generic/socket.h; Python has no name for it.
_SO_ATTACH_FILTER = 26


class _Instruction(ctypes.Structure):
    """linux/filter.h: sock_filter."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """linux/filter.h: sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


# Of a TCP segment, take the byte of flags; without SYN (2) all of it passes, with SYN nothing of it.
_WITHOUT_SYN = ((0x30, 0, 0, 13), (0x45, 1, 0, 0x02), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))


def stop_accepting(bound: socket.socket) -> bool:
    """Take no new connections, while those that are being made may still be; False where the system cannot.

    Who tries now is not refused yet: its machine tries again after a second.
    """
    if sys.platform != "linux":
        return False
    instructions = (_Instruction * len(_WITHOUT_SYN))(*(_Instruction(*each) for each in _WITHOUT_SYN))
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_Program(len(_WITHOUT_SYN), instructions)))
    except OSError:
        return False
    return True


def has_pending_connections(bound: socket.socket) -> bool:
    """Is somebody connected who was not accepted yet?"""
    with selectors.DefaultSelector() as selector:
        selector.register(bound, selectors.EVENT_READ)
        return bool(selector.select(0))


@dataclass(slots=True)
class Readiness:
    """One server's, which ends once and for good; signal handlers and other threads may end it."""

    is_stopping: bool = False


# Whoever connects asks at once; a connection older than this is kept for later.
_FIRST_REQUEST_SECONDS = 1.0
# For what crosses our closing on its way.
_QUIET_SECONDS = 0.05


def configured_protocol(
    limits: ConnectionLimits, readiness: Readiness, error_body: ErrorBody
) -> type[asyncio.Protocol]:
    """The class to give to uvicorn as `http`; `error_body` makes the bodies of what it rejects."""

    class ConfiguredProtocol(GracefulProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, readiness=readiness, limits=limits, error_body=error_body, **kwargs)

    return ConfiguredProtocol


class GracefulProtocol(LimitedProtocol):
    """A connection that ends well."""

    def __init__(self, *args: Any, readiness: Readiness, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._readiness = readiness
        self._made_at = self.loop.time()
        self._was_asked = False
        self._ending = False
        self._last: RequestResponseCycle | None = None

    def close_after_response(self) -> None:
        """Let the newest answer be the last of the connection, unless its head is out."""
        # An answer before the newest must not close the connection, or the newest would be lost.
        if self._last is not None and not self._last.response_started:
            self._last.keep_alive = True
        self._last = None
        newest: RequestResponseCycle | None = self.cycle
        if newest is not None and newest.keep_alive and not newest.response_started:
            self._last = newest
            newest.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection as soon as it has its answers."""
        self._ending = True
        self.close_after_response()
        self._write_timeout.watch()
        self._close_at_rest()

    def on_headers_complete(self) -> None:
        """Say of a request's answer that it is the last one, where the server stops."""
        super().on_headers_complete()
        self._was_asked = True
        if self._readiness.is_stopping:
            self.close_after_response()

    def on_message_complete(self) -> None:
        """A request is whole, and may have been answered before it was."""
        super().on_message_complete()
        self._close_at_rest()

    def on_response_complete(self) -> None:
        """Turn to the next request of the connection, or end."""
        super().on_response_complete()
        self._close_at_rest()

    def _close_at_rest(self) -> None:
        if not self._ending or self.transport.is_closing() or not self._is_at_rest():
            return
        seconds = _QUIET_SECONDS
        if not self._was_asked:
            seconds = max(seconds, self._made_at + _FIRST_REQUEST_SECONDS - self.loop.time())
        self._timer.wait(seconds, self._close_unless_asked)

    def _is_at_rest(self) -> bool:
        return self._is_free() and not self._partial and not self.pipeline and self._rejection is None

    def _close_unless_asked(self) -> None:
        if self._partial:
            self._timer.wait(self._limits.receive_seconds, self._late)
        elif has_unread(self.transport):
            self._timer.wait(_QUIET_SECONDS, self._close_unless_asked)
        else:
            self.transport.close()


_TICK_SECONDS = 0.02
_TICKS_PER_DATE = 25
_CLEAN_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ShutdownTimeouts:
    """How long each step of a stop may take, in seconds; together with a few for cleaning up that is the most."""

    drain_seconds: float = 0
    """For how long after SIGTERM requests are taken as before."""
    handshake_seconds: float = 0.3
    """For how long those who are connecting then may need for it, a round trip; part of the grace."""
    grace_seconds: float = 25
    """For how long after that answers may take."""


class GracefulServer(uvicorn.Server):
    """uvicorn's, with a stop of its own; its connections are of `GracefulProtocol`."""

    def __init__(
        self,
        config: uvicorn.Config,
        rules: ShutdownTimeouts,
        readiness: Readiness,
        log: structlog.typing.FilteringBoundLogger | None = None,
    ) -> None:
        super().__init__(config)
        self._rules = rules
        self._readiness = readiness
        self._log = log
        self._draining = self._finishing = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 # uvicorn's signature
        """Take a signal to stop, or to stop sooner."""
        self._readiness.is_stopping = True
        self.force_exit = self._finishing
        self._draining = not self.should_exit and sig != signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, close the door, and finish what is in flight."""
        bound = sockets or []
        self._readiness.is_stopping = True
        self._log_stop()
        for connection in self._connections():
            connection.close_after_response()
        await self._while(self._rules.drain_seconds, lambda: self._draining)
        self._finishing = True
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._rules.grace_seconds
        await self._empty_accept_queue(bound)
        self._close_listeners(bound)
        # Who was accepted a moment ago becomes a connection only in the loop's next round.
        await asyncio.sleep(_TICK_SECONDS)
        for connection in self._connections():
            connection.shutdown()
        state = self.server_state
        await self._while(ends_at - loop.time(), lambda: bool(state.connections or state.tasks))
        await self._cut_off()
        # The process ends in any case, and what the application still holds open with it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), _CLEAN_UP_SECONDS)

    def _connections(self) -> list[GracefulProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, GracefulProtocol)]

    def _log_stop(self) -> None:
        if self._log is not None:
            drain_seconds = self._rules.drain_seconds if self._draining else 0
            self._log.info("gateway.stopping", drain_seconds=drain_seconds, grace_seconds=self._rules.grace_seconds)

    async def _while(self, seconds: float, goes_on: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        ticks = 0
        while goes_on() and not self.force_exit and loop.time() < ends_at:
            if ticks % _TICKS_PER_DATE == 0:
                # uvicorn's writes the date of answers.
                await self.on_tick(0)
            ticks += 1
            await asyncio.sleep(_TICK_SECONDS)

    async def _empty_accept_queue(self, bound: Sequence[socket.socket]) -> None:
        seconds = self._rules.handshake_seconds
        if seconds and all(stop_accepting(each) for each in bound):
            await self._while(seconds, lambda: True)
        # Where the system cannot keep others out there is no end to who comes, but there is to our waiting.
        await self._while(_CLEAN_UP_SECONDS, lambda: any(has_pending_connections(each) for each in bound))

    def _close_listeners(self, bound: Sequence[socket.socket]) -> None:
        for server in self.servers:
            server.close()
        for each in bound:
            each.close()

    async def _cut_off(self) -> None:
        state = self.server_state
        if not (state.connections or state.tasks):
            return
        if self._log is not None:
            self._log.warning(
                "gateway.cut_off",
                requests=len(state.tasks),
                connections=len(state.connections),
                action="look for clients that read slowly; a second signal does this too",
            )
        for connection in self._connections():
            connection.transport.abort()
        # The application hears of it, and ends by itself.
        if state.tasks:
            await asyncio.wait(list(state.tasks), timeout=_CLEAN_UP_SECONDS)
        for task in state.tasks:
            task.cancel()
