"""Where the shared store is, and what a connection to it carries."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from gateway.shared_store.errors import AwayReason

Command: TypeAlias = Sequence[bytes | str | int]


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the server listens, and as whom to log in; `path` is that of a unix socket, which has no host."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    database: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    is_encrypted: bool = False
    ca: Path | None = None


class ServerMessage(list[Any]):
    """A message of a channel, or the confirmation of a subscription, as the server sends it."""


class ReplyReceiver(Protocol):
    """Who is told what a connection brings, at once and in order; called on the event loop."""

    def reply_received(self, reply: Any) -> None:  # a reply is whatever the server sends
        """A reply, a ServerMessage, or the StoreRefusedError that the server answered with."""

    def connection_lost(self, reason: AwayReason) -> None:
        """Nothing more will come; said once, and not after `close`."""


class StoreConnection(Protocol):
    """An open connection, on which nothing waits: what is sent is passed on at once, or kept until the server reads."""

    @property
    def received(self) -> int:
        """How many bytes came so far."""

    @property
    def unsent(self) -> int:
        """How many bytes the server has not read yet, as far as this process holds them."""

    def start(self, receiver: ReplyReceiver) -> None:
        """Tell this one what comes from now on."""

    def pack(self, command: Command) -> bytes:
        """A command as it is sent."""

    def send(self, packed: Sequence[bytes]) -> None:
        """Send packed commands at once."""

    def close(self) -> None:
        """Close it at once, whatever is under way."""

    async def wait_closed(self) -> None:
        """Wait until what it took of the machine is given back, which is soon after `close`."""


Connect: TypeAlias = Callable[[StoreAddress, float], Awaitable[StoreConnection]]
"""Opens a connection within so many seconds. Raises StoreAwayError, with the reason why."""
