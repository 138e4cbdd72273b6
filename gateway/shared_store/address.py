"""Where the shared store is, and what a connection to it carries."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

Command: TypeAlias = Sequence[bytes | str | int]


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the server listens, and as whom to log in; `path` is that of a unix socket, which has no host."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_encrypted: bool = False
    ca: Path | None = None


class ServerMessage(list[Any]):
    """A message of a channel, or the confirmation of a subscription, as the server sends it."""


class StoreConnection(Protocol):
    """An open connection; whoever uses it writes commands and reads as many replies, in that order."""

    async def write(self, commands: Sequence[Command]) -> None:
        """Write commands at once. Raises StoreAwayError."""

    async def read(self) -> Any:
        """The next reply, ServerMessage or StoreRefusedError, which is given. Raises StoreAwayError."""

    async def close(self) -> None:
        """Close it, whatever is under way."""


Connect: TypeAlias = Callable[[StoreAddress, float], Awaitable[StoreConnection]]
"""Opens a connection within so many seconds. Raises StoreAwayError, with the reason why."""
