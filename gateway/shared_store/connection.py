"""One connection to a Valkey or Redis server, over RESP3, so that messages come between the replies, in their order.

The only module that imports `hiredis`, which is an extra and reads the protocol. Connecting and logging in are done
here: the clients that are built on it retry, wait for seconds on a closed port, and quote in errors what was sent.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from gateway.shared_store.address import Command, ReplyReceiver, ServerMessage, StoreAddress
from gateway.shared_store.errors import AWAY_FOR, AwayReason, StoreAwayError, StoreRefusedError

_PROTOCOL = 3
_MOST_REPLY_BYTES = 64 * 1024 * 1024
# hiredis makes a list of the promised length before it has seen an item, which takes seconds for a billion of them.
_TOO_MANY_ITEMS = re.compile(rb"\n[*~>%|]\d{6}")
_LONGEST_HEAD = 8
_UNFINISHED = object()
_SHARE_OF_ADDRESSES = 0.8


class _GarbledError(Exception):
    """What came is not the protocol, or more than may come."""


class ServerConnection(asyncio.Protocol):
    """An open connection; it passes on what comes at once, and keeps what the server does not read yet."""

    def __init__(self, receiver: ReplyReceiver) -> None:
        self._receiver = receiver
        self._reader = hiredis.Reader(replyError=StoreRefusedError.of, notEnoughData=_UNFINISHED)
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.get_running_loop().create_future()
        self._is_over = False
        self._since_reply = 0
        self._last_bytes = b"\n"
        self.received = 0

    @classmethod
    async def open(cls, address: StoreAddress, seconds: float) -> "ServerConnection":
        """Connect and log in. Raises StoreAwayError, with the reason why."""
        try:
            async with asyncio.timeout(seconds):
                login = _Login(address)
                connection = await _connected(address, login, seconds)
                try:
                    await login.through(connection)
                except BaseException:
                    connection.close()
                    raise
                return connection
        # A host or a path may be none that a socket takes, which is a ValueError.
        except (OSError, TimeoutError, ValueError) as error:
            raise StoreAwayError(_reason(error, address)) from None

    @property
    def unsent(self) -> int:
        """How many bytes the server has not read yet, as far as this process holds them."""
        return 0 if self._transport is None or self._is_over else self._transport.get_write_buffer_size()

    def start(self, receiver: ReplyReceiver) -> None:
        """Tell this one what comes from now on."""
        self._receiver = receiver
        if self._is_over:
            receiver.connection_lost(AwayReason.UNREACHABLE)

    def pack(self, command: Command) -> bytes:
        """A command as it is sent."""
        packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type] # declared for one argument
        return packed

    def send(self, packed: Sequence[bytes]) -> None:
        """Send packed commands at once."""
        if self._transport is not None and not self._is_over:
            self._transport.write(b"".join(packed))

    def close(self) -> None:
        """Close it at once, whatever is under way."""
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, which is soon after `close`."""
        await asyncio.shield(self._closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass on each reply that is complete."""
        self.received += len(data)
        self._since_reply += len(data)
        try:
            self._check(data)
            self._reader.feed(data)
            while not self._is_over and (reply := self._next_reply()) is not _UNFINISHED:
                self._since_reply = 0
                self._receiver.reply_received(reply)
        except _GarbledError:
            self._lose(AwayReason.PROTOCOL)
        except Exception as error:  # noqa: BLE001 # a fault of ours must not leave callers waiting, and is logged
            context = {"message": "a reply of the shared store could not be taken", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            self._lose(AwayReason.PROTOCOL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, unless it was closed from here."""
        if not self._closed.done():
            self._closed.set_result(None)
        self._lose(AwayReason.TLS if isinstance(exc, ssl.SSLError) else AwayReason.UNREACHABLE)

    def _check(self, data: bytes) -> None:
        around, self._last_bytes = self._last_bytes + data[:_LONGEST_HEAD], data[-_LONGEST_HEAD:]
        if self._since_reply > _MOST_REPLY_BYTES or _TOO_MANY_ITEMS.search(around) or _TOO_MANY_ITEMS.search(data):
            raise _GarbledError

    def _next_reply(self) -> Any:  # a reply is whatever the server sends
        try:
            reply = self._reader.gets()
        except Exception:  # noqa: BLE001 # it raises more than its own: a map's key may be a list, a size may not fit
            raise _GarbledError from None
        return ServerMessage(reply) if isinstance(reply, hiredis.PushNotification) else reply

    def _lose(self, reason: AwayReason) -> None:
        if not self._is_over:
            self.close()
            self._receiver.connection_lost(reason)


class _Login:
    """Asks for RESP3 as the address's user, and for its database."""

    def __init__(self, address: StoreAddress) -> None:
        self._commands: list[Command] = [["HELLO", _PROTOCOL]]
        if address.username is not None or address.password is not None:
            self._commands = [["HELLO", _PROTOCOL, "AUTH", address.username or "default", address.password or ""]]
        if address.database:
            self._commands.append(["SELECT", address.database])
        self._replies: list[Any] = []
        # None where all replies came.
        self._done: asyncio.Future[AwayReason | None] = asyncio.get_running_loop().create_future()

    async def through(self, connection: ServerConnection) -> None:
        """Log in. Raises StoreAwayError, with the reason why."""
        connection.send([connection.pack(each) for each in self._commands])
        lost_for = await self._done
        if lost_for is not None:
            raise StoreAwayError(lost_for)
        for reply in self._replies:
            if isinstance(reply, StoreRefusedError):
                raise StoreAwayError(AWAY_FOR.get(reply.kind, AwayReason.PROTOCOL))
        hello = self._replies[0]
        if not isinstance(hello, dict) or hello.get(b"proto") != _PROTOCOL:
            raise StoreAwayError(AwayReason.PROTOCOL)

    def reply_received(self, reply: Any) -> None:  # a reply is whatever the server sends
        """Take the reply to a command."""
        self._replies.append(reply)
        # After an error the server may close the connection without a further reply.
        is_last = len(self._replies) == len(self._commands) or isinstance(reply, StoreRefusedError)
        if is_last and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, reason: AwayReason) -> None:
        """Log in no more."""
        if not self._done.done():
            self._done.set_result(reason)


async def _connected(address: StoreAddress, receiver: ReplyReceiver, seconds: float) -> ServerConnection:
    loop = asyncio.get_running_loop()
    if address.path is not None:
        _, connection = await loop.create_unix_connection(lambda: ServerConnection(receiver), address.path)
        return connection
    encrypted: dict[str, Any] = {}
    if address.is_encrypted:
        # It reads the authorities' files.
        context = await asyncio.to_thread(ssl.create_default_context, cafile=address.ca)
        encrypted = {"ssl": context, "server_hostname": address.host}
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    hosts = list(dict.fromkeys(str(each[4][0]) for each in found))
    until = loop.time() + seconds * _SHARE_OF_ADDRESSES
    for place, host in enumerate(hosts):
        # Each has its share of the time, so that one that is silent does not hide the others.
        share = max(0.0, until - loop.time()) / (len(hosts) - place)
        if encrypted:
            # So that a server that answers nothing to it is told from one that cannot be reached.
            encrypted["ssl_handshake_timeout"] = share / 2
        try:
            async with asyncio.timeout(share):
                _, connection = await loop.create_connection(
                    lambda: ServerConnection(receiver), host, address.port, **encrypted
                )
                return connection
        except OSError:
            if place == len(hosts) - 1:
                raise
    raise OSError


def _reason(error: Exception, address: StoreAddress) -> AwayReason:
    """Why there is no connection."""
    # A server that does not encrypt ends the connection, or waits for the rest of what it takes for a command.
    broken = (ssl.SSLError, ConnectionAbortedError, ConnectionResetError, FileNotFoundError, PermissionError)
    if address.is_encrypted and isinstance(error, broken):
        return AwayReason.TLS
    return AwayReason.TIMEOUT if isinstance(error, TimeoutError) else AwayReason.UNREACHABLE
