"""A server that stops without dropping a request.

A signal ends readiness at once. After SIGTERM the server *drains*: it goes on as before until load balancers have seen
that, and each response says that it is the last of its connection. Then it closes its listening sockets and finishes
what is in flight within the *grace period*. SIGINT, which a person sends, leaves out the drain. Each further signal
ends what is being waited for: the drain, then the grace period.

HTTP/1.1 has no word for closing an idle connection, so a request may be on its way to one; a moment's wait lets it in.
Closing a listening socket resets connections that are not yet accepted, and those whose handshake is under way. So
before that, no new handshake may begin and the accept queue must be empty.
"""

import asyncio
import selectors
import signal
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

import structlog
import uvicorn

from gateway.server.protocol import GracefulProtocol, Readiness

# asm-generic/socket.h; Python has no name for it.
_SO_ATTACH_FILTER = 26
# linux/filter.h: code, jump if true, jump if false, operand. Of a TCP segment, load the byte of flags; without SYN (2)
# all of it passes, with SYN nothing of it.
_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 1, 0, 0x02), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
_INSTRUCTION, _PROGRAM = "HBBI", "HP"


def stop_accepting(listener: socket.socket) -> bool:
    """Let no new handshake begin, while those under way may end; False where the system cannot.

    A client that connects now is not refused yet: its machine tries again after a second.
    """
    if sys.platform != "linux":
        return False
    instructions = array("B", b"".join(struct.pack(_INSTRUCTION, *instruction) for instruction in _DROP_SYN))
    address, _ = instructions.buffer_info()
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(_PROGRAM, len(_DROP_SYN), address))
    except OSError:
        return False
    return True


def has_pending_connections(listener: socket.socket) -> bool:
    """Is a connection in the accept queue?"""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        return bool(selector.select(0))


_TICK_SECONDS = 0.02
_CLEAN_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ShutdownTimeouts:
    """How long each step of a stop may take, in seconds; a stop takes no longer than all and a few for cleaning up."""

    drain_seconds: float = 0
    """For how long after SIGTERM requests are taken as before."""
    handshake_seconds: float = 0.3
    """For how long handshakes under way may then take, a round trip; part of the grace period."""
    grace_seconds: float = 25
    """For how long after the drain requests may take."""


class GracefulServer(uvicorn.Server):
    """uvicorn's server with a shutdown of its own, for connections of `GracefulProtocol`."""

    def __init__(
        self,
        config: uvicorn.Config,
        timeouts: ShutdownTimeouts,
        readiness: Readiness,
        log: structlog.typing.FilteringBoundLogger | None = None,
    ) -> None:
        super().__init__(config)
        self._timeouts = timeouts
        self._readiness = readiness
        self._log = log
        self._draining = self._finishing = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 # uvicorn's signature
        """Handle a signal: begin to stop, or end the present step of the stop."""
        self._readiness.is_stopping = True
        self.force_exit = self._finishing
        self._draining = not self.should_exit and sig != signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, close the listening sockets, and finish what is in flight."""
        listeners = sockets or []
        self._readiness.is_stopping = True
        if self._log is not None:
            drain_seconds = self._timeouts.drain_seconds if self._draining else 0
            grace_seconds = self._timeouts.grace_seconds
            self._log.info("gateway.stopping", drain_seconds=drain_seconds, grace_seconds=grace_seconds)
        for connection in self._connections():
            connection.close_after_response()
        await self._wait_while(lambda: self._draining, self._timeouts.drain_seconds)
        self._finishing = True
        loop = asyncio.get_running_loop()
        grace_ends_at = loop.time() + self._timeouts.grace_seconds
        await self._empty_accept_queue(listeners)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        # What was accepted a moment ago becomes a connection only in the loop's next round.
        await asyncio.sleep(_TICK_SECONDS)
        for connection in self._connections():
            connection.shutdown()
        state = self.server_state
        await self._wait_while(lambda: bool(state.connections or state.tasks), grace_ends_at - loop.time())
        await self._abort_connections()
        # The process ends in any case, and what the application still holds open with it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), _CLEAN_UP_SECONDS)

    def _connections(self) -> list[GracefulProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, GracefulProtocol)]

    async def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait while the condition holds, for so many seconds at most, or until a signal forces the exit."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while condition() and not self.force_exit and loop.time() < ends_at:
            # uvicorn renews the `date` header of responses in it.
            await self.on_tick(0)
            await asyncio.sleep(_TICK_SECONDS)

    async def _empty_accept_queue(self, listeners: Sequence[socket.socket]) -> None:
        seconds = self._timeouts.handshake_seconds
        if seconds and all(stop_accepting(listener) for listener in listeners):
            await self._wait_while(lambda: True, seconds)
        # Where the system cannot stop handshakes there is no end to new connections, but there is to this wait.
        await self._wait_while(lambda: any(map(has_pending_connections, listeners)), _CLEAN_UP_SECONDS)

    async def _abort_connections(self) -> None:
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
        # The application is told of the disconnects, and ends its requests by itself.
        if state.tasks:
            await asyncio.wait(list(state.tasks), timeout=_CLEAN_UP_SECONDS)
        for task in state.tasks:
            task.cancel()
