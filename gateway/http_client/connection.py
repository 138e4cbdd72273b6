"""One HTTP/1.1 connection that carries one GET request at a time; the parser is llhttp's, through httptools."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import cast
from weakref import finalize

import httptools

from gateway.http_client.content_encoding import ContentDecodingError, Decoder, decoder_of
from gateway.http_client.failures import FailureKind, TransportError
from gateway.http_client.tls import ResumingContext

_MAX_HEAD_BYTES = 64 * 1024
# How many times `max_bytes` a response may take on the wire. A body in chunks of one byte takes six times its size;
# endless trailers take more.
_MAX_WIRE_FACTOR = 8
_INFORMATIONAL = range(100, 200)
_NO_BODY = frozenset({204, 304})
# Smaller bodies are read in a few milliseconds, and so are not held for long.
_LARGE_BODY_BYTES = 256 * 1024
# How many bytes come between two counts.
_COUNTED_BYTES = 64 * 1024
# uvloop would read up to 32 times before it turns to others, 256 kB at a time.
_PAUSING_BYTES = 256 * 1024
# A chunk takes as long as so many bytes.
_CHUNK_BYTES = 1024


class BodyTooLargeError(Exception):
    """The decompressed body is larger than the caller's limit."""


class StaleConnectionError(ConnectionError):
    """The server had closed a kept connection: it ended before the first byte of the response."""


class NotSentError(Exception):
    """Nothing of a request left this machine, or its proxy; the cause says why. It may be sent again."""


class BodyBudgetError(Exception):
    """The bodies that are held take all the memory that there is for them."""


@dataclass(slots=True, eq=False)
class BodyBudget:
    """Counts the bytes of large bodies, from their arrival until their responses are let go."""

    most: int
    held: int = 0

    def take(self, size: int) -> bool:
        """Count so many bytes more; False, and nothing counted, where they are too many."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Count so many bytes less."""
        self.held -= size


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Response:
    """A response with its body decompressed; `sent_at` is a monotonic clock's seconds when the request was sent.

    Header names are lower-case. Of repeated headers the last one counts, but `link` has the values of all.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray
    sent_at: float = field(default_factory=monotonic)

    @property
    def is_success(self) -> bool:
        """Whether the status is any of 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 # the bounds of HTTP's success class

    @property
    def age(self) -> float:
        """The seconds since the request was sent."""
        return monotonic() - self.sent_at


class HttpConnection(asyncio.Protocol):
    """An asyncio Protocol for one connection; the parser of httptools calls its `on_` methods, the loop the others."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bodies: BodyBudget) -> None:
        self._loop = loop
        self._bodies = bodies
        self._counted = 0
        # What was read since reading last paused, in bytes.
        self._unpaused = 0
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        # Until the first response, which comes after what the session is resumed with.
        self._tls: tuple[ResumingContext, ssl.SSLObject] | None = None
        self._response: asyncio.Future[Response] | None = None
        self._requests = 0
        # Whether the end of the connection ends the body (RFC 9112, section 6.3).
        self._is_close_delimited = False
        self._max_received = _MAX_HEAD_BYTES

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent."""
        return not self.closed and self._response is None

    def request(self, head: bytes, max_bytes: int, timeout_seconds: float) -> "asyncio.Future[Response]":
        """Send a request without a body.

        The future raises TimeoutError where the whole response is not there after `timeout_seconds`, BodyTooLargeError
        for a body of more than `max_bytes`, BodyBudgetError, ContentDecodingError, or a ConnectionError.
        """
        if self._transport is None or not self.is_reusable:
            raise ConnectionError("closed")
        if not self._requests:
            # The two refer to each other, which `connection_lost` ends; a connection that is given up while it is
            # made gets no such call, so there must not be a parser yet.
            self._parser = httptools.HttpResponseParser(self)
            # As aiohttp's client reads; what some could take for two responses stays refused. A header's value may then
            # hold any character but a line's end.
            self._parser.set_dangerous_leniencies(
                lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
            )
        self._requests += 1
        self._max_bytes = max_bytes
        self._received = 0
        self._response = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_seconds, self._fail, TimeoutError)
        # uvloop's own time stands still within a turn of the loop, and counts whole milliseconds.
        self._sent_at = monotonic()
        self._transport.write(head)
        return self._response

    def close(self) -> None:
        """Close the socket at once; nothing more is sent or received."""
        self.closed = True
        self._cancel_timer()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    async def start_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Agree on TLS with the server, whose certificate must be this host's. Raises OSError."""
        if self._transport is None:
            raise _broke()
        try:
            transport = await self._loop.start_tls(self._transport, self, tls, server_hostname=host)
        except ssl.SSLError:
            if isinstance(tls, ResumingContext):
                tls.forget_session()
            raise
        if transport is None or self.closed:
            raise _broke()
        self._transport = transport
        if isinstance(tls, ResumingContext):
            self._tls = tls, transport.get_extra_info("ssl_object")

    def keep_tls_session(self) -> None:
        """Have connections to come resume the TLS session of this one; to be called after its first response."""
        if self._tls is not None:
            (tls, connection), self._tls = self._tls, None
            tls.keep_session(connection)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> None:
        """End a close-delimited body: the server closed the connection in order, unlike one that was reset."""
        self.closed = True
        if self._is_close_delimited:
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        """Fail the request that still runs; the loop calls nothing after this."""
        self.closed = True
        if self._response is not None:
            is_stale = self._requests > 1 and not self._received
            self._fail(StaleConnectionError("closed") if is_stale else _broke())
        # Both refer to this object, and would wait for the garbage collector.
        self._transport = None
        if self._requests:
            del self._parser

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; fail where it is not HTTP, or too much."""
        if self._response is None:
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(TransportError(FailureKind.NOT_HTTP, "the answer is not HTTP"))
        if self._received > self._max_received and self._response is not None:
            self._fail(TransportError(FailureKind.NOT_HTTP, "the answer is too long for what it holds"))
        self._unpaused += len(data)
        if self._unpaused > _PAUSING_BYTES and self._transport is not None:
            self._unpaused = 0
            self._transport.pause_reading()
            self._loop.call_soon(self._resume_reading)

    def _resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def on_message_begin(self) -> None:
        """Begin a response; after an informational one another begins."""
        if self._response is None:
            # No request belongs to a second response, so what follows cannot be trusted either.
            self.close()
        self._headers: dict[str, str] = {}
        self._body: bytes | bytearray = b""
        self._decoder: Decoder | None = None
        self._in_body = False
        self._max_received = _MAX_HEAD_BYTES

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but no trailer."""
        if not self._in_body:
            # llhttp leaves white space at a value's end.
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")
            if key == "link" and key in self._headers:
                # RFC 8288, section 3: a header for each link means the same as one for all.
                text = f"{self._headers[key]}, {text}"
            self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Find out how the body is encoded and what ends it."""
        self._in_body = True
        self._max_received = _MAX_HEAD_BYTES + _MAX_WIRE_FACTOR * self._max_bytes
        status = self._parser.get_status_code()
        headers = self._headers
        framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        self._is_close_delimited = not framed and status not in _NO_BODY and status not in _INFORMATIONAL
        encoding = headers.get("content-encoding")
        if encoding is not None:
            self._decoder = decoder_of(encoding)

    def on_body(self, encoded: bytes) -> None:
        """Decompress and keep a part of the body."""
        self._unpaused += _CHUNK_BYTES
        if self._response is None:
            return
        chunk: bytes | bytearray = encoded
        if self._decoder is not None:
            try:
                chunk = self._decoder.decode(encoded, self._max_bytes - len(self._body) + 1)
            except ContentDecodingError:
                self._fail(ContentDecodingError)
                return
        if len(self._body) + len(chunk) > self._max_bytes:
            self._fail(BodyTooLargeError)
        elif not self._body:
            self._body = chunk
        else:
            # A list of the chunks could take a hundred times the memory of what they hold.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += chunk
            self._count_body()

    def _count_body(self) -> None:
        uncounted = len(self._body) - self._counted
        if len(self._body) > _LARGE_BODY_BYTES and uncounted > _COUNTED_BYTES:
            if self._bodies.take(uncounted):
                self._counted += uncounted
            else:
                self._fail(BodyBudgetError)

    def on_message_complete(self) -> None:
        """End the response, unless another follows an informational one."""
        if self._parser.get_status_code() not in _INFORMATIONAL:
            self._finish()

    def _cancel_timer(self) -> None:
        # A timer that is left would keep the connection, and so the response, until it goes off.
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self) -> None:
        response, self._response = self._response, None
        self._cancel_timer()
        if response is None:
            return
        is_whole = self._decoder is None or self._decoder.is_whole
        if self._is_close_delimited or not self._parser.should_keep_alive() or not is_whole:
            self.close()
        if response.done():
            self._let_body_go()
            return
        if is_whole:
            found = Response(self._parser.get_status_code(), self._headers, self._body, self._sent_at)
            if self._counted:
                finalize(found, self._bodies.give, self._counted)
                self._counted = 0
            response.set_result(found)
        else:
            response.set_exception(ContentDecodingError)
        self._let_body_go()

    def _fail(self, error: Exception | type[Exception]) -> None:
        response, self._response = self._response, None
        self._let_body_go()
        self.close()
        if response is not None and not response.done():
            response.set_exception(error)

    def _let_body_go(self) -> None:
        self._body = b""
        self._bodies.give(self._counted)
        self._counted = 0


def _broke() -> TransportError:
    return TransportError(FailureKind.RESET, "the connection broke")
