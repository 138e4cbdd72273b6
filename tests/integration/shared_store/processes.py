"""What several processes have of one store, in one event loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import urandom
from pathlib import Path

from gateway.shared_store.event_log import EventLogs
from gateway.shared_store.leases import Leases
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore
from tests.stores import Heard, store_at, store_up


@dataclass(frozen=True)
class Process:
    """One that is connected."""

    store: SharedStore
    logs: EventLogs
    leases: Leases
    heard: Heard


@asynccontextmanager
async def process(
    path: Path, *, secret: bytes = b"secret", seconds: float = 2.0, lease_milliseconds: int = 1_000
) -> AsyncIterator[Process]:
    """A process whose store is on a unix socket; an answer may take so many seconds."""
    heard = Heard()
    store = store_at(path, heard, seconds=seconds)
    sealing = Sealing(secret, ("test",), lambda: urandom(32), heard.store_garbage)
    logs = EventLogs(store, sealing, lease_milliseconds=lease_milliseconds)
    leases = Leases(logs, lambda: urandom(32))
    async with store_up(store):
        yield Process(store, logs, leases, heard)
