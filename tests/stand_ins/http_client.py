"""The gateway's HTTP client towards Leyr, where a test has to hold calls back or let them fail."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event
from time import sleep

from gateway.http_client.connection import Response
from gateway.http_client.pool import ConnectionPool

_PAUSE = 0.005


@dataclass
class UpstreamScript:
    """What becomes of the calls: they wait for `released` if `held`, then fail with `error`, or go to the simulator.

    `connections` is what create_app takes under this name.
    """

    held: bool = False
    error: Exception | None = None
    waiting: int = 0
    """How many calls are held at the moment."""
    released: Event = field(default_factory=Event)

    def release_waiting(self) -> None:
        """Release the calls that wait, and hold the next ones again."""
        self.released.set()
        while self.waiting:
            sleep(_PAUSE)
        self.released.clear()

    def connections(self, base_url: str, headers: Mapping[str, str]) -> "ScriptedHttpClient":
        return ScriptedHttpClient(self, ConnectionPool(base_url, headers))


class ScriptedHttpClient:
    """HttpClient that does with each call as its script says."""

    def __init__(self, script: UpstreamScript, connections: ConnectionPool) -> None:
        self._script = script
        self._connections = connections

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:
        if self._script.held:
            await self._wait()
        if self._script.error is not None:
            raise self._script.error
        return await self._connections.get(target, max_bytes=max_bytes, timeout_seconds=timeout_seconds)

    async def _wait(self) -> None:
        self._script.waiting += 1
        try:
            await asyncio.to_thread(self._script.released.wait)
        finally:
            self._script.waiting -= 1

    async def close(self) -> None:
        await self._connections.close()
