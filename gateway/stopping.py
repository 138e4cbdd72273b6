"""A server that stops without dropping anybody.

A signal ends readiness at once. After SIGTERM the server *drains*: it goes on as before until load balancers have seen
that, then closes its door and *finishes* what is in flight within the *grace*. SIGINT, which a person sends, leaves out
the drain. Each further signal ends what is being waited for: the drain, then the grace.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

import structlog
import uvicorn

from gateway.accepting import has_somebody_waiting, let_nobody_in
from gateway.http.farewell import FarewellProtocol
from gateway.http.readiness import Readiness

_TICK_SECONDS = 0.02
_TICKS_PER_DATE = 25
_CLEAN_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StopRules:
    """How long each step of a stop may take, in seconds; together with a few for cleaning up that is the most."""

    drain_seconds: float = 0
    """For how long after SIGTERM requests are taken as before."""
    handshake_seconds: float = 0.3
    """For how long those who are connecting then may need for it, a round trip; part of the grace."""
    grace_seconds: float = 25
    """For how long after that answers may take."""


class StoppingServer(uvicorn.Server):
    """uvicorn's, with a stop of its own; its connections are of `FarewellProtocol`."""

    def __init__(
        self,
        config: uvicorn.Config,
        rules: StopRules,
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
        self._tell_of_the_stop()
        for connection in self._connections():
            connection.say_goodbye()
        await self._while(self._rules.drain_seconds, lambda: self._draining)
        self._finishing = True
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._rules.grace_seconds
        await self._let_the_last_in(bound)
        self._close_the_door(bound)
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

    def _connections(self) -> list[FarewellProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, FarewellProtocol)]

    def _tell_of_the_stop(self) -> None:
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

    async def _let_the_last_in(self, bound: Sequence[socket.socket]) -> None:
        seconds = self._rules.handshake_seconds
        if seconds and all(let_nobody_in(each) for each in bound):
            await self._while(seconds, lambda: True)
        # Where the system cannot keep others out there is no end to who comes, but there is to our waiting.
        await self._while(_CLEAN_UP_SECONDS, lambda: any(has_somebody_waiting(each) for each in bound))

    def _close_the_door(self, bound: Sequence[socket.socket]) -> None:
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
