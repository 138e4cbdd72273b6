"""One request over a connection of httpx2, in a task of its own: its answer, or why there is none."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from time import monotonic
from typing import Any
from weakref import finalize

import httpcore2
from h2.events import ConnectionTerminated, StreamReset

from gateway.http_client.connection import (
    BodyBudget,
    BodyBudgetError,
    BodyTooLargeError,
    Response,
    StaleConnectionError,
)
from gateway.http_client.content_encoding import ContentDecodingError, decoder_of
from gateway.http_client.failures import FailureKind, TransportError, kind_of
from gateway.http_client.network_stream import Sockets

_MAX_HEAD_BYTES = 64 * 1024
# As for ConnectionPool: a body in chunks of one byte takes six times its size on the wire.
_MAX_WIRE_FACTOR = 8
_LARGE_BODY_BYTES = 256 * 1024
_COUNTED_BYTES = 64 * 1024
# A chunk takes some ten microseconds.
_CHUNKS_A_TURN = 256
_SWITCHING_PROTOCOLS = 101
_PROXY_AUTHENTICATION_REQUIRED = 407
# The packages below httpx2 whose errors it lets through.
_PROTOCOLS = frozenset({"h11", "h2", "hpack", "socksio"})
# With which an HTTP/2 server ends a request, or the connection.
_ENDINGS = (StreamReset, ConnectionTerminated)


class Body:
    """A body that is decompressed as it comes, to `max_bytes` at most."""

    def __init__(self, encoding: str, max_bytes: int, budget: BodyBudget) -> None:
        self.data = bytearray()
        self._decoder = decoder_of(encoding)
        self._max_bytes = max_bytes
        self._budget = budget
        self._counted = 0

    def add(self, chunk: bytes) -> None:
        """Add what came. Raises ContentDecodingError, BodyTooLargeError and BodyBudgetError."""
        plain: bytes | bytearray = chunk
        if self._decoder is not None and chunk:
            plain = self._decoder.decode(chunk, self._max_bytes - len(self.data) + 1)
        if len(self.data) + len(plain) > self._max_bytes:
            raise BodyTooLargeError
        self.data += plain
        uncounted = len(self.data) - self._counted
        if len(self.data) > _LARGE_BODY_BYTES and uncounted > _COUNTED_BYTES:
            if not self._budget.take(uncounted):
                raise BodyBudgetError
            self._counted += uncounted

    def into(self, status: int, headers: dict[str, str], sent_at: float) -> Response:
        """The response with this body, which is counted until that is let go. Raises ContentDecodingError."""
        if self._decoder is not None and not self._decoder.is_whole:
            raise ContentDecodingError
        response = Response(status, headers, self.data, sent_at)
        if self._counted:
            finalize(response, self._budget.give, self._counted)
            self._counted = 0
        return response

    def let_go(self) -> None:
        """Count no longer what no response holds."""
        self._budget.give(self._counted)
        self._counted = 0


class Exchange:
    """A request and its response; whoever waits for `ended` does not wait for what httpx2 tidies up after it."""

    def __init__(
        self,
        sockets: Sockets,
        bodies: BodyBudget,
        max_bytes: int,
        *,
        is_first: bool,
        is_shared: bool,
        is_forwarded: bool = False,
    ) -> None:
        """`is_first` says that the connection has carried no other request, `is_shared` that it carries several.

        `is_forwarded` says that a proxy reads the request, and may answer in the server's place.
        """
        self.ended: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.connected: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Done when the request is about to be written, or by HTTP/2 when the server has said how many it takes.

        The result is whether it is HTTP/2.
        """
        self.is_clean = False
        """Whether the response was read to its end, so that the connection may carry another."""
        self._sockets = sockets
        self._bodies = bodies
        self._max_bytes = max_bytes
        self._is_first = is_first
        self._is_shared = is_shared
        self._is_forwarded = is_forwarded
        self._tunnel_timer: asyncio.TimerHandle | None = None
        """Set while a proxy connects to the server."""
        self._has_head = False
        self._sent_at = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether the request may have been written."""
        return bool(self._sent_at)

    async def run(self, pool: httpcore2.AsyncConnectionPool, request: httpcore2.Request) -> None:
        """Send the request and read the response; where it is cancelled, `ended` says what others said before."""
        if not self._is_shared:
            self._sockets.received, self._sockets.max_received = 0, _MAX_HEAD_BYTES
        request.extensions = {"trace": self._trace}
        try:
            response = await pool.handle_async_request(request)
            try:
                found = await self._read(response)
            finally:
                await response.aclose()
        except (BodyTooLargeError, BodyBudgetError, ContentDecodingError) as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 # httpx2 lets other errors through than its own, of h2 and socksio too
            self.fail(self._failure(error))
        else:
            self.is_clean = True
            if not self.ended.done():
                self.ended.set_result(found)
        finally:
            self._has_tunnel()

    def fail(self, error: Exception) -> None:
        """End the exchange with an error, if it has not ended."""
        if not self.ended.done():
            self.ended.set_exception(error)

    async def _read(self, response: httpcore2.Response) -> Response:
        if response.status == _SWITCHING_PROTOCOLS:
            raise TransportError(FailureKind.NOT_HTTP, "the answer is not HTTP")
        if response.status == _PROXY_AUTHENTICATION_REQUIRED and self._is_forwarded:
            raise TransportError(FailureKind.PROXY_REFUSED, "the proxy refused")
        headers = _fields(response.headers)
        body = Body(headers.get("content-encoding", ""), self._max_bytes, self._bodies)
        try:
            async with aclosing(response.aiter_stream()) as chunks:
                number = 0
                async for chunk in chunks:
                    body.add(chunk)
                    number += 1
                    if not number % _CHUNKS_A_TURN:
                        await asyncio.sleep(0)
            return body.into(response.status, headers, self._sent_at)
        finally:
            body.let_go()

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        protocol, _, step = event.partition(".")
        if step == "send_request_headers.started":
            self._sockets.awaits_status_line = protocol == "http11"
            # The same steps lead to a proxy's tunnel first.
            if info["request"].method == b"CONNECT":
                self._wait_for_tunnel()
            else:
                self._begin(is_shared=protocol == "http2")
        elif step == "receive_remote_settings.complete":
            self._has_connected(is_shared=True)
        elif step == "setup_socks5_connection.started":
            self._wait_for_tunnel()
        elif step == "setup_socks5_connection.complete":
            self._has_tunnel()
        elif step == "receive_response_headers.complete" and not self._has_tunnel():
            self._has_head = True
            self._sockets.max_received = 0 if self._is_shared else _MAX_HEAD_BYTES + _MAX_WIRE_FACTOR * self._max_bytes

    def _wait_for_tunnel(self) -> None:
        late = TransportError(FailureKind.CONNECT_TIMEOUT, "the proxy made no connection in time")
        seconds = self._sockets.dialer.config.tunnel_seconds
        self._tunnel_timer = asyncio.get_running_loop().call_later(seconds, self.fail, late)

    def _has_tunnel(self) -> bool:
        """Whether a proxy was waited for until now."""
        timer, self._tunnel_timer = self._tunnel_timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _begin(self, *, is_shared: bool) -> None:
        """Note the instant: the request is written after it, so what Leyr says to it is no older."""
        self._sent_at = monotonic()
        self._is_shared = is_shared
        self._sockets.received, self._sockets.max_received = 0, 0 if is_shared else _MAX_HEAD_BYTES
        if not is_shared:
            self._has_connected(is_shared=False)

    def _has_connected(self, *, is_shared: bool) -> None:
        if not self.connected.done():
            self.connected.set_result(is_shared)

    def _failure(self, error: Exception) -> Exception:
        failure = failure_of(error, has_ended=self._sockets.has_ended)
        has_answer = self._has_head if self._is_shared else self._sockets.received
        if failure.kind is FailureKind.RESET and self._sent_at and not self._is_first and not has_answer:
            return StaleConnectionError("closed")
        return failure


def failure_of(error: Exception, *, has_ended: bool) -> TransportError:
    """Why there is no connection or answer; the error's own text may hold what others wrote, and is left out."""
    if isinstance(error, httpcore2.ProxyError):
        return TransportError(FailureKind.PROXY_REFUSED, "the proxy refused")
    kind = _kind_of(error, has_ended=has_ended)
    return TransportError(kind, _MESSAGES.get(kind, f"no connection: {kind.value}"))


def _kind_of(error: Exception, *, has_ended: bool) -> FailureKind:
    if isinstance(error, httpcore2.RemoteProtocolError) and isinstance(error.args[0], _ENDINGS):
        return FailureKind.RESET
    for each in _causes(error):
        kind = FailureKind.NAME_NOT_FOUND if isinstance(each, UnicodeError) else kind_of(each)
        if kind is not FailureKind.OTHER:
            return kind
    if isinstance(error, httpcore2.NetworkError) or has_ended:
        return FailureKind.RESET
    return FailureKind.NOT_HTTP if _is_of_protocol(error) else FailureKind.OTHER


_MESSAGES = {FailureKind.RESET: "the connection broke", FailureKind.NOT_HTTP: "the answer is not HTTP"}


def _is_of_protocol(error: Exception) -> bool:
    return isinstance(error, httpcore2.ProtocolError) or type(error).__module__.partition(".")[0] in _PROTOCOLS


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield from found.exceptions if isinstance(found, BaseExceptionGroup) else (found,)
        # httpx2's pool raises its errors once more without their cause.
        found = found.__cause__ or found.__context__


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers as Response has them."""
    fields: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")
        fields[key] = f"{fields[key]}, {text}" if key == "link" and key in fields else text
    return fields
