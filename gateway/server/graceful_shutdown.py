"""A server that stops without dropping a request that has reached it.

A signal ends readiness at once. After SIGTERM the server *drains*: it goes on as before until load balancers have seen
that, and each response says that it is the last of its connection. Then it closes its listening sockets and finishes
what is in flight within the *grace period*. SIGINT, which a person sends, leaves out the drain. Each further signal
ends what is being waited for: the drain, then the grace period.

HTTP/1.1 has no word for closing an idle connection, so a request may be on its way to one; a moment's wait lets it in.
Closing a listening socket resets connections that are not yet accepted, and those whose handshake is under way. So all
that wait are accepted, and it is closed in the same breath: of connections that come without a pause, fewer than one in
1,000 meet that instant.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import cast

import structlog
import uvicorn

from gateway.server.protocol import GracefulProtocol, Readiness

_TICK_SECONDS = 0.02
_ABORT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ShutdownTimeouts:
    """How long each step of a stop may take, in seconds; a stop takes no longer than all and a few for cleaning up."""

    drain_seconds: float = 0
    """For how long after SIGTERM requests are taken as before."""
    grace_seconds: float = 25
    """For how long after the drain requests may take."""
    clean_up_seconds: float = 1
    """For how long after that the application may take to end what it does by itself."""

    @property
    def longest_seconds(self) -> float:
        """For how long all of it may take."""
        return self.drain_seconds + self.grace_seconds + _ABORT_SECONDS + self.clean_up_seconds


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
        waiting = self._stop_listening(listeners)
        protocol = partial(
            cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        served = (loop.connect_accepted_socket(protocol, each) for each in waiting)
        # Some may have gone before their turn came.
        await asyncio.gather(*served, return_exceptions=True)
        # What the loop accepted a moment ago becomes a connection only in its next round.
        await asyncio.sleep(_TICK_SECONDS)
        for connection in self._connections():
            connection.shutdown()
        state = self.server_state
        await self._wait_while(lambda: bool(state.connections or state.tasks), grace_ends_at - loop.time())
        await self._abort_connections()
        # The process ends in any case, and what the application still holds open with it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), self._timeouts.clean_up_seconds)

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

    def _stop_listening(self, listeners: list[socket.socket]) -> list[socket.socket]:
        """Close the listening sockets; gives the connections that waited to be accepted."""
        waiting: list[socket.socket] = []
        for listener in listeners:
            listener.settimeout(0)
            # Nobody waits any more, or there is no descriptor left for whoever does.
            with suppress(OSError):
                while len(waiting) <= self.config.backlog:
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        return waiting

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
            await asyncio.wait(list(state.tasks), timeout=_ABORT_SECONDS)
        for task in state.tasks:
            task.cancel()
