"""Makes connections to one host: looks it up, tries its addresses, and agrees on TLS, each within a time of its own."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import SplitResult

from gateway.http_client.connection import HttpConnection
from gateway.http_client.failures import FailureKind, TransportError, kind_of
from gateway.http_client.happy_eyeballs import Address, Race
from gateway.http_client.resolver import LookUp, Resolver, look_up

# RFC 8305, section 5.
_NEXT_ADDRESS_SECONDS = 0.25
# Of several failures, the one that says most: a host that answers at one address is up.
_TELLING = (FailureKind.REFUSED, FailureKind.RESET, FailureKind.CONNECT_TIMEOUT, FailureKind.NO_ROUTE)

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class ConnectConfig:
    """How long each step to a new connection may take, `connect_seconds` for each address; and who looks a host up.

    A lookup of three seconds is slow, and no failure. Where the first packet to an address is lost, the system sends
    another after one second.
    """

    lookup_seconds: float = 4.0
    connect_seconds: float = 2.0
    tls_seconds: float = 3.0
    look_up: LookUp = look_up

    @property
    def tunnel_seconds(self) -> float:
        """How long a proxy may take to connect, which looks the host up by itself."""
        return max(self.lookup_seconds, self.connect_seconds)


class Dialer(ABC, Generic[C]):
    """Connects to the first of a host's addresses that answers; to be used inside one loop."""

    def __init__(self, host: str, port: int, config: ConnectConfig) -> None:
        self.host = host
        self.port = port
        self.config = config
        self._resolver = Resolver(host, port, config.look_up)

    @abstractmethod
    async def open(self, loop: asyncio.AbstractEventLoop, address: Address) -> C:
        """Connect to an address. Raises OSError; nothing is left open then, or where it is cancelled."""

    @abstractmethod
    def drop(self, connection: C) -> None:
        """Close a connection that came second."""

    async def secure(self, connection: C) -> None:
        """Do what makes a connection ready after it is open. Raises OSError."""

    async def connect(self, loop: asyncio.AbstractEventLoop) -> C:
        """Make a connection. Raises TransportError and ssl.SSLError.

        Where none of the addresses that were kept can be used, the host is looked up again: it may have moved.
        """
        kept = self._resolver.kept(loop.time())
        if not kept:
            return await self._connect_to(loop, await self._resolver.addresses(self.config.lookup_seconds))
        try:
            return await self._connect_to(loop, kept)
        except OSError:
            self._resolver.forget(kept)
            addresses = await self._resolver.addresses(self.config.lookup_seconds)
            if set(addresses) <= set(kept):
                raise
        return await self._connect_to(loop, addresses)

    def forget(self) -> None:
        """Have the host looked up again: what answers at its address is not what it was."""
        self._resolver.forget(self._resolver.kept(asyncio.get_running_loop().time()))

    def close(self) -> None:
        """Let the lookup go that runs."""
        self._resolver.close()

    async def _connect_to(self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> C:
        if len(addresses) == 1:
            found = await self._attempt(loop, addresses[0])
        else:
            found = await self._first_of(loop, addresses)
        if isinstance(found, OSError):
            try:
                raise found
            finally:
                # The error keeps this frame, so a variable of the frame that kept the error would make a cycle.
                del found
        await self.secure(found)
        return found

    async def _first_of(self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> C | OSError:
        race = Race(addresses, _NEXT_ADDRESS_SECONDS)
        attempts: dict[asyncio.Task[C | OSError], Address] = {}
        failures: list[OSError] = []
        try:
            while not race.is_lost:
                now = loop.time()
                while (address := race.begin(now)) is not None:
                    attempts[loop.create_task(self._attempt(loop, address))] = address
                wait = race.wait_seconds(now)
                done, _ = await asyncio.wait(attempts, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    address, found = attempts.pop(task), task.result()
                    if not isinstance(found, OSError):
                        self._resolver.prefer(address)
                        return found
                    failures.append(found)
                    race.failed()
        finally:
            for task in attempts:
                self._give_up(task)
        return min(failures, key=_rank)

    async def _attempt(self, loop: asyncio.AbstractEventLoop, address: Address) -> C | OSError:
        try:
            async with asyncio.timeout(self.config.connect_seconds):
                return await self.open(loop, address)
        except TimeoutError:
            # The system's own timeout too; TimeoutError itself says that the call took too long.
            return TransportError(FailureKind.CONNECT_TIMEOUT, "no connection in time")
        except OSError as error:
            return error.with_traceback(None)

    def _give_up(self, attempt: "asyncio.Task[C | OSError]") -> None:
        """End an attempt that is not needed; it may have connected in the same turn of the loop."""
        if not attempt.cancel() and not isinstance(found := attempt.result(), OSError):
            self.drop(found)


class Connector(Dialer[HttpConnection]):
    """Makes the connections of ConnectionPool."""

    def __init__(
        self,
        url: SplitResult,
        tls: ssl.SSLContext | None,
        config: ConnectConfig,
        new_connection: Callable[[asyncio.AbstractEventLoop], HttpConnection],
    ) -> None:
        super().__init__(url.hostname or "", url.port or (80 if tls is None else 443), config)
        self._tls = tls
        self._new_connection = new_connection

    async def open(self, loop: asyncio.AbstractEventLoop, address: Address) -> HttpConnection:
        """See Dialer."""
        connection = self._new_connection(loop)
        try:
            await loop.create_connection(lambda: connection, address.host, self.port)
        except BaseException:
            # Where it is cancelled, uvloop closes the socket without a call to `connection_lost`.
            connection.close()
            raise
        return connection

    def drop(self, connection: HttpConnection) -> None:
        """See Dialer."""
        connection.close()

    async def secure(self, connection: HttpConnection) -> None:
        """Agree on TLS, where that is used."""
        if self._tls is None:
            return
        try:
            async with asyncio.timeout(self.config.tls_seconds):
                await connection.start_tls(self._tls, self.host)
        except TimeoutError:
            connection.close()
            raise TransportError(FailureKind.TLS_TIMEOUT, "no TLS in time") from None
        except ConnectionError:
            connection.close()
            raise TransportError(FailureKind.RESET, "the connection broke before TLS") from None
        except BaseException:
            connection.close()
            raise


def _rank(failure: OSError) -> int:
    kind = kind_of(failure)
    return _TELLING.index(kind) if kind in _TELLING else len(_TELLING)
