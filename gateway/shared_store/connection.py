"""One connection to a Valkey or Redis server, over RESP3, so that messages come between the replies, in their order.

The only module that imports the `redis` library, which is an extra. It connects, authenticates and reads; its retries,
its pool and its time limits are left out: on a closed port they wait for seconds.
"""

import asyncio
import ssl
from collections.abc import Sequence
from math import inf
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from gateway.shared_store.address import Command, ServerMessage, StoreAddress
from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError

_PROTOCOL = 3


class ServerConnection:
    """An open connection; whoever uses it writes commands and reads as many replies, in that order."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, address: StoreAddress, seconds: float) -> "ServerConnection":
        """Connect and log in. Raises StoreAwayError, with the reason why."""
        connection = _connection(address, seconds)
        try:
            async with asyncio.timeout(seconds):
                await connection.connect()  # type: ignore[no-untyped-call] # the library does not say
        except (RedisError, OSError, TimeoutError, ssl.SSLError, UnicodeError) as error:
            await connection.disconnect(nowait=True)
            raise StoreAwayError(_reason(error)) from None
        return cls(connection)

    async def write(self, commands: Sequence[Command]) -> None:
        """Write commands at once. Raises StoreAwayError."""
        try:
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
        except (RedisError, OSError) as error:
            raise StoreAwayError(_reason(error)) from None

    async def read(self) -> Any:  # a reply is whatever the server sends
        """The next reply, message or error, of which StoreRefusedError is given. Raises StoreAwayError."""
        try:
            reply = await self._connection.read_response(
                disable_decoding=True, timeout=inf, disconnect_on_error=False, push_request=True
            )
        except ResponseError as error:
            return StoreRefusedError(_kind(error))
        except (RedisError, OSError, ValueError, AttributeError) as error:
            raise StoreAwayError(_reason(error)) from None
        return ServerMessage(reply) if isinstance(reply, hiredis.PushNotification) else reply

    async def close(self) -> None:
        """Close it, whatever is under way."""
        await self._connection.disconnect(nowait=True)


def _connection(address: StoreAddress, seconds: float) -> AbstractConnection:
    common: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "protocol": _PROTOCOL,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
    if address.path is not None:
        return UnixDomainSocketConnection(path=address.path, **common)
    if address.is_encrypted:
        ca = None if address.ca is None else str(address.ca)
        return SSLConnection(host=address.host, port=address.port, ssl_ca_certs=ca, **common)
    return Connection(host=address.host, port=address.port, **common)


def _reason(error: BaseException) -> AwayReason:
    """Why a connection cannot be used: the library wraps the cause, and its texts may quote what was sent."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    if any(isinstance(each, ssl.SSLError) for each in chain):
        return AwayReason.TLS
    if any(isinstance(each, AuthenticationError) for each in chain):
        return AwayReason.LOGIN
    if any(isinstance(each, NoPermissionError) for each in chain):
        return AwayReason.PERMISSION
    if any(isinstance(each, TimeoutError) for each in chain):
        return AwayReason.TIMEOUT
    if any(isinstance(each, OSError) for each in chain):
        return AwayReason.UNREACHABLE
    return AwayReason.PROTOCOL


def _kind(error: ResponseError) -> str:
    """The word that a server's error begins with, such as OOM or NOPERM; the rest may quote what was sent."""
    if isinstance(error, NoPermissionError):
        return "NOPERM"
    if isinstance(error, AuthenticationError):
        return "NOAUTH"
    code = getattr(error, "status_code", None) or type(error).__name__
    word = str(error).partition(" ")[0]
    return word if word.isupper() and word.isalpha() else str(code)
