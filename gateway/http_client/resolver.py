"""The addresses of one host: looked up in a thread, once for all who wait, and kept for a short while."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from math import inf
from threading import Thread
from typing import TypeAlias

from gateway.http_client.failures import FailureKind, TransportError, kind_of
from gateway.http_client.happy_eyeballs import Address, in_order

LookUp: TypeAlias = Callable[[str, int], Awaitable[Iterable[Address]]]
"""Finds the addresses of a host for a port. Raises OSError, or ValueError for what is no name of a host."""

# getaddrinfo does not say for how long an answer holds; names that move within seconds have such times to live.
_KEEP_SECONDS = 10.0


async def look_up(host: str, port: int) -> list[Address]:
    """Ask the system, in the order that it prefers (RFC 6724).

    The call cannot be cancelled and may take half a minute, so it gets a thread that nothing else waits for: neither
    the other users of the loop's threads nor the end of the process.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def settle(addresses: list[Address], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def ask() -> None:
        addresses, failure = list[Address](), None
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                addresses.append(Address(str(address[0]), family))
        except (OSError, ValueError) as error:
            failure = error
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, addresses, failure)

    Thread(target=ask, name="lookup", daemon=True).start()
    return await found


class Resolver:
    """Looks up one host, one lookup at a time; to be used inside one loop. An IP address is not looked up."""

    def __init__(self, host: str, port: int, look_up: LookUp = look_up, keep_seconds: float = _KEEP_SECONDS) -> None:
        self._host = host
        self._port = port
        self._look_up = look_up
        self._keep_seconds = keep_seconds
        self._kept: tuple[Address, ...] = ()
        self._kept_until = -inf
        self._lookup: asyncio.Task[tuple[Address, ...]] | None = None
        self._is_address = False
        with suppress(ValueError):
            version = ip_address(host).version
            self._kept = (Address(host, socket.AF_INET if version == 4 else socket.AF_INET6),)  # noqa: PLR2004 # IPv4
            self._kept_until, self._is_address = inf, True

    def kept(self, now: float) -> tuple[Address, ...]:
        """The addresses of an earlier lookup, the one that answered last in front; none where they are too old."""
        return self._kept if now < self._kept_until else ()

    async def addresses(self, timeout_seconds: float) -> tuple[Address, ...]:
        """Look up the host, or wait for the lookup that runs, which goes on whoever leaves. Raises TransportError."""
        if self._is_address:
            return self._kept
        lookup = self._lookup
        if lookup is None:
            lookup = self._lookup = asyncio.get_running_loop().create_task(self._find())
            lookup.add_done_callback(self._ended)
        await asyncio.wait({lookup}, timeout=timeout_seconds)
        if not lookup.done():
            raise TransportError(FailureKind.LOOKUP_TIMEOUT, "the host was not looked up in time")
        if lookup.cancelled():
            raise TransportError(FailureKind.OTHER, "the connections are closed")
        try:
            return lookup.result()
        except (OSError, ValueError) as error:
            # Each waiter gets an error of its own, since raising adds to an error's traceback.
            kind = kind_of(error) if isinstance(error, OSError) else FailureKind.NAME_NOT_FOUND
            raise TransportError(kind, "the host was not found") from None

    def prefer(self, address: Address) -> None:
        """Put the address that was connected to in front, so that those who come next do not wait for another."""
        if self._kept and self._kept[0] != address and address in self._kept:
            self._kept = (address, *(each for each in self._kept if each != address))

    def forget(self, addresses: Sequence[Address]) -> None:
        """Have the host looked up again, unless others than these are known meanwhile."""
        if not self._is_address and set(addresses) == set(self._kept):
            self._kept = ()

    def close(self) -> None:
        """Let the lookup go that runs."""
        if self._lookup is not None:
            self._lookup.cancel()

    async def _find(self) -> tuple[Address, ...]:
        found = in_order(await self._look_up(self._host, self._port))
        if not found:
            raise TransportError(FailureKind.NAME_NOT_FOUND, "the host has no address")
        self._kept = found
        self._kept_until = asyncio.get_running_loop().time() + self._keep_seconds
        return found

    def _ended(self, lookup: "asyncio.Task[tuple[Address, ...]]") -> None:
        self._lookup = None
        if not lookup.cancelled():
            # Nobody may have waited for it.
            lookup.exception()
