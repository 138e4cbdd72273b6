"""A way to hold the calls to Leyr back until a test lets them go."""

import asyncio
from collections.abc import Mapping
from threading import Event
from time import sleep

from gateway.http_client.connection import Response
from gateway.http_client.pool import ConnectionPool

_PAUSE = 0.005


class Floodgate:
    """The way to the simulator: calls wait at it until it is opened."""

    def __init__(self) -> None:
        self.is_open = Event()
        self.waiting = 0

    def let_through(self) -> None:
        """Open it for those that wait, and close it behind them."""
        self.is_open.set()
        while self.waiting:
            sleep(_PAUSE)
        self.is_open.clear()

    def connections(self, base_url: str, headers: Mapping[str, str]) -> "HeldConnections":
        return HeldConnections(self, ConnectionPool(base_url, headers))


class HeldConnections:
    """HttpClient whose calls wait at a floodgate first."""

    def __init__(self, floodgate: Floodgate, connections: ConnectionPool) -> None:
        self._floodgate = floodgate
        self._connections = connections

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:
        self._floodgate.waiting += 1
        try:
            await asyncio.to_thread(self._floodgate.is_open.wait)
        finally:
            self._floodgate.waiting -= 1
        return await self._connections.get(target, max_bytes=max_bytes, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        await self._connections.close()
