"""Makes connections to one host: looks it up, tries its addresses, and agrees on TLS, each within a time of its own."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult

from gateway.http_client.connection import HttpConnection
from gateway.http_client.failures import FailureKind, TransportError, kind_of
from gateway.http_client.happy_eyeballs import Address, Race
from gateway.http_client.resolver import LookUp, Resolver, look_up

# RFC 8305, section 5.
_NEXT_ADDRESS_SECONDS = 0.25
# Of several failures, the one that says most: a host that answers at one address is up.
_TELLING = (FailureKind.REFUSED, FailureKind.RESET, FailureKind.CONNECT_TIMEOUT, FailureKind.NO_ROUTE)


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
    def total_seconds(self) -> float:
        """How long all steps may take together, with one address."""
        return self.lookup_seconds + self.connect_seconds + self.tls_seconds


class Connector:
    """Connects to the first of a host's addresses that answers; to be used inside one loop."""

    def __init__(
        self,
        url: SplitResult,
        tls: ssl.SSLContext | None,
        config: ConnectConfig,
        new_connection: Callable[[asyncio.AbstractEventLoop], HttpConnection],
    ) -> None:
        self._host = url.hostname or ""
        self._port = url.port or (80 if tls is None else 443)
        self._resolver = Resolver(self._host, self._port, config.look_up)
        self._tls = tls
        self._config = config
        self._new_connection = new_connection

    async def connect(self, loop: asyncio.AbstractEventLoop) -> HttpConnection:
        """Make a connection. Raises TransportError, ssl.SSLError, and ValueError for what is no name of a host.

        Where none of the addresses that were kept can be used, the host is looked up again: it may have moved.
        """
        kept = self._resolver.kept(loop.time())
        if not kept:
            return await self._connect_to(loop, await self._resolver.addresses(self._config.lookup_seconds))
        try:
            return await self._connect_to(loop, kept)
        except OSError:
            self._resolver.forget(kept)
            addresses = await self._resolver.addresses(self._config.lookup_seconds)
            if set(addresses) <= set(kept):
                raise
        return await self._connect_to(loop, addresses)

    def close(self) -> None:
        """Let the lookup go that runs."""
        self._resolver.close()

    async def _connect_to(self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> HttpConnection:
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
        if self._tls is not None:
            await self._secure(found, self._tls)
        return found

    async def _first_of(
        self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]
    ) -> HttpConnection | OSError:
        race = Race(addresses, _NEXT_ADDRESS_SECONDS)
        attempts: dict[asyncio.Task[HttpConnection | OSError], Address] = {}
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
                    if isinstance(found, HttpConnection):
                        self._resolver.prefer(address)
                        return found
                    failures.append(found)
                    race.failed()
        finally:
            for task in attempts:
                _give_up(task)
        return min(failures, key=_rank)

    async def _attempt(self, loop: asyncio.AbstractEventLoop, address: Address) -> HttpConnection | OSError:
        connection = self._new_connection(loop)
        try:
            async with asyncio.timeout(self._config.connect_seconds):
                await loop.create_connection(lambda: connection, address.host, self._port)
        except TimeoutError:
            # The system's own timeout too; TimeoutError itself says that the call took too long.
            connection.close()
            return TransportError(FailureKind.CONNECT_TIMEOUT, "no connection in time")
        except OSError as error:
            connection.close()
            return error.with_traceback(None)
        except asyncio.CancelledError:
            # uvloop closes the socket without a call to `connection_lost`.
            connection.close()
            raise
        return connection

    async def _secure(self, connection: HttpConnection, tls: ssl.SSLContext) -> None:
        try:
            async with asyncio.timeout(self._config.tls_seconds):
                await connection.start_tls(tls, self._host)
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


def _give_up(attempt: "asyncio.Task[HttpConnection | OSError]") -> None:
    """End an attempt that is not needed; it may have connected in the same turn of the loop."""
    if not attempt.cancel() and isinstance(found := attempt.result(), HttpConnection):
        found.close()
